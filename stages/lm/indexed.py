"""Megatron-LM's indexed token files, read memory-mapped and written.

    <prefix>.bin   the tokens of all sequences, one after another
    <prefix>.idx   "MMIDIDX" and two zero bytes, u64 version 1, u8 code of the tokens' type,
                   u64 number N of sequences, u64 number M of document entries,
                   int32 [N] tokens per sequence, int64 [N] where each begins in bytes,
                   int64 [M] the sequence that each document begins with, N at the end

All little-endian (megatron/data/indexed_dataset.py, MMapIndexedDataset). Nothing is taken on trust:
a reader looks at every number of the index before it gives a token. `<split>.bin` of a folder of
tokens is such a `.bin` already, so that an index beside it makes the folder readable by Megatron.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError
from stages.lm.packing import Ints

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEAD = struct.Struct("<9sQBQQ")
TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
"""Codes of the types that tokens have; 6 and 7 are floating-point numbers."""
CODES = {name: code for code, name in TYPES.items()}
SMALL_VOCABULARY = 65_500
"""Megatron stores uint16 below this many tokens, int32 otherwise."""


def type_for(vocab_size: int) -> str:
    """Return the type in which Megatron stores the tokens of a vocabulary."""
    return "uint16" if vocab_size < SMALL_VOCABULARY else "int32"


class _Fault(ValueError):
    """What is wrong with a pair of files."""


@dataclass(frozen=True)
class Indexed:
    """A pair of files opened for reading.

    `stream` [T] is the memory-mapped token stream, `sizes` [N] tokens per sequence, `starts` [N]
    where each begins in tokens, `documents` [D + 1] where each document begins in sequences.
    """

    prefix: Path
    stream: NDArray[Any]
    sizes: Ints
    starts: Ints
    documents: Ints

    def __len__(self) -> int:
        return len(self.documents) - 1

    def sequence(self, number: int) -> Ints:
        """Return the tokens of a sequence."""
        start = int(self.starts[number])
        return self.stream[start : start + int(self.sizes[number])].astype(np.int64)

    def document(self, number: int) -> Ints:
        """Return the tokens of a document: those of its sequences, joined."""
        first, last = int(self.documents[number]), int(self.documents[number + 1])
        parts = [self.sequence(at) for at in range(first, last)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def every(self) -> Iterator[Ints]:
        """Return the documents in order."""
        return (self.document(number) for number in range(len(self)))


def read(prefix: Path) -> Indexed:
    """Open `<prefix>.bin` and `<prefix>.idx`, or raise ArtifactError that says what is wrong."""
    index, data = _paths(prefix)
    for path in (index, data):
        if not path.is_file():
            raise _damaged(path, "it is missing")
    try:
        return _indexed(prefix, index.read_bytes(), data)
    except _Fault as fault:
        raise _damaged(index, str(fault)) from None


def _indexed(prefix: Path, raw: bytes, data: Path) -> Indexed:
    if len(raw) < HEAD.size:
        raise _Fault(f"it has {len(raw)} bytes, fewer than its head")
    magic, version, code, sequences, entries = HEAD.unpack_from(raw)
    if magic != MAGIC:
        raise _Fault(f"it begins with {magic!r}, not with {MAGIC!r}")
    if version != VERSION:
        raise _Fault(f"its version is {version}, not {VERSION}")
    if code not in TYPES:
        known = ", ".join(f"{one} {name}" for one, name in TYPES.items())
        raise _Fault(f"its type of tokens is {code}; the known ones are {known}")
    size = HEAD.size + 12 * sequences + 8 * entries
    if size != len(raw):
        raise _Fault(
            f"{sequences} sequences and {entries} document entries make {size} bytes, it has "
            f"{len(raw)}"
        )
    at = HEAD.size
    sizes = np.frombuffer(raw, "<i4", sequences, at).astype(np.int64)
    pointers = np.frombuffer(raw, "<i8", sequences, at + 4 * sequences).astype(np.int64)
    documents = np.frombuffer(raw, "<i8", entries, at + 12 * sequences).astype(np.int64)
    dtype = np.dtype(TYPES[code]).newbyteorder("<")
    _check(sizes, pointers, documents, dtype.itemsize, data.stat().st_size)
    stream = np.asarray(np.memmap(data, dtype, "r")) if data.stat().st_size else np.zeros(0, dtype)
    return Indexed(prefix, stream, sizes, pointers // dtype.itemsize, documents)


def _check(sizes: Ints, pointers: Ints, documents: Ints, itemsize: int, held: int) -> None:
    """Raise _Fault where sequences do not lie end to end over the data, or documents go back."""
    if (sizes < 0).any():
        raise _Fault(f"sequence {int(np.argmax(sizes < 0))} has {int(sizes.min())} tokens")
    ends = np.concatenate([[0], np.cumsum(sizes)]) * itemsize
    wrong = np.flatnonzero(pointers != ends[:-1])
    if len(wrong):
        first = int(wrong[0])
        raise _Fault(
            f"sequence {first} begins at byte {int(pointers[first])}, and those before it end at "
            f"{int(ends[first])}"
        )
    if held != ends[-1]:
        raise _Fault(f"its sequences make {int(ends[-1])} bytes and the data has {held}")
    if not len(documents) or documents[0] != 0 or documents[-1] != len(sizes):
        told = f"{int(documents[0])} to {int(documents[-1])}" if len(documents) else "none"
        raise _Fault(f"its documents are {told}, not 0 to {len(sizes)}")
    if (np.diff(documents) < 0).any():
        back = int(np.argmax(np.diff(documents) < 0)) + 1
        raise _Fault(f"document {back} begins before the one before it")


def write(prefix: Path, documents: Sequence[Ints], vocab_size: int) -> None:
    """Write documents, one sequence each, as `<prefix>.bin` and `<prefix>.idx`."""
    index, data = _paths(prefix)
    dtype = np.dtype(type_for(vocab_size)).newbyteorder("<")
    with data.open("wb") as stream:
        for tokens in documents:
            if len(tokens) and not 0 <= int(np.min(tokens)) <= int(np.max(tokens)) < vocab_size:
                raise ArtifactError(
                    f"a token is outside the vocabulary of {vocab_size}",
                    str(data),
                    "write with the size of the vocabulary that the tokens are of",
                )
            stream.write(np.asarray(tokens, dtype=dtype).tobytes())
    sizes = np.array([len(tokens) for tokens in documents], dtype=np.int64)
    index.write_bytes(index_bytes(sizes, dtype.name))


def index_bytes(sizes: Ints, dtype: str) -> bytes:
    """Return the index of documents of `sizes` [N] tokens each, one sequence a document."""
    width = np.dtype(dtype).itemsize
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) * width if len(sizes) else sizes
    head = HEAD.pack(MAGIC, VERSION, CODES[dtype], len(sizes), len(sizes) + 1)
    documents = np.arange(len(sizes) + 1, dtype="<i8")
    return b"".join(
        [head, sizes.astype("<i4").tobytes(), starts.astype("<i8").tobytes(), documents.tobytes()]
    )


def _paths(prefix: Path) -> tuple[Path, Path]:
    return prefix.with_name(f"{prefix.name}.idx"), prefix.with_name(f"{prefix.name}.bin")


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} cannot be read: {reason}",
        str(path.parent),
        "give the .bin and the .idx that one run of Megatron's preprocessing wrote",
    )
