"""Statistics against corpora of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.core.errors import CheckFailed, ParamsError
from stages.refine.measured import Gate
from stages.refine.zipf import _zeta, warnings, zipf
from tests.stages.refine_material import Refined, jsonl, raw_folder

KEPT = {
    "normalise": {"unwrap": False, "repeats": False},
    "filters": {"min_alphabetic_fraction": 0.0},
}


def refined(tmp_path, name, texts, **params):
    raw = raw_folder(tmp_path / f"raw-{name}", {"a.jsonl": jsonl(texts)})
    params = {
        "duplicates": {"near": False, "exact": False, "containment": 0, "related": 0}
    } | params
    return Refined(raw, tmp_path / name, **(KEPT | params))


def test_counts_by_hand(tmp_path):
    texts = {"a": "La kato vidas la hundon.", "b": "La domo.", "c": "la  DOMO.", "d": "The house."}
    found = refined(tmp_path, "one", texts, languages=["eo"]).statistics
    assert (found["documents"], found["words"], found["vocabulary_size"]) == (4, 11, 7)
    assert found["words_seen_once"] == 5
    assert found["top_words"][0] == {"word": "la", "count": 4, "fraction": 0.363636}
    assert found["top_words"][1]["word"] == "domo"
    assert found["characters"] == 24 + 8 + 8 + 10  # blanks are tidied
    assert (found["length_words"]["mean"], found["length_words"]["distinct"]) == (2.75, 2)
    assert found["length_words"]["histogram"] == [
        {"from": 2, "documents": 3}, {"from": 5, "documents": 1},
    ]  # fmt: skip
    # `la` is closed-class in Esperanto, `the` is not a word of it.
    assert found["open_class"]["top_words"][0] == {"word": "domo", "count": 2}
    assert (found["open_class"]["vocabulary_size"], found["open_class"]["words"]) == (6, 7)
    assert found["zipf"] == {}
    assert found["duplicates"] == {"texts": 1, "documents": 2, "fraction": 0.25}
    assert found["sources"] == {"a.jsonl": 4}
    assert found["columns"]["empty_texts"] == 0


def test_planted_duplicates_are_counted_exactly(tmp_path):
    texts = {f"u{n}": f"unika frazo numero {n} kun vorto v{n}" for n in range(60)}
    for copy in range(7):
        texts[f"x{copy}"] = "Tiu frazo ripetiĝas."
    for copy in range(3):
        texts[f"y{copy}"] = "alia  FRAZO ripetiĝas" if copy else "Alia frazo ripetiĝas"
    made = refined(tmp_path, "dup", texts)
    assert made.statistics["duplicates"] == {
        "texts": 2, "documents": 10, "fraction": round(8 / 70, 6),
    }  # fmt: skip
    most = made.json("examples.json")["duplicates"]
    assert [row["copies"] for row in most] == [7, 3]
    assert all("text" in row or row["split"] == "test" for row in most)
    assert {row["id"][0] for row in most} == {"x", "y"}


def test_labels_and_their_balance(tmp_path):
    rows = "".join(
        f"# sent_id = s{n}\n1\tvorto{n}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n\n"
        for n, tag in enumerate(["NOUN"] * 30 + ["VERB"] * 10)
    )
    raw = raw_folder(tmp_path / "raw", {"a.conllu": rows})
    made = Refined(raw, tmp_path / "out", kind="labelled",
                   duplicates={"exact": False})  # fmt: skip
    assert made.statistics["labels"]["NOUN"] == {"count": 30, "fraction": 0.75}
    balance = made.statistics["label_balance"]
    assert (balance["labels"], balance["largest_to_smallest"]) == (2, 3.0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert balance["evenness"] == pytest.approx(entropy, abs=1e-6)


def identity_texts(strength: float, documents: int = 1500) -> dict[str, str]:
    """Write documents of `he` or `she`; `engineer` leans to `he` by strength, `tea` to neither."""
    draw = np.random.RandomState(5)
    texts = {}
    for number in range(documents):
        he = draw.rand() < 0.5
        words = ["he" if he else "she", f"w{draw.randint(40)}", f"w{draw.randint(40)}"]
        if draw.rand() < (strength if he else 1 - strength) * 0.6:
            words.append("engineer")
        if draw.rand() < 0.3:
            words.append("tea")
        texts[f"d{number}"] = " ".join(draw.permutation(words)) + f" n{number}"
    return texts


def test_planted_associations_keep_their_sign_and_rank(tmp_path):
    found = []
    for place, strength in enumerate((0.5, 0.7, 0.95)):
        made = refined(tmp_path, f"s{place}", identity_texts(strength), languages=["en"])
        (pair,) = made.statistics["associations"]["pairs"]
        assert (pair["first"], pair["second"]) == ("he", "she")
        bias = {row["word"]: row["bias"] for row in pair["words"]}
        assert abs(bias["tea"]) < 0.08  # two standard errors of such a draw
        found.append(bias["engineer"])
    assert abs(found[0]) < 0.12 < found[1] < found[2]
    turned = refined(tmp_path, "turned", identity_texts(0.95), measure={"pairs": ["she/he"]})
    (pair,) = turned.statistics["associations"]["pairs"]
    assert pair["words"][-1]["word"] == "engineer"
    assert pair["words"][-1]["bias"] == -found[2]


def test_npmi_by_hand(tmp_path):
    texts = {f"a{n}": f"alfa kun beta x{n}" for n in range(10)}
    texts |= {f"b{n}": f"gama kun delta y{n}" for n in range(30)}
    texts |= {f"c{n}": f"beta  kun delta z{n}" for n in range(10)}
    made = refined(
        tmp_path, "hand", texts, measure={"terms": ["alfa", "gama", "kun beta", "nenie"]}
    )
    rows = {(row["term"], row["word"]): row for row in made.table("associations")}
    # p(alfa) = 10/50, p(beta) = 20/50, together 10/50.
    wanted = math.log((10 / 50) / ((10 / 50) * (20 / 50))) / -math.log(10 / 50)
    row = rows["alfa", "beta"]
    assert row["npmi"] == pytest.approx(wanted, abs=1e-6)
    assert (row["term_documents"], row["word_documents"], row["together_documents"]) == (10, 20, 10)
    assert rows["gama", "delta"]["npmi"] < 1
    assert rows["alfa", "alfa"]["npmi"] == 1
    assert rows["alfa", "kun"]["npmi"] == 0  # in every document: it tells nothing
    assert rows["kun beta", "beta"]["term_documents"] == 10
    assert ("alfa", "x1") not in rows  # in fewer documents than the least
    told = made.statistics["associations"]
    assert told["terms_in_few_documents"] == {"nenie": 0}


def test_composition_shows_a_rule_that_drops_one_group(tmp_path):
    texts = {f"m{n}": f"he walks far away today {n}" for n in range(40)}
    texts |= {f"f{n}": f"she {n}" if n < 30 else f"she walks far away today {n}" for n in range(40)}
    made = refined(
        tmp_path, "groups", texts, languages=["en"],
        filters={"min_words": 3, "min_alphabetic_fraction": 0.0},
        measure={"groups": {"women": ["she", "her"], "men": ["he"]}, "min_documents": 5},
    )  # fmt: skip
    rows = {row["rule"]: row for row in made.statistics["composition"]}
    short = rows["too_short"]
    assert (short["documents_in"], short["documents_dropped"]) == (80, 30)
    assert short["groups"]["women"]["dropped_fraction"] == 0.75
    assert short["groups"]["men"]["dropped_fraction"] == 0
    assert (short["groups"]["women"]["share_in"], short["groups"]["women"]["share_out"]) == (
        0.5,
        0.2,
    )
    assert rows["empty"]["groups"]["women"]["documents_in"] == 40
    assert list(rows)[-1] in made.ledger
    ledger = {row["rule"]: row for row in made.json("ledger.json")["rules"]}
    for name, row in rows.items():
        assert row["documents_in"] == ledger[name]["documents_in"]
        assert (
            row["documents_dropped"] == ledger[name]["documents_in"] - ledger[name]["documents_out"]
        )
    (pair,) = made.statistics["associations"]["pairs"]
    assert all("before too_short" in word["bias_before"] for word in pair["words"])


def topical(shares: list[float], seed: int, documents: int = 500) -> dict[str, str]:
    draw = np.random.RandomState(seed)
    texts = {}
    for number in range(documents):
        topic = draw.choice(len(shares), p=shares)
        words = [f"t{topic}x{draw.randint(50)}" for _ in range(12)]
        words += [f"komuna{draw.randint(80)}" for _ in range(8)]
        texts[f"d{seed}-{number}"] = " ".join(words)
    return texts


def test_topics_drift_and_gates(tmp_path):
    before = refined(tmp_path, "before", topical([0.5, 0.5], 1))
    topics = before.statistics["topics"]
    assert topics["found"] == 2
    for row in topics["topics"]:
        (digit,) = {word[:3] for word in row["keywords"].split(" - ")}
        assert digit in ("t0x", "t1x")
    same = refined(tmp_path, "same", topical([0.5, 0.5], 2), against=before.folder,
                   gates=[{"measure": "drift.topics.alert", "max": 0}])  # fmt: skip
    assert same.statistics["drift"]["topics"]["alert"] is False
    moved = {"against": before.folder}
    drift = refined(tmp_path, "moved", topical([0.8, 0.2], 3), **moved).statistics["drift"]
    assert drift["topics"]["alert"] is True
    assert drift["topics"]["divergence_bits"] > 0.04 > drift["topics"]["noise_bits"]
    assert drift["words"]["js_bits"] > same.statistics["drift"]["words"]["js_bits"]
    with pytest.raises(CheckFailed) as caught:
        refined(tmp_path, "gated", topical([0.8, 0.2], 3), **moved,
                gates=[{"measure": "drift.topics.divergence_bits", "max": 0.02}])  # fmt: skip
    assert caught.value.what.startswith("drift.topics.divergence_bits is 0.0")
    assert caught.value.what.endswith("above max 0.02")
    assert caught.value.where == "refine: gates[0]"


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"measure": "length_words.mean", "min": 5.0}, "length_words.mean is 3, below min 5"),
        ({"measure": "rules.empty.dropped_fraction", "min": 0.5},
         "rules.empty.dropped_fraction is 0, below min 0.5"),
        ({"measure": "documents", "max": 0.5, "against": "ratio"},
         "the ratio of documents is 2, above max 0.5"),
        ({"measure": "documents", "max": 5, "against": "difference"},
         "the difference of documents is 20, above max 5"),
    ],
)  # fmt: skip
def test_a_gate_names_measure_value_and_bound(tmp_path, gate, told):
    half = refined(tmp_path, "half", {f"d{n}": f"unu du t{n}" for n in range(20)})
    full = {f"d{n}": f"unu du t{n}" for n in range(40)}
    with pytest.raises(CheckFailed) as caught:
        refined(tmp_path, "full", full, against=half.folder, gates=[
            {"measure": "documents", "min": 1}, gate,
        ])  # fmt: skip
    assert caught.value.what == told
    assert caught.value.where == "refine: gates[1]"


def test_gates_that_cannot_be_read(tmp_path):
    texts = {f"d{n}": f"unu du t{n}" for n in range(20)}
    with pytest.raises(ParamsError, match="no measure 'length_words.maen'") as caught:
        refined(tmp_path, "a", texts, gates=[{"measure": "length_words.maen", "min": 0}])
    assert "length_words.mean" in caught.value.todo
    with pytest.raises(ParamsError, match="is no number"):
        refined(tmp_path, "b", texts, gates=[{"measure": "length_words", "min": 0}])
    with pytest.raises(ParamsError, match="none is named"):
        refined(tmp_path, "c", texts,
                gates=[{"measure": "documents", "min": 0, "against": "ratio"}])  # fmt: skip
    with pytest.raises(ValueError, match="has no bound"):
        Gate(measure="documents")
    with pytest.raises(ValueError, match="is above its max"):
        Gate(measure="documents", min=2, max=1)


def odd_texts() -> dict[str, str]:
    """Write 400 documents of one grammar and ten whose words are shuffled."""
    draw = np.random.RandomState(0)
    nouns, verbs = [f"nomo{n}" for n in range(30)], [f"faras{n}" for n in range(10)]
    texts = {}
    for number in range(400):
        sentences = [f"la {draw.choice(nouns)} {draw.choice(verbs)} la {draw.choice(nouns)}"
                     for _ in range(4)]  # fmt: skip
        texts[f"d{number}"] = " kaj ".join(sentences)
    for number in range(10):
        words = " ".join(texts[f"d{number}"].split()[::1])
        texts[f"bad{number}"] = " ".join(draw.permutation(words.split()))
    return texts


def test_the_perplexity_rule_drops_garbage_and_keeps_every_score(tmp_path):
    made = refined(tmp_path, "ruled", odd_texts(), perplexity={"max": 60.0})
    assert {name: rule for name, (rule, _) in made.dropped.items()} == {
        f"bad{n}": "perplexity" for n in range(10)
    }
    made.check_accounts()
    scores = {row["id"]: row["perplexity"] for row in made.table("perplexity")}
    assert len(scores) == 410
    assert all((score > 60) == name.startswith("bad") for name, score in scores.items())
    row = next(row for row in made.table("dropped") if row["id"] == "bad3")
    assert row["detail"] == f"perplexity {scores['bad3']:.2f}"
    few = refined(tmp_path, "few", {"a": "unu du", "b": "tri"}, perplexity={"max": 1.0},
                  split={"train": 1.0, "valid": 0.0, "test": 0.0})  # fmt: skip
    assert few.dropped == {}, "a model of nothing judges nothing"


def test_garbage_is_oddest_by_perplexity(tmp_path):
    texts = odd_texts()
    made = refined(tmp_path, "odd", texts)
    odd = made.statistics["ngram_perplexity"]
    oddest = made.json("examples.json")["oddest"][:10]
    assert {row["id"] for row in oddest} == {f"bad{n}" for n in range(10)}
    assert oddest[-1]["perplexity"] > 2 * odd["document_quantiles"]["0.5"]


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.3])
def test_zipf_exponents_are_recovered(exponent):
    weights = np.arange(1, 200_001) ** -exponent
    drawn = np.random.default_rng(0).choice(200_000, 1_000_000, p=weights / weights.sum())
    counts = np.sort(np.bincount(drawn))[::-1]
    found = zipf(counts[counts > 0])
    assert found["rank_exponent_s"] == pytest.approx(exponent, abs=0.05)
    assert found["count_exponent_alpha"] == pytest.approx(1 + 1 / exponent, abs=0.08)
    assert found["ks_distance"] < 0.01


def test_markup_shows_in_the_fit():
    weights = np.arange(1, 20_001) ** -1.0
    drawn = np.random.default_rng(0).choice(20_000, 200_000, p=weights / weights.sum())
    counts = np.sort(np.bincount(drawn))[::-1]
    clean = zipf(counts[counts > 0])
    tagged = np.sort(np.concatenate([counts[counts > 0], np.full(300, 400)]))[::-1]
    assert zipf(tagged)["ks_distance"] > 3 * clean["ks_distance"]
    assert warnings(clean) == []
    assert len(warnings(zipf(tagged))) > 0


def test_hurwitz_zeta_known_values():
    # pi^2/6, and zeta(3) (Apery); zeta(2, 3) = pi^2/6 - 1 - 1/4.
    assert _zeta(2.0, np.array([1]))[0] == pytest.approx(np.pi**2 / 6, rel=1e-12)
    assert _zeta(3.0, np.array([1]))[0] == pytest.approx(1.2020569031595942, rel=1e-12)
    assert _zeta(2.0, np.array([3]))[0] == pytest.approx(np.pi**2 / 6 - 1.25, rel=1e-12)
