"""Encodings and layout: each repair on a small text, and what it must leave alone."""

from __future__ import annotations

import time

import pytest

from stages.refine import encodings, filters, layout

ESPERANTO = "Ĉiuj ŝipoj aĝas, ĵus aŭdis ĥoro."


def misread(text, codec):
    data = text.encode("utf-8")
    if codec == "latin-1":
        return data.decode("latin-1")
    return "".join(
        chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252") for b in data
    )


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", [ESPERANTO, "Это длинное письмо — да.", "naïve café – œuvre"])
def test_mojibake_is_mended(text, codec):
    damaged = misread(text, codec)
    assert damaged != text
    assert encodings.mojibake_share(damaged) > 0
    assert encodings.repair_mojibake(damaged) == text


def test_mojibake_of_mojibake_and_in_part():
    assert encodings.repair_mojibake(misread(misread("ĉu ŝi", "latin-1"), "latin-1")) == "ĉu ŝi"
    assert encodings.repair_mojibake(f"ŝi {misread('ĝi', 'latin-1')}") == "ŝi ĝi"


@pytest.mark.parametrize(
    "text", ["„bittersüß“", "SEÑOR”", "«café»…", "Ça é à Ã", "20 € – «là»", ESPERANTO, "Ä, Ö, Ü"]
)
def test_right_text_is_no_mojibake(text):
    assert encodings.repair_mojibake(text) == text
    assert encodings.mojibake_share(text) == 0


def test_controls_line_ends_and_normal_form():
    assert encodings.strip_controls("\ufeffsal\u00aduton\u200b\x0c!") == "saluton!"
    assert encodings.strip_controls("می\u200cروم") == "می\u200cروم"
    assert encodings.unify_line_ends("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    assert encodings.compose("c\u0302u", "NFC") == "ĉu"
    text = "ĉu"
    assert encodings.compose(text, "NFC") is text


@pytest.mark.parametrize(
    ("spelt", "wanted"),
    [
        ("CXiuj sxipoj agxas, jxus auxdis hxoro.", "Ĉiuj ŝipoj aĝas, ĵus aŭdis ĥoro."),
        ("Ankaux mi, antaux ol...", "Ankaŭ mi, antaŭ ol..."),
        ("_cxiu_ kaj GXI", "_ĉiu_ kaj ĜI"),
        ("La Eŭropa vojagxo", "La Eŭropa vojaĝo"),
        ("Gxi iris al Bordeaux kun sxi.", "Ĝi iris al Bordeaux kun ŝi."),
    ],
)
def test_x_system_becomes_letters(spelt, wanted):
    assert encodings.x_to_unicode(spelt) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "Les deux chevaux de Bordeaux aux yeux bleus.",
        "The tuxedo and the luxury of Linux.",
        "Mi loĝas en Roubaix; ĉu vi ŝatas ĝin? Aux armes!",
        "Excel, maximum, Felix",
        "box sexto",
    ],
)
def test_other_words_keep_their_x(text):
    assert encodings.x_to_unicode(text) is text


WRAPPED = """La multekolora papilio sur la rando de siaj flugiloj portis sangon
en la aeron. La rivereto havis ruĝan akvon. El la tero disbatita per
la piedoj fariĝis marĉo, kie en malpuraj malsekaĵoj, kiuj sin kolektis
en la enbataĵoj.

Al via ombro, pintoj moviĝemaj
De l' densa kaj antikva arbareto,
Al la sanktej' kvieta de l' diino
Ankoraŭ nun kun trema sent' mi iras
"""


def test_wrapped_prose_is_joined_and_verse_is_not():
    joined = layout.unwrap(WRAPPED)
    prose, verse = joined.strip().split("\n\n")
    assert "\n" not in prose
    assert "sangon en la aeron" in prose
    assert verse.count("\n") == 3


def test_one_sentence_per_line_is_not_joined():
    text = "\n".join(
        f"Jen la {'tre ' * (i % 7)}longa frazo numero {i} de tiu listo." for i in range(9)
    )
    assert layout.unwrap(text) == text
    pair = "Ĉu vi vere volas, ke mi venu al via domo hodiaŭ vespere je la naŭa?\nJes, mi volas."
    assert layout.unwrap(pair) == pair


def test_a_few_wrapped_lines_are_joined():
    text = "La lernema knabo ne precipe donas al neniu homo libron kiun Londono\nstokas bone."
    assert layout.unwrap(text) == text.replace("\n", " ")


def test_hyphen_at_line_end_stays():
    text = WRAPPED.replace("sangon\nen la", "sangon-\nen la")
    assert "sangon-en la" in layout.unwrap(text)


def test_markers_of_electronic_books():
    text = (
        "Title\n*** START OF THE PROJECT GUTENBERG EBOOK MARTA ***\nUnu.\n[Ilustraĵo: domo]\n"
        "***UPLOADED***\nDu.\n*** END OF THE PROJECT GUTENBERG EBOOK MARTA ***\nLicence"
    )
    assert layout.strip_markers(text).strip() == "Unu.\nDu."
    plates = "[Illustraĵo: DOMO]\nUnu.\n[Ilustraĵo: AL LA\nNORDO]\n[Transcriber's Note: x]\nDu."
    assert layout.strip_markers(plates) == "Unu.\nDu."
    assert layout.strip_markers("[Ilustraĵo: la\n\ndomo]") == "[Ilustraĵo: la\n\ndomo]"
    older = (
        "*** START OF THIS PROJECT GUTENBERG EBOOK FUNDAMENTA\nKRESTOMATIO ***\n**UPLOADED***\nUnu."
        "\nEnd of Project Gutenberg's Fundamenta Krestomatio, by Zamenhof\n\nLicence"
    )
    assert layout.strip_markers(older).strip() == "Unu."
    oldest = "Print\n*END*THE SMALL PRINT! FOR ETEXTS*Ver.04.29.93*END*\nUnu.\nThe end"
    assert layout.strip_markers(oldest).strip() == "Unu.\nThe end"
    for kept in ("Unu.\n**TITOLO**\nDu.", "Ĉe Projekto Gutenberg mi legis.\nEnd of story"):
        assert layout.strip_markers(kept) == kept
    stars = "Unu.\n\n* * *\n\nDu [tri]."
    assert layout.strip_markers(stars) == stars


def test_line_numbers_go_where_lines_count():
    text = "\n".join(f"   {i}. Frazo {i}." for i in range(1, 9))
    assert layout.strip_line_numbers(text).split("\n")[0] == "Frazo 1."
    dates = "1905. Bulonjo\n1987. Varsovio\n2000. Fino\n2015. Lilo\n1920. Hago"
    assert layout.strip_line_numbers(dates) is dates


def verses(chapters, length):
    return "\n\n".join(
        f"Ĉapitro {c}\n\n" + " ".join(f"{v} Kaj estis la {v}-a." for v in range(1, length + 1))
        for c in range(1, chapters + 1)
    )


def test_verse_numbers_go_and_other_numbers_stay():
    found = layout.strip_verse_numbers(verses(4, 20))
    assert "Kaj estis la 7-a. Kaj estis la 8-a." in found
    assert "Ĉapitro 3" in found
    prose = "Li havis 3 bovojn kaj 5 ĉevalojn. " * 30
    assert layout.strip_verse_numbers(prose) is prose


def test_repeats_collapse_from_four_on():
    cry = "Ho ve, ho ve al mi! "
    collapse = layout.collapse_repeats
    assert collapse("Komenco. " + cry * 4 + "Fino.") == f"Komenco. {cry}Fino."
    assert collapse("Unu. " + cry * 9) == "Unu. " + cry.strip()
    assert collapse(cry * 5 + "sen punkto") == f"{cry}sen punkto"
    assert collapse(f"{cry * 5}\n\nFino") == f"{cry.strip()}\n\nFino"
    for kept in (
        "Unu. " + cry * 3 + "Fino.",
        "Ha! ha! " * 9,
        # Not in a row: what stands between has no full stop.
        "    self.thing = 1\n    self.other = 2\n    self.third = 3\n    self.last = 4\n" * 3,
        "HAMLETO LA PRINCO. Jes\nHAMLETO LA PRINCO. Ne\n" * 4,
    ):
        assert collapse(kept) is kept


def test_blanks_and_pieces():
    assert layout.tidy_blanks("  a \t b\n\n\n\n c ") == "a b\n\nc"
    assert layout.paragraphs("a\nb\n\n \n\nc") == ["a\nb", "c"]
    assert layout.lines("a\n\n b ") == ["a", "b"]


def test_texts_without_an_end_take_no_longer_than_their_length():
    started = time.process_time()
    for text in ("la domo " * 100_000, "vorto" * 100_000, "\n" * 200_000 + "La domo."):
        assert layout.collapse_repeats(text) is text
        assert encodings.x_to_unicode(text) is text
        assert filters.furniture(text, True) is text
    # Trying again at each letter takes minutes.
    assert time.process_time() - started < 20


def test_half_of_a_surrogate_pair_is_no_text():
    assert encodings.strip_controls("do\ud800mo \U0001f600") == "domo \U0001f600"
