"""The check of bad input has teeth: each thing it must not overlook is planted once."""

from __future__ import annotations

import subprocess

import pytest

from tests.pipeline.bad_material import Bench
from tests.pipeline.conftest import Clone

LINES = "error: what it is\nwhere: the place\ndo: something else\n"


@pytest.fixture
def bench(tmp_path) -> Bench:
    found = Bench(Clone(tmp_path, {}))
    found.put("data/raw/bad/earlier.txt", "earlier")
    return found


def ended(bench, code=2, out="", err=LINES, also=lambda: None):
    def run(*words, **options):
        also()
        return subprocess.CompletedProcess(words, code, out, err)

    bench.run = run


def test_a_good_refusal_passes(bench):
    ended(bench)
    assert bench.refused("x") == ("what it is", "the place", "something else")


@pytest.mark.parametrize(
    "planted",
    [
        {"code": 1},
        {"code": 0},
        {"err": LINES + "and more\n"},
        {"err": LINES.replace("do: ", "")},
        {"err": LINES.replace("the place", "")},
        {"err": "Traceback (most recent call last):\n" + LINES},
        {"out": "Traceback (most recent call last):\n"},
    ],
)
def test_a_bad_end_is_seen(bench, planted):
    ended(bench, **planted)
    with pytest.raises(AssertionError):
        bench.refused("x")


@pytest.mark.parametrize(
    "name",
    [
        "data/raw/bad/earlier.txt",
        "data/raw/bad/half.txt",
        "metrics/acquire/bad.json",
        "scratch/acquire/f/out/raw/a.txt",
        "data/raw/.bad.123.tmp",
        "params.yaml",
        "dvc.lock",
    ],
)
def test_what_is_left_behind_is_seen(bench, name):
    ended(bench, also=lambda: bench.put(name, "half"))
    with pytest.raises(AssertionError):
        bench.refused("x")


def test_a_lost_output_is_seen(bench):
    ended(bench, also=(bench.root / "data/raw/bad/earlier.txt").unlink)
    with pytest.raises(AssertionError):
        bench.refused("x")
