"""Pareto: what no other row beats."""

from __future__ import annotations

from stages.lm.frontier import unbeaten


def test_a_row_is_marked_unless_another_is_nowhere_worse_and_somewhere_better():
    assert unbeaten([[1, 9], [2, 5], [3, 6], [4, 1], [4, 1], [2, 5.5]]) == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert unbeaten([[1.0]]) == [True]
    assert unbeaten([]) == []
