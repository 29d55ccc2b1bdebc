"""How fast translators translate on this CPU, side by side in one run: `make bench-translate`.

Writes `translate.json` beside this file after every part; `complete` says whether all is in.
The real model (fairseq-en-eo, ported, exported in every format by the stage, which proves each) on
flores200 and ntrex128 sentences, its own 500 recorded pairs for quality, and a random
transformer-base for speed alone. Same sources, same search, same threads, sources sorted for
everyone, each system at the batch size that served it best; rounds are interleaved and compared
within a round, in CPU seconds, because the machine is shared. Compilation is counted apart.
`text_to_text` has what a user waits for: words, subwords and detokenisation too.
`--quick` takes fewer sentences and rounds. DEVENO_FAIRSEQ_PYTHON names an interpreter with
fairseq; without it fairseq is left out.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import translators as peers
from benchmarks.translators import BASE_LENGTH, Ids, Limits, System

OUT = Path(__file__).with_suffix(".json")
OURS = ("runner int8", "runner int8 shortlist", "runner float")
LIMITS = Limits(1, 200)
PROBE = 96
"""Sentences of which batch sizes are chosen."""
POINTS = 0.2
SCORED = ("flores200", "release")
"""Texts with references: of another domain than the model's, and of its own."""
Save = Callable[[dict[str, Any]], None]


def quartiles(values: Sequence[float], digits: int = 3) -> list[float]:
    """Return lower quartile, median and upper quartile."""
    if len(values) < 2:
        return [round(values[0], digits)] * 3
    return [round(one, digits) for one in statistics.quantiles(values, n=4, method="inclusive")]


def spread(rows: Ids, count: int) -> Ids:
    """Return `count` rows evenly from all lengths, long ones first."""
    ordered = peers.sorted_sources(rows)
    step = max(1, len(ordered) // count)
    return ordered[step // 2 :: step][:count]


def side_by_side(
    systems: Sequence[System], sources: Ids, beams: int, rounds: int, probed: int
) -> dict[str, Any]:
    """Return rates and paired ratios of systems at their best batch sizes."""
    probe = spread(sources, min(probed, len(sources)))
    batches = {}
    for system in systems:
        rates = {}
        for batch in system.batches:
            one = peers.timed(system, probe, beams, batch)
            rates[batch] = one["tokens"] / one["cpu_seconds"]
        batches[system.name] = max(rates, key=lambda batch: rates[batch])
    runs: dict[str, list[dict[str, float]]] = {system.name: [] for system in systems}
    for turn in range(rounds):
        for system in systems if turn % 2 == 0 else reversed(systems):
            row = peers.timed(system, sources, beams, batches[system.name])
            runs[system.name].append(row)
            print(
                f"  {turn + 1}/{rounds} beam {beams} {system.name}: "
                f"{row['tokens'] / row['cpu_seconds']:.0f} tokens per CPU second",
                flush=True,
            )
    rates = {
        name: [one["tokens"] / one["cpu_seconds"] for one in found] for name, found in runs.items()
    }
    ratios = {
        ours: {
            other: quartiles([a / b for a, b in zip(rates[ours], rates[other], strict=True)])
            for other in rates
            if other not in OURS
        }
        for ours in OURS
    }
    return {
        "beams": beams,
        "sentences": len(sources),
        "batch": batches,
        "tokens": {name: int(found[0]["tokens"]) for name, found in runs.items()},
        "tokens_per_cpu_second_quartiles": {n: quartiles(one, 1) for n, one in rates.items()},
        "tokens_per_wall_second_quartiles": {
            name: quartiles([one["tokens"] / one["wall_seconds"] for one in found], 1)
            for name, found in runs.items()
        },
        "ratio_of_tokens_per_cpu_second_quartiles": ratios,
    }


def quality(systems: Sequence[System], pipeline: Any, batch: int, quick: bool) -> dict[str, Any]:
    """Return scores on flores200 and the release's pairs, agreement with the float runner, beam 5.

    ntrex128 has no Esperanto: agreement alone.
    """
    from sacrebleu.metrics import BLEU, CHRF

    metrics = {"chrf_points": CHRF(), "bleu_points": BLEU()}
    result: dict[str, Any] = {}
    for name, (lines, references) in peers.judged().items():
        lines = lines[:200] if quick else lines
        sources = [pipeline.encode(text) for text in lines]
        said = {one.name: one.translate(sources, 5, batch) for one in systems}
        decoded = {key: [pipeline.decode(row) for row in rows] for key, rows in said.items()}
        floats, plain = said["runner float"], decoded["runner float"]
        result[name] = {}
        for key, rows in decoded.items():
            same = [a == b for a, b in zip(said[key], floats, strict=True)]
            chrf = metrics["chrf_points"].corpus_score(rows, [plain]).score
            found = {
                "sentences": len(rows),
                "equal_to_float_fraction": round(float(np.mean(same)), 4),
                "chrf_to_float_points": round(chrf, 2),
            }
            for kind, metric in metrics.items() if references else ():
                score = metric.corpus_score(rows, [references[: len(rows)]]).score
                found[kind] = round(score, 3)
            result[name][key] = found
    result["signatures"] = [str(metric.get_signature()) for metric in metrics.values()]
    return result


def text_to_text(
    systems: Sequence[System], pipeline: Any, batches: dict[str, int], rounds: int, quick: bool
) -> dict[str, Any]:
    """Return sentences per CPU second from text to text, beam 5, one thread, on flores200."""
    lines = peers.texts("flores200")[: 100 if quick else 500]
    rates: dict[str, list[float]] = {one.name: [] for one in systems}
    words = []
    for turn in range(rounds):
        for system in systems if turn % 2 == 0 else reversed(systems):
            began = peers.cpu_seconds()
            sources = [pipeline.encode(text) for text in lines]
            encoded = peers.cpu_seconds()
            order = sorted(range(len(lines)), key=lambda place: -len(sources[place]))
            rows = system.translate([sources[at] for at in order], 5, batches[system.name])
            translated = peers.cpu_seconds()
            for row in rows:
                pipeline.decode(row)
            ended = peers.cpu_seconds()
            words.append((encoded - began + ended - translated) / len(lines))
            rates[system.name].append(len(lines) / (ended - began))
    ours = rates["runner int8"]
    return {
        "sentences": len(lines),
        "sentences_per_cpu_second_quartiles": {n: quartiles(one, 1) for n, one in rates.items()},
        "text_milliseconds_per_sentence_quartiles": quartiles([1000 * one for one in words]),
        "ratio_of_runner_int8_quartiles": {
            name: quartiles([a / b for a, b in zip(ours, found, strict=True)])
            for name, found in rates.items()
            if name != "runner int8"
        },
    }


def floor(shape: dict[str, int], source: float, target: float) -> dict[str, float]:
    """Return what a token costs at least: multiplications, and what this core can do of them."""
    d, f, v = shape["d_model"], shape["decoder_ffn_dim"], shape["tgt_vocab_size"]
    layers, beams = shape["decoder_layers"], 5
    row = layers * (6 * d * d + 2 * d * f) + v * d
    encoder = shape["encoder_layers"] * (4 * d * d + 2 * d * shape["encoder_ffn_dim"])
    encoder += layers * 2 * d * d
    own = beams * row + encoder * source / target
    own += beams * layers * 2 * d * (source + target / 2)
    rate, copied = _product_rate(), _read_rate()
    return {
        "multiplications_per_token": round(own),
        "int8_multiplications_per_second": round(rate),
        "tokens_per_second_by_multiplications": round(rate / own, 1),
        "decoder_weight_bytes_int8": row,
        "read_bytes_per_second": round(copied),
        "steps_per_second_by_bandwidth": round(copied / row, 1),
    }


def _product_rate() -> float:
    """Return multiplications per CPU second of the packed product at its best, in the cache."""
    from stages.lm.runner import packing
    from stages.lm.runner.tiles import byte_product

    rows, inputs, outputs = 96, 512, 512
    a = packing.aligned((rows, inputs), np.uint8)
    panels = packing.byte_panels(np.ones((outputs, inputs), np.int8))
    ones, zeros = (packing.aligned((outputs,), np.float32) for _ in range(2))
    corrections = packing.aligned((outputs,), np.int32)
    result = packing.aligned((rows, outputs), np.float32)
    at = [one.ctypes.data for one in (a, ones, panels, corrections, zeros, result)]
    arguments = (at[0], inputs, at[1], rows, inputs, at[2], outputs, at[1], at[3], at[4], at[5],
                 4 * outputs, 0)  # fmt: skip
    byte_product(*arguments)
    best = 0.0
    for _ in range(20):
        began = time.process_time()
        for _ in range(20):
            byte_product(*arguments)
        best = max(best, 20 * rows * inputs * outputs / (time.process_time() - began))
    return best


def _read_rate() -> float:
    array, best = np.ones(1 << 24, np.float64), 0.0
    for _ in range(5):
        began = time.process_time()
        array.sum()
        best = max(best, array.nbytes / (time.process_time() - began))
    return best


def real(folder: Path, rounds: int, count: int, quick: bool, save: Save) -> dict[str, Any]:
    """Measure the real model."""
    from stages.lm.pipelines import load_pipeline

    model = peers.ported(folder)
    found = peers.exported(model, peers.corpus(folder / "pairs"), folder)
    pipeline = load_pipeline(model)
    rows = [pipeline.encode(one) for name in ("flores200", "ntrex128") for one in peers.texts(name)]
    sources = spread([row for row in rows if len(row) < 200], count)
    told: dict[str, dict[str, int]] = {}
    words = {index: symbol for symbol, index in pipeline.source.items()}
    vocabularies = ([words[one] for one in range(len(words))],
                    {symbol: index for index, symbol in pipeline.target.items()})  # fmt: skip
    result: dict[str, Any] = {"rows": []}
    for threads in (1,) if quick else (1, 2):
        systems = [peers.generate(model, LIMITS, threads)]
        for name, place in found.items():
            if name.startswith("ctranslate2"):
                systems.append(peers.ctranslate(name, place, vocabularies, LIMITS, threads))
            elif name.startswith("onnx"):
                systems.append(peers.onnx(name, place, LIMITS, threads))
            else:
                systems.append(peers.runner(name, place, LIMITS, threads, told))
        oracle = peers.Fairseq(threads) if peers.ORACLE else None
        measured = [*systems, oracle.system(LIMITS)] if oracle is not None else systems
        for beams in (1, 5):
            row = side_by_side(measured, sources, beams, rounds, 24 if quick else PROBE)
            result["rows"].append({"threads": threads, **row})
            save(result)
        if oracle is not None:
            oracle.close()
        if threads == 1:
            kept = [one for one in systems if one.name.startswith(("runner", "ctranslate2"))]
            result["quality_beam_5"] = quality(kept, pipeline, 32, quick)
            batches = result["rows"][1]["batch"]
            few = [*kept, systems[0]]
            result["text_to_text"] = text_to_text(few, pipeline, batches, min(rounds, 3), quick)
            save(result)
    result["share_of_cycles"] = _shares(told)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    last = result["rows"][1]
    target = last["tokens"]["runner float"] / last["sentences"]
    result["floor_beam_5"] = floor(config, float(np.mean([len(row) for row in sources])), target)
    return result


def base(folder: Path, rounds: int, count: int) -> dict[str, Any]:
    """Measure the random transformer-base: 25 source tokens, 26 of target, one thread."""
    model, found = peers.random_base(folder)
    generator = np.random.Generator(np.random.PCG64(1))
    size, length = BASE_LENGTH
    sources: Ids = [[*generator.integers(4, 32_000, size - 1).tolist(), 2] for _ in range(count)]
    limits, told = Limits(length, length), dict[str, dict[str, int]]()
    words = json.loads((model / "vocab-src.json").read_text(encoding="utf-8"))
    systems = [peers.generate(model, limits, 1)]
    for name, place in found.items():
        if name.startswith("ctranslate2"):
            systems.append(peers.ctranslate(name, place, (list(words), words), limits, 1))
        else:
            systems.append(peers.runner(name, place, limits, 1, told))
    rows = [
        {"threads": 1, **side_by_side(systems, sources, beams, rounds, count // 2)}
        for beams in (1, 5)
    ]
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return {
        "rows": rows,
        "share_of_cycles": _shares(told),
        "floor_beam_5": floor(config, size, length),
    }


def _shares(told: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    return {
        name: {part: round(count / sum(parts.values()), 3) for part, count in parts.items()}
        for name, parts in sorted(told.items())
    }


def main() -> int:
    """Measure, judge, write; 1 where a goal is missed."""
    quick = "--quick" in sys.argv[1:]
    import torch

    torch.set_num_threads(1)
    from stages.lm.runner.vectors import instructions

    whole: dict[str, Any] = {
        "machine": {"processor": platform.machine(), "instructions": instructions()},
        "quick": quick,
        "complete": False,
    }

    def save(found: dict[str, Any], name: str = "fairseq_en_eo") -> None:
        whole[name] = found
        OUT.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="deveno-translate-") as name:
        folder = Path(name)
        (folder / "base").mkdir()
        first = real(folder, 3 if quick else 7, 64 if quick else 240, quick, save)
        save(first)
        second = base(folder / "base", 2 if quick else 3, 16 if quick else 48)
    whole["goals"] = goals(first)
    whole["complete"] = True
    save(second, "transformer_base_random")
    for line, goal in whole["goals"].items():
        print(f"{'pass' if goal['pass'] else 'MISSED'}  {line}: {goal['figure']}")
    return 0 if all(goal["pass"] for goal in whole["goals"].values()) else 1


def goals(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the issue's goals, the worst median over beams and threads, and the verdicts."""

    def worst(ours: str, other: str) -> float:
        rows = [row["ratio_of_tokens_per_cpu_second_quartiles"][ours] for row in found["rows"]]
        return min(row[other][1] for row in rows if other in row)

    rows = {
        "runner int8 to CTranslate2 int8, at least 1.0":
            (worst("runner int8", "ctranslate2 int8"), 1.0),
        "with shortlist, at least 1.6": (worst("runner int8 shortlist", "ctranslate2 int8"), 1.6),
        "runner int8 to generate, at least 3":
            (worst("runner int8", "transformers generate"), 3.0),
    }  # fmt: skip
    result = {line: {"figure": a, "pass": a >= b} for line, (a, b) in rows.items()}
    for ours in OURS[:2]:
        for other in ("runner float", "ctranslate2 int8"):
            lost = max(
                one[other]["chrf_points"] - one[ours]["chrf_points"]
                for one in (found["quality_beam_5"][name] for name in SCORED)
            )
            line = f"{ours}: chrF below {other}, worst of {', '.join(SCORED)}, at most {POINTS}"
            result[line] = {"figure": round(lost, 3), "pass": lost <= POINTS}
    return result


if __name__ == "__main__":
    sys.exit(main())
