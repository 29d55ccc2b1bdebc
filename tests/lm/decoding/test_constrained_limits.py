"""What no output can hold is refused, and what fits is not."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.errors import ParamsError
from stages.lm.decoding import constraints, settings
from stages.lm.decoding.constraints import (
    Constraint,
    DisjunctiveConstraint,
    OrderedConstraint,
    PhrasalConstraint,
)
from stages.lm.decoding.decoder import Decoder
from tests.lm.decoding import tiny


def feed(one: Constraint, *tokens: int) -> Constraint:
    """Show a copy of the constraint some tokens."""
    watched = one.copy()
    for token in tokens:
        watched.update(token)
    return watched


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"phrases": [[60]]}, "holds 60, which is no token"),
        ({"phrases": [[-1]]}, "holds -1, which is no token"),
        ({"phrases": [[[5], [6, 99]]]}, "holds 99, which is no token"),
        ({"template": [[5], 2, [77]]}, "holds 77, which is no token"),
        ({"phrases": [[5, tiny.EOS]]}, "holds 2, which ends or never stands"),
    ],
)
def test_phrases_that_no_output_can_hold_are_refused(block: dict[str, Any], told: str) -> None:
    wanted = settings.parse({"kind": "constrained", "max_tokens": 8, **block}, "x")
    with pytest.raises(ParamsError, match=told):
        Decoder(tiny.model("gpt2")).decode([[5, 6]], wanted)


def test_a_short_alternative_fits_where_the_long_one_does_not() -> None:
    block = {"kind": "constrained", "phrases": [[[5], [6, 7, 8]]], "max_tokens": 1}
    ((found, *_),) = Decoder(tiny.model("gpt2")).decode([[9]], settings.parse(block, "x"))
    assert found.constraints_met
    assert found.tokens[0] == 5
    either = DisjunctiveConstraint([[5], [6, 7, 8]])
    ordered = OrderedConstraint([PhrasalConstraint([1, 2]), either])
    assert constraints.cost([either, PhrasalConstraint([3, 4])]) == 3
    assert constraints.cost([feed(either, 6, 7)]) == 1
    assert constraints.cost([feed(ordered, 1, 2), PhrasalConstraint([3, 4])]) == 3
