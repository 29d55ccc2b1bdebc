"""Packing documents into rows of a fixed length, and the order in which rows are trained on.

Rows are filled by best-fit decreasing (Johnson 1974; used for language models by Ding et al. 2024,
"Fewer Truncations Improve Language Modeling", arXiv 2404.10830): pieces in falling order of length,
each into the fullest row that still has room. A document longer than a row is cut, and no token is
dropped. Lengths are small integers, so rows with equal room are handled as one batch, which gives
the same rows as one piece at a time but costs numpy calls per distinct length only.

Where too few lengths fit together (documents of just over half a row pair with nothing), whole
pieces waste what no order of them can save. `fill` then takes the emptiest rows apart and lays
their pieces, cut, into the largest gaps of the others, until the padding is what was asked for.

The order of rows is a keyed permutation computed point by point (a Feistel network with cycle
walking, Black and Rogaway 2002), so step n of epoch e is known without replaying or storing
anything, and is the same with every numpy version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

LEAST_PART = 16
"""Tokens of a part that filling a gap cuts off a piece, at least, where rows are longer by far."""
ROUNDS = 6
"""Feistel rounds; four suffice for a strong permutation (Luby and Rackoff), two are margin."""


@dataclass(frozen=True)
class Packing:
    """Rows of pieces of a token stream.

    Row `r` holds the pieces `row_offsets[r] : row_offsets[r + 1]`; piece `p` is
    `stream[starts[p] : starts[p] + lengths[p]]`. All arrays are int64; `row_offsets` is [R + 1].
    """

    starts: Ints
    lengths: Ints
    row_offsets: Ints
    sequence_length: int

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.row_offsets) - 1

    @property
    def tokens(self) -> int:
        """Return the number of tokens that the rows hold."""
        return int(self.lengths.sum())

    @property
    def padding(self) -> int:
        """Return the number of row positions that hold no token."""
        return self.rows * self.sequence_length - self.tokens

    @property
    def waste(self) -> float:
        """Return padding as a share of all row positions, 0 where there are no rows."""
        return self.padding / (self.rows * self.sequence_length) if self.rows else 0.0


def cut(document_offsets: Ints, sequence_length: int) -> tuple[Ints, Ints]:
    """Cut documents into pieces of at most `sequence_length` tokens; returns starts and lengths.

    A document of `n` tokens gives `n // sequence_length` full pieces and one with the rest.
    """
    sizes = np.diff(document_offsets)
    counts = -(-sizes // sequence_length)
    owners = np.repeat(np.arange(len(sizes), dtype=np.int64), counts)
    within = np.arange(len(owners), dtype=np.int64) - (np.cumsum(counts) - counts)[owners]
    starts = document_offsets[owners] + within * sequence_length
    lengths = np.minimum(sequence_length, document_offsets[owners + 1] - starts)
    return starts.astype(np.int64), lengths.astype(np.int64)


def pack(document_offsets: Ints, sequence_length: int, most_waste: float | None = None) -> Packing:
    """Pack documents, given by their offsets [N + 1] in a token stream, into rows.

    With `most_waste` pieces are cut further where otherwise a larger share would be padding. What
    no cut can avoid remains: fewer rows than tokens / row length, rounded up, there cannot be.
    """
    starts, lengths = cut(np.asarray(document_offsets, dtype=np.int64), sequence_length)
    row_of = best_fit_decreasing(lengths, sequence_length)
    if most_waste is not None:
        least = fewest_rows(int(lengths.sum()), sequence_length)
        allowed = int(lengths.sum() / (sequence_length * (1 - most_waste)))
        starts, lengths, row_of = fill(
            starts, lengths, row_of, sequence_length, max(least, allowed)
        )
    order = np.lexsort((starts, row_of))
    rows = int(row_of.max()) + 1 if len(row_of) else 0
    row_offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(row_of, minlength=rows), out=row_offsets[1:])
    return Packing(starts[order], lengths[order], row_offsets, sequence_length)


def fewest_rows(tokens: int, sequence_length: int) -> int:
    """Return how many rows so many tokens need at least, however they are cut."""
    return -(-tokens // sequence_length)


def fill(
    starts: Ints, lengths: Ints, row_of: Ints, capacity: int, rows: int
) -> tuple[Ints, Ints, Ints]:
    """Bring pieces in rows down to `rows` rows by cutting; returns starts, lengths, rows.

    The rows of least tokens are taken apart and their pieces laid into the others' gaps, largest
    first: that moves the fewest tokens and cuts them least often. A part is `LEAST_PART` tokens or
    more (an eighth of a short row) unless there is no other room.
    """
    used = np.bincount(row_of, weights=lengths).astype(np.int64)
    if len(used) <= rows:
        return starts, lengths, row_of
    by_use = np.argsort(used, kind="stable")
    numbers = np.full(len(used), -1, dtype=np.int64)
    kept = np.sort(by_use[len(used) - rows :])
    numbers[kept] = np.arange(rows)
    gaps = capacity - used[kept]
    widest = np.argsort(-gaps, kind="stable")
    moved = np.flatnonzero(numbers[row_of] < 0)
    moved = moved[np.lexsort((starts[moved], -lengths[moved]))]
    parts = _parts(
        starts[moved].tolist(), lengths[moved].tolist(), _pairs(gaps[widest], widest),
        min(LEAST_PART, capacity // 8),
    )  # fmt: skip
    stay = numbers[row_of] >= 0
    made = np.array(parts, dtype=np.int64).reshape(-1, 3)
    return (
        np.concatenate([starts[stay], made[:, 0]]),
        np.concatenate([lengths[stay], made[:, 1]]),
        np.concatenate([numbers[row_of[stay]], made[:, 2]]),
    )


def _pairs(gaps: Ints, rows: Ints) -> Iterator[tuple[int, int]]:
    """Yield gaps and their rows as Python numbers; few are at work of many that there are."""
    for first in range(0, len(gaps), 1 << 16):
        part = slice(first, first + (1 << 16))
        yield from zip(gaps[part].tolist(), rows[part].tolist(), strict=True)


def _parts(
    starts: list[int], lengths: list[int], places: Iterator[tuple[int, int]], least: int
) -> list[tuple[int, int, int]]:
    """Lay pieces one after another into places (gap, row); returns start, length, row of parts."""
    parts: list[tuple[int, int, int]] = []
    spare: list[tuple[int, int]] = []
    gap, row = next(places)
    for start, length in zip(starts, lengths, strict=True):
        while length:
            while gap < max(1, min(least, length)):
                if gap:
                    spare.append((gap, row))
                gap, row = next(places, (0, -1))
                if row < 0:  # no room but what is narrower: that is taken as it comes
                    places, spare, least = iter(spare), [], 1
            size = min(length, gap)
            if 0 < length - size < least <= size - (least - length + size):
                size -= least - (length - size)
            parts.append((start, size, row))
            start, length, gap = start + size, length - size, gap - size
    return parts


def best_fit_decreasing(lengths: Ints, capacity: int) -> Ints:
    """Assign each piece (length 1 to `capacity`) to a row; returns row numbers [P].

    Equal lengths are taken in their given order. Of rows with equal room the one that came to that
    room last is filled first, so the result is a function of `lengths` and `capacity` alone.
    """
    row_of = np.full(len(lengths), -1, dtype=np.int64)
    room: list[list[Ints]] = [[] for _ in range(capacity + 1)]
    occupied = np.zeros(capacity + 1, dtype=bool)
    order = np.argsort(-lengths, kind="stable")
    bounds = np.flatnonzero(np.diff(lengths[order], prepend=-1, append=-1))
    rows = 0
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        items = order[first:last]
        length = int(lengths[items[0]])
        while len(items):
            left = _tightest(occupied, length)
            per_row = (left if left >= 0 else capacity) // length
            wanted = -(-len(items) // per_row)
            if left >= 0:
                chosen = _take(room[left], wanted)
                occupied[left] = bool(room[left])
            else:
                left = capacity
                chosen = np.arange(rows, rows + wanted, dtype=np.int64)
                rows += wanted
            placed = min(len(items), len(chosen) * per_row)
            row_of[items[:placed]] = np.repeat(chosen, per_row)[:placed]
            items = items[placed:]
            full, rest = divmod(placed, per_row)
            _put(room, occupied, left - per_row * length, chosen[:full])
            _put(room, occupied, left - rest * length, chosen[full:])
    return row_of


def _tightest(occupied: NDArray[np.bool_], length: int) -> int:
    """Return the least room of at least `length` that some row has, or -1."""
    offset = int(np.argmax(occupied[length:]))
    return length + offset if occupied[length + offset] else -1


def _take(blocks: list[Ints], count: int) -> Ints:
    """Take up to `count` row numbers off the end of a stack of blocks."""
    taken: list[Ints] = []
    while blocks and count:
        block = blocks.pop()
        if len(block) > count:
            blocks.append(block[count:])
            block = block[:count]
        taken.append(block)
        count -= len(block)
    return np.concatenate(taken)


def _put(room: list[list[Ints]], occupied: NDArray[np.bool_], left: int, rows: Ints) -> None:
    """Remember that `rows` have `left` positions of room."""
    if len(rows) and left > 0:
        room[left].append(rows)
        occupied[left] = True


def shuffled(positions: Ints, size: int, seed: int, epoch: Ints | int) -> Ints:
    """Return where `positions` (0 to `size` - 1) land in the permutation of (`seed`, `epoch`).

    Each position is computed alone: no state, no stored permutation. `epoch` may differ per
    position.
    """
    positions = np.asarray(positions, dtype=np.int64)
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    seeded = np.full(positions.shape, seed % (1 << 64), dtype=np.uint64)
    epochs = np.broadcast_to(np.asarray(epoch, dtype=np.uint64), positions.shape)
    keys = _mix(_mix(seeded) ^ epochs)
    values = _feistel(positions.astype(np.uint64), half, keys)
    while (outside := np.flatnonzero(values >= np.uint64(size))).size:
        values[outside] = _feistel(values[outside], half, keys[outside])
    return values.astype(np.int64)


def _feistel(values: Words, half: np.uint64, keys: Words) -> Words:
    """Permute the numbers below 4 ** `half` by a balanced Feistel network."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for number in range(ROUNDS):
        mixed = _mix(_mix(keys + np.uint64(number)) ^ right)
        left, right = right, left ^ (mixed & mask)
    return (left << half) | right


def _mix(values: Words) -> Words:
    """Mix 64 bits (splitmix64, Steele et al. 2014); arithmetic is modulo 2 ** 64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
