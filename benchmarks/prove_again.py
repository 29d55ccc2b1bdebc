"""Prove that any artifact can be made again: each line in a fresh clone, into made-again.json.

    python benchmarks/prove_again.py [--lines 1,2,...] [--keep FOLDER] [--recorded NAME,...]

Every line has its claim, the command, the figure, the verdict and the commit it was measured on. A
line that fails stays in the file. Long measurements (`--recorded chaos,rebuild_all,...`, minutes to
an hour each) may be taken from their own tracked result file, which then names when that was
written; everything else runs now. Lines about tests read the junit file of one `make test`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks import prove

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "made-again.json"
Line = tuple[str, str, bool]
"""The command, the figure and whether the claim held."""


class Again:
    """Runs the lines in the clones of a `Prover`."""

    def __init__(self, folder: Path, recorded: frozenset[str]) -> None:
        from benchmarks import prove

        self.prover = prove.Prover(folder)
        self.command = prove.command
        self.recorded = recorded
        self.measured_on = self.prover.commit

    def tests(self, *paths: str) -> Line:
        """Return what the fresh clone's `make test` says of some files of tests."""
        figures, passed = [], True
        for path in paths:
            self.tested()
            _, figure, good = self.prover._tests(path)
            figures.append(f"{Path(path).stem}: {figure}")
            passed &= good
        return f"make test: {', '.join(paths)}", "; ".join(figures), passed

    def tested(self) -> prove.Done:
        """Return `make setup` and `make test` of a fresh clone, run once."""
        clone = self.prover.clone("first")
        note = clone / ".deveno" / "proved.json"
        if not note.exists():  # what `Prover.tested` asks for: here `make setup` is enough
            done = self.command(clone, "make", "setup")
            note.parent.mkdir(exist_ok=True)
            note.write_text(json.dumps(done.__dict__), encoding="utf-8")
        return self.prover.tested()

    def measured(self, name: str, target: str) -> dict[str, Any]:
        """Run a benchmark in its own fresh clone, or read its tracked result; return that."""
        path = ROOT / "benchmarks" / f"{name}.json"
        if name in self.recorded:
            shown = subprocess.run(
                ["git", "log", "-1", "--format=%H", "--", f"benchmarks/{name}.json"],
                cwd=ROOT, capture_output=True, text=True, check=True,
            )  # fmt: skip
            self.measured_on = f"{shown.stdout.strip()} (its tracked result)"
        else:
            first = self.prover.clone("first")
            self.command(first, "make", "setup")
            clone = self.prover.clone(name)
            (clone / ".venv").exists() or (clone / ".venv").symlink_to(first / ".venv")
            (clone / "data/external").mkdir(parents=True, exist_ok=True)
            python = str(first / ".venv/bin/python")
            path_variable = f"{first / '.venv/bin'}:{os.environ['PATH']}"
            variables = {"PATH": path_variable, "PYTHONPATH": str(clone)}
            self.command(clone, python, f"benchmarks/{target}.py", **variables)
            made = clone / "benchmarks" / path.name
            if made.exists():
                shutil.copy(made, path)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def line_1(self) -> Line:
        """`deveno lineage` of any artifact, under two seconds with a thousand recorded."""
        found = self.measured("lineage", "lineage")
        rows = [
            f"{row['target']}: {row['wall_s'][1]} s wall, {row['cpu_s'][1]} CPU s"
            for row in found["rows"]
        ]
        figure = f"{found['recorded']['artifacts']} artifacts; {'; '.join(rows)} (medians)"
        return "python benchmarks/lineage.py", figure, bool(found["pass"])

    def line_2(self) -> Line:
        """Everything recorded resolves: commits, run cache, journal, copies, hashes, MLflow."""
        return self.tests(
            "tests/core/test_records.py", "tests/core/test_licences.py",
            "tests/pipeline/test_tracked_models.py",
        )  # fmt: skip

    def line_3(self) -> Line:
        """Every recipe is made again from raw: all deterministic entries byte-identical."""
        found = self.measured("rebuild_all", "rebuild_all")
        counts: dict[str, int] = {}
        bad = []
        for row in found["entries"]:
            counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
            if row["verdict"] not in ("identical", "machine-bound", "restored", "not run"):
                bad.append(f"{row['recipe']}: {row['entry']} {row['verdict']}")
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        recipes = sorted({row["recipe"] for row in found["entries"] if row["verdict"] != "not run"})
        figure = f"recipes {', '.join(recipes)}: {told}; not so: {'; '.join(bad) or 'none'}"
        whole = {"smoke", "code", "esperanto", "esperanto_files"} <= set(recipes)
        return "make rebuild-all", figure, whole and bool(counts.get("identical")) and not bad

    def line_4(self) -> Line:
        """rebuild judges: identical, within tolerance, different and where; touches nothing."""
        return self.tests("tests/pipeline/test_rebuild.py", "tests/lm/test_divergence.py")

    def line_5(self) -> Line:
        """compare, explain, bundle, verify, adopt, each with planted faults."""
        return self.tests(
            "tests/core/test_comparison.py", "tests/core/test_terms.py",
            "tests/core/test_figures.py", "tests/core/test_explanation.py",
            "tests/core/test_bundles.py", "tests/core/test_adoption.py",
            "tests/cli/test_comparing.py", "tests/pipeline/test_bundles.py",
        )  # fmt: skip

    def line_6(self) -> Line:
        """Sources outside the repository enter the key; WordPiece and Unigram are deterministic."""
        return self.tests(
            "tests/stages/test_acquire_origin.py", "tests/stages/test_tokenizer_algorithms.py"
        )

    def line_7(self) -> Line:
        """Killed at 20 random points, also while saving: the finished model is the same bytes."""
        found = self.measured("resume", "resume")
        rows = [
            f"{row['entry']}: {sum(row['kills'].values())} kills, "
            f"{row['outputs_identical']} of {row['outputs']} outputs identical"
            for row in found["trainings"]
        ]
        return "make resume", "; ".join(rows), bool(found["pass"])

    def line_8(self) -> Line:
        """Long CPU stages repeat at most one shard; torn and foreign checkpoints are not loaded."""
        return self.tests(
            "tests/lm/test_parts.py", "tests/stages/test_parts_of_stages.py",
            "tests/lm/test_checkpoint.py", "tests/stages/test_milestones.py",
            "tests/stages/test_resume.py",
        )  # fmt: skip

    def line_9(self) -> Line:
        """A hundred kills: one writer, no partial artifact, no lock for a human, the same bytes."""
        found = self.measured("chaos", "chaos")
        told = [
            ", ".join(f"{name} {count}" for name, count in found[kind].items())
            for kind in ("by_victim", "by_phase")
        ]
        watched = {PARTIAL: 0, **found["watched"]}
        minutes = found["wall_s"] / 60
        figure = (
            f"{found['kills']} kills (seed {found['seed']}), {len(found['violations'])} violations;"
            f" {told[0]}; {told[1]}; {watched['looks']} looks, {watched[PARTIAL]} of them at a"
            f" folder that DVC itself was deleting or linking; {minutes:.0f} minutes at load"
            f" {found['load_average'][0]:.0f}"
        )
        enough = min(found["by_phase"][name] for name in ("publishing", "checkpointing")) >= 10
        enough &= min(found["by_victim"].values()) >= 10 and found["kills"] >= 100
        return "make chaos", figure, enough and not found["violations"] and minutes <= 25

    def line_10(self) -> Line:
        """Two at once, four at once; the tracker and the orchestrator are removable."""
        return self.tests(
            "tests/pipeline/test_chaos.py", "tests/pipeline/test_lease.py",
            "tests/pipeline/test_publisher.py", "tests/pipeline/test_removable.py",
        )  # fmt: skip

    def line_11(self) -> Line:
        """A disk that fills during any stage: a clear error, a clean retry, the same bytes."""
        found = self.measured("full_disk", "full_disk")
        bad = [row for row in found["rows"] if row.get("passed") != row.get("trials")]
        figure = f"{found['passed']} of {found['trials']} trials over {len(found['rows'])} entries"
        figure += f"; not so: {', '.join(str(row.get('entry')) for row in bad) or 'none'}"
        return "make full-disk", figure, bool(found["pass"])

    def line_12(self) -> Line:
        """A flipped byte is found, its taint named, and it is made again; clocks may jump."""
        return self.tests("tests/pipeline/test_integrity.py", "tests/pipeline/test_full_disk.py")

    def line_13(self) -> Line:
        """Environment per stage: what a bump concerns, counts and device in the right place."""
        return self.tests("tests/house/test_identity.py", "tests/core/test_environment.py")

    def line_14(self) -> Line:
        """Remotes: folder, S3 and read-only HTTP; by fingerprint before computing."""
        return self.tests("tests/pipeline/test_remotes.py", "tests/core/test_remotes.py")

    def line_15(self) -> Line:
        """The night sees 5 % and does not cry wolf; missed and overlapping nights are skipped."""
        found = self.measured("nightly_power", "nightly_power")
        planted = found["planted"]
        rate = max(one["false_alarm_rate"] for one in found["simulated_same"].values())
        power = min(power for one in planted.values() for power in one["power_simulated"].values())
        caught = sum(one["caught"] for one in planted.values())
        nights = sum(one["nights"] for one in planted.values())
        figure = (
            f"real A/A nights {found['real_same']['nights']}, false alarms "
            f"{found['real_same']['false_alarms']}; simulated false alarms {100 * rate:.1f} %; "
            f"planted 5 % caught {caught} of {nights}, simulated power {power}; "
            f"{found['minutes_per_night']['median']:.1f} minutes per artifact (int8 tagger)"
        )
        return "make nightly-power", figure, bool(found["pass"])

    def line_16(self) -> Line:
        """Nights through the real flow, MLflow's models and searches."""
        return self.tests(
            "tests/pipeline/test_nightly.py", "tests/lm/test_verdicts.py",
            "tests/pipeline/test_mlflow.py",
        )  # fmt: skip

    def line_17(self) -> Line:
        """Cost of truth: no-op, registering 2 GB, a logged metric."""
        found = {name: one["figures"] for name, one in self.measured("truth", "truth").items()}
        noop, metric, tree = found["noop"], found["metric"], found["mutations"]
        figure = (
            f"no-op {noop['times_less_wall_s']['median']:.0f}x less wall and "
            f"{noop['times_less_cpu_s']['median']:.0f}x less CPU than dvc repro; a metric "
            f"{metric['every_200_us_journal_cpu_us']['median']:.1f} us of CPU (p99 "
            f"{metric['every_200_us_journal_cpu_us']['p99']:.0f}); {tree['mutations']} mutations, "
            f"{tree['called_fresh_and_is_not']} called fresh that are not"
        )
        good = noop["times_less_wall_s"]["median"] >= 5 and noop["times_less_cpu_s"]["median"] >= 5
        good &= metric["every_200_us_journal_cpu_us"]["median"] <= 10
        good &= not tree["called_fresh_and_is_not"]
        rows = found.get("register", [])
        for row in rows:
            how = "linked" if row["linked"] else "copied"
            figure += f"; {row['mib']} MiB in {row['files']} file(s), {how}, as {row['user']}:"
            for kind in ("cpu", "wall"):
                ours, commit = row[f"registering_{kind}_s"], row[f"dvc_commit_{kind}_s"]
                figure += (
                    f" {kind} {ours['median']:.1f} s ({ours['q1']:.1f} to {ours['q3']:.1f})"
                    f" against {commit['median']:.1f} s of dvc commit"
                )
                # The medians are judged; a difference near nothing has no ratio to show.
                good &= commit["median"] >= 1.8 * ours["median"]
        return "make overhead", figure, good and bool(rows)

    def line_18(self) -> Line:
        """gc removes nothing that is needed, and what it removed keeps its lineage."""
        return self.tests("tests/pipeline/test_room.py")

    def line_19(self) -> Line:
        """Safe loading: no pickle outside the restricted unpickler, malicious weights refused."""
        return self.tests("tests/house/test_loading.py", "tests/lm/test_weights.py")

    def line_20(self) -> Line:
        """docs/lineage.md: every command of the page runs and says what it is told to say."""
        return self.tests("tests/pipeline/test_docs.py")

    def line_21(self) -> Line:
        """`make test` as a whole, in a fresh clone."""
        done = self.tested()
        last = next(row for row in reversed(done.text.splitlines()) if "passed" in row)
        return "make test", f"{last.strip('= ')}; {done.cpu_s:.0f} CPU s", done.code == 0

    def line_22(self) -> Line:
        """MLflow dies in whole runs, five ways: the same bytes, everything published once."""
        found = self.measured("removable", "removable")
        figure = "; ".join(
            f"{row['death']}: {len(row['other_bytes'])} other bytes, {len(row['wrong'])} not once"
            for row in found["runs"]
        )
        return "make removable", figure, bool(found["pass"])

    def line_23(self) -> Line:
        """Odd, damaged and hostile input: three lines, exit 2, nothing lost."""
        return self.tests("tests/cli/test_damaged.py", "tests/cli/test_strangers.py")


PARTIAL = "partial in DVC's hands"
LINES = range(1, 24)


def main() -> int:
    """Run the lines asked for and write the result."""
    return prove_lines(Again, LINES, RESULT, str(__doc__))


def prove_lines(kind: type[Again], lines: Iterable[int], result: Path, about: str) -> int:
    """Run the lines that the command line asks for, and put each into the result file."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--lines", default=",".join(map(str, lines)))
    parser.add_argument("--keep", type=Path, help="keep the clones here and use them again")
    parser.add_argument("--recorded", default="", help="measurements to take as tracked")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="deveno-again-"))
    folder.mkdir(parents=True, exist_ok=True)
    again = kind(folder.resolve(), frozenset(options.recorded.split(",")))
    passed_all = True
    for number in map(int, options.lines.split(",")):
        function: Callable[[], Line] = getattr(again, f"line_{number}")
        again.measured_on = again.prover.commit
        load, started = os.getloadavg()[0], time.monotonic()
        try:
            told, figure, passed = function()
        except Exception as error:
            told, figure, passed = f"line {number}", f"{type(error).__name__}: {error}", False
        passed_all &= passed
        record(result, {
            "line": number, "claim": str(function.__doc__).strip(), "command": told,
            "figure": figure, "pass": passed, "commit": again.measured_on,
            "wall_s": round(time.monotonic() - started, 1),
            "load_average_before": round(load, 2),
        })  # fmt: skip
    return 0 if passed_all else 1


def record(result: Path, row: dict[str, Any]) -> None:
    """Put one line into the result; the others keep their last."""
    from stages.core import canonical

    rows = {}
    if result.exists():
        rows = {one["line"]: one for one in json.loads(result.read_text(encoding="utf-8"))["lines"]}
    rows[row["line"]] = row
    ordered = [rows[number] for number in sorted(rows)]
    canonical.write_json(result, {"lines": ordered, "cores": os.cpu_count()})
    print(f"{row['line']}: {'pass' if row['pass'] else 'FAIL'}  {row['figure']}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
