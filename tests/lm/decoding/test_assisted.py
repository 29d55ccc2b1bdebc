"""A draft changes the speed of an output and nothing else."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.decoding import settings
from stages.lm.decoding.assisted import Assistant, expected_tokens_per_pass
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.marks import Marks
from stages.lm.decoding.rules import Rules
from stages.lm.decoding.steppers import DecoderStepper
from stages.lm.generate import Hypothesis
from tests.lm.decoding import tiny

LONGEST = 20


def disturbed(model: Any, amount: float) -> Any:
    """Return a draft: the model with noise on its weights."""
    draft = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in draft.parameters():
            one += amount * torch.randn(one.shape, generator=generator)
    return draft


def decode(decoder: Decoder, rows: list[list[int]], **value: Any) -> list[Hypothesis]:
    block = settings.parse({"max_tokens": LONGEST, **value}, "x")
    return [outputs[0] for outputs in decoder.decode(rows, block)]


def assisted(**more: Any) -> dict[str, Any]:
    return {"kind": "assisted", "draft": "pretrained/small", **more}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "fsmt"])
def test_greedy_and_sampled_outputs_are_those_without_a_draft(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    decoder = Decoder(model, draft=disturbed(model, 0.06))
    cases = [
        ({"kind": "greedy", "no_repeat_ngram_size": size}, {"no_repeat_ngram_size": size})
        for size in (0, 3)
    ] + [
        ({"kind": "sampling", "top_k": 30, "seed": 5}, {"temperature": 1.0, "top_k": 30, "seed": 5})
    ]
    for plain, ours in cases:
        wanted = decode(Decoder(model), rows, **plain)
        found = decode(decoder, rows, **assisted(**ours))
        assert [one.tokens for one in found] == [one.tokens for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.positional_nats == pytest.approx(other.positional_nats, abs=1e-3)
        record = decoder.assistance
        assert record is not None
        assert record.tokens == sum(len(one.tokens) for one in wanted)
        assert 0 < record.acceptance_fraction < 1
        assert record.passes < record.tokens
        assert record.near_ties == []
    uncached = Decoder(model, draft=disturbed(model, 0.06), use_cache=False)
    wanted = decode(Decoder(model), rows, kind="greedy")
    found = decode(uncached, rows, **assisted())
    assert [one.tokens for one in found] == [one.tokens for one in wanted]


@torch.inference_mode()
def test_every_token_is_what_the_model_would_say() -> None:
    model = tiny.model("llama")
    decoder = Decoder(model, draft=disturbed(model, 0.05))
    for row in tiny.inputs(model):
        (found,) = decode(decoder, [row], **assisted())
        ids = torch.tensor([[*row, *found.tokens]])
        said = model(input_ids=ids).logits.argmax(-1)[0, len(row) - 1 : -1]
        assert said.tolist() == found.tokens


def test_a_cache_that_keeps_refused_tokens_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model)
    decoder = Decoder(model, draft=disturbed(model, 0.06))
    wanted = [one.tokens for one in decode(decoder, rows, **assisted())]

    def forgetful(self: DecoderStepper, length: int) -> None:
        self._held = min(self._held, length)

    monkeypatch.setattr(DecoderStepper, "crop", forgetful)
    with pytest.raises((AssertionError, RuntimeError)):
        assert [one.tokens for one in decode(decoder, rows, **assisted())] == wanted


def rounds(draft: tiny.Table, schedule: str, longest: int) -> Assistant:
    """Decode with a table that always says 1 and return the assistant."""
    ones = tiny.Table(lambda tokens: torch.tensor([0.0, 9.0, 1.0]))
    block = settings.parse(assisted(schedule=schedule), "x")
    assert isinstance(block, settings.Assisted)
    rules = Rules(Marks(pad=0, eos=(0,)), 1, longest)
    assistant = Assistant(ones, draft, block, rules, rules)
    found = assistant.decode(torch.tensor([[1]]), 0)
    assert found.tokens == [1] * longest
    return assistant


def test_the_number_of_proposals_follows_the_schedule() -> None:
    right = tiny.Table(lambda tokens: torch.tensor([0.0, 9.0, 1.0]))
    wrong = tiny.Table(lambda tokens: torch.tensor([0.0, 1.0, 9.0]))
    assert rounds(right, "heuristic", 24).record.numbers == [5, 7, 9]
    refused = rounds(wrong, "heuristic", 8)
    assert refused.record.numbers == [5, 4, 3, 2, 1, 1, 1, 0]
    assert refused.record.acceptance_fraction == 0.0
    assert refused.record.tokens_per_pass == 1.0
    steady = rounds(right, "constant", 18)
    assert steady.record.numbers == [5, 5, 5]
    assert steady.record.acceptance_fraction == 1.0
    assert steady.record.tokens_per_pass == 6.0
    assert steady.record.row()["tokens_per_pass"] == expected_tokens_per_pass(1.0, 5)


def test_the_expected_gain_is_the_geometric_sum() -> None:
    assert expected_tokens_per_pass(0.5, 2) == pytest.approx(1 + 0.5 + 0.25)
    assert expected_tokens_per_pass(0.0, 4) == 1.0


def test_near_ties_are_told() -> None:
    close = tiny.Table(lambda tokens: torch.tensor([0.0, 1.0, 1.0 + 1e-6]))
    block = settings.parse(assisted(), "x")
    assert isinstance(block, settings.Assisted)
    rules = Rules(Marks(pad=0, eos=(0,)), 1, 4)
    assistant = Assistant(close, close, block, rules, rules)
    assistant.decode(torch.tensor([[1]]), 7)
    assert assistant.record.near_ties == [(7, position) for position in range(4)]


def test_sampling_with_a_draft_keeps_the_distribution() -> None:
    table = tiny.chain(2, 3)
    draft = tiny.chain(9, 3)
    block = settings.parse(assisted(temperature=1.0, candidates=2), "x")
    assert isinstance(block, settings.Assisted)
    rules = Rules(Marks(pad=0, eos=(0,)), 1, 3)
    assistant = Assistant(table, draft, block, rules, rules)
    draws = 2500
    counts: dict[tuple[int, ...], int] = {}
    for place in range(draws):
        tokens = tuple(assistant.decode(torch.tensor([[1]]), place).tokens)
        counts[tokens] = counts.get(tokens, 0) + 1
    assert 0 < assistant.record.acceptance_fraction < 1
    chi = freedom = 0.0
    for tokens, share in shares_of(table, (), 3):
        chi += (counts.pop(tokens, 0) - draws * share) ** 2 / (draws * share)
        freedom += 1
    assert not counts
    assert (chi - freedom) / math.sqrt(2 * freedom) < 4


def shares_of(
    table: tiny.Table, tokens: tuple[int, ...], length: int
) -> list[tuple[tuple[int, ...], float]]:
    """Return every output, 0 closing it, and its probability."""
    if len(tokens) == length or 0 in tokens:
        return [(tokens, 1.0)]
    row = torch.softmax(table.logits((1, *tokens)).double(), dim=-1).tolist()
    return [
        (whole, row[token] * share)
        for token in range(3)
        for whole, share in shares_of(table, (*tokens, token), length)
    ]


def test_a_draft_of_another_kind_or_vocabulary_is_refused() -> None:
    model = tiny.model("llama")
    smaller = tiny.model("llama")
    smaller.resize_token_embeddings(50)
    with pytest.raises(ArtifactError, match="the draft writes 50 tokens, the model 60"):
        decode(Decoder(model, draft=smaller), [[5]], **assisted())
    with pytest.raises(ArtifactError, match="the draft is an encoder-decoder"):
        decode(Decoder(model, draft=tiny.model("bart")), [[5]], **assisted())
    with pytest.raises(ParamsError, match="'pretrained/small' was not opened"):
        decode(Decoder(model), [[5]], **assisted())


def test_a_draft_that_reads_less_leaves_the_rest_to_the_model() -> None:
    model, draft = tiny.model("gpt2"), tiny.model("gpt2")
    draft.transformer.wpe.weight.data = draft.transformer.wpe.weight.data[:12].clone()
    draft.config.n_positions = 12
    rows = [[5, 6, 7], list(range(3, 18))]
    found = decode(Decoder(model, draft=draft), rows, **assisted())
    assert [one.tokens for one in found] == [
        one.tokens for one in decode(Decoder(model), rows, kind="greedy")
    ]
    model, draft = tiny.model("bart"), tiny.model("bart")
    draft.config.max_position_embeddings = 4
    with pytest.raises(ArtifactError, match="the text has 5 tokens, the draft reads 4"):
        decode(Decoder(model, draft=draft), [[5, 6, 7, 8, tiny.EOS]], **assisted())
