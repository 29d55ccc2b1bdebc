"""From a transformers folder to an ONNX graph whose bytes hold nothing of this machine.

Shapes: B sequences, T tokens, C labels, V vocabulary, D hidden size.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.core.errors import ArtifactError, ParamsError
from stages.lm import weights

OUTPUTS = {"token-classification": "logits", "fill-mask": "logits", "features": "last_hidden_state"}
HEADS = {
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "Model": "features",
}
"""Endings of transformers class names and the task that each answers."""


class Answering(nn.Module):
    """A model as a function of two tensors: ids and mask [B, T] to its answer [B, T, C|V|D]."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the model's answer for every token."""
        found = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return getattr(found, self.output)


def task_of(config: dict[str, Any], wanted: str, folder: Path) -> str:
    """Return the task that a model answers, or refuse one that its head cannot."""
    name = (config.get("architectures") or ["?"])[0]
    own = next((task for ending, task in HEADS.items() if name.endswith(ending)), None)
    if own is None:
        raise ParamsError(
            f"a {name} cannot be exported to ONNX yet", str(folder),
            f"export an encoder with one of these heads: {', '.join(HEADS)}",
        )  # fmt: skip
    if wanted in ("auto", own) or wanted == "features":
        return own if wanted == "auto" else wanted
    raise ParamsError(
        f"task {wanted!r} needs another head than {name} has", str(folder), f"use `auto` or {own!r}"
    )


def load(folder: Path, task: str) -> Answering:
    """Open a model in evaluation mode; damaged weights are named."""
    import transformers

    kinds = {
        "token-classification": transformers.AutoModelForTokenClassification,
        "fill-mask": transformers.AutoModelForMaskedLM,
        "features": transformers.AutoModel,
    }
    weights.check(folder / "model.safetensors")
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    options["use_safetensors"] = True
    if task == "features":
        options["add_pooling_layer"] = False
    transformers.logging.set_verbosity_error()
    try:
        model = kinds[task].from_pretrained(folder, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(folder, error) from None
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise _damaged(folder, error) from None
        raise
    return Answering(model.eval(), OUTPUTS[task]).eval()


def _damaged(folder: Path, error: Exception) -> ArtifactError:
    first = str(error).split("\n")[0]
    return ArtifactError(f"the model cannot be opened: {first}", str(folder), "make it again")


def trace(model: Answering, opset: int, pad: int) -> Any:
    """Return the ONNX model of an `Answering`, free in B and T."""
    ids = torch.full((2, 7), pad + 4, dtype=torch.int64)
    mask = torch.ones_like(ids)
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 1: free}, {0: free, 1: free})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (ids, mask),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["input_ids", "attention_mask"],
            output_names=[model.output],
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    return cleaned(program.model_proto)


def cleaned(model: Any) -> Any:
    """Remove what an exporter writes of its machine, and name the free axes."""
    _named(anonymous(model).graph)
    return model


def anonymous(model: Any) -> Any:
    """Remove what an exporter writes of its machine: stack traces with paths, versions, comments.

    Without this, equal models from two environments differ in bytes (trap T22).
    """
    model.producer_name, model.producer_version, model.doc_string = "deveno", "", ""
    del model.metadata_props[:]
    for graph in [model.graph, *_inner(model.graph)]:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for part in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
            for item in part:
                item.doc_string = ""
                del item.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return model


def _inner(graph: Any) -> list[Any]:
    found = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += [attribute.g, *_inner(attribute.g)]
    return found


def _named(graph: Any) -> None:
    """Call the free axes `batch` and `tokens`; drop inferred inner shapes, whose names vary."""
    for value in [*graph.input, *graph.output]:
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, ("batch", "tokens"), strict=False):
            axis.dim_param = name
    del graph.value_info[:]


def save(model: Any, path: Path) -> None:
    """Write an ONNX model with the fields of every message in one fixed order."""
    path.write_bytes(model.SerializeToString(deterministic=True))
