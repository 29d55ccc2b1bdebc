"""Personal data and secrets in text, by type: found by form, believed by check digit or context.

    type      found                                          not taken
    email     name@host.tld, name [at] host.tld
    phone     as `filters.private` always did                years, shares of longer numbers
    ip        IPv4 and IPv6 addresses                        private, local and reserved ranges;
                                                             numbers after `version` or `§`
    key       tokens with a known head, `secret = "..."`,    words, short or one-sided strings
              `SECRET=...`, scheme://user:secret@host,
              blocks of private keys
    iban      country, check digits (ISO 7064 mod 97-10)     wrong check digits or lengths
    card      13 to 19 digits of payment cards               wrong check digit (Luhn), other heads,
                                                             lengths that a head does not have

Placeholders are StarCoder's where it has one (Li et al. 2023, arXiv 2305.06161, section 4):
`<IP_ADDRESS>`, `<KEY>`; the two oldest types keep their `[email]` and `[phone]`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

Kind = Literal["email", "phone", "ip", "key", "iban", "card"]
KINDS: tuple[str, ...] = get_args(Kind)
PLACEHOLDERS = {"ip": "<IP_ADDRESS>", "key": "<KEY>", "iban": "<IBAN>", "card": "<CARD>"}

_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"
    r"|(?=[0-9A-Fa-f:]*::?[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{2,39}(?![\w:]))"
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"
    r"|[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?)(?!\w)"
)
_CARD = re.compile(r"(?<![\w.+-])(?:\d(?:[ -]?\d){12,18}|\d{4}(?:\.\d{4}){3})(?![\w-])(?!\.\d)")
_KEY = re.compile(
    r"""-----BEGIN[ A-Z]{0,40}PRIVATE\ KEY-----[^-]*(?:-(?!----(?:BEGIN|END))[^-]*)*
      -----END[ A-Z]{0,40}PRIVATE\ KEY-----
    |(?<![A-Za-z0-9])(?:
        AKIA[0-9A-Z]{16} | gh[pousr]_[A-Za-z0-9]{36,} | github_pat_[A-Za-z0-9_]{40,}
        | xox[abprs]-[A-Za-z0-9-]{10,} | AIza[0-9A-Za-z_-]{35} | [sr]k_live_[0-9A-Za-z]{16,}
        | hf_[A-Za-z0-9]{30,} | glpat-[A-Za-z0-9_-]{20,} | sk-[A-Za-z0-9_-]{32,}
        | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}
      )(?![A-Za-z0-9])
    |(?i:api_?key|secret(?:_?key)?|access_?token|auth_?token|password|passwd|pwd)
      ["']?\ ?(?:=>|=|:)\ ?(?:["'](?P<value>[^"'\s]{8,128})["']
        |(?P<bare>[A-Za-z0-9+\/_-]{16,128})(?![\w"'(.]))
    |[a-z][a-z0-9+.-]{1,15}:\/\/[^\s:@\/]{1,64}:(?P<word>[^\s:@\/]{8,128})@(?=[\w.-])""",
    re.X,
)
_DIGIT = re.compile(r"\d")
_IBAN_HEAD = re.compile(r"[A-Za-z]{2}\d{2}")
_DOTTED = re.compile(r"\d\.\d")
_KEY_HEADS = (
    "-----begin", "akia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "aiza",
    "k_live_", "hf_", "glpat-", "sk-", "eyj", "apikey", "api_key", "secret", "accesstoken",
    "access_token", "authtoken", "auth_token", "password", "passwd", "pwd", "://",
)  # fmt: skip
"""What of `_KEY` must stand in a text, in lower case, for it to match."""
FOLDED = ("\u017f", "\u0130", "\u0131", "\u212a")
"""Letters that match s, i and k without regard to case, and are not these in lower case."""
LEAST_CARD_DIGITS = 13
MOST_DIGITS = 1 << 60
IBAN_LENGTHS = range(15, 35)
CARD_HEADS = (
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|095|[689])"), range(14, 20)),
    (re.compile(r"35(?:2[89]|[3-8])"), range(16, 20)),
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),
    (re.compile(r"6|5[06-9]"), range(16, 20)),
)
"""First digits of payment cards and how many digits such numbers have (ISO/IEC 7812)."""
VERSION = re.compile(
    r"(?i:\bv|\bver\.?|\bversi(?:on|o|one|ón|ona|oj|ons)|\brelease|\bsection|\bchapter|§+)[\s:.#]*$"
)
"""What stands before four numbers that are no address: a version, a section."""
VERSION_ROOM = 16
LEAST_BITS = 2.5
"""Entropy per character below which an assigned secret is a word such as `password`."""


class Found(NamedTuple):
    """One finding: characters [start, stop) of a text."""

    start: int
    stop: int
    kind: str


def is_public_address(text: str) -> bool:
    """Tell whether a text is an address that belongs to somebody."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def is_iban(text: str) -> bool:
    """Tell whether the check digits of an account number are right (ISO 13616)."""
    bare = re.sub(r"[ -]", "", text)
    if len(bare) not in IBAN_LENGTHS:
        return False
    return int("".join(str(int(one, 36)) for one in bare[4:] + bare[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Tell whether a number may be a payment card's: its head and its last digit (Luhn)."""
    digits = re.sub(r"[ .-]", "", text)
    heads = [sizes for head, sizes in CARD_HEADS if head.match(digits)]
    if not any(len(digits) in sizes for sizes in heads) or len(set(digits)) < 3:
        return False
    total = 0
    for place, one in enumerate(reversed(digits)):
        value = int(one) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_secret(text: str) -> bool:
    """Tell whether an assigned value looks drawn: letters and digits, of some entropy."""
    if not re.search(r"\d", text) or not re.search(r"[A-Za-z]", text):
        return False
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits >= LEAST_BITS


_CHECKED: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "key": (_KEY, lambda text: True),
    "iban": (_IBAN, is_iban),
    "card": (_CARD, is_card),
    "ip": (_IP, is_public_address),
}


def digits(text: str) -> int:
    """Return how many digits stand in a text, of any script."""
    return len(_DIGIT.findall(text))


def _may_have(kind: str, text: str, digits: int) -> bool:
    """Tell whether looking for a kind is worth its time: whether what it needs is there at all."""
    if kind == "key":
        lower = text.lower()
        return any(head in lower for head in _KEY_HEADS) or any(one in text for one in FOLDED)
    if kind == "iban":
        return digits > 1 and _IBAN_HEAD.search(text) is not None
    if kind == "card":
        return digits >= LEAST_CARD_DIGITS
    return (digits > 3 and _DOTTED.search(text) is not None) or text.count(":") > 1


def find(text: str, kinds: Sequence[str], digits: int = MOST_DIGITS) -> list[Found]:
    """Return what is found of some kinds among key, iban, card and ip; nothing overlaps.

    `digits` are those of the text, where they were counted.
    """
    found: list[Found] = []
    for kind, (pattern, believed) in _CHECKED.items():
        if kind not in kinds or not _may_have(kind, text, digits):
            continue
        for match in pattern.finditer(text):
            start, stop = match.span()
            part = match.lastgroup if kind == "key" else None
            if part is not None:
                start, stop = match.span(part)
                if not is_secret(match[part]):
                    continue
            if kind == "ip" and VERSION.search(text[max(0, start - VERSION_ROOM) : start]):
                continue
            if believed(text[start:stop]):
                found.append(Found(start, stop, kind))
    found.sort(key=lambda one: (one.start, -one.stop))
    kept: list[Found] = []
    for one in found:
        if not kept or one.start >= kept[-1].stop:
            kept.append(one)
    return kept


def redacted(text: str, found: Sequence[Found]) -> str:
    """Return a text with placeholders for what was found."""
    pieces, at = [], 0
    for one in found:
        pieces += [text[at : one.start], PLACEHOLDERS[one.kind]]
        at = one.stop
    return "".join([*pieces, text[at:]])
