"""One instance of the runner: sentences come and go, every member of the model steps along.

A model is one transformer or an ensemble. Members share sentences, beams and ancestry; each has
its own weights, caches and memory. Their logits meet before a beam is chosen, as the logarithm of
their mean probability (fairseq 0.12.2, `EnsembleModel.forward_decoder`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stages.lm.runner.network import (
    DECODER_LINEARS,
    EMBED_PART,
    ENCODER_LINEARS,
    PROJECTION_PART,
    SEARCH_PART,
    STRIDE,
    Desk,
    Plan,
    Shape,
    encode,
    linear,
)
from stages.lm.runner.probabilities import add_probabilities, logarithms
from stages.lm.runner.projection import choose_words, project_words, round_rows
from stages.lm.runner.rows import exponential_sum, maxima
from stages.lm.runner.search import (
    Best,
    Found,
    Rules,
    State,
    Words,
    decode_layers,
    embed_rows,
    select,
)
from stages.lm.runner.vectors import LANES, cycles


class Members(NamedTuple):
    """Plans and desks of all members as tables, so that their number is no matter of compiling."""

    shapes: Any
    """int64 [M, fields of Shape]."""
    linears: Any
    """int64 [layers of all, 8]; the first of each member's in `linear_starts` [M + 1]."""
    linear_starts: Any
    norms: Any
    """int64 [norms of all, 2], as are the starts of these."""
    norm_starts: Any
    tables: Any
    """int64 [M, 4]."""
    scales: Any
    """float64 [M, 2]: factor of embeddings, epsilon."""
    desks: Any
    """int64 [M, fields of Desk]."""


@njit(nogil=True)
def plan_of(members: Members, one: int) -> Plan:
    """Return a member's plan."""
    s = members.shapes[one]
    shape = Shape(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11])
    return Plan(
        shape,
        members.linears[members.linear_starts[one] : members.linear_starts[one + 1]],
        members.norms[members.norm_starts[one] : members.norm_starts[one + 1]],
        members.tables[one],
        members.scales[one, 0],
        members.scales[one, 1],
    )


@njit(nogil=True)
def desk_of(members: Members, one: int) -> Desk:
    """Return a member's memory."""
    d = members.desks[one]
    return Desk(
        d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11], d[12], d[13],
        d[14], d[15], d[16], d[17], d[18],
    )  # fmt: skip


@njit(nogil=True)
def admit(
    members: Members, state: State, words: Words, ids: Any, starts: Any, order: Any, first: int,
    last: int, active: int, places: int, longest: int, profile: Any,
) -> int:  # fmt: skip
    """Encode waiting sentences into free slots; returns how many run now."""
    count = last - first
    slots = state.free[places - active - count : places - active]
    for number in range(count):
        slot = slots[number]
        state.sentence[slot] = order[first + number]
        state.time[slot], state.alive[slot], state.found[slot] = 0, 1, 0
        state.ancestry[slot, 0, 0] = 0
        state.running[active + number] = slot
    for one in range(len(members.shapes)):
        plan, desk = plan_of(members, one), desk_of(members, one)
        encode(plan, desk, ids, starts, first, last, slots, longest, profile)
        if words.limited:
            list_words(plan, desk, state, words, active, active + count)
    return active + count


@njit(nogil=True)
def list_words(plan: Plan, desk: Desk, state: State, words: Words, first: int, last: int) -> None:
    """Give sentences that just joined the output weights of their words."""
    for number in range(first, last):
        slot = state.running[number]
        start = words.starts[state.sentence[slot]]
        count = words.starts[state.sentence[slot] + 1] - start
        choose_words(plan, desk, slot, words.ids, start, count, words.columns)


@njit(nogil=True)
def project_listed(
    plan: Plan, desk: Desk, state: State, words: Words, active: int, rows: int
) -> None:
    """Write every beam's logits of its sentence's words."""
    round_rows(plan, desk, rows)
    row: Any = np.int64(0)
    for number in range(active):
        slot = state.running[number]
        sentence = state.sentence[slot]
        count = words.starts[sentence + 1] - words.starts[sentence]
        project_words(plan, desk, slot, row, state.alive[slot], count, words.columns)
        row += state.alive[slot]


@njit(nogil=True)
def mean_row(members: Members, row: int, words: Words, columns: int) -> None:
    """Make the first member's logits of a row the logarithms of all members' mean probability."""
    count = len(members.shapes)
    blocks, vectors = columns // STRIDE, columns // LANES
    shift = row * 4 * words.columns
    target = desk_of(members, 0).logits + shift
    for one in range(count):
        desk = desk_of(members, one)
        own = desk.logits + shift
        peak = maxima(own, blocks, desk.maxima)
        norm = np.float32(peak + np.float32(math.log(exponential_sum(own, blocks, peak))))
        kept = np.float32(0.0) if one == 0 else np.float32(1.0)
        add_probabilities(own, vectors, norm, kept, target)
    logarithms(target, vectors, np.float32(1.0 / count))


@njit(nogil=True)
def mean(members: Members, state: State, words: Words, active: int) -> None:
    """Let the members' logits meet, row after row."""
    row: Any = np.int64(0)
    for number in range(active):
        slot = state.running[number]
        columns = words.columns
        if words.limited:
            sentence = state.sentence[slot]
            count = words.starts[sentence + 1] - words.starts[sentence]
            columns = (count + STRIDE - 1) // STRIDE * STRIDE
        for _ in range(state.alive[slot]):
            mean_row(members, row, words, columns)
            row += 1


@njit(nogil=True)
def step(
    members: Members, one: int, rules: Rules, state: State, words: Words, active: int,
    lengths: Any, longest: int, profile: Any,
) -> None:  # fmt: skip
    """Write one member's logits of every running beam's next word."""
    plan, desk = plan_of(members, one), desk_of(members, one)
    t0 = cycles()
    rows = embed_rows(plan, rules, desk, state, active)
    t1 = cycles()
    decode_layers(plan, rules, desk, state, active, rows, lengths, longest, profile)
    t2 = cycles()
    if words.limited:
        project_listed(plan, desk, state, words, active, rows)
    else:
        projection = ENCODER_LINEARS * plan.shape.encoder_layers
        projection += DECODER_LINEARS * plan.shape.decoder_layers
        linear(plan, projection, desk.normed, rows, desk.logits, desk)
    profile[EMBED_PART] += t1 - t0
    profile[PROJECTION_PART] += cycles() - t2


@njit(nogil=True)
def decode(
    members: Members, rules: Rules, state: State, best: Best, found: Found, words: Words,
    ids: Any, starts: Any, order: Any, lengths: Any, refill: int, longest: int, profile: Any,
) -> None:  # fmt: skip
    """Translate all sentences; `ids` are the sources in the order of `order`."""
    # Typed zeros: numba compiles a callee once more for each literal that it meets.
    active: Any = np.int64(0)
    first: Any = np.int64(0)
    places, waiting = len(state.free), len(order)
    while active > 0 or first < waiting:
        room = min(places - active, waiting - first)
        if room > 0 and (active == 0 or room >= refill or first + room == waiting):
            last = first + min(room, max(refill, 1))
            active = admit(
                members, state, words, ids, starts, order, first, last, active, places, longest,
                profile,
            )  # fmt: skip
            first = last
            continue
        for one in range(len(members.shapes)):
            step(members, one, rules, state, words, active, lengths, longest, profile)
        began = cycles()
        if len(members.shapes) > 1:
            mean(members, state, words, active)
        desk = desk_of(members, np.int64(0))
        active = select(rules, desk, state, found, best, words, active, places)
        profile[SEARCH_PART] += cycles() - began
