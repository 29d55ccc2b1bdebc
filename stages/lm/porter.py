"""Porter's stemmer as ROUGE uses it: the algorithm of 1980 with the extensions of NLTK.

M. F. Porter (1980), An algorithm for suffix stripping, Program 14(3). The reference implementation
of ROUGE stems with NLTK's default mode, which departs from the paper in the irregular forms, in
words of one or two letters, in `ies`/`ied`, in the condition on a final `y`, in `bli`, `fulli`,
`logi` and `alli`, and in what counts as consonant-vowel-consonant; all of it is marked below.
Words are lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

Condition = Callable[[str], bool]
Rule = tuple[str, str, Condition]
"""A suffix, what it becomes, and the condition on what stands before it."""

IRREGULAR = {
    "skies": "sky", "sky": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
    "innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
    "cannings": "canning", "canning": "canning", "howe": "howe", "proceed": "proceed",
    "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip
"""Forms that keep or get a stem of their own (extension)."""


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return the stem of a lower-case word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:  # extension
        return word
    word = _y_to_i(_past(_plural(word)))
    word = _first_listed(_derived(word), THIRD)
    word = _first_listed(word, FOURTH)
    return _double_l(_final_e(word))


def _consonant(word: str, at: int) -> bool:
    if word[at] == "y":  # a vowel after a consonant
        return at == 0 or not _consonant(word, at - 1)
    return word[at] not in "aeiou"


def measure(word: str) -> int:
    """Return how often a vowel is followed by a consonant: the m of [C](VC)^m[V]."""
    shape = [_consonant(word, at) for at in range(len(word))]
    return sum(not a and b for a, b in zip(shape, shape[1:], strict=False))


def _positive(word: str) -> bool:
    return measure(word) > 0


def _above_one(word: str) -> bool:
    return measure(word) > 1


def _vowel(word: str) -> bool:
    return any(not _consonant(word, at) for at in range(len(word)))


def _doubled(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _consonant(word, len(word) - 1)


def _short(word: str) -> bool:
    """Say whether a word ends consonant, vowel, consonant other than w, x, y."""
    end = len(word) - 1
    if len(word) == 2:  # extension
        return not _consonant(word, 0) and _consonant(word, 1)
    return (
        len(word) >= 3
        and _consonant(word, end - 2)
        and not _consonant(word, end - 1)
        and _consonant(word, end)
        and word[-1] not in "wxy"
    )


def _first_listed(word: str, rules: Sequence[Rule]) -> str:
    """Apply the first rule whose suffix fits; where its condition fails, none is applied."""
    for suffix, ending, allowed in rules:
        if word.endswith(suffix):
            body = word.removesuffix(suffix)
            return body + ending if allowed(body) else word
    return word


def _plural(word: str) -> str:
    """Step 1a: caresses, ponies, cats."""
    if word.endswith("ies") and len(word) == 4:  # extension: dies, die
        return word[:-1]
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    """Step 1b: agreed, plastered, hopping."""
    if word.endswith("ied"):  # extension
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _positive(word[:-3]) else word
    for suffix in ("ed", "ing"):
        body = word.removesuffix(suffix)
        if body != word and _vowel(body):
            return _mended(body)
    return word


def _mended(body: str) -> str:
    """Give back what a word lost before `ed` or `ing`: conflat(e), troubl(e), hop(p), fil(e)."""
    if body.endswith(("at", "bl", "iz")):
        return body + "e"
    if _doubled(body):
        return body if body[-1] in "lsz" else body[:-1]
    return body + "e" if measure(body) == 1 and _short(body) else body


def _y_to_i(word: str) -> str:
    """Step 1c: happy, but not say (extension: Porter asks for a vowel before the y instead)."""
    body = word[:-1]
    if word.endswith("y") and len(body) > 1 and _consonant(body, len(body) - 1):
        return body + "i"
    return word


def _derived(word: str) -> str:
    """Step 2: relational, vietnamization."""
    if word.endswith("alli") and _positive(word[:-4]):  # extension: once more without `li`
        return _derived(word[:-2])
    if word.endswith("logi") and not word.endswith(SECOND_SUFFIXES):
        # Extension: the measure is taken with the l of `logi` in place.
        return word[:-1] if _positive(word[:-3]) else word
    return _first_listed(word, SECOND)


def _final_e(word: str) -> str:
    """Step 5a: probate, rate, cease."""
    if not word.endswith("e"):
        return word
    body = word[:-1]
    m = measure(body)
    return body if m > 1 or (m == 1 and not _short(body)) else word


def _double_l(word: str) -> str:
    """Step 5b: controll, roll."""
    return word[:-1] if word.endswith("ll") and _above_one(word[:-1]) else word


def _ending_in_st(body: str) -> bool:
    return _above_one(body) and body[-1] in "st"


SECOND: tuple[Rule, ...] = tuple(
    (suffix, ending, _positive)
    for suffix, ending in (
        ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"),
        ("izer", "ize"), ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"),
        ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"),
        ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
        ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
    )
)  # fmt: skip
SECOND_SUFFIXES = tuple(suffix for suffix, _, _ in SECOND)
THIRD: tuple[Rule, ...] = tuple(
    (suffix, ending, _positive)
    for suffix, ending in (
        ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"),
        ("ful", ""), ("ness", ""),
    )
)  # fmt: skip
FOURTH: tuple[Rule, ...] = tuple(
    (suffix, "", _ending_in_st if suffix == "ion" else _above_one)
    for suffix in (
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    )
)  # fmt: skip
