"""A case of hostile files, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.hostile.documents import prose

SAYS = "Ĝi estas ŝtono.\n"
LONG = "".join(prose(f"long {number}") + "\n" for number in range(150))
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class FileCase:
    """Files of one folder; `rows` that must come out, or what the refusal says."""

    name: str
    files: dict[str, bytes]
    rows: Rows | None = None
    told: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    large: bool = False
    kind: str = "documents"


def taken(name: str, file: str, data: bytes, text: str | None, **reading: Any) -> FileCase:
    """Return a case of one file that is one document (None: of none, beside another one)."""
    files = {file: data} if text is not None else {file: data, "z.txt": SAYS.encode()}
    rows = [(file, text)] if text is not None else [("z.txt", SAYS)]
    return FileCase(name, files, rows, source={"reading": reading} if reading else {})


def refused(name: str, file: str, data: bytes, told: str, **source: Any) -> FileCase:
    """Return a case of one file that must be refused."""
    return FileCase(name, {file: data}, told=told, source=source)
