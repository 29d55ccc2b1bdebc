"""Wiki markup becomes plain text in one pass, whatever it holds."""

from __future__ import annotations

import pytest

from stages.lm import wikitext

TABLE = '{| class="x"\n|-\n| a || {{b|{{c}}}}\n|}'


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("a {{x|{{y|{{{1|z}}}}}|w}} b", "a b"),
        ("a\n{{x\n|t=\n" + TABLE + "\n}}\nb", "a\n\nb"),
        ("a\n" + TABLE + "\nb", "a\n\nb"),
        ("a\n{| q\n|\n" + TABLE + "\n|}\nb", "a\n\nb"),
        ("a\n{| {{never closed\n|}\nb", "a\n\nb"),
        ("a {{never closed", "a {{never closed"),
        ("a }} b |} c", "a }} b |} c"),
        ("a<ref name=x/> b<ref>c</ref> d<REF>e</REF>", "a b d"),
        ("a <ref>never closed", "a never closed"),
        ("<math>x</math>y<gallery>\nA.jpg|b\n</gallery>z", "yz"),
        ("<!-- a --> b <!-- c", "b <!-- c"),
        ("[[Hundo]] kaj [[kato|katoj]] kaj [[:Dosiero:x|y]]", "Hundo kaj katoj kaj y"),
        ("[[Dosiero:a.jpg|thumb|la [[tero|mondo]] {{x}}]]b", "b"),
        ("[[de:Erde]][[Kategorio:Tero]]fino", "fino"),
        ("[[Star Trek: Voyager]] [[Vikipedio:Pri|pri ni]]", "Star Trek: Voyager pri ni"),
        ("[https://a.b c d] [//e.f g] [http://h] [1]", "c d g [1]"),
        ("== Titolo ==\n* ero\n:# dua\n'''grasa''' ''klina''", "Titolo\nero\ndua\ngrasa klina"),
        ("a&nbsp;b &amp;lt; &eacute;<br/>\n__NOTOC__\n\n\n\nc", "a b &lt; é\n\nc"),
        ("#REDIRECT [[X]]", "REDIRECT X"),
        ("", ""),
    ],
)
def test_markup_goes_and_words_stay(markup, words):
    unseen = wikitext.UNSEEN | {"dosiero", "kategorio"}
    assert wikitext.plain(markup, unseen) == words


HOSTILE = (
    "{{",
    "}}",
    "[[",
    "]]",
    "{|\n",
    "\n|}",
    "<ref>",
    "<!--",
    "[http://a ",
    "[[a|",
    "'''",
    "= ",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_flood_of_marks_is_passed_once(piece):
    """Whoever begins again at each of these marks is at work for hours, and the test ends it."""
    text = piece * 60_000 + "fino\n" + "}}" * 6_000 + "\n|}"
    assert wikitext.plain("komenco\n\n" + text).startswith("komenco")
