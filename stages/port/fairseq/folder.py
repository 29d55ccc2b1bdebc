"""The transformers folder of a ported model: configuration, vocabularies, subwords, weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from stages.core import canonical
from stages.lm.pipelines import BPE_FILES, PIECE_FILES
from stages.lm.translator import EXTRA_TOKENS
from stages.port.fairseq import families, moses
from stages.port.fairseq.architecture import Architecture
from stages.port.fairseq.source import Source
from stages.port.fairseq.vocabulary import transformers_vocabulary

if TYPE_CHECKING:
    from stages.port.stage import Fairseq

MAX_TOKENS = 200
"""fairseq-generate's default longest output, `</s>` not counted."""


def write(folder: Path, source: Source, weights: dict[str, torch.Tensor], options: Fairseq) -> None:
    """Write everything but the verification."""
    folder.mkdir(parents=True)
    shape = source.architecture
    sizes = len(source.source_symbols), len(source.target_symbols)
    files = tokenizer_files(source)
    settings = tokenizer_configuration(source, options)
    canonical.write_json(folder / "config.json", families.configuration(shape, *sizes))
    canonical.write_json(folder / "generation_config.json", generation(shape))
    canonical.write_json(folder / "tokenizer_config.json", settings)
    for name, content in files.items():
        if isinstance(content, dict):
            canonical.write_json(folder / name, content)
        else:
            canonical.write_bytes(folder / name, content)
    canonical.write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))


def tokenizer_files(source: Source) -> dict[str, dict[str, int] | bytes]:
    """Return name -> content of the files that FSMT's or Marian's tokenizer reads."""
    subwords, shape = source.subwords, source.architecture
    if subwords.format == "sentencepiece":
        contents = (
            source.source_symbols,
            source.target_symbols,
            subwords.source_model,
            subwords.target_model,
        )
        return dict(zip(PIECE_FILES, contents, strict=True))
    vocabularies = [
        transformers_vocabulary(symbols, f"dict.{language}.txt")
        for symbols, language in (
            (source.source_symbols, shape.source_language),
            (source.target_symbols, shape.target_language),
        )
    ]
    merges = "".join(f"{left} {right}\n" for left, right in subwords.merges)
    return dict(zip(BPE_FILES, (*vocabularies, merges.encode()), strict=True))


def generation(shape: Architecture) -> dict[str, Any]:
    """Return generation_config.json: what plain `generate` does with this model by default."""
    return {
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
        "num_beams": 5,
        "length_penalty": 1.0,
        "early_stopping": False,
        "max_length": min(MAX_TOKENS, shape.max_target_positions - 1) + EXTRA_TOKENS,
    }


def tokenizer_configuration(source: Source, options: Fairseq) -> dict[str, Any]:
    """Return tokenizer_config.json; moses* and punctuation* are ours, transformers ignores them."""
    shape = source.architecture
    languages = [shape.source_language, shape.target_language]
    ours = {
        "langs": languages,
        "model_max_length": shape.max_positions,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "moses": source.moses,
        "moses_languages": moses.languages(source, options),
        "punctuation_normalisation": options.punctuation_normalisation,
    }
    if source.subwords.format == "sentencepiece":
        return ours | {
            "tokenizer_class": "MarianTokenizer",
            "separate_vocabs": True,
            "source_lang": languages[0],
            "target_lang": languages[1],
        }
    return ours | {
        "tokenizer_class": "FSMTTokenizer",
        "do_lower_case": moses.lower_case(source.source_symbols),
        "bos_token": "<s>",
        "sep_token": "</s>",
    }
