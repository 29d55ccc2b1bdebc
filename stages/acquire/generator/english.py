"""English inflection for glosses: plurals, verb forms, comparison, adverbs, the indefinite article.

A gloss is `word`, `word/plural` or `verb/past/participle`; `_` stands for a space. In a verb of
several words the first word is inflected (`look at` -> `looks at`).
"""

from __future__ import annotations

VOWELS = "aeiou"
DOUBLING = frozenset(
    {
        "run",
        "swim",
        "sit",
        "put",
        "cut",
        "win",
        "dig",
        "get",
        "beg",
        "drop",
        "stop",
        "plan",
        "hit",
        "let",
        "nod",
        "rub",
        "chat",
        "drip",
        "stir",
        "begin",
        "forget",
        "permit",
        "forbid",
        "regret",
        "slip",
        "step",
        "ban",
        "tap",
        "prefer",
        "admit",
        "knit",
        "grin",
        "fit",
    }  # fmt: skip
)
LONG = "more", "most"
COMPARISON = {
    "good": ("better", "best"),
    "bad": ("worse", "worst"),
    "far": ("farther", "farthest"),
    "big": ("bigger", "biggest"),
    "red": ("redder", "reddest"),
    "sad": ("sadder", "saddest"),
    "hot": ("hotter", "hottest"),
    "wet": ("wetter", "wettest"),
    "fat": ("fatter", "fattest"),
    "flat": ("flatter", "flattest"),
}
ADVERBS = {
    "good": "well",
    "fast": "fast",
    "hard": "hard",
    "long": "long",
    "early": "early",
    "late": "late",
    "true": "truly",
    "whole": "wholly",
    "high": "highly",
    "public": "publicly",
    "near": "nearby",
    "dry": "drily",
    "sly": "slyly",
    "same": "equally",
    "friendly": "in a friendly way",
    "lively": "in a lively way",
    "cowardly": "in a cowardly way",
    "kindly": "kindly",
}
A_BEFORE_VOWEL = ("uni", "use", "usu", "eu", "one", "ut")
AN_BEFORE_CONSONANT = ("hour", "honest", "honor", "heir")


def plural(gloss: str) -> str:
    """Return the plural of a noun gloss."""
    word, _, irregular = gloss.partition("/")
    if irregular:
        return irregular
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def singular(gloss: str) -> str:
    """Return the singular of a noun gloss."""
    return gloss.partition("/")[0]


def verb_forms(gloss: str) -> dict[str, str]:
    """Return the five forms of a verb gloss: base, third, past, participle, gerund."""
    parts = gloss.split("/")
    head, _, particle = parts[0].partition(" ")
    tail = f" {particle}" if particle else ""
    past = parts[1] if len(parts) > 1 else _past(head) + tail
    participle = parts[2] if len(parts) > 2 else past
    third = {"be": "is", "have": "has"}.get(head, "") or plural(head)
    if head in ("go", "do"):
        third = head + "es"
    return {
        "base": parts[0],
        "third": third + tail,
        "past": past,
        "participle": participle,
        "gerund": _gerund(head) + tail,
    }


def _doubled(head: str) -> bool:
    return head.removeprefix("re-") in DOUBLING


def _past(head: str) -> str:
    if head.endswith("e"):
        return head + "d"
    if head.endswith("y") and head[-2:-1] not in VOWELS:
        return head[:-1] + "ied"
    return head + (head[-1] if _doubled(head) else "") + "ed"


def _gerund(head: str) -> str:
    if head in ("die", "lie", "tie"):
        return head[:-2] + "ying"
    if head.endswith("e") and not head.endswith(("ee", "oe", "ye")) and head != "be":
        return head[:-1] + "ing"
    return head + (head[-1] if _doubled(head) else "") + "ing"


def _syllables(word: str) -> int:
    groups = 0
    previous = False
    for letter in word:
        vowel = letter in "aeiouy"
        groups += vowel and not previous
        previous = vowel
    return groups - (word.endswith("e") and groups > 1)


def comparison(word: str) -> tuple[str, str]:
    """Return comparative and superlative of an adjective."""
    if word in COMPARISON:
        return COMPARISON[word]
    short = _syllables(word) == 1 or (_syllables(word) == 2 and word.endswith("y"))
    if not short or "-" in word or " " in word:
        return f"{LONG[0]} {word}", f"{LONG[1]} {word}"
    if word.endswith("e"):
        return word + "r", word + "st"
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "ier", word[:-1] + "iest"
    return word + "er", word + "est"


def adverb(word: str) -> str:
    """Return the adverb of manner of an adjective."""
    if word in ADVERBS:
        return ADVERBS[word]
    if word.endswith("ic"):
        return word + "ally"
    if word.endswith("le") and word[-3:-2] not in VOWELS:
        return word[:-1] + "y"
    if word.endswith("ll"):
        return word + "y"
    if word.endswith("y") and len(word) > 3:
        return word[:-1] + "ily"
    return word + "ly"


def quality(word: str) -> str:
    """Return the noun of quality of an adjective (`red` -> `redness`)."""
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "iness"
    return word + "ness"


def indefinite(word: str) -> str:
    """Return the word with `a` or `an` before it."""
    lowered = word.lower()
    vowel = lowered[:1] in VOWELS and not lowered.startswith(A_BEFORE_VOWEL)
    return f"an {word}" if vowel or lowered.startswith(AN_BEFORE_CONSONANT) else f"a {word}"


def able(gloss: str) -> str:
    """Return the adjective of possibility of a verb (`use` -> `usable`)."""
    head = gloss.split("/")[0]
    if head.endswith("e") and not head.endswith(("ee", "ce", "ge")):
        return head[:-1] + "able"
    return head + (head[-1] if _doubled(head) else "") + "able"
