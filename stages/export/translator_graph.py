"""A ported translator as two ONNX graphs, written operator by operator.

Tracing would give the same numbers with ten times the nodes; a step at width 128 costs what its
nodes cost to start. Attention is onnxruntime's `MultiHeadAttention` (domain com.microsoft), weights
of queries, keys and values are one matrix, the embedding's factor is in its table, and the keys
and values that cross-attention needs are outputs of the encoder. The format of the graphs' inputs
and outputs is told in `stages.lm.onnx_translator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lm.blueprint import Blueprint

MICROSOFT = "com.microsoft"
GELU_OPSET = 20
"""First version of the operator set with `Gelu`."""
IR_VERSION = 10


class Graph:
    """Nodes, weights, inputs and outputs of a graph under construction."""

    def __init__(self, name: str, model: Blueprint) -> None:
        self.name, self.model = name, model
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.width, self.heads = model.width, model.heads[name]
        self._norms = iter(model.norms(name))

    def node(self, kind: str, inputs: Sequence[str], count: int = 1, **attributes: Any) -> Any:
        """Add an operator; returns the name of its output, or of all of them."""
        from onnx import helper

        number = len(self.nodes)
        outputs = [f"v{number}_{place}" if count > 1 else f"v{number}" for place in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs if count > 1 else outputs[0]

    def weight(self, name: str, value: Any, kind: Any = np.float32) -> str:
        """Add a constant; returns its name."""
        self.weights[name] = np.ascontiguousarray(value, dtype=kind)
        return name

    def rename(self, value: str, name: str) -> None:
        """Give a node's output the name of a graph output."""
        for node in self.nodes:
            for place, output in enumerate(node.output):
                if output == value:
                    node.output[place] = name

    def linear(self, x: str, names: Sequence[str]) -> str:
        """Apply layers of these names side by side, as one matrix."""
        label = ".".join([names[0], *(name.rsplit(".", 1)[-1] for name in names[1:])])
        matrix, bias = self.model.linear(*names)
        y = self.node("MatMul", [x, self.weight(f"{label}.weight", matrix.T)])
        return str(self.node("Add", [y, self.weight(f"{label}.bias", bias)]))

    def activate(self, x: str) -> str:
        """Apply the model's activation."""
        match self.model.activation:
            case "relu":
                return str(self.node("Relu", [x]))
            case "gelu":
                return str(self.node("Gelu", [x]))
            case "gelu_accurate":
                return str(self.node("Gelu", [x], approximate="tanh"))
            case "tanh":
                return str(self.node("Tanh", [x]))
            case "silu":
                return str(self.node("Mul", [x, self.node("Sigmoid", [x])]))
            case "relu2":
                y = self.node("Relu", [x])
                return str(self.node("Mul", [y, y]))
            case _:
                return x

    def normalise(self, x: str, name: str) -> str:
        """Return LayerNorm(x)."""
        weights = [
            self.weight(f"{name}.{part}", one)
            for part, one in zip(("weight", "bias"), self.model.norm(name), strict=True)
        ]
        return str(self.node("LayerNormalization", [x, *weights], axis=-1, epsilon=1e-5))

    def enter(self, x: str) -> tuple[str, str]:
        """Apply the norms before the first sublayer; returns what `add` returns."""
        if self.model.embedding_norm:
            x = self.normalise(x, self.model.embedding_norm_of(self.name))
        return x, self.normalise(x, next(self._norms)) if self.model.pre_norm else x

    def add(self, x: str, y: str) -> tuple[str, str]:
        """Return what the next sublayer adds to, and what it reads: the next norm of it."""
        total = self.node("Add", [x, y])
        normed = self.normalise(total, next(self._norms))
        return total if self.model.pre_norm else normed, normed

    def embed(self, ids: str, place: str = "") -> str:
        """Return scaled embeddings plus those of `place`, or of all positions in order."""
        table = self.model.tokens[self.name] * np.float32(self.model.scale)
        words = self.node("Gather", [self.weight("tokens", table), ids], axis=0)
        places = self.weight("positions", self.model.positions[self.name])
        if place:
            spots = self.node("Gather", [places, place], axis=0)
        else:
            zero = self.weight("first", [0], np.int64)
            spots = self.node(
                "Slice", [places, zero, self.node("Shape", [ids], start=1, end=2), zero]
            )
        return str(self.node("Add", [words, spots]))

    def feed_forward(self, x: str, at: str) -> str:
        """Return a layer's feed-forward part of x."""
        return self.linear(self.activate(self.linear(x, [f"{at}fc1"])), [f"{at}fc2"])

    def attend(self, query: str, others: Sequence[str], count: int = 1) -> Any:
        """Apply onnxruntime's attention; `others` are its further inputs, empty where absent."""
        return self.node(
            "MultiHeadAttention", [query, *others], count, domain=MICROSOFT, num_heads=self.heads
        )

    def joined(self, x: str, at: str) -> list[str]:
        """Return queries, keys and values of self-attention."""
        y = self.linear(x, [f"{at}{one}_proj" for one in "qkv"])
        found: list[str] = self.node("Split", [y], 3, axis=-1, num_outputs=3)
        return found

    def model_of(self, opset: int) -> Any:
        """Return the ONNX model."""
        from onnx import helper, numpy_helper

        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs,
            [numpy_helper.from_array(one, name) for name, one in self.weights.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="deveno"
        )

    def value(self, name: str, kind: str, shape: Sequence[int | str]) -> Any:
        """Return the description of an input or output."""
        from onnx import TensorProto, helper

        return helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)


def opset_of(model: Blueprint, wanted: int) -> int:
    """Return the operator set to use: the one wanted, or the first that has what is needed."""
    return max(wanted, GELU_OPSET if model.activation.startswith("gelu") else 18)


def encoder(model: Blueprint, opset: int) -> Any:
    """Return the encoder: source tokens to keys and values of every decoder layer."""
    graph = Graph("encoder", model)
    for name in ("input_ids", "attention_mask"):
        graph.inputs.append(graph.value(name, "INT64", ["batch", "source"]))
    mask = graph.node("Cast", ["attention_mask"], to=6)
    x, normed = graph.enter(graph.embed("input_ids"))
    for layer in range(model.layers["encoder"]):
        at = f"encoder.layers.{layer}."
        query, key, value = graph.joined(normed, f"{at}self_attn.")
        context = graph.attend(query, [key, value, "", mask])
        x, normed = graph.add(x, graph.linear(context, [f"{at}self_attn.out_proj"]))
        x, normed = graph.add(x, graph.feed_forward(normed, at))
    heads = model.heads["decoder"]
    split = graph.weight("split", [0, 0, heads, graph.width // heads], np.int64)
    for layer in range(model.layers["decoder"]):
        at = f"decoder.layers.{layer}.encoder_attn."
        both = graph.node("Split", [graph.linear(normed, [f"{at}k_proj", f"{at}v_proj"])], 2,
                          axis=-1, num_outputs=2)  # fmt: skip
        for kind, part in zip(("key", "value"), both, strict=True):
            turned = graph.node(
                "Transpose", [graph.node("Reshape", [part, split])], perm=[0, 2, 1, 3]
            )
            graph.rename(turned, f"cross_{kind}_{layer}")
            sizes: list[int | str] = ["batch", heads, "source", graph.width // heads]
            graph.outputs.append(graph.value(f"cross_{kind}_{layer}", "FLOAT", sizes))
    return graph.model_of(opset)


def decoder(model: Blueprint, opset: int) -> Any:
    """Return one step of the decoder."""
    graph = Graph("decoder", model)
    heads, size = graph.heads, graph.width // graph.heads
    graph.inputs = [
        graph.value("input_ids", "INT64", ["rows", 1]),
        graph.value("position", "INT64", [1]),
        graph.value("rows", "INT64", ["rows"]),
        graph.value("attention_mask", "INT64", ["batch", "source"]),
    ]
    mask = graph.node("Cast", ["attention_mask"], to=6)
    x, normed = graph.enter(graph.embed("input_ids", "position"))
    sentences = graph.node("Shape", ["attention_mask"], start=0, end=1)
    rest, width = (
        graph.weight(name, [value], np.int64)
        for name, value in (("rest", -1), ("width", graph.width))
    )
    grouped = graph.node("Concat", [sentences, rest, width], axis=0)
    single = graph.weight("single", [-1, 1, graph.width], np.int64)
    presents = []
    for layer in range(model.layers["decoder"]):
        at = f"decoder.layers.{layer}."
        past = []
        for kind in ("key", "value"):
            name = f"past_{kind}_{layer}"
            graph.inputs.append(graph.value(name, "FLOAT", ["before", heads, "past", size]))
            past.append(graph.node("Gather", [name, "rows"], axis=0))
        query, key, value = graph.joined(normed, f"{at}self_attn.")
        context, *present = graph.attend(query, [key, value, "", "", "", *past], 3)
        presents += present
        x, normed = graph.add(x, graph.linear(context, [f"{at}self_attn.out_proj"]))
        query = graph.linear(normed, [f"{at}encoder_attn.q_proj"])
        query = graph.node("Reshape", [query, grouped])
        cross = [f"cross_{kind}_{layer}" for kind in ("key", "value")]
        for name in cross:
            graph.inputs.append(graph.value(name, "FLOAT", ["batch", heads, "source", size]))
        context = graph.node("Reshape", [graph.attend(query, [*cross, "", mask]), single])
        x, normed = graph.add(x, graph.linear(context, [f"{at}encoder_attn.out_proj"]))
        x, normed = graph.add(x, graph.feed_forward(normed, at))
    flat = graph.node("Reshape", [normed, graph.weight("flat", [-1, graph.width], np.int64)])
    logits = graph.node("MatMul", [flat, graph.weight("output.weight", model.output.T)])
    if model.output_bias.any():
        logits = graph.node("Add", [logits, graph.weight("output.bias", model.output_bias)])
    graph.rename(logits, "logits")
    graph.outputs.append(graph.value("logits", "FLOAT", ["rows", len(model.output)]))
    for number, present in enumerate(presents):
        name = f"present_{('key', 'value')[number % 2]}_{number // 2}"
        graph.rename(present, name)
        graph.outputs.append(graph.value(name, "FLOAT", ["rows", heads, "steps", size]))
    return graph.model_of(opset)
