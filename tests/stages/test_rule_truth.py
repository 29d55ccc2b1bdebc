"""The table of precision and recall on planted truth: its counts, and that it sees a fault."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from benchmarks import rule_truth
from benchmarks.rule_truth_table import CHANGES, FILTERS, SETS, UNPLANTED, Meant
from stages.acquire.generator import secrets
from stages.acquire.generator.corpus import generate
from stages.acquire.generator.defects import DEFECTS
from stages.acquire.generator.parameters import GeneratorParams, PlantShares
from stages.core import canonical
from stages.core.log import Log
from stages.refine import filters, personal, rulesets
from stages.refine.settings import Filters, Normalise

DIGEST = "18fa4abd303478fc15798c0a4c3e2653d6bbee811a7008c2ebc355486d6f1470"
"""Of 0.1 MB with seed 3 before kinds of `DEFECTS` existed."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    shares = dict.fromkeys(PlantShares.model_fields, 0.0) | dict.fromkeys(DEFECTS, 0.04)
    folder = tmp_path_factory.mktemp("truth") / "raw"
    return rule_truth.Generated(folder, 5, 0.5, shares | {"private": 0.4})


def test_new_kinds_move_no_byte_of_what_was_generated_before(tmp_path):
    rows = generate(GeneratorParams(size_mb=0.1, seed=3), tmp_path, Log())
    digests = "".join(row["sha256"] for kind in sorted(rows) for row in rows[kind])
    assert hashlib.sha256(digests.encode()).hexdigest() == DIGEST
    assert all(PlantShares().model_dump()[kind] == 0 for kind in DEFECTS)


def test_values_stand_where_the_truth_says(made):
    items = [(row["id"], one) for row in made.truth["private"] for one in row["items"]]
    assert len(items) > 200
    for name, one in items:
        assert made.texts[name][one["start"] : one["end"]] == one["value"]
        forms = secrets.DECOYS if one["decoy"] else secrets.FORMS
        assert one["form"] in forms[one["type"]] or one["form"] in secrets.LATER[one["type"]]
    assert {one["type"] for _, one in items} == set(personal.KINDS)


def test_check_digits_are_those_of_published_examples():
    """Account numbers of the registry of IBANs, the test number of card makers."""
    for text in ("GB29NWBK60161331926819", "DE89370400440532013000", "NO9386011117947"):
        assert personal.is_iban(text)
    assert personal.is_card("4012888888881881")
    assert personal.is_card("378282246310005")
    assert not personal.is_card("356938035643809")  # an IMEI: Luhn is right, no card has 35 and 15


@pytest.mark.parametrize("kind", ["key", "iban", "card", "ip"])
def test_what_is_asked_before_a_pattern_hides_none_of_its_matches(kind):
    rng = random.Random(kind)
    pattern, _ = personal._CHECKED[kind]
    forms = {**secrets.FORMS[kind], **secrets.LATER[kind], **secrets.DECOYS[kind]}
    met = 0
    for form, draw in forms.items():
        for _ in range(20):
            value = draw(rng)
            if pattern.search(value):
                met += 1
                assert personal._may_have(kind, value, personal.digits(value)), form
    assert met > 60


def test_planted_personal_data_is_found_and_decoys_are_not(made):
    for row in rule_truth.personal_rows(made):
        assert row["precision"]["share"] > 0.85, row["rule"]
        assert row["recall"]["share"] > 0.8, row["rule"]
        assert row["recall"]["count"] == sum(o["count"] for o in row["recall_by_form"].values())


@pytest.mark.parametrize(
    ("fault", "value", "rule", "measure"),
    [
        ("is_iban", lambda text: True, "private: iban", "precision"),
        ("is_card", lambda text: False, "private: card", "recall"),
        ("is_public_address", lambda text: True, "private: ip", "precision"),
    ],
)
def test_a_broken_detector_is_seen(made, monkeypatch, fault, value, rule, measure):
    pattern = {"is_iban": "iban", "is_card": "card", "is_public_address": "ip"}[fault]
    checked = dict(personal._CHECKED)
    checked[pattern] = (checked[pattern][0], value)
    monkeypatch.setattr(personal, "_CHECKED", checked)
    row = next(one for one in rule_truth.personal_rows(made) if one["rule"] == rule)
    assert row[measure].get("share", 0) < 0.8


def test_rules_find_their_plants(made):
    texts = rule_truth.normalised(made)
    rows = {row["rule"]: row for row in rule_truth.ruled(made, texts)}
    for name in ("gopher-quality/hashes", "c4/curly_bracket", "fineweb/list"):
        assert rows[name]["recall"]["share"] == 1.0
        assert rows[name]["precision"]["share"] > 0.9
    assert rows["gopher-repetition/repeated_5gram"]["recall"] == {"count": 0, "right": 0}


def test_every_rule_is_in_the_table_or_said_to_have_no_truth():
    named = {meant.rule for meant in SETS}
    missing = [
        rule.reason
        for rule in rulesets.RULES
        if rule.reason not in named | set(UNPLANTED) and f"{rule.set}/*" not in UNPLANTED
    ]
    assert not missing
    steps = {name for name, _ in filters.changes(Normalise())}
    assert {meant.rule for meant in CHANGES} <= steps
    steps = {name for name, _ in filters.reasons(Filters(languages=["eo"]))}
    assert {meant.rule for meant in FILTERS} <= steps
    shares = set(PlantShares.model_fields)
    for meant in (*CHANGES, *FILTERS, *SETS):
        assert {kind.replace("-", "_") for kind in (*meant.must, *meant.may)} <= shares


def test_documents_of_other_defects_are_counted_as_wrong(made):
    everything = set(made.texts)
    row = rule_truth.told(Meant("any", ("listing",), ("code",)), made, everything, "x")
    listings, codes = made.named(["listing"]), made.named(["code"])
    assert row["precision"]["count"] == len(everything - codes)
    assert row["recall"] == rule_truth.share(len(listings), len(listings))
    assert "unaltered" in row["wrongly_found"]
    assert "code" not in row["wrongly_found"]


def test_the_tracked_table_is_of_these_rules():
    found = json.loads(rule_truth.OUT.read_text("utf-8"))
    assert rule_truth.OUT.read_text("utf-8") == canonical.dumps(found)
    rules = {row["rule"] for row in found["rows"]}
    assert {meant.rule for meant in (*CHANGES, *FILTERS, *SETS)} <= rules
    assert {f"private: {kind}" for kind in personal.KINDS} <= rules
