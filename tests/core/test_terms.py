"""Figures that measure two things are never set side by side, and those of one thing are.

Per rule a planted pair that names and numbers would let through, and a control that must compare.
"""

from __future__ import annotations

import pytest

from stages.core import figures, terms
from tests.core.worlds import World

CAUSAL = {"kind": "causal"}


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "world")


def metric(told: dict, name: str) -> dict:
    """Return a row of the metrics; a section refused as a whole stands for each of its rows."""
    section = told["metrics"]
    if "refused" in section:
        return section
    return next(row for row in section["rows"] if row["name"] == name)


def compared(row: dict) -> bool:
    assert ("refused" in row) != ("a" in row and "b" in row), (
        "values and a refusal exclude each other"
    )
    return "a" in row


@pytest.fixture
def two_texts(world) -> World:
    """Two corpora of one training text and two held-out ones, and of the reverse."""
    world.corpora("eo", train="t", valid="v")
    world.corpora("held", train="t", valid="w")
    world.corpora("more", train="tt", valid="v")
    for key, words in (("abc", "abc"), ("xyz", "xyzzy")):
        world.vocabulary(key, "eo", words)
    world.encoded("eo", "eo", "abc")
    return world


def test_losses_on_another_held_out_text_are_not_compared(two_texts):
    world = two_texts
    world.encoded("held", "held", "abc")
    world.trained("a", "eo", "abc")
    world.trained("b", "held", "abc")
    told = world.compare("pretrain@a", "pretrain@b")
    refused = metric(told, "valid_loss_nats")["refused"]
    assert refused.startswith("held-out text: data/tokens/eo (")
    assert " and data/tokens/held (" in refused
    assert not compared(metric(told, "valid_pseudo_bits_per_byte"))
    assert told["curves"]["refused_columns"] == {"valid_loss_nats": refused}
    assert "valid_loss_nats" not in {**told["curves"]["a"], **told["curves"]["last_b"]}
    assert told["curves"]["a"]["loss_nats"] == "4.97", "the training text is the same"


def test_another_training_text_does_not_hide_the_same_held_out_one(two_texts):
    world = two_texts
    world.encoded("more", "more", "abc")
    world.trained("a", "eo", "abc")
    world.trained("b", "more", "abc")
    told = world.compare("pretrain@a", "pretrain@b")
    assert compared(metric(told, "valid_loss_nats")), "the files of the split are the same"
    assert "training text: data/tokens/eo" in metric(told, "loss_nats")["refused"]
    assert list(told["curves"]["refused_columns"]) == ["loss_nats"]
    assert told["curves"]["last_a"]["valid_loss_nats"] == "3.97"
    assert metric(told, "parameters") == {"name": "parameters", "a": 7, "b": 7}


def test_an_entry_of_the_same_name_is_no_proof_of_the_same_text(two_texts):
    """Two commits: the corpus changed below the name of its tokens."""
    world = two_texts
    world.trained("a", "eo", "abc")
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "one")
    world.corpora("eo", train="t", valid="other")
    world.encoded("eo", "eo", "abc")
    world.trained("a", "eo", "abc")
    told = world.compare("HEAD:pretrain@a", "workspace:pretrain@a".removeprefix("workspace:"))
    assert metric(told, "valid_loss_nats")["refused"].count("data/tokens/eo (") == 2


def test_nats_per_token_of_two_vocabularies_are_not_compared(two_texts):
    world = two_texts
    world.encoded("xyz", "eo", "xyz")
    world.trained("a", "eo", "abc")
    world.trained("b", "xyz", "xyz")
    told = world.compare("pretrain@a", "pretrain@b")
    assert "vocabulary: models/tokenizers/abc" in told["curves"]["refused"]
    assert " and models/tokenizers/xyz" in told["curves"]["refused"]
    assert not compared(metric(told, "loss_nats"))
    assert not compared(metric(told, "valid_pseudo_bits_per_byte"))


def test_the_same_vocabulary_under_two_names_is_one(two_texts):
    world = two_texts
    world.vocabulary("copy", "held", "abc")  # its folder differs: the report is of another text
    world.encoded("copy", "eo", "copy")
    world.trained("a", "eo", "abc")
    world.trained("b", "copy", "copy")
    told = world.compare("pretrain@a", "pretrain@b")
    assert world.md5("models/tokenizers/copy") != world.md5("models/tokenizers/abc")
    assert compared(metric(told, "valid_loss_nats"))
    assert compared(metric(told, "loss_nats"))


@pytest.mark.parametrize(
    ("a", "b", "figure", "why"),
    [
        ({}, {"batch_rows": 4}, "valid_loss_nats", ""),  # 5 rows: one part and two
        ({"batch_rows": 16}, {}, "valid_loss_nats", ""),
        ({"evaluate_rows": 5}, {"evaluate_rows": 64}, "valid_loss_nats", ""),
        ({"evaluate_rows": 4}, {}, "valid_loss_nats", "rows measured: 4 and 5"),
        ({"learning_rate": 1}, {"learning_rate": 2}, "loss_nats", ""),
        ({"short_share": 0.9}, {}, "loss_nats", "short_share: 0.9 and 0.5"),
        ({"short_share": 0.9}, {}, "valid_loss_nats", ""),
        ({"objective": {"kind": "masked", "share": 0.3}}, {}, "valid_loss_nats", "objective: "),
        ({"objective": CAUSAL}, {}, "valid_loss_nats", 'objective: {"kind":"causal"} and '),
        ({"objective": CAUSAL}, {}, "valid_bits_per_byte", "only pretrain@a has it (causal and"),
        ({"objective": CAUSAL}, {}, "parameters", ""),
    ],
)  # fmt: skip
def test_how_a_training_was_measured_decides(two_texts, a, b, figure, why):
    world = two_texts
    world.trained("a", "eo", "abc", **a)
    world.trained("b", "eo", "abc", **b)
    row = metric(world.compare("pretrain@a", "pretrain@b"), figure)
    if (a, b) == ({}, {"batch_rows": 4}):
        why = "parts in which tokens are hidden: 1 and 2"
    if not why:
        assert compared(row)
        return
    assert why in row["refused"]
    assert not compared(row)


@pytest.mark.parametrize("rows", [(5, 7), (90, 7)])
@pytest.mark.parametrize("valid", ["the same", "another"])
def test_bits_per_byte_compare_across_vocabularies_on_one_whole_text(world, rows, valid):
    """64 rows are measured: of 90 that is not all of the text, and of 5 and 7 it is."""
    world.corpora("eo", valid="v")
    world.corpora("other", valid="v" if valid == "the same" else "w")
    for key, corpus, words, count in (("a", "eo", "abc", rows[0]), ("b", "other", "xyz", rows[1])):
        world.vocabulary(key, corpus, words)
        world.encoded(key, corpus, key, rows=count)
        world.trained(key, key, key, objective=CAUSAL)
    told = world.compare("pretrain@a", "pretrain@b")
    assert not compared(metric(told, "valid_loss_nats")), "nats per token of two vocabularies"
    row = metric(told, "valid_bits_per_byte")
    assert compared(row) == (valid == "the same" and rows[0] < 64)
    if valid != "the same":
        assert "held-out text: data/corpora/eo (" in row["refused"]
    elif rows[0] > 64:
        assert "share of it measured: 64 of 90 rows and all" in row["refused"]


def test_tokenizers_compare_on_the_text_that_was_measured(world):
    world.corpora("eo", test="e", valid="v")
    world.corpora("fr", test="f", valid="v")
    world.corpora("grown", train="ttt", test="e", valid="vv")
    for key, corpus in (("a", "eo"), ("b", "fr"), ("c", "grown")):
        world.vocabulary(key, corpus, f"words of {key}{key}")
    told = world.compare("tokenizer@a", "tokenizer@b")
    row = metric(told, "fertility_tokens_per_word")
    assert row["refused"].startswith("held-out text: data/corpora/eo (")
    assert compared(metric(told, "vocabulary_tokens"))
    told = world.compare("tokenizer@a", "tokenizer@c")
    assert compared(metric(told, "fertility_tokens_per_word")), "the split test is the same"


def test_a_ratio_to_a_foreign_vocabulary_needs_the_same_reference(world):
    for key in ("eo", "en", "fr"):
        world.corpora(key, train=key)
    world.vocabulary("a", "eo", "abc", reference="corpora/en", vocab_size=9)
    world.vocabulary("b", "eo", "abcd", reference="corpora/fr", vocab_size=9)
    world.vocabulary("c", "eo", "abcde", reference="corpora/en", vocab_size=9)
    told = world.compare("tokenizer@a", "tokenizer@b")
    assert "reference: data/corpora/en (" in metric(told, "length_against_foreign_ratio")["refused"]
    assert compared(metric(told, "fertility_tokens_per_word"))
    told = world.compare("tokenizer@a", "tokenizer@c")
    assert compared(metric(told, "length_against_foreign_ratio"))


def test_tokens_are_counted_of_one_text_or_in_one_unit(two_texts):
    world = two_texts
    world.encoded("b", "eo", "xyz")
    world.encoded("c", "held", "abc")
    world.encoded("d", "held", "xyz")
    assert compared(metric(world.compare("encode@eo", "encode@b"), "train_tokens"))
    assert compared(metric(world.compare("encode@eo", "encode@c"), "train_tokens"))
    told = world.compare("encode@eo", "encode@d")
    refused = metric(told, "train_tokens")["refused"]
    assert refused.startswith("text: data/corpora/eo (")
    assert "vocabulary: models/tokenizers/abc (" in refused
    assert compared(metric(told, "train_documents"))


def test_corpora_count_documents_or_sentences(world):
    world.corpora("eo")
    world.corpora("pos", kind="labelled")
    world.corpora("fr", valid="ww")
    told = world.compare("refine@eo", "refine@pos")
    assert told["metrics"] == {"refused": "kind: text and labelled"}
    assert compared(metric(world.compare("refine@eo", "refine@fr"), "documents_kept"))


def finetuned(world: World, key: str, data: str, task: object = "token-classification", **more):
    figures = {"valid_accuracy_fraction": 0.5, "loss_nats": 0.25, "train_words": 3}
    rows = f"step,valid_accuracy_fraction,loss_nats\n1,0.{ord(key)},0.2{ord(key)}\n"
    outs = [
        world.file(f"metrics/finetune/{key}.json", figures),
        world.file(f"plots/finetune/{key}.csv", rows),
    ]
    values = {
        "data": data,
        "task": task,
        "max_sentences": 0,
        "max_valid_sentences": 0,
        "max_length": 0,
    }
    world.entry(f"finetune@{key}", [f"data/corpora/{data}"], values | {"seed": 1} | more, outs)


@pytest.mark.parametrize(
    ("b", "valid", "train"),
    [
        ({"data": "pos", "seed": 2, "learning_rate": 9}, "", ""),
        ({"data": "pos", "max_sentences": 400, "max_valid_sentences": 3}, "", ""),
        ({"data": "pos", "max_sentences": 2, "seed": 2}, "", "sentences of it: all and 2"),
        ({"data": "pos", "max_valid_sentences": 2}, "sentences of it: all and 2", ""),
        ({"data": "ner"}, "held-out data: data/corpora/pos (", "training data: "),
        ({"data": "grown"}, "", "training data: data/corpora/pos ("),
        ({"data": "pos", "task": "translation"}, "task: token-classification and tr", "task"),
        ({"data": "pos", "task": {"kind": "translation"}}, "task: token-classi", "task"),
    ],
)  # fmt: skip
def test_fine_tunings_compare_by_task_and_sentences(world, b, valid, train):
    world.corpora("pos", train="ttt", valid="vvv", kind="labelled")
    world.corpora("ner", train="nnn", valid="www", kind="labelled")
    world.corpora("grown", train="tttt", valid="vvv", kind="labelled")
    finetuned(world, "a", "pos")
    finetuned(world, "b", **b)
    told = world.compare("finetune@a", "finetune@b")
    for figure, why in (("valid_accuracy_fraction", valid), ("loss_nats", train)):
        row = metric(told, figure)
        assert compared(row) == (not why)
        assert why in row.get("refused", "")
        shown = "refused" not in told["curves"] and figure in told["curves"]["last_a"]
        assert shown == (not why)
    assert compared(metric(told, "train_words"))


def test_ratios_of_exports_belong_to_one_parent(world):
    for key in ("pos", "ner"):
        world.material(f"models/finetuned/{key}", model__bin=key)
    for key, model, ratio in (("a", "pos", 0.3), ("b", "pos", 1.0), ("c", "ner", 0.3)):
        figures = {"size_bytes": 10, "size_ratio_to_fp32": ratio}
        metrics = world.file(f"metrics/export/{key}.json", figures)
        values = {"model": f"finetuned/{model}", "quantize": {"kind": key}, "task": "auto"}
        world.entry(f"export@{key}", [f"models/finetuned/{model}"], values, [metrics])
    assert compared(metric(world.compare("export@a", "export@b"), "size_ratio_to_fp32"))
    told = world.compare("export@a", "export@c")
    refused = metric(told, "size_ratio_to_fp32")["refused"]
    assert refused.startswith("share of: models/finetuned/pos (")
    assert " and models/finetuned/ner (" in refused
    assert metric(told, "size_bytes") == {"name": "size_bytes", "a": 10, "b": 10}


@pytest.mark.parametrize(
    ("b", "why"),
    [
        ({"rounds": 9, "second": "exported/x"}, ""),
        ({"batches": [1, 8]}, "batches: [1] and [1,8]"),
        ({"lengths": [64]}, "lengths: [16] and [64]"),
        ({"threads_grid": [2]}, "threads_grid: [1] and [2]"),
        ({"model": "finetuned/ner"}, "ratio to: models/finetuned/pos ("),
    ],
)
def test_benchmarks_compare_on_one_grid_to_one_model(world, b, why):
    for key in ("pos", "ner"):
        world.material(f"models/finetuned/{key}", model__bin=key)
    grid = {"model": "finetuned/pos", "batches": [1], "lengths": [16], "threads_grid": [1]}
    for key, more in (("a", {}), ("b", b)):
        figures = {"int8_latency_ratio": 0.5, "int8_size_bytes": 3}
        values = {**grid, **more}
        world.entry(
            f"benchmark@{key}", [f"models/{values['model']}"], values,
            [world.file(f"metrics/benchmark/{key}.json", figures)],
            **{"machine.yaml": {"cpu_model": "one"}},
        )  # fmt: skip
    told = world.compare("benchmark@a", "benchmark@b")
    row = metric(told, "int8_latency_ratio")
    assert compared(row) == (not why)
    assert why in row.get("refused", "")
    assert compared(metric(told, "int8_size_bytes"))


def test_metrics_of_an_evaluation_obey_the_signatures_of_its_scores(world):
    """The numbers in metrics/ are the scores under another name: they cannot say more."""
    world.evaluation("x", [2, 1])
    world.evaluation("same", [1, 1])
    world.evaluation("other", [1, 1], data="bb")
    assert compared(metric(world.compare("evaluate@x", "evaluate@same"), "accuracy_fraction"))
    told = world.compare("evaluate@x", "evaluate@other")["metrics"]
    assert told == {"refused": "they were scored on other samples (aa and bb)"}


@pytest.mark.parametrize("data", ["pos", "ner", "grown"])
def test_metrics_of_evaluations_whose_scores_are_gone_go_by_what_was_read(world, data):
    world.corpora("pos", test="e")
    world.corpora("ner", test="n")
    world.corpora("grown", train="tttt", test="e")
    for key, corpus in (("a", "pos"), ("b", data)):
        values = {"data": corpus, "split": "test", "task": {"kind": "token-classification"}}
        metrics = world.file(f"metrics/evaluate/{key}.json", {"accuracy_fraction": 0.5})
        world.entry(
            f"evaluate@{key}", [f"data/corpora/{corpus}"], {**values, "model": key}, [metrics]
        )
    told = world.compare("evaluate@a", "evaluate@b")
    assert compared(metric(told, "accuracy_fraction")) == (data != "ner")
    assert told["scores"] == {"refused": "the scores of evaluate@a are gone"}


def test_what_nobody_recorded_is_like_nothing_else(world):
    for key in ("a", "b"):
        figures = {"valid_loss_nats": 1.0, "parameters": 3}
        metrics = world.file(f"metrics/pretrain/{key}.json", figures)
        world.entry(f"pretrain@{key}", [], {"tokens": "eo", "name": key}, [metrics])
    told = world.compare("pretrain@a", "pretrain@b")
    assert "data/tokens/eo, not recorded" in metric(told, "valid_loss_nats")["refused"]
    assert compared(metric(told, "parameters"))


def test_a_stage_of_the_users_own_compares_where_it_read_the_same(world):
    for key in ("eo", "fr"):
        world.corpora(key, train=key)
    for key, corpus in (("a", "eo"), ("b", "eo"), ("c", "fr")):
        metrics = world.file(f"metrics/nap/{key}.json", {"depth": 3, "size_bytes": 4})
        world.entry(f"nap@{key}", [f"data/corpora/{corpus}"], {"name": key}, [metrics])
    assert compared(metric(world.compare("nap@a", "nap@b"), "depth"))
    told = world.compare("nap@a", "nap@c")
    assert not compared(metric(told, "depth"))
    assert compared(metric(told, "size_bytes"))


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("token:byte|tokenizer:x|data:d", "token:byte|tokenizer:y|data:d", ""),
        ("token:every|tokenizer:x|data:d", "token:every|tokenizer:y|data:d", "tokenizer x and y"),
        ("token:byte|tokenizer:x|data:d", "token:byte|tokenizer:y|data:e", "other samples"),
        ("token:each|tokenizer:x|data:d", "token:each|tokenizer:y|data:d", "tokenizer x and y"),
        ("token:masked|data:d|seed:1", "token:masked|data:d|seed:2", "seed 1 and 2"),
        ("unit:word|data:d|seed:1", "unit:word|data:d|seed:2", ""),
        ("token:masked|data:d", "token:every|data:d", "token masked and every"),
    ],
)
def test_signatures(a, b, why):
    found = figures.incomparable(a, b)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("unit", "interval", "said"),
    [
        ("fraction", [0.1, 0.2], "a is better"),
        ("nats", [0.1, 0.2], "b is better"),
        ("bits/byte", [-0.2, -0.1], "a is better"),
        ("points", [-0.2, -0.1], "b is better"),
        ("points", [-0.2, 0.1], "not told apart"),
        ("fraction", [0.0, 0.1], "not told apart"),
    ],
)
def test_a_verdict_needs_an_interval_that_leaves_no_doubt(unit, interval, said):
    assert figures.verdict({"unit": unit, "interval": interval}) == said


def test_part_of_a_folder_is_the_same_only_where_its_listing_is_known():
    whole, other = terms.Term("x", "1", "1"), terms.Term("x", "2", "2")
    assert whole.agrees(terms.Term("x", "1", "1", "p"))
    assert not whole.agrees(other)
    assert not terms.Term("x", "?", "").agrees(terms.Term("x", "?", ""))
    assert terms.Term("x", "1", "1", "p").agrees(terms.Term("x", "2", "2", "p"))
    assert not terms.Term("x", "1", "1", "p").agrees(other)
