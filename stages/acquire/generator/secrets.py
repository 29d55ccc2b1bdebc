"""Personal data and secrets in many written forms, and decoys that only look like some.

Forms are those in use (ITU-T E.123 and national habits for telephones, RFC 5322 and 4291,
ISO 13616, ISO/IEC 7812, the heads that services put before their keys), values are drawn:
telephones from ranges that regulators keep for fiction, domains from those that RFC 2606 reserves,
everything else at random. Nothing here is taken from, or checked against, what looks for them.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable

Draw = Callable[[random.Random], str]
_NAMES = ("info", "j.k.petro", "maria_l", "redakcio", "a-b", "x", "klubo.eo", "sekretario99")
_DOMAINS = ("example.org", "example.com", "mail.example.net", "posto.example", "a.b.example.edu")


def _of(rng: random.Random, letters: str, count: int) -> str:
    return "".join(letters[int(rng.random() * len(letters))] for _ in range(count))


def _digits(rng: random.Random, count: int) -> str:
    return _of(rng, string.digits, count)


def _one(rng: random.Random, options: tuple[str, ...]) -> str:
    return options[int(rng.random() * len(options))]


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _mixed(rng: random.Random, count: int) -> str:
    return _of(rng, string.ascii_letters + string.digits, count)


def _address(rng: random.Random) -> str:
    """Return an IPv4 address that may belong to somebody."""
    return f"{_between(rng, 23, 99)}." + ".".join(str(_between(rng, 1, 254)) for _ in range(3))


def _groups(rng: random.Random, count: int) -> list[str]:
    return [_of(rng, "123456789abcdef", 1) + _of(rng, "0123456789abcdef", 3) for _ in range(count)]


def iban(rng: random.Random, country: str, length: int, bank: str = "") -> str:
    """Return an account number with right check digits (ISO 7064, mod 97-10)."""
    account = bank + _digits(rng, length)
    number = int("".join(str(int(one, 36)) for one in account + country + "00"))
    return f"{country}{98 - number % 97:02d}{account}"


def card(rng: random.Random, head: str, length: int) -> str:
    """Return a number of some length with a right last digit (Luhn, ISO/IEC 7812-1)."""
    body = head + _digits(rng, length - len(head) - 1)
    total = 0
    for place, one in enumerate(reversed(body)):
        value = int(one) * (2 - place % 2)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def _wrong(text: str) -> str:
    """Return a number with another last digit."""
    return text[:-1] + str((int(text[-1]) + 1) % 10)


def _spaced(text: str, size: int, sign: str) -> str:
    return sign.join(text[at : at + size] for at in range(0, len(text), size))


FORMS: dict[str, dict[str, Draw]] = {
    "email": {
        "plain": lambda r: f"{_one(r, _NAMES)}@{_one(r, _DOMAINS)}",
        "capitals": lambda r: f"{_one(r, _NAMES)}@{_one(r, _DOMAINS)}".upper(),
        "tagged": lambda r: f"{_one(r, _NAMES)}+listo{_digits(r, 2)}@{_one(r, _DOMAINS)}",
        "mailto": lambda r: f"mailto:{_one(r, _NAMES)}@{_one(r, _DOMAINS)}",
        "letters": lambda r: f"ĉefo{_digits(r, 2)}@ĵurnalo.example",
        "spelled": lambda r: f"{_one(r, _NAMES)} [at] {_one(r, _DOMAINS)}",
    },
    "phone": {
        "london": lambda r: f"+44 20 7946 0{_digits(r, 3)}",
        "london-zero": lambda r: f"+44 (0)20 7946 0{_digits(r, 3)}",
        "national": lambda r: f"01632 960{_digits(r, 3)}",
        "berlin": lambda r: f"030/23125 {_digits(r, 3)}",
        "berlin-00": lambda r: f"0049 30 23125-{_digits(r, 3)}",
        "paris": lambda r: f"01 99 00 {_digits(r, 2)} {_digits(r, 2)}",
        "paris-dots": lambda r: f"01.99.00.{_digits(r, 2)}.{_digits(r, 2)}",
        "sydney": lambda r: f"(02) 5550 {_digits(r, 4)}",
        "america": lambda r: f"({_between(r, 201, 989)}) 555-01{_digits(r, 2)}",
        "run": lambda r: f"+1{_between(r, 201, 989)}55501{_digits(r, 2)}",
    },
    "ip": {
        "v4": _address,
        "v4-port": lambda r: f"{_address(r)}:{_between(r, 1024, 65000)}",
        "v6": lambda r: "2a0" + _of(r, "0123456789", 1) + ":" + ":".join(_groups(r, 7)),
        "v6-short": lambda r: "2a02:" + ":".join(_groups(r, 2)) + "::" + _groups(r, 1)[0],
        "v4-bracket": lambda r: f"[{_address(r)}]",
    },
    "iban": {
        "run": lambda r: iban(r, "DE", 18),
        "fours": lambda r: _spaced(iban(r, "FR", 23), 4, " "),
        "long": lambda r: _spaced(iban(r, "PL", 24), 4, " "),
        "short": lambda r: iban(r, "NO", 11),
        "small": lambda r: _spaced(iban(r, "DE", 18), 4, " ").lower(),
        "dashes": lambda r: _spaced(iban(r, "ES", 20), 4, "-"),
    },
    "card": {
        "run": lambda r: card(r, "4", 16),
        "fours": lambda r: _spaced(card(r, "52", 16), 4, " "),
        "dashes": lambda r: _spaced(card(r, "2221", 16), 4, "-"),
        "fifteen": lambda r: card(r, "37", 15),
        "dots": lambda r: _spaced(card(r, "4", 16), 4, "."),
    },
    "key": {
        "aws": lambda r: "AKIA" + _of(r, string.ascii_uppercase + "234567", 16),
        "github": lambda r: "ghp_" + _mixed(r, 36),
        "slack": lambda r: f"xoxb-{_digits(r, 12)}-{_mixed(r, 24)}",
        "stripe": lambda r: "sk_live_" + _mixed(r, 24),
        "assigned": lambda r: f'api_key = "{_mixed(r, 32)}"',
        "environment": lambda r: f"SECRET_KEY={_mixed(r, 40)}",
        "json": lambda r: f'"password": "{_mixed(r, 14)}"',
        "address": lambda r: f"postgres://app:{_mixed(r, 16)}@db.example.org/eo",
        "token": lambda r: f"eyJ{_mixed(r, 20)}.eyJ{_mixed(r, 40)}.{_mixed(r, 43)}",
        "block": lambda r: (
            f"-----BEGIN PRIVATE KEY-----\n{_mixed(r, 64)}\n"
            f"{_mixed(r, 40)}\n-----END PRIVATE KEY-----"
        ),
    },
}
"""Drawers of true values by type and form."""

LATER: dict[str, dict[str, Draw]] = {
    "email": {
        "angles": lambda r: f"<{_one(r, _NAMES)}@{_one(r, _DOMAINS)}>",
        "full-stop": lambda r: f"{_one(r, _NAMES)}@{_one(r, _DOMAINS)}.",
        "island": lambda r: f"{_one(r, _NAMES)}@xn--fiqs8s.example",
    },
    "phone": {
        "mobile": lambda r: f"0491 570 0{_digits(r, 2)}",
        "france": lambda r: f"+33 1 99 00 {_digits(r, 2)} {_digits(r, 2)}",
        "link": lambda r: f"tel:+44207946{_digits(r, 4)}",
        "slash": lambda r: f"01632/960{_digits(r, 3)}",
        "extension": lambda r: f"+44 20 7946 0{_digits(r, 3)} ext. {_digits(r, 2)}",
    },
    "ip": {
        "address": lambda r: f"http://{_address(r)}/index.html",
        "net": lambda r: f"{_address(r)}/24",
        "mapped": lambda r: f"::ffff:{_address(r)}",
        "v6-capitals": lambda r: ("2a03:" + ":".join(_groups(r, 7))).upper(),
    },
    "iban": {
        "britain": lambda r: _spaced(iban(r, "GB", 14, _of(r, string.ascii_uppercase, 4)), 4, " "),
        "named": lambda r: f"IBAN:{iban(r, 'IT', 22, 'X')}",
    },
    "card": {
        "fourteen": lambda r: card(r, "36", 14),
        "american": lambda r: "-".join(
            (one[:4], one[4:10], one[10:]) if (one := card(r, "34", 15)) else ()
        ),
    },
    "key": {
        "bearer": lambda r: f"Authorization: Bearer {_mixed(r, 40)}",
        "yaml": lambda r: f"client_secret: {_mixed(r, 32)}",
        "hub": lambda r: "hf_" + _mixed(r, 34),
        "map": lambda r: "AIza" + _mixed(r, 35),
    },
}
"""Further forms, written before any detector was changed for what `FORMS` showed, and reported
apart: no detector was fitted to these."""

DECOYS: dict[str, dict[str, Draw]] = {
    "email": {
        "handle": lambda r: f"@{_one(r, _NAMES)}",
        "rate": lambda r: f"{_digits(r, 1)}@{_digits(r, 2)} eŭroj",
        "package": lambda r: f"pako@{_digits(r, 1)}.{_digits(r, 1)}.{_digits(r, 2)}",
    },
    "phone": {
        "years": lambda r: f"{_between(r, 1700, 1890)}-{_between(r, 1900, 2020)}",
        "date": lambda r: f"{_between(r, 1900, 2024)}-0{_between(r, 1, 9)}-{_between(r, 10, 28)}",
        "date-dots": lambda r: (
            f"0{_between(r, 1, 9)}.0{_between(r, 1, 9)}.{_between(r, 1900, 2024)}"
        ),
        "price": lambda r: f"{_between(r, 1, 9)} {_digits(r, 3)} {_digits(r, 3)},00",
        "isbn": lambda r: f"978-0-{_digits(r, 3)}-{_digits(r, 5)}-{_digits(r, 1)}",
        "ratio": lambda r: f"0,{_digits(r, 9)}",
        "order": lambda r: f"n-ro {_digits(r, 11)}",
        "pages": lambda r: f"p. {_between(r, 100, 400)}-{_between(r, 401, 999)}",
    },
    "ip": {
        "version": lambda r: (
            f"versio {_between(r, 2, 9)}.{_between(r, 0, 30)}.{_digits(r, 1)}.{_digits(r, 1)}"
        ),
        "section": lambda r: (
            f"§ {_between(r, 1, 9)}.{_between(r, 1, 9)}.{_between(r, 1, 9)}.{_between(r, 1, 9)}"
        ),
        "private": lambda r: f"192.168.{_between(r, 0, 254)}.{_between(r, 1, 254)}",
        "documentation": lambda r: f"203.0.113.{_between(r, 1, 254)}",
        "object": lambda r: f"1.3.6.1.4.1.{_digits(r, 4)}",
        "too-large": lambda r: f"{_between(r, 300, 999)}.{_between(r, 1, 254)}.1.1",
        "time": lambda r: f"{_between(r, 10, 23)}:{_between(r, 10, 59)}:{_between(r, 10, 59)}",
        "mac": lambda r: ":".join(_of(r, "0123456789abcdef", 2) for _ in range(6)),
        "loopback": lambda r: "::1",
    },
    "iban": {
        "wrong": lambda r: _wrong(iban(r, "DE", 18)),
        "wrong-fours": lambda r: _spaced(_wrong(iban(r, "FR", 23)), 4, " "),
        "part": lambda r: f"XK{_digits(r, 2)} {_of(r, string.ascii_uppercase, 4)} {_digits(r, 4)}",
    },
    "card": {
        "wrong": lambda r: _wrong(card(r, "4", 16)),
        "wrong-fours": lambda r: _spaced(_wrong(card(r, "51", 16)), 4, " "),
        "time": lambda r: f"17{_digits(r, 11)}",
        "barcode": lambda r: "0" + _digits(r, 12),
        "handset": lambda r: card(r, "35", 15),
    },
    "key": {
        "md5": lambda r: _of(r, "0123456789abcdef", 32),
        "sha256": lambda r: _of(r, "0123456789abcdef", 64),
        "uuid": lambda r: "-".join(_of(r, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)),
        "word": lambda r: 'password = "changeme"',
        "lookup": lambda r: 'token = os.environ["SERVICE_TOKEN"]',
        "commit": lambda r: f"commit {_of(r, '0123456789abcdef', 40)}",
        "placeholder": lambda r: 'api_key = "YOUR_API_KEY_HERE"',
        "image": lambda r: f"data:image/png;base64,{_mixed(r, 60)}==",
    },
}
"""Drawers of what only looks like a type."""
