"""Characters that went wrong on the way: mojibake, byte order marks, controls, x-system."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_CP1252 = {
    byte: bytes([byte]).decode("cp1252")
    for byte in range(0x80, 0x100)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_BYTES: dict[str, int] = {chr(byte): byte for byte in range(0x80, 0x100)}
_BYTES.update({char: byte for byte, char in _CP1252.items()})
"""Which byte a character stands for when UTF-8 was read as Windows-1252 or Latin-1."""


def _chars(*ranges: tuple[int, int]) -> str:
    """Return the class of characters that stand for bytes in the ranges, both ends included."""
    found = [c for c, byte in _BYTES.items() if any(low <= byte <= high for low, high in ranges)]
    return "[" + "".join(map(re.escape, sorted(found))) + "]"


_TAIL = _chars((0x80, 0xBF))
_SUSPECT = re.compile(
    # Latin letters with diacritics; Greek and Cyrillic only two or more in a row, because real text
    # has `SEÑOR”`; of three bytes and more only punctuation, the byte order mark and emoji, because
    # real text has `«café»…`.
    f"(?:{_chars((0xC2, 0xC6))}{_TAIL})+"
    f"|(?:{_chars((0xCE, 0xD3))}{_TAIL}){{2,}}"
    f"|{_chars((0xE2, 0xE2))}{_chars((0x80, 0x8F))}{_TAIL}"
    f"|{_chars((0xEF, 0xEF))}{_chars((0xBB, 0xBB))}{_chars((0xBF, 0xBF))}"
    f"|{_chars((0xF0, 0xF0))}{_chars((0x9F, 0x9F))}{_TAIL}{{2}}"
)
_LEAD = re.compile(_chars((0xC2, 0xC6), (0xCE, 0xD3), (0xE2, 0xE2), (0xEF, 0xEF), (0xF0, 0xF0)))
"""What `_SUSPECT` begins with: where none stands, there is no need to look for it."""
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u00ad\u200b\u200e\u200f\u2060\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LINE_END = re.compile("\r\n?|\x85|\u2028|\u2029")
REPLACEMENT = "\ufffd"

_SUPERS = dict(zip("cghjsuCGHJSU", "ĉĝĥĵŝŭĈĜĤĴŜŬ", strict=True))
# The look-behind keeps a very long word (base64) from being tried at each of its letters.
_X_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]*[cghjsuCGHJSU][xX][^\W\d_]*")
_X_PAIR = re.compile(r"([cghjsuCGHJSU])[xX]")
_ENDING = re.compile(r"(?:[oa]j?n?|en?|i|[aiou]s|u)$")
_PARTICLE_TEXT = """
    aŭ ankaŭ antaŭ almenaŭ apenaŭ baldaŭ hieraŭ hodiaŭ morgaŭ kontraŭ kvazaŭ laŭ preskaŭ ĉirkaŭ
    ankoraŭ anstataŭ malgraŭ adiaŭ naŭ ambaŭ ĉar ĉe ĉi ĉu ĉiu ĉiuj ĉiun ĉiujn ĉie ĉien ĉiel ĉiam
    ĉiom ĉies ĉio ĉion ĉia ĝi ĝin ĝis ŝi ŝin eĉ ĵus ĉial
"""
_FOREIGN_TEXT = """
    aux eux deux ceux mieux vieux lieux yeux cieux jeux feux vœux creux faux taux maux eaux peaux
    beaux chevaux animaux journaux travaux oiseaux bateaux tableaux châteaux nouveaux morceaux
    niveaux bureaux cadeaux gâteaux heureux nombreux cheveux bordeaux roubaix margaux
"""
_PARTICLES = frozenset(_PARTICLE_TEXT.split())
_FOREIGN_X = frozenset(_FOREIGN_TEXT.split())
"""French words in -aux and -eux; the u-breve rule below takes care of -oux and the like."""


def repair_mojibake(text: str) -> str:
    """Undo UTF-8 that was read as Windows-1252 or Latin-1, wherever the bytes decode as UTF-8.

    Runs of suspect characters are judged one by one, so a text that is damaged in part is mended in
    part; text damaged twice is mended twice.
    """
    for _ in range(2):
        if not _LEAD.search(text):
            break
        mended = _SUSPECT.sub(_decode, text)
        if mended == text:
            break
        text = mended
    return text


def _decode(match: re.Match[str]) -> str:
    try:
        return bytes(_BYTES[char] for char in match[0]).decode("utf-8")
    except UnicodeDecodeError:
        return match[0]


def mojibake_share(text: str) -> float:
    """Return the share of damaged characters: wrongly read UTF-8, or U+FFFD."""
    damaged = sum(len(match[0]) for match in _SUSPECT.finditer(text) if _decode(match) != match[0])
    return (damaged + text.count(REPLACEMENT)) / max(1, len(text))


def strip_controls(text: str) -> str:
    """Drop byte order marks, soft hyphens, zero-width and control characters but tab and line feed.

    Zero-width joiners stay: Persian, Hindi and emoji need them.
    """
    return _CONTROL.sub("", text)


def unify_line_ends(text: str) -> str:
    """Turn CR LF, CR, NEL and the Unicode separators into line feeds."""
    return _LINE_END.sub("\n", text)


def compose(text: str, form: str) -> str:
    """Bring text into a Unicode normal form (`NFC`, `NFKC`)."""
    if unicodedata.is_normalized(form, text):  # type: ignore[arg-type]
        return text
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


def x_to_unicode(text: str) -> str:
    """Turn the x-system of Esperanto (`cx gx hx jx sx ux`) into letters with diacritics.

    Only where the text really is x-system: most words that carry such a pair must become Esperanto
    in form, and the text must not already be spelt with diacritics. Words that would not, such as
    `Bordeaux` or `deux`, are left alone; in a long text that is x-system throughout, bare roots and
    names (`regx`, `Kusxnir`) are respelt too.
    """
    if not _X_PAIR.search(text):  # ten times as fast to look for
        return text
    found = _X_WORD.findall(text)
    if not found:
        return text
    plausible = sum(map(_is_esperanto, found))
    if plausible < 0.6 * len(found) or plausible < sum(map(text.count, "ĉĝĥĵŝŭ")):
        return text
    judge = _may_be_esperanto if plausible >= max(20, 0.9 * len(found)) else _is_esperanto
    return _X_WORD.sub(lambda match: _letters(match[0]) if judge(match[0]) else match[0], text)


def _letters(word: str) -> str:
    return _X_PAIR.sub(lambda match: _SUPERS[match[1]], word)


def _may_be_esperanto(word: str) -> bool:
    """Tell whether nothing speaks against an x-system spelling of an Esperanto word."""
    lower = word.lower()
    spelt = _letters(lower)
    if spelt in _PARTICLES:
        return True
    if lower in _FOREIGN_X or set("xqwy") & set(spelt):
        return False
    # u-breve follows a or e (o in a few names); any other `ux` is a foreign word.
    return all(spelt[i - 1 : i] in ("a", "e") for i, char in enumerate(spelt) if char == "ŭ")


@cache
def _is_esperanto(word: str) -> bool:
    """Tell whether a word with x-system pairs has the form of an Esperanto word."""
    spelt = _letters(word.lower())
    formed = (
        spelt in _PARTICLES
        or spelt.endswith(("'", "ŭ"))
        or bool(_ENDING.search(spelt))
        or word.isupper()
    )
    return formed and _may_be_esperanto(word)
