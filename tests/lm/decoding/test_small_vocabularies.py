"""A vocabulary smaller than the beam is searched to the end; rules that forbid all are named."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from stages.core.errors import ParamsError
from stages.lm.decoding import settings
from stages.lm.decoding.decoder import Decoder
from stages.lm.generate import Search, Specials, beam_search
from tests.lm.decoding import tiny

KINDS: list[dict[str, Any]] = [
    {"kind": "greedy"},
    {"kind": "beam", "num_beams": 8},
    {"kind": "beam", "num_beams": 8, "search": "transformers"},
    {"kind": "diverse-beam", "num_beams": 16, "groups": 2},
    {"kind": "sampling", "top_k": 9},
    {"kind": "contrastive", "top_k": 9},
    {"kind": "constrained", "phrases": [[4, 5]], "num_beams": 9},
    {"kind": "assisted", "draft": "beside"},
]
SMALL = 6


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """A decoder of six tokens."""
    monkeypatch.setattr(tiny, "VOCABULARY", SMALL)
    return Decoder(tiny.model("gpt2"), draft=tiny.model("gpt2", seed=9))


@pytest.mark.parametrize("value", KINDS, ids=lambda value: str(list(value.values())[:3]))
def test_every_way_of_decoding_works_or_names_the_rules_that_forbid_all(
    decoder: Decoder, value: dict[str, Any]
) -> None:
    rows = [[3], [4, 5, 3, 3]]

    def decode(**more: int) -> list[list[int]]:
        told = settings.parse({"max_tokens": 12, **value, **more}, "x")
        return [outputs[0].tokens for outputs in decoder.decode(rows, told)]

    assert all(len(tokens) >= 6 for tokens in decode(min_tokens=6))
    assert all(len(tokens) <= SMALL for tokens in decode(no_repeat_ngram_size=1))
    with pytest.raises(ParamsError, match="min_tokens = 10 forbids the end") as caught:
        decode(min_tokens=10, no_repeat_ngram_size=1)
    assert f"every other one of {SMALL} tokens" in caught.value.what
    assert caught.value.where == "decoding.no_repeat_ngram_size"


@pytest.mark.parametrize("beams", [4, 5, 6, 40])
def test_a_beam_wider_than_the_vocabulary_finds_the_best_of_all_outputs(beams: int) -> None:
    size, end, longest = 5, 2, 2
    table = tiny.chain(3, size)
    found = beam_search(
        table, torch.tensor([[3]]), torch.ones(1, 1, dtype=torch.long),
        Search(num_beams=beams, length_penalty=0.0, max_tokens=longest, min_tokens=0),
        Specials(pad=1, eos=end, unk=4, start=3),
    )[0]  # fmt: skip
    texts = [
        [*body, end]
        for length in range(longest + 1)
        for body in itertools.product([0, 3, 4], repeat=length)
    ]

    def nats(text: list[int]) -> float:
        rows = [table.step(torch.tensor([[3, *text[:at]]]))[0, one] for at, one in enumerate(text)]
        return float(sum(rows))

    best = sorted(texts, key=nats, reverse=True)
    assert found[0].tokens == best[0]
    if beams == 40:
        assert [one.tokens for one in found] == best
    assert [one.score_nats for one in found] == pytest.approx([nats(one.tokens) for one in found])
