"""Duplicates that only pairs have: equal in their letters, or one side with many others."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence

from stages.refine.ledger import Ledger
from stages.refine.pairing import PairRules
from stages.refine.spool import Spool

Key = Callable[[str], str]


def without(settings: PairRules, ledger: Ledger, spool: Spool, kept: list[int]) -> list[int]:
    """Drop later ones of nearly equal pairs, and of one side's many others; return who is left."""
    if settings.near_duplicates != "none":
        key = _plain if settings.near_duplicates == "letters" else _bare
        kept = _near(key, ledger, spool, kept)
    sides = ("source_text", "target_text")
    if settings.max_targets:
        kept = _many("many_targets", sides, settings.max_targets, ledger, spool, kept)
    if settings.max_sources:
        other = (sides[1], sides[0])
        kept = _many("many_sources", other, settings.max_sources, ledger, spool, kept)
    return kept


def _near(key: Key, ledger: Ledger, spool: Spool, kept: Sequence[int]) -> list[int]:
    rule, left, first = ledger.rule("near_pair"), [], dict[bytes, int]()
    for number in kept:
        record, size = spool[number], spool.size(number)
        place = _digest(key(record["source_text"]) + "\n" + key(record["target_text"]))
        other = first.setdefault(place, number)
        if other != number:
            ledger.drop(rule, str(record["id"]), size, f"of {spool[other]['id']}")
            continue
        rule.pass_on(size, size)
        left.append(number)
    return left


def _many(
    name: str, sides: tuple[str, str], most: int, ledger: Ledger, spool: Spool, kept: Sequence[int]
) -> list[int]:
    """Keep the first `most` different texts of side `sides[1]` for each text of `sides[0]`."""
    rule, left = ledger.rule(name), []
    others: dict[bytes, set[bytes]] = defaultdict(set)
    for number in kept:
        record, size = spool[number], spool.size(number)
        known = others[_digest(record[sides[0]])]
        known.add(_digest(record[sides[1]]))
        if len(known) > most:
            ledger.drop(
                rule, str(record["id"]), size, f"{most} others of {record[sides[0]][:60]!r}"
            )
            known.discard(_digest(record[sides[1]]))
            continue
        rule.pass_on(size, size)
        left.append(number)
    return left


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _plain(text: str) -> str:
    """Return a text's letters, marks and digits, case-folded; texts without any stay."""
    solid = "".join(
        character for character in text.casefold() if unicodedata.category(character)[0] in "LMN"
    )
    return solid or text


def _bare(text: str) -> str:
    """Return a text's letters without accents, every digit being 0."""
    apart = unicodedata.normalize("NFD", text.casefold())
    # Vowel signs of Indic scripts are marks that combine with class 0: they are no accents.
    solid = (one for one in apart if unicodedata.category(one)[0] in "LMN")
    kept = ("0" if one.isdigit() else one for one in solid if not unicodedata.combining(one))
    return "".join(kept) or text
