"""What `dvc status` looks at beyond the plan, so that what is recorded as fresh is so for DVC too.

The plan compares every entry's command, inputs, values and outputs with dvc.lock. DVC also wants
each output in its cache, looks at the .dvc files, and at whatever else users wrote. Where it could
judge by something that is not looked at here, that is a reason too: nothing is recorded then.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core import dvcfile, fingerprint, origins, plan, yamlfile
from stages.core.hashes import Hashes

LOCK = "dvc.lock"
PROTECTED = 0o444
"""The mode of a cache object that DVC trusts without reading it."""
TOP = {"vars", "stages", "plots", "params", "metrics", "artifacts"}
ENTRY = {"cmd", "deps", "params", "outs"}
RECORD = {"outs", "meta", "desc"}
OUT = {"md5", "size", "nfiles", "hash", "path", "isexec", "cache", "desc", "type", "labels", "meta"}
OUT |= {"push", "remote"}

Row = Mapping[str, Any]


def records(root: Path, skipped: frozenset[str]) -> Iterator[Path]:
    """Yield every dvc.lock, dvc.yaml, .dvcignore and .dvc file of a workspace."""
    for folder, below, names in os.walk(root):
        if Path(folder) == root:
            below[:] = [name for name in below if name not in skipped and name != ".dvc"]
        for name in names:
            own = name in (LOCK, dvcfile.DVCFILE, ".dvcignore")
            if own or (name.endswith(".dvc") and name != ".dvc"):
                yield Path(folder, name)


def objections(root: Path, made: plan.Plan, cache: Path, found: list[Path]) -> Iterator[str]:
    """Yield why DVC might not call a workspace fresh though the plan does; `found` as `records`."""
    for path in found:
        if path.suffix != ".dvc" and path.parent != root:
            yield f"{path} is DVC's too"
    if ".dvcignore" in dvcfile.stale(root):
        yield ".dvcignore leaves other files out"
    if any(origins.recorded(root).values()):
        yield "raw material outside the repository is looked at every time"
    yield from _pipeline(root)
    locks, bodies = fingerprint.locks(root), dvcfile.instances(root)
    for name, entry in made.graph.items():
        recorded = locks.get(name) or {}
        yield from _recorded(name, recorded, cache, set(entry.writes.values()))
        if plan.out_paths(entry, bodies[entry.stage.name]) != sorted(plan.outs(recorded)):
            yield f"{name} declares other outputs"
    outputs = [path for name in made.graph for path in plan.outs(locks.get(name) or {})]
    known = Hashes(root)
    for path in found:
        if path.suffix == ".dvc":
            yield from _tracked(root, path, cache, known, outputs)


def _recorded(name: str, recorded: Row, cache: Path, cached: set[str]) -> Iterator[str]:
    """Yield what of an entry of dvc.lock DVC would miss in its cache, or judge in another way."""
    if not recorded or set(recorded) - ENTRY:
        yield f"{name} is not recorded as entries are"
    for row in [*recorded.get("deps", []), *recorded.get("outs", [])]:
        if row.get("hash") != "md5":
            yield f"{row['path']} is hashed in another way"
    for row in recorded.get("outs", []):
        if row["path"] in cached:
            yield from _lost(cache, str(row.get("md5")))


def _pipeline(root: Path) -> Iterator[str]:
    """Yield what users wrote into dvc.yaml that DVC would judge and the plan does not."""
    body = yamlfile.plain(yamlfile.read(root / dvcfile.DVCFILE))
    for key in sorted(set(body) - TOP):
        yield f"dvc.yaml has {key}"
    if len(body.get("vars", [])) > 1:
        yield "dvc.yaml has variables of its own"
    for name in sorted(set(body.get("stages", {})) - set(dvcfile.instances(root))):
        yield f"{name} is a stage of the user's own"


def _tracked(
    root: Path, path: Path, cache: Path, known: Hashes, outputs: list[str]
) -> Iterator[str]:
    body = yamlfile.plain(yamlfile.read(path)) or {}
    rows = body.get("outs") or []
    if set(body) - RECORD or len(rows) != 1 or set(rows[0]) - OUT or rows[0].get("hash") != "md5":
        yield f"{path} records more than files"
        return
    place = path.parent / str(rows[0]["path"])
    shown = place.relative_to(root).as_posix()
    if known.of(shown) != rows[0].get("md5"):
        yield f"{shown} is not what {path.name} records"
    if any((shown + "/").startswith(f"{one}/") or one.startswith(shown + "/") for one in outputs):
        yield f"{shown} is tracked twice"
    if rows[0].get("cache", True):
        yield from _lost(cache, str(rows[0].get("md5")))


def _lost(cache: Path, value: str) -> Iterator[str]:
    """Yield which objects of an output the cache does not hold, or not as DVC leaves them."""
    for name in objects(cache, value):
        try:
            mode = (cache / name).stat().st_mode
        except OSError:
            yield f"{name} is not in the cache"
            continue
        if stat.S_IMODE(mode) != PROTECTED:
            yield f"{name} is not protected, so DVC would read it"


def objects(cache: Path, value: str) -> Iterator[str]:
    """Yield the cache objects of an output as paths from the cache, its listing first."""
    yield f"{value[:2]}/{value[2:]}"
    if value.endswith(".dir"):
        for row in json.loads((cache / value[:2] / value[2:]).read_text(encoding="utf-8")):
            yield f"{row['md5'][:2]}/{row['md5'][2:]}"
