"""A transformer's layers on packed weights, for rows that belong to many sentences.

Nothing is padded: the encoder sees the tokens of a group of sentences one after the other, the
decoder one row per running beam. Keys and values of the past stay where they were written; a beam
finds its own by ancestry indices, so that reordering beams copies no cache. Cross-attention keys
are stored turned (one row per feature), to be read as vectors over source positions.

All arrays are reached by address (`vectors.address`); the `Plan` and the arrays behind it are kept
alive by `engine.Runner`. D padded width, H heads, E padded head size, I = H * E, S source tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stages.lm.runner.activations import gelu, gelu_tanh, square, swish, tanh
from stages.lm.runner.rows import (
    BLOCK,
    LOWEST,
    add_normalise,
    copy,
    embed,
    key_scores,
    mix,
    quantise,
    softmax,
)
from stages.lm.runner.tiles import byte_product, float_product, plain_product
from stages.lm.runner.vectors import LANES, cycles, float_at, put_float, put_place

FLOAT, BYTE = 0, 1
STRIDE = BLOCK * LANES
"""Columns of logits come in multiples of this."""
NONE, RELU, GELU, TANH, SWISH, GELU_TANH, SQUARED = range(7)
(KIND, INPUTS, OUTPUTS, PANELS, SCALES, CORRECTIONS, BIASES, ACTIVATION) = range(8)
"""Columns of the table of linear layers; the four in the middle are addresses."""
ENCODER_LINEARS = 4
"""queries-keys-values, output, up, down."""
DECODER_LINEARS = 7
"""queries-keys-values, output, cross queries, cross keys-values, cross output, up, down."""
ENCODER_PART, SELF_PART, CROSS_PART, LINEAR_PART = range(4)
PROJECTION_PART, SEARCH_PART, EMBED_PART = range(4, 7)
PARTS = (
    "encoder", "self-attention", "cross-attention", "linear layers", "projection", "search",
    "embedding and norms",
)  # fmt: skip
"""Names of the counters of a profile."""


class Shape(NamedTuple):
    """Sizes; every width but `width` is padded to a multiple of 16."""

    width: int
    padded: int
    vocabulary: int
    """Columns of logits, a multiple of 64."""
    encoder_layers: int
    encoder_heads: int
    encoder_head: int
    decoder_layers: int
    decoder_heads: int
    decoder_head: int
    inner: int
    """Widest feed-forward layer."""
    pre_norm: int = 0
    """1: norms stand before the sublayers, and one behind the last."""
    embedding_norm: int = 0
    """1: embeddings have a norm of their own."""


class Plan(NamedTuple):
    """Tables of addresses, and shape."""

    shape: Shape
    linears: Any
    """int64 [layers, 8]; the last is the output projection."""
    norms: Any
    """int64 [norms, 2]: gain and bias, in the order of their use (`enter`): the encoder's embedding
    and layers (two each), then the decoder's (three each)."""
    tables: Any
    """int64 [4]: source tokens, source positions, target tokens, target positions."""
    scale: float
    """Factor of embeddings."""
    epsilon: float


class Desk(NamedTuple):
    """Addresses of the memory that one instance works in."""

    x: int
    """What sublayers add to."""
    normed: int
    """What sublayers read: `x` itself where norms stand behind them."""
    y: int
    wide: int
    context: int
    quantised: int
    scales: int
    scores: int
    turned: int
    places: int
    zeros: int
    """A row of them."""
    logits: int
    maxima: int
    cross: int
    """float32 [slots, layers, 2 * I * S]."""
    past: int
    """float32 [slots, layers, T, K, 2 * I]."""
    chosen: int
    """Panels of the shortlisted words [slots, columns / 32, groups, 32] in units of 4 bytes."""
    chosen_scales: int
    """float32 [slots, columns]; so are the next two, the first of int32."""
    chosen_corrections: int
    chosen_biases: int


@njit(nogil=True)
def linear(plan: Plan, number: int, source: int, rows: int, target: int, desk: Desk) -> None:
    """Apply a linear layer and its activation to rows."""
    row = plan.linears[number]
    count, outputs, act = row[INPUTS], row[OUTPUTS], row[ACTIVATION]
    clip = 1 if act in (RELU, SQUARED) else 0
    if row[KIND] == BYTE:
        for one in range(rows):
            scale = quantise(source + one * count * 4, count // LANES, desk.quantised + one * count)
            put_float(desk.scales + 4 * one, scale)
        byte_product(
            desk.quantised, count, desk.scales, rows, count, row[PANELS], outputs, row[SCALES],
            row[CORRECTIONS], row[BIASES], target, 4 * outputs, clip,
        )  # fmt: skip
    else:
        float_product(
            source, rows, count, row[PANELS], outputs, row[BIASES], target, 4 * outputs, clip
        )
    if act > RELU:
        activate(target, rows * (outputs // LANES), act)


@njit(nogil=True)
def activate(target: int, count: int, act: int) -> None:
    """Apply an activation that no tile has to `count` vectors."""
    if act == GELU:
        gelu(target, count)
    elif act == TANH:
        tanh(target, count)
    elif act == SWISH:
        swish(target, count)
    elif act == GELU_TANH:
        gelu_tanh(target, count)
    else:
        square(target, count)


@njit(nogil=True)
def normalise(
    plan: Plan, number: int, rows: int, other: int, stride: int, target: int, desk: Desk
) -> None:
    """Apply x += other, target = LayerNorm(x) to rows; `stride` is other's, in bytes."""
    size = 4 * plan.shape.padded
    vectors = plan.shape.padded // LANES
    gain, bias = plan.norms[number, 0], plan.norms[number, 1]
    for row in range(rows):
        add_normalise(
            desk.x + row * size, other + row * stride, target + row * size, gain, bias, vectors,
            plan.shape.width, plan.epsilon,
        )  # fmt: skip


@njit(nogil=True)
def add(plan: Plan, number: int, rows: int, desk: Desk) -> None:
    """Add a sublayer's result to the rows and apply the norm of this number behind it."""
    normalise(plan, number, rows, desk.y, 4 * plan.shape.padded, desk.normed, desk)


@njit(nogil=True)
def enter(plan: Plan, number: int, rows: int, desk: Desk) -> int:
    """Apply the norms that stand before a side's first sublayer; returns the next one's number."""
    if plan.shape.embedding_norm:
        normalise(plan, number, rows, desk.zeros, np.int64(0), desk.x, desk)
        number += 1
    if plan.shape.pre_norm:
        normalise(plan, number, rows, desk.zeros, np.int64(0), desk.normed, desk)
        number += 1
    return number


@njit(nogil=True)
def decoder_norms(plan: Plan) -> int:
    """Return the number of the decoder's first norm."""
    shape = plan.shape
    return shape.embedding_norm + shape.pre_norm + 2 * shape.encoder_layers


@njit(nogil=True)
def padded_softmax(scores: int, rows: int, count: int, width: int) -> None:
    """Softmax of rows whose last `width - count` numbers are padding."""
    for row in range(rows):
        start = scores + row * width * 4
        for column in range(count, width):
            put_float(start + 4 * column, LOWEST)
        softmax(start, width // LANES)


@njit(nogil=True)
def turn(source: int, stride: int, count: int, features: int, target: int, width: int) -> None:
    """Write the transpose of [count, features] as [features, width], padded with zeros."""
    for feature in range(features):
        line = target + feature * width * 4
        for row in range(count):
            put_float(line + 4 * row, float_at(source + row * stride + 4 * feature))
        for row in range(count, width):
            put_float(line + 4 * row, 0.0)


@njit(nogil=True)
def padded_length(count: int) -> int:
    """Return a length rounded up to whole vectors."""
    return (count + LANES - 1) // LANES * LANES


@njit(nogil=True)
def attend_sentence(plan: Plan, wide: int, count: int, context: int, desk: Desk) -> None:
    """Self-attention of one source sentence: queries, keys, values [S, 3 I] to context [S, I]."""
    heads, head = plan.shape.encoder_heads, plan.shape.encoder_head
    inner = heads * head
    stride, width = 12 * inner, padded_length(count)
    for number in range(heads):
        query = wide + number * head * 4
        turn(query + 4 * inner, stride, count, head, desk.turned, width)
        plain_product(
            query, stride, count, head, desk.turned, 4 * width, width, desk.zeros,
            desk.scores, 4 * width,
        )  # fmt: skip
        padded_softmax(desk.scores, count, count, width)
        plain_product(
            desk.scores, 4 * width, count, count, query + 8 * inner, stride, head, desk.zeros,
            context + number * head * 4, 4 * inner,
        )  # fmt: skip


@njit(nogil=True)
def encode(
    plan: Plan,
    desk: Desk,
    ids: Any,
    starts: Any,
    first: int,
    last: int,
    slots: Any,
    longest: int,
    profile: Any,
) -> None:
    """Encode sentences first..last and store their cross-attention keys and values in slots."""
    shape = plan.shape
    began = cycles()
    rows = starts[last] - starts[first]
    size = 4 * shape.padded
    row = np.int64(0)
    for sentence in range(first, last):
        for place in range(starts[sentence + 1] - starts[sentence]):
            embed(
                plan.tables[0] + ids[starts[sentence] + place] * size,
                plan.tables[1] + place * size, plan.scale, shape.padded // LANES,
                desk.x + row * size,
            )  # fmt: skip
            row += 1
    inner = shape.encoder_heads * shape.encoder_head
    norm = enter(plan, np.int64(0), rows, desk)
    for layer in range(shape.encoder_layers):
        base = ENCODER_LINEARS * layer
        linear(plan, base, desk.normed, rows, desk.wide, desk)
        for sentence in range(first, last):
            at = starts[sentence] - starts[first]
            attend_sentence(
                plan, desk.wide + at * 12 * inner, starts[sentence + 1] - starts[sentence],
                desk.context + at * 4 * inner, desk,
            )  # fmt: skip
        linear(plan, base + 1, desk.context, rows, desk.y, desk)
        add(plan, norm + 2 * layer, rows, desk)
        linear(plan, base + 2, desk.normed, rows, desk.wide, desk)
        linear(plan, base + 3, desk.wide, rows, desk.y, desk)
        add(plan, norm + 2 * layer + 1, rows, desk)
    for layer in range(shape.decoder_layers):
        number = ENCODER_LINEARS * shape.encoder_layers + DECODER_LINEARS * layer + 3
        linear(plan, number, desk.normed, rows, desk.wide, desk)
        for sentence in range(first, last):
            at, count = starts[sentence] - starts[first], starts[sentence + 1] - starts[sentence]
            keep_cross(plan, desk, at, count, slots[sentence - first], layer, longest)
    profile[ENCODER_PART] += cycles() - began


@njit(nogil=True)
def keep_cross(
    plan: Plan, desk: Desk, at: int, count: int, slot: int, layer: int, longest: int
) -> None:
    """Store one sentence's keys (turned, per head) and values for cross-attention."""
    shape = plan.shape
    heads, head = shape.decoder_heads, shape.decoder_head
    inner, width = heads * head, padded_length(count)
    block = desk.cross + (slot * shape.decoder_layers + layer) * 8 * inner * longest
    source = desk.wide + at * 8 * inner
    for number in range(heads):
        shift = number * head * 4
        turn(source + shift, 8 * inner, count, head, block + shift * width, width)
    values = block + 4 * inner * longest
    for row in range(count):
        copy(source + row * 8 * inner + 4 * inner, values + row * 4 * inner, inner // LANES)


@njit(nogil=True)
def attend_past(
    plan: Plan,
    desk: Desk,
    row: int,
    slot: int,
    layer: int,
    ancestry: Any,
    time: int,
    steps: int,
    beams: int,
) -> None:
    """Self-attention of one beam over its own past, found by ancestry [time + 1]."""
    shape = plan.shape
    heads, head = shape.decoder_heads, shape.decoder_head
    inner, count = heads * head, time + 1
    width = padded_length(count)
    query = desk.wide + row * 12 * inner
    block = desk.past + (slot * shape.decoder_layers + layer) * steps * beams * 8 * inner
    own = block + (time * beams + ancestry[time]) * 8 * inner
    copy(query + 4 * inner, own, 2 * inner // LANES)
    for place in range(count):
        start = block + (place * beams + ancestry[place]) * 8 * inner
        put_place(desk.places + 8 * place, start)
    for place in range(count, width):
        put_place(desk.places + 8 * place, own)
    for number in range(heads):
        shift = number * head * 4
        key_scores(
            query + shift, desk.places, width // LANES, shift, head // LANES,
            desk.scores + 4 * number * width,
        )  # fmt: skip
    padded_softmax(desk.scores, heads, count, width)
    for number in range(heads):
        for part in range(head // LANES):
            shift = (number * head + part * LANES) * 4
            mix(
                desk.places, (count + 3) // 4, desk.scores + number * width * 4,
                4 * inner + shift,
                desk.context + row * 4 * inner + shift,
            )  # fmt: skip


@njit(nogil=True)
def attend_source(
    plan: Plan, desk: Desk, row: int, rows: int, slot: int, layer: int, count: int, longest: int
) -> None:
    """Cross-attention of a sentence's beams: queries in `wide` [rows, I] to `context`."""
    shape = plan.shape
    heads, head = shape.decoder_heads, shape.decoder_head
    inner, width = heads * head, padded_length(count)
    block = desk.cross + (slot * shape.decoder_layers + layer) * 8 * inner * longest
    values = block + 4 * inner * longest
    for number in range(heads):
        shift = number * head * 4
        plain_product(
            desk.wide + row * 4 * inner + shift, 4 * inner, rows, head, block + shift * width,
            4 * width, width, desk.zeros, desk.scores, 4 * width,
        )  # fmt: skip
        padded_softmax(desk.scores, rows, count, width)
        plain_product(
            desk.scores, 4 * width, rows, count, values + shift, 4 * inner, head, desk.zeros,
            desk.context + row * 4 * inner + shift, 4 * inner,
        )  # fmt: skip
