"""Learning byte-pair merges from counted words, pair counts kept up to date merge by merge.

The rule of ties is that of tokenizers 0.23 and so are its merges, one by one: of all pairs the one
that occurs most often is merged, and of those that occur equally often the one with the lesser left
id, then the lesser right id. Ids are given in order: special tokens, the bytes in the order of the
characters that GPT-2 spells them with, then every new token as it is made.

Two habits of that trainer change what is learned and are kept. A pair's count is not lowered by its
own merge, and its words are those in which it appeared at one time: where two merges make one
token (`a bc` and `ab c`), a pair with that token appears twice, is merged twice, and its last merge
is the one that counts. A merge that spells a token that is there already makes no new one.

Words lie in one array, each behind its size and count, and shrink in place. Beside a merged pair
stand few different symbols, so what a merge changes is added up by neighbour first and told to the
table of pairs once per neighbour. The words of a pair stand in a row in a pool; a heap holds pairs
with their counts and rows, and one whose count is stale is put back when it comes up. What occurs
less often than merges must waits outside the heap until nothing else is left. No step
depends on the order of the words. `stages.lm.kernels.merging` is the slow reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import int32, int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels.compiled import called, fills, kernel, leaf, plain
from stages.lm.kernels.loads import prefetch_line
from stages.lm.kernels.pairs import (
    COLD,
    FACES,
    FIRST,
    HEAD,
    HEAP,
    LENGTH,
    LINE,
    LOG,
    MERGES,
    PAIR,
    PAIRS,
    POOL,
    TIMES,
    TOKENS,
    Log,
    any_warm,
    change,
    enlarged,
    fill,
    key,
    lengthened,
    new_face,
    note,
    queue,
    room_for,
    sink,
    slot_of,
    warm,
)  # fmt: skip
from stages.lm.kernels.wordcounts import ONE, TWO, Words, longer

TOKEN_HASH, TOKEN_ID = 0, 1
AHEAD = 8
"""Words whose symbols are asked for before they are needed."""


class Learned(NamedTuple):
    """`tokens` by id, and merges (left id, right id, id made) in the order of their making."""

    tokens: list[bytes | None]
    merges: list[tuple[int, int, int]]


@plain
def token_slot(places: Any, letters: Any, left: int, right: int, index: Any) -> int:
    """Return the slot of the token that two tokens spell, or the empty one where it belongs."""
    length = places[left, 1] + places[right, 1]
    found = uint64(length) * TWO
    for part in (left, right):
        for at in range(places[part, 0], places[part, 0] + places[part, 1]):
            found = (found ^ uint64(letters[at])) * ONE
            found ^= found >> uint64(29)
    wanted = int64(found >> uint64(2)) + 1
    last = len(index) - 1
    slot = wanted & last
    while index[slot, TOKEN_HASH] != 0:
        token = index[slot, TOKEN_ID]
        if index[slot, TOKEN_HASH] == wanted and places[token, 1] == length:
            at, same = places[token, 0], True
            for part in (left, right):
                for byte in range(places[part, 0], places[part, 0] + places[part, 1]):
                    same = same and letters[at] == letters[byte]
                    at += 1
            if same:
                return slot
        slot = (slot + 1) & last
    index[slot, TOKEN_HASH], index[slot, TOKEN_ID] = wanted, -1
    return slot


class Beside(NamedTuple):
    """What stands beside the pair being merged: side 0 before it, side 1 behind it.

    `times` [2, V] how often each symbol does, `face` [2, V] the pair that it makes with the new
    token or -1, `seen` [n, 2] side and symbol of those that do, `found` [1] how many.
    """

    times: NDArray[np.int64]
    face: NDArray[np.int32]
    seen: NDArray[np.int64]
    found: NDArray[np.int64]


@leaf
def met(beside: Any, log: Any, sizes: Any, side: int, symbol: int, made: int, times: int) -> int:
    """Count a neighbour of the merged pair; returns the face it makes with the new token."""
    if beside.face[side, symbol] < 0:
        pair = key(made, symbol) if side else key(symbol, made)
        beside.face[side, symbol] = int32(new_face(log, sizes, pair))
        beside.seen[beside.found[0], 0], beside.seen[beside.found[0], 1] = side, symbol
        beside.found[0] += 1
    beside.times[side, symbol] += times
    return int64(beside.face[side, symbol])


@called
def merge_words(
    symbols: Any, pool: Any, first: int, stop: int, left: int, right: int, made: int,
    beside: Any, sizes: Any, log: Any,
) -> Any:  # fmt: skip
    """Merge a pair in the words pool[first:stop], each left to right; returns the log."""
    for place in range(first, stop):
        if place + AHEAD < stop:
            prefetch_line(symbols, int64(pool[place + AHEAD]))
        word = int64(pool[place])
        size, start = int64(symbols[word]), word + HEAD
        times = int64(symbols[word + 1]) | (int64(symbols[word + 2]) << 31)
        if sizes[FACES] + 2 * size > len(log.pairs) or sizes[LOG] + 2 * size > len(log.entries):
            log = enlarged(log, sizes, 2 * size)
        at = out = 0
        while at < size:
            here = symbols[start + at]
            if here != left or at + 1 == size or symbols[start + at + 1] != right:
                symbols[start + out] = here
                out += 1
                at += 1
                continue
            if out:
                symbol = int64(symbols[start + out - 1])
                note(log, sizes, met(beside, log, sizes, 0, symbol, made, times), word)
            symbols[start + out] = int32(made)
            out += 1
            at += 2
            if at < size:
                symbol = int64(symbols[start + at])
                face = met(beside, log, sizes, 1, symbol, made, times)
                if symbol == made:  # (made, made) is one pair from either side
                    face = met(beside, log, sizes, 0, symbol, made, 0)
                note(log, sizes, face, word)
        symbols[word] = int32(out)
    return log


@called
def settle(table: Any, beside: Any, left: int, right: int, made: int, sizes: Any) -> Any:
    """Tell the table of pairs what a merge changed; returns the table."""
    table = room_for(table, sizes[PAIRS], 2 * beside.found[0])
    for number in range(beside.found[0]):
        side, symbol = beside.seen[number, 0], beside.seen[number, 1]
        times = beside.times[side, symbol]
        if side:
            change(table, sizes, key(right, symbol), -times)
            change(table, sizes, key(made, symbol), times)
        else:
            change(table, sizes, key(symbol, left), -times)
            change(table, sizes, key(symbol, made), times)
        beside.times[side, symbol], beside.face[side, symbol] = 0, -1
    beside.found[0] = 0
    return table


@called
def count_pairs(symbols: Any, sizes: Any) -> Any:
    """Return the table of all pairs of all words, and a log of which word has which."""
    table = np.zeros((1 << 16, 4), np.int64)
    log = Log(
        np.empty(1 << 12, np.int64), np.empty(1 << 12, np.int64), np.empty(1 << 12, np.int64),
        np.empty((1 << 12, 2), np.int32),
    )  # fmt: skip
    word = 0
    while word < len(symbols):
        size, start = int64(symbols[word]), word + HEAD
        times = int64(symbols[word + 1]) | (int64(symbols[word + 2]) << 31)
        table, log = room_for(table, sizes[PAIRS], size), enlarged(log, sizes, size)
        for at in range(start, start + size - 1):
            pair = key(symbols[at], symbols[at + 1])
            slot = change(table, sizes, pair, times)
            if table[slot, FIRST] < 0:
                table[slot, FIRST] = new_face(log, sizes, pair)
            note(log, sizes, table[slot, FIRST], word)
        word = start + size
    return table, log


@called
def with_room(pool: Any, used: int, more: int) -> Any:
    """Return the pool, or a larger copy, with room for `more` words."""
    if used + more <= len(pool):
        return pool
    made = np.empty(max(2 * len(pool), used + more), np.int32)
    for place in range(used):
        made[place] = pool[place]
    return made


@called
def first_tokens(places: Any, letters: Any, tokens: int, limit: int) -> Any:
    """Return the index of the tokens that are there from the start."""
    room = 1024
    while room < 4 * limit:
        room *= 2
    index = np.zeros((room, 2), np.int64)
    for token in range(tokens):
        if places[token, 1]:
            slot = token_slot(places, letters, token, limit, index)
            if index[slot, TOKEN_ID] < 0:
                index[slot, TOKEN_ID] = token
    return index


@called
def name_token(places: Any, letters: Any, left: int, right: int, index: Any, tokens: int) -> Any:
    """Return the id of the token that two tokens spell, made if it is new, and the letters."""
    slot = token_slot(places, letters, left, right, index)
    if index[slot, TOKEN_ID] >= 0:
        return index[slot, TOKEN_ID], letters
    used = places[tokens - 1, 0] + places[tokens - 1, 1]
    places[tokens, 0], places[tokens, 1] = used, places[left, 1] + places[right, 1]
    letters = longer(letters, used, places[tokens, 1])
    for part in (left, right):
        for at in range(places[part, 0], places[part, 0] + places[part, 1]):
            letters[used] = letters[at]
            used += 1
    index[slot, TOKEN_ID] = tokens
    return tokens, letters


@kernel(
    LINE, fills(types.int32), fills(types.uint8), LINE, types.int64, types.int64, types.int64,
    fills(types.int64),
)  # fmt: skip
def _learn(
    symbols: Any, letters: Any, places: Any, tokens: int, limit: int, least: int, sizes: Any
) -> Any:
    """Return merges [M, 3]; M and the number of tokens are in `sizes`.

    `places` [limit + 1, 2] are begin and length of each token in `letters`; the last is empty.
    """
    index = first_tokens(places, letters, tokens, limit)
    table, log = count_pairs(symbols, sizes)
    pool = np.empty(2 * sizes[LOG] + 1, np.int32)
    heap = np.empty((2 * sizes[FACES] + 1, 4), np.int64)
    cold = np.empty((2 * sizes[FACES] + 1, 4), np.int64)
    merges = np.empty((limit, 3), np.int64)
    beside = Beside(
        np.zeros((2, limit), np.int64), np.empty((2, limit), np.int32),
        np.empty((2 * limit, 2), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    for symbol in range(limit):
        beside.face[0, symbol] = beside.face[1, symbol] = -1
    least = bar = max(1, least)
    queue(table, heap, cold, pool, sizes, log, bar)
    while tokens < limit:
        if sizes[HEAP] == 0:
            # Nothing is diverted any more: from here on the heap is as if all had been in it.
            if not any_warm(table, cold, sizes, least):
                break
            heap = lengthened(heap, 0, sizes[COLD])
            warm(heap, cold, sizes)
            bar = 0
        pair, times, first = heap[0, PAIR], heap[0, TIMES], heap[0, FIRST]
        stop = first + heap[0, LENGTH]
        now = table[slot_of(table, pair), TIMES]
        if now != times and now >= bar:
            sink(heap, sizes[HEAP], 0, now)
            continue
        if now == times and times < least:
            break
        sizes[HEAP] -= 1
        if sizes[HEAP]:
            sink(heap, sizes[HEAP], sizes[HEAP], heap[sizes[HEAP], TIMES])
        if now != times:
            cold = lengthened(cold, sizes[COLD], 1)
            fill(cold, sizes[COLD], pair, now, first, stop - first)
            sizes[COLD] += 1
            continue
        left, right = (pair - 1) >> 32, (pair - 1) & 0xFFFFFFFF
        made, letters = name_token(places, letters, left, right, index, tokens)
        tokens = max(tokens, made + 1)
        merges = lengthened(merges, sizes[MERGES], 1)
        line = sizes[MERGES]
        merges[line, 0], merges[line, 1], merges[line, 2] = left, right, made
        sizes[MERGES] += 1
        log = merge_words(symbols, pool, first, stop, left, right, made, beside, sizes, log)
        table = settle(table, beside, left, right, made, sizes)
        heap = lengthened(heap, sizes[HEAP], sizes[FACES])
        cold = lengthened(cold, sizes[COLD], sizes[FACES])
        pool = with_room(pool, sizes[POOL], sizes[LOG])
        queue(table, heap, cold, pool, sizes, log, bar)
    sizes[TOKENS] = tokens
    return merges


def learned(
    words: Words, initial: Sequence[bytes | None], vocab_size: int, min_frequency: int = 0
) -> NDArray[np.int64]:
    """Return merges [M, 3], left id, right id and id made, in the order of their making.

    They are learned until there are `vocab_size` tokens or no pair occurs `min_frequency` times.
    `initial` are the first tokens by id: None is one that no text can spell, and every byte that
    occurs must be among them. One that stands there twice is found by its first id.
    """
    limit = max(vocab_size, len(initial))
    sizes = np.array([len(token or b"") for token in initial], np.int64)
    places = np.zeros((limit + 1, 2), np.int64)
    places[: len(initial), 1] = sizes
    places[: len(initial), 0] = np.cumsum(sizes) - sizes
    letters = np.frombuffer(b"".join(token or b"" for token in initial), np.uint8).copy()
    state = np.zeros(COLD + 1, np.int64)
    made = _learn(
        _symbols(words, _numbers(initial)), letters, places, len(initial), limit, min_frequency,
        state,
    )  # fmt: skip
    found: NDArray[np.int64] = made[: state[MERGES]]
    return found


def learn(
    words: Words, initial: Sequence[bytes | None], vocab_size: int, min_frequency: int = 0
) -> Learned:
    """Return the same with all tokens spelled."""
    found = learned(words, initial, vocab_size, min_frequency)
    made: list[tuple[int, int, int]] = list(map(tuple, found.tolist()))
    tokens = list(initial)
    for left, right, token in made:
        if token == len(tokens):
            tokens.append((tokens[left] or b"") + (tokens[right] or b""))
    return Learned(tokens, made)


def _symbols(words: Words, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return all words in a row, each with its head."""
    lengths = np.diff(words.offsets)
    heads = words.offsets[:-1] + HEAD * np.arange(len(lengths))
    found = np.empty(len(words.data) + HEAD * len(lengths), np.int32)
    body = np.ones(len(found), bool)
    for place in range(HEAD):
        body[heads + place] = False
    found[heads], found[heads + 1] = lengths, words.counts & 0x7FFFFFFF
    found[heads + 2] = words.counts >> 31
    found[body] = numbers[words.data]
    return found


def _numbers(initial: Sequence[bytes | None]) -> NDArray[np.int32]:
    """Return the id of every byte [256]."""
    found = np.full(256, -1, np.int32)
    for number in reversed(range(len(initial))):
        token = initial[number]
        if token is not None and len(token) == 1:
            found[token[0]] = number
    return found
