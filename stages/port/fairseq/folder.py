"""The transformers folder of a ported model: configuration, vocabularies, merges, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from stages.core import canonical
from stages.lm.pipelines import SPECIALS
from stages.lm.translator import EXTRA_TOKENS
from stages.port.fairseq.architecture import Architecture
from stages.port.fairseq.layout import PREFIX
from stages.port.fairseq.source import Source
from stages.port.fairseq.vocabulary import transformers_vocabulary

PAD = 1
MAX_TOKENS = 200
"""fairseq-generate's default longest output, `</s>` not counted."""


def write(
    folder: Path,
    source: Source,
    weights: dict[str, torch.Tensor],
    moses_languages: list[str],
    punctuation_normalisation: bool,
) -> None:
    """Write everything but the verification."""
    folder.mkdir(parents=True)
    shape = source.architecture
    vocabulary = transformers_vocabulary(source.source_symbols, f"dict.{shape.source_language}.txt")
    target = transformers_vocabulary(source.target_symbols, f"dict.{shape.target_language}.txt")
    canonical.write_json(folder / "config.json", configuration(shape, len(vocabulary), len(target)))
    canonical.write_json(folder / "generation_config.json", generation(shape))
    canonical.write_json(
        folder / "tokenizer_config.json",
        tokenizer_configuration(shape, vocabulary, moses_languages, punctuation_normalisation),
    )
    canonical.write_json(folder / "vocab-src.json", vocabulary)
    canonical.write_json(folder / "vocab-tgt.json", target)
    merges = "".join(f"{left} {right}\n" for left, right in source.merges)
    canonical.write_text(folder / "merges.txt", merges)
    # transformers computes these tables when absent, but tells the user that they were missing.
    for side in ("encoder", "decoder"):
        weights[f"{PREFIX}{side}.embed_positions.weight"] = _positions(shape)
    canonical.write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))


def _positions(shape: Architecture) -> torch.Tensor:
    from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding

    rows = shape.max_positions + PAD + 1
    return torch.as_tensor(SinusoidalPositionalEmbedding.get_embedding(rows, shape.width, PAD))


def configuration(shape: Architecture, source_size: int, target_size: int) -> dict[str, Any]:
    """Return FSMT's config.json."""
    return {
        "architectures": ["FSMTForConditionalGeneration"],
        "model_type": "fsmt",
        "langs": [shape.source_language, shape.target_language],
        "src_vocab_size": source_size,
        "tgt_vocab_size": target_size,
        "d_model": shape.width,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "encoder_attention_heads": shape.encoder_heads,
        "decoder_attention_heads": shape.decoder_heads,
        "encoder_ffn_dim": shape.encoder_ffn,
        "decoder_ffn_dim": shape.decoder_ffn,
        "encoder_layerdrop": shape.encoder_layerdrop,
        "decoder_layerdrop": shape.decoder_layerdrop,
        "activation_function": shape.activation,
        "dropout": shape.dropout,
        "attention_dropout": shape.attention_dropout,
        "activation_dropout": shape.activation_dropout,
        "max_position_embeddings": shape.max_positions,
        "scale_embedding": shape.scale_embedding,
        "tie_word_embeddings": shape.share_all,
        "init_std": 0.02,
        "is_encoder_decoder": True,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
        "use_cache": True,
        "dtype": "float32",
    }


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


def tokenizer_configuration(
    shape: Architecture,
    vocabulary: dict[str, int],
    moses_languages: list[str],
    punctuation_normalisation: bool,
) -> dict[str, Any]:
    """Return tokenizer_config.json; the last two keys are ours and transformers ignores them."""
    keys = set(vocabulary) - set(SPECIALS)
    return {
        "tokenizer_class": "FSMTTokenizer",
        "langs": [shape.source_language, shape.target_language],
        "do_lower_case": not any(one.isupper() for key in keys for one in key),
        "model_max_length": shape.max_positions,
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "moses_languages": moses_languages or [shape.source_language, shape.target_language],
        "punctuation_normalisation": punctuation_normalisation,
    }
