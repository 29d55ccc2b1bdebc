"""The plan of a finished sentence, and the phenomena that its tokens show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from stages.acquire.generator.tokens import Builder, En, Eo
from stages.acquire.generator.vocabulary import categories, features

SHOWN = {
    "Case=Acc": "accusative", "VerbForm=Part": "participle", "VerbForm=Inf": "infinitive",
    "Mood=Sub": "conditional", "Reflex=Yes": "reflexive", "Poss=Yes": "possessive",
}  # fmt: skip


@dataclass
class Plan:
    """A sentence plan: tokens of both languages, the variables' categories, the phenomena.

    `upper` is a heading in capitals.
    """

    eo: list[Eo]
    en: list[En]
    slots: list[str]
    phenomena: list[str]
    upper: bool = False


def finished(b: Builder, eo: list[Eo], en: list[En]) -> Plan:
    """Return the plan of a sentence whose tokens are complete."""
    eo, en = _tidied(eo), _tidied(en)
    phenomena = b.phenomena - {*SHOWN.values(), "plural"}
    phenomena.update(name for token in eo for name in shown(token, b.slots))
    # A phrase that was tried and dropped leaves variables that no token uses.
    used = sorted({token.slot for token in eo if token.slot >= 0})
    if used == list(range(len(b.slots))):
        return Plan(eo, en, b.slots, sorted(phenomena))
    place = {slot: number for number, slot in enumerate(used)} | {-1: -1}
    return Plan(
        [replace(token, slot=place[token.slot]) for token in eo],
        [replace(token, slot=place[token.slot]) for token in en],
        [b.slots[slot] for slot in used],
        sorted(phenomena),
    )


def shown(token: Eo, slots: list[str]) -> list[str]:
    """Return the phenomena that the features of a token show."""
    feats = token.feats
    if token.slot >= 0 and feats == "_":
        feats = features(categories()[slots[token.slot]].kind, token.form)
    found = [name for mark, name in SHOWN.items() if mark in feats]
    if "Number=Plur" in feats.split("|") and token.upos in ("NOUN", "ADJ", "VERB"):
        found.append("plural")
    return found


Token = TypeVar("Token", Eo, En)


def _tidied(tokens: list[Token]) -> list[Token]:
    """Drop a comma that another mark follows, or that opens the sentence or a quotation."""
    kept: list[Token] = []
    for token in tokens:
        if token.left and token.slot < 0 and token.text in ",.;:!?…)":
            while kept and kept[-1].text == "," and kept[-1].slot < 0:
                kept.pop()
        if token.text == "," and token.slot < 0 and (not kept or kept[-1].right):
            continue
        kept.append(token)
    return kept
