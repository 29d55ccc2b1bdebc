"""Read BLOOM: the release for transformers, or the training's files of layers and ranks.

config.json, pytorch_model.bin (or shards with index, or safetensors), tokenizer.json
layer_01-model_00-model_states.pt   embedding and its norm, rank 0
layer_03-model_00-model_states.pt   first layer, ...
layer_<n + 4>-model_00-...          the last norm, called `weight` and `bias`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.bloom import BloomLayout
from stages.lm.layouts.megatron import rank_name
from stages.lm.tensors.checkpoint import Checkpoint
from stages.lm.tensors.entries import Entry, Spec
from stages.port import archives
from stages.port.families import given, kinds
from stages.port.families.release import (
    NO_MARKS,
    TWIN_HEAD,
    TWIN_LAYERS,
    TWIN_VOCABULARY,
    Causal,
    Files,
    Release,
    agree,
    heads_of,
    layers_of,
    listed,
    number,
    read_json,
    wanted,
    whole_number,
)
from stages.port.references import bloom as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import Bloom

REMEDY = "give config.json with pytorch_model.bin, or the training's layer_*-model_*.pt files"
LAYER = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
RENAMED = {
    "word_embeddings.norm.weight": "word_embeddings_layernorm.weight",
    "word_embeddings.norm.bias": "word_embeddings_layernorm.bias",
    "weight": "ln_f.weight",
    "bias": "ln_f.bias",
}
CONFIG = "config.json"
FIRST_LAYER = 3
CONTEXT = 2048
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def read(folder: Path, options: Bloom) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("bloom", files)
    config = wanted(files, "bloom", REMEDY, "config.json")
    settings = read_json(config)
    if settings.get("model_type", "bloom") != "bloom":
        kinds.refuse("bloom", str(settings["model_type"]), "settings")
    ranks, checkpoint = _opened(files, config.parent)
    specs = checkpoint.specs
    kinds.check_tensors("bloom", [name.removeprefix("0:") for name in specs])
    prefix = "transformer." if any(name.startswith("transformer.") for name in specs) else ""
    begin = rank_name(0, "") if ranks else prefix
    layers = layers_of(list(specs), f"{begin}h.", "config.json")
    told = _either(settings, "n_layer", "num_hidden_layers")
    agree(told, whole_number(settings, told, "config.json"), layers, "config.json")
    rows, width = _table(specs, f"{begin}word_embeddings.weight")
    vocab_size = rows * max(ranks, 1)
    agree("vocab_size", settings.get("vocab_size", vocab_size), vocab_size, "config.json")
    name = _either(settings, "n_embed", "hidden_size")
    agree(name, whole_number(settings, name, "config.json"), width, "config.json")
    heads = heads_of(settings, _either(settings, "n_head", "num_attention_heads"), width, CONFIG)
    layout = BloomLayout(layers, width, vocab_size, ranks, prefix, "lm_head.weight" in specs)
    epsilon = number(settings, "layer_norm_epsilon", 1e-5, CONFIG)
    after = bool(settings.get("apply_residual_connection_post_layernorm", False))
    context = int(number(settings, "seq_length", CONTEXT, CONFIG)) or CONTEXT
    tokenizer = given.read(files, vocab_size, context)
    held = {spec.dtype for spec in specs.values()}
    dtype = DTYPES.get(held.pop(), "float32") if len(held) == 1 else "float32"
    made = _configuration(settings, layout, heads, epsilon, after, tokenizer) | {"dtype": dtype}
    causal = _causal(layout, made, heads, epsilon, after)
    return Release(
        kind="bloom",
        where=f"{len(specs)} tensors of {max(ranks, 1)} ranks" if ranks else "the released files",
        checkpoint=checkpoint,
        layout=layout,
        config=made,
        files=tokenizer.files if tokenizer else {},
        reference=causal.reference,
        variants=reference.VARIANTS,
        vocab_size=vocab_size,
        max_positions=None,
        causal=causal,
        texts=tokenizer.encode if tokenizer else None,
        settings={"config.json": settings},
        facts={
            "ranks": ranks,
            "alibi_slopes": "2^(-8h/H)" if heads & (heads - 1) == 0 else "interpolated",
            "trained_tokens": context,
            "tokenizer_given": tokenizer is not None,
        },
    )


def _causal(
    layout: BloomLayout, config: Mapping[str, Any], heads: int, epsilon: float, after: bool
) -> Causal:
    """Return the reference of a layout, beside its settings."""

    def decoder(tensors: Mapping[str, torch.Tensor]) -> reference.Reference:
        whole = reference.whole(tensors, layout.ranks) if layout.ranks else tensors
        start = "" if layout.ranks else layout.prefix
        return reference.Reference(
            whole, layout.layers, heads, epsilon, residual_after_norm=after, start=start
        )

    def smaller() -> Causal:
        ranks = max(layout.ranks, 1)
        width = heads * min(layout.width // heads, TWIN_HEAD)
        rows = -(-TWIN_VOCABULARY // ranks) * ranks
        small = replace(
            layout, layers=min(layout.layers, TWIN_LAYERS), width=width, vocab_size=rows
        )
        sizes = {"hidden_size": width, "vocab_size": rows, "n_layer": small.layers}
        return _causal(small, {**config, **sizes, **NO_MARKS}, heads, epsilon, after)

    return Causal(layout, config, decoder, "transformer.h", smaller)


def _opened(files: Files, folder: Path) -> tuple[int, Checkpoint]:
    """Return the ranks (0: the release for transformers) and the tensors."""
    parts: dict[tuple[int, int], Path] = {}
    for path in files.values():
        match = LAYER.fullmatch(path.name)
        if match:
            parts[int(match[1]), int(match[2])] = path
    if not parts:
        return 0, archives.open_folder(folder)
    ranks = max(rank for _, rank in parts) + 1
    last = max(layer for layer, _ in parts)
    entries: dict[str, Entry] = {}
    for layer in sorted({layer for layer, _ in parts}):
        for rank in range(ranks):
            if (layer, rank) not in parts:
                raise ArtifactError(
                    f"layer_{layer:02d}-model_{rank:02d}-model_states.pt is missing",
                    "files of the raw entry",
                    REMEDY,
                )
            held = archives.archive_entries(parts[layer, rank])
            inside = 1 < layer < last
            for name, entry in held.items():
                own = f"h.{layer - FIRST_LAYER}.{name}" if inside else RENAMED.get(name, name)
                entries[rank_name(rank, own)] = entry
    return ranks, Checkpoint(entries)


def _either(settings: Mapping[str, Any], name: str, other: str) -> str:
    """Return which of two names of a setting a release uses."""
    return name if name in settings else other


def _table(specs: Mapping[str, Spec], name: str) -> tuple[int, int]:
    if name not in specs or len(specs[name].shape) != 2:
        raise ArtifactError(f"1 missing: {name}", "the released files", REMEDY)
    rows, width = specs[name].shape
    return rows, width


def _configuration(
    settings: Mapping[str, Any],
    layout: BloomLayout,
    heads: int,
    epsilon: float,
    after: bool,
    tokenizer: given.GivenTokenizer | None,
) -> dict[str, Any]:
    """Return config.json; the settings' own special ids count before the tokenizer's."""
    ids = {
        "bos_token_id": tokenizer.begin if tokenizer else 1,
        "eos_token_id": tokenizer.end if tokenizer else 2,
        "pad_token_id": tokenizer.pad if tokenizer else None,
    }
    return {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "vocab_size": layout.vocab_size,
        "hidden_size": layout.width,
        "n_layer": layout.layers,
        "n_head": heads,
        "layer_norm_epsilon": epsilon,
        "apply_residual_connection_post_layernorm": after,
        "hidden_dropout": number(settings, "hidden_dropout", 0.0, CONFIG),
        "attention_dropout": number(settings, "attention_dropout", 0.0, CONFIG),
        "initializer_range": number(settings, "initializer_range", 0.02, CONFIG),
        "pretraining_tp": max(layout.ranks, int(number(settings, "pretraining_tp", 1, CONFIG))),
        "slow_but_exact": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        **{name: settings.get(name, usual) for name, usual in ids.items()},
    }
