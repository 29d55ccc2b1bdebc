"""The page's tables of vocabularies and languages."""

from __future__ import annotations

import json
import shutil

import pytest

from stages.core import canonical
from tests.stages.report_material import World
from tests.stages.test_report import loose_digits, page_of, unfaithful


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path).build()


def test_vocabularies_stand_side_by_side_with_the_unbeaten_marked(world):
    """A second vocabulary, larger and worse in everything, and the languages of the first."""
    places = ("models/tokenizers/{}/report.json", "models/pretrained/{}/training.json")
    pretrained = world.root / "models" / "pretrained"
    shutil.copytree(pretrained / "eo", pretrained / "large")
    for place, more in zip(places, ({"bytes_per_token": 2.5, "vocabulary_tokens": 9001}, {}),
                           strict=True):  # fmt: skip
        told = json.loads((world.root / place.format("eo")).read_text())
        if "scores" in told:
            told["scores"]["valid_bits_per_byte"] = 1.2077
            canonical.write_json(world.root / place.format("eo"), told)
            told["scores"]["valid_bits_per_byte"] = 1.9031
        canonical.write_json(world.root / place.format("large"), told | more)
    row = {"name": "eo", "tokens_per_word": 1.5011, "bytes_per_token": 4.7003,
           "characters_per_token": 4.6007, "unknown_fraction": 0.0, "parity": None}  # fmt: skip
    told = json.loads((world.root / places[0].format("eo")).read_text())
    told["languages"] = [row, row | {"name": "en2", "parity": 1.3109}]
    canonical.write_json(world.root / places[0].format("eo"), told)
    world.entries["tokenizer"]["large"] = world.entries["tokenizer"]["eo"]
    world.entries["pretrain"]["large"] = world.entries["pretrain"]["eo"] | {"tokenizer": "large"}
    page = page_of(world)
    assert unfaithful(page, world.root) == []
    assert loose_digits(page) == []
    rows = [one.text for one in page.named("tr") if "bpe" in one.text]
    assert [("\u2713" in text) for text in rows] == [True, False]
    assert any("1.31" in one.text and "en2" in one.text for one in page.named("tr"))
