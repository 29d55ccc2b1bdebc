"""Packed rows out of token streams, laid out for attention within pieces: one pass, no padding.

The layout is that of `stages.lm.models.lay_out`: pieces end to end, longest first, equal lengths in
the order of the rows. A row is found by its number over up to four sources (corpora that are read
together), whose rows are numbered one source after another. Beside tokens and positions come, as
far as there is room for them, where each token stood before it was laid out (what masks are drawn
by), and the places that a next token follows with those tokens (what a causal model is asked).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels.compiled import fills, kernel, leaf, reads
from stages.lm.kernels.loads import prefetch_line

Ints = NDArray[np.int64]
SOURCES = 4
AHEAD = 4
"""Rows whose tokens are asked for while the ones before them are written."""
LINE = 32
"""Words of 16 bits that memory moves at once."""
STREAMS = types.UniTuple(reads(types.uint16), SOURCES)
TABLES = types.UniTuple(reads(types.int64), SOURCES)


@leaf
def _source(firsts: Any, row: int) -> int:
    """Return the source of a row, by the number of each one's first row."""
    source = 0
    while row >= firsts[source + 1]:
        source += 1
    return source


@leaf
def _near(pieces: Any, places: Any, firsts: Any, rows: Any) -> bool:
    """Ask for the tables of all rows; False if one of them is not there.

    Rows lie anywhere, and each table says where to look in the next: asked for one row after
    another they would cost a wait each.
    """
    for number in range(len(rows)):
        if rows[number] < 0 or rows[number] >= firsts[len(firsts) - 1]:
            return False
        source = _source(firsts, rows[number])
        prefetch_line(places[source], rows[number] - firsts[source])
    for number in range(len(rows)):
        source = _source(firsts, rows[number])
        prefetch_line(pieces[source], 2 * places[source][rows[number] - firsts[source]])
    return True


@leaf
def _fetch(streams: Any, wide: int, pieces: Any, places: Any, firsts: Any, number: int) -> None:
    """Ask for the tokens of a row."""
    source = _source(firsts, number)
    row, table, bounds = number - firsts[source], pieces[source], places[source]
    stream = streams[source]
    for piece in range(bounds[row], bounds[row + 1]):
        start, size = table[2 * piece] << wide, table[2 * piece + 1] << wide
        for at in range(start, start + size, LINE):
            prefetch_line(stream, at)


@leaf
def _grouped(
    pieces: Any, places: Any, firsts: Any, rows: Any, longest: int, counts: Any, groups: Any
) -> int:
    """Write groups, and to `counts` where pieces of each length begin; returns how many groups."""
    for length in range(len(counts)):
        counts[length] = 0
    for number in range(len(rows)):
        source = _source(firsts, rows[number])
        row, table, bounds = rows[number] - firsts[source], pieces[source], places[source]
        for piece in range(bounds[row], bounds[row + 1]):
            counts[longest] += table[2 * piece + 1] // longest
            counts[table[2 * piece + 1] % longest] += 1
    found = to = 0
    for length in range(longest, 0, -1):
        count = counts[length]
        if count:
            groups[found, 0], groups[found, 1], groups[found, 2] = to, count, length
            found += 1
        counts[length] = to
        to += count * length
    return found


@leaf
def _count_up(into: Any, first: int) -> None:
    """Write `first`, `first` + 1, ..."""
    for at in range(len(into)):
        into[at] = first + at


@leaf
def _copy(stream: Any, wide: int, start: int, given: Any) -> None:
    """Copy tokens of 16 or 32 bits from a stream of 16-bit words."""
    size = len(given)
    if wide:
        halves = stream[2 * start : 2 * (start + size)]
        for at in range(size):
            given[at] = types.int32(halves[2 * at]) | (types.int32(halves[2 * at + 1]) << 16)
    else:
        taken = stream[start : start + size]
        for at in range(size):
            given[at] = taken[at]


@leaf
def _follow(groups: Any, found: int, ids: Any, places: Any, answers: Any) -> int:
    """Write which tokens a next one follows, and that one; returns how many."""
    behind = 0
    for group in range(found):
        first, count, length = groups[group, 0], groups[group, 1], groups[group, 2]
        for _ in range(count):
            _count_up(places[behind : behind + length - 1], first)
            told, after = answers[behind : behind + length - 1], ids[first + 1 : first + length]
            for at in range(length - 1):
                told[at] = after[at]
            first, behind = first + length, behind + length - 1
    return behind


@kernel(
    types.void, STREAMS, types.int64, TABLES, TABLES, reads(types.int64), reads(types.int64),
    types.int64, fills(types.int64), fills(types.int64, 2), fills(types.int32), fills(types.int32),
    fills(types.int32), fills(types.int32), fills(types.int64), fills(types.int64),
)  # fmt: skip
def _lay(
    streams: Any, wide: int, pieces: Any, places: Any, firsts: Any, rows: Any, longest: int,
    counts: Any, groups: Any, ids: Any, positions: Any, sources: Any, asked: Any, answers: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Lay rows out; `sizes` become groups (-1: a row is not there), tokens and places."""
    sizes[0] = -1
    if not _near(pieces, places, firsts, rows):
        return
    for number in range(min(AHEAD, len(rows))):
        _fetch(streams, wide, pieces, places, firsts, rows[number])
    found = _grouped(pieces, places, firsts, rows, longest, counts, groups)
    origin = 0
    for number in range(len(rows)):
        if number + AHEAD < len(rows):
            _fetch(streams, wide, pieces, places, firsts, rows[number + AHEAD])
        source = _source(firsts, rows[number])
        row, table, bounds = rows[number] - firsts[source], pieces[source], places[source]
        stream = streams[source]
        for piece in range(bounds[row], bounds[row + 1]):
            start, left = table[2 * piece], table[2 * piece + 1]
            while left > 0:
                size = min(left, longest)
                first = counts[size]
                counts[size] = first + size
                _copy(stream, wide, start, ids[first : first + size])
                _count_up(positions[first : first + size], 0)
                if len(sources):
                    _count_up(sources[first : first + size], origin)
                start, left, origin = start + size, left - size, origin + size
    sizes[0], sizes[1] = found, origin
    sizes[2] = _follow(groups, found, ids, asked, answers) if len(asked) else 0


class Layer:
    """Lays rows of up to four sources out, into arrays that every `buffers`-th call takes again."""

    def __init__(
        self,
        streams: Sequence[NDArray[Any]],
        pieces: Sequence[Ints],
        rows: Sequence[Ints],
        length: int,
        most_rows: int,
        *,
        sources: bool = False,
        following: bool = False,
        buffers: int = 1,
    ) -> None:
        """Take streams [T] of uint16 or uint32, pieces [P, 2], and row offsets [R + 1] of each.

        `length` is the longest piece there can be, `most_rows` the most rows of a call; `sources`
        and `following` say what is wanted besides tokens and positions.
        """
        lacking = SOURCES - len(streams)
        words = [stream.view(np.uint16) for stream in streams]
        self._wide = int(streams[0].dtype.itemsize == 4)
        self._streams = (*words, *[np.zeros(0, np.uint16)] * lacking)
        tables = [table.reshape(-1) for table in pieces]
        self._pieces = (*tables, *[np.zeros(0, np.int64)] * lacking)
        self._places = (*rows, *[np.zeros(1, np.int64)] * lacking)
        counts = [len(one) - 1 for one in rows]
        self.firsts = np.cumsum([0, *counts, *[0] * lacking]).astype(np.int64)
        self.rows = sum(counts)
        self._length, self._most = length, most_rows
        self._counts = np.zeros(length + 1, np.int64)
        self._groups = np.zeros((length, 3), np.int64)
        self._sizes = np.zeros(3, np.int64)
        room = length * most_rows
        wanted = (room, room, room * sources, room * following, room * following)
        kinds = (np.int32, np.int32, np.int32, np.int32, np.int64)
        self._arrays = [
            [np.empty(size, kind) for size, kind in zip(wanted, kinds, strict=True)]
            for _ in range(buffers)
        ]
        self._turn = 0

    def __call__(self, rows: Ints, longest: int = 0) -> Laid:
        """Lay rows out, their pieces cut to at most `longest` tokens (0: as they are)."""
        rows = np.ascontiguousarray(rows, np.int64)
        if len(rows) > self._most:
            raise IndexError(f"{len(rows)} rows at once, where {self._most} are the most")
        arrays = self._arrays[self._turn]
        self._turn = (self._turn + 1) % len(self._arrays)
        longest = min(longest, self._length) if longest else self._length
        _lay(
            self._streams, self._wide, self._pieces, self._places, self.firsts, rows, longest,
            self._counts, self._groups, *arrays, self._sizes,
        )  # fmt: skip
        found, tokens, asked = self._sizes.tolist()
        if found < 0:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.rows}")
        ids, positions, sources, places, answers = arrays
        return Laid(
            ids[:tokens], positions[:tokens], tuple(map(tuple, self._groups[:found].tolist())),
            sources[:tokens], places[:asked], answers[:asked],
        )  # fmt: skip


class Laid(NamedTuple):
    """`ids` and `positions` [N], `groups` of (first token, pieces, length), longest first.

    `sources` [N] is where each token stood, `places` [M] which tokens a next one follows; all these
    are int32, for they only number rows of tables, and half the bytes are half the time. `answers`
    [M] are those next tokens, int64 as a loss wants them. Empty is what was not wanted.
    """

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    groups: tuple[tuple[int, int, int], ...]
    sources: NDArray[np.int32]
    places: NDArray[np.int32]
    answers: Ints
