"""What DVC printed, as the three lines of an error."""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import DevenoError, translated_text


def error_lines(text: str) -> list[str]:
    """Return the runner's three lines among what was printed, else what DVC's own error means.

    DVC saves outputs after the stage, and a full disk then is an error of DVC's alone.
    """
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    told = [row for row in rows if row.startswith(("error:", "where:", "do:"))][-3:]
    if told:
        return told
    failed = [row for row in rows if row.startswith("ERROR")] or rows[-1:]
    meant = next((one for row in reversed(rows) if (one := translated_text(row))), None)
    if isinstance(meant, DevenoError):
        return meant.lines()
    return [failed[0] if failed else "dvc said nothing"]


def fingerprint_of(root: Path, name: str) -> str:
    """Return the fingerprint that dvc.lock gives an entry, or `unknown`."""
    from stages.core import fingerprint

    try:
        return fingerprint.digest(fingerprint.from_lock(fingerprint.locks(root)[name]))
    except Exception:  # a message is not worth a failure
        return "unknown"
