"""The vocabulary: categories of words in Zipf order, and every form a sentence can ask of them.

A category is a list of words that can stand in one place of a sentence. Regular derivations follow
the roots at the low end of the Zipf law, so that text shows the affixes and compounds of the
language and not only roots. All forms come from the rules; no form is listed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest

from stages.acquire.generator import english
from stages.acquire.generator.lexicon import adjectives, derived, ideas, names, nouns, things, verbs

COMPOUND_SEED = 1887
CASES = {"n": "Nom", "a": "Acc"}
NUMBERS = {"s": "Sing", "p": "Plur"}
FINITE = {
    "as": "Mood=Ind|Tense=Pres|VerbForm=Fin",
    "is": "Mood=Ind|Tense=Past|VerbForm=Fin",
    "os": "Mood=Ind|Tense=Fut|VerbForm=Fin",
    "us": "Mood=Sub|VerbForm=Fin",
    "u": "Mood=Imp|VerbForm=Fin",
    "i": "VerbForm=Inf",
}
TENSES = {"a": "Pres", "i": "Past", "o": "Fut"}


@dataclass(frozen=True)
class Word:
    """A word: stem, English gloss, topic field, and how it was made (root, affix or compound)."""

    stem: str
    gloss: str
    field: str
    origin: str = "root"


@dataclass
class Category:
    """Words of one kind (`noun`, `verb`, `adjective`, `fixed`, `name`) in Zipf order."""

    name: str
    kind: str
    words: list[Word] = field(default_factory=list)


def parse(block: str, topic: str = "") -> list[Word]:
    """Return the words of a lexicon block."""
    entries = (entry.split(None, 1) for entry in block.replace("\n", " ").split(";"))
    return [Word(e[0], e[1].strip().replace("_", " "), topic) for e in entries if e]


def roots() -> list[tuple[str, str, str]]:
    """Return every root of the lexicon as (root, ending, English gloss)."""
    tables = (
        ("o", nouns.NOUNS),
        ("o", things.THINGS),
        ("o", ideas.IDEAS),
        ("i", verbs.VERBS),
        ("a", adjectives.ADJECTIVES),
    )
    found: dict[tuple[str, str], str] = {}
    for ending, table in tables:
        for (_, topic), block in table.items():
            for word in parse(block, topic):
                found.setdefault((word.stem, ending), english.singular(word.gloss))
    return [(root, ending, gloss) for (root, ending), gloss in found.items()]


def _merge(lists: list[list[Word]]) -> list[Word]:
    """Merge word lists by rank, so that the commonest of each come first; a stem stays once."""
    merged: dict[str, Word] = {}
    for rank in zip_longest(*lists):
        for word in rank:
            if word is not None:
                merged.setdefault(word.stem, word)
    return list(merged.values())


def _collect(*tables: dict[tuple[str, str], str]) -> dict[str, list[Word]]:
    lists: dict[str, list[list[Word]]] = {}
    for table in tables:
        for (name, topic), block in table.items():
            origin = "root" if table in ROOT_TABLES else "affix"
            words = [Word(w.stem, w.gloss, topic, origin) for w in parse(block, topic)]
            lists.setdefault(name, []).append(words)
    return {name: _merge(parts) for name, parts in lists.items()}


ROOT_TABLES = [
    nouns.NOUNS, things.THINGS, ideas.IDEAS, verbs.VERBS, adjectives.ADJECTIVES, adjectives.ADVERBS,
]  # fmt: skip


def _unseen(words: list[Word], extra: list[Word]) -> list[Word]:
    known = {word.stem for word in words}
    return words + list({w.stem: w for w in extra if w.stem not in known}.values())


def _sized(words: list[Word]) -> list[Word]:
    """Return diminutives, augmentatives and pejoratives of things."""
    made = []
    for suffix, label in (("et", "little"), ("eg", "huge"), ("aĉ", "wretched")):
        for word in words:
            plural = english.plural(word.gloss)
            gloss = f"{label} {english.singular(word.gloss)}/{label} {plural}"
            made.append(Word(word.stem + suffix, gloss, word.field, "affix"))
    return made


def _verbs_of(words: list[Word]) -> list[Word]:
    made = []
    for word in words:
        forms = english.verb_forms(word.gloss)
        base = forms["base"]
        if " " not in base:
            sudden = "/".join(
                english.SUDDENLY + forms[form] for form in ("base", "past", "participle")
            )
            made.append(Word("ek" + word.stem, sudden, word.field, "affix"))
            again = "/".join(f"re-{forms[form]}" for form in ("base", "past", "participle"))
            made.append(Word("re" + word.stem, again, word.field, "affix"))
    return made


def _qualities(words: list[Word]) -> tuple[list[Word], list[Word], list[Word]]:
    """Return nouns of quality, verbs of making and verbs of becoming, from adjectives."""
    simple = [word for word in words if " " not in word.gloss and word.origin == "root"]
    ness = [Word(w.stem + "ec", english.quality(w.gloss), w.field, "affix") for w in simple]
    make = [
        Word(w.stem + "ig", f"make {w.gloss}/made {w.gloss}/made {w.gloss}", w.field, "affix")
        for w in simple
    ]
    become = [
        Word(w.stem + "iĝ", f"become {w.gloss}/became {w.gloss}/become {w.gloss}", w.field, "affix")
        for w in simple
    ]
    return ness, make, become


def _compounds(first: list[Word], second: list[Word], count: int, rng: random.Random) -> list[Word]:
    made = []
    for _ in range(count):
        left, right = first[int(rng.random() * len(first))], second[int(rng.random() * len(second))]
        if left.stem == right.stem or left.origin != "root" or right.origin != "root":
            continue
        name = english.singular(left.gloss)
        gloss = f"{name} {english.singular(right.gloss)}/{name} {english.plural(right.gloss)}"
        made.append(Word(f"{left.stem}o{right.stem}", gloss, right.field, "compound"))
    return made


def _nouns() -> dict[str, list[Word]]:
    found = _collect(
        nouns.NOUNS, things.THINGS, ideas.IDEAS, derived.DERIVED_NOUNS
    )  # classes of nouns
    rng = random.Random(COMPOUND_SEED)
    for name in ("thing", "place", "animal"):
        base = [word for word in found[name] if word.origin == "root"]
        found[name] = _unseen(found[name], _sized(base))
    former = [
        Word("eks" + w.stem, f"former {w.gloss}/former {english.plural(w.gloss)}", w.field, "affix")
        for w in found["person"]
        if "/" not in w.gloss
    ]
    found["person"] = _unseen(found["person"], former)
    found["thing"] = _unseen(found["thing"], _compounds(found["mass"], found["thing"], 500, rng))
    abstract = found["place"] + found["abstract"]
    found["idea"] = _unseen(found["idea"], _compounds(abstract, found["idea"], 500, rng))
    found["place"] = _unseen(found["place"], _compounds(found["thing"], found["place"], 300, rng))
    return found


def _relational(found: dict[str, list[Word]]) -> list[Word]:
    """Return adjectives made from nouns, which English says with the bare noun (`urba` = city)."""
    lists = [
        [Word(w.stem, english.singular(w.gloss), w.field, "affix") for w in found[name]]
        for name in ("place", "idea", "mass", "group", "time", "abstract")
    ]
    return [word for word in _merge(lists) if " " not in word.gloss]


@cache
def categories() -> dict[str, Category]:
    """Return all categories by name."""
    noun = _nouns()
    verb = _collect(verbs.VERBS, derived.DERIVED_VERBS)
    adjective = _collect(adjectives.ADJECTIVES, derived.DERIVED_ADJECTIVES)
    for name, stems in (("speak", verbs.SPEAKING), ("ask", verbs.ASKING)):
        verb[name] = [word for word in verb["say"] if word.stem in stems.split()]
    plain = [word for words in adjective.values() for word in words]
    ness, make, become = _qualities(plain)
    gerunds = [
        Word(w.stem + "ad", english.verb_forms(w.gloss)["gerund"], w.field, "affix")
        for name in ("act", "make", "treat")
        for w in verb[name]
        if w.origin == "root" and " " not in w.gloss
    ]
    ables = [
        Word(w.stem + "ebl", english.able(w.gloss), w.field, "affix")
        for name in ("make", "treat")
        for w in verb[name]
        if w.origin == "root" and " " not in w.gloss.split("/")[0]
    ]
    noun["abstract"] = _unseen(_unseen(noun["abstract"], gerunds), ness)
    verb["become"] = _unseen(verb["become"], become)
    for name in ("go", "act", "make", "treat"):
        verb[name] = _unseen(verb[name], _verbs_of(verb[name]))
    verb["make"] = _unseen(verb["make"], make)
    adjective["thing"] = _unseen(adjective["thing"], ables)
    adjective["relational"] = _relational(noun)
    made: dict[str, Category] = {}
    for kind, table in (("noun", noun), ("verb", verb), ("adjective", adjective)):
        for name, words in table.items():
            made[f"{kind}.{name}"] = Category(f"{kind}.{name}", kind, words)
    for name, words in _collect(adjectives.ADVERBS).items():
        made[f"adverb.{name}"] = Category(f"adverb.{name}", "fixed", words)
    for name, block in (("country", names.COUNTRIES), ("city", names.CITIES)):
        made[f"name.{name}"] = Category(f"name.{name}", "name", parse(block, "travel"))
    waters = [word for word in parse(names.WATERS, "nature") if word.stem.endswith("o")]
    made["name.water"] = Category("name.water", "name", waters)
    for name, block in (("month", names.MONTHS), ("weekday", names.WEEKDAYS)):
        made[f"calendar.{name}"] = Category(f"calendar.{name}", "name", parse(block, "time"))
    made["adjective.people"] = Category(
        "adjective.people", "adjective", parse(names.PEOPLES, "society")
    )
    made["noun.unit"] = Category("noun.unit", "noun", parse(names.UNITS, "work"))
    made |= _digits()
    return made


def _digits() -> dict[str, Category]:
    spans = {"year": range(1700, 2031), "few": range(2, 100), "day": range(1, 32)}
    spans["many"] = range(100, 10_000, 37)
    return {
        f"digits.{name}": Category(
            f"digits.{name}", "fixed", [Word(str(n), str(n), "science") for n in span]
        )
        for name, span in spans.items()
    }


def lemma(kind: str, stem: str) -> str:
    """Return the dictionary form of a word."""
    return stem + {"noun": "o", "verb": "i", "adjective": "a"}.get(kind, "")


def inflect(kind: str, stem: str, form: str) -> str:
    """Return one Esperanto form.

    Nouns, adjectives and names take number and case (`sn`, `pa`); adjectives also `e`; verbs a
    finite ending or a participle such as `ita.sn` or `ante`.
    """
    if kind == "verb":
        ending, _, agreement = form.partition(".")
        return stem + ending + _agreement(agreement)
    if kind == "noun":
        return stem + "o" + _agreement(form)
    if kind == "adjective":
        return stem + (form if form == "e" else "a" + _agreement(form))
    if kind == "name":
        return stem + _agreement(form)
    return stem + "-an" if form == "day" else stem


def _agreement(form: str) -> str:
    return ("j" if form[:1] == "p" else "") + ("n" if form[1:2] == "a" else "")


def features(kind: str, form: str) -> str:
    """Return the Universal Dependencies features of a form, in the manner of UD Esperanto-Prago."""
    if kind == "verb":
        ending, _, agreement = form.partition(".")
        if ending in FINITE:
            return FINITE[ending]
        voice = "Act" if "nt" in ending else "Pass"
        marks = f"Tense={TENSES[ending[0]]}|VerbForm=Part|Voice={voice}"
        return f"{agreed(agreement)}|{marks}" if agreement else marks
    if kind == "adjective" and form != "e":
        return agreed(form, "Degree=Pos|")
    return agreed(form) if kind in ("noun", "name") else "_"


def agreed(form: str, middle: str = "") -> str:
    """Return the features of number and case, with further ones between them."""
    return f"Case={CASES[form[1]]}|{middle}Number={NUMBERS[form[0]]}"


def translate(kind: str, gloss: str, form: str) -> str:
    """Return one English form.

    Nouns: `s`, `p`; adjectives: `j`, `er`, `est`, `ly`, `very:ly`; verbs: `base`, `third`, `past`,
    `participle`, `gerund`; `a:` before a form asks for the indefinite article.
    """
    if form.startswith("a:"):
        return english.indefinite(translate(kind, gloss, form[2:]))
    if kind == "verb":
        return english.verb_forms(gloss)[form]
    if kind == "noun":
        return english.plural(gloss) if form == "p" else english.singular(gloss)
    if kind == "adjective" and form.endswith(":ly"):
        return english.adverb(gloss, form.removesuffix(":ly"))
    if kind == "adjective" and form in ("er", "est"):
        return english.comparison(gloss)[form == "est"]
    return english.adverb(gloss) if kind == "adjective" and form == "ly" else gloss
