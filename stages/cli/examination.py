"""`deveno doctor`: is the environment as locked, are the entries whole, and is every byte right."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages.cli.inspection import Add
from stages.core import bundles, dvcfile, environment, integrity, plan, taint, workspace
from stages.core.errors import ArtifactError, DevenoError

SHOWN = 12
"""Entries named in one line of a report; the others are counted."""
QUIET_S = 1.0
"""Progress is told after this time, and then every such time."""
REMEDIES = {
    integrity.CACHE: "run `deveno run`: what needs it is made again",
    integrity.RUN_CACHE: "nothing: what it recorded is computed again when it is wanted",
    integrity.OUTPUT: "run `deveno run`: it is restored from the cache or made again",
    integrity.SOURCE: "`dvc checkout --force {out}.dvc` brings the recorded bytes back; is the "
    "change yours, `dvc commit {out}.dvc` keeps it",
}


def add_verbs(add: Add) -> None:
    """Register the verb."""
    doctor = add("doctor", examine, "check the environment, the generated files and the entries")
    doctor.add_argument(
        "bundle", nargs="?", type=Path, metavar="BUNDLE", help="read this bundle, nothing else"
    )
    doctor.add_argument(
        "--deep", action="store_true",
        help="read every byte of outputs and cache, and put what is damaged aside",
    )  # fmt: skip
    doctor.add_argument(
        "--look", action="store_true", help="with --deep: only say it, put nothing aside"
    )


def examine(options: argparse.Namespace) -> int:
    """Print one line per check; exit 2 if one fails."""
    if options.bundle is not None:
        return _bundle(options.bundle)
    root = workspace.root()
    failures = 0
    for name, check in _checks(root):
        try:
            print(f"ok    {name}: {check()}", flush=True)
        except DevenoError as error:
            failures += 1
            _fail(name, error)
    if options.deep:
        try:
            failures += _deep(root, options.look)
        except DevenoError as error:  # nothing says what the bytes should be
            failures += 1
            _fail("bytes", error)
    return 2 if failures else 0


def _bundle(folder: Path) -> int:
    """Read every byte of a bundle; there need be no workspace."""
    if not bundles.is_bundle(folder):
        raise ArtifactError(
            f"{folder} is no bundle", str(folder), "name a folder that `deveno bundle` wrote"
        )
    problems = bundles.problems(folder)
    for problem in problems:
        todo = "fetch the bundle again from where it was made, or make it again there"
        _fail("bundle", ArtifactError(problem, str(folder), todo))
    if not problems:
        print(f"ok    bundle: {folder} is whole")
    return 2 if problems else 0


def _fail(name: str, error: DevenoError) -> None:
    print(f"FAIL  {name}")
    print("\n".join(f"      {line}" for line in error.lines()), flush=True)


def _checks(root: Path) -> list[tuple[str, Callable[[], str]]]:
    def packages() -> str:
        versions = environment.recorded(root)
        environment.check(root, sorted(versions), "the workspace")
        return f"{len(versions)} packages as locked, Python {sys.version.split()[0]}"

    def generated() -> str:
        stale = dvcfile.stale(root)
        if stale:
            raise DevenoError(
                f"{', '.join(stale)} differ from the code", str(root.name), "run `deveno sync`"
            )
        return "dvc.yaml and environment.yaml are in step"

    def entries() -> str:
        steps = plan.make(root)
        return f"{len(steps.steps)} entries, {len(steps.of(plan.SKIP))} fresh"

    def disk() -> str:
        plan.make(root).check_disk()
        return f"{shutil.disk_usage(root).free / 1e9:.1f} GB free"

    return [
        ("packages", packages),
        ("generated files", generated),
        ("entries", entries),
        ("disk", disk),
    ]


def _deep(root: Path, look: bool) -> int:
    """Read every byte, say what is damaged and whom it concerns; return how many files are."""
    reading = integrity.Reading(root, _Progress().tell)
    damages = reading.damages()
    if not damages:
        print(
            f"ok    bytes: {len(reading.objects)} cache objects, {len(reading.records)} records "
            f"and {len(reading.outputs)} outputs read, all as recorded"
        )
        return 0
    tracer = taint.Tracer(root)
    concerned = [tracer.of(damage.recorded, damage.out) for damage in damages]
    if not look:  # after the tracing, which reads the lists of folders
        integrity.mend(root, reading, damages)
    for damage, taints in zip(damages, concerned, strict=True):
        _fail("bytes", _told(damage, taints))
    return len(damages)


def _told(damage: integrity.Damage, concerned: taint.Taint) -> ArtifactError:
    """Return one damaged file as an error that names everyone concerned."""
    recorded = damage.recorded
    where = [damage.path]
    if concerned.makers:
        where.append(f"made by {_few(concerned.makers)}")
    if concerned.readers:
        where.append(f"read by {_few(concerned.readers)}")
    remedy = REMEDIES[damage.kind].format(out=damage.out)
    if damage.done.startswith("written anew"):
        remedy = "nothing: it is whole again"
    todo = f"{remedy} ({damage.done})" if damage.done else remedy
    if concerned.readers and damage.kind != integrity.CACHE:
        todo += "; whoever read it after the damage: `deveno run --force` with its name"
    return ArtifactError(
        f"the bytes of {damage.kind} {damage.path} are {damage.found}, recorded is {recorded}",
        "; ".join(where),
        todo,
    )


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class _Progress:
    """Tells on standard error how far a long reading is."""

    def __init__(self) -> None:
        self.told = time.monotonic()

    def tell(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.told >= QUIET_S and done < total:
            self.told = now
            sys.stderr.write(f"read {done / 1e6:.0f} of {total / 1e6:.0f} MB\n")
            sys.stderr.flush()
