"""Small LLaMA releases with random weights, as their own software would save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WIDTH, HEADS, LAYERS, HIDDEN, VOCABULARY = 32, 4, 2, 40, 60
COLUMNS = ("wo", "w2")
ROWS = ("wq", "wk", "wv", "w1", "w3", "output")


def state(
    key_value_heads: int = 2, head_size: int = 8, biases: str = "", seed: int = 3
) -> dict[str, torch.Tensor]:
    """Return the tensors of a release of one rank."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    query, key = HEADS * head_size, key_value_heads * head_size
    found = {
        "tok_embeddings.weight": drawn(VOCABULARY, WIDTH),
        "norm.weight": 1 + drawn(WIDTH),
        "output.weight": drawn(VOCABULARY, WIDTH),
    }
    for layer in range(LAYERS):
        start = f"layers.{layer}."
        rows = {"q": query, "k": key, "v": key}
        for part in "qkv":
            found[f"{start}attention.w{part}.weight"] = 2 * drawn(rows[part], WIDTH)
        found[f"{start}attention.wo.weight"] = drawn(WIDTH, query)
        for part in biases:
            found[f"{start}attention.w{part}.bias"] = drawn(rows.get(part, WIDTH))
        found[f"{start}feed_forward.w1.weight"] = drawn(HIDDEN, WIDTH)
        found[f"{start}feed_forward.w2.weight"] = drawn(WIDTH, HIDDEN)
        found[f"{start}feed_forward.w3.weight"] = drawn(HIDDEN, WIDTH)
        found[f"{start}attention_norm.weight"] = 1 + drawn(WIDTH)
        found[f"{start}ffn_norm.weight"] = 1 + drawn(WIDTH)
    return found


def params(**changes: Any) -> dict[str, Any]:
    """Return the contents of params.json."""
    found = {
        "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": 2, "norm_eps": 1e-5,
        "vocab_size": -1, "multiple_of": 8, "rope_theta": 500.0,
    }  # fmt: skip
    return {key: value for key, value in (found | changes).items() if value is not None}


def ranks(tensors: dict[str, torch.Tensor], count: int, table_axis: int) -> list[dict[str, Any]]:
    """Cut a release into the files of its ranks."""
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        stem = name.rsplit(".", 1)[0].split(".")[-1]
        axis = {**dict.fromkeys(ROWS, 0), "tok_embeddings": table_axis}.get(stem)
        if stem in COLUMNS and name.endswith("weight"):
            axis = 1
        parts = [tensor] * count if axis is None else tensor.chunk(count, axis)
        for rank, part in zip(found, parts, strict=True):
            rank[name] = part.clone()
    return found


def release(
    folder: Path,
    tensors: dict[str, torch.Tensor],
    settings: dict[str, Any],
    count: int = 1,
    table_axis: int = 0,
    pickled: bool = True,
) -> Path:
    """Write a release below `folder`/files, as `acquire` lays raw material out."""
    files = folder / "files"
    files.mkdir(parents=True)
    for rank, part in enumerate(ranks(tensors, count, table_axis) if count > 1 else [tensors]):
        if pickled:
            torch.save(part, files / f"consolidated.{rank:02d}.pth")
        else:
            save_file(part, files / f"consolidated.{rank:02d}.safetensors")
    (files / "params.json").write_text(json.dumps(settings))
    return folder
