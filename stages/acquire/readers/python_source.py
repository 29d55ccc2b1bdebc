"""Python source: a file is a document, decoded as it declares itself."""

from __future__ import annotations

import io
import tokenize
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from stages.acquire.formats import PythonFormat
from stages.acquire.readers.batches import Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import opened


def _columns(_: PythonFormat) -> list[pa.Field]:
    return [pa.field("package", pa.string()), pa.field("encoding", pa.string())]


def _read(source: Input, settings: PythonFormat, place: Place) -> Iterator[Item]:
    if not place.number:
        limit = source.bounds.record_bytes
        with opened(source) as stream:
            data = stream.read(limit + 1)
        yield Item(_row(source, settings, data), Place(len(data), 1))


def _row(source: Input, settings: PythonFormat, data: bytes) -> dict[str, Any] | Loss:
    identity = source.id(1)
    if len(data) > source.bounds.record_bytes:
        return Loss(identity, "too_long", f"more than {source.bounds.record_bytes} bytes")
    if b"\0" in data:
        return Loss(identity, "binary", f"a zero byte at {data.index(0)}")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        return Loss(identity, "undecodable", clipped(error))
    if settings.parsable and (fault := _fault(text)):
        return Loss(identity, "unparsable", fault)
    return {"id": identity, "text": text, "package": source.package, "encoding": encoding}


def _fault(text: str) -> str:
    import ast

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return clipped(f"{type(error).__name__}: {error}")
    return ""


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read)
