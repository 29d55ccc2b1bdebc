"""The settings block: every kind, every refusal, and the file beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.core.declare import Params
from stages.core.errors import ArtifactError, ParamsError
from stages.lm.decoding import settings
from stages.lm.decoding.settings import Decoding

WHERE = "params.yaml: evaluate.x.decoding"
WHOLE: list[dict[str, Any]] = [
    {"kind": "greedy"},
    {"kind": "beam", "num_beams": 4, "early_stopping": "never", "search": "transformers"},
    {"kind": "diverse-beam", "num_beams": 6, "groups": 3},
    {"kind": "sampling", "temperature": 1, "top_p": 0.9, "seed": 7},
    {"kind": "contrastive", "top_k": 6},
    {"kind": "constrained", "phrases": ["Sie", ["a", [5]], [1, 2]], "template": ["x", 2, [3]]},
    {"kind": "assisted", "draft": "pretrained/small"},
]


@pytest.mark.parametrize("value", WHOLE, ids=lambda one: one["kind"])
def test_a_block_survives_its_file_and_its_signature_tells_it(
    value: dict[str, Any], tmp_path: Path
) -> None:
    found = settings.parse(value, WHERE)
    settings.store(tmp_path, found)
    assert settings.stored(tmp_path) == found
    trait = settings.trait(found)
    assert trait.startswith(f"{value['kind']}(")
    assert "|" not in trait
    assert ":" not in trait
    assert trait.count("=") == len(type(found).model_fields) - 1


def test_every_kind_is_told_apart_in_a_signature() -> None:
    changed = [{"kind": "constrained", "phrases": [text]} for text in ("a|b", "a:b", "ab")]
    traits = {settings.trait(settings.parse(value, WHERE)) for value in [*WHOLE, *changed]}
    assert len(traits) == len(WHOLE) + 3


@pytest.mark.parametrize(
    ("value", "what", "field", "todo"),
    [
        ({"kind": "beam", "num_return_sequences": 9}, "9 is more than num_beams = 5",
         ".num_return_sequences", "raise num_beams"),
        ({"kind": "beam", "early_stopping": "never"}, "always stops early", ".early_stopping",
         "search: transformers"),
        ({"kind": "beam", "search": "transformers", "unknown_penalty": 1.0}, "has no meaning",
         ".unknown_penalty", "search: fairseq"),
        ({"kind": "diverse-beam", "num_beams": 5}, "cannot be divided into 2 groups", ".groups",
         "multiple"),
        ({"kind": "sampling", "min_tokens": 5, "max_tokens": 4}, "min_tokens = 5", ".min_tokens",
         "lower min_tokens"),
        ({"kind": "sampling", "top_p": 0.0}, "top_p: Input should be greater than 0", ".top_p",
         "share of the probability"),
        ({"kind": "sampling", "temperature": float("nan")}, "temperature", ".temperature", "0"),
        ({"kind": "constrained", "phrases": ["a", ["b", ""]]}, "phrase 2 is ['b', '']",
         ".phrases.1", "alternatives"),
        ({"kind": "constrained", "phrases": [" "]}, "asks for nothing", ".phrases.0", "text"),
        ({"kind": "constrained", "template": [2]}, "no fixed one", ".template", "between them"),
        ({"kind": "assisted"}, "draft: Field required", ".draft", "models/"),
        ({"kind": "beam", "beams": 3}, "kind beam has no 'beams' (value 3)", ".beams",
         "it takes max_tokens"),
        ({"kind": "bim"}, "kind: 'bim' is no way to decode", "decoding", "greedy, beam"),
        ({"num_beams": 4}, "is no way to decode", "decoding", "name a kind"),
        ([1], "[1] is no way to decode", "decoding", "name a kind"),
    ],
)  # fmt: skip
def test_a_fault_names_value_field_and_remedy(value: Any, what: str, field: str, todo: str) -> None:
    with pytest.raises(ParamsError) as caught:
        settings.parse(value, WHERE)
    assert what in caught.value.what
    assert caught.value.where.startswith(WHERE)
    assert caught.value.where.endswith(field)
    assert todo in caught.value.todo


def test_a_field_of_a_stage_tells_where_the_block_stands() -> None:
    class Task(Params):
        decoding: Decoding

    with pytest.raises(ValidationError, match="num_return_sequences = 9") as caught:
        Task.model_validate({"decoding": {"kind": "beam", "num_return_sequences": 9}})
    assert caught.value.errors()[0]["loc"] == ("decoding", "beam")


def test_a_folder_without_settings_has_none_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert settings.stored(tmp_path) is None
    (tmp_path / settings.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        settings.stored(tmp_path)
    assert "decoding.json cannot be read" in caught.value.what
    (tmp_path / settings.FILE).write_text('{"kind": "beam", "num_beams": 0}', encoding="utf-8")
    with pytest.raises(ParamsError) as refused:
        settings.stored(tmp_path)
    assert refused.value.where.endswith("decoding.json.num_beams")


def test_plain_generate_is_told_what_it_can_be_told() -> None:
    def told(**value: Any) -> dict[str, Any]:
        return settings.generation_config(settings.parse(value, WHERE))

    assert told(kind="greedy") == {"do_sample": False, "num_beams": 1}
    beam = told(kind="beam", num_beams=3, length_penalty=0.5, max_tokens=9)
    assert (beam["num_beams"], beam["length_penalty"], beam["max_new_tokens"]) == (3, 0.5, 9)
    assert told(kind="sampling", temperature=0.0) == {"do_sample": False, "num_beams": 1}
    assert told(kind="sampling", top_k=5)["top_k"] == 5
