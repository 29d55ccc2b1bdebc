"""Weights to begin with that already hold what counting can tell.

New weights attend to everything alike and know no token from another, and a small model spends
most of a short run on finding out that neighbours matter (width 128, two layers, 600 steps of 512
tokens of the generator: held-out loss 5.73 nats; begun as here 3.83). So pretraining begins with

- token vectors from counts of neighbours (positive pointwise mutual information, factorised:
  Levy and Goldberg 2014), so that tokens of like use are alike from the start;
- positions as sinusoids, and first heads of the first layer that look one and two tokens away
  (after Trockman and Kolter 2023, arXiv 2305.09828: weights that imitate trained ones);
- the output's bias at the logarithm of each token's frequency, where the model has one.

Everything else stays as transformers draws it. Only the training split is counted.

Shapes: V vocabulary, D hidden size, H heads, K head size, C tokens counted as neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from stages.lm.blends import Blend

COUNTED_TOKENS = 1 << 20
"""Tokens of the training split that are counted: more change the vectors little."""
CONTEXTS = 256
"""The most frequent tokens serve as neighbours (function words and endings tell most)."""
DISTANCES = (-2, -1, 1, 2)
FASTEST, SLOWEST = 2.8, 2 * math.pi / 256
"""Radians per position of the first and the last pair of sinusoids."""
PEAK = 5.5
"""Attention score of the place that a head is aimed at; its neighbours' are 3 lower and more."""


def counted(train: Blend, seed: int) -> Tensor:
    """Return the token ids [N] that the statistics are taken from."""
    rows = max(1, min(train.rows, COUNTED_TOKENS // train.sequence_length))
    return torch.from_numpy(train.gather_flat(train.first(rows, seed))["input_ids"]).long()


def prepare(net: Any, ids: Tensor, special: tuple[int, ...], seed: int) -> None:
    """Give a new model its token vectors, its positions and its first heads' aims."""
    table = net.get_input_embeddings().weight
    spread = float(net.config.initializer_range)
    vectors = token_vectors(ids, table.shape[0], table.shape[1], seed) * spread
    learned = torch.ones(table.shape[0], dtype=torch.bool)
    learned[list(special)] = False
    learned &= vectors.abs().sum(1) > 0
    with torch.no_grad():
        table[learned] = vectors[learned].to(table.dtype)
        if net.config.model_type == "roberta":
            self_attention = net.base_model.encoder.layer[0].attention.self
            places = net.base_model.embeddings.position_embeddings.weight
            _positions(places, net.config.pad_token_id + 1, spread)
            parts = self_attention.query.weight, self_attention.key.weight
            _aim(*parts, net.config.num_attention_heads, (-1, 1, -2, 2))
        elif net.config.model_type == "gpt2":
            _positions(net.transformer.wpe.weight, 0, spread)
            fused = net.transformer.h[0].attn.c_attn.weight
            width = fused.shape[0]
            parts = fused[:, :width].T, fused[:, width : 2 * width].T
            _aim(*parts, net.config.n_head, (-1, -2, -3))


def begin_at_frequencies(net: Any, ids: Tensor) -> None:
    """Set the output's bias to each token's log frequency (less the mean), where there is one."""
    bias = getattr(getattr(net, "lm_head", None), "bias", None)
    if bias is None:
        return
    counts = torch.bincount(ids, minlength=len(bias)).double() + 1
    logs = (counts / counts.sum()).log()
    with torch.no_grad():
        bias.copy_((logs - logs.mean()).to(bias.dtype))


def token_vectors(ids: Tensor, size: int, width: int, seed: int) -> Tensor:
    """Return a vector per token [V, D] of length sqrt(D); those never seen are zero.

    Rows of the mutual information with frequent neighbours, two to either side, are projected on
    their D main directions, centred, and turned by a random rotation so that no coordinate leads.
    """
    counts = torch.bincount(ids, minlength=size).double()
    kept = min(size, CONTEXTS)
    number = torch.full((size,), kept)
    number[torch.argsort(counts, descending=True, stable=True)[:kept]] = torch.arange(kept)
    parts = []
    for distance in DISTANCES:
        far = abs(distance)
        own, other = (ids[far:], ids[:-far]) if distance < 0 else (ids[:-far], ids[far:])
        pairs = torch.bincount(own * (kept + 1) + number[other], minlength=size * (kept + 1))
        table = pairs.view(size, kept + 1)[:, :kept].double()
        parts.append(_mutual_information(table) / far)
    information = torch.cat(parts, 1)
    strengths, directions = torch.linalg.eigh(information.T @ information)
    found = min(width, len(strengths))
    main, strengths = directions[:, -found:].flip(1), strengths[-found:].flip(0)
    vectors = torch.zeros(size, width, dtype=torch.double)
    vectors[:, :found] = information @ main / strengths.clamp_min(1e-9) ** 0.25
    vectors -= vectors[counts > 0].mean(0)
    lengths = vectors.norm(dim=1, keepdim=True).clamp_min(1e-9)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(width, width, generator=generator, dtype=torch.double)
    vectors = math.sqrt(width) * (vectors / lengths) @ torch.linalg.qr(drawn)[0]
    vectors[counts == 0] = 0
    return vectors


def _mutual_information(table: Tensor) -> Tensor:
    """Return max(0, log P(token, neighbour) / (P(token) P(neighbour))), [V, C], from counts."""
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum().clamp_min(1)
    return torch.where(table > 0, (table / expected.clamp_min(1e-9)).log(), 0.0).clamp_min(0)


def _rates(width: int) -> Tensor:
    """Return the radians per position of every pair of sinusoids, [D / 2]."""
    return torch.logspace(math.log10(FASTEST), math.log10(SLOWEST), width // 2)


def _positions(table: Tensor, first: int, spread: float) -> None:
    """Fill a table of positions [T, D] with sinusoids from row `first` on."""
    pairs = table.shape[1] // 2
    places = torch.arange(table.shape[0] - first, dtype=torch.float32).unsqueeze(1)
    angles = places * _rates(table.shape[1])
    scale = spread * math.sqrt(2)
    table[first:, 0 : 2 * pairs : 2] = scale * torch.sin(angles)
    table[first:, 1 : 2 * pairs : 2] = scale * torch.cos(angles)


def _aim(query: Tensor, key: Tensor, heads: int, distances: tuple[int, ...]) -> None:
    """Turn queries [D, D] of the first heads towards the positions at these distances.

    A rotation of a pair of sinusoids by rate x distance moves it so many places; key and query
    read the pairs of the highest rates, with which neighbours differ most.
    """
    size = query.shape[0] // heads
    pairs = torch.arange(size // 2)
    strength = math.sqrt(2 * PEAK / math.sqrt(size))
    for head, distance in enumerate(distances[:heads]):
        turn = _rates(query.shape[1])[: len(pairs)] * distance
        even, odd = head * size + 2 * pairs, head * size + 2 * pairs + 1
        for matrix in (query, key):
            matrix[head * size : (head + 1) * size] *= 0.1
        query[even, 2 * pairs] += strength * torch.cos(turn)
        query[even, 2 * pairs + 1] += strength * torch.sin(turn)
        query[odd, 2 * pairs] -= strength * torch.sin(turn)
        query[odd, 2 * pairs + 1] += strength * torch.cos(turn)
        key[even, 2 * pairs] += strength
        key[odd, 2 * pairs + 1] += strength
