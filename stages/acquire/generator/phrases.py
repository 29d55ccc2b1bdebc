"""Noun phrases: determiners, adjectives, numbers, and agreement in number and case."""

from __future__ import annotations

from dataclasses import replace

from stages.acquire.generator.lexicon.names import NUMERALS, ORDINALS, ROMAN
from stages.acquire.generator.tokens import Builder, En, Eo, Phrase, articled, fixed, mark, words
from stages.acquire.generator.vocabulary import CASES, NUMBERS, agreed

COUNTED = ("person", "animal", "place", "thing", "idea", "group")
UNCOUNTED = ("mass", "abstract")
FITTING = {
    "person": "person", "animal": "person", "group": "person", "place": "thing", "thing": "thing",
    "mass": "thing", "idea": "idea", "abstract": "idea", "time": "any",
}  # fmt: skip
SUBJECTS = {"person": 5.0, "group": 1.2, "animal": 0.8}
THEMES = {"thing": 3.0, "idea": 3.0, "place": 1.0, "abstract": 1.5, "mass": 0.8, "group": 0.8}
PRONOUNS = {
    "mi": ("I", "me", "s", 1), "vi": ("you", "you", "p", 2), "li": ("he", "him", "s", 3),
    "ŝi": ("she", "her", "s", 3), "ĝi": ("it", "it", "s", 3), "ni": ("we", "us", "p", 1),
    "ili": ("they", "them", "p", 3), "oni": ("one", "one", "s", 3),
}  # fmt: skip
WEIGHTS = {
    "mi": 6.0, "vi": 3.0, "li": 4.0, "ŝi": 3.0, "ĝi": 1.5, "ni": 4.0, "ili": 3.0, "oni": 2.0,
}  # fmt: skip
OWNERS = {
    "mia": ("my", "s", 1), "via": ("your", "p", 2), "lia": ("his", "s", 3), "ŝia": ("her", "s", 3),
    "ĝia": ("its", "s", 3), "nia": ("our", "p", 1), "ilia": ("their", "p", 3),
}  # fmt: skip
SINGLE = {
    "ĉiu": ("every", "Tot"), "iu": ("some", "Ind"), "neniu": ("no", "Neg"),
    "tia": ("such", "Dem"),
    "ia": ("some kind of", "Ind"), "ĉia": ("every kind of", "Tot"), "nenia": ("no kind of", "Neg"),
}  # fmt: skip
MANY = {
    "ĉiu": ("all", "DET", "Tot"), "kelka": ("some", "DET", "Ind"), "multa": ("many", "ADJ", ""),
    "plura": ("several", "ADJ", ""), "ambaŭ": ("both", "DET", "Tot"),
    "tia": ("such", "DET", "Dem"), "iu": ("certain", "DET", "Ind"),
}  # fmt: skip
LONE = {
    "tio": ("that", "Dem"), "ĉio": ("everything", "Tot"), "io": ("something", "Ind"),
    "nenio": ("nothing", "Neg"), "iu": ("somebody", "Ind"), "neniu": ("nobody", "Neg"),
    "ĉiu": ("everybody", "Tot"), "tiu": ("that one", "Dem"),
}  # fmt: skip
ARTICLE = Eo("la", "DET", "la", "Definite=Def|PronType=Art")
DEGREES = (("plej", "est"), ("pli", "er"), ("tre", "very"), ("tro", "excessively"))
PARTITIVE = {"multe": "a lot of", "iom": "a little", "malmulte": "little", "tiom": "so much"}


def joined(stem: str, form: str) -> str:
    """Return a stem with the endings of number and case (`sn`, `pa`, ...)."""
    if stem == "ambaŭ":
        return stem
    return stem + ("j" if form[0] == "p" else "") + ("n" if form[1] == "a" else "")


def pronoun(b: Builder, case: str, only: tuple[str, ...] = ()) -> Phrase:
    """Return a personal pronoun."""
    weights = {name: WEIGHTS[name] for name in only} if only else dict(WEIGHTS)
    if case == "a":
        weights.pop("oni", None)
    name = b.weighted(weights)
    _, target, number, person = PRONOUNS[name]
    feats = f"Case={CASES[case]}|Number={NUMBERS[number]}|Person={person}|PronType=Prs"
    token = Eo(name + ("n" if case == "a" else ""), "PRON", name, feats)
    b.note("pronoun")
    plural = number == "p"
    return Phrase([token], [En(target)], plural, person, True)


def subject_pronoun(b: Builder, only: tuple[str, ...] = ()) -> Phrase:
    """Return a personal pronoun as a subject."""
    found = pronoun(b, "n", only)
    english = PRONOUNS[found.eo[0].lemma][0]
    return Phrase(found.eo, [En(english)], found.plural, found.person, True)


def correlative(b: Builder, case: str) -> Phrase:
    """Return a correlative that stands for a noun (`tio`, `neniu`)."""
    name = b.among(tuple(LONE))
    b.note("correlative")
    token = fixed(
        joined(name, "s" + case), "PRON", name, f"{agreed('s' + case)}|PronType={LONE[name][1]}"
    )
    eo = [token]
    english = LONE[name][0]
    if name in ("tio", "tiu") and b.chance(0.4):
        eo = [fixed("ĉi", "PART"), token]
        english = {"tio": "this", "tiu": "this one"}[name]
    elif name in ("iu", "io") and b.chance(0.3):
        eo = [token, fixed("ajn", "PART")]
        english = {"iu": "anybody", "io": "anything"}[name]
    elif name in ("io", "ĉio", "nenio") and b.chance(0.5):
        quality = b.slot("adjective.any")
        eo = [token, b.word(quality, "s" + case, "ADJ")]
        return Phrase(eo, [En(english), En("", quality, "j")])
    return Phrase(eo, words(english))


def those(b: Builder) -> Phrase:
    """Return a correlative that a relative clause explains (`tiuj, kiuj ...`)."""
    b.note("correlative")
    name, english, kind = b.among((("tiu", "those", "Dem"), ("ĉiu", "all those", "Tot"),
                                   ("multa", "many", ""), ("kelka", "some", "Ind")))  # fmt: skip
    feats = f"{agreed('pn')}|PronType={kind}" if kind else agreed("pn", "Degree=Pos|")
    upos = "PRON" if name in ("tiu", "ĉiu") else "ADJ" if name == "multa" else "DET"
    return Phrase([Eo(joined(name, "pn"), upos, name, feats)], words(english), True)


def adjective(b: Builder, kind: str, form: str, definite: bool) -> tuple[list[Eo], list[En]]:
    """Return an adjective that fits a class of nouns, sometimes graded."""
    source = b.weighted({"any": 2.0, FITTING[kind]: 4.0, "relational": 1.0, "people": 0.3})
    slot = b.slot(f"adjective.{source}")
    token = b.word(slot, form, "ADJ")
    if source not in ("relational", "people") and b.chance(0.14):
        degree, english = b.among(DEGREES if definite else DEGREES[1:])
        if english in ("er", "est"):
            b.note("comparison" if english == "er" else "superlative")
            return [fixed(degree, "ADV"), token], [En("", slot, english)]
        return [fixed(degree, "ADV"), token], [En(english), En("", slot, "j")]
    return [token], [En("", slot, "j")]


def participle(b: Builder, form: str) -> tuple[list[Eo], list[En]]:
    """Return a participle that stands before a noun; in English it follows the noun."""
    b.note("participle")
    if b.chance(0.5):
        slot = b.slot("verb.become")
        return [b.word(slot, "anta." + form, "VERB")], [En("", slot, "gerund")]
    slot = b.slot(b.among(("verb.make", "verb.treat")))
    ending = b.among(("ita", "ata", "ota"))
    english = {"ita": [], "ata": words("being"), "ota": words("to be")}[ending]
    if ending == "ita":
        return [b.word(slot, "ita." + form, "VERB")], [En("", slot, "participle")]
    return [b.word(slot, f"{ending}.{form}", "VERB")], [*english, En("", slot, "participle")]


def modifiers(
    b: Builder, kind: str, form: str, definite: bool
) -> tuple[list[Eo], list[En], list[Eo], list[En]]:
    """Return what stands before a noun and its English, then what stands after the noun."""
    before: list[Eo] = []
    english: list[En] = []
    after: list[Eo] = []
    english_after: list[En] = []
    count = int(b.weighted({"0": 5.0, "1": 4.0, "2": 1.2, "3": 0.15}))
    for index in range(count):
        verbal = b.chance(0.09)
        eo, en = participle(b, form) if verbal else adjective(b, kind, form, definite)
        side = english_after if verbal else english
        if index and b.chance(0.6):
            link = "kaj" if b.chance(0.6) else ","
            b.note("coordination")
            before.append(fixed("kaj", "CCONJ") if link == "kaj" else mark(","))
            side += words("and" if link == "kaj" or verbal else ",") if side else []
        elif verbal and side:
            side += words("and")
        if count == 1 and b.chance(0.06):
            after = eo
        else:
            before += eo
        side += en
    return before, english, after, english_after


def number(b: Builder) -> tuple[list[Eo], list[En]]:
    """Return a number in digits or words."""
    if b.chance(0.4):
        slot = b.slot(b.weighted({"digits.few": 3.0, "digits.many": 1.0}))
        b.note("digits")
        return [Eo("", "NUM", feats="NumType=Card", slot=slot, form="x")], [En("", slot, "x")]
    b.note("number-word")
    name = b.among(tuple(NUMERALS))
    tokens = [fixed(part, "NUM", feats="NumForm=Word|NumType=Card") for part in name.split()]
    return tokens, words(NUMERALS[name])


def _determiner(b: Builder, kind: str, plural: bool, case: str) -> tuple[list[Eo], list[En], str]:
    """Return a determiner, its English, and `a` where English wants an indefinite article."""
    form = ("p" if plural else "s") + case
    choice = b.weighted(
        {
            "la": 9.0,
            "none": 3.5,
            "owner": 2.2,
            "this": 1.6,
            "each": 1.5,
            "number": 1.2,
            "order": 0.5,
        }
    )
    if choice == "order" and kind in UNCOUNTED or choice == "number" and not plural:
        choice = "la"
    if choice == "la":
        return [ARTICLE], words("the"), ""
    if choice == "none":
        return [], [], "" if plural or kind in UNCOUNTED else "a"
    if choice == "owner":
        name = b.among(tuple(OWNERS))
        return [owner(b, name, form)], words(OWNERS[name][0]), ""
    if choice == "this":
        return _this(b, plural, form)
    if choice == "number":
        eo, en = number(b)
        return ([ARTICLE, *eo], [*words("the"), *en], "") if b.chance(0.2) else (eo, en, "")
    if choice == "order":
        return _order(b, form)
    b.note("correlative")
    if plural:
        name = b.among(tuple(MANY))
        english, upos, kind_of = MANY[name]
        feats = f"{agreed(form)}|PronType={kind_of}" if kind_of else agreed(form, "Degree=Pos|")
        return [Eo(joined(name, form), upos, name, feats)], words(english), ""
    name = b.among(tuple(SINGLE)[:4] if kind not in UNCOUNTED else ("ia", "ĉia", "nenia"))
    english, kind_of = SINGLE[name]
    token = Eo(joined(name, form), "DET", name, f"{agreed(form)}|PronType={kind_of}")
    if name == "iu" and b.chance(0.3):
        return [token, fixed("ajn", "PART")], words("any"), ""
    if name == "tia":
        return [token], words(english), "a"
    return [token], words(english), ""


def owner(b: Builder, name: str, form: str) -> Eo:
    """Return a possessive in agreement with its noun."""
    b.note("possessive")
    number, person = OWNERS[name][1:] if name in OWNERS else ("s", 3)
    reflex = "|Reflex=Yes" if name == "sia" else ""
    marks = f"Number[psor]={NUMBERS[number]}|Person={person}|Poss=Yes|PronType=Prs{reflex}"
    return Eo(joined(name, form), "PRON", name, f"{agreed(form)}|{marks}")


def _this(b: Builder, plural: bool, form: str) -> tuple[list[Eo], list[En], str]:
    b.note("correlative")
    token = Eo(joined("tiu", form), "DET", "tiu", f"{agreed(form)}|PronType=Dem")
    near = b.chance(0.45)
    english = ("these" if plural else "this") if near else ("those" if plural else "that")
    return ([fixed("ĉi", "PART"), token] if near else [token]), words(english), ""


def _order(b: Builder, form: str) -> tuple[list[Eo], list[En], str]:
    b.note("ordinal")
    name = b.among(tuple(ORDINALS))
    token = Eo(joined(name, form), "ADJ", name, agreed(form, "Degree=Pos|"))
    return [ARTICLE, token], words(f"the {ORDINALS[name]}"), ""


def noun(
    b: Builder, kind: str, case: str, plural: bool | None = None, bare: bool = False,
    articles: bool = True,
) -> Phrase:  # fmt: skip
    """Return a noun of a class with its adjectives and, unless `bare`, its determiner.

    `articles` says whether English puts `a` where Esperanto has no determiner.
    """
    if plural is None:
        plural = kind not in UNCOUNTED and b.chance(0.3)
    form = ("p" if plural else "s") + case
    eo, en, article = ([], [], "a") if bare else _determiner(b, kind, plural, case)
    if bare and (plural or kind in UNCOUNTED or not articles):
        article = ""
    before, english, after, english_after = modifiers(b, kind, form, eo[:1] == [ARTICLE])
    slot = b.slot(f"noun.{kind}")
    core = [*english, En("", slot, "p" if plural else "s"), *english_after]
    if article:
        core = articled(core)
    body = [*before, b.word(slot, form, "NOUN"), *after]
    if eo == [ARTICLE] and kind in ("group", "idea", "place") and b.chance(0.03):
        b.note("title")
        body = [replace(t, title=t.upos in ("ADJ", "NOUN")) for t in body]
        core = [replace(t, title=t.slot >= 0) for t in core]
    return Phrase([*eo, *body], [*en, *core], plural)


def name(b: Builder, case: str, kind: str = "") -> Phrase:
    """Return a proper noun of a place."""
    b.note("proper-noun")
    slot = b.slot(kind or b.weighted({"name.country": 3.0, "name.city": 4.0, "name.water": 1.0}))
    return Phrase([b.word(slot, "s" + case, "PROPN")], [En("", slot, "s")])


def esperanto(b: Builder, case: str) -> Phrase:
    """Return the name of the language, or a language by its people."""
    if b.chance(0.5):
        b.note("proper-noun")
        text = joined("Esperanto", "s" + case)
        return Phrase([Eo(text, "PROPN", "Esperanto", agreed("s" + case))], [En("Esperanto")])
    slot = b.slot("adjective.people")
    tongue = Eo(joined("lingvo", "s" + case), "NOUN", "lingvo", agreed("s" + case))
    english = [En("the"), En("", slot, "j"), En("language")]
    return Phrase([ARTICLE, b.word(slot, "s" + case, "ADJ"), tongue], english)


def quantity(b: Builder, case: str) -> Phrase:
    """Return an amount with `da`."""
    b.note("quantity")
    stuff = b.slot("noun.mass")
    if b.chance(0.5):
        text = b.among(tuple(PARTITIVE))
        upos = "PRON" if text == "tiom" else "ADV"
        eo = [fixed(text, upos), fixed("da", "ADP"), b.word(stuff, "sn", "NOUN")]
        return Phrase(eo, [*words(PARTITIVE[text]), En("", stuff, "s")])
    plural = b.chance(0.5)
    unit = b.slot("noun.unit")
    one = fixed("unu", "NUM", feats="NumForm=Word|NumType=Card")
    counted, spoken = number(b) if plural else ([one], words("one"))
    form = ("p" if plural else "s") + case
    eo = [*counted, b.word(unit, form, "NOUN"), fixed("da", "ADP"), b.word(stuff, "sn", "NOUN")]
    measure = En("", unit, "p" if plural else "s")
    return Phrase(eo, [*spoken, measure, En("of"), En("", stuff, "s")], plural)


def roman(b: Builder, kind: str = "idea") -> Phrase:
    """Return a noun numbered with a Roman numeral."""
    text = b.among(ROMAN)
    slot = b.slot(f"noun.{kind}")
    eo = [b.word(slot, "sn", "NOUN"), fixed(text, "NUM", feats="NumType=Card")]
    return Phrase(eo, [En("", slot, "s"), En(text)])
