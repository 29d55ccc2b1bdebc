"""The benchmark of warm starts: one run, what is kept of it, and what the table makes of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import warm_starts
from tests.stages import writing_material as material


def rows(**scores: list[float]) -> dict[str, list[dict]]:
    return {
        start: [
            {"start": start, "seed": seed, "chrf": value, "loss_nats": 9 - value / 10}
            for seed, value in enumerate(values)
        ]
        for start, values in scores.items()
    }


FOUND = rows(
    rnd2rnd=[10, 12, 11], rnd2bert=[11, 13, 12], bert2rnd=[20, 22, 21], bert2bert=[23, 25, 24],
    shared=[22, 25, 23],
)  # fmt: skip


def test_effects_are_means_over_both_choices_of_the_other_side():
    gains = warm_starts.effects(FOUND, "chrf")
    assert gains["encoder"]["mean"] == 11.0
    assert gains["decoder"]["mean"] == 2.0
    assert gains["sharing"]["seeds"] == [-1, 0, -1]
    assert warm_starts.holds({"effects": {name: warm_starts.effects(FOUND, name)
                                          for name in ("chrf", "loss_nats")}}, "chrf")  # fmt: skip


def test_a_decoder_that_is_worth_more_fails_the_claim():
    other = dict(FOUND, rnd2bert=FOUND["bert2rnd"], bert2rnd=FOUND["rnd2bert"])
    gains = {name: warm_starts.effects(other, name) for name in ("chrf", "loss_nats")}
    assert not warm_starts.holds({"effects": gains}, "chrf")


def test_the_interval_is_students():
    told = warm_starts.told([1.0, 2.0, 3.0])
    assert told["mean"] == 2.0
    assert told["interval"] == [pytest.approx(-0.4844, abs=1e-3), pytest.approx(4.4844, abs=1e-3)]
    assert warm_starts.told([1.0])["interval"] == []


def test_a_run_is_scored_on_unseen_pairs_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = material.roberta(tmp_path / "b")
    corpus = material.corpus(tmp_path / "c", (40, 8, 8))
    settings = {
        "score": "chrf", "pairs": 32, "epochs": {"100": 1, "10": 1}, "max_length": 30,
        "max_target_length": 20, "batch": {"100": 16, "10": 8},
    }  # fmt: skip
    monkeypatch.setitem(warm_starts.TASKS, "translation", settings)
    given = ("translation", "100", "shared", 1, base, corpus, tmp_path)
    row = warm_starts.run(*given)
    assert {
        "start",
        "seed",
        "chrf",
        "bleu",
        "loss_nats",
        "elsewhere",
        "distinct",
        "source_nats",
        "cpu_seconds",
    } == set(row)
    (kept,) = tmp_path.glob("translation-100-shared-1-*.json")
    kept.write_text(json.dumps(row | {"chrf": 77.0}))
    assert warm_starts.run(*given)["chrf"] == 77.0, "a finished run is not made again"
    monkeypatch.setitem(settings, "max_length", 20)
    assert warm_starts.run(*given)["chrf"] != 77.0, "but one of other settings is"
    record = {"tasks": {"translation": {"shares": {"100": {"rows": [
        {"start": name, "chrf": warm_starts.told([1.0, 2.0, 3.0])}
        for name in warm_starts.NAMES.values()]}}}}}  # fmt: skip
    assert "| BERTShare | 2.00 ± 2.48 |" in warm_starts.shown(record)
