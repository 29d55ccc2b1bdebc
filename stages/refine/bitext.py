"""Rules of parallel text: what is counted of a pair, and which counts are a reason to drop it.

    rule             source                                                    default
    empty_side       Bicleaner hard rules, no_empty                            -
    identical        Bicleaner hard rules, no_identical: letters alone         on
    few_letters      Bicleaner hard rules, no_only_symbols                     0.1
    too_long         Moses, clean-corpus-n                                     250 words
    length_ratio     Moses, clean-corpus-n, with a constant of 5               4
    character_ratio  Bicleaner hard rules, length_ratio, with a constant of 15 3
    copied           OpusFilter, SimilarityFilter, over words                  0.9
    script           OpusFilter, CharacterScoreFilter                          0.7
    numbers          OpusFilter, NonZeroNumeralsFilter                         0.5
    placeholders     gettext, msgfmt --check-format; OpusFilter, HtmlTagFilter same
    punctuation      OpusFilter, TerminalPunctuationFilter (-2)                6
    misaligned       Gale & Church 1993, lengths of neighbours; `alignment`    on
    language         Bicleaner hard rules, no_wrong_language, on both sides    languages

Bicleaner: Sánchez-Cartagena et al. 2018, WMT; OpusFilter: Aulamo et al. 2020, ACL; its numerals and
punctuation: Vázquez et al. 2019, WMT. The counts are whole numbers that stay (`filters.scores`):
`judge` on a row of scores.parquet tells what another threshold would have done.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

from stages.refine import scripts
from stages.refine.filters import in_language
from stages.refine.settings import Pairs

WORD_CONSTANT = 5
CHARACTER_CONSTANT = 15
JUDGED_WORDS = 4
"""Shorter sides are not asked how many words they share."""
JUDGED_LETTERS = 4
"""Sides with fewer letters are not asked for their script."""
COLUMNS = (
    "source_words", "target_words", "source_characters", "target_characters",
    "source_letters", "target_letters", "same", "shared_words",
    "source_script_letters", "target_script_letters", "source_digits", "target_digits",
    "shared_digits", "source_placeholders", "target_placeholders", "shared_placeholders",
    "source_ends", "target_ends", "shift", "source_foreign", "target_foreign", "swapped",
)  # fmt: skip
"""What is counted of a pair, in the order of scores.parquet."""
RULES = (
    "empty_side", "identical", "few_letters", "too_long", "length_ratio", "character_ratio",
    "copied", "script", "numbers", "placeholders", "punctuation", "misaligned", "language",
)  # fmt: skip
"""Reasons, in the order in which they are asked."""
_END = re.compile(r"\.\.\.|[.?!…。！？؟।]")
_PLACEHOLDER = re.compile(
    r"""(?<![\d%])(?<!\d\s)%(?:\(\w+\)|\d+\$)?[-+\#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|z|j)?
        [diouxXeEfgGcs](?![^\W\d_])                     # printf, not `50 % de`
    | \$?\{\w*(?:[.:!][^{}\s]*)?\}                      # {}, {0}, {name:>8}, ${name}
    | </?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>                 # tags
    | &(?:[A-Za-z]+|\#\d+);                             # entities
    | https?://[^\s<>"')\]]+ | [\w.+-]+@[\w-]+\.[\w.-]*\w
    """,
    re.VERBOSE,
)


class Counted(NamedTuple):
    """A pair before its rules: both sides, and by how many lines its neighbours are off."""

    source: str
    target: str
    shift: int = 0


def digits(text: str) -> list[int]:
    """Return the digits of a text, of any script, without zeros."""
    found = (unicodedata.digit(character, 0) for character in text if character.isdigit())
    return [digit for digit in found if digit]


def placeholders(text: str) -> Counter[str]:
    """Return how often each placeholder, tag and address stands in a text."""
    found = (match.group().strip() for match in _PLACEHOLDER.finditer(text))
    return Counter(one.rstrip(".,;:!?") if one.startswith("http") else one for one in found)


def letters(text: str) -> str:
    """Return the letters of a text, case-folded."""
    return "".join(filter(str.isalpha, text)).casefold()


def script_of(settings: Pairs, side: str) -> str:
    """Return the script that a side must be in, or `none`."""
    chosen: str = getattr(settings, f"{side}_script")
    language: str = getattr(settings, f"{side}_language")
    return scripts.of_language(language) if chosen == "auto" else chosen


def count(pair: Counted, settings: Pairs, evidence_nats: float) -> dict[str, int]:
    """Return every column of a pair."""
    found: dict[str, int] = {}
    words, marks, figures = [], [], []
    for side, text in (("source", pair.source), ("target", pair.target)):
        script = script_of(settings, side)
        inside, total = scripts.share(text, script)
        words.append(Counter(text.casefold().split()))
        marks.append(placeholders(text))
        figures.append(digits(text))
        found |= {
            f"{side}_words": len(text.split()),
            f"{side}_characters": len(text),
            f"{side}_letters": total,
            f"{side}_script_letters": total if script == "none" else inside,
            f"{side}_digits": len(figures[-1]),
            f"{side}_placeholders": marks[-1].total(),
            f"{side}_ends": len(_END.findall(text)),
        }
    blocks = SequenceMatcher(None, figures[0], figures[1], autojunk=False).get_matching_blocks()
    alike = letters(pair.source) == letters(pair.target)
    equal = pair.source.casefold() == pair.target.casefold()
    found |= {
        "same": int(alike if found["source_letters"] else equal),
        "shared_words": (words[0] & words[1]).total(),
        "shared_digits": sum(block.size for block in blocks),
        "shared_placeholders": (marks[0] & marks[1]).total(),
        "shift": pair.shift,
    }
    found |= _foreign(pair, settings, evidence_nats)
    return {name: found[name] for name in COLUMNS}


def _foreign(pair: Counted, settings: Pairs, evidence_nats: float) -> dict[str, int]:
    wanted = (settings.source_language, settings.target_language)
    sides = (pair.source, pair.target)
    foreign = [
        not in_language(text, language, evidence_nats)
        for text, language in zip(sides, wanted, strict=True)
    ]
    swapped = all(foreign) and all(
        in_language(text, language, evidence_nats)
        for text, language in zip(sides, reversed(wanted), strict=True)
    )
    return {
        "source_foreign": int(foreign[0]),
        "target_foreign": int(foreign[1]),
        "swapped": int(swapped),
    }


def judge(row: Mapping[str, int], settings: Pairs) -> Iterator[tuple[str, str]]:
    """Yield every rule in its order with what speaks against the pair, or with an empty text.

    `row` has the columns of `count`; thresholds are those of `settings`.
    """
    sides = ("source", "target")
    empty = not row["source_characters"] or not row["target_characters"]
    yield "empty_side", "one side has no characters" if empty else ""
    same = settings.drop_identical and row["same"]
    yield "identical", "the letters of both sides are equal" if same else ""
    share = min(row[f"{side}_letters"] / max(1, row[f"{side}_characters"]) for side in sides)
    few = share < settings.min_letter_share
    yield "few_letters", f"{share:.4f} letters" if few else ""
    words = sorted(row[f"{side}_words"] for side in sides)
    yield "too_long", f"{words[1]} words" if words[1] > settings.max_words else ""
    ratio = (words[1] + WORD_CONSTANT) / (words[0] + WORD_CONSTANT)
    yield "length_ratio", f"{ratio:.2f}" if ratio > settings.max_length_ratio else ""
    sizes = sorted(row[f"{side}_characters"] for side in sides)
    ratio = (sizes[1] + CHARACTER_CONSTANT) / (sizes[0] + CHARACTER_CONSTANT)
    yield "character_ratio", f"{ratio:.2f}" if ratio > settings.max_character_ratio else ""
    share = row["shared_words"] / max(1, words[1])
    copied = words[1] >= JUDGED_WORDS and share > settings.max_shared_words
    yield "copied", f"{share:.4f} of words" if copied else ""
    yield "script", ", ".join(_unwritten(row, settings))
    yield "numbers", _numbers(row, settings)
    differ = row["source_placeholders"] + row["target_placeholders"]
    differ -= 2 * row["shared_placeholders"]
    told = f"{differ} stand on one side only" if settings.placeholders == "same" and differ else ""
    yield "placeholders", told
    ends = [row[f"{side}_ends"] for side in sides]
    penalty = abs(ends[0] - ends[1]) + sum(max(0, number - 1) for number in ends)
    over = penalty > settings.max_punctuation_penalty
    yield "punctuation", f"penalty {penalty}" if over else ""
    shifted = settings.misaligned == "drop" and row["shift"]
    told = f"lines around agree with those {row['shift']:+d} from their own" if shifted else ""
    yield "misaligned", told
    if row["swapped"]:
        yield "language", "the sides are swapped"
        return
    wrong = [
        f"the {side} side is not {getattr(settings, f'{side}_language')}"
        for side in sides
        if row[f"{side}_foreign"]
    ]
    yield "language", ", ".join(wrong)


def _unwritten(row: Mapping[str, int], settings: Pairs) -> Iterator[str]:
    for side in ("source", "target"):
        total = row[f"{side}_letters"]
        share = row[f"{side}_script_letters"] / max(1, total)
        if total >= JUDGED_LETTERS and share < settings.min_script_share:
            yield f"{share:.4f} of the {side} side is {script_of(settings, side)}"


def _numbers(row: Mapping[str, int], settings: Pairs) -> str:
    counts = row["source_digits"], row["target_digits"]
    if not any(counts) or (settings.numbers_in_words and not all(counts)):
        return ""
    agreement = 2 * row["shared_digits"] / sum(counts)
    return f"{agreement:.4f} agree" if agreement < settings.min_number_agreement else ""
