"""SPDX licence expressions against a list of allowed identifiers (SPDX 2.3, annex D)."""

from __future__ import annotations

import re
from collections.abc import Collection

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
NONE = ("", "none", "noassertion", "unknown", "null", "na", "n/a")
"""Spellings of no licence at all."""


class Unreadable(ValueError):
    """A text that is no licence expression."""


def states(text: str) -> bool:
    """Tell whether a text says anything of a licence."""
    return text.strip().lower() not in NONE


def allowed(expression: str, identifiers: Collection[str]) -> bool:
    """Tell whether an expression may be used under some identifiers, given in lower case.

    OR asks one side, AND both, AND binds tighter; an exception (WITH) only adds to what its licence
    permits. Raises `Unreadable` for what is no expression.
    """
    tokens = [token.lower() for token in _TOKEN.findall(expression)]
    found, rest = _either(tokens, identifiers)
    if rest:
        raise Unreadable(f"{rest[0]!r} is too much in {expression!r:.80}")
    return found


def _either(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    found, rest = _both(tokens, known)
    while rest and rest[0] == "or":
        other, rest = _both(rest[1:], known)
        found = found or other
    return found, rest


def _both(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    found, rest = _one(tokens, known)
    while rest and rest[0] == "and":
        other, rest = _one(rest[1:], known)
        found = found and other
    return found, rest


def _one(tokens: list[str], known: Collection[str]) -> tuple[bool, list[str]]:
    if not tokens or tokens[0] in (")", "and", "or", "with"):
        raise Unreadable("an identifier is missing")
    if tokens[0] == "(":
        found, rest = _either(tokens[1:], known)
        if not rest or rest[0] != ")":
            raise Unreadable("a parenthesis is not closed")
        return found, rest[1:]
    name, rest = tokens[0], tokens[1:]
    if rest and rest[0] == "with":
        if len(rest) < 2 or rest[1] in ("(", ")", "and", "or", "with"):
            raise Unreadable("an exception is missing")
        return name in known or f"{name} with {rest[1]}" in known, rest[2:]
    return name in known, rest
