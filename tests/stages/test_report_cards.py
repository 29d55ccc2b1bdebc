"""Model cards: the hub reads them, and no number in them stands without its file."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.report.frontmatter import frontmatter
from stages.report.handwriting import REQUIRED, handwriting
from stages.report.identity import TASK_TITLES
from tests.stages.report_material import World, printed, resolved

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("pretrained/eo", "finetuned/pos", "ported/en-eo", "exported/pos-int8")
POS = "reports/evaluate/pos/scores.json"
FIELDS = {
    "Value": ("value", "difference"), "n": ("n",), "Interval": ("interval",), "Words": ("words",),
    "Precision": ("precision",), "Recall": ("recall",), "F1": ("f1",), "Limit": (
        "limit", "relative_limit", "agreement_limit"), "Positions": ("positions",),
    "Documents": ("documents",), "Characters": ("characters",), "Beam": ("num_beams",),
    "Sentences": ("sentences",), "Repeated word for word": ("sentences_equal", "equal"),
    "Plain `generate` differs": ("plain_texts_differ",),
    "Other source ids": ("plain_source_ids_differ",), "Members": ("members",),
    "Other text of equal ids": ("plain_searches_differ",), "Length penalty": ("length_penalty",),
    "BLEU": ("bleu",), "chrF": ("chrf",), "BLEU, original": ("bleu_original",),
    "BLEU, ported": ("bleu_ported",), "chrF, original": ("chrf_original",),
    "chrF, ported": ("chrf_ported",),
}  # fmt: skip
"""Columns of the cards and the members of their row's source that they show."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Artifacts of all sections."""
    return World(tmp_path).build()


def cards(world: World) -> dict[str, ModelCard]:
    """Return every card by its model's reference, read as the hub's own library reads it."""
    folder = world.report() / "cards"
    return {
        path.parent.relative_to(folder).as_posix(): ModelCard.load(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def header(card: ModelCard) -> str:
    """Return the YAML between the fences."""
    return re.match(r"---\n(.*?)\n---\n", card._content, re.DOTALL).group(1)


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of all tables by their heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE):
        split = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in table.splitlines()]
        heads, _, *body = [[cell.strip() for cell in line] for line in split]
        found += [dict(zip(heads, line, strict=True)) for line in body]
    return found


def numbers_of(cell: str) -> list[str]:
    """Return the printed numbers of a cell: one, or the ends of an interval."""
    return [part for part in cell.split(" to ") if part]


def unfaithful(card: ModelCard, root: Path) -> list[str]:
    """Return the cells of a card that are not what the row's own source holds."""
    wrong = []
    for row in rows(card.text):
        held = resolved(root, row["From"].strip("`"))
        for head, fields in FIELDS.items():
            if not row.get(head) or not re.match(r"[+\u2212\d]", row[head]):
                continue
            true = held
            if isinstance(held, dict):
                true = next(held[name] for name in fields if held.get(name) is not None)
            ends = true if isinstance(true, list) else [true]
            if isinstance(true, str):
                continue
            for text, end in zip(numbers_of(row[head]), ends, strict=True):
                number, slack = printed(text)
                if not math.isclose(number, end, rel_tol=1e-12, abs_tol=slack):
                    wrong.append(f"{row['From']} {head}: prints {text}, the file says {end}")
    return wrong


def unsourced(card: ModelCard) -> list[str]:
    """Return lines with digits that are no table row, heading or code and name no source."""
    text = re.sub(r"(`{3,}).*?\n\1", "", card.text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    bare = [(line, re.sub(r"`[^`]*`", "", line)) for line in lines]
    named = [line for line, rest in bare if re.search(r"\d", rest)]
    return [line for line in named if not re.search(r"#/\w", line) and line[0] != "#"]


def test_every_model_has_a_card_that_the_hub_s_library_reads(world):
    made = cards(world)
    assert set(made) == set(MODELS)
    for reference, card in made.items():
        data = card.data
        assert data.model_name == f"deveno-{reference.replace('/', '-')}"
        assert data.eval_results, reference
        assert data.license
        assert data.tags[0] == "deveno"
        again = ModelCard(str(card)).data.to_dict()
        assert again == data.to_dict(), "the library writes and reads back the same"


def test_results_in_the_header_are_the_scores_of_the_file(world):
    found = cards(world)["finetuned/pos"].data.eval_results
    scores = json.loads((world.root / POS).read_text(encoding="utf-8"))["scores"]
    own = [row for row in scores if "baseline" not in row]
    assert [one.metric_value for one in found] == [row["value"] for row in own]
    assert [one.metric_type for one in found] == ["accuracy", "f1"]
    for one, row in zip(found, own, strict=True):
        assert one.task_type == "token-classification"
        assert (one.dataset_name, one.dataset_split) == ("corpora/pos", "test")
        told = one.metric_args
        assert resolved(world.root, told["from"]) == row
        assert {name: told[name] for name in ("n", "interval", "signature", "unit")} == {
            name: row[name] for name in ("n", "interval", "signature", "unit")
        }


def test_yaml_is_the_same_to_old_and_new_readers(world):
    for card in cards(world).values():
        text = header(card)
        assert yaml.safe_load(text) == YAML(typ="safe").load(text)


@pytest.mark.parametrize("reference", MODELS)
def test_every_number_of_a_table_is_what_its_source_says(world, reference):
    card = cards(world)[reference]
    assert len(rows(card.text)) > 8
    assert all(row["From"] for row in rows(card.text))
    assert unfaithful(card, world.root) == []
    assert unsourced(card) == []


@pytest.mark.parametrize(
    ("reference", "file", "path", "to"),
    [
        ("finetuned/pos", POS, ("scores", 0, "value"), 0.9732),
        ("finetuned/pos", POS, ("scores", 1, "interval", 1), 0.99),
        ("finetuned/pos", POS, ("labels", 0, "recall"), 0.5),
        ("finetuned/pos", "data/corpora/pos/corpus.json", ("splits", "train", "documents"), 906),
        (
            "exported/pos-int8", "reports/evaluate/pos-int8/scores.json",
            ("comparisons", 0, "difference"), 0.0012,
        ),
        ("exported/pos-int8", "models/exported/pos-int8/export.json", ("size_bytes",), 3),
        ("ported/en-eo", "models/ported/en-eo/verification.json", ("checks", 1, "n"), 20),
        ("pretrained/eo", "models/pretrained/eo/training.json", ("tokens",), 30012),
    ],
)  # fmt: skip
def test_a_number_that_its_file_does_not_hold_is_found(world, reference, file, path, to):
    card = cards(world)[reference]
    world.change(file, *path, to=to)
    assert unfaithful(card, world.root)


def test_a_typed_number_is_found(world):
    card = cards(world)["finetuned/pos"]
    card.text += "\nIt reaches 97 % everywhere.\n"
    assert unsourced(card) == ["It reaches 97 % everywhere."]


def test_header_and_table_change_together(world):
    before = cards(world)["finetuned/pos"]
    world.change(POS, "scores", 0, "value", to=0.8642)
    after = cards(world)["finetuned/pos"]
    assert before.data.eval_results[0].metric_value == 0.9731
    assert after.data.eval_results[0].metric_value == 0.8642
    assert "97.31" in before.text
    assert "97.31" not in after.text
    assert "86.42\u202f%" in after.text


def test_parameters_stand_in_the_card_as_they_are(world):
    text = cards(world)["pretrained/eo"].text
    block = re.search(r"`pretrain\.eo`:\n\n```json\n(.*?)\n```", text, re.DOTALL)
    assert json.loads(block.group(1)) == world.entries["pretrain"]["eo"]


def test_code_to_start_with_compiles_and_names_the_folder(world):
    for reference, card in cards(world).items():
        code = re.search(r"```python\n(.*?)\n```", card.text, re.DOTALL).group(1)
        compile(code, reference, "exec")
        assert f'"models/{reference}"' in code


def test_origin_and_relations_are_told(world):
    made = cards(world)
    tagger, int8 = made["finetuned/pos"].data, made["exported/pos-int8"].data
    assert tagger.base_model == "deveno-pretrained-eo"
    assert tagger.base_model_relation == "finetune"
    assert int8.base_model == "deveno-finetuned-pos"
    assert int8.base_model_relation == "quantized"
    assert (int8.library_name, made["pretrained/eo"].data.pipeline_tag) == ("onnx", "fill-mask")
    assert made["ported/en-eo"].data.base_model is None
    assert made["ported/en-eo"].data.language == ["en", "eo"]
    assert set(tagger.datasets) == {"deveno-corpora-eo", "deveno-corpora-pos"}
    assert made["pretrained/eo"].data.datasets == ["deveno-corpora-eo"], "no table of a tokenizer"
    assert "models/finetuned/pos` from raw material" in made["finetuned/pos"].text
    assert "`dvc repro finetune@pos`" in made["finetuned/pos"].text


def test_a_tagger_from_random_weights_has_no_base(world):
    world.entries["finetune"]["pos"]["initial"] = "random"
    card = cards(world)["finetuned/pos"]
    assert card.data.base_model is None
    assert "the weights began at random" in card.text


def test_generated_material_is_marked(world):
    made = cards(world)
    assert "synthetic" in made["finetuned/pos"].data.tags
    assert "> **Synthetic.**" in made["finetuned/pos"].text
    assert "synthetic" not in made["pretrained/eo"].data.tags
    assert "> **Synthetic.**" not in made["pretrained/eo"].text
    material = [row for row in rows(made["finetuned/pos"].text) if "Synthetic" in row]
    assert {row["Raw material"]: row["Synthetic"] for row in material} == {
        "`data/raw/eo`": "yes", "`data/raw/own`": "no",
    }  # fmt: skip


def test_licences_follow_the_material(world):
    made = cards(world)
    assert made["pretrained/eo"].data.license == "cc-by-4.0"
    assert made["finetuned/pos"].data.license == "other"
    assert made["finetuned/pos"].data.license_name == "cc-by-4.0-and-cc0-1.0"
    assert made["ported/en-eo"].data.license == "unknown"
    assert "own work" in made["ported/en-eo"].text
    world.change("data/raw/own/manifest.json", "licence", to="PSF-2.0")
    data = cards(world)["pretrained/eo"].data
    assert (data.license, data.license_name) == ("other", "psf-2.0")


def test_a_model_without_evaluation_has_a_card_without_results(world):
    world.entries["evaluate"].pop("lm")
    card = cards(world)["pretrained/eo"]
    assert card.data.eval_results is None
    assert "No evaluation of this model" in card.text


def test_written_texts_stand_word_for_word_and_one_model_may_have_its_own(world):
    texts = world.root / "docs/cards"
    before = {path: path.read_bytes() for path in texts.rglob("*.md")}
    assert "About Limitations of *token-classification*." in cards(world)["finetuned/pos"].text
    own = texts / "finetuned/pos.md"
    own.parent.mkdir()
    own.write_text("# P\n\n## Limitations\n\nOnly *mine*: 2 | 3.\n\n## Contact\n\nMe.\n", "utf-8")
    first, again = cards(world)["finetuned/pos"].text, cards(world)["finetuned/pos"].text
    assert first == again
    assert "## Bias, risks and limitations\n\nOnly *mine*: 2 | 3.\n\n## Contact\n\nMe.\n" in first
    assert "About Direct use of *token-classification*." in first
    assert "`docs/cards/finetuned/pos.md`" in first
    assert {path: path.read_bytes() for path in before} == before, "texts are read, never written"


@pytest.mark.parametrize("heading", REQUIRED)
def test_a_card_without_a_written_section_is_refused(world, heading):
    path = world.root / "docs/cards/translation.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(rf"(## {heading}\n\n).*\n", r"\1", text), encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"no text under '{heading}'") as caught:
        cards(world)
    assert "docs/cards/ported/en-eo.md" in caught.value.where
    assert len(caught.value.lines()) == 3


def test_a_text_in_another_encoding_is_refused(world):
    (world.root / "docs/cards/fill-mask.md").write_bytes(b"## Limitations\n\n\xe9\n")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        cards(world)


@pytest.mark.parametrize("task", sorted(TASK_TITLES))
def test_the_project_s_own_texts_are_complete(task):
    written = handwriting(ROOT / "docs/cards", task, "none/none")
    assert all(len(written.sections[heading].split()) > 10 for heading in REQUIRED)
    assert not any(re.search(r"\d", text) for text in written.sections.values()), "no typed numbers"


def test_hostile_text_changes_neither_header_nor_tables(world):
    plain = cards(world)["finetuned/pos"]
    hostile = '---\nlicense: "mit" | <script>alert(1)</script> `x` \x07 \U0001f600 # [a](http://b)'
    world.change("data/raw/eo/manifest.json", "origin", to=hostile)
    world.change("data/corpora/pos/corpus.json", "languages", to=[hostile, "no"])
    world.change(POS, "labels", 0, "label", to="`|`")
    world.change(POS, "notes", 0, to=hostile)
    card = cards(world)["finetuned/pos"]
    assert sorted(card.data.language) == sorted([hostile, "no", "eo"])
    assert card.data.license == plain.data.license
    assert len(rows(card.text)) == len(rows(plain.text))
    assert "<script>" not in card.text
    assert unfaithful(card, world.root) == []


@pytest.mark.parametrize(
    "value",
    [
        1e-05, 1e16, 0.1, -3.5e-300, 12, True, None, "no", "null", "1e3", "0x1F", "2024-01-01",
        "~", "a: b", "- x", "#", "", "it's", '"', "\\", "a\nb", "\t", "\u2028", "\x85", "\ufeff",
        "\U0001f600", "---", [], {}, [[1, 2], ["x"]],
    ],
    ids=repr,
)  # fmt: skip
def test_any_value_survives_both_yaml_versions(value):
    told = {"deep": [{"k": value, "l": [value]}], "k-2": {"odd key:": value}}
    text = frontmatter({**told, "absent": None})
    body = text.removeprefix("---\n").removesuffix("---\n")
    assert yaml.safe_load(body) == told
    assert YAML(typ="safe").load(body) == told


def test_an_export_without_a_graph_is_cited_by_its_largest_file(world):
    folder = world.root / "models/exported/en-eo-ct2"
    told = {
        "task": "translation", "source": "ported/en-eo", "format": "ctranslate2",
        "quantize": {"kind": "none"}, "size_bytes": 4011, "parity": [
            {"case": "beam 5", "positions": 2429, "pass": True}],
    }  # fmt: skip
    canonical.write_json(folder / "export.json", told)
    canonical.write_json(folder / "config.json", {"layer_norm_epsilon": None})
    canonical.write_text(folder / "model.bin", "weights" * 900)
    world.entries["export"]["en-eo-ct2"] = {
        "model": "ported/en-eo", "format": "ctranslate2", "quantize": {"kind": "none"}
    }  # fmt: skip
    made = cards(world)["exported/en-eo-ct2"]
    digest = canonical.file_digest(folder / "model.bin")
    assert f"`model.bin`, `sha256:{digest}`" in made.text
    assert made.data.tags[:2] == ["deveno", "fsmt"]
    assert "onnxruntime" not in made.text
    assert "ONNX operator set" not in made.text
    assert unfaithful(made, world.root) == []
