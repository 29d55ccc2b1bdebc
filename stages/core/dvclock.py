"""DVC's own locks and what they guard: waited for, read whole, and mended after a kill.

    .dvc/tmp/lock      an flock; DVC holds it except while a stage's command runs
    .dvc/tmp/rwlock    JSON: which process reads and writes which path; guarded by rwlock.lock
    dvc.lock           rewritten in place under the first

DVC 3.67 writes the last two in place (dvc/rwlock.py, dvc/utils/serialize/_common.py), so a kill may
leave half of either, and every later DVC command refuses it. A claim of a process that is gone is
dropped by DVC itself unless its number went to a stranger.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.core import canonical, lockfiles, shapes, yamlfile
from stages.core.errors import ParamsError

LOCK = "dvc.lock"
PATIENCE_S = 30.0
"""How long DVC may be in the way of a read; it holds its lock while it hashes and copies."""
GOOD = "deveno-entries.json"
"""Entries of whole locks, beside DVC's temporary files: what a kill tore is mended from them."""
_ours: set[Path] = set()
"""Workspaces whose lock this process holds now, for an flock does not know its own owner."""
START = re.compile(r"^  [^\s#-].*:\s*$", re.M)
"""The first line of an entry of dvc.lock."""


@contextlib.contextmanager
def held(root: Path, patience_s: float = 0.0, shared: bool = False) -> Iterator[bool]:
    """Hold DVC's repository lock; yield whether we got it in time."""
    path = root / ".dvc" / "tmp" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with path.open("a+") as stream:
        while True:
            try:
                fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.05)
        if shared:
            yield True
            return
        _ours.add(root)
        try:
            yield True
        finally:
            _ours.discard(root)


def entries(root: Path) -> dict[str, Any]:
    """Return the entries of dvc.lock as some DVC command left them, never while one writes them."""
    path = root / LOCK
    if not path.exists():
        return {}
    with contextlib.ExitStack() as stack:
        if root not in _ours and (root / ".dvc" / "tmp").is_dir():  # else no DVC has ever run here
            with contextlib.suppress(OSError):  # a folder that may only be read
                stack.enter_context(held(root, PATIENCE_S, shared=True))
        return shapes.lock(yamlfile.read(path).get("stages"))


def text(root: Path) -> str:
    """Return dvc.lock as it is spelled, whole; empty where there is none.

    What is not in DVC's own style goes through `entries`, which waits for a DVC that writes, and
    raises a ParamsError for what is damaged.
    """
    path = root / LOCK
    if not path.is_file():
        return ""
    found = path.read_text(encoding="utf-8", errors="replace")
    if found.strip() and not lockfiles.is_plain(found):
        entries(root)
        found = path.read_text(encoding="utf-8", errors="replace")
    return found


def write(root: Path, stages: Mapping[str, Any]) -> None:
    """Write dvc.lock with these entries, sorted, in DVC's own style; its lock must be held."""
    document: dict[str, Any] = {}
    with contextlib.suppress(ParamsError):
        document = yamlfile.read(root / LOCK)
    document |= {"schema": "2.0", "stages": {name: stages[name] for name in sorted(stages)}}
    stream = io.StringIO()
    YAML(typ="rt", pure=True).dump(document, stream)
    canonical.write_text(root / LOCK, stream.getvalue())


def mend(root: Path) -> list[str]:
    """Make good what a killed DVC left behind; return what was mended, in words."""
    with held(root, PATIENCE_S) as idle:
        if not idle:
            return []
        return _mend_claims(root) + _mend_lock(root)


def _mend_claims(root: Path) -> list[str]:
    """Drop the claims of processes that are gone, and a file that a kill cut short."""
    folder = root / ".dvc" / "tmp"
    path = folder / "rwlock"
    with (folder / "rwlock.lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # DVC holds it for milliseconds
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            kept = {
                "write": {p: one for p, one in found.get("write", {}).items() if _lives(one)},
                "read": {
                    p: [one for one in rows if _lives(one)]
                    for p, rows in found.get("read", {}).items()
                },
            }
            kept["read"] = {p: rows for p, rows in kept["read"].items() if rows}
        except FileNotFoundError:
            return []
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            canonical.write_text(path, "{}")
            return ["DVC's list of readers and writers was cut short by a kill; it begins anew"]
        if kept != {"write": found.get("write", {}), "read": found.get("read", {})}:
            canonical.write_text(path, json.dumps(kept))
            return ["claims of DVC processes that are gone were dropped"]
    return []


def _lives(claim: Mapping[str, Any]) -> bool:
    """Return whether the process that made a claim is still that DVC command."""
    pid, words = int(claim["pid"]), str(claim["cmd"]).split()[1:]
    try:
        given = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except FileNotFoundError:
        return not Path("/proc/self").exists() and _exists(pid)
    except OSError:
        return True
    return " ".join(words) in " ".join(given)


def _exists(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


def _mend_lock(root: Path) -> list[str]:
    """Keep a copy of a whole dvc.lock; put a torn one together from what is whole of it."""
    path, good = root / LOCK, root / ".dvc" / "tmp" / GOOD
    if not path.exists():
        return []
    found, whole = _whole_entries(path.read_text(encoding="utf-8", errors="replace"))
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = dict(json.loads(good.read_text(encoding="utf-8")))
    if whole:
        if {**kept, **found} != kept:  # a lock cut between two entries looks whole: drop none
            canonical.write_json(good, {**kept, **found})
        return []
    known = _whole_entries(_committed(root))[0]
    write(root, {**known, **kept, **found})
    return ["dvc.lock was cut short by a kill; it was put together again"]


def _whole_entries(text: str) -> tuple[dict[str, Any], bool]:
    """Return the whole entries of a dvc.lock and whether all of it is whole.

    The entry that a cut goes through may still parse (`md5: 12` of a longer one), so it is left
    out with what does not: another copy of it, or DVC's run cache, has it.
    """
    try:
        document = yamlfile.parse(text, LOCK)
        stages = _mapping(document.get("stages"))
        whole = document.get("schema") == "2.0" and "stages" in document and text.endswith("\n")
        whole = whole and all(_is_whole(body) for body in stages.values())
    except ParamsError:
        stages, whole = {}, False
    if not whole:
        starts = [found.start() for found in START.finditer(text)]
        with contextlib.suppress(ParamsError):
            cut = text[: starts[-1]] if starts else ""
            stages = _mapping(yamlfile.parse(cut, LOCK).get("stages"))
    kept = {str(name): body for name, body in stages.items() if _is_whole(body)}
    return kept, whole


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_whole(body: Any) -> bool:
    if not isinstance(body, Mapping) or not isinstance(body.get("cmd"), str | list):
        return False
    # Outs come last, and each entry of ours has some; a stage of a user's own need not.
    outs = body.get("outs", None if shapes.is_ours(body) else [])
    if not isinstance(outs, list) or not isinstance(body.get("deps") or [], list):
        return False
    return all(
        isinstance(row, Mapping)
        and isinstance(row.get("path"), str)
        and isinstance(row.get(row.get("hash", "md5")), str)
        for row in [*(body.get("deps") or []), *outs]
    )


def _committed(root: Path) -> str:
    try:
        shown = subprocess.run(
            ["git", "-C", str(root), "show", f"HEAD:./{LOCK}"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout if shown.returncode == 0 else ""
