"""Constraints are met, every time, and the search around them is an honest beam search."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from stages.core.errors import ParamsError
from stages.lm.decoding import constrained, constraints, settings
from stages.lm.decoding.beams import Rule
from stages.lm.decoding.beams import search as plain_search
from stages.lm.decoding.constraints import (
    Constraint,
    DisjunctiveConstraint,
    OrderedConstraint,
    PhrasalConstraint,
    TemplateConstraint,
)
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.marks import Marks
from stages.lm.decoding.rules import Rules
from stages.lm.generate import Hypothesis
from tests.lm.decoding import tiny

MARKS = Marks(pad=0, eos=(0,))
ALL = [
    PhrasalConstraint([1, 1, 2]),
    DisjunctiveConstraint([[3], [3, 4], [5, 6, 7]]),
    OrderedConstraint([PhrasalConstraint([1, 2]), PhrasalConstraint([3])]),
    TemplateConstraint([[1], 2, [4, 5]]),
]


def feed(one: Constraint, tokens: list[int]) -> Constraint:
    """Show a copy of the constraint some tokens."""
    watched = one.copy()
    for token in tokens:
        watched.update(token)
    return watched


def search(
    table: tiny.Table, wanted: list[Constraint], beams: int, length: int, **rule: Any
) -> list[Hypothesis]:
    ids = torch.tensor([[1]])
    rules = Rules(
        MARKS, 1, length, min_tokens=rule.pop("min_tokens", 0), ngram=rule.pop("ngram", 0)
    )
    (found,) = constrained.search(
        table, ids, torch.ones_like(ids), rules, Rule(beams, **rule), wanted
    )
    return found


@pytest.mark.parametrize("one", ALL, ids=lambda one: type(one).__name__)
def test_following_the_advice_always_fulfils(one: Constraint) -> None:
    watched = one.copy()
    for _ in range(one.need):
        advice = watched.advance()
        token = 9 if advice is None else advice[0]
        before = watched.remaining()
        assert watched.does_advance(token)
        stepped, done, fell = watched.update(token)
        assert (stepped, fell) == (True, False)
        assert watched.remaining() < before
        if done:
            break
    assert watched.completed
    assert watched.advance() == []
    watched.update(8)
    assert watched.completed
    watched.reset()
    assert watched.remaining() == one.need


def test_a_token_that_breaks_a_phrase_may_begin_it_again() -> None:
    phrase = PhrasalConstraint([1, 1, 2])
    assert feed(phrase, [1, 1, 1, 2]).completed
    assert feed(phrase, [1, 1, 1]).remaining() == 1
    assert feed(phrase, [1, 2]).remaining() == 3
    assert feed(PhrasalConstraint([1, 2, 1, 3]), [1, 2, 1, 2, 1, 3]).completed


def test_after_a_reset_nothing_is_matched() -> None:
    phrase = feed(PhrasalConstraint([1, 2]), [1])
    phrase.reset()
    phrase.update(2)
    assert phrase.remaining() == 2


def test_copies_share_nothing_that_moves() -> None:
    for one in ALL:
        watched = one.copy()
        other = watched.copy(stateful=True)
        for token in range(1, 8):
            other.update(token)
        assert watched.remaining() == one.need


def test_one_alternative_may_begin_another() -> None:
    either = DisjunctiveConstraint([[3, 4], [3]])
    assert feed(either, [3]).completed
    late = DisjunctiveConstraint([[3, 4, 5], [4]])
    assert late.advance() == [3, 4]
    assert feed(late, [3, 4]).completed


def test_an_order_counts_only_what_comes_in_turn() -> None:
    order = OrderedConstraint([PhrasalConstraint([1, 2]), PhrasalConstraint([3])])
    assert not feed(order, [3, 1, 2]).completed
    assert feed(order, [3, 1, 2, 9, 3]).completed
    assert order.advance() == [1]


def test_a_template_has_exactly_its_blanks() -> None:
    template = TemplateConstraint([[1], 2, [4]])
    assert feed(template, [7, 1, 8, 9, 4]).completed
    assert not feed(template, [1, 8, 4]).completed
    assert feed(template, [1, 1, 8, 9, 4]).completed
    assert feed(template, [1]).advance() is None


def exhaustive(
    table: tiny.Table, wanted: list[Constraint], size: int, length: int
) -> tuple[list[int], float]:
    """Return the best output of exactly `length` tokens that fulfils everything."""
    best: tuple[list[int], float] = ([], -math.inf)
    for tokens in itertools.product(range(1, size), repeat=length):
        if all(feed(one, list(tokens)).completed for one in wanted):
            nats = torch.log_softmax(table.read(torch.tensor([[1, *tokens[:-1]]]), length), dim=-1)
            total = float(nats[0, range(length), list(tokens)].sum())
            if total > best[1]:
                best = (list(tokens), total)
    return best


@pytest.mark.parametrize("wanted", [
    [PhrasalConstraint([2, 3])],
    [DisjunctiveConstraint([[3], [2, 2]]), PhrasalConstraint([1])],
    [TemplateConstraint([[2], 1, [2]])],
    [OrderedConstraint([PhrasalConstraint([3]), PhrasalConstraint([1])])],
], ids=["phrase", "two", "template", "order"])  # fmt: skip
def test_a_wide_beam_finds_the_best_that_fulfils(wanted: list[Constraint]) -> None:
    for seed in range(3):
        table = tiny.chain(seed, 4, sharpness=2.0)
        best, total = exhaustive(table, wanted, 4, 4)
        rule = {"length_penalty": 0.0, "early_stopping": "never", "min_tokens": 4}
        found = search(table, wanted, 27, 4, **rule)
        assert found[0].tokens == best
        assert found[0].score_nats == pytest.approx(total, abs=1e-4)


def toys(beams: int) -> tuple[int, int, float]:
    """Return how many of 25 toy outputs fulfil all, how many are the best, and the mean gap."""
    met = optimal = 0
    gap = 0.0
    for seed in range(25):
        table = tiny.chain(seed, 7, sharpness=1.5)
        wanted = TOY
        rule = {"length_penalty": 0.0, "min_tokens": 6}
        found = search(table, wanted, beams, 6, **rule)[0]
        met += found.constraints_met and all(feed(one, found.tokens).completed for one in wanted)
        total = BEST.get(seed)
        if total is None:
            total = BEST[seed] = best_by_table(table, wanted, 7, 6)
        optimal += abs(total - found.score_nats) < 1e-4
        gap += (total - found.score_nats) / 25
    return met, optimal, gap


def filtered(beams: int) -> int:
    """Return for how many toys some output of the plain beam happens to hold all."""
    held = 0
    for seed in range(25):
        table = tiny.chain(seed, 7, sharpness=1.5)
        found = search(table, [], beams, 6, length_penalty=0.0, min_tokens=6)
        held += any(all(feed(one, output.tokens).completed for one in TOY) for output in found)
    return held


TOY: list[Constraint] = [PhrasalConstraint([2, 4]), DisjunctiveConstraint([[5], [3, 6]])]
BEST: dict[int, float] = {}


def best_by_table(table: tiny.Table, wanted: list[Constraint], size: int, length: int) -> float:
    """Return the best total by dynamic programming over (last token, state of the automata)."""
    states: dict[Any, tuple[float, list[Constraint]]] = {
        (1, "start"): (0.0, [one.copy() for one in wanted])
    }
    for step in range(length):
        befores = [(0,) * step + (last,) for last in range(size)]
        rows = [torch.log_softmax(table.logits(one), dim=-1).tolist() for one in befores]
        after: dict[Any, tuple[float, list[Constraint]]] = {}
        for (last, _), (total, watched) in states.items():
            for token in range(1, size):
                moved = [one.copy(stateful=True) for one in watched]
                for one in moved:
                    one.update(token)
                key = (token, repr([state(one) for one in moved]))
                nats = total + rows[last][token]
                if key not in after or after[key][0] < nats:
                    after[key] = (nats, moved)
        states = after
    return max(total for total, watched in states.values() if all(one.completed for one in watched))


def state(one: Constraint) -> Any:
    parts = getattr(one, "parts", None)
    return [state(part) for part in parts] if parts else (one.__dict__["_active"], one.completed)


def test_all_constraints_are_met_at_every_width_and_the_gap_shrinks() -> None:
    figures = [toys(beams) for beams in (1, 3, 8, 20)]
    assert [met for met, _, _ in figures] == [25] * 4
    gaps = [gap for _, _, gap in figures]
    assert gaps == sorted(gaps, reverse=True)
    assert figures[3][1] > figures[1][1]
    assert figures[3][1] >= 15
    assert filtered(8) < 15


def test_the_best_by_table_is_the_best_of_all() -> None:
    table = tiny.chain(3, 4, sharpness=2.0)
    wanted: list[Constraint] = [PhrasalConstraint([2, 3]), DisjunctiveConstraint([[1], [3, 3]])]
    _, total = exhaustive(table, wanted, 4, 5)
    assert best_by_table(table, wanted, 4, 5) == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "fsmt"])
def test_without_constraints_it_is_the_plain_beam(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    for penalty, stopping in ((1.0, False), (0.5, True), (2.0, "never")):
        shared = {
            "num_beams": 4, "length_penalty": penalty, "early_stopping": stopping,
            "num_return_sequences": 4, "max_tokens": 12, "no_repeat_ngram_size": 3,
        }  # fmt: skip
        one, other = (
            Decoder(model).decode(rows, settings.parse({**kind_, **shared}, "x"))
            for kind_ in ({"kind": "constrained"}, {"kind": "beam", "search": "transformers"})
        )
        assert [[o.tokens for o in outputs] for outputs in one] == [
            [o.tokens for o in outputs] for outputs in other
        ]


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_phrases_are_met_in_batches_of_both_kinds_of_models(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    value = {
        "kind": "constrained", "phrases": [[9, 9, 8], [[20], [21, 22]]], "num_beams": 4,
        "max_tokens": 12, "num_return_sequences": 3, "no_repeat_ngram_size": 1,
    }  # fmt: skip
    block = settings.parse(value, "x")
    found = Decoder(model).decode(rows, block)
    single = Decoder(model, use_cache=False).decode(rows, block, batch_size=1)
    for outputs, alone in zip(found, single, strict=True):
        assert [one.tokens for one in outputs] == [one.tokens for one in alone]
        for one in outputs:
            assert one.constraints_met
            text = "".join(f" {token} " for token in one.tokens)
            assert " 9  9  8 " in text
            assert " 20 " in text or " 21  22 " in text
            assert sum(one.positional_nats) / len(one.tokens) == pytest.approx(
                one.score_nats, abs=1e-4
            )


def test_a_prompts_tokens_fulfil_nothing() -> None:
    model = tiny.model("gpt2")
    block = settings.parse({"kind": "constrained", "phrases": [[7, 8]], "max_tokens": 6}, "x")
    (found,) = Decoder(model).decode([[5, 7, 8]], block)
    assert " 7  8 " in "".join(f" {token} " for token in found[0].tokens)
    (split,) = Decoder(model).decode([[5, 7]], block)
    assert " 7  8 " in "".join(f" {token} " for token in split[0].tokens)


def test_scores_far_below_a_hundred_leave_the_banks_in_order() -> None:
    table = tiny.chain(0, 6, sharpness=400.0)
    found = search(table, [PhrasalConstraint([4, 2, 3])], 4, 8)
    assert found[0].constraints_met
    assert min(sum(one.positional_nats) for one in found) < -100


def test_an_output_ends_only_when_all_is_met() -> None:
    table = tiny.Table(lambda tokens: torch.tensor([9.0, 0.0, 0.0, 0.0]))
    found = search(table, [PhrasalConstraint([2, 3])], 2, 9)
    assert found[0].tokens == [2, 3, 0]
    assert search(table, [], 2, 9)[0].tokens == [0]


class Never(PhrasalConstraint):
    """Asks for a token that the model never gives."""

    def advance(self) -> list[int] | None:
        """Force nothing."""
        return None


def test_outputs_that_miss_a_constraint_say_so_and_come_last() -> None:
    def logits(tokens: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor([-9.0, 1.0, 0.5, -math.inf])

    missed = search(tiny.Table(logits), [Never([3])], 3, 4)
    assert missed
    assert not any(one.constraints_met for one in missed)
    mixed = search(tiny.Table(logits), [PhrasalConstraint([2, 2, 2])], 3, 4)
    flags = [one.constraints_met for one in mixed]
    assert flags[0]
    assert flags == sorted(flags, reverse=True)


def test_a_users_own_constraint_serves() -> None:
    class Even(PhrasalConstraint):
        """An even token at least."""

        def __init__(self) -> None:
            super().__init__([0])
            self.need = 1

        def advance(self) -> list[int] | None:
            return [] if self._done else [2, 4]

        def update(self, token: int) -> tuple[bool, bool, bool]:
            before, self._done = self._done, self._done or token % 2 == 0
            return self._done and not before, self._done, False

        def remaining(self) -> int:
            return int(not self._done)

        def copy(self, *, stateful: bool = False) -> Even:
            other = Even()
            other._done = stateful and self._done
            return other

    table = tiny.Table(lambda tokens: torch.tensor([5.0, 4.0, -4.0, 4.0, -6.0]))
    assert any(token in (2, 4) for token in search(table, [Even()], 2, 5)[0].tokens)


def test_phrases_are_cut_by_the_models_own_pipeline_and_longer_ones_are_refused() -> None:
    model = tiny.model("gpt2")
    value = {"kind": "constrained", "phrases": ["ab", ["c", [7]]], "max_tokens": 5}
    block = settings.parse(value, "x")
    cut = {"ab": [10, 11], "c": [12]}
    (found,) = Decoder(model, cut=cut.__getitem__).decode([[5]], block)
    assert " 10  11 " in "".join(f" {token} " for token in found[0].tokens)
    with pytest.raises(ParamsError, match="came without its tokenizer"):
        Decoder(model).decode([[5]], block)
    with pytest.raises(ParamsError, match="has no tokens in this model"):
        Decoder(model, cut=lambda text: []).decode([[5]], block)
    with pytest.raises(ParamsError, match="take 6 tokens, an output 5"):
        Decoder(model, cut=lambda text: [9] * 4).decode(
            [[5]], settings.parse({**value, "phrases": ["ab", [3, 4]]}, "x")
        )


def test_banks_are_what_lets_phrases_land(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the turn of the banks the search loses what it must hold (planted fault)."""

    def by_score(candidates: Any) -> list[constrained.Candidate]:
        return sorted(candidates, key=lambda one: -one.total)

    monkeypatch.setattr(constrained, "in_turn", by_score)
    monkeypatch.setattr(constrained, "cost", lambda wanted: 0)
    assert toys(3)[0] < 25


def test_plain_search_is_not_changed_by_constraints_it_does_not_have() -> None:
    table = tiny.chain(5, 9, sharpness=1.5)
    ids = torch.tensor([[1]])
    rules = Rules(MARKS, 1, 8)
    for beams in (1, 3, 6):
        (plain,) = plain_search(table, ids, torch.ones_like(ids), rules, Rule(beams))
        ours = search(table, [], beams, 8)
        assert [one.tokens for one in ours] == [one.tokens for one in plain]


def test_building_follows_the_block() -> None:
    value = {"kind": "constrained", "phrases": [[1, 2], [[3], [4, 5]]], "ordered": True,
             "template": [[6], 2, [7]]}  # fmt: skip
    block = settings.parse(value, "x")
    assert isinstance(block, settings.Constrained)
    order, template = constraints.build(block, lambda text: [], constraints.Words(60))
    assert isinstance(order, OrderedConstraint)
    assert isinstance(template, TemplateConstraint)
    assert (order.need, template.need) == (4, 4)
