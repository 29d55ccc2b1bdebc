"""Samples follow the analytic distribution and depend on seed and place alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.lm.decoding import sampling, settings
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.sampling import draws, filtered, pick
from tests.lm.decoding import tiny

FLAT = torch.tensor([20, 14, 11, 9, 7, 6, 10, 8.5, 7.5, 4, 3]).div(100).log()
"""The toy of system 001: six words hold two thirds, nine more than 0.92."""
SHARP = torch.tensor([60, 25, 10, 2, 1.5, 1.0, 0.3, 0.2]).div(100).log()
"""Its second step: three words hold more than 0.92."""


def excess(counts: Tensor, shares: Tensor) -> float:
    """Return how far a chi-square lies above its mean, in standard deviations."""
    seen = shares > 0
    assert counts[~seen].sum() == 0
    wanted = shares[seen] * counts.sum()
    value = float(((counts[seen] - wanted) ** 2 / wanted).sum())
    freedom = int(seen.sum()) - 1
    return (value - freedom) / math.sqrt(2 * freedom)


def test_support_sizes_are_those_of_the_toys() -> None:
    sizes = [
        int((filtered(logits, 1.0, top_k, top_p) > 0).sum())
        for logits, top_k, top_p in ((FLAT, 6, 1.0), (FLAT, 0, 0.92), (SHARP, 0, 0.92))
    ]
    assert sizes == [6, 9, 3]
    assert float(filtered(FLAT, 1.0)[FLAT.topk(6).indices].sum()) == pytest.approx(0.7, abs=0.05)
    assert float(filtered(SHARP, 1.0)[:6].sum()) > 0.98


def test_k_then_p_renormalises_in_between() -> None:
    shares = filtered(FLAT, 1.0, top_k=4, top_p=0.5)
    best = FLAT.exp().topk(4).values
    assert int((shares > 0).sum()) == int((best.cumsum(0) / best.sum() < 0.5).sum()) + 1
    assert float(shares.sum()) == pytest.approx(1.0)
    equal = filtered(torch.zeros(9), 1.0, top_k=4)
    assert equal.nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_filters_are_transformers_own() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)) * 2
    for temperature, top_k, top_p in ((0.6, 0, 0.92), (1.0, 20, 1.0), (1.7, 30, 0.5)):
        scores = TemperatureLogitsWarper(temperature)(None, logits)
        if top_k:
            scores = TopKLogitsWarper(top_k)(None, scores)
        if top_p < 1:
            scores = TopPLogitsWarper(top_p)(None, scores)
        torch.testing.assert_close(
            filtered(logits, temperature, top_k, top_p).float(), torch.softmax(scores, dim=-1)
        )


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 6, 0.9)])
def test_a_hundred_thousand_draws_follow_the_shares(
    temperature: float, top_k: int, top_p: float
) -> None:
    shares = filtered(FLAT, temperature, top_k, top_p)
    if top_k:
        numbers = draws(7, [(3, 0)], 100_000)[0]
    else:  # first draws of so many inputs are as independent as draws of one
        numbers = draws(7, [(place, 0) for place in range(100_000)], 1)[:, 0]
    tokens = pick(shares.expand(len(numbers), -1), numbers)
    counts = torch.bincount(tokens, minlength=len(shares)).double()
    assert abs(excess(counts, shares)) < 4
    assert excess(counts, shares.roll(1).clamp(min=1e-9)) > 100


def test_a_number_at_either_end_picks_a_token_that_has_a_share() -> None:
    shares = torch.tensor([[0.0, 0.5, 0.5, 0.0]], dtype=torch.float64)
    for number, token in ((0.0, 1), (0.5, 2), (1.0, 2)):
        assert int(pick(shares, torch.tensor([number], dtype=torch.float64))) == token


def outputs(model: Any, rows: list[list[int]], batch_size: int = 32, pad_to: int = 1,
            first_place: int = 0, **value: Any) -> list[list[list[int]]]:  # fmt: skip
    block = settings.parse({"kind": "sampling", "max_tokens": 10, **value}, "x")
    found = Decoder(model).decode(rows, block, batch_size, pad_to=pad_to, first_place=first_place)
    return [[one.tokens for one in several] for several in found]


@pytest.mark.parametrize("kind", ["llama", "fsmt"])
def test_draws_depend_on_seed_and_place_alone(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    wanted = outputs(model, rows, num_return_sequences=2, top_k=20, top_p=0.95)
    options = {"num_return_sequences": 2, "top_k": 20, "top_p": 0.95}
    assert outputs(model, rows, **options) == wanted
    assert outputs(model, rows, batch_size=1, **options) == wanted
    assert outputs(model, rows, pad_to=16, **options) == wanted
    assert outputs(model, rows[3:], first_place=3, **options) == wanted[3:]
    assert outputs(model, rows, seed=43, **options) != wanted
    assert all(one[0] != one[1] for one in wanted)
    alike = outputs(model, [rows[0]] * 4)
    assert len({tuple(one[0]) for one in alike}) > 1


@pytest.mark.parametrize("temperature", [0.0, 1e-4])
def test_no_temperature_is_greedy(temperature: float) -> None:
    model = tiny.model("gpt2")
    rows = tiny.inputs(model)
    greedy = Decoder(model).decode(rows, settings.Greedy(max_tokens=10))
    found = outputs(model, rows, temperature=temperature)
    assert [one[0] for one in found] == [one[0].tokens for one in greedy]


def test_a_great_temperature_is_uniform() -> None:
    shares = filtered(SHARP, 1e6)
    assert float((shares - 1 / 8).abs().max()) < 1e-5


def test_scores_are_the_models_own_log_probabilities() -> None:
    model = tiny.model("gpt2")
    (found,) = Decoder(model).decode([[5, 6]], settings.Sampling(max_tokens=6, temperature=2.0))
    ids = torch.tensor([[5, 6, *found[0].tokens]])
    with torch.inference_mode():
        nats = torch.log_softmax(model(input_ids=ids).logits, dim=-1)[0, 1:-1]
    wanted = nats.gather(1, ids[0, 2:].unsqueeze(1)).squeeze(1).tolist()
    assert found[0].positional_nats == pytest.approx(wanted, abs=1e-4)


def test_a_stream_shared_by_the_batch_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model)

    def shared(seed: int, places: list[tuple[int, int]], steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(len(places), steps, generator=generator, dtype=torch.float64)

    monkeypatch.setattr(sampling, "draws", shared)
    assert outputs(model, rows) != outputs(model, rows, batch_size=1)


@pytest.mark.parametrize("temperature", [1e-300, 1e-310])
def test_the_smallest_temperatures_are_greedy_too(temperature: float) -> None:
    logits = torch.tensor([[0.0, -3.0, 2.0, 1.999]])
    assert filtered(logits, temperature).tolist() == [[0.0, 0.0, 1.0, 0.0]]
    assert filtered(logits, temperature, 3, 0.9).tolist() == [[0.0, 0.0, 1.0, 0.0]]
