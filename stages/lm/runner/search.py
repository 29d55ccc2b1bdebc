"""Beam search over many sentences in one compiled call, by fairseq's rules (`lm.generate`).

Sentences wait sorted; as soon as enough places are free, the next ones are encoded and join the
running ones, each at its own step, so that the batch stays full until the last sentences. K beams,
T steps. Beam k at step t continues row `ancestry[k, p]` of every earlier step p; token and score of
step p are stored by the beam that they made.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from stages.lm.runner.network import (
    CROSS_PART,
    DECODER_LINEARS,
    EMBED_PART,
    ENCODER_LINEARS,
    LINEAR_PART,
    SELF_PART,
    STRIDE,
    Desk,
    Plan,
    add,
    attend_past,
    attend_source,
    decoder_norms,
    enter,
    linear,
)
from stages.lm.runner.rows import BLOCK, LOWEST, embed, exponential_sum, maxima
from stages.lm.runner.vectors import LANES, cycles, float_at

NOTHING = LOWEST / 2
"""Below it lie only excluded words."""


class Rules(NamedTuple):
    """Settings of the search and the ids that it treats apart."""

    beams: int
    length_penalty: float
    max_tokens: int
    min_tokens: int
    unknown_penalty: float
    pad: int
    eos: int
    unk: int
    start: int


class State(NamedTuple):
    """What is known of the running sentences, by slot."""

    sentence: Any
    """int64 [slots]: which sentence runs here."""
    time: Any
    """int64 [slots]: steps taken."""
    alive: Any
    """int64 [slots]: running beams, 1 at the first step."""
    found: Any
    """int64 [slots]: finished hypotheses."""
    tokens: Any
    """int32 [slots, T, K]."""
    totals: Any
    """float32 [slots, T, K]: log-probabilities summed up."""
    ancestry: Any
    """int32 [slots, K, T + 1]."""
    running: Any
    """int64 [slots]: slots in use, the first `n` of it."""
    free: Any
    """int64 [slots]: slots not in use."""


class Best(NamedTuple):
    """The best continuations of one sentence, best first, and room for sorting."""

    scores: Any
    tokens: Any
    beams: Any
    ancestry: Any
    """int32 [K, T + 1]."""


class Found(NamedTuple):
    """Finished hypotheses by sentence, in the order of their end."""

    count: Any
    """int64 [sentences]."""
    lengths: Any
    """int64 [sentences, K]."""
    scores: Any
    """float32 [sentences, K]."""
    tokens: Any
    """int32 [sentences, K, T]."""
    totals: Any
    """float32 [sentences, K, T]."""


class Words(NamedTuple):
    """The words that sentences may use; without a shortlist all, in order."""

    limited: int
    """1 with a shortlist."""
    columns: int
    """Columns of logits in memory, the longest list rounded up."""
    ids: Any
    """int32: word of each column, sentence after sentence."""
    starts: Any
    """int64 [sentences + 1]: columns of each sentence."""


@njit(nogil=True)
def insert(best: Best, size: int, limit: int, score: float, token: int, beam: int) -> int:
    """Put a continuation in its place; returns how many there are."""
    place = size if size < limit else limit - 1
    while place > 0 and best.scores[place - 1] < score:
        best.scores[place] = best.scores[place - 1]
        best.tokens[place] = best.tokens[place - 1]
        best.beams[place] = best.beams[place - 1]
        place -= 1
    best.scores[place], best.tokens[place], best.beams[place] = score, token, beam
    return size + 1 if size < limit else size


@njit(nogil=True)
def scan_row(
    rules: Rules, best: Best, size: int, limit: int, time: int, beam: int, before: float,
    row: int, columns: int, found: int, words: Words, first: int,
) -> int:  # fmt: skip
    """Add a beam's continuations to the best ones; returns how many there are."""
    blocks = columns // (BLOCK * LANES)
    peak = maxima(row, blocks, found)
    norm = np.float32(math.log(exponential_sum(row, blocks, peak)))
    for block in range(blocks):
        bound = np.float32(np.float32(float_at(found + 4 * block) - peak) - norm) + before
        if size == limit and bound <= best.scores[limit - 1]:
            continue
        for column in range(block * BLOCK * LANES, (block + 1) * BLOCK * LANES):
            logit = float_at(row + 4 * column)
            if logit < NOTHING:
                continue
            token = words.ids[first + column] if words.limited else column
            if token == rules.pad or (token == rules.eos and time < rules.min_tokens):
                continue
            if time >= rules.max_tokens and token != rules.eos:
                continue
            score = np.float32(np.float32(logit - peak) - norm)
            if token == rules.unk:
                score = np.float32(score - np.float32(rules.unknown_penalty))
            score = np.float32(score + before)
            if size < limit or score > best.scores[limit - 1]:
                size = insert(best, size, limit, score, token, beam)
    return size


@njit(nogil=True)
def finish(rules: Rules, state: State, found: Found, slot: int, best: Best, place: int) -> None:
    """Store a hypothesis that ended."""
    sentence, time, beam = state.sentence[slot], state.time[slot], best.beams[place]
    number = state.found[slot]
    for step in range(1, time + 1):
        parent = state.ancestry[slot, beam, step]
        found.tokens[sentence, number, step - 1] = state.tokens[slot, step - 1, parent]
        found.totals[sentence, number, step - 1] = state.totals[slot, step - 1, parent]
    found.tokens[sentence, number, time] = rules.eos
    found.totals[sentence, number, time] = best.scores[place]
    found.lengths[sentence, number] = time + 1
    length = np.float32(np.float32(time + 1) ** np.float32(rules.length_penalty))
    found.scores[sentence, number] = best.scores[place] / length
    state.found[slot] = number + 1
    found.count[sentence] = number + 1


@njit(nogil=True)
def choose(rules: Rules, state: State, found: Found, slot: int, best: Best, size: int) -> bool:
    """End and continue beams; True when the sentence is done."""
    beams, time = rules.beams, state.time[slot]
    alive = np.int64(0)
    for place in range(size):
        if best.tokens[place] == rules.eos:
            if place < beams and state.found[slot] < beams:
                finish(rules, state, found, slot, best, place)
        elif alive < beams:
            beam = best.beams[place]
            for step in range(time + 1):
                best.ancestry[alive, step] = state.ancestry[slot, beam, step]
            state.tokens[slot, time, alive] = best.tokens[place]
            state.totals[slot, time, alive] = best.scores[place]
            alive += 1
    if state.found[slot] >= beams or time >= rules.max_tokens or alive == 0:
        return True
    for beam in range(alive):
        for step in range(time + 1):
            state.ancestry[slot, beam, step] = best.ancestry[beam, step]
        state.ancestry[slot, beam, time + 1] = beam
    state.alive[slot], state.time[slot] = alive, time + 1
    return False


@njit(nogil=True)
def embed_rows(plan: Plan, rules: Rules, desk: Desk, state: State, active: int) -> int:
    """Write the embeddings of every running beam's last token; returns how many rows."""
    size = 4 * plan.shape.padded
    row: Any = np.int64(0)
    for number in range(active):
        slot = state.running[number]
        time = state.time[slot]
        for beam in range(state.alive[slot]):
            token = rules.start if time == 0 else state.tokens[slot, time - 1, beam]
            embed(
                plan.tables[2] + token * size, plan.tables[3] + time * size, plan.scale,
                plan.shape.padded // LANES, desk.x + row * size,
            )  # fmt: skip
            row += 1
    return row


@njit(nogil=True)
def decode_layers(
    plan: Plan, rules: Rules, desk: Desk, state: State, active: int, rows: int, lengths: Any,
    longest: int, profile: Any,
) -> None:  # fmt: skip
    """Run the decoder's layers on one row per running beam."""
    shape = plan.shape
    steps = rules.max_tokens + 1
    began = cycles()
    start = enter(plan, decoder_norms(plan), rows, desk)
    profile[EMBED_PART] += cycles() - began
    for layer in range(shape.decoder_layers):
        base = ENCODER_LINEARS * shape.encoder_layers + DECODER_LINEARS * layer
        norm = start + 3 * layer
        t0 = cycles()
        linear(plan, base, desk.normed, rows, desk.wide, desk)
        t1 = cycles()
        row = np.int64(0)
        for number in range(active):
            slot = state.running[number]
            for beam in range(state.alive[slot]):
                attend_past(
                    plan, desk, row, slot, layer, state.ancestry[slot, beam], state.time[slot],
                    steps, rules.beams,
                )  # fmt: skip
                row += 1
        t2 = cycles()
        linear(plan, base + 1, desk.context, rows, desk.y, desk)
        t3 = cycles()
        add(plan, norm, rows, desk)
        t4 = cycles()
        linear(plan, base + 2, desk.normed, rows, desk.wide, desk)
        t5 = cycles()
        row = np.int64(0)
        for number in range(active):
            slot = state.running[number]
            beams = state.alive[slot]
            attend_source(
                plan, desk, row, beams, slot, layer, lengths[state.sentence[slot]], longest
            )
            row += beams
        t6 = cycles()
        linear(plan, base + 4, desk.context, rows, desk.y, desk)
        add(plan, norm + 1, rows, desk)
        linear(plan, base + 5, desk.normed, rows, desk.wide, desk)
        linear(plan, base + 6, desk.wide, rows, desk.y, desk)
        t7 = cycles()
        add(plan, norm + 2, rows, desk)
        t8 = cycles()
        profile[LINEAR_PART] += t1 - t0 + t3 - t2 + t5 - t4 + t7 - t6
        profile[SELF_PART] += t2 - t1
        profile[CROSS_PART] += t6 - t5
        profile[EMBED_PART] += t4 - t3 + t8 - t7


@njit(nogil=True)
def select(
    rules: Rules, desk: Desk, state: State, found: Found, best: Best, words: Words,
    active: int, places: int,
) -> int:  # fmt: skip
    """Choose every sentence's continuations from its logits; returns how many still run."""
    columns = words.columns
    row: Any = np.int64(0)
    left: Any = np.int64(0)
    for number in range(active):
        slot = state.running[number]
        time, sentence = state.time[slot], state.sentence[slot]
        size, limit, first = np.int64(0), 2 * rules.beams, np.int64(0)
        if words.limited:
            first = words.starts[sentence]
            columns = (words.starts[sentence + 1] - first + STRIDE - 1) // STRIDE * STRIDE
        for beam in range(state.alive[slot]):
            before = state.totals[slot, time - 1, beam] if time > 0 else np.float32(0.0)
            size = scan_row(
                rules, best, size, limit, time, beam, before,
                desk.logits + row * 4 * words.columns, columns, desk.maxima, words, first,
            )  # fmt: skip
            row += 1
        if choose(rules, state, found, slot, best, size):
            state.free[places - active + number - left] = slot
        else:
            state.running[left] = slot
            left += 1
    return left
