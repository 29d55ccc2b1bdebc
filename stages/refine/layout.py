"""The shape of a text on its page: markers of its keepers, line numbers, wrapping, verse numbers.

Each function takes a text with line feeds and returns the text, unchanged (the same object) where
its evidence is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BOOK = r"(?:PROJECT GUTENBERG\b|E-?BOOK\b|E-?TEXT\b|ELECTRONIC (?:BOOK|TEXT)\b)"
# A long title goes on in the next line, up to the closing asterisks.
_REST = r"(?:[^*\n]*(?:\n[^*\n]+)?\*{3})?.*$"
_START = re.compile(
    rf"^.{{0,20}}\*{{3}} ?START OF (?:THE |THIS )?{_BOOK}{_REST}|^\*END ?\*? ?THE SMALL PRINT.*$",
    re.M | re.I,
)
_END = re.compile(
    rf"^.{{0,20}}\*{{3}} ?END OF (?:THE |THIS )?{_BOOK}"
    rf"|^END OF (?:(?:THE |THIS ){_BOOK}|PROJECT GUTENBERG\b)",
    re.M | re.I,
)
_MARKER = re.compile(r"^[ \t]*\*{2,3}[A-Z][A-Z ]{2,40}\*{3}[ \t]*$\n?", re.M)
_PLATE = re.compile(
    r"^[ \t]*\[(?:Illustration|Ill?ustra[ĵj][xh]?o|Transcriber's note)\b"
    r"(?:[^\]\n]|\n(?!\s*\n)){0,300}\][ \t]*$\n?",
    re.M | re.I,
)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,9})(?:[.):][ \t]+|\t+)")
_VERSE = re.compile(r"(?:(?<=\s)|^)(\d{1,3})(?:[ \t]+|[ \t]*\n)(?=[^\W\d_]|[«„“\"'(—-])", re.M)
_BLANKS = re.compile(r"[^\S\n]+")
_ODD_BLANK = re.compile(r"[^\S \n]")
_DIGIT = re.compile(r"\d")
_EDGES = re.compile(r" *\n *")
_GAPS = re.compile(r"\n{3,}")

# What ends without a full stop matches too, without the group: else it is tried at each letter.
_SENTENCE = re.compile(r"[^.!?…\n]+([.!?…]+[»”\"')\]]*[^\S\n]*)?")
MIN_NUMBERED_LINES = 5
MIN_REPEATS = 4
"""From so many times in a row on, a sentence is repeated by accident: refrains stop at three."""
MIN_REPEATED_CHARACTERS = 12
MIN_VERSES = MIN_DIGITS = 30
WRAP_WIDTHS = range(40, 101)
"""Widths that a typist or a program wraps at; wider lines are paragraphs already."""
FEW_LINES = 5
WRAP_SLACK = 8
"""How far a wrapped line may fall short of what would have fitted (long words, hand wrapping)."""


def strip_markers(text: str) -> str:
    """Cut the frame of an electronic book and lines like `***UPLOADED***`, `[Illustration]`."""
    if any(sign in text for sign in ("***", "Gutenberg", "SMALL PRINT")):
        if start := _START.search(text):
            text = text[start.end() :]
        if end := _END.search(text):
            text = text[: end.start()]
        text = _MARKER.sub("", text)
    return _PLATE.sub("", text) if "[" in text else text


def strip_line_numbers(text: str) -> str:
    """Drop `1. `, `2) ` or `3<tab>` in front of lines, where nearly all lines count upwards."""
    lines = text.split("\n")
    found = [_NUMBERED.match(line) for line in lines]
    numbers = [int(match[1]) for match in found if match]
    filled = sum(1 for line in lines if line.strip())
    if len(numbers) < max(MIN_NUMBERED_LINES, 0.9 * filled):
        return text
    steps = sum(1 for a, b in zip(numbers, numbers[1:], strict=False) if b == a + 1)
    if steps < 0.9 * (len(numbers) - 1):
        return text
    return "\n".join(
        line[match.end() :] if match else line for line, match in zip(lines, found, strict=True)
    )


def strip_verse_numbers(text: str) -> str:
    """Drop the numbers of verses, where they count 1, 2, 3 through chapter after chapter."""
    if len(_DIGIT.findall(text)) < MIN_DIGITS:
        return text
    matches = list(_VERSE.finditer(text))
    if len(matches) < MIN_VERSES:
        return text
    drop: list[re.Match[str]] = []
    expected = 1
    for match in matches:
        number = int(match[1])
        # One verse may lack its number; a chapter begins again at 1.
        if number in (expected, expected + 1) or (number == 1 and expected > 2):
            drop.append(match)
            expected = number + 1
    if len(drop) < max(MIN_VERSES, 0.6 * len(matches)):
        return text
    parts, at = [], 0
    for match in drop:
        parts.append(text[at : match.start()])
        at = match.end()
    return "".join([*parts, text[at:]])


def unwrap(text: str) -> str:
    """Join the lines of paragraphs that were wrapped at a fixed width; leave verse and lists alone.

    A line was wrapped if the first word of the next one would not have fitted: that is what filling
    a line greedily means, and lines of verse or of a list do not obey it.
    """
    if "\n" not in text:
        return text
    lines = text.split("\n")
    width = _wrap_width(lines)
    if not width:
        return text
    joined: list[str] = []
    start = 0
    for stop in range(len(lines) + 1):
        if stop == len(lines) or not lines[stop].strip():
            joined += _unwrap_paragraph(lines[start:stop], width)
            joined += lines[stop : stop + 1]
            start = stop + 1
    return "\n".join(joined)


def _wrap_width(lines: Sequence[str]) -> int:
    """Return the width that the text is wrapped at, or 0: its 95th percentile of line lengths.

    A few lines show a width only if they are longer than verse and break within sentences.
    """
    filled = [line.rstrip() for line in lines if line.strip()]
    lengths = sorted(map(len, filled))
    if len(lengths) < FEW_LINES:
        if max(lengths, default=0) not in WRAP_WIDTHS[20:]:
            return 0
        broken = any(
            a.strip() and b[:1].islower() and a.rstrip()[-1] not in ".!?:"
            for a, b in zip(lines, lines[1:], strict=False)
        )
        return lengths[-1] if broken else 0
    width = lengths[int(0.95 * (len(lengths) - 1))]
    longest = lengths[int(0.995 * (len(lengths) - 1))]
    return width if width in WRAP_WIDTHS and longest <= 1.5 * width else 0


def _unwrap_paragraph(lines: list[str], width: int) -> list[str]:
    full = [_is_full(a, b, width) for a, b in zip(lines, lines[1:], strict=False)]
    if not full or sum(full) < 0.7 * len(full):
        return lines
    pieces = [lines[0].rstrip()]
    for line in lines[1:]:
        # A hyphen at a line's end stays: `Afrika-Eŭropa` and a divided word look alike.
        gap = "" if pieces[-1].endswith("-") and pieces[-1][-2:-1].isalpha() else " "
        pieces += [gap, line.strip()]
    return ["".join(pieces)]


def _is_full(line: str, following: str, width: int) -> bool:
    first = following.split(None, 1)[0]
    return len(line.rstrip()) + 1 + len(first) > width - WRAP_SLACK


def collapse_repeats(text: str) -> str:
    """Leave one of a sentence that stands four times or more in a row."""
    parts: list[str] = []
    held, times, start, end, at = "", 0, 0, 0, 0
    for match in _SENTENCE.finditer(text):
        if match[1] is None:
            continue
        sentence = match[0].strip()
        if sentence == held and not text[end : match.start()].strip():
            times, end = times + 1, match.end()
            continue
        if times >= MIN_REPEATS:
            parts += [text[at:start], held, _gap(text, end)]
            at = end
        # Cries such as `Ha! Ha! Ha! Ha!` are meant.
        held, times = (sentence, 1) if len(sentence) >= MIN_REPEATED_CHARACTERS else ("", 0)
        start, end = match.start() + len(match[0]) - len(match[0].lstrip()), match.end()
    if times >= MIN_REPEATS:
        parts += [text[at:start], held, _gap(text, end)]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def _gap(text: str, end: int) -> str:
    """Return the blank before `end` where a word follows it at once."""
    return text[end - 1] if text[end - 1].isspace() and text[end : end + 1].strip() else ""


def tidy_blanks(text: str) -> str:
    """Make runs of blanks one space, trim lines, and leave at most one empty line between lines."""
    if (
        not any(run in text for run in ("  ", " \n", "\n ", "\n\n\n"))
        and not _ODD_BLANK.search(text)
        and text == text.strip()
    ):
        return text
    tidied = _GAPS.sub("\n\n", _EDGES.sub("\n", _BLANKS.sub(" ", text))).strip()
    return text if tidied == text else tidied


def tidy_gaps(text: str) -> str:
    """Leave at most one empty line between lines, and none at the ends."""
    return _GAPS.sub("\n\n", text).strip("\n")


def paragraphs(text: str) -> list[str]:
    """Split at empty lines, dropping empty pieces."""
    return [piece.strip() for piece in re.split(r"\n[^\S\n]*\n", text) if piece.strip()]


def lines(text: str) -> list[str]:
    """Split at line ends, dropping empty lines."""
    return [piece.strip() for piece in text.split("\n") if piece.strip()]
