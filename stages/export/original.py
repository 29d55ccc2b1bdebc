"""A model of ours in the layout that its own software reads: the way back of a port.

LLaMA-family models become a release: `consolidated.NN.safetensors` and params.json. A ported model
remembers how it came (original.json), so that every tensor has its old bytes; another one is
written in as many ranks as asked for. BERT and GPT-2 become TensorFlow checkpoints, other families
their own names (`stages.lm.layouts.originals`). No pickle is written.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.core.log import Log
from stages.export.configuration import configuration
from stages.lm.layouts import conversion, llama, originals
from stages.lm.layouts.plan import some
from stages.lm.tensors.checkpoint import Checkpoint, safetensors_entries
from stages.lm.tensors.nodes import checksum_of

if TYPE_CHECKING:
    from stages.export.stage import ExportParams

ORIGINAL = "original.json"
TASKS = {
    "ForCausalLM": "causal", "LMHeadModel": "causal", "ForMaskedLM": "fill-mask",
    "ForTokenClassification": "token-classification", "ForConditionalGeneration": "translation",
}  # fmt: skip
FAMILIES = ("llama", "mistral", "qwen2")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export_folder(params: ExportParams, model: Path, exported: Path, log: Log) -> dict[str, Any]:
    """Fill `exported` with a release and return the facts of export.json."""
    config = configuration(model)
    if originals.known(model, config.get("model_type")):
        return _of_family(params, model, exported, log)
    if config.get("model_type") not in FAMILIES:
        raise ParamsError(
            f"format = original, and a {config.get('model_type')} model has none that we write",
            "params.yaml: export.<entry>.format",
            f"use it for {', '.join((*FAMILIES, *originals.MODEL_TYPES))}",
        )
    exported.mkdir(parents=True)
    with conversion.open_converted(model) as checkpoint:
        shape, settings = _shape(params, model, config, checkpoint.specs)
        plan = llama.plan(shape).inverse()
        rows = conversion.convert_ranks(
            plan, checkpoint, exported, model.name, "consolidated.{rank:02d}.safetensors"
        )
    _prove(shape, rows, exported)
    canonical.write_json(exported / "params.json", settings)
    canonical.write_json(exported / conversion.RECORD, conversion.record(rows))
    for name in TOKENIZER:
        if (model / name).is_file():
            shutil.copyfile(model / name, exported / name)
    size = sum(path.stat().st_size for path in exported.glob("*.safetensors"))
    log.metric("size_bytes", size)
    return {
        "format": params.format,
        "task": task_of(model),
        "quantize": {"kind": "none"},
        "parity": [
            {
                "case": "tensors that come back to the last bit",
                "positions": sum(len(row.sources) for row in rows),
                "pass": True,
            }
        ],
        "layout": "llama",
        "source": params.model,
        "shape": shape.record(),
        "size_bytes": size,
        "tensors": sum(len(row.targets) for row in rows),
    }


def _of_family(params: ExportParams, model: Path, exported: Path, log: Log) -> dict[str, Any]:
    """Write a model of another family as its own software has it."""
    record = originals.record_of(model)
    files = originals.write_back(model, exported)
    size = sum(path.stat().st_size for path in exported.iterdir())
    log.metric("size_bytes", size)
    return {
        "format": params.format,
        "layout": record["layout"],
        "source": params.model,
        "shape": record["shape"],
        "size_bytes": size,
        "tensors": sum(len(rule.sources) for rule in originals.plan_of(record).rules),
        "files": files,
    }


def task_of(model: Path) -> str:
    """Return what a model answers, in our words, by the class that its config.json names."""
    config = configuration(model)
    name = str((config.get("architectures") or [""])[0])
    return next((task for end, task in TASKS.items() if name.endswith(end)), "features")


def _prove(shape: llama.Shape, rows: list[conversion.Converted], exported: Path) -> None:
    """Read the release as a port would: every tensor must come back with its bytes."""
    entries = {}
    for rank in range(shape.ranks):
        path = exported / f"consolidated.{rank:02d}.safetensors"
        for name, entry in safetensors_entries(path).items():
            entries[llama.rank_name(rank, name, shape.ranks)] = entry
    wanted = {name: value for row in rows for name, value in row.sources.items()}
    found: dict[str, str] = {}
    with Checkpoint(entries) as release:
        for built in llama.plan(shape).build(release.nodes(), exported.name):
            found |= {name: checksum_of(node) for name, node in built.nodes.items()}
    wrong = sorted(name for name in wanted if found.get(name) != wanted[name])
    if wrong:
        raise CheckFailed(
            f"{len(wrong)} tensors do not come back: {some(wrong)}",
            "export.<entry>.format",
            "nothing was published; please report this model",
        )


def _shape(
    params: ExportParams, model: Path, config: dict[str, Any], specs: dict[str, Any]
) -> tuple[llama.Shape, dict[str, Any]]:
    """Return the layout's shape and params.json: the recorded ones of a port, else new ones."""
    path = model / ORIGINAL
    if path.is_file():
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return llama.Shape(**recorded["shape"]), recorded["params"]
    shape = llama.shape_of_config(config, specs, params.ranks)
    for name in ("key_value_heads", "feed_forward", "vocabulary", "width"):
        if getattr(shape, name) % shape.ranks:
            raise ParamsError(
                f"ranks = {shape.ranks} do not share {name} {getattr(shape, name)}",
                "params.yaml: export.<entry>.ranks",
                "use a divisor of it, such as 1",
            )
    return shape, _settings(config, shape)


def _settings(config: dict[str, Any], shape: llama.Shape) -> dict[str, Any]:
    rotary = config.get("rope_parameters") or {}
    kind = rotary.get("rope_type", "default")
    settings: dict[str, Any] = {
        "dim": shape.width,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "n_kv_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "hidden_dim": shape.feed_forward,
        "norm_eps": config["rms_norm_eps"],
        "vocab_size": shape.vocabulary,
        "rope_theta": rotary.get("rope_theta", config.get("rope_theta", 10000.0)),
        "max_position_embeddings": config["max_position_embeddings"],
    }
    window = config.get("sliding_window")
    if config["model_type"] == "qwen2" and window and config.get("use_sliding_window"):
        raise ArtifactError(
            f"sliding_window {window} of some layers only has no place in params.json",
            "config.json",
            "export models whose layers all see the same",
        )
    if config["model_type"] == "mistral" and window:
        settings["sliding_window"] = window
    stretched = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    fits = rotary.get("original_max_position_embeddings", 8192) == 8192
    if kind == "llama3" and fits and all(rotary.get(k) == v for k, v in stretched.items()):
        settings |= {"use_scaled_rope": True, "rope_scaling_factor": rotary["factor"]}
    elif kind != "default":
        raise ArtifactError(
            f"rope_type {kind} has no place in params.json",
            "config.json",
            "export models with plain rotary positions, or stretched as LLaMA 3.1 does",
        )
    if config.get("hidden_act", "silu") != "silu":
        raise ArtifactError(
            f"hidden_act {config['hidden_act']} has no place in params.json",
            "config.json",
            "export models whose gate is silu",
        )
    return settings
