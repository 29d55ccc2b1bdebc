"""`deveno rebuild`: make recorded artifacts again in clean trees, and say what came of it.

Exit code: 0 identical, 3 equal within tolerance, 4 different, 2 where something could not be made.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from stages.cli.inspection import Add, table
from stages.core import holdings, lockfiles, machine, verdicts, workspace, yamlfile
from stages.core.errors import DevenoError

if TYPE_CHECKING:
    from stages.core.rebuild import Rebuild
    from stages.core.records import Record
    from stages.core.resolution import Found

EXITS = {verdicts.WITHIN: 3, verdicts.DIFFERENT: 4, verdicts.FAILED: 2, verdicts.BLOCKED: 2}
"""Exit code of the worst verdict; all others are 0."""
EVERY_S = 15.0
"""How often a running entry's progress is told."""
SHOWN = 5
"""Differences shown of one entry; `--json` has all."""
GUARD = Path(__file__).resolve().parents[2] / "flows" / "guard.py"


def add_verbs(add: Add) -> None:
    """Register the verb."""
    verb = add("rebuild", rebuild, "make artifacts again in a clean tree and compare")
    verb.add_argument("targets", nargs="+", metavar="TARGET", help="path, hash, entry or REV:path")
    verb.add_argument(
        "--from", dest="start", choices=("raw", "parents"), default="raw",
        help="make everything they stand on too, or only them from their recorded inputs",
    )  # fmt: skip
    verb.add_argument("--keep", action="store_true", help="keep the folder it was made in")
    verb.add_argument("--json", action="store_true", help="as JSON; progress to standard error")


def rebuild(options: argparse.Namespace) -> int:
    """Make the targets, and by default all they stand on, again; return what came of it."""
    from stages.core.rebuild import Rebuild
    from stages.core.records import Records

    root = workspace.root()
    records = Records(root)
    found = [(target, records.resolve(target)) for target in options.targets]
    teller = Teller(sys.stderr if options.json else sys.stdout)
    work = Rebuild(
        root, records, compare, launch=launch(), start=options.start, tell=teller.progress
    )
    order = work.order([one.record for _, one in found])
    teller.begin(work, order, options.start)
    signal.signal(signal.SIGTERM, _interrupt)
    with work.opened(options.keep):
        try:
            for record in order:
                teller.made(work, record)
            rows = [target_row(work, target, one) for target, one in found]
        except KeyboardInterrupt:
            teller.broken_off(work, order)
            raise
    verdict = verdicts.worst(list(work.made.values()))
    code = EXITS.get(verdict, 0)
    if options.json:
        print(json.dumps(result(work, order, rows, verdict, code), indent=2, ensure_ascii=False))
    else:
        teller.verdicts(work, order, rows)
    if options.keep:
        teller.line(f"kept in {work.folder.relative_to(root)}")
    for made in work.made.values():
        if made.verdict == verdicts.FAILED:
            sys.stderr.write(f"{failure(made)}\n")
    return code


def compare(recorded: Path, made: Path) -> list[Any]:
    """Return where two artifacts part; what reads their files is imported when it is needed."""
    from stages.lm.divergence import compare as compared

    return compared(recorded, made)


def launch() -> list[str]:
    """Return the guard that ends a stage with all its children when we end, however we end."""
    from stages.core.replica import GRACE_S

    return [sys.executable, "-I", "-S", str(GUARD), str(GRACE_S)] if GUARD.exists() else []


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Teller:
    """Prints what is made, line by line, and the verdicts at the end."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.started, self.shown = stream, time.monotonic(), time.monotonic()
        self.now = ""
        self.total = 0

    def line(self, text: str) -> None:
        """Print one line with the time since the start."""
        clock = int(time.monotonic() - self.started)
        self.stream.write(f"{clock // 60:02d}:{clock % 60:02d} {text}\n")
        self.stream.flush()

    def begin(self, work: Rebuild, order: list[Record], start: str) -> None:
        """Say what is to be made, and on what other machine and packages the records were."""
        self.total = len(order)
        self.line(f"{self.total} entries to make, from {start}")
        for text in differences_of_place(work, order):
            self.line(text)

    def made(self, work: Rebuild, record: Record) -> None:
        """Make one entry and say how it came out."""
        self.now, self.shown = record.entry, time.monotonic()
        made = work.make(record)
        count = f"[{len(work.made)}/{self.total}]"
        told = f" ({short(made)})" if made.verdict in verdicts.WORST else ""
        self.line(f"{record.entry} in {made.seconds:.1f} s: {made.verdict}{told}  {count}")

    def progress(self, text: str) -> None:
        """Say now and then how far the running entry is."""
        if time.monotonic() - self.shown >= EVERY_S:
            self.shown = time.monotonic()
            self.line(f"{self.now} {text or 'is running'}")

    def broken_off(self, work: Rebuild, order: list[Record]) -> None:
        """Say what was done before somebody stopped it."""
        done = [f"{one.record.entry} {one.verdict}" for one in work.made.values()]
        self.line(f"stopped; {len(done)} of {len(order)} were made: {', '.join(done) or 'none'}")

    def verdicts(self, work: Rebuild, order: list[Record], rows: list[dict[str, Any]]) -> None:
        """Print a line per entry, where it parts, then a line per target."""
        made = [work.made[verdicts.key(record)] for record in order]
        self.stream.write("\n")
        self.stream.write(
            table((f"  {one.record.entry}", one.verdict, explained(one)) for one in made) + "\n"
        )
        for one in made:
            places = divergences(one)
            if places and one.verdict in verdicts.WORST:
                self.stream.write(f"\n  {one.record.entry} parts at\n")
                self.stream.writelines(f"    {place}\n" for place in places[:SHOWN])
                if len(places) > SHOWN:
                    self.stream.write(f"    and {len(places) - SHOWN} more (--json has them)\n")
        self.stream.write("\n")
        for row in rows:
            since = f"; first to part: {row['first_to_part']}" if row["first_to_part"] else ""
            self.stream.write(f"{row['path']} ({row['entry']}): {row['verdict']}{since}\n")
        self.stream.flush()


def short(made: verdicts.Made) -> str:
    """Return in few words why an entry did not come out as recorded."""
    if made.after:
        return f"after {', '.join(made.after)}"
    return made.reason or str(made.first_divergence or "other bytes")


def explained(made: verdicts.Made) -> str:
    """Return what is to be said of an entry beside its verdict."""
    notes = [output.note for output in made.outputs if output.note]
    after = [f"after {', '.join(made.after)}"] if made.after else []
    reason = [made.reason] if made.reason else []
    return "; ".join(dict.fromkeys([*after, *reason, *made.notes, *notes]))


def divergences(made: verdicts.Made) -> list[str]:
    """Return where an entry parts, curves first."""
    rows = [f"{one.kind} {one.where}" if not one.recorded else str(one) for one in made.curves]
    for output in made.outputs:
        for one in output.differences:
            rows.append(f"{output.path}{'/' if one.file else ': '}{one}")
    return rows


def differences_of_place(work: Rebuild, order: list[Record]) -> list[str]:
    """Return in words which packages and which machine are other than the recorded ones."""
    rows = [
        f"package {name}: {then} recorded, {now} installed"
        for name, (then, now) in verdicts.environments(order).items()
    ]
    rows += verdicts.machines(order, work.records)
    if any(work.records.execution(record) is None for record in order):
        rows += _committed_machine(work.root)
    return rows


def _committed_machine(root: Path) -> list[str]:
    """Return how the machine that HEAD names differs, where no journal tells of a better."""
    text = lockfiles.git(root, "show", f"HEAD:./{machine.MACHINE}")
    then = yamlfile.parse(text, machine.MACHINE) if text else {}
    now = machine.declared()
    return [
        f"another {name}, as {machine.MACHINE} at HEAD has it: {then[name]} then, {now[name]} now"
        for name in ("cpu", "system")
        if then.get(name) not in (None, now[name])
    ]


def target_row(work: Rebuild, target: str, found: Found) -> dict[str, Any]:
    """Return what came of one target; of a file inside an artifact, of that file."""
    made = work.made[verdicts.key(found.record)]
    output = next((one for one in made.outputs if one.path == found.path), None)
    first = verdicts.first(work.ancestry(found.record), work.made)
    judged = made.verdict
    if judged in (verdicts.DIFFERENT, verdicts.WITHIN) and output is not None:
        judged = output.verdict
    path, recorded, now = found.path, found.md5, output.made if output else None
    if found.member:
        path = f"{found.path}/{found.member}"
        listed = dict(work.records.listing(found.md5) or [])
        recorded = listed.get(found.member, "")
        now = holdings.actual(made.folder / path) if made.folder else None
        if recorded and recorded == now:
            judged = verdicts.IDENTICAL
    return {
        "target": target,
        "path": path,
        "entry": found.record.entry,
        "fingerprint": found.record.fingerprint,
        "verdict": judged,
        "recorded_md5": recorded,
        "made_md5": now,
        "first_to_part": f"{first.record.entry}: {short(first)}" if first else "",
    }


def result(
    work: Rebuild, order: list[Record], rows: list[dict[str, Any]], verdict: str, code: int
) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "verdict": verdict,
        "exit_code": code,
        "from": work.start,
        "targets": rows,
        "entries": [entry_row(work.made[verdicts.key(record)]) for record in order],
        "packages": {
            name: {"recorded": then, "installed": now}
            for name, (then, now) in verdicts.environments(order).items()
        },
        "machine": [
            text for text in differences_of_place(work, order) if not text.startswith("package ")
        ],
    }


def entry_row(made: verdicts.Made) -> dict[str, Any]:
    """Return one entry's verdict, outputs and differences as JSON values."""
    return {
        "entry": made.record.entry,
        "fingerprint": made.record.fingerprint,
        "verdict": made.verdict,
        "reason": made.reason,
        "after": list(made.after),
        "seconds": round(made.seconds, 2),
        "notes": list(made.notes),
        "curves": [one.row() for one in made.curves],
        "outputs": [
            {
                "path": one.path,
                "recorded_md5": one.recorded,
                "made_md5": one.made,
                "verdict": one.verdict,
                "note": one.note,
                "differences": [row.row() for row in one.differences],
            }
            for one in made.outputs
        ],
    }


def failure(made: verdicts.Made) -> DevenoError:
    """Return the error of an entry that could not be made, as three lines."""
    parts = dict(row.split(": ", 1) for row in made.error if ": " in row)
    return DevenoError(
        f"{made.record.entry} could not be made again: {parts.get('error', made.reason)}",
        parts.get("where", made.record.entry),
        parts.get("do", "add `--keep`, which leaves the folder with the log of it"),
    )
