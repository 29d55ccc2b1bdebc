"""Tiny models and pairs for tests of translators and summarisers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from stages.core.log import Log
from stages.finetune.stage import FinetuneParams, finetune
from tests.stages import evaluate_material as material

LETTERS = "bcdfghjklmnp"
WORDS = [a + b for a in LETTERS for b in "aeo"]


def sentence(rng: random.Random, most: int = 6) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, most)))


def corpus(folder: Path, counts: tuple[int, int, int] = (200, 30, 30), seed: int = 1) -> Path:
    """Write pairs whose target says the source again in capitals' order reversed: a copy task."""
    rng = random.Random(seed)
    splits: dict[str, list[dict[str, Any]]] = {}
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        rows = []
        for number in range(count):
            text = sentence(rng)
            rows.append({"id": f"{split}-{number}", "source_text": text, "target_text": text})
        splits[split] = rows
    return material.write_corpus(folder, "parallel", splits)


def roberta(folder: Path, seed: int = 0) -> Path:
    rng = random.Random(7)
    return material.write_roberta(folder, [sentence(rng, 12) for _ in range(200)], seed)


def gpt(folder: Path, seed: int = 0) -> Path:
    rng = random.Random(7)
    return material.write_gpt(folder, [sentence(rng, 12) for _ in range(200)], seed)


def bert(folder: Path, seed: int = 0) -> Path:
    """Write a random two-layer BERT with a WordPiece tokenizer, pooler and sentence head."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast

    rng = random.Random(7)
    made = BertWordPieceTokenizer(lowercase=True)
    texts = [sentence(rng, 12) for _ in range(200)]
    made.train_from_iterator(texts, vocab_size=200, show_progress=False)
    BertTokenizerFast(tokenizer_object=made._tokenizer).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertForPreTraining(config).save_pretrained(folder)
    return folder


def params(task: dict[str, Any], **changes: Any) -> FinetuneParams:
    given = {
        "base": "pretrained/x",
        "data": "x",
        "epochs": 2,
        "batch_sentences": 16,
        "learning_rate": 3e-3,
        "task": {"kind": "translation", "max_target_length": 20, "max_generated": 10, **task},
    }
    return FinetuneParams.model_validate(given | changes)


def run(
    made: FinetuneParams, base: Path, pairs: Path, out: Path, decoder: Path | None = None,
    log: Log | None = None,
) -> Log:  # fmt: skip
    log = log or Log(scratch=out.parent / f"{out.name}-scratch")
    finetune(made, base, decoder or base.parent / "none", pairs, out, log)
    return log
