"""Texts as two arrays: all bytes in a row and where each document begins.

A `Texts` is (data uint8 [N], offsets int64 [D + 1]); document i is data[offsets[i] : offsets[i+1]],
in UTF-8, offsets[0] is 0 and offsets[D] is N. Arrow keeps strings the same way, so both arrays are
views of its buffers wherever that is possible, and no Python object is made per document.

Documents hold what their source held: lone surrogates (encoded as UTF-8 would encode them) and
malformed bytes may occur, and every kernel must stand them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class Texts(NamedTuple):
    """Documents in a row; see the module."""

    data: Bytes
    offsets: Offsets

    @property
    def documents(self) -> int:
        """Return how many documents there are."""
        return len(self.offsets) - 1

    def bytes_at(self, number: int) -> bytes:
        """Return one document's bytes."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def part(self, first: int, stop: int) -> Texts:
        """Return the documents first .. stop - 1 as a view."""
        bounds = self.offsets[first : stop + 1]
        return Texts(self.data[bounds[0] : bounds[-1]], bounds - bounds[0])


def of_arrow(array: pa.Array | pa.ChunkedArray) -> Texts:
    """Return the texts of an Arrow array of strings or bytes, as views where it has one chunk.

    Takes string, large_string, string_view, their binary kin, dictionaries of these, and null; a
    null is an empty document. Raises TypeError for other types.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # more than 2 GiB of `string`
            array = pa.concat_arrays([_plain(chunk) for chunk in array.chunks])
    array = _plain(array)
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, places, values = array.buffers()
    if len(array) == 0 or places is None:
        return Texts(np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64))
    held: NDArray[Any] = np.frombuffer(places, np.int64 if wide else np.int32)
    held = held[array.offset : array.offset + len(array) + 1]
    bounds: Offsets = held.astype(np.int64, copy=False)
    data = np.zeros(0, np.uint8) if values is None else np.frombuffer(values, np.uint8)
    first, last = int(bounds[0]), int(bounds[-1])
    return Texts(data[first:last], bounds - first if first else bounds)


def _plain(array: pa.Array) -> pa.Array:
    """Return an array of (large) strings or bytes that has no nulls."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_null(kind):
        return pa.array([""] * len(array), pa.large_string())
    if pa.types.is_string_view(kind):
        array = array.cast(pa.large_string())
    elif pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        array = array.cast(pa.large_binary())
    kind = array.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    ):
        raise TypeError(f"texts must be strings or bytes, these are {kind}")
    if array.null_count:  # a null may have bytes behind it
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        array = pc.fill_null(array, "" if text else b"")
    return array


def of_strings(strings: Iterable[str]) -> Texts:
    """Return Python strings as texts; lone surrogates keep the bytes of `surrogatepass`."""
    held = strings if isinstance(strings, Sequence) else list(strings)
    try:
        return of_arrow(pa.array(held, pa.large_string()))
    except (UnicodeEncodeError, pa.ArrowInvalid):
        return of_bytes([one.encode("utf-8", "surrogatepass") for one in held])


def of_bytes(documents: Sequence[bytes]) -> Texts:
    """Return byte strings as texts."""
    return of_arrow(pa.array(documents, pa.large_binary()))


def to_arrow(texts: Texts) -> pa.Array:
    """Return texts as an Arrow large_string array over the same memory.

    Raises UnicodeDecodeError, naming the first such document, if one is not UTF-8: Arrow's readers
    would stumble over it later.
    """
    array = pa.LargeStringArray.from_buffers(
        texts.documents,
        pa.py_buffer(np.ascontiguousarray(texts.offsets)),
        pa.py_buffer(np.ascontiguousarray(texts.data)),
    )
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        for number in range(texts.documents):
            try:
                texts.bytes_at(number).decode()
            except UnicodeDecodeError as error:
                error.reason += f" in document {number}"
                raise
        raise
    return array


def to_strings(texts: Texts) -> list[str]:
    """Return texts as Python strings, for references and reports.

    Lone surrogates come back as they were; every other byte that belongs to no well-formed
    character becomes U+FFFD, as the kernels see it.
    """
    return [decoded(texts.bytes_at(number)) for number in range(texts.documents)]


def decoded(data: bytes) -> str:
    """Decode as the kernels do: one U+FFFD for each byte that begins no well-formed character.

    This is the reference of `characters.decode`.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        pass
    found: list[str] = []
    at = 0
    while at < len(data):
        for width in range(1, 5):
            try:
                found.append(data[at : at + width].decode("utf-8", "surrogatepass"))
            except UnicodeDecodeError:
                continue
            break
        else:
            width = 1
            found.append("\ufffd")
        at += width
    return "".join(found)


def concatenated(parts: Sequence[Any]) -> Texts:
    """Return several texts as one."""
    sizes = np.array([0, *(len(part.data) for part in parts)], np.int64).cumsum()
    bounds = [part.offsets[:-1] + start for part, start in zip(parts, sizes, strict=False)]
    data = [part.data for part in parts]
    return Texts(
        np.concatenate(data) if data else np.zeros(0, np.uint8),
        np.concatenate([*bounds, sizes[-1:]]),
    )
