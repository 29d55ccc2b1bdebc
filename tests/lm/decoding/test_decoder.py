"""Greedy and beam search are transformers' own, for every kind of model and in any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.decoding import settings
from stages.lm.decoding.beams import Rule, search
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.marks import Marks
from stages.lm.decoding.rules import Rules, block_ngrams
from stages.lm.decoding.steppers import DecoderStepper, pad_left
from stages.lm.generate import pad_batch
from tests.lm.decoding import tiny

MODELS = ("gpt2", "llama", "bart", "fsmt")
LONGEST = 12


def decode(decoder: Decoder, rows: list[list[int]], batch_size: int = 32, pad_to: int = 1,
           **value: Any) -> list[list[list[int]]]:  # fmt: skip
    found = decoder.decode(
        rows, settings.parse({"max_tokens": LONGEST, **value}, "x"), batch_size, pad_to=pad_to
    )
    return [[one.tokens for one in outputs] for outputs in found]


def generated(model: Any, rows: list[list[int]], **options: Any) -> list[list[list[int]]]:
    """Return what plain generate gives for the same inputs."""
    marks = Marks.of(model)
    ids, mask = (pad_batch if model.config.is_encoder_decoder else pad_left)(rows, marks.pad)
    # Where the closing token is forced, it is one more than the longest output.
    longest = LONGEST + (marks.forced_eos is not None)
    found = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=marks.pad,
        max_new_tokens=longest, **options,
    ).tolist()  # fmt: skip
    start = 1 if model.config.is_encoder_decoder else ids.shape[1]
    outputs = [tiny.trimmed(row[start:]) for row in found]
    many = len(outputs) // len(rows)
    return [outputs[at : at + many] for at in range(0, len(outputs), many)]


BEAMS = [
    {"num_beams": 2, "length_penalty": 0.0, "early_stopping": True},
    {"num_beams": 3, "length_penalty": 1.0, "early_stopping": False},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never", "num_return_sequences": 4},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": False, "num_return_sequences": 2},
]


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_are_generates_whatever_the_batch_cache_or_padding(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    decoder, uncached = Decoder(model), Decoder(model, use_cache=False)
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"kind": "greedy"}, {"num_beams": 1}),
        ({"kind": "greedy", "no_repeat_ngram_size": 2, "min_tokens": 5},
         {"num_beams": 1, "no_repeat_ngram_size": 2, "min_new_tokens": 5}),
        *(({"kind": "beam", "search": "transformers", **beam}, beam) for beam in BEAMS),
    ]  # fmt: skip
    lengths = set()
    for value, options in cases:
        wanted = generated(model, rows, **options)
        assert decode(decoder, rows, **value) == wanted, value
        assert decode(uncached, rows, **value) == wanted, value
        assert decode(decoder, rows, batch_size=1, **value) == wanted, value
        assert decode(decoder, rows, pad_to=16, **value) == wanted, value
        lengths |= {len(one) for outputs in wanted for one in outputs}
    assert len(lengths) > 1


@pytest.mark.parametrize("kind", ["llama", "bart"])
def test_what_a_models_own_settings_say_is_kept(kind: str) -> None:
    """Several closing tokens, a forced first one, forbidden ones: as generate keeps them."""
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    usual = decode(Decoder(model), rows, kind="greedy")
    often = [token for (output,) in usual for token in output[1:-1]]
    said = model.generation_config
    said.eos_token_id = [tiny.EOS, max(set(often), key=often.count)]
    said.suppress_tokens = [often[0]]
    if kind == "bart":
        said.forced_bos_token_id = 5
    marks = Marks.of(model)
    for value, options in (
        ({"kind": "greedy"}, {"num_beams": 1}),
        ({"kind": "beam", "search": "transformers", **BEAMS[2]}, BEAMS[2]),
    ):
        wanted = generated(model, rows, **options)
        found = decode(Decoder(model), rows, **value)
        ends = set(marks.eos)
        cut = [
            [row[: next((at for at, one in enumerate(row) if one in ends), len(row)) + 1]
             for row in outputs]
            for outputs in wanted
        ]  # fmt: skip
        assert found == cut
        assert found != usual
        assert not any(often[0] in one for outputs in found for one in outputs)
        if kind == "bart":
            assert all(one[0] == 5 for outputs in found for one in outputs)


def test_lengths_end_with_the_positions_and_not_before() -> None:
    for kind in ("bart", "fsmt"):
        model = tiny.model(kind)
        decoder = Decoder(model)
        model.generation_config.max_length = 30
        assert decoder.limit(settings.Greedy(), 5) == 28
        assert decoder.limit(settings.Greedy(max_tokens=40), 5) == 40
        assert decoder.limit(settings.Greedy(max_tokens=400), 5) == 62
    decoder = Decoder(tiny.model("gpt2"))
    assert decoder.limit(settings.Greedy(), 5) == 59
    assert decoder.limit(settings.Greedy(max_tokens=7), 5) == 7
    assert decoder.limit(settings.Greedy(max_tokens=70), 5) == 59
    full = decode(decoder, [[5] * 60], kind="greedy", min_tokens=4, max_tokens=70)
    assert len(full[0][0]) == 4


def test_positions_that_count_padding_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("gpt2")
    rows = tiny.inputs(model)
    wanted = decode(Decoder(model), rows, kind="greedy")
    whole = DecoderStepper.encode

    def unmasked(self: DecoderStepper, ids: Any, mask: Any, copies: int) -> Any:
        return whole(self, ids, torch.ones_like(mask), copies)

    monkeypatch.setattr(DecoderStepper, "encode", unmasked)
    assert decode(Decoder(model), rows, kind="greedy") != wanted


@pytest.mark.parametrize("kind", ["gpt2", "fsmt"])
def test_fairseqs_rule_serves_both_kinds_of_models(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    value = {"kind": "beam", "num_beams": 3, "num_return_sequences": 3, "no_repeat_ngram_size": 2}
    wanted = decode(Decoder(model), rows, **value)
    assert decode(Decoder(model), rows, batch_size=1, **value) == wanted
    assert decode(Decoder(model, use_cache=False), rows, pad_to=16, **value) == wanted
    for outputs in wanted:
        assert len(outputs) == 3
        for one in outputs:
            assert one[-1] == tiny.EOS
            pairs = list(zip(one, one[1:], strict=False))
            assert len(set(pairs)) == len(pairs)


def test_one_beam_is_greedy() -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model)
    greedy = decode(Decoder(model), rows, kind="greedy")
    beam = {"kind": "beam", "num_beams": 1, "search": "transformers"}
    assert decode(Decoder(model), rows, **beam) == greedy


def test_every_bigram_of_a_hundred_tokens_is_unique() -> None:
    table = tiny.chain(1, 40, sharpness=4.0)
    marks = Marks(pad=0, eos=(0,))
    ids = torch.tensor([[3, 4]])
    lengths = []
    for size in (0, 2):
        rules = Rules(marks, 2, 100, min_tokens=100, ngram=size)
        (found,) = search(table, ids, torch.ones_like(ids), rules, Rule(3))
        whole = [3, 4, *found[0].tokens]
        lengths.append((len(set(zip(whole, whole[1:], strict=False))), len(whole) - 1))
    assert lengths[0][0] < 101
    assert lengths[1] == (101, 101)


def test_no_ngram_holds_padding_and_the_end_stays_allowed() -> None:
    prefix = torch.tensor([[-1, -1, 5, 6, 5], [5, 6, 5, 2, 5]])
    scores = torch.zeros(2, 8)
    block_ngrams(scores, prefix, 2, exempt=(2,))
    assert scores.isinf().nonzero().tolist() == [[0, 6], [1, 6]]


def tree(tokens: tuple[int, ...]) -> torch.Tensor:
    """The tree of system 001 D: The -> nice, dog, car -> ...; token 9 stands for the rest."""
    shares = {(0,): {1: 0.5, 2: 0.4, 3: 0.1}, (0, 1): {4: 0.4, 5: 0.3, 6: 0.3},
              (0, 2): {7: 0.9, 8: 0.05, 9: 0.05}, (0, 3): {4: 0.3, 5: 0.5, 6: 0.2}}  # fmt: skip
    row = torch.full((10,), 1e-12)
    for token, share in shares.get(tokens, {9: 1.0}).items():
        row[token] = share
    return row.log()


def test_greedy_misses_what_a_beam_finds() -> None:
    ids = torch.tensor([[0]])
    rules = Rules(Marks(pad=0, eos=(0,)), 1, 2)
    outputs = {}
    for beams in (1, 2):
        rule = Rule(beams, length_penalty=0.0)
        (found,) = search(tiny.Table(tree), ids, torch.ones_like(ids), rules, rule)
        outputs[beams] = (found[0].tokens, round(2.718281828459045 ** found[0].score_nats, 6))
    assert outputs == {1: ([1, 4], 0.2), 2: ([2, 7], 0.36)}


def test_a_beam_as_wide_as_the_tree_is_exhaustive() -> None:
    size, length = 5, 3
    table = tiny.chain(4, size)
    ids = torch.tensor([[1]])
    rules = Rules(Marks(pad=0, eos=(0,)), 1, length, min_tokens=length)
    rule = Rule(size ** (length - 1), length_penalty=0.0, early_stopping="never")
    (found,) = search(table, ids, torch.ones_like(ids), rules, rule)
    every = torch.cartesian_prod(*[torch.arange(1, size)] * length)
    whole = torch.cat([torch.ones(len(every), 1, dtype=torch.long), every], dim=1)
    nats = torch.log_softmax(table.read(whole[:, :-1], keep=length), dim=-1)
    totals = nats.gather(2, every.unsqueeze(2)).sum((1, 2))
    assert found[0].tokens == every[totals.argmax()].tolist()
    assert found[0].score_nats == pytest.approx(float(totals.max()), abs=1e-5)


def grouped_by_hand(table: tiny.Table, groups: int, penalty: float, length: int) -> list[list[int]]:
    """Groups of one beam each: greedy, after what earlier groups chose at the same step."""
    outputs: list[list[int]] = [[] for _ in range(groups)]
    for _ in range(length):
        taken: list[int] = []
        for output in outputs:
            row = torch.log_softmax(table.logits((1, *output)), dim=-1).tolist()
            costs = [nats - penalty * taken.count(token) for token, nats in enumerate(row)]
            costs[0] = float("-inf")
            output.append(max(range(len(costs)), key=costs.__getitem__))
            taken.append(output[-1])
    return outputs


def diverse(table: tiny.Table, rule: Rule, length: int) -> list[list[int]]:
    ids = torch.tensor([[1]])
    rules = Rules(Marks(pad=0, eos=(0,)), 1, length, min_tokens=length)
    (found,) = search(table, ids, torch.ones_like(ids), rules, rule)
    scores = [one.score_nats for one in found]
    assert scores == sorted(scores, reverse=True)
    return [one.tokens for one in found]


@pytest.mark.parametrize("penalty", [0.3, 1.0, 5.0])
def test_groups_of_one_beam_avoid_one_another_as_by_hand(penalty: float) -> None:
    for seed in range(4):
        table = tiny.chain(seed, 9)
        rule = Rule(1, groups=4, diversity_penalty=penalty)
        wanted = grouped_by_hand(table, 4, penalty, 6)
        assert sorted(diverse(table, rule, 6)) == sorted(wanted)


def test_the_first_group_is_a_plain_beam_and_a_penalty_spreads_the_others() -> None:
    model = tiny.model("gpt2")
    rows = tiny.inputs(model)
    plain = decode(Decoder(model), rows, kind="beam", search="transformers", num_beams=2,
                   num_return_sequences=2)  # fmt: skip
    value = {"kind": "diverse-beam", "num_beams": 6, "groups": 3, "num_return_sequences": 6}
    wide = decode(Decoder(model), rows, **value, diversity_penalty=30.0)
    narrow = decode(Decoder(model), rows, **value, diversity_penalty=1e-6)
    for outputs, ones, few in zip(plain, wide, narrow, strict=True):
        assert all(one in ones for one in outputs)
        assert len({one[0] for one in ones}) >= 3
        assert len({tuple(one) for one in few}) <= 3


def test_more_outputs_come_best_first_and_scores_are_the_tokens() -> None:
    model = tiny.model("bart")
    rows = tiny.inputs(model)
    value = {"kind": "beam", "search": "transformers", "num_beams": 4, "num_return_sequences": 4,
             "max_tokens": LONGEST, "length_penalty": 0.7}  # fmt: skip
    for outputs in Decoder(model).decode(rows, settings.parse(value, "x")):
        scores = [one.score_nats for one in outputs]
        assert scores == sorted(scores, reverse=True)
        for one in outputs:
            total = sum(one.positional_nats)
            assert one.score_nats == pytest.approx(total / len(one.tokens) ** 0.7, abs=1e-4)


def test_refusals_name_what_to_do() -> None:
    model = tiny.model("gpt2")
    with pytest.raises(ArtifactError, match="the text has 64 tokens, the model reads 64"):
        Decoder(model).decode([[5] * 64], settings.Greedy())
    with pytest.raises(ArtifactError, match="give at least one token"):
        Decoder(model).decode([[]], settings.Greedy())
    with pytest.raises(ParamsError, match="the model has no <unk>"):
        Decoder(model).decode([[5]], settings.Beam(unknown_penalty=1.0))
    model.generation_config.eos_token_id = None
    with pytest.raises(ArtifactError, match="names no eos_token_id"):
        Marks.of(model)
