"""Write safetensors as a stream: the header first, then every tensor piece by piece.

Nothing is held but one piece of a megabyte and, for a permutation, the one tensor it reaches all
over. The checksum (xxh3, 128 bits) of every tensor is taken while its pieces pass; at the end the
files are validated and read again, and each tensor must have the checksum it was written with.
Equal tensors in an equal order give equal bytes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm.tensors.checkpoint import INDEX, SINGLE, Checkpoint, safetensors_entries
from stages.lm.tensors.nodes import Node, Stored, ranges, release

SHARD_BYTES = 5_000_000_000
"""Largest size of a shard unless said otherwise; a single tensor may be larger."""


@dataclass(frozen=True)
class Target:
    """A tensor to be written, and the nodes below it that may hold something while it is read."""

    name: str
    node: Node
    inner: Sequence[Node] = ()


def write(
    targets: Sequence[Target], folder: Path, shard_bytes: int = SHARD_BYTES
) -> dict[str, str]:
    """Write a model's tensors, in shards with an index if they exceed one; return checksums.

    Raises ArtifactError when a tensor cannot be read or does not read back as it was written.
    """
    shards = _shards(targets, shard_bytes)
    if len(shards) == 1:
        return write_file(shards[0], folder / SINGLE)
    names = [f"model-{at:05d}-of-{len(shards):05d}.safetensors" for at in range(1, len(shards) + 1)]
    checksums: dict[str, str] = {}
    for name, shard in zip(names, shards, strict=True):
        checksums |= write_file(shard, folder / name)
    weight_map = {
        target.name: name for name, shard in zip(names, shards, strict=True) for target in shard
    }
    total = sum(target.node.spec.size_bytes for target in targets)
    canonical.write_json(
        folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map}
    )
    return checksums


def _shards(targets: Sequence[Target], shard_bytes: int) -> list[list[Target]]:
    """Fill shards in the order given; each holds at least one tensor."""
    shards: list[list[Target]] = [[]]
    size = 0
    for target in targets:
        wanted = target.node.spec.size_bytes
        if shards[-1] and size + wanted > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(target)
        size += wanted
    return shards


def write_file(targets: Sequence[Target], path: Path) -> dict[str, str]:
    """Write one file, wider elements first so that each is aligned; return checksums by name."""
    ordered = sorted(targets, key=lambda target: -target.node.spec.itemsize)
    header = _header(ordered)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        at = len(header)
        _reserve(descriptor, at + sum(target.node.spec.size_bytes for target in ordered))
        _put(descriptor, header, 0)
        checksums = {}
        for number, target in enumerate(ordered):
            checksums[target.name] = _stream(descriptor, target, at)
            at += target.node.spec.size_bytes
            following = ordered[number + 1].inner if number + 1 < len(ordered) else ()
            if following is not target.inner:
                release(target.inner)
    finally:
        os.close(descriptor)
    _read_back(path, checksums)
    return checksums


def _header(targets: Sequence[Target]) -> bytes:
    rows: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for target in targets:
        spec = target.node.spec
        rows[target.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [at, at + spec.size_bytes],
        }
        at += spec.size_bytes
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _reserve(descriptor: int, size: int) -> None:
    """Claim the space at once: a full disk is told before anything is written."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
            raise
        os.ftruncate(descriptor, size)


def _stream(descriptor: int, target: Target, at: int) -> str:
    """Write a tensor's pieces from byte `at` on; return the checksum of what was written."""
    checksum = xxhash.xxh3_128()
    node = target.node
    try:
        for begin, end in ranges(node.spec):
            piece = node.read(begin, end).view("u1").data
            if not isinstance(node, Stored):
                checksum.update(piece)
            at += _put(descriptor, piece, at)
        if isinstance(node, Stored):  # the same pieces passed its own checksum
            return node.checksum()
    except (ValueError, EOFError) as fault:
        raise ArtifactError(
            f"tensor {target.name} cannot be made: {fault}",
            "the checkpoint that is converted",
            "give a checkpoint that is whole and belongs to these settings",
        ) from fault
    return checksum.hexdigest()


def _put(descriptor: int, piece: bytes | memoryview, at: int) -> int:
    done = 0
    while done < len(piece):
        done += os.pwrite(descriptor, piece[done:], at + done)
    return done


def _read_back(path: Path, checksums: dict[str, str]) -> None:
    """Validate a file and compare every tensor in it with what was written."""
    with Checkpoint(safetensors_entries(path)) as written:
        for name in written.entries:
            found = written.node(name).checksum()
            if found != checksums[name]:
                raise ArtifactError(
                    f"tensor {name} reads back with checksum {found}, not {checksums[name]}",
                    path.name,
                    "look after the disk and the memory of this machine, and run again",
                )
