"""Is a training that was killed the same training? Kills real processes and compares bytes.

In a copy of the tracked files a small graph is made once without a kill (pretraining of a masked
and of a causal model, fine-tuning of a tagger); then each is made again in as many processes as
there are kills plus one: SIGKILL and SIGTERM at seeded random steps, and SIGKILL at the moment a
checkpoint is seen half-written. Every process runs what `python -m stages execute` runs, forked
from one that has torch imported. Writes benchmarks/resume.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "resume.json"
MATERIAL = (
    "acquire@eo", "refine@eo", "refine@pos", "tokenizer@eo", "tokenizer@next", "encode@eo",
    "encode@next", "pretrain@base",
)  # fmt: skip
TRAININGS = ("pretrain@masked", "pretrain@causal", "finetune@pos")
SIZE = {"hidden_size": 32, "layers": 1, "heads": 2, "feed_forward_size": 64, "positions": 64}
EVERY = 7
PATIENCE_S = 120.0


def choices(steps: int) -> dict[str, Any]:
    """Return the graph: one megabyte of text and models that learn in seconds."""
    common = {
        "batch_rows": 4, "checkpoint_every": EVERY, "evaluate_every": 25, "evaluate_rows": 4,
        "publish_every": 50, "steps": steps,
    }  # fmt: skip
    masked = common | {"tokens": "eo", "tokenizer": "eo", "model": {"kind": "roberta", **SIZE}}
    masked["model"] = masked["model"] | {"dropout": 0.1}
    causal = common | {"tokens": "next", "tokenizer": "next", "objective": {"kind": "causal"}}
    causal["model"] = {"kind": "gpt2", **SIZE}
    tagger = {"base": "pretrained/base", "data": "pos", "epochs": 16, "batch_sentences": 16}
    tagger |= {"checkpoint_every": EVERY, "max_sentences": 300, "max_valid_sentences": 40}
    text = {"raw": "eo", "kind": "text", "filters": {"languages": ["eo"]}}
    return {
        "acquire": {"eo": {"source": {"kind": "generator", "size_mb": 0.5, "seed": 7}}},
        "refine": {"eo": text, "pos": {"raw": "eo", "kind": "labelled"}},
        "tokenizer": {
            "eo": {"corpus": "eo", "vocab_size": 400},
            "next": {"corpus": "eo", "vocab_size": 400, "objective": "causal"},
        },
        "encode": {
            name: {"corpus": "eo", "tokenizer": name, "sequence_length": 64}
            for name in ("eo", "next")
        },
        "pretrain": {
            "base": {**masked, "steps": 20, "publish_every": None},
            "masked": masked,
            "causal": causal,
        },
        "finetune": {"pos": tagger},
    }


def workspace(folder: Path, steps: int) -> None:
    """Copy the tracked files and write the graph."""
    from stages.core import recipes, yamlfile

    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    sections = recipes.complete(choices(steps), "resume")
    (folder / "params.yaml").write_text(yamlfile.dump(sections), encoding="utf-8")


def start(entry: str) -> int:
    """Fork a process that executes an entry in the current folder; returns its id."""
    from stages.core import run

    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = run.execute(*entry.split("@"))
    finally:
        sys.stderr.flush()
        os._exit(code)


def finish(entry: str) -> int:
    """Execute an entry to its end; returns the exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(start(entry), 0)[1])


def outputs(folder: Path, entry: str) -> dict[str, str]:
    """Return the digests of everything that an entry publishes, by path."""
    from stages.core import canonical

    stage, key = entry.split("@")
    made = {"pretrain": "pretrained", "finetune": "finetuned"}[stage]
    paths = [path for path in (folder / "models" / made / key).rglob("*") if path.is_file()]
    paths += [folder / f"metrics/{stage}/{key}.json", folder / f"plots/{stage}/{key}.csv"]
    return {
        path.relative_to(folder).as_posix(): canonical.file_digest(path) for path in sorted(paths)
    }


def half_written(scratch: Path) -> bool:
    """Say whether a checkpoint or a milestone is being written."""
    return any(scratch.glob("*/*/.step-*.tmp"))


class Killer:
    """Kills the processes of one entry until its kills are spent, then lets it finish."""

    def __init__(self, folder: Path, entry: str, kills: int, steps: int, seed: str) -> None:
        self.folder, self.entry = folder, entry
        self.scratch = folder / "scratch" / entry.split("@")[0]
        rng = random.Random(f"{seed} {entry}")
        points = sorted(rng.randint(1, steps - 5) for _ in range(kills))
        # A third while a checkpoint is being written, the rest by either signal.
        kinds = ["save" if number % 3 == 0 else "step" for number in range(kills)]
        rng.shuffle(kinds)
        self.plan = [
            (point, kind, rng.choice((signal.SIGKILL, signal.SIGTERM)) if kind == "step" else 9)
            for point, kind in zip(points, kinds, strict=True)
        ]
        self.counts: Counter[str] = Counter()
        self.torn = 0

    def run(self) -> bool:
        """Spend the kills and finish; returns whether the last process ended well."""
        for point, kind, number in self.plan:
            pid = start(self.entry)
            if not self._wait(pid, point, kind):
                return True  # it was faster than the kill
            os.kill(pid, number)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code == 0:
                return True
            self.torn += half_written(self.scratch)
            self.counts[f"{kind} {signal.Signals(number).name}"] += 1
        return finish(self.entry) == 0

    def _wait(self, pid: int, point: int, kind: str) -> bool:
        """Wait for the moment of a kill; False where the process ended before it came."""
        from stages.core import journal

        deadline = time.monotonic() + PATIENCE_S
        tail = journal.Tail(self._journal(pid, deadline))
        reached = 0
        while time.monotonic() < deadline:
            for event in tail.read():
                if event["event"] in ("metric", "resumed") and event.get("step"):
                    reached = max(reached, int(event["step"]))
                if event["event"] == "end":
                    os.waitpid(pid, 0)
                    return False
            if reached >= point and kind == "step":
                return True
            if reached >= point:
                return self._catch(deadline)
            time.sleep(0.002)
        raise TimeoutError(f"{self.entry} did not reach step {point}")

    def _catch(self, deadline: float) -> bool:
        """Return as soon as a checkpoint is being written."""
        while time.monotonic() < deadline:
            if half_written(self.scratch):
                return True
        raise TimeoutError("no checkpoint was written")

    def _journal(self, pid: int, deadline: float) -> Path:
        while time.monotonic() < deadline:
            found = list((self.folder / ".deveno/journal" / self.entry).glob(f"*-{pid}.jsonl"))
            if found:
                return found[0]
            time.sleep(0.002)
        raise TimeoutError(f"{self.entry} did not start")


def told(folder: Path, entry: str) -> dict[str, Any]:
    """Return how the journals of an entry tell its run: every step once?"""
    from stages.core import journal, succession

    last = journal.last(folder, *entry.split("@"))
    assert last is not None
    chain = succession.chain(folder, last)
    curves = succession.curves(folder, last)
    once = all(len(points) == len({step for step, _ in points}) for points in curves.values())
    resumed = [succession.resumed_at(one) for one in chain[1:]]
    return {"executions": len(chain), "curves": curves, "once": once, "resumed_at": resumed}


def prove(folder: Path, entry: str, kills: int, steps: int, seed: str) -> dict[str, Any]:
    """Make an entry without a kill, then with them; return a row of the result."""
    assert finish(entry) == 0
    whole, straight = outputs(folder, entry), told(folder, entry)
    stage, key = entry.split("@")
    for path in whole:
        (folder / path).unlink()
    shutil.rmtree(folder / ".deveno/journal" / entry)
    killer = Killer(folder, entry, kills, steps, seed)
    ended = killer.run()
    again, joined = (outputs(folder, entry), told(folder, entry)) if ended else ({}, straight)
    losses = straight["curves"]["loss_nats"]
    row = {
        "entry": entry,
        "steps": len(losses),
        "kills": dict(sorted(killer.counts.items())),
        "half_written_checkpoints_left": killer.torn,
        "processes": joined["executions"],
        "resumed_at": joined["resumed_at"],
        "outputs": len(whole),
        "outputs_identical": sum(again.get(path) == digest for path, digest in whole.items()),
        "same_set_of_outputs": set(again) == set(whole),
        "every_step_once_in_journals": joined["once"]
        and joined["curves"]["loss_nats"] == losses
        and joined["curves"] == straight["curves"],
    }
    row["pass"] = bool(
        ended
        and row["outputs_identical"] == len(whole)
        and row["same_set_of_outputs"]
        and row["every_step_once_in_journals"]
        and sum(killer.counts.values()) == kills
    )
    print(json.dumps(row), flush=True)
    return row


def main() -> int:
    """Prove every training; exit 1 where one is not the same."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", default="resume")
    parser.add_argument("--entries", nargs="*", default=TRAININGS, choices=TRAININGS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    os.environ |= {"DEVENO_TRACKING": "off", "DEVENO_FLOW_RUN": "", "DVC_EXP_NAME": ""}
    from stages.core import canonical, kernels

    kernels.pin(1)
    with tempfile.TemporaryDirectory(prefix="deveno-resume-") as place:
        folder = Path(place)
        workspace(folder, options.steps)
        os.chdir(folder)
        os.environ["DVC_ROOT"] = str(folder)
        _import()
        needed = MATERIAL if "finetune@pos" in options.entries else MATERIAL[:-1]
        for entry in needed:
            if finish(entry):
                return 1
        rows = [
            prove(folder, entry, options.kills, options.steps, options.seed)
            for entry in options.entries
        ]
        os.chdir(ROOT)
    ok = all(row["pass"] for row in rows)
    canonical.write_json(options.out, {"seed": options.seed, "trainings": rows, "pass": ok})
    return 0 if ok else 1


def _import() -> None:
    """Import what every process would: seconds that are not what is measured here."""
    import torch
    import transformers

    import stages.finetune.tagging
    import stages.pretrain.pretraining

    torch.set_num_threads(1)
    for name in ("RobertaForMaskedLM", "GPT2LMHeadModel", "RobertaForTokenClassification"):
        getattr(transformers, name)
    assert stages.finetune.tagging
    assert stages.pretrain.pretraining


if __name__ == "__main__":
    raise SystemExit(main())
