"""Tokenizer: the ids of section 000, bytes that come back, equal files, an honest report."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.core.log import Log
from stages.lm import tables, tokenizers
from stages.lm.kernels.text import to_strings
from stages.tokenizer import report, training
from stages.tokenizer.preparation import Preparation
from stages.tokenizer.stage import TokenizerParams, tokenizer

ROOTS = ["sun", "hund", "kat", "dom", "arb", "flor", "libr", "vir", "infan", "ŝton", "ĉiel"]
ENDINGS = ["o", "on", "oj", "ojn", "a", "an", "aj", "ajn", "as", "is", "os", "e"]
ENGLISH = "the quick brown fox jumps over a lazy dog while seven wizards brew thick black coffee"


def esperanto(seed, words):
    source = np.random.Generator(np.random.PCG64(seed))
    pairs = zip(source.choice(ROOTS, words), source.choice(ENDINGS, words), strict=True)
    return " ".join(root + ending for root, ending in pairs) + f" {seed}."


def english(seed, words):
    source = np.random.Generator(np.random.PCG64(seed))
    return " ".join(source.choice(ENGLISH.split(), words))


def make_corpus(folder, make=esperanto, kind="text", counts=(200, 10, 10)):
    splits = {}
    schema = tables.PARALLEL_SCHEMA if kind == "parallel" else tables.TEXT_SCHEMA
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        texts = [make(1000 * len(split) + number, 40) for number in range(count)]
        with tables.ShardWriter(folder, split, schema) as writer:
            for number, text in enumerate(texts):
                row = {"id": f"{split}-{number}", "source": "test", "text": text}
                if kind == "parallel":
                    row = {**row, "source_text": "ne", "target_text": row.pop("text")}
                writer.add(row)
        splits[split] = {
            "documents": count,
            "characters": sum(len(text) for text in texts),
            "bytes": sum(len(text.encode("utf-8")) for text in texts),
            "shards": writer.shards,
        }
    canonical.write_json(folder / "corpus.json", {"kind": kind, "splits": splits})
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "eo")


@pytest.fixture(scope="module")
def none(tmp_path_factory):
    return tmp_path_factory.mktemp("none")


def run(corpus, foreign, out, **options):
    log = Log()
    params = TokenizerParams(**({"corpus": "eo", "vocab_size": 360} | options))
    tokenizer(params=params, corpus=corpus, reference=foreign, tokenizer=out, log=log)
    return log


@pytest.fixture(scope="module")
def made(corpus, none, tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizers") / "eo"
    run(corpus, none, out)
    return out


def load_auto(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_the_ids_are_those_of_section_000(made):
    """how-to-train: specials 0 to 4, then the bytes from `!`, in both files of the vocabulary."""
    vocabulary = json.loads((made / "vocab.json").read_text(encoding="utf-8"))
    first = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"!\"#$%&'()"]
    assert [vocabulary[token] for token in first] == list(range(14))
    assert len(vocabulary) == 360 == len(load_auto(made))
    assert sorted(vocabulary.values()) == list(range(360))
    document = json.loads((made / "tokenizer.json").read_text(encoding="utf-8"))
    assert document["model"]["vocab"] == vocabulary
    merges = (made / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert merges[0] == "#version: 0.2"
    assert len(merges) - 1 == 360 - 256 - 5 == len(document["model"]["merges"])


def test_it_opens_with_the_auto_class_and_wraps_a_text(made):
    opened = load_auto(made)
    ids = opened("La suno.")["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert set(opened("La suno.")) == {"input_ids", "attention_mask"}
    assert opened.tokenize("la <mask>.")[-2:] == [" <mask>", "."]
    for text in ("ĉielo  kaj\nŝtono , 's", "👩‍👩‍👧", "x\x00y"):
        assert opened.decode(opened(text, add_special_tokens=False)["input_ids"]) == text


def test_the_fill_mask_pipeline_takes_it(made, tmp_path):
    from transformers import RobertaConfig, RobertaForMaskedLM, pipeline

    config = RobertaConfig(
        vocab_size=360,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=34,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(tmp_path / "m")
    tokenizers.copy(made, tmp_path / "m", model_max_length=32)
    # The folder now has a config.json of RoBERTa: the class must still be the generic one.
    assert load_auto(tmp_path / "m").model_max_length == 32
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        assert (tmp_path / "m" / name).read_bytes() == (made / name).read_bytes()
    guesses = pipeline("fill-mask", model=str(tmp_path / "m"))("la <mask> brilas.", top_k=3)
    assert len(guesses) == 3
    assert all(guess["sequence"].endswith(" brilas.") for guess in guesses)


def test_a_causal_tokenizer_leaves_a_prompt_open(corpus, none, tmp_path):
    run(corpus, none, tmp_path / "t", objective="causal")
    opened = load_auto(tmp_path / "t")
    assert opened.bos_token_id == opened.eos_token_id == opened.pad_token_id == 0
    assert opened.mask_token is None
    ids = opened("suno  brilas")["input_ids"]
    assert ids[0] == 0
    assert 0 not in ids[1:]
    assert opened.decode(ids, skip_special_tokens=True) == "suno  brilas"
    vocabulary = json.loads((tmp_path / "t" / "vocab.json").read_text(encoding="utf-8"))
    assert (vocabulary["<|endoftext|>"], vocabulary["!"]) == (0, 1)
    special = tokenizers.special(tmp_path / "t", tokenizers.load(tmp_path / "t"))
    assert (special.begin, special.end, special.pad, special.mask, special.all) == (
        0,
        0,
        0,
        None,
        (0,),
    )


def test_digits_can_be_tokens_of_their_own(corpus, none, made, tmp_path):
    run(corpus, none, tmp_path / "t", split_digits=True)
    pieces = load_auto(tmp_path / "t").tokenize("en 4000 7")
    assert [piece for piece in pieces if any(sign.isdigit() for sign in piece)] == [*"4000", "7"]
    # Teeth: without the option the frequent numbers of this corpus are merged.
    assert any(
        sum(sign.isdigit() for sign in token) > 1
        for token in json.loads((made / "vocab.json").read_text(encoding="utf-8"))
    )


CHILD = """
import sys
from pathlib import Path
from stages.core.log import Log
from stages.tokenizer.stage import TokenizerParams, tokenizer
corpus, reference, out = map(Path, sys.argv[1:])
params = TokenizerParams(corpus="eo", vocab_size=360, reference="corpora/eo")
tokenizer(params=params, corpus=corpus, reference=reference, tokenizer=out, log=Log())
"""


def test_fresh_processes_write_the_same_bytes(corpus, tmp_path, root):
    made = []
    for seed, parallel in (("1", "false"), ("2", "true")):
        out = tmp_path / seed / "t"
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "TOKENIZERS_PARALLELISM": parallel,
            "PYTHONPATH": str(root),
        }
        arguments = [sys.executable, "-c", CHILD, str(corpus), str(corpus), str(out)]
        subprocess.run(arguments, check=True, env=environment, cwd=tmp_path)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert sorted(made[0]) == [
        "merges.txt",
        "report.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]


def test_the_report_is_what_a_hand_count_gives(made):
    """Counted again with the auto class, text by text."""
    found = json.loads((made / "report.json").read_text(encoding="utf-8"))
    opened = load_auto(made)
    texts = [esperanto(4000 + number, 40) for number in range(10)]
    tokens = sum(len(opened(text, add_special_tokens=False)["input_ids"]) for text in texts)
    words = sum(len(text.split()) for text in texts)
    size = sum(len(text.encode("utf-8")) for text in texts)
    assert (found["split"], found["texts"], found["tokens"]) == ("test", 10, tokens)
    assert found["tokens_per_word"] == tokens / words
    assert found["bytes_per_token"] == size / tokens
    assert found["unknown_fraction"] == 0
    assert found["round_trip"] == {
        "changed": 0,
        "changed_by_normalising": 0,
        "held_out_texts": 10,
        "random_strings": 10_000,
    }
    letters = [word for text in texts for word in report.WORD.findall(text)]
    whole = [len(opened.tokenize(" " + word)) == 1 for word in letters]
    assert found["kept_whole_fraction"] == sum(whole) / len(whole)
    assert 0 < found["kept_whole_fraction"] < 1
    by_name = {row["name"]: row for row in found["references"]}
    assert by_name["bytes"]["length_ratio"] == tokens / size


@pytest.mark.parametrize("kind", ["text", "parallel"])
def test_a_tokenizer_of_another_language_needs_more_tokens(corpus, tmp_path, kind):
    """Section 000: at most 0.9 of the length under a foreign vocabulary of the same size."""
    foreign = make_corpus(tmp_path / "en", english, kind=kind)
    log = run(corpus, foreign, tmp_path / "t", reference="corpora/en")
    assert log.metrics["length_against_foreign_ratio"] <= 0.9
    # Teeth: against itself the ratio is 1.
    log = run(corpus, corpus, tmp_path / "same", reference="corpora/eo")
    assert log.metrics["length_against_foreign_ratio"] == 1


def test_indentation_is_counted(none, tmp_path):
    """Section 044: how many tokens a program spends on white space."""

    def program(seed, words):
        return f"def f{seed}(x):\n    if x:\n        return {words}\n\n"

    corpus = make_corpus(tmp_path / "c", program)
    run(corpus, none, tmp_path / "t", objective="causal", vocab_size=270)
    found = json.loads((tmp_path / "t" / "report.json").read_text(encoding="utf-8"))
    opened = load_auto(tmp_path / "t")
    tokens = [
        opened.decode([number])
        for at in range(4000, 4010)
        for number in opened(program(at, 40), add_special_tokens=False)["input_ids"]
    ]
    blank = sum(token.isspace() for token in tokens)
    assert 0 < blank < len(tokens)
    assert found["white_space_fraction"] == blank / len(tokens)


def test_the_metrics_end_in_units(corpus, none, tmp_path):
    log = run(corpus, none, tmp_path / "t")
    assert set(log.metrics) == {
        "vocabulary_tokens",
        "fertility_tokens_per_word",
        "compression_bytes_per_token",
        "kept_whole_fraction",
        "unknown_fraction",
        "vocabulary_used_fraction",
        "length_against_bytes_ratio",
        "length_against_characters_ratio",
    }


def test_random_strings_span_unicode_without_surrogates():
    strings = report.random_strings(10_000)
    points = {ord(sign) for string in strings for sign in string}
    assert strings == report.random_strings(10_000)
    assert max(points) > 0x10FF00
    assert not any(0xD800 <= point < 0xE000 for point in points)
    assert {len(f"{chr(point)}".encode()) for point in points} == {1, 2, 3, 4}
    assert any("<mask>" in string for string in strings)


def test_a_tokenizer_that_changes_text_is_refused(corpus, none, tmp_path, monkeypatch):
    """Planted faults: lower-casing, and special tokens read out of the text."""
    from tokenizers import normalizers

    learned = training.train

    def lowering(params, folder):
        backend, seen = learned(params, folder)
        backend.normalizer = normalizers.Lowercase()
        return backend, seen

    monkeypatch.setattr(training, "train", lowering)
    with pytest.raises(CheckFailed, match=r"decoding changed 0 of 10 held-out texts and \d+ of"):
        run(corpus, none, tmp_path / "t")
    backend, _ = learned(TokenizerParams(corpus="eo", vocab_size=300), corpus)
    backend.encode_special_tokens = False
    texts = report.random_strings(1000)
    idle = Preparation(TokenizerParams(corpus="eo"))
    assert report.round_trip(backend, texts, idle)[0] > 0
    backend.encode_special_tokens = True
    assert report.round_trip(backend, texts, idle) == (0, 0)


def test_a_vocabulary_larger_than_the_corpus_is_refused_with_what_it_can_give(
    corpus, none, tmp_path
):
    with pytest.raises(
        CheckFailed, match="vocab_size 50000 is more than this corpus can"
    ) as caught:
        run(corpus, none, tmp_path / "t", vocab_size=50_000)
    can_give = int(caught.value.todo.split()[3])
    assert not (tmp_path / "t").exists()
    run(corpus, none, tmp_path / "t", vocab_size=can_give)
    with pytest.raises(CheckFailed):
        run(corpus, none, tmp_path / "u", vocab_size=can_give + 1)


@pytest.mark.parametrize("kind", ["labelled", "parallel"])
def test_a_corpus_of_another_kind_is_refused(none, tmp_path, kind):
    folder = make_corpus(tmp_path / "c", kind=kind)
    with pytest.raises(ArtifactError, match=f"the corpus is of the kind '{kind}'"):
        run(folder, none, tmp_path / "t")


def test_a_labelled_reference_is_refused(corpus, tmp_path):
    folder = make_corpus(tmp_path / "c", kind="labelled")
    with pytest.raises(ArtifactError, match="the corpus is of the kind 'labelled'") as caught:
        run(corpus, folder, tmp_path / "t", reference="corpora/pos")
    assert caught.value.todo == "give tokenizer a corpus of the kind text or parallel"


def test_an_empty_training_split_is_refused(none, tmp_path):
    folder = make_corpus(tmp_path / "c", counts=(0, 3, 3))
    with pytest.raises(CheckFailed, match="no text to learn a vocabulary from"):
        run(folder, none, tmp_path / "t")


def test_a_large_corpus_is_sampled_by_the_hash_of_ids(corpus, none, tmp_path):
    manifest = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    size = manifest["splits"]["train"]["bytes"]
    chosen = list(training.sample(corpus, "train", "text", size, size // 4))
    used = sum(len(text.encode("utf-8")) for text in chosen)
    assert 0.6 * size / 4 < used <= size / 4
    everything = list(training.sample(corpus, "train", "text", size, size))
    assert len(everything) == 200
    # Not the first documents but some of all.
    assert [everything.index(text) for text in chosen] != list(range(len(chosen)))
    run(corpus, none, tmp_path / "t", max_training_bytes=size // 4, vocab_size=300)
    found = json.loads((tmp_path / "t" / "report.json").read_text(encoding="utf-8"))
    assert found["training"]["bytes"] == used
    assert found["training"]["corpus_bytes"] == size


def test_the_vocabulary_size_has_room_for_the_bytes():
    with pytest.raises(ParamsError, match="vocab_size 260 is smaller than what"):
        TokenizerParams(corpus="eo", vocab_size=260)


def test_real_esperanto_is_shorter_than_under_real_english(shared_data, tmp_path):
    """Held-out Esperanto prose: own vocabulary against one learned from English news."""
    books = sorted((shared_data / "eo_classics" / "tekstaro-gutenberg").glob("*.txt"))[:12]
    text = "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in books)
    prose = [one.strip() for one in text.split("\n\n") if len(one.strip()) > 40]
    news = shared_data / "ntrex128" / "newstest2019-src.eng.txt"
    lines = news.read_text(encoding="utf-8").splitlines()
    own, foreign = iter(prose), iter(lines)
    corpus = make_corpus(tmp_path / "c", lambda *_: next(own), counts=(len(prose) - 100, 50, 50))
    other = make_corpus(tmp_path / "en", lambda *_: next(foreign), counts=(len(lines) - 2, 1, 1))
    log = run(corpus, other, tmp_path / "t", vocab_size=2000, reference="corpora/en")
    assert log.metrics["length_against_foreign_ratio"] <= 0.9
    assert log.metrics["unknown_fraction"] == 0
    assert load_auto(tmp_path / "t").tokenize("Mi estas Julien.")[:2] == ["Mi", "Ġestas"]


def test_buffers_of_the_sample_are_the_texts_of_the_sample(corpus):
    """Whatever the limit: all documents, some by the hash of their ids, none that passes it."""
    size = json.loads((corpus / "corpus.json").read_text())["splits"]["train"]["bytes"]
    for limit in (10 * size, size, size - 1, size // 3, 300, 1):
        strings = list(training.sample(corpus, "train", "text", size, limit))
        parts = list(training.sampled(corpus, "train", "text", size, limit))
        assert [one for part in parts for one in to_strings(part)] == strings
        assert limit != size // 3 or 0 < len(strings) < 200
