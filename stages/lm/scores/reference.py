"""Scores once more, in plain Python: strings, regular expressions, sets and counters.

Slow, and made of other parts than the kernels, which must agree with it on every text.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from stages.lm.scores import exceptions, marks
from stages.lm.scores.columns import COLUMNS
from stages.lm.scores.faces import FACES
from stages.lm.scores.lines import (
    AUTOMATIC,
    CITATIONS,
    PHRASES,
    POLICY,
    SETUP,
    SYNTAX,
    TEST,
    TESTING_HEAD,
)
from stages.lm.scores.table import DEFAULTS, HEAD_LINES, Options
from stages.lm.scores.words import UNITS


@functools.cache
def members(mark: int) -> str:
    """Return a character class of all that have one of these marks."""
    table = marks.table()
    found = []
    for code in range(0x110000):
        page = int(table.pages[code >> 7])
        if int(table.marks[page * 128 + (code & 127)]) & mark:
            found.append(code)
    runs: list[list[int]] = []
    for code in found:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in runs)


@functools.cache
def patterns() -> dict[str, re.Pattern[str]]:
    """Return the regular expressions of the rules for words."""
    lower, upper, letter = members(marks.LOWER), members(marks.UPPER), members(marks.LETTER)
    quote, clip = members(marks.QUOTE), members(marks.CLIP)
    icon, money = members(marks.ICON), members(marks.MONEY)
    units = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
    host = members(marks.HOST)
    dashes, edges = members(marks.DASH), members(marks.EDGE)
    return {
        "front": re.compile(rf"[{clip}{quote}{icon}{money}{edges}{dashes}]|\+(?![0-9])|\.\.+"),
        "back": re.compile(
            rf"(?:[{clip}{quote}{icon}{dashes}]|(?:\.\.+)|['’][sS]|(?<=[0-9])(?:\+|[{money}]|{units})"
            rf"|(?<=[0-9{lower}%²\-+|{clip}{quote}])\.|(?<=[{upper}][{upper}])\.)\Z"
        ),
        "part": re.compile(
            rf"\.\.+|…|[{icon}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{lower}{quote}])\.(?=[{upper}{quote}])"
            rf"|(?<=[{letter}]),(?=[{letter}])|(?<=[{letter}0-9])(?:-{{1,3}}|–|—{{1,2}}|~)(?=[{letter}])"
            rf"|(?<=[{letter}0-9])[:<>=/](?=[{letter}])"
        ),
        "address": re.compile(
            rf"(?:[{members(marks.WORDLY)}+\-.]{{2,}}://)?(?:.+@)?"
            rf"(?:(?:[{host}][{host}_-]{{0,62}})?[{host}]\.)+(?:(?=[{host}])[{lower}]){{2,63}}"
            r"(?::[0-9]{2,5})?(?:[/?#].*)?",
            re.S,
        ),
    }


def words(text: str) -> list[str]:
    """Return the words of a text."""
    found: list[str] = []
    for chunk in text.split():
        found += joined(chunk_words(chunk))
    return found


def joined(parts: Sequence[str]) -> list[str]:
    """Join two signs that make a face."""
    found: list[str] = []
    taken = False
    for number, part in enumerate(parts):
        if taken:
            taken = False
            continue
        pair = part + (parts[number + 1] if number + 1 < len(parts) else "")
        taken = len(part) == 1 and len(pair) == 2 and pair in FACES
        found.append(pair if taken else part)
    return found


@functools.cache
def special() -> dict[str, tuple[str, ...]]:
    """Return the exceptions."""
    return exceptions.words()


def chunk_words(chunk: str) -> list[str]:
    """Return the words of what stands between blanks."""
    known, found = special(), patterns()
    before: list[str] = []
    behind: list[str] = []
    while chunk and chunk not in known:
        front = found["front"].match(chunk)
        first = front.end() if front else 0
        back = found["back"].search(chunk, first) if first < len(chunk) else None
        # `search` looks behind `first` too; a rule about what stands before must not.
        back = found["back"].search(chunk[first:]) if back else None
        last = len(back[0]) if back else 0
        if first and chunk[first:] in known:
            last = 0
        elif first and last and chunk[:-last] in known:
            first = 0
        if first + last == 0:
            break
        if first:
            before.append(chunk[:first])
        if last:
            behind.append(chunk[len(chunk) - last :])
        chunk = chunk[first : len(chunk) - last]
    middle: Iterable[str] = ()
    if chunk in known:
        middle = known[chunk]
    elif chunk:
        middle = [chunk] if found["address"].fullmatch(chunk) else parted(chunk)
    return [*before, *middle, *reversed(behind)]


def parted(chunk: str) -> list[str]:
    """Return the parts of a compound."""
    pieces, at = [], 0
    for match in patterns()["part"].finditer(chunk):
        pieces += [chunk[at : match.start()], match[0]]
        at = match.end()
    return [piece for piece in (*pieces, chunk[at:]) if piece]


def again(pieces: Iterable[str]) -> tuple[int, int]:
    """Return how many pieces stood before, and their characters."""
    seen: set[str] = set()
    count = size = 0
    for piece in pieces:
        if piece in seen:
            count, size = count + 1, size + len(piece)
        seen.add(piece)
    return count, size


def ngrams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Return the n-grams of words."""
    return [tuple(found[at : at + size]) for at in range(len(found) - size + 1)]


def lower(text: str) -> str:
    """Return a text in ASCII's lower case."""
    return "".join(one.lower() if one.isascii() else one for one in text)


def occurrences(text: str, kind: int) -> int:
    """Return how often phrases of a kind occur."""
    return sum(lower(text).count(phrase) for phrase, about in PHRASES.items() if about == kind)


def sentences(line: str) -> int:
    """Count sentences."""
    found, ended = 0, False
    for word in words(line):
        stopping = len(word) == 1 and bool(marks.mark_of(word) & marks.STOP)
        signs = all(marks.mark_of(one) & marks.POINT for one in word)
        found = found or 1
        if ended and not signs and not stopping:
            found, ended = found + 1, False
        elif stopping:
            ended = True
    return found


def c4(text: str, options: Options) -> tuple[dict[str, int], str]:
    """Return the columns of C4 and the text of the lines it keeps."""
    names = ("kept", "long_word", "unended", "few_word", "script", "policy")
    row = {f"c4_{name}_lines": 0 for name in names} | {
        "c4_lorem": 0, "c4_curly": 0, "c4_sentences": 0,
    }  # fmt: skip
    kept: list[str] = []
    cites = re.compile(r"\[[0-9]*\]|" + "|".join(map(re.escape, CITATIONS)))
    for given in text.splitlines():
        line = given.strip()
        bare = line.split()
        line = cites.sub("", line)
        if any(len(word) > options.word_characters for word in bare):
            row["c4_long_word_lines"] += 1
        elif options.line_ends and (not line.endswith(tuple(".?!\"'")) or line.endswith("...")):
            row["c4_unended_lines"] += 1
        elif len(bare) < options.line_words:
            row["c4_few_word_lines"] += 1
        elif "lorem ipsum" in lower(line):
            row["c4_lorem"] = 1
            break
        elif "javascript" in lower(line):
            row["c4_script_lines"] += 1
        elif "{" in line:
            row["c4_curly"] = 1
            break
        elif occurrences(line, POLICY):
            row["c4_policy_lines"] += 1
        else:
            row["c4_kept_lines"] += 1
            row["c4_sentences"] += sentences(line)
            kept.append(line)
    return row, "\n".join(kept)


def code(text: str) -> dict[str, int]:
    """Return the columns of code."""
    head = "\n".join(text.splitlines()[:HEAD_LINES])
    return {
        "automatic": int(occurrences(head, AUTOMATIC) > 0),
        "testing_head": int(occurrences(head, TESTING_HEAD) > 0),
        "config_words": occurrences(text, SETUP),
        "test_words": occurrences(text, TEST),
        "syntax_words": occurrences(text, SYNTAX),
        "draw": exceptions.hash_of(text) >> 32,
    }


def score(text: str, options: Options = DEFAULTS) -> tuple[dict[str, int], str]:
    """Return one document's columns and the text of the lines that C4 keeps."""
    found = words(text)
    symbol = [all(marks.mark_of(one) & marks.SYMBOL for one in word) for word in found]
    solid = [word for word, bare in zip(found, symbol, strict=True) if not bare]
    lines = text.splitlines()
    row: dict[str, int] = {
        "characters": len(text),
        "alphanumeric": sum(map(str.isalnum, text)),
        "newlines": text.count("\n"),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "assignments": text.count("="),
        "words": len(found),
        "solid_words": len(solid),
        "solid_characters": sum(map(len, solid)),
        "letter_words": sum(any(map(str.isalpha, word)) for word in found),
        "stop_words": len(set(options.stop_words) & set(found)),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "line_characters": sum(map(len, lines)),
        "longest_line": max(map(len, lines), default=0),
    }
    every = text.split("\n")
    filled = [line for line in every if line.strip()]
    row["filled_lines"] = len(filled)
    row["ended_lines"] = sum(bool(marks.mark_of(line[-1]) & marks.STOP) for line in filled)
    row["short_lines"] = sum(len(line) <= options.short_line for line in filled)
    row["long_lines"] = sum(len(line) >= options.long_line for line in every)
    row["repeated_line_characters"] = again(filled)[1]
    for name, pieces in (
        ("row", re.split("\n+", text)), ("paragraph", re.split("\n{2,}", text.strip())),
    ):  # fmt: skip
        row[f"{name}s"] = len(pieces)
        row[f"repeated_{name}s"], row[f"repeated_{name}_characters"] = again(pieces)
    for size in (2, 3, 4):
        grams = Counter(ngrams(found, size))
        top, times = grams.most_common(1)[0] if grams else ((), 0)
        row[f"top_{size}gram_characters"] = len(" ".join(top)) * times
    for size in range(5, 11):
        row[f"repeated_{size}gram_characters"] = repeated(found, size)
    lined, cleaned = c4(text, options)
    row |= lined | code(text)
    return {name: row[name] for name in COLUMNS}, cleaned


def repeated(found: Sequence[str], size: int) -> int:
    """Return the characters of n-grams that stood before."""
    seen: set[tuple[str, ...]] = set()
    total = at = 0
    while at + size <= len(found):
        gram = tuple(found[at : at + size])
        if gram in seen:
            total, at = total + len("".join(gram)), at + size
        else:
            seen.add(gram)
            at += 1
    return total
