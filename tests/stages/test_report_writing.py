"""The page and card of a summariser: its own panel, ROUGE by name, code that opens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core import canonical
from tests.stages.report_material import World, evaluation, score

TRAINING = {
    "task": "summarisation",
    "warm_start": "bert2rnd",
    "train_pairs": 1932,
    "valid_pairs": 60,
    "parameters": 778_013,
    "steps": 400,
    "tokens": 90_210,
    "checks": {"initial_loss_nats": 7.4012, "tensors_copied": 38, "tensors_new": 61},
    "lengths": [
        {"side": side, "mean_tokens": 251.25, "p95_tokens": 402.0, "max_tokens": 613,
         "limit_tokens": 96, "cut_share": 0.9713}
        for side in ("source", "target")
    ],
    "selection": {
        "metric": "valid_rougeL_points", "step": 300, "value": 17.4321,
        "curve": [{"step": 200, "value": 15.1}, {"step": 300, "value": 17.4321}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world")).build()
    made.entries["finetune"]["tldr"] = {
        "base": "pretrained/eo", "data": "pairs", "initial": "pretrained",
    }  # fmt: skip
    made.entries["evaluate"]["tldr"] = {"model": "finetuned/tldr", "data": "pairs", "split": "test"}
    files = {
        "models/finetuned/tldr/training.json": TRAINING,
        "models/finetuned/tldr/config.json": {
            "model_type": "encoder-decoder", "architectures": ["EncoderDecoderModel"],
        },
        **evaluation(
            "tldr", "summarisation", "finetuned/tldr", "pairs",
            [score("rouge1_beam", 18.4936, "points"),
             score("rouge1_beam", 30.1094, "points", baseline="lead-1")], "lead-1",
        ),
    }  # fmt: skip
    for name, value in files.items():
        canonical.write_json(made.root / name, value)
    row = {"id": "1", "source": "A long abstract.", "reference": "Short.", "beam": "Shorter."}
    canonical.write_lines(made.root / "reports/evaluate/tldr/samples.jsonl", [row])
    canonical.write_text(made.root / "models/finetuned/tldr/model.safetensors", "x")
    return made


def test_the_page_shows_what_was_copied_and_how_long_texts_are(world: World):
    page = (world.report() / "index.html").read_text(encoding="utf-8")
    for told in ("bert2rnd", "best rougeL on validation", "tensors new", "97.1", "ROUGE-1, beam"):
        assert told in page, told
    assert "Shorter." in page


def test_the_card_opens_the_model_with_everybodys_classes(world: World):
    path: Path = world.report("cards") / "cards/finetuned/tldr/README.md"
    card = path.read_text(encoding="utf-8")
    assert 'pipeline_tag: "summarization"' in card
    assert "AutoModelForSeq2SeqLM.from_pretrained" in card
    assert 'tokenizer("A long abstract.", truncation=True' in card
    assert "deveno try finetuned/tldr" in card
    assert "Summarisation; the entry" in card
    assert "best valid rougeL points" in card
    assert "| 18.49" in card
