"""Port checkpoints of three families, larger than they may be in memory: conversion and proof.

    python -m benchmarks.port_layers                writes benchmarks/port_layers.json
    python -m benchmarks.port_layers child ...      one measured run (the parent starts these)

Each checkpoint has some 470 MB in 16 bits, twice that in the fp32 that a model is opened in, and
four times in fp64: Megatron's GPT-2 of two ranks (version 1, whose fused rows must be regrouped),
BLOOM as released, RWKV-4. The whole stage runs layer by layer (`compare_below_mb: 0`): tensors
stream and are led back, every block and the logits are compared in fp32 and fp64, a small twin
generates. What the process grows by is the kernel's high-water mark of resident pages, reset after
the imports; it must stay within the largest tensor and 64 MiB. `whole` is the same stage with the
model loaded whole.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.port_stream import MIB, ROOT, measured

RESULT = ROOT / "benchmarks" / "port_layers.json"
LAYERS, WIDTH, HEADS, VOCABULARY, POSITIONS = 16, 1024, 16, 32000, 512
RANKS = 2


def noise(*shape: int) -> Any:
    """Return random numbers in 16 bits, small enough for many layers."""
    import torch

    return (torch.randn(shape) / 32).half()


def norm() -> dict[str, Any]:
    """Return the two vectors of a norm."""
    return {"weight": 1 + noise(WIDTH), "bias": noise(WIDTH)}


def megatron(folder: Path) -> None:
    """Write what Megatron-LM saves of a GPT-2 of two ranks."""
    import torch

    args = {
        "num_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS, "padded_vocab_size": VOCABULARY,
        "bias_gelu_fusion": True, "tensor_model_parallel_size": RANKS,
    }  # fmt: skip
    norms = {f"layers.{at}.{name}_layernorm.{kind}": one
             for at in range(LAYERS) for name in ("input", "post_attention")
             for kind, one in norm().items()}  # fmt: skip
    norms |= {f"final_layernorm.{kind}": one for kind, one in norm().items()}
    biases = {f"layers.{at}.{name}.bias": noise(WIDTH)
              for at in range(LAYERS)
              for name in ("attention.dense", "mlp.dense_4h_to_h")}  # fmt: skip
    positions = noise(POSITIONS, WIDTH)
    share = WIDTH // RANKS
    for rank in range(RANKS):
        layers = norms | biases
        for at in range(LAYERS):
            name = f"layers.{at}"
            layers |= {
                f"{name}.attention.query_key_value.weight": noise(3 * share, WIDTH),
                f"{name}.attention.query_key_value.bias": noise(3 * share),
                f"{name}.attention.dense.weight": noise(WIDTH, share),
                f"{name}.mlp.dense_h_to_4h.weight": noise(4 * share, WIDTH),
                f"{name}.mlp.dense_h_to_4h.bias": noise(4 * share),
                f"{name}.mlp.dense_4h_to_h.weight": noise(WIDTH, 4 * share),
            }
        embedding = {
            "word_embeddings": {"weight": noise(VOCABULARY // RANKS, WIDTH)},
            "position_embeddings": {"weight": positions},
        }
        path = folder / "iter_0000100" / f"mp_rank_{rank:02d}" / "model_optim_rng.pt"
        path.parent.mkdir(parents=True)
        model = {"language_model": {"embedding": embedding, "transformer": layers}}
        tree = {"args": argparse.Namespace(**args), "checkpoint_version": 1, "model": model}
        torch.save(tree, path)


def bloom(folder: Path) -> None:
    """Write a BLOOM as it was released for transformers."""
    import torch

    wide = 4 * WIDTH
    state = {"word_embeddings.weight": noise(VOCABULARY, WIDTH)}
    norms = ["word_embeddings_layernorm", "ln_f"]
    for at in range(LAYERS):
        norms += [f"h.{at}.input_layernorm", f"h.{at}.post_attention_layernorm"]
        for name, rows, columns in (
            ("self_attention.query_key_value", 3 * WIDTH, WIDTH),
            ("self_attention.dense", WIDTH, WIDTH),
            ("mlp.dense_h_to_4h", wide, WIDTH),
            ("mlp.dense_4h_to_h", WIDTH, wide),
        ):
            state |= {f"h.{at}.{name}.weight": noise(rows, columns),
                      f"h.{at}.{name}.bias": noise(rows)}  # fmt: skip
    state |= {f"{name}.{kind}": one for name in norms for kind, one in norm().items()}
    folder.mkdir(parents=True)
    torch.save(state, folder / "pytorch_model.bin")
    settings = {"model_type": "bloom", "n_layer": LAYERS, "n_head": HEADS, "hidden_size": WIDTH,
                "vocab_size": VOCABULARY}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


def rwkv(folder: Path) -> None:
    """Write an RWKV-4 as its author releases it."""
    import torch

    state = {"emb.weight": noise(VOCABULARY, WIDTH), "head.weight": noise(VOCABULARY, WIDTH)}
    norms = ["blocks.0.ln0", "ln_out"]
    for at in range(LAYERS):
        name = f"blocks.{at}"
        norms += [f"{name}.ln1", f"{name}.ln2"]
        for part in ("key", "value", "receptance", "output"):
            state[f"{name}.att.{part}.weight"] = noise(WIDTH, WIDTH)
        for part in ("time_decay", "time_first"):
            state[f"{name}.att.{part}"] = noise(WIDTH)
        for mix in ("att.time_mix_k", "att.time_mix_v", "att.time_mix_r", "ffn.time_mix_k",
                    "ffn.time_mix_r"):  # fmt: skip
            state[f"{name}.{mix}"] = noise(1, 1, WIDTH).abs()
        state |= {
            f"{name}.ffn.key.weight": noise(4 * WIDTH, WIDTH),
            f"{name}.ffn.value.weight": noise(WIDTH, 4 * WIDTH),
            f"{name}.ffn.receptance.weight": noise(WIDTH, WIDTH),
        }
    state |= {f"{name}.{kind}": one for name in norms for kind, one in norm().items()}
    folder.mkdir(parents=True)
    torch.save(state, folder / "RWKV-4-noise.pth")


FAMILIES = {"megatron-gpt2": megatron, "bloom": bloom, "rwkv": rwkv}


def child(kind: str, raw: Path, limit: float) -> int:
    """Run the stage on a release and print what it took."""
    import torch
    from transformers import AutoConfig, BloomForCausalLM, GPT2LMHeadModel, RwkvForCausalLM
    from transformers.generation import GenerationMixin

    from stages.core.log import Log
    from stages.port.families import reading
    from stages.port.families.bloom import BloomLayout
    from stages.port.stage import PortParams, port

    assert all((AutoConfig, BloomForCausalLM, GPT2LMHeadModel, RwkvForCausalLM, GenerationMixin,
                reading, BloomLayout))  # imported, that is all  # fmt: skip
    torch.set_num_threads(1)
    source = {"kind": kind, "compare_below_mb": limit}
    params = PortParams.model_validate({"raw": "x", "source": source})
    figures = measured(lambda: port(params, raw, raw, raw, raw / "model", Log()))
    report = json.loads((raw / "model" / "verification.json").read_text(encoding="utf-8"))
    shards = [Path(name) for name in sorted((raw / "model").glob("*.safetensors"))]
    from stages.lm.tensors.checkpoint import safetensors_entries

    specs = [one.spec for path in shards for one in safetensors_entries(path).values()]
    facts = {
        "checks": len(report["checks"]),
        "loaded_whole": report["loaded_whole"],
        "checkpoint_bytes": sum(spec.size_bytes for spec in specs),
        "largest_tensor_bytes": max(spec.size_bytes for spec in specs),
    }
    print(json.dumps(figures | facts))
    return 0


def run(kind: str, raw: Path, limit: float) -> dict[str, Any]:
    """Start one run and return its figures."""
    command = [sys.executable, "-m", "benchmarks.port_layers", "child", kind, str(raw), str(limit)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT, check=True
    )
    subprocess.run(["rm", "-rf", str(raw / "model")], check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: round(one, 3) if isinstance(one, float) else one for name, one in found.items()}


def main() -> int:
    """Measure every family and write the result."""
    from stages.core import canonical

    if sys.argv[1:2] == ["child"]:
        return child(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
    result: dict[str, Any] = {}
    for kind in sys.argv[1:] or FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            FAMILIES[kind](Path(name) / "files")
            layered, whole = (run(kind, Path(name), limit) for limit in (0, 1e6))
        bound = layered["largest_tensor_bytes"] / MIB + 64
        result[kind] = {
            "layer_by_layer": layered,
            "whole": whole,
            "bound_mib": round(bound, 1),
            "within_bound": layered["growth_mib"] <= bound,
            "whole_within_bound": whole["growth_mib"] <= bound,
        }
        print(kind, json.dumps(result[kind], indent=2), flush=True)
    if len(sys.argv) == 1:
        canonical.write_json(RESULT, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
