"""A checkpoint: tensors by name over one or several files, none of them loaded.

    with open_safetensors(folder) as checkpoint:
        checkpoint.specs["model.norm.weight"]   # F32 [64]
        checkpoint.node("model.norm.weight")    # reads when it is read

Every file is validated when it is opened (`stages.lm.weights`), an index against its shards.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stages.core.errors import ArtifactError
from stages.lm import weights
from stages.lm.tensors.entries import Entry, Spec, c_strides
from stages.lm.tensors.nodes import Stored

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """Tensors by name, in the order in which the files hold them; close it when done."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = dict(entries)
        self._descriptors: dict[Path, int] = {}

    @property
    def specs(self) -> dict[str, Spec]:
        """Type and shape of every tensor."""
        return {name: entry.spec for name, entry in self.entries.items()}

    def node(self, name: str) -> Stored:
        """Return a tensor that is read when it is read."""
        return Stored(self.entries[name], self._opened)

    def nodes(self) -> dict[str, Stored]:
        """Return every tensor."""
        return {name: self.node(name) for name in self.entries}

    def _opened(self, entry: Entry) -> int:
        if entry.path not in self._descriptors:
            self._descriptors[entry.path] = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[entry.path]

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_safetensors(path: Path) -> Checkpoint:
    """Open a `.safetensors` file, or a folder that holds one or an index and its shards."""
    if path.is_file():
        return Checkpoint(safetensors_entries(path))
    if (path / INDEX).is_file():
        return Checkpoint(_sharded(path / INDEX))
    if (path / SINGLE).is_file():
        return Checkpoint(safetensors_entries(path / SINGLE))
    raise ArtifactError(
        f"there is neither {SINGLE} nor {INDEX}",
        str(path),
        "run the entry that makes this model again",
    )


def safetensors_entries(path: Path) -> dict[str, Entry]:
    """Return the tensors of one validated file in the order of their bytes."""
    header = weights.check(path)
    with path.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
    rows = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
    return {
        name: Entry(
            path,
            start + int(row["data_offsets"][0]),
            Spec(row["dtype"], tuple(row["shape"])),
            c_strides(tuple(row["shape"])),
        )
        for name, row in rows
    }


def _sharded(index: Path) -> dict[str, Entry]:
    entries = sharded(index, safetensors_entries)
    total = _index(index)[1]
    size = sum(entry.spec.size_bytes for entry in entries.values())
    if total is not None and total != size:
        raise _index_error(index, f"total_size is {total} and the shards hold {size} bytes")
    return entries


def sharded(index: Path, shard_entries: Callable[[Path], dict[str, Entry]]) -> dict[str, Entry]:
    """Return the tensors of all shards; an index that does not say what they hold is refused."""
    weight_map, _ = _index(index)
    found: dict[str, Entry] = {}
    for shard in sorted(set(weight_map.values())):
        here = shard_entries(index.parent / shard)
        promised = {name for name, file in weight_map.items() if file == shard}
        for name in sorted(set(here) ^ promised):
            told = "holds a tensor that the index puts elsewhere or does not name"
            raise _index_error(
                index, f"{shard} {told if name in here else 'lacks the tensor'}: {name}"
            )
        found |= here
    return found


def _index(index: Path) -> tuple[dict[str, str], Any]:
    """Return the shard of every tensor, and the total size if the index tells one."""
    try:
        tree = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=_once)
        weight_map = tree["weight_map"]
        metadata = tree.get("metadata") or {}
        total = metadata.get("total_size")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError("weight_map is empty")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        said = str(fault) if isinstance(fault, ValueError) else f"{type(fault).__name__} {fault}"
        raise _index_error(index, f"it is no index: {said}") from fault
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise _index_error(index, f"tensor {name} lies in {shard!r}, which is no file name")
        if not (index.parent / shard).is_file():
            raise _index_error(index, f"shard {shard} is missing")
    return weight_map, total


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = Counter(name for name, _ in pairs)
        raise ValueError(f"it names {next(n for n, count in names.items() if count > 1)!r} twice")
    return found


def _index_error(index: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"the model cannot be opened: {index.name}: {what}",
        str(index.parent),
        "run the entry that makes it again; a model like this is never opened",
    )
