"""Weights and config.json of the transformers class that computes what the checkpoint computes.

transformers ties tables by `tie_word_embeddings`: FSMT nothing or all three, Marian two or three,
the others nothing or all. Where a class cannot tie as fairseq does, every table is written, with
equal bytes where fairseq shares them: it would otherwise start at random.

Letters: D width, Vs and Vt vocabulary sizes, P rows of a position table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.port.fairseq.architecture import ACTIVATIONS, Architecture, Family
from stages.port.fairseq.layout import DECODER_TABLE, ENCODER_TABLE, OUTPUT_TABLE, PAD

PREFIX = "model."
SHARED = "model.shared.weight"
HEAD = "lm_head.weight"
LOGITS_BIAS = "final_logits_bias"
OUTER = {"layer_norm", "layernorm_embedding"}
"""Norms around the layers, beside the position tables."""


@dataclass(frozen=True)
class Kind:
    """What one transformers class asks for beyond the layers."""

    architecture: str
    two_vocabularies: bool
    offset: int
    """Row of the position table that the first token takes."""


KINDS: Mapping[Family, Kind] = {
    "fsmt": Kind("FSMTForConditionalGeneration", two_vocabularies=True, offset=PAD + 1),
    "marian": Kind("MarianMTModel", two_vocabularies=True, offset=0),
    "pegasus": Kind("PegasusForConditionalGeneration", two_vocabularies=False, offset=0),
    "bart": Kind("BartForConditionalGeneration", two_vocabularies=False, offset=2),
    "mbart": Kind("MBartForConditionalGeneration", two_vocabularies=False, offset=2),
}


def arrange(current: Mapping[str, Tensor], shape: Architecture) -> dict[str, Tensor]:
    """Return the class's state dict, every tensor in memory of its own."""
    family = shape.family
    weights = {
        PREFIX + key: tensor
        for key, tensor in current.items()
        if ".layers." in key or key.split(".")[1] in OUTER
    }
    weights |= _tables(current, shape)
    for side in ("encoder", "decoder"):
        weights[f"{PREFIX}{side}.embed_positions.weight"] = _positions(current, shape, side)
    if family != "fsmt":
        sizes = current[ENCODER_TABLE].shape[0], current[OUTPUT_TABLE].shape[0]
        weights[LOGITS_BIAS] = _logits_bias(family, *sizes)
    return {key: weights[key].contiguous().clone() for key in sorted(weights)}


def places(shape: Architecture) -> dict[str, list[str]]:
    """Return fairseq's token tables -> the class's keys; what the class ties has one key."""
    encoder, decoder = PREFIX + ENCODER_TABLE, PREFIX + DECODER_TABLE
    if shape.family == "fsmt":
        output = PREFIX + OUTPUT_TABLE
        return {ENCODER_TABLE: [encoder], DECODER_TABLE: [decoder], OUTPUT_TABLE: [output]}
    if shape.tying == "all":
        return {ENCODER_TABLE: [SHARED], DECODER_TABLE: [SHARED], OUTPUT_TABLE: [SHARED]}
    if shape.family == "marian":
        output = decoder if shape.tying == "decoder" else HEAD
        return {ENCODER_TABLE: [encoder], DECODER_TABLE: [decoder], OUTPUT_TABLE: [output]}
    # Nothing reads `shared` then, but the class has it.
    return {ENCODER_TABLE: [encoder, SHARED], DECODER_TABLE: [decoder], OUTPUT_TABLE: [HEAD]}


def targets(key: str, shape: Architecture) -> list[str]:
    """Return the class's keys for a fairseq key of today."""
    return places(shape).get(key, [PREFIX + key])


def _tables(current: Mapping[str, Tensor], shape: Architecture) -> dict[str, Tensor]:
    """Return the token tables and the output projection, filled up where there is one size."""
    tables = {key: current[name] for name, keys in places(shape).items() for key in keys}
    if KINDS[shape.family].two_vocabularies:
        return tables
    rows = max(table.shape[0] for table in tables.values())
    return {key: _filled(table, rows) for key, table in tables.items()}


def _filled(table: Tensor, rows: int) -> Tensor:
    return torch.cat([table, table.new_zeros(rows - table.shape[0], table.shape[1])])


def _logits_bias(family: Family, source_size: int, target_size: int) -> Tensor:
    """Return [1, V]: nothing for the target's symbols, -inf for those that fill up."""
    size = target_size if KINDS[family].two_vocabularies else max(source_size, target_size)
    bias = torch.zeros(1, size)
    bias[:, target_size:] = -math.inf
    return bias


def position_rows(shape: Architecture) -> int:
    """Return P without the offset: the longest source or target, in tokens."""
    if shape.family == "fsmt":
        return shape.max_positions
    return max(shape.max_positions, shape.max_target_positions)


def _positions(current: Mapping[str, Tensor], shape: Architecture, side: str) -> Tensor:
    """Return a side's table [offset + P, D]; rows behind a learned table's end stay zero."""
    offset, rows = KINDS[shape.family].offset, position_rows(shape)
    if shape.family == "fsmt":
        return _sinusoids(offset + rows, shape.width)
    table = torch.zeros(offset + rows, shape.width)
    if not shape.positions:
        return table
    learned = current.get(f"{side}.embed_positions.weight")
    found = learned if learned is not None else _sinusoids(rows + PAD + 1, shape.width)
    found = found[PAD + 1 :]
    table[offset : offset + found.shape[0]] = found[:rows]
    return table


def _sinusoids(rows: int, width: int) -> Tensor:
    from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding

    return torch.as_tensor(SinusoidalPositionalEmbedding.get_embedding(rows, width, PAD))


def configuration(shape: Architecture, source_size: int, target_size: int) -> dict[str, Any]:
    """Return config.json of the class."""
    family = shape.family
    tied = shape.tying == "all" or (family == "marian" and shape.tying == "decoder")
    sizes: dict[str, Any] = {"vocab_size": max(source_size, target_size)}
    if family == "fsmt":
        sizes = {"src_vocab_size": source_size, "tgt_vocab_size": target_size}
    if family == "marian":
        sizes = {
            "vocab_size": source_size,
            "decoder_vocab_size": target_size,
            "share_encoder_decoder_embeddings": shape.tying == "all",
        }
    return sizes | {
        "architectures": [KINDS[family].architecture],
        "model_type": family,
        "langs": [shape.source_language, shape.target_language],
        "d_model": shape.width,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "encoder_attention_heads": shape.encoder_heads,
        "decoder_attention_heads": shape.decoder_heads,
        "encoder_ffn_dim": shape.encoder_ffn,
        "decoder_ffn_dim": shape.decoder_ffn,
        "encoder_layerdrop": shape.encoder_layerdrop,
        "decoder_layerdrop": shape.decoder_layerdrop,
        "activation_function": ACTIVATIONS[shape.activation],
        "dropout": shape.dropout,
        "attention_dropout": shape.attention_dropout,
        "activation_dropout": shape.activation_dropout,
        "max_position_embeddings": position_rows(shape),
        "scale_embedding": shape.scale_embedding,
        "tie_word_embeddings": tied,
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
