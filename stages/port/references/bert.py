"""BERT in plain torch, reading the variables of Google's TensorFlow checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Kernels are [in, out]; norms are `gamma` (scale) and `beta` (shift); the
layers are post-norm (modeling.py of the release; Devlin et al. 2019).

Letters: B sentences, T tokens, D width, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.port.references import pieces

NORM_EPSILON = 1e-12
VARIANTS = (
    "gamma and beta exchanged",
    "q and v swapped",
    "kernels of query, key and value not transposed",
    "norms of a layer exchanged",
    "token types left out",
    "gelu of tanh instead of the error function",
    "gelu of the error function instead of tanh",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


@dataclass(frozen=True)
class Reference:
    """The model; `activation` is `gelu`, `tanh` (its approximation) or `relu`."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
    activation: str = "gelu"
    dtype: torch.dtype = torch.float32
    variant: str = ""

    @torch.inference_mode()
    def states(self, ids: Tensor, types: Tensor, real: Tensor) -> Tensor:
        """Return [B, T, D] of the last layer for ids and token types [B, T], `real` no padding."""
        words = "bert/embeddings/word_embeddings"
        x = pieces.looked_up(self.tensors, words, ids, self.dtype)
        x = x + self._get("bert/embeddings/position_embeddings")[: ids.shape[1]]
        if self.variant != "token types left out":
            x = x + self._get("bert/embeddings/token_type_embeddings")[types]
        x = self._norm(x, "bert/embeddings/LayerNorm")
        first, second = "attention/output/LayerNorm", "output/LayerNorm"
        if self.variant == "norms of a layer exchanged":
            first, second = second, first
        for layer in range(self.layers):
            name = f"bert/encoder/layer_{layer}"
            x = self._norm(x + self._attention(name, x, real), f"{name}/{first}")
            hidden = self._activated(self._linear(x, f"{name}/intermediate/dense"))
            x = self._norm(x + self._linear(hidden, f"{name}/output/dense"), f"{name}/{second}")
        return x

    @torch.inference_mode()
    def pooled(self, states: Tensor) -> Tensor:
        """Return [B, D]: the first token's state through the pooler."""
        return torch.tanh(self._linear(states[:, 0], "bert/pooler/dense"))

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Return [B, T, V] of the masked-language head."""
        name = "cls/predictions/transform"
        x = self._norm(self._activated(self._linear(states, f"{name}/dense")), f"{name}/LayerNorm")
        words = pieces.projected(x, self.tensors, "bert/embeddings/word_embeddings")
        return words + self._get("cls/predictions/output_bias")

    @torch.inference_mode()
    def next_sentence(self, pooled: Tensor) -> Tensor:
        """Return [B, 2] of the next-sentence head."""
        name = "cls/seq_relationship/output"
        return pooled @ self._get(f"{name}_weights").T + self._get(f"{name}_bias")

    @torch.inference_mode()
    def classes(self, pooled: Tensor) -> Tensor:
        """Return [B, N] of a classifier over N classes (run_classifier.py)."""
        return pooled @ self._get("output_weights").T + self._get("output_bias")

    def _get(self, name: str) -> Tensor:
        return self.tensors[name].to(self.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        kernel, bias = f"{name}/kernel", self._get(f"{name}/bias")
        if self.variant.startswith("kernels of query") and "/attention/self/" in name:
            return pieces.projected(x, self.tensors, kernel) + bias
        return pieces.multiplied(x, self.tensors, kernel) + bias

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta = self._get(f"{name}/gamma"), self._get(f"{name}/beta")
        if self.variant == "gamma and beta exchanged":
            gamma, beta = beta, gamma
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + NORM_EPSILON) * gamma + beta

    def _activated(self, x: Tensor) -> Tensor:
        activation = self.activation
        if self.variant.startswith("gelu of tanh"):
            activation = "tanh"
        elif self.variant.startswith("gelu of the"):
            activation = "gelu"
        if activation == "relu":
            return torch.relu(x)
        if activation == "gelu":
            return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def _attention(self, name: str, x: Tensor, real: Tensor) -> Tensor:
        batch, length, width = x.shape
        size = width // self.heads

        def projected(part: str) -> Tensor:
            flat = self._linear(x, f"{name}/attention/self/{part}")
            return flat.view(batch, length, self.heads, size).transpose(1, 2)

        query, key, value = projected("query"), projected("key"), projected("value")
        if self.variant == "q and v swapped":
            query, value = value, query
        scores = query @ key.transpose(2, 3) / math.sqrt(size)
        hidden = ~real[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(self.dtype).min).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self._linear(mixed, f"{name}/attention/output/dense")
