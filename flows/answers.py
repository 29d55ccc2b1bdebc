"""What DVC printed, as the three lines of an error."""

from __future__ import annotations

from pathlib import Path

from flows import fullness
from stages.core.errors import DevenoError, MachineError, translated_text


def error_lines(text: str, root: Path) -> list[str]:
    """Return the runner's three lines among what was printed, else what DVC's own error means.

    DVC saves outputs after the stage, and a full disk then is an error of DVC's alone; it calls
    some by other names (`No possible cache link types`, `disk I/O error`).
    """
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    told = [row for row in rows if row.startswith(("error:", "where:", "do:"))][-3:]
    if told:
        return told
    failed = next((row for row in rows if row.startswith("ERROR")), rows[-1] if rows else "")
    meant: DevenoError | None = next(
        (one for row in reversed(rows) if (one := translated_text(row))), None
    )
    meant = meant or _full(root, failed)
    return meant.lines() if meant else [failed or "dvc said nothing"]


def _full(root: Path, failed: str) -> MachineError | None:
    """Return that a disk is full, if one is that an entry is written to."""
    found = fullness.full(root)
    if found is None:
        return None
    place, free = found
    return MachineError(
        f"no space is left on the disk ({free // 1024} kB; DVC: {failed or 'nothing'})",
        str(place),
        "free some space and run again",
    )


def fingerprint_of(root: Path, name: str) -> str:
    """Return the fingerprint that dvc.lock gives an entry, or `unknown`."""
    from stages.core import fingerprint

    try:
        return fingerprint.digest(fingerprint.from_lock(fingerprint.locks(root)[name]))
    except Exception:  # a message is not worth a failure
        return "unknown"
