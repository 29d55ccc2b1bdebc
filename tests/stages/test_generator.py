"""The generator's text, gold, English and lexicon."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.acquire.generator import english, plants, predicates, vocabulary
from stages.acquire.generator.defects import DEFECTS
from stages.acquire.generator.parameters import GeneratorParams, PlantShares
from stages.acquire.generator.sampling import table, topic_words
from stages.acquire.generator.vocabulary import categories, features, inflect, parse, roots
from tests.stages.generator_material import Corpus

UPOS = {
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "VERB",
}  # fmt: skip
PHENOMENA = {
    "accusative", "plural", "participle", "correlative", "subordinate-clause", "relative-clause",
    "question", "number-word", "digits", "ordinal", "imperative", "conditional", "infinitive",
    "passive", "comparison", "superlative", "negation", "quotation", "parentheses", "abbreviation",
    "affix", "compound", "reflexive", "possessive", "proper-noun", "adverbial-participle",
    "coordination", "exclamation", "heading", "dash", "list",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"), GeneratorParams(size_mb=1.3, seed=3))


def test_files_are_as_the_manifest_rows_say(corpus: Corpus) -> None:
    rows = [*corpus.rows["files"], *corpus.rows["truth"]]
    found = sorted(p.relative_to(corpus.folder).as_posix() for p in corpus.folder.rglob("*.*"))
    assert found == sorted(row["path"] for row in rows)
    for row in rows:
        data = (corpus.folder / row["path"]).read_bytes()
        assert (row["size_bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert {row["format"] for row in corpus.rows["files"]} == {"jsonl", "conllu", "tsv"}


def test_size_is_met_within_one_document(corpus: Corpus) -> None:
    size = sum(len(row["text"].encode()) for row in corpus.documents)
    longest = max(len(row["text"].encode()) for row in corpus.documents)
    assert size == corpus.statistics["size_bytes"]
    assert 1_300_000 <= size <= 1_300_000 + 2 * longest
    assert size < 1.02 * 1_300_000


def test_tokens_joined_are_the_sentence_and_stand_in_its_document(corpus: Corpus) -> None:
    altered = {row["id"] for row in corpus.plants}
    assert len(corpus.sentences) > 10_000
    inside = 0
    for sentence in corpus.sentences:
        assert sentence.joined() == sentence.text
        document = sentence.comments["doc_id"]
        if document not in altered:
            inside += 1
            assert sentence.text in corpus.by_id[document]["text"]
    assert inside > 0.7 * len(corpus.sentences)


def test_unaltered_documents_are_their_gold_sentences_in_order(corpus: Corpus) -> None:
    altered = {row["id"] for row in corpus.plants}
    texts: dict[str, list[str]] = {}
    for sentence in corpus.sentences:
        texts.setdefault(sentence.comments["doc_id"], []).append(sentence.text)
    clean = [row for row in corpus.documents if row["id"] not in altered]
    assert {row["language"] for row in clean} == {"eo"}
    for row in clean:
        assert " ".join(row["text"].split()) == " ".join(texts[row["id"]])


def test_columns_hold_what_the_format_wants(corpus: Corpus) -> None:
    tags = Counter()
    for sentence in corpus.sentences:
        assert [c[0] for c in sentence.columns] == [
            str(n + 1) for n in range(len(sentence.columns))
        ]
        for number, form, lemma, upos, _xpos, feats, *_rest in sentence.columns:
            assert number
            assert form
            assert lemma
            assert upos in UPOS
            assert " " not in form
            assert "\t" not in form
            names = [part.split("=")[0] for part in feats.split("|")]
            assert feats == "_" or names == sorted(names, key=str.lower), feats
            tags[upos] += 1
    assert set(tags) == UPOS


def disagreements(corpus: Corpus) -> list[tuple[str, str]]:
    """Return forms whose endings say another number or case than their features."""
    found = []
    for sentence in corpus.sentences:
        for _, form, _lemma, upos, _x, feats, *_rest in sentence.columns:
            word = form.lower()
            if upos in ("NOUN", "ADJ") and "Case=" in feats and re.fullmatch(r"\w+[oa]j?n?", word):
                accusative = word.endswith("n") == ("Case=Acc" in feats)
                plural = word.rstrip("n").endswith("j") == ("Number=Plur" in feats)
                if not (accusative and plural):
                    found.append((form, feats))
    return found


def test_endings_agree_with_the_features(corpus: Corpus) -> None:
    assert disagreements(corpus) == []
    twice = [c[1] for s in corpus.sentences for c in s.columns if re.search("aaj?n?$", c[1])]
    assert twice == []  # A root that is listed with its ending.
    infinitives = [c for s in corpus.sentences for c in s.columns if "VerbForm=Inf" in c[5]]
    assert len(infinitives) > 500
    assert all(c[1].lower() == c[2] for c in infinitives)


def test_a_forgotten_accusative_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_agreement", lambda form: "j" if form[:1] == "p" else "")
    assert len(disagreements(Corpus(tmp_path, GeneratorParams(size_mb=0.05)))) > 50


def test_an_adjective_between_article_and_noun_agrees(corpus: Corpus) -> None:
    phrases = 0
    for sentence in corpus.sentences:
        columns = sentence.columns
        for article, one, two in zip(columns, columns[1:], columns[2:], strict=False):
            if (article[2], one[3], two[3]) == ("la", "ADJ", "NOUN"):
                marks = [re.findall("(?:Case|Number)=[A-Za-z]+", c[5]) for c in (one, two)]
                phrases += 1
                assert marks[0] == marks[1], (one[1], two[1], sentence.text)
    assert phrases > 1500


def test_at_least_200_tag_patterns_in_10000_sentences(corpus: Corpus) -> None:
    patterns = {sentence.upos() for sentence in corpus.sentences[:10_000]}
    assert len(patterns) >= 200
    assert corpus.statistics["upos_patterns"] == {"sentences": 10_000, "patterns": len(patterns)}


def test_share_of_every_phenomenon_is_listed_and_true(corpus: Corpus) -> None:
    listed = corpus.statistics["phenomena"]
    assert set(listed) >= PHENOMENA
    assert corpus.statistics["sentences"] == len(corpus.sentences)
    assert all(row["sentences"] >= 5 for row in listed.values())
    marked = sum("?" in sentence.text for sentence in corpus.sentences)
    assert marked == listed["question"]["sentences"]
    accusative = sum(
        any("Case=Acc" in c[5] for c in sentence.columns) for sentence in corpus.sentences
    )
    assert accusative == listed["accusative"]["sentences"]
    participles = sum(
        any("VerbForm=Part" in c[5] for c in sentence.columns) for sentence in corpus.sentences
    )
    assert participles == listed["participle"]["sentences"]
    share = listed["question"]["sentences"] / len(corpus.sentences)
    assert listed["question"]["share"] == round(share, 6)


def test_all_45_kinds_of_correlative_but_the_rarest_appear(corpus: Corpus) -> None:
    seen = {c[2] for sentence in corpus.sentences for c in sentence.columns}
    wanted = [start + end for start in ("k", "t", "", "ĉ", "nen") for end in (
        "iu", "io", "ia", "ie", "iam", "iel", "ial", "ies", "iom"
    )]  # fmt: skip
    missing = {word for word in wanted if word not in seen}
    assert missing <= {"neniom", "ĉiom", "ĉial", "nenial"}


def test_pairs_stand_line_by_line(corpus: Corpus) -> None:
    assert [pair[0] for pair in corpus.pairs] == [s.text for s in corpus.sentences]
    assert [pair[1] for pair in corpus.pairs] == [s.comments["text_en"] for s in corpus.sentences]
    for esperanto, translation in corpus.pairs:
        assert translation
        assert translation == translation.strip()
        assert "  " not in translation
        assert not re.search(r"[ĉĝĥĵŝŭ]", translation.lower()), translation
        assert esperanto.endswith("?") == translation.endswith("?")


WRONG_ENGLISH = {
    "a before a vowel": r"\ba (?:[aio]|e[^u])\w+",
    "an before a consonant": r"\ban [bcdfgjklmnpqrstvwxyz]\w+",
    "two determiners": r"(?:body's|that one's|whose|such an?|\bthe|\btheir|\bour) an? ",
    "a verb in the wrong number": r"\b(?:they|we) (?:is|was|has|does)\b",
    "a verb in the wrong person": r"\b(?:he|she) (?:are|were)\b",
    "a condition in the future": r"\bif \w+ would\b",
    "a denial said twice": r"\bnor (?:\w+ )?(?:do|does|did|will) not\b",
    "a reflexive without its subject": r"\b(?:by|for|in) itself\b",
    "a space before a mark": r" [,.;:?!)]",
}


def wrong_english(pairs: list[list[str]]) -> dict[str, list[str]]:
    """Return the English sides that break a rule of English, by rule."""
    found = {
        rule: [english for _, english in pairs if re.search(pattern, english, re.IGNORECASE)]
        for rule, pattern in WRONG_ENGLISH.items()
    }
    return {rule: said for rule, said in found.items() if said}


def test_english_keeps_its_rules(corpus: Corpus) -> None:
    assert wrong_english(corpus.pairs) == {}


def test_wrong_english_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(english, "indefinite", lambda word: f"a {word}")
    monkeypatch.setattr(predicates, "_be", lambda tense, subject, third: "is")
    found = wrong_english(Corpus(tmp_path, GeneratorParams(size_mb=0.05)).pairs)
    assert set(found) == {"a before a vowel", "a verb in the wrong number"}


def test_roots_follow_a_zipf_law(corpus: Corpus) -> None:
    known = {root + ending for root, ending, _ in roots()}
    counts = Counter(
        c[2] for s in corpus.sentences for c in s.columns if c[2] in known and c[3] != "PROPN"
    )
    assert len(counts) > 1500
    ranked = [count for _, count in counts.most_common(1000)]
    points = [
        (math.log(rank), math.log(ranked[rank - 1]))
        for rank in sorted({round(1.12**n) for n in range(14, 62)})
        if rank <= len(ranked)
    ]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    cross = sum((x - mean_x) * (y - mean_y) for x, y in points)
    spread_x = sum((x - mean_x) ** 2 for x, _ in points)
    spread_y = sum((y - mean_y) ** 2 for _, y in points)
    assert -1.2 < cross / spread_x < -0.7
    assert cross**2 / (spread_x * spread_y) > 0.95


def test_documents_keep_to_their_topic(corpus: Corpus) -> None:
    by_topic: dict[str, Counter[str]] = {}
    topics = {row["id"]: row["topic"] for row in corpus.documents}
    for sentence in corpus.sentences:
        bag = by_topic.setdefault(topics[sentence.comments["doc_id"]], Counter())
        bag.update(c[2] for c in sentence.columns if c[3] == "NOUN")
    assert len(by_topic) == GeneratorParams().num_topics
    nature, art = by_topic["nature-0"], by_topic["art-0"]
    natural = [w.stem + "o" for w in categories()["noun.thing"].words[:400] if w.field == "nature"]

    def share(bag: Counter[str]) -> float:
        return sum(bag[word] for word in natural) / bag.total()

    assert share(nature) > 2 * share(art)


def test_lexicon_has_1500_roots_with_glosses() -> None:
    found = roots()
    assert len({root for root, _, _ in found}) >= 1500
    assert all(gloss and "_" not in gloss for _, _, gloss in found)
    assert len(found) == len({(root, ending) for root, ending, _ in found})


def _dictionary(folder: Path) -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    with gzip.open(folder / "lexicon" / "espdic.txt.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            word, _, gloss = line.rstrip("\n").partition(" : ")
            bare = re.sub(r"\([^)]*\)", "", gloss.lower())
            senses = {re.sub(r"^(to|a|an|the) ", "", s.strip()) for s in re.split("[,;]", bare)}
            table.setdefault(word.strip().lower(), set()).update(senses)
    return table


def test_lexicon_agrees_with_a_dictionary(shared_data: Path) -> None:
    known = _dictionary(shared_data)
    found = roots()
    heads = [entry for entry in found if entry[0] + entry[1] in known]
    matched = [e for e in heads if e[2].lower() in known[e[0] + e[1]]]
    assert len(heads) >= 0.95 * len(found)
    assert len(matched) >= 0.90 * len(found)
    wrong = [entry for entry in found if entry[0] + "x" + entry[1] in known]
    assert len(wrong) < 0.01 * len(found)


def test_esperanto_inflection() -> None:
    assert inflect("noun", "hund", "pa") == "hundojn"
    assert inflect("adjective", "bel", "sn") == "bela"
    assert inflect("adjective", "bel", "e") == "bele"
    assert inflect("verb", "leg", "ita.pa") == "legitajn"
    assert inflect("verb", "leg", "ante") == "legante"
    assert inflect("name", "Parizo", "sa") == "Parizon"
    assert inflect("fixed", "5", "day") == "5-an"
    assert features("verb", "ita.pa") == "Case=Acc|Number=Plur|Tense=Past|VerbForm=Part|Voice=Pass"
    assert features("verb", "us") == "Mood=Sub|VerbForm=Fin"


def test_english_inflection() -> None:
    assert english.plural("city") == "cities"
    assert english.plural("man/men") == "men"
    assert english.plural("box") == "boxes"
    assert english.plural("boy") == "boys"
    forms = english.verb_forms("write/wrote/written")
    assert (forms["past"], forms["participle"], forms["gerund"]) == ("wrote", "written", "writing")
    assert english.verb_forms("look at")["third"] == "looks at"
    assert english.verb_forms("stop")["past"] == "stopped"
    assert english.verb_forms("carry")["past"] == "carried"
    assert english.verb_forms("die")["gerund"] == "dying"
    assert english.comparison("happy") == ("happier", "happiest")
    assert english.comparison("important") == ("more important", "most important")
    assert english.adverb("terrible") == "terribly"
    assert english.adverb("public") == "publicly"
    assert english.adverb("small") == "in a small way"
    assert english.adverb("old", "very") == "in a very old way"
    assert english.adverb("good", "more") == "better"
    assert english.adverb("quick", "more") == "more quickly"
    assert english.verb_forms("suddenly take/suddenly took/suddenly taken")["third"] == (
        "suddenly takes"
    )
    assert english.verb_forms("set up/set up/set up")["gerund"] == "setting up"
    assert english.indefinite("old") == "an old"
    assert english.indefinite("useful") == "a useful"
    assert english.indefinite("hour") == "an hour"
    assert english.quality("happy") == "happiness"
    assert english.quality("strong") == "strength"
    assert english.able("use") == "usable"
    assert english.able("notice") == "noticeable"


def test_a_zipf_table_holds_every_word_as_often_as_its_share() -> None:
    places = table(3, 10).tolist()
    # Weights 2^-9/8, 3^-9/8, 4^-9/8 over their sum.
    assert len(places) == 1024
    weights = [n ** (-9 / 8) for n in (2, 3, 4)]
    expected = [w / sum(weights) * 1024 for w in weights]
    assert all(abs(places.count(n) - expected[n]) <= 1 for n in range(3))


def test_topic_words_prefer_the_field() -> None:
    import random

    category = categories()["noun.thing"]
    chosen = topic_words(category, "food", random.Random(1))
    share = sum(category.words[n].field == "food" for n in chosen) / len(chosen)
    assert share > 0.45


def test_lexicon_notation() -> None:
    (word,) = parse("kuz cousin_german/cousins_german;", "home")
    assert (word.stem, word.gloss, word.field) == ("kuz", "cousin german/cousins german", "home")


@pytest.mark.parametrize(
    ("size", "expected"), [(1.0, 1.0), (50.0, 1.0), (50.1, 0.01), (10_000.0, 0.01)]
)
def test_default_shares_follow_the_size(size: float, expected: float) -> None:
    params = GeneratorParams(size_mb=size)
    assert (params.gold_share(), params.pair_share()) == (expected, expected)
    assert GeneratorParams(size_mb=size, annotated_share=0.5).gold_share() == 0.5


def test_unknown_and_wrong_parameters_are_refused() -> None:
    for wrong in ({"size": 1.0}, {"size_mb": -1.0}, {"plants": {"comets": 0.1}}, {"seed": "a"}):
        with pytest.raises(ValidationError):
            GeneratorParams.model_validate(wrong)


def test_every_plant_share_names_a_plant() -> None:
    inserted = {"exact_duplicate", "near_duplicate", "foreign_document"}
    assert set(PlantShares.model_fields) == set(plants.ALTERATIONS) | set(DEFECTS) | inserted
