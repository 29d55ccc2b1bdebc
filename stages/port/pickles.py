"""Read a PyTorch checkpoint without running anything that stands in it, and without its weights.

A `.pt` file is a pickle, and a pickle is a program: it may name any importable object and call it.
Here every name it asks for goes through one allow-list. Tensors and plain containers are rebuilt by
our own functions, `argparse`, `omegaconf` and fairseq's option types become inert records, and any
other name ends the reading with an error that says which name it was; nothing is ever imported.

Both layouts of `torch.save` are read: the zip archive (`data.pkl`, `data/<n>`) of torch 1.6 and
later, and the stream of five pickles and raw storages before it. `read` gives the tree with a
`Handle` for every tensor: type, shape, and where its bytes lie in the file; `load` gives torch
tensors. `read` imports no torch.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from stages.core.errors import ArtifactError
from stages.lm.tensors.entries import TORCH_NAMES, Spec
from stages.port.handles import Handle, Storage, with_tensors

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First object of the stream layout (torch.serialization.MAGIC_NUMBER)."""
LEGACY_PROTOCOL = 1001
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Head of a zip member: mark, then lengths of its name and of its extra field."""

STORAGES = {name: dtype for dtype, name in TORCH_NAMES.items()}
PLAIN_TYPES: dict[str, type] = {
    "long": int,
    "unicode": str,
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, list, dict, tuple, set)},
}
"""What a pickle may name of the builtins; protocol 2 names two of them as Python 2 did."""
TORCH_TYPES = (
    "float16", "bfloat16", "float32", "float64", "half", "float", "double", "int8", "int32",
    "int64", "bool",
)  # fmt: skip
STUBBED_MODULES = ("omegaconf", "fairseq", "enum", "typing", "megatron", "deepspeed")
"""Their objects hold settings and meters; each becomes a Record, never the real class."""
STUBBED_NAMES = {
    ("argparse", "Namespace"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("torch", "device"),
    ("torch", "Size"),
    ("pathlib", "PosixPath"),
    *(("torch", name) for name in TORCH_TYPES),
}
DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)


class Record:
    """An inert stand-in for an object of a class that is not loaded: its name and what it held."""

    type_name = ""
    arguments: tuple[Any, ...]
    fields: dict[str, Any]

    def __new__(cls, *arguments: Any, **named: Any) -> Record:
        """Fill the record here, since a pickle makes objects without calling `__init__`."""
        record = super().__new__(cls)
        record.arguments, record.fields = arguments, dict(named)
        return record

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take anything: `__new__` kept it."""

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.fields.update({str(key): value for key, value in part.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.fields[str(key)] = value

    def __hash__(self) -> int:
        return id(self)

    def append(self, value: Any) -> None:
        """Take what a pickled list subclass holds."""
        self.arguments = (*self.arguments, value)

    extend = append


class _Refused(Exception):
    """A global that the allow-list lacks."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def read(path: Path) -> Any:
    """Return the object tree of a checkpoint with a `Handle` for every tensor."""
    return _guarded(path, _read)


def load(path: Path) -> Any:
    """Return the object tree of a checkpoint; tensors that shared storage still share it."""
    return _guarded(path, lambda path: with_tensors(_read(path)))


def _read(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with path.open("rb") as stream:
        return _read_stream(stream, path)


def _guarded(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except _Refused as refused:
        raise ArtifactError(
            f"the pickle asks for {refused.name}, which is neither a tensor nor a plain container",
            f"{path.name}",
            "do not trust this file; ask its author for a checkpoint that holds only tensors and "
            "settings, or save it again with torch.save({'cfg': ..., 'model': state_dict})",
        ) from None
    except OSError as error:
        raise ArtifactError(
            f"the checkpoint cannot be opened: {error.strerror}",
            f"{path.name}",
            "check that the file is there and readable",
        ) from None
    except DAMAGE as error:
        raise ArtifactError(
            f"the checkpoint is damaged or no torch.save file: {type(error).__name__}: {error}",
            f"{path.name} ({path.stat().st_size} bytes)",
            "fetch the file again and compare its size and checksum with its source",
        ) from None


def plain(value: Any) -> Any:
    """Return settings as plain containers: records become their fields, omegaconf nodes values."""
    if isinstance(value, Record):
        fields = value.fields
        if "_content" in fields:
            return plain(fields["_content"])
        if "_val" in fields:
            return plain(fields["_val"])
        if not fields and len(value.arguments) == 1:
            return plain(value.arguments[0])
        return {key: plain(item) for key, item in fields.items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value


class _Unpickler(pickle.Unpickler):
    """Resolves names by the allow-list and storages by a function."""

    def __init__(self, stream: io.BytesIO | BinaryIO, storage: Callable[[Any], Any]) -> None:
        super().__init__(stream, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module in ("builtins", "__builtin__") and name in PLAIN_TYPES:
            return PLAIN_TYPES[name]
        known = REBUILDERS.get((module, name))
        if known is not None:
            return known
        stubbed = module.split(".")[0] in STUBBED_MODULES and "." not in name
        if stubbed or (module, name) in STUBBED_NAMES:
            return type(name, (Record,), {"type_name": f"{module}.{name}"})
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return self._storage(pid)


class _TensorBuilder:
    """Callable without attributes, so that a pickle cannot change it by setting some."""

    __slots__ = ()

    def __call__(
        self,
        storage: Storage | Handle,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: Any,
    ) -> Handle:
        """Return a view of a storage, after checking that it stays inside."""
        offset, size, stride = int(offset), tuple(map(int, size)), tuple(map(int, stride))
        if isinstance(storage, Handle):  # a view of a storage, in old files
            offset, storage = offset + storage.offset, storage.storage
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        empty = 0 in size
        if offset < 0 or min((*size, *stride, 0)) < 0 or (not empty and last >= storage.count):
            raise ValueError(f"a tensor of shape {tuple(size)} reaches outside its storage")
        return Handle(storage, offset, size, stride)


class _ParameterBuilder:
    __slots__ = ()

    def __call__(self, data: Handle, *_: Any) -> Handle:
        """Return a parameter's tensor; gradients and hooks are not wanted."""
        return data


class _Encoder:
    """Bytes as protocol 2 spells them (in numpy's scalars): text whose characters are bytes."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        """Return the bytes; no other encoding is spelled so."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes spelled as {encoding}")
        return text.encode("latin1")


REBUILDERS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Encoder(),
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("torch._utils", "_rebuild_tensor"): _TensorBuilder(),
    ("torch._utils", "_rebuild_tensor_v2"): _TensorBuilder(),
    ("torch._utils", "_rebuild_parameter"): _ParameterBuilder(),
}


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in the archive")
        if entries[pickles[0]].compress_type != zipfile.ZIP_STORED:  # it could unfold to anything
            raise ValueError("data.pkl is compressed; torch.save stores it plainly")
        prefix = pickles[0].removesuffix("data.pkl")
        _check_byte_order(archive, prefix, entries)
        size = os.fstat(stream.fileno()).st_size
        storages: dict[str, Storage] = {}

        def storage(pid: Any) -> Storage:
            _, dtype, key, _, count = pid
            if key not in storages:
                info = entries[f"{prefix}data/{key}"]
                width = Spec(dtype, ()).itemsize
                if info.file_size != count * width:
                    raise ValueError(f"storage {key} has {info.file_size} bytes, not {count} items")
                if info.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"storage {key} is compressed; torch.save stores it plainly")
                begin = _payload(stream, info)
                if begin + info.file_size > size:
                    raise EOFError(f"the file ends inside storage {key}")
                storages[key] = Storage(path, dtype, count, begin, info.CRC)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _payload(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a zip member begin."""
    head = os.pread(stream.fileno(), LOCAL_HEADER.size, info.header_offset)
    mark, name, extra = LOCAL_HEADER.unpack(head)
    if mark != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no member begins at {info.header_offset}")
    return int(info.header_offset + LOCAL_HEADER.size + name + extra)


def _check_byte_order(
    archive: zipfile.ZipFile, prefix: str, entries: dict[str, zipfile.ZipInfo]
) -> None:
    name = f"{prefix}byteorder"
    order = archive.read(name).decode("ascii") if name in entries else "little"
    if order != sys.byteorder:
        raise ValueError(f"the storages are {order}-endian, this machine is {sys.byteorder}-endian")


def _read_stream(stream: BinaryIO, path: Path) -> Any:
    """Read the layout before torch 1.6: magic, protocol, system facts, object, keys, storages."""
    size_bytes = path.stat().st_size
    storages: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage | Handle:
        _, dtype, key, _, count, view = pid
        if key not in storages:
            if count < 0 or count * Spec(dtype, ()).itemsize > size_bytes:
                raise ValueError(f"storage {key} is larger than the file")
            storages[key] = Storage(path, dtype, count)
        if view is None:
            return storages[key]
        _, offset, length = view
        if offset < 0 or length < 0 or offset + length > count:
            raise ValueError(f"a view reaches outside storage {key}")
        return Handle(storages[key], offset, (length,), (1,))

    def unpickle() -> Any:
        return _Unpickler(stream, storage).load()

    if unpickle() != LEGACY_MAGIC or unpickle() != LEGACY_PROTOCOL:
        raise ValueError("neither a zip archive nor a torch.save stream")
    if not unpickle().get("little_endian", True):
        raise ValueError("the storages are big-endian")
    tree = unpickle()
    _place(storages, unpickle(), stream, size_bytes)
    return tree


def _place(
    storages: dict[str, Storage], keys: list[str], stream: BinaryIO, size_bytes: int
) -> None:
    """Find the raw storages behind the pickles: a count, then the elements, in the keys' order."""
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        target = storages[key]
        if count != target.count:
            raise ValueError(f"storage {key} holds {count} items, not {target.count}")
        target.begin = stream.tell()
        if stream.seek(count * Spec(target.dtype, ()).itemsize, os.SEEK_CUR) > size_bytes:
            raise EOFError(f"the file ends inside storage {key}")
    lost = [key for key, one in storages.items() if one.begin < 0]
    if lost:
        raise EOFError(f"the file holds no storage {lost[0]}")
