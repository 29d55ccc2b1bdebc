"""From a LLaMA release to a transformers folder: tensors stream, are proved, and can go back."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.core import canonical
from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.lm.layouts import conversion, llama
from stages.lm.tensors import writer
from stages.lm.tensors.bridge import TORCH_DTYPES, bits_of_tensor
from stages.lm.tensors.checkpoint import Checkpoint
from stages.lm.tensors.nodes import Memory
from stages.port import causal
from stages.port.checks import Verification, require
from stages.port.llama import release as releases
from stages.port.llama.release import Release
from stages.port.references.llama import VARIANTS, Reference, Scaling
from stages.port.sources import SourceTensors

if TYPE_CHECKING:
    from stages.port.llama.settings import Llama

ORIGINAL = "original.json"
"""What the way back to the original layout needs, beside the model."""
NORM_EPSILON, THETA, POSITIONS = 1e-5, 10000.0, 2048
"""What the release's code takes where params.json is silent."""
PROMPT_TOKENS, NEW_TOKENS = 5, 12
TWIN_LAYERS, TWIN_VOCABULARY, TWIN_FEED_FORWARD = 2, 101, 48
CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}


def port_folder(params: Llama, files: Path, model: Path, log: Log) -> dict[str, Any]:
    """Write the ported model to `model` and return its verification, all checks passed."""
    given = releases.read(files)
    with given.checkpoint:
        rows = write_model(given, params, model)
        report = Verification()
        _check_account(report, given.checkpoint, rows, model)
        vocabulary = given.shape.vocabulary
        ids, real = causal.inputs(vocabulary, params.verify_tokens, params.seed)
        reference = reference_of(given, model)
        causal.check_logits(report, reference, VARIANTS, model, _blocks, ids, real)
        generated = _check_generation(report, given, params, model)
    require(report, ", ".join(given.files))
    size = sum(spec.size_bytes for spec in given.checkpoint.specs.values())
    log.metric("source_tensors", len(given.checkpoint.entries))
    log.metric("size_bytes", size)
    return {
        "task": "text-generation",
        "checkpoint": ", ".join(given.files),
        **conversion.actions(rows),
        "checks": report.rows(),
        "generation": generated,
        "tokenizer": [path.name for path in given.tokenizer],
    }


def write_model(given: Release, params: Llama, model: Path) -> list[conversion.Converted]:
    """Write weights, configuration and what the way back needs; return the account."""
    model.mkdir(parents=True)
    where = ", ".join(given.files)
    plan = llama.plan(given.shape)
    rows = conversion.convert(
        plan, given.checkpoint, model, where, int(params.shard_mb * 1_000_000)
    )
    canonical.write_json(model / conversion.RECORD, conversion.record(rows))
    canonical.write_json(
        model / ORIGINAL,
        {"layout": "llama", "shape": given.shape.record(), "params": given.params,
         "files": given.files},
    )  # fmt: skip
    config = configuration(given, params)
    config.save_pretrained(model)
    for path in given.tokenizer:
        shutil.copyfile(path, model / path.name)
    return rows


def configuration(given: Release, params: Llama) -> Any:
    """Return transformers' configuration of the release."""
    import transformers

    shape, family = given.shape, _family(given, params)
    window = given.params.get("sliding_window")
    positions = given.settings("max_position_embeddings", given.settings("max_seq_len", POSITIONS))
    rotary: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": given.settings("rope_theta", THETA),
    }
    scaling = _scaling(given)
    if scaling is not None:
        rotary |= {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_frequency_factor,
            "high_freq_factor": scaling.high_frequency_factor,
            "original_max_position_embeddings": scaling.trained_positions,
        }
    kind = {"llama": "LlamaConfig", "mistral": "MistralConfig", "qwen2": "Qwen2Config"}[family]
    special: dict[str, dict[str, Any]] = {
        "llama": {"attention_bias": bool(shape.biases)},
        "mistral": {"sliding_window": window},
        "qwen2": {"sliding_window": None, "use_sliding_window": False},
    }
    table = given.checkpoint.specs[llama.rank_name(0, f"{llama.TABLE}.weight", shape.ranks)]
    config = getattr(transformers, kind)(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        rms_norm_eps=given.settings("norm_eps", NORM_EPSILON),
        max_position_embeddings=int(positions),
        rope_parameters=rotary,
        tie_word_embeddings=shape.tying != "none",
        bos_token_id=params.begin_token,
        eos_token_id=params.end_token,
        **special[family],
    )
    config.architectures = [CLASSES[family]]
    config.dtype = TORCH_DTYPES[table.dtype]
    return config


def _family(given: Release, params: Llama) -> str:
    """Return the class of transformers that holds the release without losing anything."""
    biases, window = given.shape.biases, given.params.get("sliding_window")
    found = "mistral" if window else "qwen2" if biases == "qkv" else "llama"
    wanted = found if params.family == "auto" else params.family
    able = {
        "llama": window is None and biases in ("", "qkvo"),
        "mistral": biases == "",
        "qwen2": window is None and biases == "qkv",
    }
    if not able[wanted]:
        told = f"biases of {' '.join(biases) or 'nothing'}, window {window}"
        raise ParamsError(
            f"family = {wanted} cannot hold this release ({told})",
            "params.yaml: port.<entry>.source.family",
            f"use {found if able[found] else 'another kind of source'}",
        )
    return wanted


def _scaling(given: Release) -> Scaling | None:
    if not given.params.get("use_scaled_rope"):
        return None
    return Scaling(factor=given.settings("rope_scaling_factor", Scaling.factor))


def reference_of(given: Release, model: Path) -> Reference:
    """Return plain torch over the release's tensors, under their own names."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, local_files_only=True)
    window = given.params.get("sliding_window")
    return Reference(
        tensors=SourceTensors(releases.rank_nodes(given)),
        layers=int(given.params["n_layers"]),
        heads=int(given.params["n_heads"]),
        key_value_heads=int(given.params.get("n_kv_heads") or given.params["n_heads"]),
        head_size=given.shape.head_size,
        norm_epsilon=given.settings("norm_eps", NORM_EPSILON),
        theta=given.settings("rope_theta", THETA),
        scaling=_scaling(given),
        window=None if window is None else int(window),
        config_theta=float(config.rope_parameters["rope_theta"]),
        config_epsilon=float(config.rms_norm_eps),
    )


def _blocks(model: Any) -> Any:
    return model.model.layers


def _check_account(
    report: Verification, source: Checkpoint, rows: list[conversion.Converted], model: Path
) -> None:
    """Every source tensor went somewhere, and the way back gives its bytes."""
    sums = {name: value for row in rows for name, value in row.sources.items()}
    lost = sorted(set(source.entries) - set(sums))
    report.add("source tensors without account", len(lost), 0, len(source.entries), str(lost[:3]))
    shape = llama.Shape(**canonical_shape(model))
    back = conversion.checksums(llama.plan(shape).inverse(), model)
    moved = [name for name, value in sums.items() if back.get(name) != value]
    report.add("tensors that do not come back", len(moved), 0, len(sums), ", ".join(moved[:3]))


def canonical_shape(model: Path) -> dict[str, Any]:
    """Return the shape that a ported folder recorded."""
    return json.loads((model / ORIGINAL).read_text(encoding="utf-8"))["shape"]


def _check_generation(
    report: Verification, given: Release, params: Llama, model: Path
) -> dict[str, Any]:
    """Compare greedy tokens on the model, or on a small twin of a model that is too large."""
    floats = sum(spec.count for spec in given.checkpoint.specs.values())
    if 4 * floats <= params.generate_below_mb * 1_000_000:
        _generate(report, given, model, params.seed, "")
        return {"on": "the model"}
    with tempfile.TemporaryDirectory(dir=model.parent, prefix=".twin-") as name:
        folder = Path(name)
        _write_twin(given, folder / "files", params.seed)
        twin = releases.read(folder / "files")
        with twin.checkpoint:
            write_model(twin, params, folder / "model")
            _generate(report, twin, folder / "model", params.seed, " of a small twin")
        return {"on": "a small twin", "layers": TWIN_LAYERS}


def _generate(report: Verification, given: Release, model: Path, seed: int, what: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = (4, PROMPT_TOKENS)
    prompts = torch.randint(0, given.shape.vocabulary, size, generator=generator).tolist()
    opened = causal.opened(model)
    causal.check_generation(report, reference_of(given, model), opened, prompts, NEW_TOKENS, what)


def _write_twin(given: Release, folder: Path, seed: int) -> None:
    """Write a release of the same kind and heads, small, with random weights."""
    shape = dataclasses.replace(
        given.shape, layers=TWIN_LAYERS, vocabulary=TWIN_VOCABULARY, ranks=1, table_axis=0,
        feed_forward=TWIN_FEED_FORWARD, frequencies=False, layer_frequencies=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    targets = []
    for name, size in original_shapes(shape).items():
        scale = 1.0 if len(size) == 1 else size[-1] ** -0.5
        spec, bits = bits_of_tensor(torch.randn(size) * scale)
        targets.append(writer.Target(name, Memory(spec, bits)))
    folder.mkdir(parents=True)
    writer.write_file(targets, folder / "consolidated.safetensors")
    params = given.params | {"n_layers": TWIN_LAYERS, "vocab_size": -1}
    canonical.write_json(folder / "params.json", {**params, "hidden_dim": None})


def original_shapes(shape: llama.Shape) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a release of one rank."""
    query, key = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    sizes: dict[str, tuple[int, ...]] = {
        f"{llama.TABLE}.weight": (shape.vocabulary, shape.width),
        f"{llama.NORM}.weight": (shape.width,),
    }
    if shape.tying == "none":
        sizes[f"{llama.OUTPUT}.weight"] = (shape.vocabulary, shape.width)
    for layer in range(shape.layers):
        start = f"layers.{layer}."
        rows = {"q": query, "k": key, "v": key}
        sizes |= {f"{start}attention.w{part}.weight": (rows[part], shape.width) for part in "qkv"}
        sizes[f"{start}attention.wo.weight"] = (shape.width, query)
        for part in shape.biases:
            sizes[f"{start}attention.w{part}.bias"] = (rows.get(part, shape.width),)
        sizes |= {
            f"{start}feed_forward.w1.weight": (shape.feed_forward, shape.width),
            f"{start}feed_forward.w2.weight": (shape.width, shape.feed_forward),
            f"{start}feed_forward.w3.weight": (shape.feed_forward, shape.width),
            f"{start}attention_norm.weight": (shape.width,),
            f"{start}ffn_norm.weight": (shape.width,),
        }
    return sizes
