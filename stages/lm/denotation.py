"""Whether two lists of answers mean the same: denotation accuracy of question answering on tables.

Answers are compared as sets after small letters, single blanks and canonical numbers, as the
evaluators of WikiTableQuestions and TAPEX (arXiv 2107.07653) compare them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SEPARATOR = ","
"""Between answers; blanks around it do not count."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def answers(text: str) -> frozenset[str]:
    """Return the different answers that a text lists."""
    return normalised(text.split(SEPARATOR))


def normalised(listed: Iterable[str]) -> frozenset[str]:
    """Return answers in small letters, blanks single, numbers without signs or zeros too many."""
    plain = (" ".join(one.lower().split()) for one in listed)
    return frozenset(_number(one) for one in plain if one)


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        return text
    sign, digits = ("-" if text[0] == "-" else ""), text.lstrip("+-")
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    if whole == "0" and not decimals:
        return "0"
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def equal(said: str, gold: str) -> bool:
    """Tell whether two texts list the same answers; two empty lists are no answer."""
    wanted = answers(gold)
    return bool(wanted) and answers(said) == wanted
