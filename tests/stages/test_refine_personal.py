"""Personal data: precision and recall per type on planted truth, and what must stay."""

from __future__ import annotations

import random
import string

import pytest

from stages.refine import filters, personal
from stages.refine.filters import Drop

AROUND = (
    "The server at {} answered yesterday.", "({})", "see {}, please", "value: {}\nnext", "{}",
    "On 2021-03-04 at 12:30:45 we saw {} in version 1.2.3.4.5 of it.",
)  # fmt: skip


def _luhn(digits: str) -> str:
    return next(one for one in (digits + str(n) for n in range(10)) if personal.is_card(one))


def _iban(draw: random.Random, country: str, size: int) -> str:
    body = "".join(draw.choices(string.digits, k=size))
    value = int("".join(str(int(one, 36)) for one in f"{body}{country}00"))
    return f"{country}{98 - value % 97:02d}{body}"


def _plant(kind: str, draw: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    if kind == "ip":
        if draw.random() < 0.5:
            return f"{draw.choice((8, 31, 93, 151))}." + ".".join(
                str(draw.randrange(1, 255)) for _ in range(3)
            )
        return "2a00:" + ":".join(f"{draw.randrange(1, 65536):x}" for _ in range(7))
    if kind == "iban":
        whole = _iban(draw, draw.choice(("DE", "NL", "PL")), draw.choice((14, 18, 24)))
        return draw.choice((whole, " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))))
    if kind == "card":
        digits = _luhn(
            draw.choice(("4", "51", "6011")).ljust(15, "0")[:4]
            + "".join(draw.choices(string.digits, k=11))
        )
        return draw.choice((digits, "-".join(digits[at : at + 4] for at in range(0, 16, 4))))
    head, size = draw.choice((("ghp_", 36), ("hf_", 34), ("glpat-", 20), ("AKIA", 16)))
    pool = string.ascii_uppercase + string.digits if head == "AKIA" else letters
    return head + "".join(draw.choices(pool, k=size))


def _decoy(kind: str, draw: random.Random) -> str:
    """Return what looks alike and is none: private ranges, wrong check digits, plain words."""
    if kind == "ip":
        return draw.choice(("10.0.0.7", "192.168.1.1", "127.0.0.1", "::1", "fe80::1", "1.2.3.400",
                            "12:30:45", "1.2.3.4.5", "std::vector::x"))  # fmt: skip
    real = _plant(kind, draw)
    if kind == "key":
        return draw.choice(
            ('password = "changemenow"', 'secret: "${VARIABLE}"', "hf_model", "AKIA")
        )
    at = len(real) - 1
    return real[:at] + str((int(real[at]) + draw.randrange(1, 9)) % 10)


@pytest.mark.parametrize("kind", ["ip", "key", "iban", "card"])
def test_precision_and_recall_per_type(kind):
    draw = random.Random(kind)
    hits = wrong = 0
    for _ in range(300):
        secret = _plant(kind, draw)
        text = draw.choice(AROUND).format(secret)
        found = personal.find(text, personal.KINDS)
        hits += any(text[one.start : one.stop] == secret and one.kind == kind for one in found)
        wrong += sum(text[one.start : one.stop] != secret for one in found)
        decoy = draw.choice(AROUND).format(_decoy(kind, draw))
        wrong += len([one for one in personal.find(decoy, [kind])])
    assert hits >= 297, hits
    assert wrong <= 3, wrong


def test_the_filter_takes_the_types_it_is_told():
    text = 'mail a@b.example, host 93.184.215.14, token = "x", password: "h4Rd-t0-gue55"'
    assert filters.private(text, True) == text.replace("a@b.example", "[email]")
    kinds = ["ip", "key"]
    changed = filters.private(text, True, kinds)
    assert changed == text.replace("93.184.215.14", "<IP_ADDRESS>").replace(
        "h4Rd-t0-gue55", "<KEY>"
    )
    assert filters.private(text, False, kinds) == Drop("2 address(es) or number(s)")


def test_a_block_of_a_private_key_goes_whole():
    lines = ["-----BEGIN RSA PRIVATE KEY-----", "MIIB", "AAAA", "-----END RSA PRIVATE KEY-----"]
    text = "before\n" + "\n".join(lines) + "\nafter"
    assert filters.private(text, True, ["key"]) == "before\n<KEY>\nafter"
