"""How rows of `benchmarks/corpus` take turns and compare."""

from __future__ import annotations

import pytest

from benchmarks.corpus import material, near_duplicates, rounds


def test_quartiles_and_ratios_are_paired_by_round():
    assert rounds.quartiles([4, 1, 3, 2]) == {
        "low": 1.75, "median": 2.5, "high": 3.25, "rounds": 4,
    }  # fmt: skip
    found = {
        "ours": [{"cpu_s": 1.0}, {"cpu_s": 10.0}, {"cpu_s": 2.0}],
        "peer": [{"cpu_s": 3.0}, {"cpu_s": 30.0}, {"cpu_s": 6.0}],
    }
    assert rounds.ratios(found, "ours") == {
        "peer": {"low": 3.0, "median": 3.0, "high": 3.0, "rounds": 3}
    }


def test_every_system_has_its_turn_in_every_round():
    turns: list[str] = []

    def call(name):
        turns.append(name)
        return {"cpu_s": 1.0}

    rounds.interleaved({name: lambda name=name: call(name) for name in "abc"}, 20)
    assert turns[:3] == ["a", "b", "c"]
    later = ["".join(turns[at : at + 3]) for at in range(3, 63, 3)]
    assert {"".join(sorted(one)) for one in later} == {"abc"}
    assert len(set(later)) > 3


def test_a_contestant_answers_and_its_death_is_an_error():
    ours = rounds.Contestant("near_duplicates_ours")
    with pytest.raises(RuntimeError, match="near_duplicates_ours"):
        ours.ask(system="nobody")


def test_planted_copies_have_the_similarity_they_aim_at():
    texts = [" ".join(f"w{n}x{m}" for m in range(400)) for n in range(30)]
    made, truth = material.plant(texts, 30, (0.5, 0.9))
    assert len(made) == 60
    for row in truth:
        one, other = (made[row[name]].split() for name in ("original", "copy"))
        a, b = ({tuple(w[i : i + 5]) for i in range(396)} for w in (one, other))
        assert abs(len(a & b) / len(a | b) - row["aimed"]) < 0.03


def test_equal_recall_has_teeth():
    def told(found):
        return {"recall": {"0.8": {"copies": 100, "curve": 0.92, "found": found}}}

    assert near_duplicates.alike(told(0.93), told(0.88))
    assert not near_duplicates.alike(told(0.93), told(0.75))
