"""Which script letters are of, told by their Unicode names (`unicodedata` has no script property).

The names of letters begin with their script: LATIN SMALL LETTER A, CYRILLIC SMALL LETTER A. Han
characters are CJK UNIFIED IDEOGRAPH or CJK COMPATIBILITY IDEOGRAPH.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter

SCRIPTS = (
    "arabic", "armenian", "bengali", "cherokee", "cyrillic", "devanagari", "ethiopic", "georgian",
    "greek", "gujarati", "gurmukhi", "hangul", "han", "hebrew", "hiragana", "kana", "kannada",
    "katakana", "khmer", "lao", "latin", "malayalam", "mongolian", "myanmar", "oriya", "sinhala",
    "syriac", "tamil", "telugu", "thaana", "thai", "tibetan",
)  # fmt: skip
"""Scripts by name; `kana` takes Japanese as it is written: hiragana, katakana and Han."""
_JAPANESE = ("hiragana", "katakana", "han")
_OTHER_NAMES = {"cjk": "han", "katakana-hiragana": "katakana", "ideographic": "han"}


@functools.lru_cache(maxsize=1 << 16)
def of_letter(character: str) -> str:
    """Return the script of a letter, lower-cased; empty for what is no letter."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "")
    words = name.split(" ")
    first = words[1] if words[0] in ("MODIFIER", "FULLWIDTH", "HALFWIDTH") and words[1:] else ""
    script = (first or words[0]).lower()
    return _OTHER_NAMES.get(script, script)


def share(text: str, script: str) -> tuple[int, int]:
    """Return (letters in a script, letters) of a text."""
    counts = Counter(map(of_letter, text))
    counts.pop("", None)
    wanted = _JAPANESE if script == "kana" else (script,)
    return sum(counts[name] for name in wanted), sum(counts.values())


@functools.cache
def of_language(language: str) -> str:
    """Return the script most words of a language's list are in; `none` for an unknown language."""
    from stages.refine.wordlists import WORDS

    counts = Counter(map(of_letter, WORDS.get(language, "")))
    counts.pop("", None)
    found = counts.most_common(1)
    return found[0][0] if found and found[0][0] in SCRIPTS else "none"
