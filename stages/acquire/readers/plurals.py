"""Which plural form a language uses for a number: the C expression of a catalogue's header.

Read by a small parser of its own, with bounds; nothing a catalogue says is ever run as code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

_HEADER = re.compile(r"nplurals\s*=\s*(\d{1,2})\s*;\s*plural\s*=\s*([^;]{1,1000})", re.I)
_TOKEN = re.compile(r"\s*(\d{1,9}|\|\||&&|[=!<>]=|[n?:<>+\-*/%!()])")
_LEVELS: tuple[dict[str, Callable[[int, int], int]], ...] = (
    {"||": lambda a, b: int(bool(a or b))},
    {"&&": lambda a, b: int(bool(a and b))},
    {"==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b)},
    {
        "<": lambda a, b: int(a < b),
        ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b),
        ">=": lambda a, b: int(a >= b),
    },
    {"+": lambda a, b: a + b, "-": lambda a, b: a - b},
    {"*": lambda a, b: a * b, "/": lambda a, b: a // b, "%": lambda a, b: a % b},
)
_DEEPEST = 40
_MANY = range(2, 200)


@lru_cache(maxsize=512)
def forms(header: str) -> tuple[int, int]:
    """Return the number of the form for one, and of that which most numbers above one have.

    Without a rule that can be read these are the first and the last (-1).
    """
    found = _HEADER.search(header)
    if found is None:
        return 0, -1
    count, rule = int(found[1]), found[2]
    try:
        one = _value(rule, 1)
        many = Counter(_value(rule, n) for n in _MANY).most_common(1)[0][0]
    except (ValueError, ZeroDivisionError):
        return 0, -1
    return (one, many) if 0 <= one < count and 0 <= many < count else (0, -1)


def _value(rule: str, n: int) -> int:
    parser = _Parser(rule, n)
    value = parser.choice(0)
    if parser.at != len(parser.tokens):
        raise ValueError(rule)
    return value


class _Parser:
    """Evaluates while it parses, both branches of a choice."""

    def __init__(self, rule: str, n: int) -> None:
        self.tokens: list[str] = []
        self.at, self.n = 0, n
        at, rule = 0, rule.rstrip()
        while at < len(rule):
            found = _TOKEN.match(rule, at)
            if found is None:
                raise ValueError(rule)
            self.tokens.append(found[1])
            at = found.end()

    def _take(self, *wanted: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def choice(self, depth: int) -> int:
        """Return the value of `a ? b : c` or of what stands for it."""
        if depth > _DEEPEST:
            raise ValueError("too deep")
        value = self._level(0, depth)
        if not self._take("?"):
            return value
        yes = self.choice(depth + 1)
        if not self._take(":"):
            raise ValueError("`?` without `:`")
        no = self.choice(depth + 1)
        return yes if value else no

    def _level(self, level: int, depth: int) -> int:
        if level == len(_LEVELS):
            return self._unit(depth)
        value = self._level(level + 1, depth)
        while operator := self._take(*_LEVELS[level]):
            value = _LEVELS[level][operator](value, self._level(level + 1, depth))
        return value

    def _unit(self, depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if self._take("!"):
            return int(not self._unit(depth + 1))
        if self._take("("):
            value = self.choice(depth + 1)
            if not self._take(")"):
                raise ValueError("`(` without `)`")
            return value
        if self._take("n"):
            return self.n
        if self.at < len(self.tokens) and self.tokens[self.at].isdigit():
            self.at += 1
            return int(self.tokens[self.at - 1])
        raise ValueError("no value")
