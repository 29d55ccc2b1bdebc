"""A fixed share of `make fuzz`, and that it finds what is planted."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import strategies as st

from benchmarks.fuzz import containers, engine, kernels, readers, tokens
from benchmarks.fuzz.engine import Target
from stages.lm.kernels import gathering

EVERY = [one for group in (kernels, tokens, readers, containers) for one in group.TARGETS]
TARGETS = {one.name: one for one in EVERY}
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
"""What `make fuzz` found once: it must never come back."""
PACKING = TARGETS["packing"]


def test_every_target_has_a_name_of_its_own():
    assert len(TARGETS) == len(EVERY) > 30


# `scores` has its own seeded test: its reference takes three seconds to make ready.
@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"scores"}))
def test_some_examples_of_every_target(name):
    outcome = engine.fuzz(TARGETS[name], 7, 60.0, 2 if name == "refine" else 4, cpu_seconds=60)
    assert outcome.finding is None, outcome.finding["error"]
    assert outcome.examples > 0


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_is_right_now(path):
    engine.replay(path, TARGETS)


def faulty(place: Path, before: str, after: str):
    """Return a copy of the kernel's module with a fault, run by the interpreter."""
    source = Path(gathering.__file__).read_text()
    assert source.count(before) == 1
    place.write_text(source.replace(before, after))
    spec = importlib.util.spec_from_file_location("faulty_gathering", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._gather = module._gather.reference
    return module


PLANTED = {
    "one_piece_less": ("row_offsets[rows[row] + 1]):", "row_offsets[rows[row] + 1] - 1):"),
    "one_token_too_far": ("stream[start + at]\n", "stream[start + at + (at > 30)]\n"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_in_a_copy_of_a_kernel_is_found(name, tmp_path, monkeypatch):
    module = faulty(tmp_path / "faulty.py", *PLANTED[name])
    monkeypatch.setattr(tokens, "gathering", module)
    outcome = engine.fuzz(PACKING, 3, 60.0, 600)
    assert outcome.finding is not None
    kept = engine.keep(outcome.finding, tmp_path / "found")
    with pytest.raises((AssertionError, IndexError)):
        engine.replay(kept, TARGETS)
    monkeypatch.undo()
    engine.replay(kept, TARGETS)


def test_the_same_kernel_without_a_fault_is_clean_in_the_same_way(tmp_path, monkeypatch):
    module = faulty(tmp_path / "fair.py", "to += size", "to = to + size")
    monkeypatch.setattr(tokens, "gathering", module)
    assert engine.fuzz(PACKING, 3, 60.0, 40).finding is None


def test_a_reader_that_loses_a_line_or_takes_too_long_is_found(monkeypatch):
    real = readers.read_file
    monkeypatch.setattr(readers, "read_file", lambda file: list(real(file))[:2])
    outcome = engine.fuzz(TARGETS["texts_read"], 1, 60.0, 400)
    assert "AssertionError" in outcome.finding["error"]
    assert len(json.dumps(outcome.finding["example"])) < 200, "it is made small"
    slow = Target("slow", st.just([]), lambda example, folder: sum(range(300_000)))
    assert "TooSlow" in engine.fuzz(slow, 1, 60.0, 3, cpu_seconds=1e-4).finding["error"]


def test_examples_become_json_and_again_what_they_were():
    example = {"a": [b"\xff\0", "\ud800", 1.5, None, True], "object": {"base64": b""}}
    assert engine.unpack(json.loads(json.dumps(engine.pack(example)))) == example


def _note(seen: list[object], example: object, folder: Path) -> None:
    seen.append(example)


def test_the_same_seed_draws_the_same_examples(tmp_path):
    drawn = []
    for _ in range(2):
        seen: list[object] = []
        engine.fuzz(Target("seen", st.integers(), partial(_note, seen)), 5, 60.0, 20)
        drawn.append(seen)
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) >= 20
