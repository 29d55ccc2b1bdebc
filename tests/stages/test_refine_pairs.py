"""Parallel text: each rule by its own reason, pairs that stay whole, counts kept as columns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm.reading import Pair
from stages.refine import alignment, bitext, scripts
from stages.refine.settings import Pairs
from tests.stages.refine_material import Refined, raw_folder

SOURCE = "La maljuna viro legas longan leteron en la urbo."
TARGET = "The old man reads a long letter in the town."
GOOD = [
    (SOURCE, TARGET),
    ("La knabo vidis belan domon apud la rivero.", "The boy saw a nice house by the river."),
    ("Mia amiko venos morgaŭ kun sia patro.", "My friend will come tomorrow with his father."),
    ("Ŝi havas 27 librojn kaj %s krajonojn.", "She has 27 books and %s pencils."),
    ("Ni venis je la kvina horo.", "We came at 5 o'clock."),
    ("Kostas 50 % de la prezo.", "It costs 50 % of the price."),
]
BAD = {
    "empty_side": [("Jes, mi scias.", " \t "), ("", "Yes, I know.")],
    "identical": [("Tokio 2024", "tokio, 2024!")],
    "few_letters": [(SOURCE, "12:30 *** 14:45 *** 16:00 -")],
    "length_ratio": [("Jes.", TARGET * 4)],
    "character_ratio": [("Ĉu la domo estas tie?", "Internationalisations' " * 5)],
    "copied": [(f"{SOURCE} {SOURCE}", f"{SOURCE} {SOURCE} Nun.")],
    "script": [(SOURCE, "Старик читает длинное письмо в этом городе.")],
    "numbers": [(f"{SOURCE} 1984", f"{TARGET} 2756")],
    "placeholders": [
        (f"{SOURCE} %s", TARGET),
        (f"{SOURCE} %(nombro)d", f"{TARGET} %(number)d"),
        (f"<b>{SOURCE}</b>", f"<b>{TARGET}"),
        (f"{SOURCE} ${{domo}}", f"{TARGET} {{domo}}"),
    ],
    "punctuation": [(SOURCE, f"{TARGET} Yes. No. Yes. No. Yes!")],
    "language": [(TARGET, SOURCE), (SOURCE, "Le vieil homme lit une longue lettre en ville.")],
}
SIDES = {"source_language": "eo", "target_language": "en"}


FILES = [
    {"path": "files/s.txt", "format": "parallel", "partners": ["files/t.txt"]},
    {"path": "files/t.txt", "format": "parallel", "partner_of": "files/s.txt"},
]


def refined(folder: Path, rows: list[tuple[str, str]], **params: object) -> Refined:
    texts = {
        name: "".join(row[side] + "\n" for row in rows)
        for name, side in (("s.txt", 0), ("t.txt", 1))
    }
    raw = raw_folder(folder / "raw", texts)
    canonical.write_json(raw / "manifest.json", {"files": FILES, "licence": "CC0-1.0"})
    done = Refined(raw, folder / "corpus", kind="parallel", **params)
    done.check_accounts()
    return done


def test_every_rule_drops_its_own_and_both_sides_go(tmp_path):
    bad = [(pair, name) for name, pairs in BAD.items() for pair in pairs]
    rows = [pair for pair, _ in bad]
    rows[5:5], truth = GOOD, [name for _, name in bad]
    truth[5:5] = [""] * len(GOOD)
    done = refined(tmp_path, rows, pairs=SIDES, filters={"scores": True})
    assert [done.reasons().get(f"s.txt:{at}", "") for at in range(1, len(rows) + 1)] == truth
    # What stays has the sides of one line, under that line's name, in the order of the lines.
    for name, row in done.rows.items():
        assert (row["source_text"], row["target_text"]) == rows[int(name.split(":")[1]) - 1]
    assert done.dropped[f"s.txt:{rows.index((TARGET, SOURCE)) + 1}"][1] == "the sides are swapped"
    # The columns alone tell the same reasons, and what another threshold would do.
    table = {row["id"]: row for row in done.table("scores")}
    assert [first(table[f"s.txt:{at}"], Pairs(**SIDES)) for at in range(1, len(rows) + 1)] == truth
    loose = Pairs(**SIDES, placeholders="any", min_number_agreement=0, max_punctuation_penalty=99)
    again = {name: first(row, loose) for name, row in table.items()}
    spared = {"numbers", "placeholders", "punctuation"}
    assert set(again.values()) == set(BAD) - spared | {""}


def first(row: dict[str, int], settings: Pairs) -> str:
    return next((name for name, detail in bitext.judge(row, settings) if detail), "")


def test_rules_can_be_loosened_and_scripts_follow_languages(tmp_path):
    rows = [*GOOD, *BAD["script"], *BAD["numbers"], *BAD["copied"]]
    off = {"min_number_agreement": 0, "max_shared_words": 1, "target_script": "cyrillic"}
    whole = {"train": 1.0, "valid": 0.0, "test": 0.0}
    done = refined(tmp_path, rows, pairs={"source_language": "eo"} | off, split=whole)
    assert set(done.reasons().values()) == {"script"}
    assert set(done.rows) == {"s.txt:7"}
    assert scripts.of_language("ru") == "cyrillic"
    assert scripts.share("日本語のテスト ABC", "kana") == (7, 10)
    with pytest.raises(ValidationError, match="no script 'klingon'; known: auto, none, arabic"):
        Pairs(source_script="klingon")


def test_french_is_not_respelt_as_esperanto(tmp_path):
    row = ("Ĉu vi povas paroli iom pli malrapide?", "Peux-tu parler un peu plus lentement ?")
    french = {"source_language": "eo", "target_language": "fr"}
    whole = {"train": 1.0, "valid": 0.0, "test": 0.0}
    done = refined(tmp_path, [row], pairs=french, split=whole)
    (kept,) = done.rows.values()
    assert kept["target_text"] == row[1]


def test_duplicates_that_only_pairs_have(tmp_path):
    rows = [
        (SOURCE, TARGET),
        (SOURCE.upper(), TARGET.replace(".", " !")),  # equal letters
        (SOURCE, "The elderly gentleman reads a long letter in town."),  # another translation
        (SOURCE, "An old man is reading a long letter in the town."),  # a third one
        ("Li naskiĝis en 1985, ĉe la maro.", "He was born in 1985, by the sea."),
        ("Li naskigis en 1994, ce la maro.", "He was born in 1994, by the sea."),  # aggressive
        (SOURCE, TARGET),
    ]
    whole = {"train": 1.0, "valid": 0.0, "test": 0.0}
    reasons = {
        "none": {"s.txt:7": "exact_duplicate"},
        "letters": {"s.txt:2": "near_pair", "s.txt:7": "exact_duplicate"},
        "aggressive": {
            "s.txt:2": "near_pair",
            "s.txt:6": "near_pair",
            "s.txt:7": "exact_duplicate",
        },
    }
    for name, expected in reasons.items():
        done = refined(tmp_path / name, rows, pairs={"near_duplicates": name}, split=whole)
        assert done.reasons() == expected
    two = refined(tmp_path / "two", rows, pairs={"max_targets": 2}, split=whole)
    assert two.reasons() == {"s.txt:4": "many_targets", "s.txt:7": "exact_duplicate"}
    turned = [(target, source) for source, target in rows]
    one = refined(tmp_path / "one", turned, pairs={"max_sources": 1}, split=whole)
    assert one.reasons()["s.txt:3"] == one.reasons()["s.txt:4"] == "many_sources"


def lines(count: int, seed: int = 0) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    sizes = [draw.randint(2, 25) for _ in range(count)]
    return [
        (f"{at} " + "vorto " * size, f"{at} " + "words " * size) for at, size in enumerate(sizes)
    ]


def test_a_lost_line_shows_and_the_rest_stays(tmp_path):
    rows = lines(300)
    targets = [target for _, target in rows]
    # A line is lost on one side, another put in 120 lines later.
    targets[100:220] = [*targets[101:220], "an extra line that nobody wrote"]
    shifted = [(source, target) for (source, _), target in zip(rows, targets, strict=True)]
    loose = {"min_number_agreement": 0.0, "max_length_ratio": 99.0, "max_character_ratio": 99.0}
    done = refined(tmp_path, shifted, pairs=loose)
    gone = {int(name.split(":")[1]) - 1 for name in done.reasons()}
    assert set(done.reasons().values()) == {"misaligned"}
    assert set(range(120, 200)) <= gone <= set(range(80, 240))
    assert "-1 from their own" in done.dropped["s.txt:150"][1]
    kept = refined(tmp_path / "kept", shifted, pairs=loose | {"misaligned": "keep"})
    assert not kept.reasons()


@pytest.mark.parametrize("count", [1, 39, 40, 41, 59, 60, 61, 100, 137])
def test_every_pair_comes_through_once_and_in_order(count):
    rows = [Pair(str(at), *pair, f"file-{at % 2}") for at, pair in enumerate(lines(count))]
    rows.sort(key=lambda row: row.source)
    made = list(alignment.placed(iter(rows)))
    assert [one.id for one in made] == [row.id for row in rows]
    assert not any(one.shift for one in made)


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 2])
def test_shifts_have_their_sign(shift):
    texts = [source for source, _ in lines(80)]
    cut = texts[-shift:] if shift < 0 else [*["filler"] * shift, *texts]
    assert alignment.offset(texts[:70], cut[:70]) == shift
    assert alignment.offset(texts[:39], cut[:39]) == 0
    assert alignment.offset(["equally long"] * 80, ["as long"] * 80) == 0


def test_files_of_unequal_length_are_refused(tmp_path):
    folder = raw_folder(tmp_path / "raw", {"s.txt": "a\nb\nc\n", "t.txt": "a\nb\n"})
    canonical.write_json(folder / "manifest.json", {"files": FILES, "licence": "CC0-1.0"})
    with pytest.raises(ArtifactError) as caught:
        Refined(folder, tmp_path / "corpus", kind="parallel")
    assert len(caught.value.lines()) == 3
    assert caught.value.what == "t.txt has 2 lines and s.txt has 3"
    assert not (tmp_path / "corpus" / "corpus.json").exists()
