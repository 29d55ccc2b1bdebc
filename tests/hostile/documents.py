"""Hostile documents by name: what each holds, and what must become of it.

A fate is `kept` (not a byte changed), `mended` (kept, changed by the normalising rules; `becomes`
says to what, where it is not enough that it changed) or the name of the rule that drops it. They
all pass the stages as one raw folder, each as one JSON line; `line` runs and accounts for them.
"""

from __future__ import annotations

import base64
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

KEPT, MENDED = "kept", "mended"
SOUNDS = [*"bdfgklmnprstvzĉŝĝ"]
CONTROLS = [*range(0, 9), 0xB, 0xC, *range(0xE, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0)]
"""Control characters but tab, line feed, carriage return and NEL, which are blanks or line ends."""
INVISIBLE = [0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB]
DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
SMALL, LARGE = 200_000, 8_000_000
"""Characters of the longest lines: in `make test`, and in `make hostile`. Longer ones than the
memory bound, refused by the readers, are cases of `files`."""


@dataclass(frozen=True)
class Document:
    """A document and its fate."""

    name: str
    text: str
    fate: str
    becomes: str | None = None


def prose(seed: object, words: int = 25) -> str:
    """Return sentences of made-up words that no other seed gives."""
    draw = random.Random(str(seed))

    def word() -> str:
        return "".join(
            draw.choice(SOUNDS) + draw.choice("aeiou") for _ in range(draw.randint(1, 4))
        )

    found = [word() + draw.choice(("", "", "", "n", "s", ",")) for _ in range(words)]
    found[0] = found[0].capitalize()
    return " ".join(found).rstrip(",") + "."


def _pair(name: str) -> tuple[str, str]:
    return prose(f"{name} 1"), prose(f"{name} 2")


def documents(line_characters: int = SMALL) -> list[Document]:
    """Return all documents; `line_characters` is the length of the longest lines."""
    groups = (
        _characters(), _shapes(), _forms(), _blanks(), _spellings(), _patterns(), _markup(),
        _repetition(), _large(line_characters),
    )  # fmt: skip
    return [one for group in groups for one in group]


def _characters() -> Iterator[Document]:
    """Characters that are none, or that nobody sees."""
    for code in (*CONTROLS, *INVISIBLE):
        one, two = _pair(f"invisible {code}")
        yield Document(f"invisible_{code:04x}", f"{one}{chr(code)} {two}", MENDED, f"{one} {two}")
    for code in DIRECTIONS:
        one, two = _pair(f"direction {code}")
        yield Document(f"direction_{code:04x}", f"{one} {chr(code)}{two}", KEPT)
    others = {
        "joiner": "\u200d", "non_joiner": "\u200c", "private_use": "\ue000\uf8ff",
        "private_plane": "\U000f0000\U0010fffd", "unassigned": "\u0378\U0002fffd",
        "no_character": "\ufdd0\ufffe\uffff\U0001fffe\U0010ffff", "replacement": "\ufffd",
        "tags": "\U000e0041\U000e007f", "variation": "\u270c\ufe0f\U000e0100",
        "object": "\ufffc", "blank_letters": "\u3164\u115f\u1160\uffa0",
        "braille_blank": "\u2800", "mongolian_vowel": "\u180e",
    }  # fmt: skip
    for name, characters in others.items():
        one, two = _pair(name)
        yield Document(name, f"{one} {characters} {two}", KEPT)
    yield Document("nul_only", "\0" * 400, "empty")
    yield Document("marks_only", "\ufeff" * 400, "empty")
    yield Document("zero_width_only", "\u200b\u2060" * 400, "empty")
    yield Document("replacement_only", "\ufffd" * 400, "few_letters")
    yield Document("private_use_only", "\ue123" * 400, "few_letters")
    yield Document("tags_only", "\U000e0041" * 400, "few_letters")
    one = prose("zero width in words")
    yield Document("zero_width_in_words", "\u200b".join(one), MENDED, one)
    one = prose("nul in words")
    yield Document("nul_in_words", "\0".join(one), MENDED, one)


def _shapes() -> Iterator[Document]:
    """Scripts, directions, marks upon marks."""
    one = prose("zalgo")
    yield Document("zalgo", "".join(letter + "\u0335\u0489" * 6 for letter in one), "few_letters")
    yield Document("combining_flood", "q" + "\u0315" * 30_000, "few_letters")
    yield Document("combining_without_letter", "\u0301" * 3000, "few_letters")
    yield Document("right_to_left", "\u202e" + prose("right to left")[::-1], KEPT)
    yield Document("directions_nested", "\u202b" * 500 + prose("nested"), "few_letters")
    yield Document("arabic", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645" * 3, KEPT)
    yield Document("han_without_blanks", "\u6f22\u5b57\u8d8a\u5357" * 700, KEPT)
    yield Document("thai", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35" * 12, KEPT)
    yield Document("gothic", "\U00010330\U00010331\U00010332 \U00010333\U00010334" * 9, KEPT)
    yield Document(
        "emoji_families", "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 60, "few_letters"
    )
    yield Document("flags", "\U0001f1ea\U0001f1f4" * 60, "few_letters")
    yield Document("dotted_i", "\u0130stanbul \u0130\u0130\u0130 kaj " + prose("dotted"), KEPT)
    yield Document("final_sigma", "\u039f\u0394\u039f\u03a3 \u03a3\u03a3 " + prose("sigma"), KEPT)
    yield Document("sharp_s", "STRA\u1e9eE stra\u00dfe " + prose("sharp"), KEPT)
    yield Document("ligatures", "\ufb01\ufb02\ufb03 " + prose("ligatures"), KEPT)
    yield Document("mathematical", "\U0001d400\U0001d41a\U0001d7d8 " + prose("mathematical"), KEPT)
    yield Document("wide_letters", "\uff21\uff22\uff23 " + prose("wide"), KEPT)


def _forms() -> Iterator[Document]:
    """What normal forms turn into more, or into less."""
    yield Document("normalisation_bomb", "\ufdfa" * 20_000, KEPT)
    grown = "\U0001d160" * 2000 + " " + prose("excluded", 1200)
    yield Document("composition_excluded", grown, MENDED, unicodedata.normalize("NFC", grown))
    one = prose("decomposed", 40)
    yield Document("decomposed", unicodedata.normalize("NFD", one), MENDED, one)
    yield Document("singleton", "\u212bngstr\u00f6m \u2126 " + prose("singleton"), MENDED)
    yield Document("jamo", "\u1112\u1161\u11ab\u1100\u1173\u11af " * 30, MENDED)
    yield Document("marks_out_of_order", "a\u0315\u0300\u05ae\u0062 " + prose("order"), MENDED)
    yield Document("hundred_marks", "e" + "\u0323\u0301" * 50 + " " + prose("marks", 60), MENDED)


def _blanks() -> Iterator[Document]:
    """Nothing, or nearly; and every kind of line end."""
    yield Document("empty", "", "empty")
    for name, text in {
        "blanks": " " * 4000, "tabs": "\t" * 900, "line_feeds": "\n" * 9000,
        "carriage_returns": "\r" * 900, "wide_blanks": "\u3000\u2003\u00a0" * 300,
        "separators": "\u2028\u2029\x85" * 300, "mixed_blanks": " \t\r\n\u00a0\u205f\x1c" * 200,
    }.items():  # fmt: skip
        yield Document(name + "_only", text, "empty")
    for number, end in enumerate(("\r\n", "\r", "\x85", "\u2028", "\u2029", "\n\r", "\r\r\n")):
        one, two = _pair(f"line end {number}")
        whole = one + "\n" * (2 if end in ("\n\r", "\r\r\n") else 1) + two
        yield Document(f"line_end_{number}", f"{one}{end}{two}", MENDED, whole)
    one, two = _pair("line ends mixed")
    yield Document("line_ends_mixed", f"{one}\r{two}\r\n{one[:9]}\u2028{two[:9]}\n", MENDED)
    one, two = _pair("blank runs")
    yield Document("blank_runs", f"{one}{' ' * 5000}{two}", MENDED, f"{one} {two}")
    one, two = _pair("empty lines")
    lines = "\n \n" * 3000
    yield Document("empty_lines", f"{one}{lines}{two}", MENDED, f"{one}\n\n{two}")
    yield Document("one_letter", "q", KEPT)
    yield Document("one_word", "nenionfaranto", KEPT)
    yield Document("one_sign", "?", KEPT)
    yield Document("one_surrogate_pair", "\U0001f4a9", KEPT)
    yield Document("signs_only", "?!.,;:" * 40, "few_letters")
    yield Document("digits_only", "1234567890 " * 40, "few_letters")
    yield Document("dashes_only", "\u2014 - \u2013 " * 40, "few_letters")
    yield Document("symbols_only", "#{}<>|\\~^=*" * 40, "few_letters")


def _spellings() -> Iterator[Document]:
    """Text that was read wrongly before, and text that spells what programs obey."""
    one = prose("mojibake", 60) + " ŝanĝo ĉe ĝi"
    wrong = one.encode().decode("latin-1")
    yield Document("mojibake", wrong, MENDED)
    two = prose("mojibake twice", 60) + " ĵaŭdo eĥoŝanĝo"
    wrong = two.encode().decode("latin-1").encode().decode("latin-1")
    yield Document("mojibake_twice", wrong, MENDED)
    for name, text in {
        "special_tokens": "<s> </s> <pad> <unk> <mask> <|endoftext|> [CLS] ",
        "placeholders": "%s%n%x {0} {} ${HOME} $(id) `id` ",
        "query": "'; DROP TABLE documents; -- ", "path": "../../../etc/passwd ",
        "formula": "=CMD(1) +1 -1 @SUM(1) ", "quotes": "\"\"\"''' \\\" \\' \\u0000 \\x00 \\n ",
        "escapes": "\\ud800 &#0; &#xd800; &#x110000; %00 %ff ",
        "json": '{"text": null, "id": NaN} ', "yaml": "- &a [*a] !!python/object:os.system ",
        "terminal": "[31m[2J]0;title ", "script": "<script>alert(1)</script> ",
        "entities": "&lol9;&lol8; <!ENTITY lol \"lol\"> ",
    }.items():  # fmt: skip
        yield Document(name, text + prose(name, 150), KEPT)
    yield Document(
        "x_system", "cxiuj sxafoj gxojas kaj vi auxskultas, cxar mi sxatas gxin.", MENDED
    )
    yield Document("base64", base64.b64encode(random.Random(1).randbytes(60_000)).decode(), KEPT)
    yield Document("hexadecimal", random.Random(2).randbytes(40_000).hex(), "few_letters")
    yield Document("long_words", " ".join("q" * 20_000 + str(n) for n in range(9)), "long_words")


def _patterns() -> Iterator[Document]:
    """What regular expressions of the rules might try at every place, and mostly in vain."""
    once = {
        "addresses_begun": "a@", "addresses_nearly": "a.b@c.", "phones_begun": "+1 ",
        "phones_nearly": "0 1-", "digits_run": "1", "digits_dashes": "1-", "cards_begun": "4 ",
        "accounts_begun": "GB82 ", "colons": ":", "addresses_6": "1:",
        "tokens_begun": "eyJaaaaaaaa.",
        "secrets_begun": 'password = "', "private_keys_begun": "-----BEGIN PRIVATE KEY-----",
        "brackets": "[", "plates_begun": "[Illustration\n", "asterisks": "*** ",
        "books_begun": "*** START OF THE PROJECT GUTENBERG EBOOK\n", "menus": "| ",
        "menus_begun": "a | b > c ", "copyright": "\u00a9", "cookies": "uses cookies ",
        "dots": ".", "ellipses": "\u2026", "quotation": "'", "cries": "Ha! ", "numbers": "1. ",
        "numbered_lines": "1.\n", "mojibake_begun": "\u00c3", "emoji_begun": "\u00f0\u0178",
        "x_pairs": "cx", "underscores": "_", "hyphens": "a-", "markup_begun": "<",
        "templates": "{{", "comments": "<!--", "slashes": "a/", "equals": "=a=\n",
    }  # fmt: skip
    fates = {
        "addresses_begun": KEPT, "accounts_begun": KEPT, "private_keys_begun": KEPT,
        "cookies": KEPT, "mojibake_begun": KEPT, "emoji_begun": KEPT, "x_pairs": KEPT,
        "addresses_nearly": KEPT, "cries": KEPT, "tokens_begun": MENDED,
        "hyphens": "near_duplicate",
        "slashes": "near_duplicate",
        "secrets_begun": "many_symbols", "menus_begun": "many_symbols",
        "books_begun": "many_symbols", "plates_begun": "repeated_lines",
    }  # fmt: skip
    for name, unit in once.items():
        text = unit * (30_000 // len(unit))
        yield Document(name, text.strip(), fates.get(name, "few_letters"))
    yield Document("address", prose("address") + " skribu al a.b@mail.example.org nun", MENDED)
    yield Document("phone", prose("phone") + " voku +48 22 123 45 67 nun", MENDED)


def _markup() -> Iterator[Document]:
    """Pages and data that were taken for text."""
    depth = 100_000
    yield Document("html_deep", "<div>" * depth + prose("deep") + "</div>" * depth, "many_symbols")
    yield Document("json_deep", "[" * 20_000 + "]" * 20_000, "few_letters")
    yield Document("braces_deep", "{" * 20_000 + prose("braces") + "}" * 20_000, "few_letters")
    rows = "\n".join(f'"a""b";"c\n{n}";,,,"' for n in range(2000))
    yield Document("csv_quotes", rows, "few_letters")


def _repetition() -> Iterator[Document]:
    """The same again and again."""
    yield Document("line_many_times", "la sama linio denove\n" * 3000, "repeated_lines")
    yield Document("verse_many_times", "La sama verso venas.\n" * 3000, MENDED)
    yield Document("sentence_many_times", "La sama frazo venas denove. " * 3000, MENDED)
    one = prose("copied", 300)
    yield Document("original", one, KEPT)
    yield Document("copy", one, "exact_duplicate")
    yield Document("copy_in_capitals", one.upper(), "exact_duplicate")
    yield Document("copy_with_blanks", one.replace(" ", "\n "), "exact_duplicate")
    yield Document("copy_with_zero_widths", one.replace(" ", "\u200b "), "exact_duplicate")
    yield Document("copy_with_a_word_more", one + " plie", "near_duplicate")


def _large(characters: int) -> Iterator[Document]:
    """Lines that are as long as files."""
    times = max(100_000, characters // 8)
    yield Document("token_million_times", "la " * (times - 1) + "la", KEPT)
    words = [prose(f"long {number}", 4) for number in range(997)]
    draw = random.Random(3)
    piece = " ".join(draw.choices(words, k=40_000))
    whole = (piece + " ") * (characters // len(piece) + 1)
    yield Document("long_line", whole[:characters].strip(), KEPT)
    yield Document("long_word", "q" * (characters // 4), KEPT)
