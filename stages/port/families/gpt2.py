"""Read OpenAI's GPT-2: hparams.json, encoder.json, vocab.bpe, model.ckpt.*."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.gpt2 import Gpt2Layout
from stages.lm.tensors import bundle
from stages.port.families import kinds
from stages.port.families.bytepairs import BytePairs
from stages.port.families.release import (
    TWIN_HEAD,
    TWIN_LAYERS,
    TWIN_POSITIONS,
    TWIN_VOCABULARY,
    Causal,
    Files,
    Release,
    agree,
    heads_of,
    layers_of,
    listed,
    read_json,
    wanted,
    whole_number,
)
from stages.port.references import gpt2 as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import Gpt2

REMEDY = "give hparams.json, encoder.json, vocab.bpe, model.ckpt.index and model.ckpt.data-*"
END = "<|endoftext|>"
BLOCKS = "transformer.h"
"""Where transformers' GPT-2 keeps its blocks."""


def read(folder: Path, options: Gpt2) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("gpt2", files)
    settings = read_json(wanted(files, "gpt2", REMEDY, "hparams.json"))
    found = tensorflow(files, "gpt2", REMEDY, options.checkpoint)
    kinds.check_tensors("gpt2", found.variables)
    counts = {
        name: whole_number(settings, name, "hparams.json")
        for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
    }
    heads_of(settings, "n_head", counts["n_embd"], "hparams.json")
    variables = found.variables
    layers = layers_of(list(variables), "model/h", "model.ckpt")
    agree("n_layer", counts["n_layer"], layers, "hparams.json")
    for name, key, axis in (("n_vocab", "wte", 0), ("n_embd", "wte", 1), ("n_ctx", "wpe", 0)):
        if f"model/{key}" in variables:
            shape = variables[f"model/{key}"].entry.spec.shape
            agree(name, counts[name], shape[axis], "hparams.json")
    pairs = BytePairs.read(
        wanted(files, "gpt2", REMEDY, "encoder.json"), wanted(files, "gpt2", REMEDY, "vocab.bpe")
    )
    pairs.check_size(counts["n_vocab"])

    causal = _causal(counts, pairs.ids.get(END))
    return Release(
        kind="gpt2",
        where="model.ckpt",
        checkpoint=bundle.opened(found),
        layout=causal.layout,
        config=causal.config,
        files=pairs.files(counts["n_ctx"]),
        reference=causal.reference,
        variants=reference.VARIANTS,
        vocab_size=counts["n_vocab"],
        max_positions=counts["n_ctx"],
        causal=causal,
        texts=pairs.encode,
        generation=generation(pairs.ids.get(END)),
        settings={"hparams.json": settings},
        left_out=dict.fromkeys(found.others, "no numbers"),
    )


def _causal(counts: Mapping[str, int], end: int | None) -> Causal:
    """Return layout, settings and reference of a model of these sizes."""
    layers, heads, width = counts["n_layer"], counts["n_head"], counts["n_embd"]

    def decoder(tensors: Mapping[str, torch.Tensor]) -> reference.Reference:
        return reference.Reference(tensors, layers, heads)

    def smaller() -> Causal:
        sizes = {
            "n_vocab": TWIN_VOCABULARY,
            "n_ctx": min(counts["n_ctx"], TWIN_POSITIONS),
            "n_embd": heads * min(width // heads, TWIN_HEAD),
            "n_layer": min(layers, TWIN_LAYERS),
            "n_head": heads,
        }
        return _causal(sizes, None)

    config = configuration(counts, "gelu_new", 1e-5, end)
    return Causal(Gpt2Layout(layers, width), config, decoder, BLOCKS, smaller)


def tensorflow(files: Files, kind: str, todo: str, prefix: str) -> bundle.Bundle:
    """Return the named or only TensorFlow checkpoint among the files, its checksums compared."""
    indexes = {path.name.removesuffix(".index"): path for path in files.values()
               if path.name.endswith(".index")}  # fmt: skip
    names = [prefix] if prefix in indexes else [] if prefix else sorted(indexes)
    if not indexes:
        wanted(files, kind, todo, ".ckpt.index")
    if len(names) != 1:
        raise ArtifactError(
            f"there is no checkpoint {prefix}" if prefix else f"{len(names)} checkpoints",
            f"files of the raw entry: {', '.join(sorted(indexes))}",
            f"say which one to port, such as `checkpoint: {sorted(indexes)[-1]}`",
        )
    found = bundle.read(indexes[names[0]].with_suffix(""))
    bundle.check(found)
    return found


def configuration(
    counts: Mapping[str, int], activation: str, epsilon: float, end: int | None
) -> dict[str, Any]:
    """Return GPT-2's config.json."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": counts["n_vocab"],
        "n_positions": counts["n_ctx"],
        "n_embd": counts["n_embd"],
        "n_layer": counts["n_layer"],
        "n_head": counts["n_head"],
        "n_inner": counts.get("n_inner"),
        "activation_function": activation,
        "layer_norm_epsilon": epsilon,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "use_cache": True,
        "dtype": "float32",
    }


def generation(end: int | None) -> dict[str, Any]:
    """Return generation_config.json."""
    return {"bos_token_id": end, "eos_token_id": end, "do_sample": False, "max_new_tokens": 50}
