"""Small checkpoints in fairseq's layouts, made here in plain torch, for the tests of `port`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WORDS = ("a", "b", "c", "ab", "ca", "bc", "abc", "cab")
MERGES = ("a b</w> 9", "c a 8", "b c</w> 7", "a bc</w> 5")
SHAPE = {
    "arch": "transformer",
    "task": "translation",
    "source_lang": "en",
    "target_lang": "eo",
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 16,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_ffn_embed_dim": 24,
    "decoder_ffn_embed_dim": 20,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "share_all_embeddings": False,
    "share_decoder_input_output_embed": True,
    "dropout": 0.1,
    "activation_fn": "relu",
    "max_source_positions": 64,
}
SYMBOLS = {
    "en": ["a", "b@@", "c", "ca@@", "b", "ab", "bc", ",", ".", "X", "c@@", "a@@"],
    "eo": ["o", "j@@", "a", "n@@", "on", "ajn", ".", "Y", "o@@", "madeupword0000"],
}
JOINED = [*SYMBOLS["en"], "on", "ajn"]
LEARNED = {"encoder_learned_pos": True, "decoder_learned_pos": True}
PRE = {"encoder_normalize_before": True, "decoder_normalize_before": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "fsmt": {},
    "marian": {**LEARNED, "max_target_positions": 48},
    "pegasus": PRE,
    "bart": {**LEARNED, "layernorm_embedding": True, "activation_fn": "gelu"},
    "mbart": {**PRE, "layernorm_embedding": True, "encoder_learned_pos": True},
}
"""transformers class -> settings that only this class can hold."""


def weights(shape: dict[str, Any], source: int, target: int, seed: int = 1) -> dict[str, Tensor]:
    """Return a new-layout state dict of random weights, large enough that mistakes show."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int, around: float = 0.0) -> Tensor:
        return torch.randn(*size, generator=generator) * 0.3 + around

    width = shape["encoder_embed_dim"]
    state = {
        "encoder.version": torch.tensor([3.0]),
        "encoder.embed_tokens.weight": draw(source, width),
        "encoder.embed_positions._float_tensor": torch.tensor([float("nan")]),
        "decoder.version": torch.tensor([3.0]),
        "decoder.embed_tokens.weight": draw(target, width),
        "decoder.embed_positions._float_tensor": torch.zeros(1),
        "decoder.output_projection.weight": draw(target, width),
    }
    for side, attentions in (
        ("encoder", ["self_attn"]),
        ("decoder", ["self_attn", "encoder_attn"]),
    ):
        for layer in range(shape[f"{side}_layers"]):
            start, ffn = f"{side}.layers.{layer}.", shape[f"{side}_ffn_embed_dim"]
            for attention in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    state[f"{start}{attention}.{part}.weight"] = draw(width, width)
                    state[f"{start}{attention}.{part}.bias"] = draw(width)
            for norm in [*(f"{name}_layer_norm" for name in attentions), "final_layer_norm"]:
                state[f"{start}{norm}.weight"] = draw(width, around=1.0)
                state[f"{start}{norm}.bias"] = draw(width)
            state[f"{start}fc1.weight"], state[f"{start}fc1.bias"] = draw(ffn, width), draw(ffn)
            state[f"{start}fc2.weight"], state[f"{start}fc2.bias"] = draw(width, ffn), draw(width)
    state |= _around(shape, draw)
    if shape["share_all_embeddings"]:
        state["decoder.embed_tokens.weight"] = state["encoder.embed_tokens.weight"]
    if shape["share_all_embeddings"] or shape["share_decoder_input_output_embed"]:
        state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    return state


def _around(shape: dict[str, Any], draw: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Return what stands around the layers: learned positions and norms."""
    state: dict[str, Tensor] = {}
    width = shape["encoder_embed_dim"]
    longest = {"encoder": "max_source_positions", "decoder": "max_target_positions"}
    for side in ("encoder", "decoder"):
        if shape.get(f"{side}_learned_pos"):
            table = draw(shape.get(longest[side], 1024) + 2, width)
            table[1] = 0
            state[f"{side}.embed_positions.weight"] = table
        norms = [name for name in ("layernorm_embedding",) if shape.get(name)]
        norms += ["layer_norm"] if shape.get(f"{side}_normalize_before") else []
        for norm in norms:
            state[f"{side}.{norm}.weight"] = draw(width, around=1.0)
            state[f"{side}.{norm}.bias"] = draw(width)
    return state


def with_fast_path(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the second copy that fairseq 0.12.2 writes for encoder layers (here: garbage)."""
    found = dict(state)
    for key in state:
        if key.startswith("encoder.layers.") and key.endswith("fc1.weight"):
            start = key.removesuffix("fc1.weight")
            found[f"{start}in_proj_weight"] = torch.full((48, 16), 7.0)
            found[f"{start}fc1_bias"] = torch.full((3,), float("nan"))
    return found


def old_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the keys that fairseq wrote before 2019: fused q, k, v and numbered norms."""
    norms = {
        "encoder": ["self_attn_layer_norm", "final_layer_norm"],
        "decoder": ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"],
    }
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        side = key.split(".")[0]
        if "q_proj" in key:
            parts = [state[key.replace("q_proj", f"{name}_proj")] for name in "qkv"]
            start, kind = key.rsplit(".q_proj.", 1)
            found[f"{start}.in_proj_{kind}"] = torch.cat(parts)
        elif "k_proj" in key or "v_proj" in key:
            continue
        elif "layer_norm" in key and ".layers." in key:
            start, name, kind = key.rsplit(".", 2)
            found[f"{start}.layer_norms.{norms[side].index(name)}.{kind}"] = value
        elif key == "decoder.output_projection.weight":
            if value is not state["decoder.embed_tokens.weight"]:
                found["decoder.embed_out"] = value
        else:
            found[key.replace("_float_tensor", "weights")] = value
    return found


def release(
    folder: Path,
    *,
    layout: str = "new",
    tying: str = "decoder",
    half: bool = False,
    symbols: dict[str, list[str]] | None = None,
    **changed: Any,
) -> Path:
    """Write a release below folder/files and return `folder`; `changed` are settings."""
    shape = {
        **SHAPE,
        "share_all_embeddings": tying == "all",
        "share_decoder_input_output_embed": tying == "decoder",
        **changed,
    }
    files = folder / "files"
    files.mkdir(parents=True)
    sizes = []
    for language in ("en", "eo"):
        given = (symbols or SYMBOLS)[language]
        words = JOINED if tying == "all" and symbols is None else given
        lines = "".join(f"{word} {999 - at}\n" for at, word in enumerate(words))
        (files / f"dict.{language}.txt").write_text(lines, encoding="utf-8")
        sizes.append(len(words) + 4)
    (files / "bpecodes").write_text("\n".join(MERGES) + "\n", encoding="utf-8")
    state = weights(shape, *sizes)
    state = old_layout(state) if layout == "old" else with_fast_path(state)
    if half:
        state = {key: value.half() for key, value in state.items()}
    save(files / "model.pt", state, shape, layout)
    return folder


def save(path: Path, state: dict[str, Tensor], shape: dict[str, Any], layout: str = "new") -> None:
    """Save as fairseq does: `args` and the stream layout of old, or `cfg` in a zip archive."""
    namespace = argparse.Namespace(**shape)
    tree: dict[str, Any] = {"args": None, "cfg": None, "model": state}
    tree["extra_state"] = {"epoch": 3, "val_loss": 1.5}
    if layout == "old":
        tree["args"] = namespace
        tree["last_optimizer_state"] = {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}}
        torch.save(tree, path, _use_new_zipfile_serialization=False)
        return
    task = {"_name": "translation", "source_lang": "en", "target_lang": "eo"}
    tree["cfg"] = {"model": namespace, "task": task, "bpe": None, "tokenizer": None}
    torch.save(tree, path)


def record(raw: Path, name: str = "fairseq-beam1.jsonl", **changed: Any) -> None:
    """Write one row as if fairseq had translated; its scores are no model's."""
    said = {
        "tokens_bpe": "o on .",
        "score_log2": -1.0,
        "positional_log2": [-1.0, -1.0, -1.0, -1.0],
        "text": "o on.",
    }
    row = {"id": 0, "source": "ab ca", "source_bpe": "ab ca@@ a", "hyps": [said]} | changed
    (raw / "files" / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
