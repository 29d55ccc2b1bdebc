"""What ways of decoding cost and give: ratios in one run, written to benchmarks/decoding.json.

    python -m benchmarks.decoding [traces compiled ways assisted constrained translator]

Sections that are not named keep what the file holds. Models are trained here for two minutes on
Python's own library (bytes), so nothing is downloaded; one thread. Times are interleaved and told
as ratios with quartiles; a slow-down is reported as plainly as a speed-up.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "decoding.json"
ROUNDS = 5
Timed = Callable[[], Any]


def quartiles(values: list[float]) -> list[float]:
    """Return the quartiles of ratios, three digits."""
    return [round(one, 3) for one in statistics.quantiles(values, n=4, method="inclusive")]


def ratios(base: Timed, others: dict[str, Timed], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return quartiles of time over the base's time, all taken in turn in every round."""
    found: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(rounds):
        spent = {}
        for name, work in {"": base, **others}.items():
            started = time.perf_counter()
            work()
            spent[name] = time.perf_counter() - started
        for name in others:
            found[name].append(spent[name] / spent[""])
    return {name: quartiles(values) for name, values in found.items()}


class Models:
    """The trained models, made when first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return `text`, `target` (4 layers of 128) or `draft` (1 layer of 64)."""
        from benchmarks import decoding_models

        if name not in self._made:
            if name == "text":
                self._made[name] = decoding_models.library()
            else:
                sizes = {"target": (4, 128, 400), "draft": (1, 64, 300)}
                layers, width, steps = sizes[name]
                self._made[name] = decoding_models.train(
                    self.get("text"), layers=layers, width=width, steps=steps
                )
        return self._made[name]

    def prompts(self, count: int, length: int) -> list[list[int]]:
        """Return prompts of held-out text."""
        from benchmarks import decoding_models

        return decoding_models.prompts(self.get("text"), count, length)


def traces(models: Models) -> dict[str, Any]:
    """How many graphs are traced for prompts of 50 lengths, with and without buckets."""
    from stages.lm.decoding.compiled import StaticDecoder
    from tests.lm.decoding import tiny

    model = tiny.model("llama")
    rows = tiny.inputs(model, lengths=tuple(range(1, 51)))
    found: dict[str, Any] = {"prompt_lengths": 50}
    for bucket in (1, 8, 16):
        decoder = StaticDecoder(model, capacity=80, bucket=bucket, backend="eager")
        decoder.decode(rows, 2)
        found[f"traces_of_prompts_bucket_{bucket}"] = decoder.traces - 1
        print("traces", bucket, decoder.traces - 1, flush=True)
    return found


def compiled(models: Models) -> dict[str, Any]:
    """Eager, static and compiled greedy decoding side by side, first call and break-even told."""
    from stages.lm.decoding.compiled import StaticDecoder
    from stages.lm.decoding.decoder import Decoder
    from stages.lm.decoding.settings import Greedy

    model, longest = models.get("target"), 48
    rows = models.prompts(4, 15)
    plain = Decoder(model)

    def eager() -> list[list[int]]:
        found = [plain.decode([row], Greedy(max_tokens=longest))[0][0] for row in rows]
        return [one.tokens for one in found]

    wanted = eager()
    static = StaticDecoder(model, capacity=64, bucket=16, backend="none")
    fast = StaticDecoder(model, capacity=64, bucket=16, backend="inductor")
    started = time.perf_counter()
    first = fast.decode(rows, longest)
    first_s = time.perf_counter() - started
    equal = first == wanted == static.decode(rows, longest)
    started = time.perf_counter()
    eager()
    eager_s = time.perf_counter() - started
    found = ratios(
        eager,
        {
            "static": lambda: static.decode(rows, longest),
            "compiled": lambda: fast.decode(rows, longest),
        },
    )
    saved = eager_s * (1 - found["compiled"][1])
    return {
        "tokens_equal": equal,
        "traces": fast.traces,
        "first_call_over_eager": round(first_s / eager_s, 1),
        "time_over_eager": found,
        "break_even_calls": round((first_s - eager_s) / saved) if saved > 0 else None,
        "call": f"{len(rows)} prompts of 15 tokens, {longest} tokens each, one at a time",
    }


def ways(models: Models) -> dict[str, Any]:
    """Repetition, variety and cost of every way of decoding: 50 prompts, 200 tokens."""
    from stages.lm.decoding import settings
    from stages.lm.decoding.decoder import Decoder
    from stages.lm.decoding.diagnostics import degeneration

    decoder = Decoder(models.get("target"))
    rows = models.prompts(50, 40)
    blocks: dict[str, dict[str, Any]] = {
        "greedy": {"kind": "greedy"},
        "beam_5": {"kind": "beam", "num_beams": 5, "search": "transformers"},
        "beam_5_no_repeat_4": {"kind": "beam", "num_beams": 5, "search": "transformers",
                               "no_repeat_ngram_size": 4},
        "nucleus_0.95": {"kind": "sampling", "top_p": 0.95, "seed": 0},
        "temperature_0.6": {"kind": "sampling", "temperature": 0.6, "seed": 42},
        "contrastive_4_0.6": {"kind": "contrastive", "top_k": 4, "penalty_alpha": 0.6},
        "contrastive_6_0.6": {"kind": "contrastive", "top_k": 6, "penalty_alpha": 0.6},
    }  # fmt: skip
    table = {}
    for name, value in blocks.items():
        block = settings.parse({**value, "max_tokens": 200}, name)
        found = [outputs[0] for outputs in decoder.decode(rows, block)]
        row = degeneration([one.tokens for one in found], [one.positional_nats for one in found])
        table[name] = {key: round(figure, 4) for key, figure in row.row().items()}
        print(name, table[name], flush=True)
    few = rows[:8]

    def work(value: dict[str, Any]) -> Timed:
        block = settings.parse({**value, "max_tokens": 60}, "x")
        return lambda: decoder.decode(few, block)

    costs = ratios(
        work(blocks["greedy"]),
        {name: work(value) for name, value in blocks.items() if name != "greedy"},
        rounds=3,
    )
    return {"prompts": 50, "tokens": 200, "figures": table, "time_over_greedy": costs}


def assisted(models: Models) -> dict[str, Any]:
    """Draft-assisted greedy against greedy: same tokens, acceptance, passes, time."""
    from stages.lm.decoding.decoder import Decoder
    from stages.lm.decoding.settings import Assisted, Greedy

    target, draft = models.get("target"), models.get("draft")
    plain, helped = Decoder(target), Decoder(target, draft=draft)
    rows = models.prompts(200, 40)
    block, greedy = Assisted(draft="draft", max_tokens=64), Greedy(max_tokens=64)
    wanted = [outputs[0].tokens for outputs in plain.decode(rows, greedy, 1)]
    found = [outputs[0].tokens for outputs in helped.decode(rows, block, 1)]
    record = helped.assistance
    assert record is not None
    tied = {place for place, _ in record.near_ties}
    differ = [at for at, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
    few = rows[:10]
    times = ratios(
        lambda: plain.decode(few, greedy, 1), {"assisted": lambda: helped.decode(few, block, 1)}
    )
    sizes = [sum(one.numel() for one in model.parameters()) for model in (target, draft)]
    return {
        "prompts": len(rows),
        "outputs_equal": len(rows) - len(differ),
        "outputs_that_differ_without_near_tie": len(set(differ) - tied),
        **{name: round(figure, 4) for name, figure in record.row().items()},
        "parameters": {"target": sizes[0], "draft": sizes[1]},
        "time_over_greedy": times,
    }


def constrained(models: Models) -> dict[str, Any]:
    """25 toy models: share of outputs that hold all constraints and that are the best, by width."""
    from tests.lm.decoding import test_constrained as toy

    found = {}
    for beams in (1, 3, 8, 20):
        met, best, gap = toy.toys(beams)
        found[f"beams_{beams}"] = {
            "met_fraction": met / 25, "best_fraction": best / 25, "mean_gap_nats": round(gap, 4),
            "plain_beam_met_fraction": toy.filtered(beams) / 25,
        }  # fmt: skip
    return found


def translator(models: Models) -> dict[str, Any]:
    """The real release, ported here: recorded outputs, plain generate, terms forced into outputs.

    It is found by DEVENO_TEST_DATA, as for tests.
    """
    from benchmarks import translators
    from stages.lm.decoding.settings import Beam, Constrained
    from stages.lm.metrics import CorpusScore
    from stages.lm.translator import Translator

    recorded = translators.CHECKPOINT / "fairseq-beam5-nbest5.jsonl"
    lines = recorded.read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line][:200]
    sources = [row["source"] for row in rows]
    with tempfile.TemporaryDirectory(prefix="deveno-decoding-") as place:
        model = Translator.load(translators.ported(Path(place)), "first")
    beam = model.outputs(sources, Beam(num_beams=5, num_return_sequences=5))
    texts = [[one.text for one in outputs] for outputs in beam]
    plain = model.translate(sources, 5, search="transformers")
    ours = model.decoded(sources, Beam(num_beams=5, search="transformers"))
    terms, kept = [], []
    for at, row in enumerate(rows):
        new = [word for word in row["reference"].rstrip(".!?").split()
               if len(word) > 4 and word.isalpha() and word not in plain[at]]  # fmt: skip
        if new and model.cut is not None and _known(model.cut, new[0]):
            kept.append(at)
            terms.append(new[0])
    kept, terms = kept[:60], terms[:60]
    forced = [
        model.outputs([sources[at]], Constrained(phrases=[term], num_beams=5, max_tokens=60))[0][0]
        for at, term in zip(kept, terms, strict=True)
    ]
    references = [rows[at]["reference"] for at in kept]
    scores = {}
    for name in ("bleu", "chrf"):
        metric = CorpusScore(name)
        for way, told in (("plain", [plain[at] for at in kept]),
                          ("forced", [one.text for one in forced])):  # fmt: skip
            sums = metric.statistics(told, references).sum(axis=0, keepdims=True)
            scores[f"{name}_{way}"] = round(float(metric(sums)[0]), 2)
    return {
        "sentences": len(rows),
        "five_best_texts_as_recorded": sum(
            found == [one["text"] for one in row["hyps"]]
            for found, row in zip(texts, rows, strict=True)
        ),
        "beam_5_as_generate": sum(a == b for a, b in zip(plain, ours, strict=True)),
        "terms": len(terms),
        "constraints_met": sum(one.constraints_met for one in forced),
        "terms_in_text": sum(term in one.text for term, one in zip(terms, forced, strict=True)),
        **scores,
    }


def _known(cut: Callable[[str], list[int]], term: str) -> bool:
    from stages.core.errors import ParamsError

    try:
        return bool(cut(term))
    except ParamsError:
        return False


SECTIONS: dict[str, Callable[[Models], dict[str, Any]]] = {
    "traces": traces,
    "compiled": compiled,
    "ways": ways,
    "assisted": assisted,
    "constrained": constrained,
    "translator": translator,
}


def main() -> int:
    """Measure the sections named, or all."""
    import torch

    from stages.core import canonical

    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(SECTIONS)
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        print(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
        return 2
    models = Models()
    for name in wanted:
        found = {**SECTIONS[name](models), "load_average": round(os.getloadavg()[0], 1)}
        # Read anew: another run may have measured another section meanwhile.
        result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        result[name] = found
        canonical.write_json(RESULT, result)
        print(name, json.dumps(result[name]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
