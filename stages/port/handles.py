"""Tensors of a PyTorch file that are not loaded: where they lie, and how they become tensors."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lm.tensors.entries import Entry, Spec

if TYPE_CHECKING:
    import torch


class _Sealed:
    """An object that a pickle cannot change: one that set `path` would read another file."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"it changes a {type(self).__name__}")


@dataclass
class Storage(_Sealed):
    """Bytes of a file that tensors look at: `count` elements from byte `begin`."""

    path: Path
    dtype: str
    count: int
    begin: int = -1
    crc32: int | None = None
    """Checksum that the archive records, where there is an archive."""


@dataclass(frozen=True)
class Handle(_Sealed):
    """A tensor in a file: a view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def entry(self) -> Entry:
        """Return where the tensor lies."""
        spec = Spec(self.storage.dtype, self.shape)
        begin = self.storage.begin + self.offset * spec.itemsize
        entry = Entry(self.storage.path, begin, spec, self.strides)
        if self.offset == 0 and spec.count == self.storage.count and entry.contiguous:
            return replace(entry, crc32=self.storage.crc32)
        return entry


def with_tensors(value: Any) -> Any:
    """Return a tree with torch tensors in the place of handles; shared storages stay shared."""
    return _Filling().filled(value)


class _Filling:
    """Visits every container once, however often the tree holds it."""

    def __init__(self) -> None:
        self._storages: dict[int, torch.Tensor] = {}
        self._seen: dict[int, tuple[Any, Any]] = {}

    def filled(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return self._tensor(value)
        if not isinstance(value, dict | list | tuple) and not hasattr(value, "fields"):
            return value
        if id(value) not in self._seen:
            self._seen[id(value)] = (value, value)
            self._seen[id(value)] = (value, self._container(value))
        return self._seen[id(value)][1]

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            for key in list(value):
                value[key] = self.filled(value[key])
        elif isinstance(value, list):
            value[:] = [self.filled(item) for item in value]
        elif isinstance(value, tuple):
            return tuple(self.filled(item) for item in value)
        else:  # a Record
            value.arguments, value.fields = self.filled(value.arguments), self.filled(value.fields)
        return value

    def _tensor(self, value: Handle) -> torch.Tensor:
        import torch

        held = value.storage
        if id(held) not in self._storages:
            self._storages[id(held)] = _stored(held)
        tensor = self._storages[id(held)]
        return torch.as_strided(tensor, value.shape, value.strides, value.offset)


def _stored(storage: Storage) -> torch.Tensor:
    import torch

    from stages.lm.tensors.bridge import TORCH_DTYPES

    dtype = TORCH_DTYPES[storage.dtype]
    with storage.path.open("rb") as stream:
        stream.seek(storage.begin)
        raw = bytearray(stream.read(storage.count * dtype.itemsize))
    if storage.crc32 is not None and zlib.crc32(raw) != storage.crc32:
        raise zipfile.BadZipFile("the checksum of a storage is not the recorded one")
    return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
