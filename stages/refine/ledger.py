"""What went into and came out of every rule: documents, characters, tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r"\w+")
UNITS = ("documents", "characters", "tokens")
Lose = Callable[[str, str, str], None]
"""Takes an id, the rule that dropped it, and the detail."""


def count_tokens(text: str) -> int:
    """Return the number of `\\w+` runs."""
    return len(_TOKEN.findall(text))


@dataclass(slots=True)
class Size:
    """Documents, characters and tokens of a text or of many."""

    documents: int = 0
    characters: int = 0
    tokens: int = 0

    def add(self, other: Size) -> None:
        """Add another size to this one."""
        self.documents += other.documents
        self.characters += other.characters
        self.tokens += other.tokens


def measure(text: str) -> Size:
    """Return the size of one document."""
    return Size(1, len(text), count_tokens(text))


@dataclass(slots=True)
class Rule:
    """One line of the ledger."""

    name: str
    entered: Size = field(default_factory=Size)
    left: Size = field(default_factory=Size)
    changed: int = 0

    def pass_on(self, before: Size, after: Size | None) -> None:
        """Record one document: `after` is None where the rule dropped it."""
        self.entered.add(before)
        if after is not None:
            self.left.add(after)
            self.changed += after is not before

    def row(self) -> dict[str, Any]:
        """Return the rule as it stands in ledger.json."""
        return {
            "rule": self.name,
            "documents_in": self.entered.documents,
            "documents_out": self.left.documents,
            "characters_in": self.entered.characters,
            "characters_out": self.left.characters,
            "tokens_in": self.entered.tokens,
            "tokens_out": self.left.tokens,
            "documents_changed": self.changed,
        }


class Ledger:
    """The rules in the order in which documents meet them, and every loss with its reason."""

    def __init__(self, lose: Lose) -> None:
        self.rules: list[Rule] = []
        self._lose = lose

    def rule(self, name: str) -> Rule:
        """Append a rule and return it."""
        self.rules.append(Rule(name))
        return self.rules[-1]

    def drop(self, rule: Rule, identity: str, size: Size, detail: str) -> None:
        """Record that a rule dropped a document."""
        rule.pass_on(size, None)
        self._lose(identity, rule.name, detail)

    def losing(self, lose: Lose) -> Lose:
        """Send losses elsewhere from now on; returns where they went before."""
        before, self._lose = self._lose, lose
        return before

    def told(self, identity: str, rule: str, detail: str) -> None:
        """Pass a loss on that is counted already."""
        self._lose(identity, rule, detail)

    def sums(self) -> list[list[int]]:
        """Return every rule's numbers: what entered and left, and how many were changed."""
        return [
            [
                *(getattr(size, name) for size in (rule.entered, rule.left) for name in UNITS),
                rule.changed,
            ]
            for rule in self.rules
        ]

    def add(self, sums: Sequence[Sequence[int]], anew: bool = False) -> None:
        """Add numbers of `sums` to every rule's, or put them in their place."""
        for rule, row in zip(self.rules, sums, strict=True):
            if anew:
                rule.entered, rule.left, rule.changed = Size(), Size(), 0
            rule.entered.add(Size(*row[:3]))
            rule.left.add(Size(*row[3:6]))
            rule.changed += row[6]

    def worst(self) -> Rule:
        """Return the rule that dropped most documents."""
        return max(self.rules, key=lambda rule: rule.entered.documents - rule.left.documents)

    def as_json(self, unit: str) -> dict[str, Any]:
        """Return ledger.json; raises AssertionError unless each rule takes what the last left."""
        rows = [rule.row() for rule in self.rules]
        check(rows)
        return {"rules": rows, "units": {"documents": unit, "tokens": "\\w+"}}


def check(rows: Sequence[dict[str, Any]]) -> None:
    """Assert that each rule's input is the output of the rule before it."""
    for before, after in zip(rows, rows[1:], strict=False):
        for unit in ("documents", "characters", "tokens"):
            given, taken = before[f"{unit}_out"], after[f"{unit}_in"]
            if given != taken:
                raise AssertionError(
                    f"{before['rule']} left {given} {unit}, {after['rule']} took {taken}"
                )
