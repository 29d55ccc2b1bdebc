"""A table of warm starts like that of arXiv 1907.12461, at a size that two cores can afford.

    python benchmarks/warm_starts.py --pairs data/corpora/pairs --abstracts ../shared/data/scitldr_a

Rnd2Rnd, Rnd2BERT, BERT2Rnd, BERT2BERT and BERTShare on translation (Esperanto to English, pairs of
the embedded generator) and on summarisation (SciTLDR-A), each with all and with a tenth of the
training pairs, from the same encoder, with the same settings and the same pairs for a seed. Scored
on unseen pairs by greedy output (chrF, BLEU; ROUGE-1, 2, L of the best target) and by the loss of
the targets. A finished run is kept in --scratch and not made again, so a killed benchmark goes on.

The claim: warming the encoder pays, and more than warming the decoder does, in the task's score, in
the mean over seeds and over both choices of the other side. Where it does not come out it must be
explained: if outputs earn as much against another pair's targets as against their own
(`own_less_elsewhere`), the score does not see the source, and no encoder can move it; `source_nats`
then says which starts heed their source at all. Writes benchmarks/warm_starts.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
STARTS = ("rnd2rnd", "rnd2bert", "bert2rnd", "bert2bert", "shared")
NAMES = dict(
    zip(STARTS, ("Rnd2Rnd", "Rnd2BERT", "BERT2Rnd", "BERT2BERT", "BERTShare"), strict=True)
)
SIZE = {
    "vocab_size": 1200, "hidden_size": 64, "layers": 2, "heads": 4, "positions": 128,
    "steps": 1500, "batch_rows": 8,
}  # fmt: skip
"""The encoder and how long it learns."""
TASKS: dict[str, dict[str, Any]] = {
    "translation": {
        "score": "chrf",
        "pairs": 1500,
        "epochs": {"100": 8, "10": 24},
        "max_length": 64,
        "max_target_length": 64,
        "batch": {"100": 16, "10": 8},
    },
    "summarisation": {
        "score": "rouge1",
        "pairs": 800,
        "epochs": {"100": 4, "10": 12},
        "max_length": 96,
        "max_target_length": 48,
        "batch": {"100": 16, "10": 8},
    },
}
SHARES = ("100", "10")
"""Percent of the training pairs."""
SEEN_POINTS = 1.0
"""What outputs must earn more with their own targets than with another pair's, in points."""
TESTED = 150
"""Unseen pairs that outputs are scored on."""
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for a two-sided 95 % interval, by number of seeds."""


def settings_of(task: str, share: str, start: str, seed: int) -> Any:
    """Return a run's parameters of `finetune`."""
    from stages.finetune.stage import FinetuneParams

    settings = TASKS[task]
    return FinetuneParams.model_validate(
        {
            "base": "pretrained/x",
            "data": "x",
            "max_sentences": settings["pairs"] * int(share) // 100,
            "max_valid_sentences": 40,
            "max_length": settings["max_length"],
            "epochs": settings["epochs"][share],
            "batch_sentences": settings["batch"][share],
            "learning_rate": 3e-3,
            "dropout": 0.0,
            "seed": seed,
            "task": {
                "kind": task,
                "warm_start": start,
                "max_target_length": settings["max_target_length"],
                "evaluate_epochs": max(1, settings["epochs"][share] // 2),
                "max_generated": 1,
                "selection": "loss",
            },
        }
    )


def name_of(task: str, share: str, start: str, seed: int) -> str:
    """Return a run's name, which other settings would change."""
    from stages.core import canonical

    params = settings_of(task, share, start, seed).model_dump(mode="json")
    kept = canonical.digest({"size": SIZE, "params": params})[:10]
    return f"{task}-{share}-{start}-{seed}-{kept}"


def run(
    task: str, share: str, start: str, seed: int, base: Path, corpus: Path, folder: Path
) -> dict[str, Any]:
    """Fine-tune once and score on unseen pairs; a finished run is read, not made."""
    from stages.core.log import Log
    from stages.finetune.stage import finetune

    params = settings_of(task, share, start, seed)
    name = name_of(task, share, start, seed)
    record, model = folder / f"{name}.json", folder / name
    if record.is_file():  # of these very settings
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found
    started = time.process_time()
    finetune(params, base, base, corpus, model, Log(scratch=folder / f".{model.name}"))
    row = {
        "start": start,
        "seed": seed,
        **judge(task, model, corpus),
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    record.write_text(json.dumps(row), encoding="utf-8")
    return row


def judge(task: str, folder: Path, corpus: Path) -> dict[str, float]:
    """Return the scores of greedy outputs for unseen pairs, and the loss of their targets.

    `elsewhere` is the task's score of the same outputs against the targets of the next pair: what
    an output earns without saying anything of its source; `distinct` is the share of outputs that
    differ from all others before them; `source_nats` is what a target loses, per token, when its
    source is exchanged for the next pair's: how much the model heeds what it reads.
    """
    from stages.finetune import pairs
    from stages.lm import models, seq2seq

    settings = TASKS[task]
    model, tokenizer = seq2seq.load(folder), models.open_tokenizer(folder)
    gold = pairs.read(corpus, "test", TESTED, "test")
    limits = pairs.Limits(settings["max_length"], settings["max_target_length"])
    ids = pairs.encode(gold, tokenizer, tokenizer, limits)
    special = seq2seq.specials(model)
    outputs = seq2seq.greedy(model, ids.sources, special, limits.target - 1)
    said = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in outputs]
    found = scored(task, said, gold.targets)
    found["elsewhere"] = scored(task, said, [*gold.targets[1:], gold.targets[0]])[settings["score"]]
    found["distinct"] = len(set(said)) / len(said)
    found["loss_nats"] = _loss(model, ids.sources, ids.labels, special.start)
    others = [*ids.sources[1:], ids.sources[0]]
    found["source_nats"] = _loss(model, others, ids.labels, special.start) - found["loss_nats"]
    return {name: round(value, 5) for name, value in found.items()}


def _loss(model: Any, sources: Any, labels: Any, start: int) -> float:
    """Return the loss of targets in nats per token."""
    import torch

    from stages.finetune import pairs
    from stages.lm import objectives

    nats, asked = 0.0, 0
    with torch.inference_mode():
        for at in range(0, len(labels), 25):
            part = slice(at, at + 25)
            question = pairs.ask(sources[part], labels[part], start, (1, 1))
            nats += float(objectives.summed_nats(model, question))
            asked += len(question.answers)
    return nats / asked


def scored(task: str, said: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the scores of outputs."""
    from stages.lm import rouge
    from stages.lm.metrics import CorpusScore
    from stages.lm.resample import ratio

    found: dict[str, float] = {}
    if task == "translation":
        for name in ("chrf", "bleu"):
            metric = CorpusScore(name)
            rows = metric.statistics(said, [texts[0] for texts in targets])
            found[name] = float(metric(rows.sum(axis=0, keepdims=True))[0])
    else:
        for kind in rouge.KINDS[:3]:
            counts = rouge.f_points(targets, said, kind)
            found[kind] = float(ratio(counts.sum(axis=0, keepdims=True))[0])
    return found


def told(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of some seeds' values and its 95 % interval."""
    mean = statistics.fmean(values)
    half = (
        T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
        if len(values) in T_95
        else math.nan
    )
    bounds = [] if math.isnan(half) else [round(mean - half, 4), round(mean + half, 4)]
    return {"mean": round(mean, 4), "interval": bounds, "seeds": list(values)}


def effects(rows: dict[str, list[dict[str, Any]]], score: str) -> dict[str, Any]:
    """Return what warming each side is worth in points, seed by seed, the other side both ways."""
    by_seed = {start: {row["seed"]: row[score] for row in rows[start]} for start in rows}
    seeds = sorted(set.intersection(*(set(found) for found in by_seed.values())))

    def gain(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return told(
            [
                round(statistics.fmean(by_seed[a][seed] - by_seed[b][seed] for a, b in pairs), 4)
                for seed in seeds
            ]
        )

    return {
        "encoder": gain([("bert2rnd", "rnd2rnd"), ("bert2bert", "rnd2bert")]),
        "decoder": gain([("rnd2bert", "rnd2rnd"), ("bert2bert", "bert2rnd")]),
        "sharing": gain([("shared", "bert2bert")]),
    }


def table(
    task: str, share: str, seeds: Sequence[int], base: Path, corpus: Path, folder: Path
) -> dict[str, Any]:
    """Return a task's rows with a share of its pairs."""
    rows: dict[str, list[dict[str, Any]]] = {start: [] for start in STARTS}
    for seed in seeds:  # all starts of a seed together: what a killed benchmark has is comparable
        for start in STARTS:
            rows[start].append(run(task, share, start, seed, base, corpus, folder))
            print(f"{task} {share} % {NAMES[start]} seed {seed}: {rows[start][-1]}", flush=True)
    score = TASKS[task]["score"]
    names = [name for name in rows["shared"][0] if name not in ("start", "seed", "cpu_seconds")]
    return {
        "train_pairs": TASKS[task]["pairs"] * int(share) // 100,
        "rows": [
            {
                "start": NAMES[start],
                **{name: told([row[name] for row in rows[start]]) for name in names},
            }
            for start in STARTS
        ],
        "effects": {name: effects(rows, name) for name in (score, "loss_nats", "source_nats")},
        "own_less_elsewhere": {
            NAMES[start]: told([round(row[score] - row["elsewhere"], 4) for row in rows[start]])
            for start in STARTS
        },
        "cpu_seconds": round(sum(row["cpu_seconds"] for each in rows.values() for row in each), 1),
    }


def holds(found: dict[str, Any], score: str) -> bool:
    """Say whether warming the encoder pays in the task's score, and more than the decoder.

    The loss is told beside it and judged by nobody: after few updates it is mostly that of the
    target language, which a warm decoder brings along and a new one must learn first.
    """
    gains = found["effects"][score]
    return gains["encoder"]["mean"] > max(0.0, gains["decoder"]["mean"])


def blind(found: dict[str, Any]) -> bool:
    """Say whether the score sees no source: no start's outputs fit their own targets better."""
    return all(one["mean"] < SEEN_POINTS for one in found["own_less_elsewhere"].values())


def measure(
    pairs: Path,
    abstracts: Path,
    extra: Path | None,
    scratch: Path,
    seeds: Sequence[int],
    tasks: Sequence[str] = tuple(TASKS),
    parts: Sequence[str] = SHARES,
) -> dict[str, Any]:
    """Make what is missing in the scratch folder and return the whole record."""
    from benchmarks import warm_starts_material as material

    record: dict[str, Any] = {"size": SIZE, "seeds": list(seeds), "tested_pairs": TESTED}
    record["tasks"] = {}
    for task in tasks:
        settings, folder = TASKS[task], scratch / task
        if not (folder / "pairs/corpus.json").is_file():
            if task == "translation":
                material.translation(pairs, folder, (settings["pairs"], 200, 400), 12000)
            else:
                material.summarisation(abstracts, folder, extra)
        base, spent = folder / "model", folder / "encoder.json"
        if not spent.is_file():
            started = time.process_time()
            material.encoder(folder / "text", folder, SIZE)
            spent.write_text(str(round(time.process_time() - started, 1)), encoding="utf-8")
        shares = {
            share: table(task, share, seeds, base, folder / "pairs", folder) for share in parts
        }
        training = json.loads((base / "training.json").read_text(encoding="utf-8"))
        record["tasks"][task] = {
            "score": settings["score"],
            "encoder_cpu_seconds": float(spent.read_text(encoding="utf-8")),
            "encoder_valid_loss_nats": training.get("valid_loss_nats"),
            "shares": shares,
            "holds": {share: holds(found, settings["score"]) for share, found in shares.items()},
            "score_sees_no_source": {share: blind(found) for share, found in shares.items()},
        }
    record["pass"] = all(
        one or found["score_sees_no_source"][share]
        for found in record["tasks"].values()
        for share, one in found["holds"].items()
    )
    record["cpu_seconds"] = round(
        sum(
            found["encoder_cpu_seconds"]
            + sum(part["cpu_seconds"] for part in found["shares"].values())
            for found in record["tasks"].values()
        ),
        1,
    )
    return record


def shown(record: dict[str, Any]) -> str:
    """Return the record as a table in Markdown: mean over seeds and half of the interval."""
    lines = []
    for task, found in record["tasks"].items():
        first = next(iter(found["shares"].values()))
        names = [name for name in first["rows"][0] if name != "start"]
        head = [f"{name} {share} %" for share in found["shares"] for name in names]
        lines += [f"| {task} | {' | '.join(head)} |", f"|{'---|' * (len(head) + 1)}"]
        for place, start in enumerate(NAMES.values()):
            cells = [
                _cell(found["shares"][share]["rows"][place][name])
                for share in found["shares"]
                for name in names
            ]
            lines.append(f"| {start} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: dict[str, Any]) -> str:
    bounds = value["interval"]
    half = f" ± {(bounds[1] - bounds[0]) / 2:.2f}" if bounds else ""
    return f"{value['mean']:.2f}{half}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the record and print the table; exit code 1 where the claim does not hold."""
    parser = argparse.ArgumentParser(description="What is a warm start worth?")
    data = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared")) / "data"
    parser.add_argument("--pairs", type=Path, default=ROOT / "data/corpora/pairs")
    parser.add_argument("--abstracts", type=Path, default=data / "scitldr_a")
    parser.add_argument(
        "--extra", type=Path, default=data / "wikipedia_sentences/enwiki.crp.txt.bz2"
    )
    parser.add_argument("--scratch", type=Path, default=ROOT / "scratch/warm_starts")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/warm_starts.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--shares", nargs="+", choices=SHARES, default=list(SHARES))
    chosen = parser.parse_args(arguments)
    from stages.core import canonical
    from stages.core.errors import DevenoError

    extra = chosen.extra if chosen.extra.is_file() else None
    try:
        record = measure(
            chosen.pairs,
            chosen.abstracts,
            extra,
            chosen.scratch,
            chosen.seeds,
            chosen.tasks,
            chosen.shares,
        )
    except DevenoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    canonical.write_json(chosen.out, record)
    print(shown(record))
    verdict = "pass" if record["pass"] else "FAIL"
    print(f"{verdict} ({record['cpu_seconds']} CPU seconds)")
    return 0 if record["pass"] else 1


if __name__ == "__main__":
    for name, value in PINS.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
