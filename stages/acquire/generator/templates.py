"""Sentence plans compiled to flat arrays, so that numpy can fill thousands at once.

A compiled sentence is a run of parts; part i is `pieces[offset[i] + value of variable[i]]`. A piece
is a string that already has its capital and the space before it. Fixed text is a block of one piece
with variable 0, whose value is always 0; variable 1 holds the separator before the sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stages.acquire.generator import plans
from stages.acquire.generator.outlines import Plan
from stages.acquire.generator.tokens import En, Eo
from stages.acquire.generator.vocabulary import Category, features, inflect, lemma, translate

SEPARATORS = ("", " ", "\n\n")
RESERVED = 2
"""Variables 0 (always zero) and 1 (separator)."""
ZERO = "zero"


@dataclass
class Runs:
    """Runs of parts, one per template: `start`, `length` index `offset` and `variable`."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    offset: NDArray[np.int64]
    variable: NDArray[np.int64]


class Pieces:
    """All strings that sentences are made of, in blocks of one form of one category."""

    def __init__(self, categories: dict[str, Category]) -> None:
        self._categories = categories
        self._blocks: dict[tuple[str, ...], int] = {}
        self._strings: list[str] = []

    def fixed(self, text: str) -> int:
        """Return the place of a piece of fixed text."""
        return self._block(("fixed", text), lambda: [text])

    def separators(self) -> int:
        """Return the place of the separators."""
        return self._block(("separators",), lambda: list(SEPARATORS))

    def esperanto(self, category: str, form: str, space: bool, case: str) -> int:
        """Return the place of one Esperanto form of every word of a category."""
        key = ("eo", category, form, str(space), case)
        kind = self._categories[category].kind
        return self._block(key, lambda: [
            _shaped(inflect(kind, word.stem, form), space, case)
            for word in self._categories[category].words
        ])  # fmt: skip

    def english(self, category: str, form: str, space: bool, case: str) -> int:
        """Return the place of one English form of every word of a category."""
        key = ("en", category, form, str(space), case)
        kind = self._categories[category].kind
        return self._block(key, lambda: [
            _shaped(translate(kind, word.gloss, form), space, case)
            for word in self._categories[category].words
        ])  # fmt: skip

    def annotated(self, category: str, form: str, case: str) -> int:
        """Return the place of one form of every word of a category, a tab and its lemma."""
        found = self._categories[category]
        ending = "e" if form == "e" else "-a" if form == "day" else ""

        def make() -> list[str]:
            rows = []
            for word in found.words:
                shape = _shaped(inflect(found.kind, word.stem, form), False, case)
                rows.append(
                    f"{shape}\t{word.stem + ending if ending else lemma(found.kind, word.stem)}"
                )
            return rows

        return self._block(("annotated", category, form, case), make)

    def array(self) -> NDArray[np.object_]:
        """Return all pieces as an array of strings."""
        made = np.empty(len(self._strings), dtype=object)
        made[:] = self._strings
        return made

    def _block(self, key: tuple[str, ...], make: Callable[[], list[str]]) -> int:
        if key not in self._blocks:
            self._blocks[key] = len(self._strings)
            self._strings += make()
        return self._blocks[key]


def _shaped(text: str, space: bool, case: str) -> str:
    """Return a piece; `case` is empty, `first` (a capital) or `all` (capitals)."""
    if case:
        text = text.upper() if case == "all" else text[:1].upper() + text[1:]
    return " " + text if space else text


@cache
def _is_symbol(text: str) -> bool:
    return not any(letter.isalnum() for letter in text)


def _cases(tokens: Sequence[Eo | En], upper: bool) -> list[str]:
    """Say which tokens take a capital: the first word, also of a quotation after a colon."""
    if upper:
        return ["all"] * len(tokens)
    found, waiting, colon = [], True, False
    for token in tokens:
        symbol = token.slot < 0 and _is_symbol(token.text)
        if symbol and token.right and colon:
            waiting = True
        found.append("first" if token.title or (waiting and not symbol) else "")
        if not symbol:
            waiting = False
        colon = token.text == ":"
    return found


def _spaces(tokens: Sequence[Eo | En]) -> list[bool]:
    """Say which tokens have a space before them."""
    tight = [True, *(token.right for token in tokens[:-1])]
    return [not (t or token.left) for t, token in zip(tight, tokens, strict=True)]


Part = tuple[int, int]


class Pool:
    """A pool of compiled plans: `headings` first, then sentences."""

    def __init__(
        self, categories: dict[str, Category], seed: str, num_headings: int, num_sentences: int,
        gold: bool,
    ) -> None:  # fmt: skip
        rng = random.Random(seed)
        self.num_headings = num_headings
        self.plans: list[Plan] = [plans.heading(rng) for _ in range(num_headings)]
        self.plans += [plans.sentence(rng) for _ in range(num_sentences)]
        self._categories = categories
        self._pieces = Pieces(categories)
        self.numbers = {name: number for number, name in enumerate(categories)}
        self.eo = _runs([self._esperanto(plan) for plan in self.plans])
        self.en = _runs([self._english(plan) for plan in self.plans] if gold else [])
        self.gold = _runs([self._conllu(plan) for plan in self.plans] if gold else [])
        slots = [[ZERO, ZERO, *plan.slots] for plan in self.plans]
        numbers = [[self.numbers[name] for name in names] for names in slots]
        self.slots = _runs([[(number, 0) for number in row] for row in numbers])
        self.patterns = [" ".join(token.upos for token in plan.eo) for plan in self.plans]
        self.phenomena = sorted({name for plan in self.plans for name in plan.phenomena})
        self.shows = np.array(
            [[name in plan.phenomena for name in self.phenomena] for plan in self.plans],
            dtype=np.int64,
        )
        self.num_tokens = np.array([len(plan.eo) for plan in self.plans], dtype=np.int64)
        self.pieces = self._pieces.array()

    def _esperanto(self, plan: Plan) -> list[Part]:
        made: list[str | Part] = [(self._pieces.separators(), 1)]
        marks = zip(plan.eo, _spaces(plan.eo), _cases(plan.eo, plan.upper), strict=True)
        made += [self._form(plan, token, space, case) for token, space, case in marks]
        return self._compact(made)

    def _form(self, plan: Plan, token: Eo, space: bool, case: str) -> str | Part:
        if token.slot < 0:
            return _shaped(token.text, space, case)
        place = self._pieces.esperanto(plan.slots[token.slot], token.form, space, case)
        return place, token.slot + RESERVED

    def _english(self, plan: Plan) -> list[Part]:
        made: list[str | Part] = []
        marks = zip(plan.en, _spaces(plan.en), _cases(plan.en, plan.upper), strict=True)
        for token, space, case in marks:
            if token.slot < 0:
                made.append(_shaped(token.text, space, case))
            else:
                place = self._pieces.english(plan.slots[token.slot], token.form, space, case)
                made.append((place, token.slot + RESERVED))
        return self._compact(made)

    def _conllu(self, plan: Plan) -> list[Part]:
        """Return the lines of the sentence: number, form, lemma and the rest of every token."""
        made: list[str | Part] = []
        spaces = [*_spaces(plan.eo), True]
        cases = _cases(plan.eo, plan.upper)
        for number, token in enumerate(plan.eo):
            feats = token.feats
            made.append(f"{number + 1}\t")
            if token.slot < 0:
                made.append(f"{_shaped(token.text, False, cases[number])}\t{token.lemma}")
            else:
                name = plan.slots[token.slot]
                place = self._pieces.annotated(name, token.form, cases[number])
                made.append((place, token.slot + RESERVED))
                if feats == "_":
                    feats = features(self._categories[name].kind, token.form)
            misc = "_" if spaces[number + 1] else "SpaceAfter=No"
            made.append(f"\t{token.upos}\t_\t{feats}\t_\t_\t_\t{misc}\n")
        return self._compact(made)

    def _compact(self, made: list[str | Part]) -> list[Part]:
        """Return parts with neighbouring fixed texts made one piece: joins cost by the part."""
        parts: list[Part] = []
        text = ""
        for item in made:
            if isinstance(item, str):
                text += item
                continue
            if text:
                parts.append((self._pieces.fixed(text), 0))
                text = ""
            parts.append(item)
        return [*parts, (self._pieces.fixed(text), 0)] if text else parts


def _runs(rows: list[list[Part]]) -> Runs:
    length = np.array([len(row) for row in rows], dtype=np.int64)
    flat = np.array([part for row in rows for part in row], dtype=np.int64).reshape(-1, 2)
    start = np.cumsum(length) - length
    return Runs(start, length, flat[:, 0].copy(), flat[:, 1].copy())
