"""Scores of documents from their bytes: one row of whole numbers each, and C4's text.

`score` looks at every document once. Thresholds are not its business: they are compared with its
columns afterwards, and may change without another look (`stages.refine.rulesets`). What is part of
the counting is `Options`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types, uint32, uint64
from numpy.typing import NDArray

from stages.lm.kernels.characters import encode
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, kernel, reads, spread
from stages.lm.kernels.text import Texts, concatenated
from stages.lm.scores import columns as c
from stages.lm.scores import exceptions, marks
from stages.lm.scores.exceptions import EXCEPTIONS
from stages.lm.scores.lines import (
    ALL_PHRASES,
    AUTOMATIC,
    C4_PHRASES,
    HAS_CURLY,
    HAS_LOREM,
    HEAD_PHRASES,
    KEPT,
    PHRASE_CODES,
    SETUP,
    SYNTAX,
    TEST,
    TESTING_HEAD,
    c4_line,
    is_bullet,
    is_ellipsis,
    may_begin,
    next_break,
    phrase_at,
)
from stages.lm.scores.marks import (
    ALNUM,
    LETTER,
    MARKS,
    SPACE,
    STOP,
    SYMBOL,
    TRIGGER,
    unfold,
)  # fmt: skip
from stages.lm.scores.repetition import (
    FEED,
    known,
    measure_ngrams,
    repeated_runs,
    room,
    slots,
)  # fmt: skip
from stages.lm.scores.words import ELLIPSIS, hash_span, split

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's: two of these must occur."""
HEAD_LINES = 5
"""Lines at the beginning in which code says that it was generated."""


class Options(NamedTuple):
    """What is counted: changing one of these takes another look at the text."""

    stop_words: tuple[str, ...] = ENGLISH_STOP_WORDS
    """At most 64 words, case counts."""
    short_line: int = 30
    """Characters of a short line, at most (FineWeb)."""
    long_line: int = 200
    """Characters of a long line, at least (mC4's paragraph)."""
    line_words: int = 3
    """Words that C4 asks of a line; -1 asks none."""
    word_characters: int = 1000
    """Characters of a word that C4 still takes in a line."""
    line_ends: bool = True
    """Whether C4 asks of a line that it ends in punctuation; FineWeb's C4 does not."""


DEFAULTS = Options()
NGRAMS, CODE, LINES, WORDS = 1, 2, 4, 8
"""Groups of columns that cost more than the rest: repeated n-grams and paragraphs; what code speaks
of, and the draw; lines as `str.splitlines` has them, and C4; kinds of words."""
EVERYTHING = NGRAMS | CODE | LINES | WORDS


class Scores(NamedTuple):
    """`table` int64 [D, len(COLUMNS)]; `cleaned`: the texts with the lines that C4 keeps."""

    table: NDArray[np.int64]
    cleaned: Texts


@called
def whole_text(codes: Any, kinds: Any, size: Any, row: Any) -> None:
    """Count what needs no words and no lines."""
    alnum = feeds = hashes = ellipses = assignments = dots = 0
    for at in range(size):
        code = codes[at]
        alnum += kinds[at] & uint32(ALNUM) != 0
        feeds += code == FEED
        hashes += code == 0x23
        assignments += code == 0x3D
        ellipses += code == ELLIPSIS
        dots = dots + 1 if code == 0x2E else 0
        if dots == 3:
            ellipses += 1
            dots = 0
    row[c.CHARACTERS], row[c.ALPHANUMERIC], row[c.NEWLINES] = size, alnum, feeds
    row[c.HASHES], row[c.ELLIPSES], row[c.ASSIGNMENTS] = hashes, ellipses, assignments


@called
def words_of(
    codes: Any, kinds: Any, words: Any, count: Any, stops: Any, hashes: Any, lengths: Any, row: Any
) -> None:
    """Count the words, and write their hashes and lengths."""
    stopped = uint64(0)
    solid = solid_size = lettered = 0
    for number in range(count):
        start, end = words[number, 0], words[number, 1]
        every, some = uint32(SYMBOL), uint32(0)
        hashed = uint64(end - start)
        for at in range(start, end):
            hashed = (hashed ^ uint64(codes[at])) * uint64(exceptions.FACTOR)
            hashed ^= hashed >> uint64(29)
            every &= kinds[at]
            some |= kinds[at]
        hashes[number], lengths[number] = hashed, end - start
        if not every & uint32(SYMBOL):
            solid += 1
            solid_size += end - start
        lettered += some & uint32(LETTER) != 0
        for place in range(len(stops)):
            if stops[place] == hashed:
                stopped |= uint64(1) << uint64(place)
    found = 0
    while stopped:
        stopped &= stopped - uint64(1)
        found += 1
    row[c.SOLID_WORDS], row[c.SOLID_CHARACTERS] = solid, solid_size
    row[c.LETTER_WORDS], row[c.STOP_WORDS] = lettered, found


@called
def feed_lines(
    codes: Any, kinds: Any, size: Any, options: Any, seen: Any, turn: Any, row: Any
) -> None:
    """Count what stands between line feeds: rows, and lines that are not blank (FineWeb's)."""
    last = slots(row[c.NEWLINES] + 2, seen)
    start = 0
    while start < size:
        end = start
        blank = True
        hashed = uint64(0)
        while end < size and codes[end] != FEED:
            hashed = (hashed ^ uint64(codes[end])) * uint64(exceptions.FACTOR)
            hashed ^= hashed >> uint64(29)
            blank = blank and kinds[end] & uint32(SPACE) != 0
            end += 1
        row[c.LONG_LINES] += end - start >= options[4]
        if end > start:
            repeated = end - start if known(seen, last, turn, hashed) else 0
            row[c.ROWS] += 1
            row[c.REPEATED_ROWS] += repeated > 0
            row[c.REPEATED_ROW_CHARACTERS] += repeated
            if not blank:
                row[c.FILLED_LINES] += 1
                row[c.ENDED_LINES] += kinds[end - 1] & uint32(STOP) != 0
                row[c.SHORT_LINES] += end - start <= options[3]
                row[c.REPEATED_LINE_CHARACTERS] += repeated
        start = end + 1
    # Runs of line feeds part rows, so only the first and the last row can be empty.
    begins = size > 0 and codes[0] == FEED
    closes = size > 0 and codes[size - 1] == FEED
    row[c.ROWS] += (size == 0) + begins + closes
    row[c.REPEATED_ROWS] += begins and closes


@called
def head_end(codes: Any, kinds: Any, size: Any) -> int:
    """Return where the first five lines end."""
    at = 0
    for _ in range(HEAD_LINES):
        if at < size:
            _, at = next_break(codes, kinds, at, size)
    return at


@called
def code_phrases(codes: Any, kinds: Any, size: Any, row: Any) -> None:
    """Count what code speaks of: that it was generated, tests, configuration, its own syntax."""
    head = head_end(codes, kinds, size)
    behind_test = 0
    for at in range(size):
        if not kinds[at] & uint32(TRIGGER):
            continue
        may = may_begin(codes, at, size)
        if may & 2 and at < head:
            found = phrase_at(codes, at, head, C4_PHRASES, HEAD_PHRASES)
            if found >= 0:
                about = PHRASE_CODES[found, 0]
                row[c.AUTOMATIC] |= about == AUTOMATIC
                row[c.TESTING_HEAD] |= about == TESTING_HEAD
        found = phrase_at(codes, at, size, HEAD_PHRASES, ALL_PHRASES) if may & 4 else -1
        if found >= 0:
            about = PHRASE_CODES[found, 0]
            row[c.CONFIG_WORDS] += about == SETUP
            row[c.SYNTAX_WORDS] += about == SYNTAX
            if about == TEST and at >= behind_test:
                row[c.TEST_WORDS] += 1
                behind_test = at + 4


@called
def put(line: Any, first: Any, stop: Any, out: Any, start: Any, to: Any) -> int:
    """Append a kept line to a text that begins at `start`; return where it ends."""
    if to > start:
        out[to] = FEED
        to += 1
    for at in range(first, stop):
        to += encode(line[at], out, to)
    return to


@called
def broken_lines(
    codes: Any, kinds: Any, size: Any, line: Any, line_kinds: Any, room: Any, ends: Any,
    special: Any, options: Any, row: Any, words: Any, out: Any, to: Any,
) -> int:  # fmt: skip
    """Count lines as `str.splitlines` has them and what C4 makes of them; write those it keeps."""
    begun, start, word = to, 0, 0
    while start < size:
        end, following = next_break(codes, kinds, start, size)
        row[c.LINES] += 1
        row[c.LINE_CHARACTERS] += end - start
        row[c.LONGEST_LINE] = max(row[c.LONGEST_LINE], end - start)
        while start < end and kinds[start] & uint32(SPACE):
            start += 1
        while end > start and kinds[end - 1] & uint32(SPACE):
            end -= 1
        if end > start:
            row[c.BULLET_LINES] += is_bullet(codes[start])
            row[c.ELLIPSIS_LINES] += is_ellipsis(codes, start, end)
        first, start = start, following
        if row[c.C4_LOREM] or row[c.C4_CURLY]:
            continue
        while word < row[c.WORDS] and words[word, 0] < first:
            word += 1
        fate, found, length = c4_line(
            codes, kinds, first, end, line, line_kinds, room, ends, special, options,
            words, word, row[c.WORDS],
        )  # fmt: skip
        row[c.C4_LOREM] = fate == HAS_LOREM
        row[c.C4_CURLY] = fate == HAS_CURLY
        if fate < HAS_LOREM:
            row[c.C4_KEPT + fate] += 1
        if fate == KEPT:
            row[c.C4_SENTENCES] += found
            if length < 0:
                to = put(codes, first, end, out, begun, to)
            else:
                to = put(line, 0, length, out, begun, to)
    return to


@called
def paragraphs(
    codes: Any, kinds: Any, size: Any, seen: Any, turn: Any, found: Any, row: Any
) -> None:
    """Count paragraphs and which of them are again."""
    start, end = 0, size
    while start < end and kinds[start] & uint32(SPACE):
        start += 1
    while end > start and kinds[end - 1] & uint32(SPACE):
        end -= 1
    repeated_runs(codes, start, end, 2, seen, turn, found)
    row[c.PARAGRAPHS], row[c.REPEATED_PARAGRAPHS] = found[0], found[1]
    row[c.REPEATED_PARAGRAPH_CHARACTERS] = found[2]


@kernel(
    types.int64, BYTES, OFFSETS, reads(types.uint64), reads(types.int64), MARKS, EXCEPTIONS,
    fills(types.int64, 2), fills(types.uint8), fills(types.int64),
)  # fmt: skip
def _score(
    data: Any, offsets: Any, stops: Any, options: Any, table: Any, special: Any, scores: Any,
    out: Any, bounds: Any,
) -> int:  # fmt: skip
    most = 0
    for number in range(len(offsets) - 1):
        most = max(most, offsets[number + 1] - offsets[number])
    codes, kinds = np.empty(most + 1, np.uint32), np.empty(most + 1, np.uint32)
    line, line_kinds = np.empty(most + 1, np.uint32), np.empty(most + 1, np.uint32)
    words, others = np.empty((most + 1, 2), np.int32), np.empty((most + 1, 2), np.int32)
    ends, lengths = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    hashes, grams = np.empty(most + 1, np.uint64), np.empty(most + 1, np.uint64)
    places, spots = np.empty(most + 1, np.int32), np.empty(most + 1, np.int32)
    seen, found = room(most + 2), np.zeros(3, np.int64)
    turn = to = 0
    bounds[0] = 0
    for number in range(len(offsets) - 1):
        row = scores[number]
        row[:] = 0
        size = unfold(data, offsets[number], offsets[number + 1], codes, kinds, table)
        whole_text(codes, kinds, size, row)
        count = split(codes, kinds, 0, size, words, 0, ends, special)
        row[c.WORDS] = count
        if options[5] & (NGRAMS | WORDS):
            words_of(codes, kinds, words, count, stops, hashes, lengths, row)
        feed_lines(codes, kinds, size, options, seen, turn + 1, row)
        turn += 2
        if options[5] & NGRAMS:
            paragraphs(codes, kinds, size, seen, turn, found, row)
            measure_ngrams(
                hashes, lengths, count, grams, places, spots, seen, row, c.TOP_2, c.REPEATED_5
            )
        if options[5] & CODE:
            code_phrases(codes, kinds, size, row)
            row[c.DRAW] = np.int64(hash_span(codes, 0, size) >> uint64(32))
        if options[5] & LINES:
            to = broken_lines(
                codes, kinds, size, line, line_kinds, others, ends, special, options, row, words,
                out, to,
            )  # fmt: skip
        bounds[number + 1] = to
    return to


def score(
    texts: Texts, options: Options = DEFAULTS, threads: int = 1, groups: int = EVERYTHING
) -> Scores:
    """Return the scores of documents; the same for every number of threads.

    Columns of groups that are not asked for are 0, and without `LINES` all cleaned texts are empty.
    """
    stops = np.array([exceptions.hash_of(word) for word in options.stop_words], np.uint64)
    numbers = np.array(
        [
            options.line_words,
            options.word_characters,
            options.line_ends,
            options.short_line,
            options.long_line,
            groups,
        ],
        np.int64,
    )

    def work(first: int, stop: int) -> Scores:
        part = texts.part(first, stop)
        found = np.empty((part.documents, len(c.COLUMNS)), np.int64)
        out = np.empty(3 * len(part.data) + 4, np.uint8)
        bounds = np.empty(part.documents + 1, np.int64)
        end = _score(
            part.data, part.offsets, stops, numbers, marks.table(), exceptions.table(), found, out,
            bounds,
        )  # fmt: skip
        return Scores(found, Texts(out[:end], bounds))

    made = spread(texts.offsets, threads, work)
    return Scores(
        np.concatenate([one.table for one in made]), concatenated([one.cleaned for one in made])
    )
