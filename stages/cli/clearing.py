"""`deveno gc`: make room, and say exactly what goes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.cli.inspection import Add, table
from stages.core import room, tracking, workspace
from stages.core.errors import ParamsError


def add_verbs(add: Add) -> None:
    """Register the verb."""
    gc = add(
        "gc",
        clear,
        "remove old outputs from cache, scratch, worktrees and MLflow; how they were made stays",
    )
    gc.add_argument(
        "--keep", type=int, default=room.DEFAULT_KEEP, metavar="N",
        help=f"makings of every entry that stay ({room.DEFAULT_KEEP}); what HEAD, a tag, a branch, "
        "an experiment, a bundle or a running job needs stays in any case",
    )  # fmt: skip
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")


def clear(options: argparse.Namespace) -> int:
    """Print what goes, with its size, and remove it unless it is a dry run."""
    if options.keep < 1:
        raise ParamsError(
            f"--keep {options.keep} keeps nothing", "deveno gc", "keep at least 1 of every entry"
        )
    home = workspace.home(workspace.root())
    if options.dry_run:
        found = room.Room(home, options.keep)
        _say(found, [*found.items(), *_runs(home, found, options.keep)], "would go")
        return 0
    with room.alone(home):
        found = room.Room(home, options.keep)
        items = [*found.items(), *_runs(home, found, options.keep)]
        _say(found, items, "gone")
        for item in items:
            item.remove()
    if any(item.kind == "mlflow" for item in items):
        tracking.erase(home, [item.path for item in items if item.kind == "mlflow"])
    return 0


def _runs(home: Path, found: room.Room, keep: int) -> list[room.Item]:
    """Return MLflow's runs beyond the newest N of every entry, but of what stays."""
    needed = {one.fingerprint for one in found.records.all if found.needs.keeps(one)}
    try:
        rows = tracking.expired(home, keep, needed)
    except Exception as error:  # the tracker is removable: whatever it does, the rest is cleared
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        sys.stderr.write(f"MLflow's store is left as it is, it cannot be read: {line}\n")
        return []
    return [room.Item("mlflow", run, size, name) for run, name, size in rows]


def _say(found: room.Room, items: list[room.Item], word: str) -> None:
    if found.shared:
        sys.stderr.write(
            f"the cache {found.cache} lies outside this repository, where others may use it: "
            "left as it is (`dvc gc --projects` knows them)\n"
        )
    if items:
        rows = [(one.kind, one.path, f"{one.size_bytes:,} bytes", one.whose) for one in items]
        print(table(rows))
    total = sum(one.size_bytes for one in items)
    print(f"{len(items)} {word}, {total / 1e6:.1f} MB", flush=True)
