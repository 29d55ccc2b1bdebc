"""Generated text through acquire, refine, tokenizer and encode: memory, disk, CPU per gigabyte.

    python -m benchmarks.corpus_scale [--sizes 0.1,0.3,1,10] [--kill 2] [--folder FOLDER]

Each size is a project of its own (`--folder`, by default below `.deveno/bench`), run entry by entry
with `dvc repro`, as a user would. Twice on the way everything is killed: when half of refine's
first pass is kept, and when half of encode's parts are; the same command then goes on. Watched
every 50 ms: RssAnon + RssShmem of the whole tree of processes, DVC's among them; every 2 s: what
the project takes on disk, its cache and scratch folders among it, links once. The smallest size is
run a second time without a kill: its outputs must have the same digests.

A row is written to `corpus_scale.json`, and the plot `corpus_scale.svg`, as soon as a size is done;
a size that is there already at this commit is not run again, and a project that was interrupted
goes on with the entry it was at.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import drawing
from benchmarks.process_tree import Watch, disk_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "corpus_scale.json"
STAGES = ("acquire", "refine", "tokenizer", "encode")
OUTPUTS = ("data/raw/text", "data/corpora/text", "models/tokenizers/text", "data/tokens/text")
KILLS = {"refine": "intake", "encode": "encode train"}
"""Stages that are killed, and the job of which half must be kept by then."""
PART_BYTES = {"refine": 6 << 20, "encode": 16 << 20}
"""Text of a part, about."""
MEMORY_GIB, DISK_GB, GROWTH = 4.0, 40.0, 1.15
"""Bounds: memory, disk at the largest size, and cost per GB of the largest over the smallest."""
RECIPE: dict[str, Any] = {
    "acquire": {
        "text": {"source": {"kind": "generator", "annotated_share": 0, "parallel_share": 0}}
    },
    "refine": {
        "text": {
            "raw": "text",
            "kind": "text",
            "filters": {
                "languages": ["eo"],
                "private_types": ["email", "phone", "ip", "key", "iban", "card"],
                "rule_sets": ["gopher-repetition", "gopher-quality", "c4", "fineweb"],
                "counting": {"stop_words": ["la", "kaj", "de", "en", "estas", "al", "por", "ke"]},
                "scores": True,
            },
        }
    },
    "tokenizer": {"text": {"corpus": "text", "objective": "causal", "vocab_size": 16000}},
    "encode": {"text": {"corpus": "text", "tokenizer": "text", "sequence_length": 1024}},
}
"""All normalising, all filters, four sets of rules with their scores kept, all kinds of duplicates
that are searched by default, measures; a vocabulary from a sample of 200 MB."""


class Project:
    """One size in a folder of its own; what is known of it survives in `state.json`."""

    def __init__(self, folder: Path, size_gb: float, kills: bool) -> None:
        self.folder, self.size_gb, self.kills = folder, size_gb, kills
        self.state: dict[str, Any] = {"stages": {}, "killed": {}}
        known = folder / "state.json"
        if known.exists():
            self.state = json.loads(known.read_text())
        else:
            self._make()

    @property
    def root(self) -> Path:
        """Return the project's root."""
        return self.folder / "clone"

    def _make(self) -> None:
        from tests.pipeline.conftest import make_clone

        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        clone = make_clone(self.root, "smoke")
        recipe = json.loads(json.dumps(RECIPE))
        recipe["acquire"]["text"]["source"]["size_mb"] = 1000 * self.size_gb
        path = self.root / "stages" / "recipes" / "scale.yaml"
        path.write_text("# One size of benchmarks/corpus_scale.py.\n" + yaml.safe_dump(recipe))
        clone.deveno("use", "scale", "--force")
        # Links, not copies: whatever holds the outputs holds the cache.
        clone.run("dvc", "config", "--local", "cache.type", "hardlink,symlink")
        self.state["environment"] = clone.environment
        self._keep()

    def _keep(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def run(self) -> None:
        """Run every entry that is not done, with its kill."""
        for stage in STAGES:
            told = self.state["stages"].setdefault(
                stage,
                {"cpu_s": 0.0, "dvc_cpu_s": 0.0, "wall_s": 0.0, "peak_mib": 0.0, "disk_gb": 0},
            )
            while not told.get("done"):
                print(f"{self.size_gb:g} GB: {stage}", flush=True)
                wanted = stage in KILLS and self.kills and stage not in self.state["killed"]
                told["done"] = self._once(stage, told, wanted)
                self._keep()

    def _once(self, stage: str, told: dict[str, Any], kill: bool) -> bool:
        """Run one entry, or kill it half way; enter what it took; return whether it is done."""
        environment = {**os.environ, **self.state["environment"]}
        environment["PYTHONPATH"] = str(self.root)
        begun = time.monotonic()
        process = subprocess.Popen(
            ["dvc", "--wait-for-lock", "repro", "-q", "-s", f"{stage}@text"],
            cwd=self.root, env=environment, start_new_session=True,
        )  # fmt: skip
        watch = Watch(process.pid, f"execute {stage}")
        looked = 0.0
        while process.poll() is None:
            time.sleep(0.1)
            if kill and (kept := self._half(stage)):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.state["killed"][stage] = {"parts_kept": kept}
                kill = False
            if time.monotonic() - looked > 2:
                looked = time.monotonic()
                told["disk_gb"] = max(told["disk_gb"], disk_bytes(self.folder) / 1e9)
        watch.stop()
        self._alone(stage)
        told["cpu_s"] += watch.cpu_s(of=True)
        told["dvc_cpu_s"] += watch.cpu_s() - watch.cpu_s(of=True)
        told["wall_s"] += time.monotonic() - begun
        told["peak_mib"] = max(told["peak_mib"], watch.peak_kb / 1024)
        told["disk_gb"] = max(told["disk_gb"], disk_bytes(self.folder) / 1e9)
        if process.returncode == -signal.SIGKILL:
            return False
        if process.returncode:
            raise SystemExit(f"{stage} of {self.size_gb:g} GB ended with {process.returncode}")
        self._resumed(stage)
        return True

    def _parts(self, stage: str) -> int:
        """Return how many parts of the job are kept."""
        job = KILLS[stage]
        return sum(1 for _ in (self.root / "scratch" / stage).glob(f"*/parts/{job}/*.part"))

    def _half(self, stage: str) -> int:
        """Return how many parts are kept once about half of the job is done, before that 0."""
        parts = self._parts(stage)
        return parts if parts >= max(1, 0.4e9 * self.size_gb / PART_BYTES[stage]) else 0

    def _alone(self, stage: str) -> None:
        """Wait until no process of the entry is left: a killed DVC's stage ends by itself."""
        for _ in range(300):
            lines = [path for path in Path("/proc").glob("[0-9]*/cwd") if _points(path, self.root)]
            if not lines:
                return
            time.sleep(0.2)
        raise SystemExit(f"a process of {stage} outlived its DVC by a minute")

    def _resumed(self, stage: str) -> None:
        """Enter how many parts the second run of a killed entry took over."""
        if stage not in self.state["killed"] or stage not in KILLS:
            return
        folder = self.root / ".deveno" / "journal" / f"{stage}@text"
        rows = [
            json.loads(line)
            for path in sorted(folder.glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        name = f"parts_reused/{KILLS[stage]}"
        reused = [row["value"] for row in rows if row.get("name") == name]
        self.state["killed"][stage]["parts_reused"] = int(max(reused, default=0))

    def digests(self) -> dict[str, str]:
        """Return the digest of every output, as dvc.lock has it."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())
        every = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in every if out["path"] in OUTPUTS}

    def row(self) -> dict[str, Any]:
        """Return what is written of this size."""
        stages = self.state["stages"]
        return {
            "size_gb": self.size_gb,
            "cpu_s_per_gb": {
                stage: round(told["cpu_s"] / self.size_gb, 2) for stage, told in stages.items()
            },
            "cpu_s_per_gb_whole": round(
                sum(told["cpu_s"] for told in stages.values()) / self.size_gb, 2
            ),
            "dvc_cpu_s_per_gb": round(
                sum(told["dvc_cpu_s"] for told in stages.values()) / self.size_gb, 2
            ),
            "wall_s": {stage: round(told["wall_s"], 1) for stage, told in stages.items()},
            "peak_mib": {stage: round(told["peak_mib"], 1) for stage, told in stages.items()},
            "peak_disk_gb": round(max(told["disk_gb"] for told in stages.values()), 3),
            "killed": self.state["killed"],
            "digests": self.digests(),
        }


def _points(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


def passes(found: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on all rows that are there."""
    rows = [found["rows"][size] for size in sorted(found["rows"], key=float)]
    first, last = rows[0], rows[-1]
    kills = [one for row in rows for one in row["killed"].values()]
    told = {
        "largest_gb": last["size_gb"],
        "most_gib": round(max(max(row["peak_mib"].values()) for row in rows) / 1024, 3),
        "most_gib_goal": MEMORY_GIB,
        "most_disk_gb": max(row["peak_disk_gb"] for row in rows),
        "most_disk_gb_goal": DISK_GB,
        "cost_per_gb_last_to_first": round(
            last["cpu_s_per_gb_whole"] / first["cpu_s_per_gb_whole"], 3
        ),
        "kills": len(kills),
        "parts_reused": sum(one.get("parts_reused", 0) for one in kills),
        "same_bytes_as_without_a_kill": found.get("unkilled") == first["digests"],
    }
    told["pass"] = (
        last["size_gb"] >= 10
        and told["most_gib"] <= MEMORY_GIB
        and told["most_disk_gb"] <= DISK_GB
        and told["cost_per_gb_last_to_first"] <= GROWTH
        and told["kills"] >= 2 * len(rows)
        and all(one.get("parts_reused") for one in kills)
        and told["same_bytes_as_without_a_kill"]
    )
    return told


def write(found: dict[str, Any]) -> None:
    """Write the table and the plot of what is known so far."""
    found["passes"] = passes(found)
    RESULT.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    rows = [found["rows"][size] for size in sorted(found["rows"], key=float)]
    series = {
        stage: [(row["size_gb"], row["cpu_s_per_gb"][stage]) for row in rows] for stage in STAGES
    }
    title = "CPU seconds per gigabyte of generated text, by stage"
    path = RESULT.with_suffix(".svg")
    drawing.lines(path, title, ("gigabytes of text", "CPU seconds per GB"), series)


def main() -> None:
    """Run the sizes that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="0.1,0.3,1,10")
    parser.add_argument("--kill", type=int, default=2, choices=(0, 2))
    parser.add_argument("--folder", type=Path, default=ROOT / ".deveno" / "bench" / "scale")
    how = parser.parse_args()
    os.environ.setdefault("DEVENO_KERNELS", str(ROOT / ".deveno" / "kernels"))
    sizes = sorted({float(size) for size in how.sizes.split(",")})
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if found.get("commit") != commit:
        found = {"commit": commit, "rows": {}}
    found["command"] = " ".join(["python -m benchmarks.corpus_scale", *sys.argv[1:]])
    for number, size in enumerate(sizes):
        if f"{size:g}" not in found["rows"]:
            project = Project(how.folder / f"{size:g}", size, kills=how.kill > 0)
            project.run()
            found["rows"][f"{size:g}"] = project.row()
            shutil.rmtree(project.folder)
        if number == 0 and "unkilled" not in found:
            project = Project(how.folder / f"{size:g}-unkilled", size, kills=False)
            project.run()
            found["unkilled"] = project.digests()
            shutil.rmtree(project.folder)
        write(found)
        print(json.dumps(found["rows"][f"{size:g}"], indent=2), flush=True)
    sys.exit(0 if found["passes"]["pass"] else 1)


if __name__ == "__main__":
    main()
