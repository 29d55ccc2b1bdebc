"""The way back: a ported folder's tensors in the layout and container of their original.

`original.json` beside a ported model says which layout it came from and the shape that its plan
follows from. BERT and GPT-2 go back to TensorFlow's checkpoint, the others to safetensors under
their original names (`rank:name` where there were ranks): a `.pt` is a program, and none is
written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.bert import CLASSES, MASKED, NEXT, BertLayout
from stages.lm.layouts.bloom import BloomLayout
from stages.lm.layouts.conversion import open_converted
from stages.lm.layouts.gpt2 import Gpt2Layout
from stages.lm.layouts.megatron import MegatronLayout
from stages.lm.layouts.plan import KEPT, Plan
from stages.lm.layouts.roberta import RobertaLayout
from stages.lm.layouts.rwkv import RwkvLayout
from stages.lm.tensors import bundle, writer
from stages.lm.tensors.entries import Spec

Specs = Mapping[str, Spec]
Settings = dict[str, dict[str, Any]]
RECORD = "original.json"
LAYOUTS: dict[str, type[Any]] = {
    "bert": BertLayout,
    "bloom": BloomLayout,
    "gpt2": Gpt2Layout,
    "megatron-gpt2": MegatronLayout,
    "roberta": RobertaLayout,
    "rwkv": RwkvLayout,
}
MODEL_TYPES = ("bert", "bloom", "gpt2", "rwkv")
"""What `model_type` of config.json has an original layout, ported or not."""
BUNDLES = {"bert": "bert_model.ckpt", "gpt2": "model.ckpt"}
"""Layouts whose container is TensorFlow's checkpoint, and what its files are called."""
FILES = {
    "bert": {"vocab.txt": "vocab.txt"},
    "gpt2": {"vocab.json": "encoder.json", "merges.txt": "vocab.bpe"},
    "megatron-gpt2": {"vocab.json": "vocab.json", "merges.txt": "merges.txt"},
    "roberta": {"merges.txt": "vocab.bpe"},
    "rwkv": {"tokenizer.json": "tokenizer.json"},
    "bloom": {"tokenizer.json": "tokenizer.json"},
}
"""Files of the ported folder that were the original's, under its names."""


def read(folder: Path) -> dict[str, Any]:
    """Return original.json of a ported folder of one of these layouts."""
    path = folder / RECORD
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = found["layout"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"it does not say what it was ported from: {type(fault).__name__}",
            str(path),
            "name a model of `ported/` whose source.kind has an original layout",
        ) from None
    if kind not in LAYOUTS:
        raise ArtifactError(
            f"its layout is {kind!r}; the known ones are {', '.join(LAYOUTS)}",
            str(path),
            "name a model of `ported/` whose source.kind has an original layout",
        )
    return found


def known(folder: Path, model_type: Any) -> bool:
    """Tell whether a folder's model goes out by one of these layouts."""
    if (folder / RECORD).is_file():
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return isinstance(told, dict) and told.get("layout") in LAYOUTS
    return model_type in MODEL_TYPES


def record_of(folder: Path) -> dict[str, Any]:
    """Return original.json of a folder: what it holds, or what a model of ours would have.

    A GPT-2, BERT, BLOOM or RWKV that was never ported goes out as its own software writes it.
    """
    if (folder / RECORD).is_file():
        return read(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    makers: dict[str, Callable[[dict[str, Any], Specs], tuple[Any, Settings]]] = {
        "bert": _bert,
        "bloom": _bloom,
        "gpt2": _gpt2,
        "rwkv": _rwkv,
    }
    if kind not in makers:
        raise ArtifactError(
            f"a {kind} model has no original layout that we write",
            str(folder / "config.json"),
            f"export a {', '.join(makers)} model, or one that was ported",
        )
    with open_converted(folder) as held:
        layout, settings = makers[kind](config, held.specs)
    return {"layout": kind, "shape": asdict(layout), "files": "", "settings": settings}


def _gpt2(config: dict[str, Any], specs: Specs) -> tuple[Gpt2Layout, Settings]:
    same = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}
    names = ("n_embd", "n_head", "n_layer")
    _only(config, activation_function="gelu_new", n_inner=None, layer_norm_epsilon=1e-5)
    settings = {ours: config[theirs] for ours, theirs in same.items()}
    settings |= {name: config[name] for name in names}
    return Gpt2Layout(config["n_layer"], config["n_embd"]), {"hparams.json": settings}


def _bert(config: dict[str, Any], specs: Specs) -> tuple[BertLayout, Settings]:
    parts = {
        MASKED: "cls.predictions.bias",
        NEXT: "cls.seq_relationship.bias",
        CLASSES: "classifier.bias",
    }
    _only(config, layer_norm_eps=1e-12)
    bare = {name.removeprefix("bert.").removeprefix(KEPT) for name in specs}
    heads = tuple(head for head, name in parts.items() if name in bare)
    names = (
        "attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size",
        "initializer_range", "intermediate_size", "max_position_embeddings",
        "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
    )  # fmt: skip
    settings = {name: config[name] for name in names}
    layout = BertLayout(config["num_hidden_layers"], heads, "pooler.dense.weight" in bare)
    return layout, {"bert_config.json": settings}


def _bloom(config: dict[str, Any], specs: Specs) -> tuple[BloomLayout, Settings]:
    layout = BloomLayout(config["n_layer"], config["hidden_size"], config["vocab_size"])
    return layout, {"config.json": config}


def _rwkv(config: dict[str, Any], specs: Specs) -> tuple[RwkvLayout, Settings]:
    return RwkvLayout(config["num_hidden_layers"]), {}


def _only(config: dict[str, Any], **allowed: Any) -> None:
    """Raise ArtifactError where a model has a setting that its original cannot say."""
    for name, value in allowed.items():
        if config.get(name, value) != value:
            raise ArtifactError(
                f"{name} is {config[name]!r}, and the original layout knows {value!r} only",
                "config.json",
                "export this model in another format",
            )


def plan_of(record: Mapping[str, Any]) -> Plan:
    """Return the plan from the original layout that a record tells of to transformers' keys."""
    layout = LAYOUTS[record["layout"]]
    shape = {
        one.name: tuple(value) if isinstance(value, list) else value
        for one in fields(layout)
        if (value := record["shape"].get(one.name)) is not None
    }
    plan: Plan = layout(**shape).plan()
    return plan


def write_back(folder: Path, out: Path) -> list[str]:
    """Write a ported folder's tensors in their original layout; return the files' names."""
    record = record_of(folder)
    kind = record["layout"]
    out.mkdir(parents=True, exist_ok=True)
    with open_converted(folder) as ported:
        built = plan_of(record).inverse().build(ported.nodes(), str(folder))
        if kind in BUNDLES:
            nodes = {name: node for one in built for name, node in one.nodes.items()}
            bundle.write(out / BUNDLES[kind], nodes)
        else:
            targets = [
                writer.Target(name, node, one.inner)
                for one in built
                for name, node in one.nodes.items()
            ]
            writer.write(targets, out)
    for ours, theirs in FILES[kind].items():
        if (folder / ours).is_file():
            (out / theirs).write_bytes((folder / ours).read_bytes())
    for name, settings in record.get("settings", {}).items():
        text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
        (out / name).write_text(text, encoding="utf-8")
    return sorted(path.name for path in out.iterdir())
