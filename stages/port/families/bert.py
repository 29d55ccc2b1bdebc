"""Read Google's BERT: bert_config.json, vocab.txt, bert_model.ckpt.*."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.bert import CLASSES, MASKED, NEXT, BertLayout
from stages.lm.tensors import bundle
from stages.port.families import kinds
from stages.port.families.gpt2 import tensorflow
from stages.port.families.release import (
    Outputs,
    Reference,
    Release,
    agree,
    heads_of,
    layers_of,
    listed,
    read_json,
    wanted,
    whole_number,
)
from stages.port.families.wordpiece import WordPieces
from stages.port.references import bert as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import Bert
    from stages.port.families.probes import Probe

REMEDY = "give bert_config.json, vocab.txt, bert_model.ckpt.index and bert_model.ckpt.data-*"
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "tanh", "relu": "relu"}
"""transformers' name -> the reference's."""
HEADS = {
    MASKED: "cls/predictions/output_bias",
    NEXT: "cls/seq_relationship/output_bias",
    CLASSES: "output_bias",
}
SIZES = {
    "vocab_size": ("word_embeddings", 0),
    "hidden_size": ("word_embeddings", 1),
    "max_position_embeddings": ("position_embeddings", 0),
    "type_vocab_size": ("token_type_embeddings", 0),
}


def read(folder: Path, options: Bert) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("bert", files)
    settings = read_json(wanted(files, "bert", REMEDY, "bert_config.json"))
    found = tensorflow(files, "bert", REMEDY, options.checkpoint)
    kinds.check_tensors("bert", found.variables)
    where = "bert_config.json"
    for name, (key, axis) in SIZES.items():
        table = found.variables.get(f"bert/embeddings/{key}")
        if table is not None:
            agree(name, whole_number(settings, name, where), table.entry.spec.shape[axis], where)
    layers = layers_of(list(found.variables), "bert/encoder/layer_", "bert_model.ckpt")
    agree("num_hidden_layers", whole_number(settings, "num_hidden_layers", where), layers, where)
    width = whole_number(settings, "hidden_size", where)
    heads = heads_of(settings, "num_attention_heads", width, where)
    activation = options.activation or str(settings.get("hidden_act", ""))
    if activation not in ACTIVATIONS:
        raise ArtifactError(
            f"hidden_act is {activation!r}",
            where,
            f"transformers' BERT is proved for {', '.join(ACTIVATIONS)}",
        )
    words = WordPieces.read(wanted(files, "bert", REMEDY, "vocab.txt"), options.lower_case)
    words.check_size(settings["vocab_size"])
    layout = BertLayout(
        layers,
        tuple(name for name, key in HEADS.items() if key in found.variables),
        "bert/pooler/dense/kernel" in found.variables,
    )
    classes = found.variables["output_bias"].entry.spec.shape[0] if CLASSES in layout.heads else 0

    def made(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, variant: str) -> Reference:
        used = ACTIVATIONS[activation]
        model = reference.Reference(tensors, layers, heads, used, dtype, variant)
        return lambda probe: _outputs(model, layout, probe)

    return Release(
        kind="bert",
        where="bert_model.ckpt",
        checkpoint=bundle.opened(found),
        layout=layout,
        config=_configuration(settings, layout, activation, classes, words.ids["[PAD]"]),
        files=words.files(settings["max_position_embeddings"]),
        reference=made,
        variants=reference.VARIANTS,
        vocab_size=settings["vocab_size"],
        max_positions=settings["max_position_embeddings"],
        texts=words.encode,
        facts={"lower_case": words.lower_case, "heads": list(layout.heads)},
        settings={"bert_config.json": settings},
        left_out=dict.fromkeys(found.others, "no numbers"),
    )


def _outputs(model: reference.Reference, layout: BertLayout, probe: Probe) -> Outputs:
    """Return what the ported class returns, by the name it gives it."""
    states = model.states(probe.ids, probe.types, probe.real)
    kind = layout.architecture
    if kind == "BertModel":
        found = {"last_hidden_state": states}
        return found | ({"pooler_output": model.pooled(states)} if layout.pooler else {})
    if kind == "BertForMaskedLM":
        return {"logits": model.logits(states)}
    pooled = model.pooled(states)
    if kind == "BertForSequenceClassification":
        return {"logits": model.classes(pooled)}
    return {
        "prediction_logits": model.logits(states),
        "seq_relationship_logits": model.next_sentence(pooled),
    }


def _configuration(
    settings: Mapping[str, Any], layout: BertLayout, activation: str, classes: int, pad: int
) -> dict[str, Any]:
    """Return config.json: Google's settings under transformers' names."""
    found = {
        "architectures": [layout.architecture],
        "model_type": "bert",
        "hidden_act": activation,
        "layer_norm_eps": 1e-12,
        "num_hidden_layers": layout.layers,
        "pad_token_id": pad,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    for name in (*SIZES, "num_attention_heads", "intermediate_size"):
        found[name] = whole_number(settings, name, "bert_config.json")
    for name, usual in (
        ("hidden_dropout_prob", 0.1),
        ("attention_probs_dropout_prob", 0.1),
        ("initializer_range", 0.02),
    ):
        found[name] = settings.get(name, usual)
    if classes:
        found["id2label"] = {str(number): f"LABEL_{number}" for number in range(classes)}
        found["label2id"] = {f"LABEL_{number}": number for number in range(classes)}
    return found
