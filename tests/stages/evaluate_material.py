"""Tiny corpora, tokenizers and models that the tests of `evaluate` and `report` score."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.lm.tables import LABELLED_SCHEMA, PARALLEL_SCHEMA, TEXT_SCHEMA, ShardWriter

ROOTS = ["arb", "dom", "hund", "kat", "libr", "tabl", "ven", "vid", "kur", "bel", "grand", "ruĝ"]
SCHEMAS = {"text": TEXT_SCHEMA, "labelled": LABELLED_SCHEMA, "parallel": PARALLEL_SCHEMA}


def write_corpus(folder: Path, kind: str, splits: dict[str, list[dict[str, Any]]]) -> Path:
    """Write a refined corpus folder (format 2 of the contract, its needed part)."""
    for split, rows in splits.items():
        with ShardWriter(folder, split, SCHEMAS[kind]) as writer:
            for row in rows:
                writer.add({"source": "made", **row})
    facts: dict[str, Any] = {
        "kind": kind,
        "languages": ["eo"],
        "synthetic": True,
        "licences": ["CC0-1.0"],
    }
    facts["splits"] = {name: {"documents": len(rows)} for name, rows in splits.items()}
    canonical.write_json(folder / "corpus.json", facts)
    return folder


def sentence(generator: random.Random) -> list[tuple[str, str]]:
    """Return words and tags of a sentence whose endings tell the tags."""

    def noun(ending: str) -> list[tuple[str, str]]:
        root = generator.choice(ROOTS)
        adjective = [(generator.choice(ROOTS) + "a", "ADJ")] if generator.random() < 0.5 else []
        return [("la", "DET"), *adjective, (root + ending, "NOUN")]

    verb = [(generator.choice(ROOTS) + generator.choice(["as", "is", "os"]), "VERB")]
    return [*noun("o"), *verb, *noun("on"), (".", "PUNCT")]


def labelled_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Return labelled sentences."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        words = sentence(generator)
        rows.append(
            {
                "id": f"s{seed}-{number}",
                "tokens": [word for word, _ in words],
                "tags": [tag for _, tag in words],
            }
        )
    return rows


def text_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Return documents of three to eight sentences."""
    generator = random.Random(seed)
    return [
        {
            "id": f"d{seed}-{number}",
            "text": " ".join(
                " ".join(word for word, _ in sentence(generator))
                for _ in range(generator.randint(3, 8))
            ),
        }
        for number in range(count)
    ]


def write_tokenizer(folder: Path, texts: list[str], vocabulary: int = 300) -> Path:
    """Train and write a small byte-level tokenizer that AutoTokenizer opens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    made = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made.train_from_iterator(texts, vocabulary, special_tokens=special, show_progress=False)
    PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    ).save_pretrained(folder)
    return folder


def write_roberta(folder: Path, texts: list[str], seed: int = 0, positions: int = 34) -> Path:
    """Write a random two-layer RoBERTa for masked language modelling."""
    import torch
    from transformers import AutoTokenizer, RobertaConfig, RobertaForMaskedLM

    write_tokenizer(folder, texts)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        type_vocab_size=1,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def write_gpt(folder: Path, texts: list[str], seed: int = 0, positions: int = 32) -> Path:
    """Write a random two-layer GPT-2."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    write_tokenizer(folder, texts)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        n_positions=positions,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_tagger(folder: Path, texts: list[str], labels: list[str], seed: int = 0) -> Path:
    """Write a random two-layer RoBERTa tagger."""
    import torch
    from transformers import AutoTokenizer, RobertaConfig, RobertaForTokenClassification

    write_tokenizer(folder, texts)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=34,
        type_vocab_size=1,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    RobertaForTokenClassification(config).save_pretrained(folder)
    return folder


def export_tagger(source: Path, folder: Path) -> Path:
    """Write a tagger as ONNX by transformers and torch alone, and its config and tokenizer."""
    import shutil

    import torch
    from transformers import AutoModelForTokenClassification

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = AutoModelForTokenClassification.from_pretrained(source, attn_implementation="eager")

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    example = (torch.ones(2, 7, dtype=torch.long) * 5, torch.ones(2, 7, dtype=torch.long))
    shape = {0: torch.export.Dim("b", min=1), 1: torch.export.Dim("t", min=2, max=32)}
    torch.onnx.export(
        Plain(),
        example,
        folder / "model.onnx",
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes=(shape, shape),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return folder
