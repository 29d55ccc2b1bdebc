"""Read RWKV-4: one .pth with the weights and, where it came, the tokenizer.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.errors import ArtifactError
from stages.lm.layouts.rwkv import RwkvLayout
from stages.lm.tensors.checkpoint import Checkpoint, safetensors_entries
from stages.lm.tensors.entries import Spec
from stages.port import archives
from stages.port.families import given, kinds
from stages.port.families.release import (
    TWIN_LAYERS,
    TWIN_VOCABULARY,
    Causal,
    Files,
    Release,
    layers_of,
    listed,
)
from stages.port.references import rwkv as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import Rwkv

REMEDY = "give one RWKV-4 .pth and the tokenizer.json of its vocabulary"
SIZES = {
    "169M": (12, 768), "430M": (24, 1024), "1B5": (24, 2048), "3B": (32, 2560),
    "7B": (32, 4096), "14B": (40, 5120),
}  # fmt: skip
"""Layers and width of the released sizes."""
LATER = ("time_faaaa", "time_maa", "ln_x", "time_mix_g", "time_decay_w1", "x_r")
"""Names of tensors that only RWKV-5 and later have."""
CONTEXT = 1024
TWIN_WIDTH = 64
NAMED_CONTEXT = re.compile(r"ctx(\d+)")
SUFFIXES = (".pth", ".pt", ".safetensors")
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def read(folder: Path, options: Rwkv) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("rwkv", files)
    name, path = _checkpoint(files, options.checkpoint)
    plain = path.suffix == ".safetensors"
    entries = safetensors_entries(path) if plain else archives.archive_entries(path)
    checkpoint = Checkpoint(entries)
    specs = checkpoint.specs
    kinds.check_tensors("rwkv", specs)
    _refuse_later(specs, name)
    layers = layers_of(list(specs), "blocks.", name)
    vocab_size, width = _shape(specs, "emb.weight", name, 2)
    _check_size(options.size, name, layers, width)
    inner = _shape(specs, "blocks.0.ffn.key.weight", name, 2)[0]
    attention = _shape(specs, "blocks.0.att.key.weight", name, 2)[0]
    found = NAMED_CONTEXT.search(name)
    context = options.context_length or (int(found[1]) if found else CONTEXT)
    tokenizer = given.read(files, vocab_size, context)
    end = tokenizer.end if tokenizer else 0
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "attention_hidden_size": attention,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "context_length": context,
    }
    causal = _causal(sizes, end, _dtype(specs))
    return Release(
        kind="rwkv",
        where=name,
        checkpoint=checkpoint,
        layout=causal.layout,
        config=causal.config,
        files=tokenizer.files if tokenizer else {},
        reference=causal.reference,
        variants=reference.VARIANTS,
        vocab_size=vocab_size,
        max_positions=None,
        causal=causal,
        texts=tokenizer.encode if tokenizer else None,
        generation={"bos_token_id": end, "eos_token_id": end, "max_new_tokens": 50},
        facts={"layers": layers, "width": width, "tokenizer_given": tokenizer is not None},
    )


def _causal(sizes: Mapping[str, int], end: int, dtype: str) -> Causal:
    """Return layout, settings and reference of a model of these sizes."""
    layers, width = sizes["num_hidden_layers"], sizes["hidden_size"]

    def decoder(tensors: Mapping[str, torch.Tensor]) -> reference.Reference:
        return reference.Reference(tensors, layers)

    def smaller() -> Causal:
        share = -(-width // TWIN_WIDTH)
        wide = ("hidden_size", "attention_hidden_size", "intermediate_size")
        small = {
            **sizes,
            **{name: -(-sizes[name] // share) for name in wide},
            "vocab_size": TWIN_VOCABULARY,
            "num_hidden_layers": min(layers, TWIN_LAYERS),
        }
        return _causal(small, 0, "float32")

    config = {
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        **sizes,
        "layer_norm_epsilon": 1e-5,
        # Halving hidden states every six layers serves fp16 only, and moves the norms' epsilon.
        "rescale_every": 0,
        "bos_token_id": end,
        "eos_token_id": end,
        "tie_word_embeddings": False,
        "use_cache": True,
        "dtype": dtype,
    }
    return Causal(RwkvLayout(layers), config, decoder, "rwkv.blocks", smaller)


def _checkpoint(files: Files, wanted: str) -> tuple[str, Path]:
    names = [name for name in files if name.endswith(SUFFIXES)]
    if wanted:
        names = [name for name in files if wanted in (name, Path(name).name)]
    if len(names) != 1:
        raise ArtifactError(
            f"{len(names)} checkpoints: {', '.join(names)}" if names else "no checkpoint (.pth)",
            f"files of the raw entry for kind rwkv: {', '.join(list(files)[:12]) or 'none'}",
            f"say which one, such as `checkpoint: {names[0]}`" if names else REMEDY,
        )
    return Path(names[0]).name, files[names[0]]


def _refuse_later(specs: Mapping[str, Spec], where: str) -> None:
    later = next((name for name in specs if name.split(".")[-1] in LATER or ".ln_x." in name), None)
    if later is not None:
        raise ArtifactError(
            f"{later} is a tensor of RWKV-5 or later",
            where,
            "give a checkpoint of RWKV-4, the one that transformers' class computes",
        )


def _shape(specs: Mapping[str, Spec], name: str, where: str, axes: int) -> tuple[int, ...]:
    if name not in specs:
        raise ArtifactError(f"1 missing: {name}", where, REMEDY)
    if len(specs[name].shape) != axes:
        raise ArtifactError(f"{name} is {specs[name]}, no matrix", where, REMEDY)
    return specs[name].shape


def _check_size(wanted: str, name: str, layers: int, width: int) -> None:
    """Compare the weights with the size that the parameters or the file name state."""
    stated = wanted or next((size for size in SIZES if f"-{size}-" in f"-{name}-"), "")
    if stated and (layers, width) != SIZES[stated]:
        raise ArtifactError(
            f"{layers} layers of width {width} are no {stated}, which has "
            f"{SIZES[stated][0]} of {SIZES[stated][1]}",
            name,
            "give the checkpoint that its name says, or set source.size to what it is",
        )


def _dtype(specs: Mapping[str, Spec]) -> str:
    held = [spec.dtype for spec in specs.values()]
    return DTYPES.get(max(sorted(set(held)), key=held.count), "float32")
