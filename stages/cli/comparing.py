"""Verbs that say why and what differs: explain, compare."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.cli.inspection import Add, one
from stages.core import explanation, plan, references, workspace

if TYPE_CHECKING:
    from stages.core import strangers

SHOWN = 12
"""Reasons shown of one entry; `--json` has all."""


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    explain = add("explain", explain_one, "why an entry is stale, and why it ran the last time")
    explain.add_argument("entry", metavar="ENTRY")
    explain.add_argument("--json", action="store_true", help="as JSON")
    compare = add(
        "compare", compare_two, "what differs between two artifacts, commits, experiments"
    )
    compare.add_argument(
        "a", metavar="A", help="an entry, a path, a hash, REV, REV:ENTRY, a bundle"
    )
    compare.add_argument("b", metavar="B")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.add_argument(
        "--corpora", action="store_true", help="A and B are corpus folders, recorded or not"
    )


def compare_two(options: argparse.Namespace) -> int:
    """Print what differs between two sides, section by section."""
    if options.corpora:
        return _folders(options)
    from stages.cli import versions
    from stages.cli.differences import drawn
    from stages.core import comparison, sides
    from stages.core.contents import Contents
    from stages.core.records import Records

    records = Records(workspace.root())
    a, b = sides.side(records, options.a), sides.side(records, options.b)
    both = sides.pairs(a, b)
    for x, y in both:
        comparison.refuse(x, y)
    contents = Contents(records, [*a.folders, *b.folders])
    compared = [comparison.compare(contents, x, y, _paired) for x, y in both]
    for (x, y), told_of in zip(both, compared, strict=True):
        if x.stage == "refine" and not told_of["same"]["outputs"]:
            told_of["corpus"] = versions.recorded(contents, x, y)
    told = {
        "a": options.a,
        "b": options.b,
        "only_a": sides.alone(a, b)[0] if a.whole else [],
        "only_b": sides.alone(a, b)[1] if a.whole else [],
        "compared": compared,
    }
    if options.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print("\n".join(drawn(told)))
    return 0


def _folders(options: argparse.Namespace) -> int:
    from stages.cli import versions

    found = versions.folders(options.a, options.b)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(versions.drawn(found)))
    return 0


def _paired(a: bytes, b: bytes) -> dict[str, dict[str, Any]]:
    """Return the paired differences a - b of the scores that two `units.jsonl` share."""
    from stages.lm import statistics  # numpy, and sacrebleu where it is a translation

    left = {score.name: score for score in statistics.parse(a)}
    found: dict[str, dict[str, Any]] = {}
    for score in statistics.parse(b):
        mine = left.get(score.name)
        if mine is None or len(mine.counts) != len(score.counts):
            continue
        drawn = statistics.difference(mine, score)
        found[score.name] = {
            "difference": drawn.value,
            "interval": drawn.interval(),
            "confidence": statistics.CONFIDENCE,
            "reversed_share": drawn.reversed_share,
            "resamples": statistics.RESAMPLES,
            "items": len(score.counts),
        }
    return found


def explain_one(options: argparse.Namespace) -> int:
    """Print why an entry is stale, the first cause above it, and why it ran the last time."""
    root = workspace.root()
    graph = references.load(root)
    if options.entry not in graph and _stranger(root, options.entry, options.json, graph):
        return 0
    name = one(graph, options.entry)
    now = explanation.now(plan.make(root, [name]), name)
    last = explanation.last(root, name)
    if options.json:
        print(json.dumps(_as_json(name, now, last), indent=2, ensure_ascii=False))
        return 0
    print("\n".join([*_told_now(name, now), *_told_last(last)]))
    return 0


def _stranger(root: Path, name: str, as_json: bool, graph: references.Graph) -> bool:
    """Tell of a user's own stage or of a removed entry; return whether it is one."""
    from stages.core import strangers

    found: strangers.Own | strangers.Removed | None = strangers.own(root, name)
    if found is None and name not in {entry.key for entry in graph.values()}:
        found = strangers.removed(root, name)
    if found is None:
        return False
    is_own = isinstance(found, strangers.Own)
    if as_json:
        rows = {"entry": found.name, "state": "own stage" if is_own else "removed"}
        told = {name: value for name, value in vars(found).items() if name != "name"}
        print(json.dumps(rows | told, indent=2, ensure_ascii=False))
    elif isinstance(found, strangers.Own):
        print("\n".join(_told_own(found)))
    else:
        print("\n".join(_told_removed(found)))
    return True


def _told_own(found: strangers.Own) -> list[str]:
    word = "would run it" if found.reasons else "finds it unchanged"
    rows = [f"{found.name} is your own stage in dvc.yaml: DVC decides about it, and {word}"]
    return [*rows, *_some(found.reasons), f"`dvc status {found.name}` asks DVC itself"]


def _told_removed(found: strangers.Removed) -> list[str]:
    rows = [f"{found.name} is no entry of params.yaml now"]
    if found.execution:
        rows.append(f"last run: {_clock(found.time or 0)}, {found.outcome} ({found.execution})")
    else:
        rows.append("it never ran here")
    if found.recorded:
        rows.append(f"the last commit whose dvc.lock has it: {found.recorded}")
    if found.removed:
        rows.append(f"removed from params.yaml by: {found.removed}")
    elif found.committed:
        rows.append("removed from params.yaml in the workspace; no commit has that yet")
    else:
        rows.append("no commit of this branch has it in params.yaml")
    for path, md5 in found.outs.items():
        here = "still there" if path in found.present else "not there, or changed"
        rows.append(f"  {path}  md5 {md5}  {here}")
    return [*rows, f"`deveno lineage {found.name}` shows how it was made"] if found.outs else rows


def _as_json(name: str, now: explanation.Now, last: explanation.Last) -> dict[str, Any]:
    ran = last.execution
    return {
        "entry": name,
        "now": {
            "action": now.action,
            "reasons": now.reasons,
            "causes": [vars(cause) for cause in now.causes],
        },
        "last": {
            "state": last.state,
            "fingerprint": last.fingerprint,
            "present": last.present,
            "execution": ran.id if ran else None,
            "outcome": ran.outcome if ran else None,
            "started": ran.start.get("time") if ran else None,
            "reasons": last.reasons,
            "made_by": last.made_by,
            "restored": last.restored_at,
        },
    }


def _told_now(name: str, now: explanation.Now) -> list[str]:
    if now.action == plan.SKIP:
        return [f"{name} is fresh: {'; '.join(now.reasons)}"]
    verb = "the cache can restore it" if now.action == plan.RESTORE else "it will run"
    rows = [f"{name} is stale, {verb}", *_some(now.reasons)]
    for place, cause in enumerate(now.causes):
        word = "another cause" if place else "first cause"
        rows.append(f"{word}: {' -> '.join(cause.way)}")
        rows += _some(cause.reasons) if cause.entry != name else ["  its own, as said"]
    return rows


def _told_last(last: explanation.Last) -> list[str]:
    ran, rows = last.execution, []
    if ran is not None:
        spent = (ran.end or {}).get("durations", {})
        took = f", {spent['process_s']:.1f} s" if "process_s" in spent else ""
        began = _clock(float(ran.start.get("time", 0.0)))
        rows.append(f"last time it ran: {began}, {ran.outcome}{took} ({ran.id}), because")
        rows += _some(last.reasons)
    if last.state == "never":
        return [*rows, "it never ran here, and dvc.lock does not know it"]
    if last.state == "restored":
        when = f" {_clock(last.restored_at)}" if last.restored_at else ""
        maker = f"made here by {last.made_by}" if last.made_by else "it never ran here"
        what = "the recorded output was restored" if last.present else "dvc.lock records an output"
        rows.append(f"{what}{when}, fingerprint {last.fingerprint}: {maker}")
        if not last.present:
            rows.append("that output is not here now")
    return rows


def _some(reasons: list[str]) -> list[str]:
    more = [f"  (+{len(reasons) - SHOWN} more)"] if len(reasons) > SHOWN else []
    return [f"  {reason}" for reason in reasons[:SHOWN]] + more


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
