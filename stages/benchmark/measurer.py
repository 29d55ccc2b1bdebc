"""One side of a night: a process of one commit's own code that measures when it is told to.

`python -m stages.benchmark.measurer`, started in that commit's worktree, reads one JSON request per
line and answers each with one line of JSON. Two of them, of two commits, take turns. A commit whose
measurer speaks another PROTOCOL cannot be compared with; so requests and answers keep their
meaning, and what is new gets a new name.

    {"do": "list"}                      the protocol, the artifacts, the metrics (one is primary)
    {"do": "open", "folder": ..., "seed": n}    open a tagger; what that cost, from the start on
    {"do": "words", "seed": n}          words that its tokenizer knows
    {"do": "take", "words": [...], "seed": n}   make sentences of words that both sides are given
    {"do": "slice", "probe": "tag" | "forward", "calls": n}      CPU and wall time of n calls

CPU time is that of all threads of the process; one thread is asked for. Sizes are exact: they are
compared, not tested.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError, DevenoError

PROTOCOL = 1
METRICS = (
    {"name": "tag_cpu_ms", "primary": True, "of": "tag", "column": "cpu"},
    {"name": "tag_wall_ms", "primary": False, "of": "tag", "column": "wall"},
    {"name": "forward_cpu_ms", "primary": False, "of": "forward", "column": "cpu"},
    {"name": "size_bytes", "primary": False, "of": "open", "column": "size_bytes"},
)
"""What is compared. The primary metric, declared here before any night: the CPU time that one
thread needs to tag sentences given as words, end to end. Under load CPU time is steadier than
wall time by far. The baseline's declaration is the one in force."""
SENTENCES, SHORTEST, LONGEST, WORDS = 16, 6, 24, 200
"""Sentences per call, words of a sentence at least and at most, and different words."""
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
BATCH, LENGTH = 8, 64
"""Shape of a forward call: full sequences."""


def listed(root: Path) -> dict[str, Any]:
    """Return what this commit can measure: the taggers that its benchmark entries name."""
    from stages.core import references

    found: dict[str, str] = {}
    for entry in references.load(root).values():
        if entry.stage.name == "benchmark":
            for folder in entry.reads.values():
                if not folder.endswith("/none"):
                    found.setdefault(folder.removeprefix("models/"), folder)
    artifacts = [{"name": name, "folder": folder} for name, folder in found.items()]
    return {"protocol": PROTOCOL, "artifacts": artifacts, "metrics": list(METRICS)}


class Measurer:
    """An opened tagger and its probes."""

    def __init__(self, folder: Path, seed: int) -> None:
        from stages.benchmark import timing, variants

        weights = next((name for name in variants.WEIGHTS if (folder / name).is_file()), "")
        if not weights:
            raise ArtifactError(
                "the folder holds no tagger", str(folder), "run the entry that makes it"
            )
        runtime = variants.WEIGHTS[weights]
        if runtime == "torch":
            from stages.lm import classify

            self.tagger: Any = classify.load(folder, 1)
        else:
            from stages.lm.onnx import OnnxTagger

            self.tagger = OnnxTagger(folder, 1)
        start_cpu_ms = 1000 * time.process_time()
        size = sum(path.stat().st_size for path in sorted(folder.glob(f"{weights}*")))
        self.facts = {"start_cpu_ms": start_cpu_ms, "size_bytes": size}
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        special = {name: int(config[name]) for name in SPECIAL if config.get(name) is not None}
        cell = timing.Cell(1, BATCH, min(LENGTH, int(config["max_position_embeddings"]) // 2))
        given = timing.arrays(cell, int(config["vocab_size"]), special, seed)
        variant = variants.open_variant(folder, runtime, 1)
        self.folder, self.sentences = folder, [["a"]]
        self.probes: Mapping[str, Callable[[], Any]] = {
            "tag": lambda: self.tagger.tag(self.sentences),
            "forward": lambda: variant.answers(*given),
        }

    def words(self, seed: int) -> dict[str, Any]:
        """Return words that the tokenizer knows whole, drawn from its sorted vocabulary."""
        from stages.lm import models

        tokenizer = models.open_tokenizer(self.folder)
        vocabulary = sorted(tokenizer.get_vocab())
        texts = (tokenizer.convert_tokens_to_string([token]) for token in vocabulary)
        known = sorted({one.strip() for one in texts if one[:1] == " " and one.strip().isalpha()})
        return {"words": random.Random(seed).choices(known or ["a"], k=WORDS)}

    def take(self, words: list[str], seed: int) -> dict[str, Any]:
        """Make sentences of words; return how many words were tagged, after warming up."""
        drawn = random.Random(seed)
        self.sentences = [
            drawn.choices(words, k=drawn.randint(SHORTEST, LONGEST)) for _ in range(SENTENCES)
        ]
        for _ in range(3):
            tags = self.probes["tag"]()
            self.probes["forward"]()
        gc.collect()
        gc.freeze()  # what stays is not walked again; garbage that the probes make still costs
        return {"tagged": sum(map(len, tags))}

    def timed(self, probe: str, calls: int) -> dict[str, int]:
        """Return CPU and wall nanoseconds of so many calls, after one that is not timed."""
        call = self.probes[probe]
        call()
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(calls):
            call()
        return {"wall": time.perf_counter_ns() - wall, "cpu": time.process_time_ns() - cpu}


def serve(lines: Any, answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until there are no more; an error is an answer too."""
    opened: Measurer | None = None
    for line in lines:
        asked = json.loads(line)
        try:
            if asked["do"] == "list":
                answer(listed(Path.cwd()))
            elif asked["do"] == "open":
                opened = Measurer(Path(asked["folder"]), asked["seed"])
                answer(opened.facts)
            elif asked["do"] == "words" and opened is not None:
                answer(opened.words(asked["seed"]))
            elif asked["do"] == "take" and opened is not None:
                answer(opened.take(asked["words"], asked["seed"]))
            elif asked["do"] == "slice" and opened is not None:
                answer(opened.timed(asked["probe"], asked["calls"]))
            else:
                answer({"error": f"{asked['do']!r} is not to be answered now"})
        except DevenoError as error:
            answer({"error": f"{error.what} ({error.where})"})
        except Exception as error:  # told to the night, which fails with it
            answer({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Serve on standard input and output; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def answer(row: dict[str, Any]) -> None:
            out.write(json.dumps(row) + "\n")
            out.flush()

        serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
