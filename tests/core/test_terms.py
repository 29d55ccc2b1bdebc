"""Figures that measure two things are never set side by side, and those of one thing are.

Per rule a planted pair that names and numbers would let through, and a control that must compare.
"""

from __future__ import annotations

import pytest

from tests.core.worlds import World, compared, metric

CAUSAL = {"kind": "causal"}


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "world")


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
        ({"second": "none", "weights": []}, {}, "loss_nats", ""),
        ({"second": "tokens/more"}, {}, "loss_nats", "training text, second: data/tokens/more, "),
        ({"second": "tokens/more"}, {}, "valid_loss_nats", ""),
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
    world.vocabulary("d", "eo", "words of dd", report_bytes=50)
    told = world.compare("tokenizer@a", "tokenizer@d")
    assert metric(told, "fertility_tokens_per_word")["refused"] == "report_bytes: 99 and 50"


def test_where_nothing_is_held_out_a_tokenizer_was_measured_on_its_training_text(world):
    for key, train in (("a", "t"), ("b", "t"), ("c", "u")):
        world.corpora(key, train=train, valid="", test="")
        world.vocabulary(key, key, f"words of {key}")
    told = world.compare("tokenizer@a", "tokenizer@b")
    assert compared(metric(told, "fertility_tokens_per_word"))
    told = world.compare("tokenizer@a", "tokenizer@c")
    assert not compared(metric(told, "fertility_tokens_per_word"))


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
    world.vocabulary("d", "eo", "abcde", reference="corpora/en", vocab_size=8)
    told = world.compare("tokenizer@a", "tokenizer@d")
    assert metric(told, "length_against_foreign_ratio")["refused"] == "vocab_size: 9 and 8"


def test_tokens_are_counted_of_one_text_or_in_one_unit(two_texts):
    world = two_texts
    world.encoded("b", "eo", "xyz")
    world.encoded("c", "held", "abc")
    world.encoded("d", "held", "xyz")
    assert compared(metric(world.compare("encode@eo", "encode@b"), "train_tokens"))
    assert compared(metric(world.compare("encode@eo", "encode@c"), "train_tokens"))
    world.encoded("e", "held", "abc", length=16)
    told = world.compare("encode@eo", "encode@e")
    assert metric(told, "train_tokens")["refused"].endswith("sequence_length: 8 and 16")
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
    world.corpora("lines", documents="line")
    told = world.compare("refine@eo", "refine@lines")
    assert told["metrics"] == {"refused": "documents: absent and line"}
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
        ({"data": "pos", "max_length": 9}, "", "max_length: 0 and 9"),
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


@pytest.mark.parametrize(("sentences", "same"), [(2, False), (3, True), (0, True)])
def test_a_seed_that_draws_the_training_sentences_is_a_term(world, sentences, same):
    world.corpora("pos", train="ttt", valid="vvv", kind="labelled")
    for key, seed in (("a", 1), ("b", 2)):
        finetuned(world, key, "pos", max_sentences=sentences, seed=seed)
    told = world.compare("finetune@a", "finetune@b")
    assert compared(metric(told, "loss_nats")) == same
    assert compared(metric(told, "valid_accuracy_fraction"))


@pytest.mark.parametrize(
    ("b", "why"),
    [
        ({"batch_size": 9}, ""),
        ({"raw": "fr"}, "checkpoint: data/raw/eo ("),
        ({"sentences": 5}, "sentences: 0 and 5"),
        ({"checkpoint": "last.pt"}, "file: best.pt and last.pt"),
    ],
)
def test_ports_compare_of_one_checkpoint(world, b, why):
    for key in ("eo", "fr"):
        world.material(f"data/raw/{key}", files__pt=key)
    for key, more in (("a", {}), ("b", b)):
        values = {"raw": "eo", "sentences": 0, "checkpoint": "best.pt", "batch_size": 1, **more}
        figures = {"beam1_equal_sentences": 300, "copied_tensors": 87}
        metrics = world.file(f"metrics/port/{key}.json", figures)
        world.entry(f"port@{key}", [f"data/raw/{values['raw']}"], {**values, "n": key}, [metrics])
    told = world.compare("port@a", "port@b")
    row = metric(told, "beam1_equal_sentences")
    assert compared(row) == (not why)
    assert why in row.get("refused", "")
    assert compared(metric(told, "copied_tensors"))


@pytest.mark.parametrize(
    ("b", "why"),
    [
        ({}, ""),
        ({"resamples": 9}, ""),
        ({"seed": 2}, "seed: 1 and 2"),
        ({"split": "valid"}, "split: test and valid"),
        ({"task": {"kind": "language-modelling", "mask_fraction": 0.3}}, "task: "),
        ({"model": "pretrained/xyz"}, "vocabulary: models/tokenizers/abc ("),
        ({"model": "ported/unknown"}, "of models/ported/unknown, not recorded"),
    ],
)
def test_losses_of_evaluations_whose_scores_are_gone_need_one_vocabulary(two_texts, b, why):
    world = two_texts
    world.encoded("xyz", "eo", "xyz")
    for key, tokens in (("abc", "eo"), ("other", "eo"), ("xyz", "xyz")):
        folder = world.material(f"models/pretrained/{key}", model__bin=key)
        tokenizer = "xyz" if key == "xyz" else "abc"
        world.trained(key, tokens, tokenizer, outs=[folder])
    world.material("models/ported/unknown", model__bin="?")
    task = {"kind": "language-modelling", "mask_fraction": 0.15}
    usual = {"data": "eo", "split": "test", "task": task, "seed": 1}
    for key, model, more in (("a", "pretrained/abc", {}), ("b", "pretrained/other", b)):
        values = {**usual, "model": model, **more}
        metrics = world.file(f"metrics/evaluate/{key}.json", {"masked_loss_nats": 3.0})
        deps = ["data/corpora/eo", f"models/{values['model']}"]
        world.entry(f"evaluate@{key}", deps, values, [metrics])
    row = metric(world.compare("evaluate@a", "evaluate@b"), "masked_loss_nats")
    assert compared(row) == (not why)
    assert why in row.get("refused", "")
