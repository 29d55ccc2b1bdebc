"""Encoding whole texts by byte-level BPE: every distinct pre-token is merged once and remembered.

Ids of at most 20 bits go straight to where they are wanted, as uint16 or uint32, each document
between a begin and an end token if they are asked for.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np
from numba import int64, types, uint8, uint64
from numpy.typing import NDArray

from stages.lm.kernels import remembered
from stages.lm.kernels.bpe import FEW, RULES, Rules, merged
from stages.lm.kernels.classes import CLASSES, classes
from stages.lm.kernels.compiled import BYTES, OFFSETS, fills, kernel, leaf, plain, spread
from stages.lm.kernels.loads import prefetch
from stages.lm.kernels.pretokens import WINDOW, scratch, split, window
from stages.lm.kernels.remembered import (
    INLINE,
    KEY,
    MEMORY,
    REST,
    WHERE,
    Memory,
    forget,
    known_long,
    learn_short,
    put,
    put_kept,
    put_long,
    put_row,
)  # fmt: skip
from stages.lm.kernels.text import Texts
from stages.lm.kernels.wordcounts import BATCH, SHORT, mixed, short_key


@leaf
def ask(short: Any, held: Any, starts: Any, first: int, behind: int, keys: Any, slots: Any) -> None:
    """Write the keys of some words and the slots where their search begins, and ask for these.

    Indices are unsigned here and below: what may be negative is tested for it at every use.
    """
    last = uint64(len(short) - 1)
    start = int64(starts[uint64(first)])
    for row in range(behind - first):
        place = uint64(row)
        stop = int64(starts[uint64(first) + place + uint64(1)])
        one, two = short_key(held, start, uint64(min(stop - start, SHORT)))
        slot = mixed(one, two) & last
        prefetch(short, slot)
        slots[place] = slot
        keys[place, 0], keys[place, 1] = one, two
        start = stop


@leaf
def search(short: Any, slot: Any, one: Any, two: Any) -> Any:
    """Return the slot of a short word, or the empty one where it belongs."""
    last = uint64(len(short) - 1)
    while short[slot, REST] and (short[slot, KEY] != one or short[slot, REST] != two):
        slot = (slot + uint64(1)) & last
    return slot


@leaf
def _open(out: Any, to: int, firsts: Any, number: int, begin: int, end: int, wide: bool) -> int:
    """End the document before and begin document `number`; returns where the next id goes."""
    if number and end >= 0:
        to = put(out, to, end, wide)
    firsts[number] = to
    return put(out, to, begin, wide) if begin >= 0 else to


@leaf
def _close(out: Any, to: int, firsts: Any, number: int, begin: int, end: int, wide: bool) -> int:
    """Write the empty documents from `number` on and end the last; returns how much there is."""
    while number < len(firsts) - 1:
        to = _open(out, to, firsts, number, begin, end, wide)
        number += 1
    if number and end >= 0:
        to = put(out, to, end, wide)
    firsts[number] = to
    return to


@plain
def count_letters(data: Any, offsets: Any, letters: Any) -> None:
    """Write how many characters each document has: bytes that continue none."""
    for number in range(len(offsets) - 1):
        count = 0
        for place in range(offsets[number], offsets[number + 1]):
            count += (data[place] & uint8(0xC0)) != uint8(0x80)
        letters[number] = count


@kernel(
    types.int64, BYTES, OFFSETS, CLASSES, RULES, MEMORY, fills(types.uint16), fills(types.int64),
    fills(types.int64), types.int64, types.int64, types.boolean,
)  # fmt: skip
def _encode(
    data: Any, offsets: Any, tables: Any, rules: Any, memory: Any, out: Any, firsts: Any,
    letters: Any, begin: int, end: int, wide: bool,
) -> int:  # fmt: skip
    """Write all ids to `out`; `firsts` [D + 1] is where each document begins there, in uint16.

    `letters` [D] is how many characters each has.
    """
    document = at = number = to = 0
    room = scratch(WINDOW)
    keys, slots = np.empty((BATCH, 2), np.uint64), np.empty(BATCH, np.uint64)
    ids, found = np.empty(WINDOW, np.int32), np.empty(FEW, np.uint64)
    # Arrays are named here: taking one out of a tuple costs two atomic additions each time.
    short, kept, long, spelled = memory.short, memory.ids, memory.long, memory.letters
    while document + 1 < len(offsets):
        onward, place, stop = window(data, offsets, document, at)
        if stop - at > len(ids):
            room, ids = scratch(stop - at), np.empty(stop - at, np.int32)
        tokens = split(data, offsets, document, at, stop, tables, room)
        held, starts = room.held, room.starts
        bound = offsets[number] - at
        for first in range(0, tokens, BATCH):
            behind = min(tokens, first + BATCH)
            forget(memory, int64(starts[behind]) - int64(starts[first]))
            ask(short, held, starts, first, behind, keys, slots)
            start = int64(starts[uint64(first)])
            for row in range(behind - first):
                token = uint64(row)
                follows = int64(starts[uint64(first) + token + uint64(1)])
                length = follows - start
                while bound <= start:
                    to = _open(out, to, firsts, number, begin, end, wide)
                    number += 1
                    bound = offsets[number] - at
                if length <= SHORT:
                    one, two = keys[token, 0], keys[token, 1]
                    slot = search(short, slots[token], one, two)
                    if short[slot, REST] == 0:
                        count = merged(held, start, length, rules, ids, found)
                        learn_short(memory, slot, one, two, ids, count)
                    to = put_row(out, to, short, kept, slot, wide)
                else:
                    place_of = known_long(long, spelled, held, start, length)
                    if place_of >= 0:
                        to = put_kept(out, to, kept, long[place_of, WHERE], wide)
                    else:
                        to = put_long(out, to, memory, held, start, length, rules, ids, found, wide)
                start = follows
        document, at = onward, place
    count_letters(data, offsets, letters)
    return _close(out, to, firsts, number, begin, end, wide)


class Encoder:
    """Encodes texts by one set of rules; every thread has its own memory of words."""

    def __init__(self, rules: Rules, isolate: bool = False, threads: int = 1) -> None:
        self._rules, self._threads = rules, threads
        self._classes = classes(isolate)
        self._free: SimpleQueue[Memory] = SimpleQueue()
        for _ in range(threads):
            self._free.put(remembered.memory())

    def encode(
        self, texts: Texts, wide: bool = False, begin: int = -1, end: int = -1
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return all ids, where each document begins [D + 1], and its characters [D].

        Ids are uint16 or (`wide`) uint32. `begin` and `end` stand around every document unless
        they are -1.
        """

        letters = np.zeros(texts.documents, np.int64)

        def work(first: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
            part = texts.part(first, stop)
            room = len(part.data) + 2 * part.documents + INLINE
            out, firsts = np.empty(room << wide, np.uint16), np.zeros(stop - first + 1, np.int64)
            memory = self._free.get()
            try:
                size = _encode(
                    part.data, part.offsets, self._classes, self._rules, memory, out, firsts,
                    letters[first:stop], begin, end, wide,
                )  # fmt: skip
            finally:
                self._free.put(memory)
            return (out[:size].view(np.uint32), firsts >> 1) if wide else (out[:size], firsts)

        found = spread(texts.offsets, self._threads, work)
        if len(found) == 1:
            return *found[0], letters
        shifts = np.cumsum([0, *(len(ids) for ids, _ in found)])
        firsts = [one[:-1] + shift for (_, one), shift in zip(found, shifts, strict=False)]
        ids = np.concatenate([one for one, _ in found])
        return ids, np.concatenate([*firsts, shifts[-1:]]), letters
