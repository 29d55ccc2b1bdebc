"""Open the files of PyTorch checkpoints as checkpoints of tensors that are not loaded.

    open_archive(path)              one .pt, .pth or .bin
    open_folder(folder)             pytorch_model.bin, its shards with an index, or safetensors

The state dict is the tree itself, or what lies under a key of it (`model`, `state_dict`, ...).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.tensors.checkpoint import INDEX, SINGLE, Checkpoint, open_safetensors, sharded
from stages.lm.tensors.entries import Entry, Spec
from stages.lm.tensors.nodes import CHUNK_BYTES
from stages.port import pickles
from stages.port.handles import Handle, Storage

BIN = "pytorch_model.bin"
BIN_INDEX = "pytorch_model.bin.index.json"


def open_archive(path: Path, *keys: str) -> Checkpoint:
    """Open one file; `keys` lead to the state dict in its tree, nothing where it is the tree."""
    return Checkpoint(archive_entries(path, *keys))


def open_folder(folder: Path, *keys: str) -> Checkpoint:
    """Open a folder of `transformers`: safetensors or PyTorch files, single or sharded."""
    if (folder / INDEX).is_file() or (folder / SINGLE).is_file():
        return open_safetensors(folder)
    if (folder / BIN_INDEX).is_file():
        return Checkpoint(sharded(folder / BIN_INDEX, lambda path: archive_entries(path, *keys)))
    if (folder / BIN).is_file():
        return open_archive(folder / BIN, *keys)
    present = ", ".join(sorted(path.name for path in folder.glob("*"))[:12]) or "nothing"
    raise ArtifactError(
        f"no weights: looked for {SINGLE}, {INDEX}, {BIN}, {BIN_INDEX}",
        f"files of the raw entry: {present}",
        "give a folder that holds one of these",
    )


def archive_entries(path: Path, *keys: str) -> dict[str, Entry]:
    """Return the tensors of a PyTorch file's state dict; tensors alone may stand in it."""
    state = state_dict(pickles.read(path), path.name, *keys)
    check_storages(state.values())
    return {name: handle.entry() for name, handle in state.items()}


def state_dict(tree: Any, name: str, *keys: str) -> dict[str, Handle]:
    """Return the tensors below `keys` of a tree, by name; `name` is the file's for messages."""
    where = name
    for key in keys:
        if not isinstance(tree, Mapping) or key not in tree:
            held = ", ".join(map(str, list(tree)[:8])) if isinstance(tree, Mapping) else "no names"
            raise ArtifactError(
                f"the file holds nothing under `{key}`, but {held or 'nothing'}",
                where,
                "give a checkpoint as its software saved it",
            )
        tree, where = tree[key], f"{where}: {key}"
    if not isinstance(tree, Mapping) or not tree:
        raise ArtifactError(
            "the file holds no state dict",
            where,
            "give a checkpoint whose state dict names tensors",
        )
    for key, value in tree.items():
        if not isinstance(value, Handle) or not isinstance(key, str):
            raise ArtifactError(
                f"{key} is a {type(value).__name__}, not a tensor",
                where,
                "give a checkpoint whose state dict names tensors",
            )
    return dict(tree)


def check_storages(handles: Iterable[Handle]) -> None:
    """Compare the storages that no tensor covers alone with the archive's checksums.

    A tensor that is a whole storage is compared while it is read.
    """
    covered: dict[int, bool] = {}
    storages: dict[int, Storage] = {}
    for handle in handles:
        key = id(handle.storage)
        storages[key] = handle.storage
        covered[key] = covered.get(key, False) or handle.entry().crc32 is not None
    for key, storage in storages.items():
        if not covered[key] and storage.crc32 is not None:
            _check_storage(storage)


def _check_storage(storage: Storage) -> None:
    found = 0
    left = storage.count * Spec(storage.dtype, ()).itemsize
    with storage.path.open("rb") as stream:
        stream.seek(storage.begin)
        while left:
            piece = stream.read(min(left, CHUNK_BYTES))
            if not piece:
                break
            found, left = zlib.crc32(piece, found), left - len(piece)
    if found != storage.crc32:
        raise ArtifactError(
            "the checkpoint is damaged: the checksum of a storage is not the recorded one",
            storage.path.name,
            "fetch the file again and compare its size and checksum with its source",
        )
