"""English inflection for glosses: plurals, verb forms, comparison, adverbs, the indefinite article.

A gloss is `word`, `word/plural` or `verb/past/participle`; `_` stands for a space. In a verb of
several words the first word is inflected (`look at` -> `looks at`), or the one after `suddenly`.
"""

from __future__ import annotations

VOWELS = "aeiou"


def _set(block: str) -> frozenset[str]:
    return frozenset(block.split())


DOUBLING = _set(
    """
run swim sit put cut win dig get beg drop stop plan hit let nod rub chat drip stir begin forget
permit forbid regret slip step ban tap prefer admit knit grin fit chop hug patrol rot set shed sin
squat
"""
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
    "thin": ("thinner", "thinnest"),
}
LONGER = _set(
    """
drunk glass iron just known lame loyal main mute orange other own pious same single square stone
vain whole wool
"""
)
"""Short adjectives that are compared with `more` and `most` all the same."""
ADVERBS = {
    "good": "well", "fast": "fast", "hard": "hard", "long": "long", "early": "early",
    "late": "late", "true": "truly", "whole": "wholly", "high": "highly", "public": "publicly",
    "near": "nearby", "dry": "drily", "sly": "slyly", "same": "equally", "kindly": "kindly",
    "other": "otherwise",
}  # fmt: skip
BETTER = {"good": "better", "bad": "worse", "fast": "faster", "hard": "harder", "long": "longer"}
WAYS = _set(
    """
ancient big black blue brown bulky cowardly different difficult distant drunk everyday fat foreign
friendly full-time glass golden gray green half-full high-quality huge hot ill
international-language iron
known liquid lively local low main many-colored many-sided nationwide old orange own pink purple
recent red reddish bluish silken silver single small square steep stone tired unknown violet
watery wet white wooden wool world-wide yellow young
"""
)
"""Adjectives without an adverb of their own: `in a small way`."""
QUALITIES = {
    "absurd": "absurdity", "abstract": "abstraction", "active": "activity",
    "ambiguous": "ambiguity", "angry": "anger", "authentic": "authenticity",
    "autonomous": "autonomy", "banal": "banality",
    "brave": "bravery", "broad": "breadth", "certain": "certainty", "charming": "charm",
    "Christian": "Christianity", "clear": "clarity", "competent": "competence",
    "complex": "complexity", "complicated": "complexity", "constant": "constancy",
    "content": "contentment", "cruel": "cruelty", "curious": "curiosity", "cynical": "cynicism",
    "deep": "depth", "delicate": "delicacy", "diligent": "diligence", "drunk": "drunkenness",
    "easy": "ease", "effective": "effect", "electric": "electricity", "energetic": "energy",
    "equal": "equality", "famous": "fame", "fanatical": "fanaticism", "fast": "speed",
    "formal": "formality", "fragile": "fragility", "free": "freedom", "frivolous": "frivolity",
    "furious": "fury", "gallant": "gallantry", "general": "generality", "healthy": "health",
    "high": "height", "honest": "honesty", "humble": "humility", "hungry": "hunger",
    "ideal": "ideality", "identical": "identity", "impertinent": "impertinence",
    "important": "importance", "innocent": "innocence", "intelligent": "intelligence",
    "jealous": "jealousy", "just": "justice", "legal": "legality", "local": "locality",
    "long": "length", "loyal": "loyalty", "modern": "modernity", "modest": "modesty",
    "moral": "morality", "national": "nationality", "necessary": "necessity",
    "neutral": "neutrality", "noble": "nobility", "normal": "normality", "original": "originality",
    "parallel": "parallelism", "patient": "patience", "perfect": "perfection", "pious": "piety",
    "popular": "popularity", "possible": "possibility", "precise": "precision", "proud": "pride",
    "prudent": "prudence", "rare": "rarity", "rational": "rationality", "redundant": "redundancy",
    "relative": "relativity", "secret": "secrecy", "severe": "severity", "similar": "similarity",
    "simple": "simplicity", "sincere": "sincerity", "sober": "sobriety", "solid": "solidity",
    "special": "specialty", "stable": "stability", "strong": "strength", "stupid": "stupidity",
    "superfluous": "superfluity", "talented": "talent", "total": "totality",
    "transparent": "transparency", "true": "truth", "universal": "universality",
    "urgent": "urgency", "useful": "usefulness", "vain": "vanity", "valid": "validity",
    "various": "variety", "vertical": "verticality", "warm": "warmth", "wise": "wisdom",
    "young": "youth",
}  # fmt: skip
ABLE = {
    "accelerate": "accelerable", "apply": "applicable", "cultivate": "cultivable",
    "decorate": "decorable", "investigate": "investigable", "manipulate": "manipulable",
    "permit": "permissible", "say": "sayable", "tolerate": "tolerable",
}  # fmt: skip
SUDDENLY = "suddenly "
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
    if gloss.startswith(SUDDENLY):
        inner = verb_forms("/".join(part.removeprefix(SUDDENLY) for part in parts))
        return {form: SUDDENLY + word for form, word in inner.items()}
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
    if not short or word in LONGER or "-" in word or " " in word:
        return f"{LONG[0]} {word}", f"{LONG[1]} {word}"
    if word.endswith("e"):
        return word + "r", word + "st"
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "ier", word[:-1] + "iest"
    return word + "er", word + "est"


def adverb(word: str, degree: str = "") -> str:
    """Return the adverb of manner of an adjective, perhaps after `very` or `more`."""
    graded = f"{degree} {word}".strip()
    if degree == "more" and word in BETTER:
        return BETTER[word]
    if word in WAYS or word.endswith("ly"):
        return f"in {indefinite(graded)} way"
    return f"{degree} {_adverb(word)}".strip()


def _adverb(word: str) -> str:
    if word in ADVERBS:
        return ADVERBS[word]
    if word.endswith("ic"):
        return word + "ally"
    if word.endswith("le") and word[-3:-2] not in VOWELS:
        return word[:-1] + "y"
    if word.endswith("ll"):
        return word + "y"
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "ily"
    return word + "ly"


def quality(word: str) -> str:
    """Return the noun of quality of an adjective (`red` -> `redness`)."""
    if word in QUALITIES:
        return QUALITIES[word]
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "iness"
    return word + "ness"


def indefinite(word: str) -> str:
    """Return the word with `a` or `an` before it."""
    lowered = word.lower()
    vowel = lowered[:1] in VOWELS and (
        not lowered.startswith(A_BEFORE_VOWEL) or lowered.startswith("unim")
    )
    return f"an {word}" if vowel or lowered.startswith(AN_BEFORE_CONSONANT) else f"a {word}"


def able(gloss: str) -> str:
    """Return the adjective of possibility of a verb (`use` -> `usable`)."""
    head = gloss.split("/")[0]
    if head in ABLE:
        return ABLE[head]
    if head.endswith("e") and not head.endswith(("ee", "ce", "ge")):
        return head[:-1] + "able"
    return head + (head[-1] if _doubled(head) else "") + "able"
