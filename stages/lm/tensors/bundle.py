"""TensorFlow's checkpoint: an index of variables and shards of raw bytes, read and written.

    <prefix>.index                 a sorted table: "" -> BundleHeaderProto, name -> BundleEntryProto
    <prefix>.data-00000-of-00001   the variables' bytes, little-endian, each with a CRC-32C

The two messages are small, so their protocol-buffer fields are read here (tensor_bundle.proto):
header 1 num_shards, 2 endianness (1: big), 3 version; entry 1 dtype, 2 shape {2 dim {1 size}},
3 shard_id, 4 offset, 5 size, 6 crc32c (fixed32), 7 slices. No TensorFlow is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.tensors import sstable
from stages.lm.tensors.checkpoint import Checkpoint
from stages.lm.tensors.crc32c import crc32c, masked
from stages.lm.tensors.entries import Entry, Spec, c_strides
from stages.lm.tensors.nodes import Node, ranges

TYPES = {
    1: "F32", 2: "F64", 3: "I32", 4: "U8", 5: "I16", 6: "I8", 9: "I64", 10: "BOOL", 14: "BF16",
    17: "U16", 19: "F16", 22: "U32", 23: "U64",
}  # fmt: skip
"""TensorFlow's numbers of the types that are numbers (types.proto)."""
CODES = {name: code for code, name in TYPES.items()}
CHECK_BYTES = 16 << 20
"""Bytes held while a checksum is computed."""
HEADER = b""
REMEDY = "fetch the checkpoint's files again, all from the same place, and compare their sizes"


@dataclass(frozen=True)
class Variable:
    """One entry of an index: where its bytes lie, and the checksum they must have."""

    entry: Entry
    checksum: int


@dataclass(frozen=True)
class Bundle:
    """A checkpoint: its variables by name, and the names of those that are no numbers."""

    variables: dict[str, Variable]
    others: tuple[str, ...]


def read(prefix: Path) -> Bundle:
    """Return what a checkpoint holds, having looked at its index and the sizes of its shards."""
    path = prefix.with_name(f"{prefix.name}.index")
    if not path.is_file():
        raise ArtifactError(
            f"{path.name} is missing",
            str(path.parent),
            f"give {prefix.name}.index and its {prefix.name}.data-00000-of-00001 together",
        )
    try:
        return _bundle(prefix, sstable.read(path.read_bytes()))
    except (sstable.Fault, struct.error, UnicodeDecodeError) as fault:
        raise ArtifactError(
            f"{path.name} is no index of a TensorFlow checkpoint: {fault}", str(path.parent), REMEDY
        ) from None


def opened(bundle: Bundle) -> Checkpoint:
    """Return the variables as a checkpoint whose tensors are read when they are read."""
    return Checkpoint({name: variable.entry for name, variable in bundle.variables.items()})


def check(bundle: Bundle) -> None:
    """Compare every variable's bytes with its checksum."""
    for name, variable in bundle.variables.items():
        entry, found = variable.entry, 0
        with entry.path.open("rb") as stream:
            stream.seek(entry.offset)
            left = entry.spec.size_bytes
            while left:
                piece = stream.read(min(left, CHECK_BYTES))
                if not piece:
                    break
                found, left = crc32c(piece, found), left - len(piece)
        if left or masked(found) != variable.checksum:
            raise ArtifactError(
                f"the bytes of {name} do not have the checksum that the index states",
                entry.path.name,
                REMEDY,
            )


def write(prefix: Path, tensors: Mapping[str, Node]) -> None:
    """Write tensors as a checkpoint of one shard that TensorFlow opens."""
    shard = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    entries = {HEADER: _field(1, 1) + _message(3, _field(1, 1))}
    offset = 0
    with shard.open("wb") as stream:
        for name in sorted(tensors, key=lambda one: one.encode("utf-8")):
            node, checksum = tensors[name], 0
            for begin, end in ranges(node.spec):
                piece = node.read(begin, end).tobytes()
                checksum = crc32c(piece, checksum)
                stream.write(piece)
            size = node.spec.size_bytes
            entries[name.encode("utf-8")] = _described(node.spec, offset, masked(checksum))
            offset += size
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(sstable.write(entries))


def _bundle(prefix: Path, entries: Mapping[bytes, bytes]) -> Bundle:
    if HEADER not in entries:
        raise sstable.Fault("it has no header")
    header = dict(_fields(entries[HEADER]))
    if header.get(2, 0):
        raise sstable.Fault("its numbers are big-endian")
    shards = _number(header.get(1, 0))
    paths = [
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
        for shard in range(shards)
    ]
    sizes = [_size(path) for path in paths]
    variables: dict[str, Variable] = {}
    others: list[str] = []
    for key, value in entries.items():
        if key == HEADER:
            continue
        name = key.decode("utf-8")
        found = dict(_fields(value))
        if 7 in found:
            raise sstable.Fault(f"{name} is stored in slices (a partitioned variable)")
        dtype = TYPES.get(_number(found.get(1, 0)))
        if dtype is None:
            others.append(name)
            continue
        shard = _number(found.get(3, 0))
        if shard >= shards:
            raise sstable.Fault(f"{name} lies in shard {shard} of {shards}")
        spec = Spec(dtype, _shape(found.get(2, b"")))
        entry = Entry(paths[shard], _number(found.get(4, 0)), spec, c_strides(spec.shape))
        if spec.size_bytes != _number(found.get(5, 0)):
            raise sstable.Fault(f"{name} is {spec} and has {found.get(5, 0)!r} bytes")
        if entry.offset + spec.size_bytes > sizes[shard]:
            raise ArtifactError(
                f"{paths[shard].name} has {sizes[shard]} bytes and {name} ends at "
                f"{entry.offset + spec.size_bytes}",
                str(prefix.parent),
                REMEDY,
            )
        variables[name] = Variable(entry, _number(found.get(6, 0)))
    return Bundle(variables, tuple(others))


def _size(path: Path) -> int:
    if not path.is_file():
        raise ArtifactError(f"{path.name} is missing", str(path.parent), REMEDY)
    return path.stat().st_size


def _shape(message: int | bytes) -> tuple[int, ...]:
    sizes = []
    for number, content in _fields(_content(message)):
        if number == 2:
            sizes.append(_number(dict(_fields(_content(content))).get(1, 0)))
    return tuple(sizes)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return the fields of a protocol-buffer message: numbers as such, the rest as bytes."""
    at = 0
    while at < len(message):
        tag, at = sstable.read_varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = sstable.read_varint(message, at)
            yield tag >> 3, value
        elif kind == 5:
            yield tag >> 3, struct.unpack_from("<I", message, at)[0]
            at += 4
        elif kind == 1:
            yield tag >> 3, struct.unpack_from("<Q", message, at)[0]
            at += 8
        elif kind == 2:
            size, at = sstable.read_varint(message, at)
            if at + size > len(message):
                raise sstable.Fault("a message ends inside a field")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise sstable.Fault(f"a field has the unknown form {kind}")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise sstable.Fault("a field that must be a number is none")
    return value


def _content(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise sstable.Fault("a field that must be a message is none")
    return value


def _described(spec: Spec, offset: int, checksum: int) -> bytes:
    dims = b"".join(_message(2, _field(1, size)) for size in spec.shape)
    return (
        _field(1, CODES[spec.dtype])
        + _message(2, dims)
        + _field(4, offset)
        + _field(5, spec.size_bytes)
        + bytes([6 << 3 | 5])
        + struct.pack("<I", checksum)
    )


def _field(number: int, value: int) -> bytes:
    """Return a number as a field; zero is not written, as TensorFlow does not."""
    return sstable.varint(number << 3) + sstable.varint(value) if value else b""


def _message(number: int, content: bytes) -> bytes:
    return sstable.varint(number << 3 | 2) + sstable.varint(len(content)) + content
