"""The one module of `core` that shapes output bytes: canonical JSON, CSV of curves, digests.

Every file that Deveno writes as JSON passes through here, so that equal content means equal bytes:
keys sorted, UTF-8 unescaped, two spaces, one final newline, no NaN or infinity (they are not JSON).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def dumps(value: Any) -> str:
    """Return canonical, indented JSON text; raises ValueError on NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False) + "\n"


def line(value: Any) -> str:
    """Return canonical JSON on one line, without the line end."""
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON, whole or not at all."""
    write_text(path, dumps(value))


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON lines, whole or not at all."""
    write_text(path, "".join(line(row) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes through a temporary neighbour and a rename, so that a reader never sees half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def curves_csv(curves: Mapping[str, Sequence[tuple[int, float]]], names: Sequence[str]) -> str:
    """Return stepped metrics as CSV: one row per step of the first curve, the one that is drawn.

    DVC's plots draw an empty cell as 0, so steps between two evaluations are the journal's alone.
    """
    first = curves.get(names[0], []) if names else []
    steps = sorted({step for step, _ in first})
    columns = [dict(curves.get(name, [])) for name in names]
    rows = [",".join(["step", *names])]
    for step in steps:
        cells = [repr(column[step]) if step in column else "" for column in columns]
        rows.append(",".join([str(step), *cells]))
    return "\n".join(rows) + "\n"


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(line(value).encode("utf-8")).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return a file's digest in hex, reading it in chunks."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()
