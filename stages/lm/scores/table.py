"""Scores of documents from their bytes: one row of whole numbers each, and C4's text.

`score` looks at every document once. Thresholds are not its business: they are compared with its
columns afterwards, and may change without another look (`stages.refine.rulesets`). What is part of
the counting is `Options`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint32, uint64
from numpy.typing import NDArray

from stages.lm.kernels.characters import decode
from stages.lm.kernels.compiled import BYTES, OFFSETS, fills, kernel, plain, reads, spread
from stages.lm.kernels.text import Texts, concatenated, of_strings, to_strings
from stages.lm.kernels.words import hash_word, reference_hash_word
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
    LONG_WORD,
    PHRASE_CODES,
    SETUP,
    SYNTAX,
    TEST,
    TESTING_HEAD,
    behind_break,
    c4_line,
    is_bullet,
    is_ellipsis,
    longest_of,
    may_begin,
    phrase_at,
    sentences,
)
from stages.lm.scores.maps import (
    BREAKS,
    DIGITS,
    EQUALS,
    FEEDS,
    HASHES,
    LATER,
    LETTERS,
    SPACES,
    bits_in,
    edges_of,
    length_of,
    mark_others,
    open_page,
    pages,
    places_of,
    three_dots,
)
from stages.lm.scores.marks import MARKS, SPACE, STOP
from stages.lm.scores.pieces import chamber, cut, measure_words, pieces
from stages.lm.scores.repetition import FEED, known, measure_ngrams, repeated_runs, room, slots

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


@plain
def whole_text(page: Any, size: int, alnum: int, ellipses: int, row: Any) -> bool:
    """Count what needs no words and no lines; returns whether the text is more than ASCII."""
    maps = page.maps
    later = bits_in(maps, LATER, 0, size)
    row[c.CHARACTERS] = size - later
    row[c.NEWLINES] = bits_in(maps, FEEDS, 0, size)
    row[c.HASHES] = bits_in(maps, HASHES, 0, size)
    row[c.ASSIGNMENTS] = bits_in(maps, EQUALS, 0, size)
    row[c.ALPHANUMERIC], row[c.ELLIPSES] = alnum, ellipses + three_dots(size, page)
    return later > 0


@plain
def last_mark(page: Any, start: int, end: int, table: Any) -> Any:
    """Return the marks of the last character of [start, end)."""
    held, at = page.held, end - 1
    while at > start and held[at] & uint8(0xC0) == 0x80:
        at -= 1
    return marks.mark(decode(held, at, end)[0], table)


@plain
def feed_lines(
    page: Any, size: int, feeds: int, wide: bool, options: Any, table: Any, seen: Any, turn: int,
    row: Any,
) -> None:  # fmt: skip
    """Count what stands between line feeds: rows, and lines that are not blank (FineWeb's)."""
    held, maps, places = page.held, page.maps, page.feeds
    last = slots(feeds + 2, seen)
    start = one = 0
    while start < size:
        end = int(places[one]) if one < feeds else size
        one += 1
        length = length_of(maps, wide, start, end)
        row[c.LONG_LINES] += length >= options[4]
        if end > start:
            key = hash_word(held.ctypes.data + start, end - start)
            repeated = length if known(seen, last, turn, key) else 0
            row[c.ROWS] += 1
            row[c.REPEATED_ROWS] += repeated > 0
            row[c.REPEATED_ROW_CHARACTERS] += repeated
            found = last_mark(page, start, end, table)
            if not found & uint32(SPACE) or bits_in(maps, SPACES, start, end) < end - start:
                row[c.FILLED_LINES] += 1
                row[c.ENDED_LINES] += found & uint32(STOP) != 0
                row[c.SHORT_LINES] += length <= options[3]
                row[c.REPEATED_LINE_CHARACTERS] += repeated
        start = end + 1
    # Runs of line feeds part rows, so only the first and the last row can be empty.
    begins = size > 0 and held[0] == FEED
    closes = size > 0 and held[size - 1] == FEED
    row[c.ROWS] += (size == 0) + begins + closes
    row[c.REPEATED_ROWS] += begins and closes


@plain
def line_end(page: Any, one: int, breaks: int, size: int) -> Any:
    """Return (where a line ends, where the next begins, its break's number) by its break `one`."""
    held, places = page.held, page.breaks
    if one >= breaks:
        return size, size, one
    end = np.int64(places[one])
    behind = behind_break(held, end)
    if held[end] == 13 and behind < size and held[behind] == FEED:
        return end, behind + 1, one + 2
    return end, behind, one + 1


@plain
def code_phrases(page: Any, size: int, breaks: int, row: Any) -> None:
    """Count what code speaks of: that it was generated, tests, configuration, its own syntax."""
    held = page.held
    head = one = behind_test = 0
    for _ in range(HEAD_LINES):
        if head < size:
            _, head, one = line_end(page, one, breaks, size)
    for at in range(size):
        may = may_begin(held, at, size)
        if may & uint8(2) and at < head:
            found = phrase_at(held, at, head, C4_PHRASES, HEAD_PHRASES)
            if found >= 0:
                about = PHRASE_CODES[found, 0]
                row[c.AUTOMATIC] |= about == AUTOMATIC
                row[c.TESTING_HEAD] |= about == TESTING_HEAD
        found = phrase_at(held, at, size, HEAD_PHRASES, ALL_PHRASES) if may & uint8(4) else -1
        if found >= 0:
            about = PHRASE_CODES[found, 0]
            row[c.CONFIG_WORDS] += about == SETUP
            row[c.SYNTAX_WORDS] += about == SYNTAX
            if about == TEST and at >= behind_test:
                row[c.TEST_WORDS] += 1
                behind_test = at + 4


@plain
def draw_of(page: Any, size: int, characters: int) -> int:
    """Return the document's draw: half of `exceptions.hash_of` its text."""
    held = page.held
    found = uint64(characters)
    at = 0
    while at < size:
        code, width = uint32(held[at]), 1
        if code > 127:
            code, width = decode(held, at, size)
        found = (found ^ uint64(code)) * uint64(exceptions.FACTOR)
        found ^= found >> uint64(29)
        at += width
    return int(found >> uint64(32))


@plain
def put(held: Any, first: int, stop: int, out: Any, start: int, to: int) -> int:
    """Append a kept line to a text that begins at `start`; return where it ends."""
    if to > start:
        out[to] = FEED
        to += 1
    for at in range(stop - first):
        out[to + at] = held[first + at]
    return to + stop - first


@plain
def broken_lines(
    page: Any, size: int, breaks: int, chunks: int, wide: bool, found: Any, flags: Any, line: Any,
    room: Any, table: Any, special: Any, options: Any, row: Any, out: Any, to: int,
) -> int:  # fmt: skip
    """Count lines as `str.splitlines` has them and what C4 makes of them; write those it keeps."""
    held, edges, starts = page.held, page.edges, found.starts
    begun, start, word, one, chunk = to, 0, 0, 0, 0
    longest = longest_of(page, wide, 0, chunks) > options[1]
    while start < size:
        end, following, one = line_end(page, one, breaks, size)
        length = length_of(page.maps, wide, start, end)
        row[c.LINES] += 1
        row[c.LINE_CHARACTERS] += length
        row[c.LONGEST_LINE] = max(row[c.LONGEST_LINE], length)
        before = chunk
        while chunk < chunks and edges[2 * chunk] < end:
            chunk += 1
        first, start = end, following
        if chunk > before:
            first, end = np.int64(edges[2 * before]), np.int64(edges[2 * chunk - 1])
            row[c.BULLET_LINES] += is_bullet(held, first, end)
            row[c.ELLIPSIS_LINES] += is_ellipsis(held, first, end)
        if row[c.C4_LOREM] or row[c.C4_CURLY]:
            continue
        if longest and longest_of(page, wide, before, chunk) > options[1]:
            row[c.C4_KEPT + LONG_WORD] += 1
            continue
        fate, told, left = c4_line(
            page, first, end, chunk - before, line, flags, room, table, special, options
        )
        row[c.C4_LOREM] = fate == HAS_LOREM
        row[c.C4_CURLY] = fate == HAS_CURLY
        if fate < HAS_LOREM:
            row[c.C4_KEPT + fate] += 1
        if fate != KEPT:
            continue
        if left >= 0:
            row[c.C4_SENTENCES] += told
            to = put(line, 0, left, out, begun, to)
            continue
        while word < row[c.WORDS] and starts[word] < first:
            word += 1
        before = word
        while word < row[c.WORDS] and starts[word] < end:
            word += 1
        row[c.C4_SENTENCES] += sentences(found.flags, before, word)
        to = put(held, first, end, out, begun, to)
    return to


@plain
def paragraphs(
    page: Any, wide: bool, feeds: int, chunks: int, seen: Any, turn: int, found: Any, row: Any
) -> None:
    """Count paragraphs and which of them are again."""
    start = end = np.int64(0)
    if chunks:
        start, end = np.int64(page.edges[0]), np.int64(page.edges[2 * chunks - 1])
    repeated_runs(page, wide, feeds, start, end, 2, seen, turn, found)
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
    """Fill `scores`, `out` and `bounds`; returns the bytes of `out`, -1 if a text is malformed."""
    most = 0
    for number in range(len(offsets) - 1):
        most = max(most, offsets[number + 1] - offsets[number])
    page, found, decoding = pages(most), pieces(most), chamber(most)
    line, flags = np.empty(most + 1, np.uint8), np.empty(most + 1, np.uint8)
    places, spots = np.empty(most + 1, np.int32), np.empty(most + 1, np.int32)
    grams = np.empty(most + 1, np.uint64)
    seen, told = room(most + 2), np.zeros(3, np.int64)
    hashing = options[5] & (NGRAMS | WORDS) != 0
    turn = to = 0
    bounds[0] = 0
    for number in range(len(offsets) - 1):
        row = scores[number]
        row[:] = 0
        size = offsets[number + 1] - offsets[number]
        open_page(data, offsets[number], size, page)
        alnum = bits_in(page.maps, LETTERS, 0, size) + bits_in(page.maps, DIGITS, 0, size)
        others, ellipses = mark_others(size, page, table)
        if others < 0:
            return -1
        wide = whole_text(page, size, alnum + others, ellipses, row)
        chunks = edges_of(size, page)
        feeds = places_of(size, page, FEEDS, page.feeds)
        count = cut(page, chunks, wide, found, decoding, table, special, hashing)
        row[c.WORDS] = count
        if hashing:
            measure_words(found, count, stops, options[6], row)
        feed_lines(page, size, feeds, wide, options, table, seen, turn + 1, row)
        turn += 2
        if options[5] & NGRAMS:
            paragraphs(page, wide, feeds, chunks, seen, turn, told, row)
            measure_ngrams(
                found.hashes, found.lengths, count, grams, places, spots, seen, row, c.TOP_2,
                c.REPEATED_5,
            )  # fmt: skip
        if options[5] & (CODE | LINES):
            breaks = places_of(size, page, BREAKS, page.breaks)
        if options[5] & CODE:
            code_phrases(page, size, breaks, row)
            row[c.DRAW] = draw_of(page, size, row[c.CHARACTERS])
        if options[5] & LINES:
            to = broken_lines(
                page, size, breaks, chunks, wide, found, flags, line, decoding, table, special,
                options, row, out, to,
            )  # fmt: skip
        bounds[number + 1] = to
    return to


def score(
    texts: Texts, options: Options = DEFAULTS, threads: int = 1, groups: int = EVERYTHING
) -> Scores:
    """Return the scores of documents; the same for every number of threads.

    Columns of groups that are not asked for are 0, and without `LINES` all cleaned texts are empty.
    """
    named = [word.encode("utf-8", "surrogatepass") for word in sorted(set(options.stop_words))]
    named = [word for word in named if word]
    stops = np.array([reference_hash_word(word) for word in named], np.uint64)
    numbers = np.array(
        [
            options.line_words,
            options.word_characters,
            options.line_ends,
            options.short_line,
            options.long_line,
            groups,
            max(map(len, options.stop_words), default=0),
        ],
        np.int64,
    )

    def work(first: int, stop: int) -> Scores:
        part = texts.part(first, stop)
        for _ in range(2):
            found = np.empty((part.documents, len(c.COLUMNS)), np.int64)
            out = np.empty(len(part.data) + part.documents + 1, np.uint8)
            bounds = np.empty(part.documents + 1, np.int64)
            end = _score(
                part.data, part.offsets, stops, numbers, marks.table(), exceptions.table(), found,
                out, bounds,
            )  # fmt: skip
            if end >= 0:
                break
            part = of_strings(to_strings(part))  # what is malformed stands as U+FFFD
        return Scores(found, Texts(out[:end], bounds))

    made = spread(texts.offsets, threads, work)
    if len(made) == 1:
        return made[0]
    return Scores(
        np.concatenate([one.table for one in made]), concatenated([one.cleaned for one in made])
    )
