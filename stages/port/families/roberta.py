"""Read fairseq's RoBERTa: model.pt, dict.txt, encoder.json, vocab.bpe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.layouts.roberta import RobertaLayout
from stages.lm.tensors.checkpoint import Checkpoint
from stages.lm.tensors.nodes import whole
from stages.port import archives, pickles
from stages.port.families import dictionary, kinds
from stages.port.families.bytepairs import BytePairs
from stages.port.families.release import (
    Files,
    Outputs,
    Reference,
    Release,
    agree,
    layers_of,
    listed,
    wanted,
)
from stages.port.handles import Handle
from stages.port.references import roberta as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import Roberta
    from stages.port.families.probes import Probe

REMEDY = "give model.pt, dict.txt, encoder.json and vocab.bpe"
STACKS = reference.STACKS
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "relu": "relu",
}
"""fairseq's name -> transformers'."""
POSITION_OFFSET = 2
EXACT = {
    "encoder_normalize_before": (False, 0, None),
    "layernorm_embedding": (True, 1, None),
    "no_token_positional_embeddings": (False, 0, None),
    "encoder_learned_pos": (True, 1, None),
}
"""Settings that transformers' RoBERTa can hold at these values only."""


def read(folder: Path, options: Roberta) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("roberta", files)
    path = _checkpoint(files, options.checkpoint)
    tree = pickles.read(path)
    settings = _settings(tree)
    handles = _tensors(tree, path.name)
    kinds.check_tensors("roberta", handles)
    archives.check_storages(handles.values())
    checkpoint = Checkpoint({name: handle.entry() for name, handle in handles.items()})
    layout = _layout(checkpoint, options.classification_head, path.name)
    heads = _heads(settings, layout, path.name)
    activation = str(settings.get("activation_fn", "gelu"))
    if activation not in ACTIVATIONS:
        raise ArtifactError(
            f"activation_fn is {activation!r}",
            f"{path.name}: its settings",
            f"transformers' RoBERTa is proved for {', '.join(ACTIVATIONS)}",
        )
    rows = checkpoint.specs[f"{layout.stack}embed_tokens.weight"].shape[0]
    positions = checkpoint.specs[f"{layout.stack}embed_positions.weight"].shape[0]
    pairs = BytePairs.read(
        wanted(files, "roberta", REMEDY, "encoder.json", "vocab.json"),
        wanted(files, "roberta", REMEDY, "vocab.bpe", "merges.txt"),
    )
    words = dictionary.read(wanted(files, "roberta", REMEDY, "dict.txt"), pairs, rows)
    layout = replace(layout, rows=rows, extra=len(words.lacking))

    def made(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, variant: str) -> Reference:
        used = {"gelu_new": "tanh"}.get(ACTIVATIONS[activation], ACTIVATIONS[activation])
        model = reference.Reference(tensors, layout.layers, heads, used, dtype, variant)
        return lambda probe: _outputs(model, layout, probe)

    max_tokens = positions - POSITION_OFFSET
    return Release(
        kind="roberta",
        where=path.name,
        checkpoint=checkpoint,
        layout=layout,
        config=_configuration(checkpoint, layout, heads, ACTIVATIONS[activation], settings),
        files=words.files(max_tokens),
        reference=made,
        variants=reference.VARIANTS,
        vocab_size=rows,
        max_positions=max_tokens,
        texts=words.encode,
        extra=layout.extra,
        unknown=words.ids["<unk>"],
        facts={
            "tied": layout.tied,
            "fused_projections": layout.fused,
            "tokens_that_the_dictionary_lacks": layout.extra,
            "activation": ACTIVATIONS[activation],
            "first_probe_id": len(dictionary.SPECIALS),
        },
        left_out={"optimizer, training state": "state of the training run"},
    )


def _checkpoint(files: Files, name: str) -> Path:
    names = [one for one in files if one.endswith(".pt")]
    if name:
        names = [one for one in files if name in (one, Path(one).name)]
    if len(names) != 1:
        raise ArtifactError(
            f"{len(names)} checkpoints: {', '.join(names)}" if names else "no checkpoint (.pt)",
            f"files of the raw entry for kind roberta: {', '.join(list(files)[:12]) or 'none'}",
            f"say which one, such as `checkpoint: {Path(names[0]).name}`" if names else REMEDY,
        )
    return files[names[0]]


def _settings(tree: Any) -> dict[str, Any]:
    """Return the model's settings: `cfg.model` of new files, `args` of old ones."""
    if not isinstance(tree, dict):
        return {}
    cfg = pickles.plain(tree.get("cfg")) or {}
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        return dict(cfg["model"])
    args = pickles.plain(tree.get("args")) or {}
    return dict(args) if isinstance(args, dict) else {}


def _tensors(tree: Any, name: str) -> dict[str, Handle]:
    state = archives.state_dict(tree, name, "model")
    if any(key.startswith("decoder.layers.") and ".encoder_attn." in key for key in state):
        kinds.refuse("roberta", "fairseq", "tensors")
    return state


def _layout(checkpoint: Checkpoint, classes: str, where: str) -> RobertaLayout:
    specs = checkpoint.specs
    names = list(specs)
    stack = next((one for one in STACKS if f"{one}embed_tokens.weight" in specs), None)
    if stack is None:
        kinds.check_tensors("roberta", names)
        raise ArtifactError(f"no tensor is called {STACKS[0]}embed_tokens.weight", where, REMEDY)
    lacking = [name for name in ("embed_positions",) if f"{stack}{name}.weight" not in specs]
    if lacking:
        raise ArtifactError(f"1 missing: {stack}{lacking[0]}.weight", where, REMEDY)
    head = next((one for one in reference.HEADS if f"{one}weight" in specs), "")
    norm = next(
        (
            one
            for one in ("emb_layer_norm", "layernorm_embedding")
            if f"{stack}{one}.weight" in specs
        ),
        "layernorm_embedding",
    )
    table = specs[f"{stack}embed_tokens.weight"]
    begin = "classification_heads."
    others = sorted({name.split(".")[1] for name in names if name.startswith(begin)})
    if classes and classes not in others:
        raise ParamsError(
            f"there is no classification head {classes!r}",
            "params.yaml: port.<entry>.source.classification_head",
            f"name one of {', '.join(others)}" if others else "leave it empty: there is none",
        )
    return RobertaLayout(
        layers=layers_of(names, f"{stack}layers.", where),
        width=table.shape[1],
        dtype=table.dtype,
        stack=stack,
        head=head,
        embedding_norm=norm,
        fused=f"{stack}layers.0.self_attn.in_proj_weight" in specs,
        tied=bool(head) and _equal(checkpoint, f"{stack}embed_tokens.weight", f"{head}weight"),
        masked=bool(head),
        classes=classes,
        others=tuple(name for name in others if name != classes),
    )


def _equal(checkpoint: Checkpoint, one: str, other: str) -> bool:
    left, right = checkpoint.node(one), checkpoint.node(other)
    return left.spec == right.spec and bool((whole(left) == whole(right)).all())


def _heads(settings: Mapping[str, Any], layout: RobertaLayout, where: str) -> int:
    place = f"{where}: its settings"
    for name, allowed in EXACT.items():
        if settings.get(name) not in allowed:
            raise ArtifactError(
                f"{name} is {settings[name]!r}",
                place,
                f"transformers' RoBERTa holds {name} {allowed[0]!r} only; this is another model",
            )
    for name, found in (("encoder_layers", layout.layers), ("encoder_embed_dim", layout.width)):
        if settings.get(name) is not None:
            agree(name, settings[name], found, place)
    heads = settings.get("encoder_attention_heads")
    if not isinstance(heads, int) or heads < 1 or layout.width % heads:
        raise ArtifactError(
            f"encoder_attention_heads is {heads!r} for a width of {layout.width}",
            place,
            "give the checkpoint as fairseq-train saved it, with `args` or `cfg`",
        )
    return heads


def _outputs(model: reference.Reference, layout: RobertaLayout, probe: Probe) -> Outputs:
    """Return what the ported class returns, by the name it gives it."""
    states = model.states(probe.ids)
    if layout.classes:
        return {"logits": model.classes(states, layout.classes)}
    return {"logits": model.logits(states)} if layout.masked else {"last_hidden_state": states}


def _configuration(
    checkpoint: Checkpoint,
    layout: RobertaLayout,
    heads: int,
    activation: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    specs, stack = checkpoint.specs, layout.stack
    names = {"F16": "float16", "BF16": "bfloat16"}
    found: dict[str, Any] = {
        "architectures": [layout.architecture],
        "model_type": "roberta",
        "vocab_size": layout.rows + layout.extra,
        "hidden_size": layout.width,
        "num_hidden_layers": layout.layers,
        "num_attention_heads": heads,
        "intermediate_size": specs[f"{stack}layers.0.fc1.weight"].shape[0],
        "hidden_act": activation,
        "max_position_embeddings": specs[f"{stack}embed_positions.weight"].shape[0],
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": float(settings.get("dropout", 0.1)),
        "attention_probs_dropout_prob": float(settings.get("attention_dropout", 0.1)),
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": layout.tied or not layout.masked,
        "dtype": names.get(layout.dtype, "float32"),
    }
    if layout.classes:
        count = specs[f"classification_heads.{layout.classes}.out_proj.weight"].shape[0]
        found["id2label"] = {str(number): f"LABEL_{number}" for number in range(count)}
        found["label2id"] = {f"LABEL_{number}": number for number in range(count)}
    return found
