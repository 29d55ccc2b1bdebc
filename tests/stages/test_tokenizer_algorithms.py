"""WordPiece and Unigram: the same bytes in every process, pieces as by hand, no text is special."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from stages.core import canonical
from stages.core.errors import CheckFailed, ParamsError
from stages.core.log import Log
from stages.lm import tokenizers
from stages.tokenizer import algorithms
from stages.tokenizer.stage import TokenizerParams, tokenizer
from tests.stages.test_tokenizer import ENDINGS, ROOTS, make_corpus

PROCESSES = 4
SCRIPT = """
import sys
from pathlib import Path
from stages.core.log import Log
from stages.tokenizer.stage import TokenizerParams, tokenizer
algorithm, corpus, none, made, threads = sys.argv[1:]
params = TokenizerParams(
    corpus="eo", algorithm=algorithm, vocab_size=420, threads=int(threads)
)
tokenizer(params, Path(corpus), Path(none), Path(made), Log())
"""


def compounds(seed, words):
    source = np.random.Generator(np.random.PCG64(seed))
    first, second = source.choice(ROOTS, words), source.choice(ROOTS, words)
    last = source.choice(ENDINGS, words)
    return " ".join("".join(row) for row in zip(first, second, last, strict=True)) + f" {seed}."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "eo", compounds)


@pytest.fixture(scope="module")
def none(tmp_path_factory):
    return tmp_path_factory.mktemp("none")


def learned(folder, corpus, none, **params) -> Tokenizer:
    values = TokenizerParams(corpus="eo", vocab_size=420, **params)
    tokenizer(values, corpus, none, folder, Log())
    return tokenizers.load(folder)


@pytest.mark.parametrize(
    ("algorithm", "threads"), [("wordpiece", 1), ("unigram", 1), ("unigram", 3)]
)
def test_all_processes_write_one_file(corpus, none, tmp_path, root, algorithm, threads):
    found = set()
    for number in range(PROCESSES):
        folder = tmp_path / f"{number}" / ("deeper" * (number % 2)) / "made"
        environment = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": str(root)}
        given = [algorithm, *map(str, (corpus, none, folder, threads))]
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *given],
            env=environment, check=True, cwd=tmp_path,
        )  # fmt: skip
        files = sorted(path for path in folder.iterdir())
        found.add(tuple((path.name, canonical.file_digest(path)) for path in files))
    assert len(found) == 1


def test_upstreams_own_training_is_what_needs_this():
    """The fault that is mended: without the sorted alphabet the numbers follow a hash map."""
    words = ["abc bcd cde", "dea eab fab"] * 3

    def plain() -> str:
        backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordPieceTrainer(vocab_size=40, show_progress=False, special_tokens=[])
        backend.train_from_iterator(words, trainer)
        return json.dumps(sorted(backend.get_vocab().items(), key=lambda row: row[1]))

    assert len({plain() for _ in range(12)}) > 1


def test_wordpieces_merge_the_most_frequent_pair_first():
    params = TokenizerParams(corpus="eo", algorithm="wordpiece", vocab_size=261, min_frequency=2)
    specials = [AddedToken("<unk>", special=True)]
    backend = algorithms.learn(params, specials, [["hundo hundo hundoj kato", "hundo, katoj!"]])
    vocabulary = backend.get_vocab()
    assert backend.encode("hundo").tokens == ["hundo"]
    assert backend.encode("hundo, kato!").tokens == ["hundo", ",", "kato", "!"]
    assert backend.encode("xundo").tokens == ["<unk>"]
    letters = sorted(token for token in vocabulary if len(token) == 1)
    assert [vocabulary[one] for one in letters] == list(range(1, 1 + len(letters)))


def test_unigram_scores_are_logarithms_and_every_text_comes_back(corpus, none, tmp_path):
    backend = learned(tmp_path / "made", corpus, none, algorithm="unigram")
    model = json.loads((tmp_path / "made" / "tokenizer.json").read_text())["model"]
    kept = [score for _, score in model["vocab"] if score > algorithms.NEVER]
    assert all(score < 0 for score in kept)
    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert report["round_trip"]["held_out_texts"] == 10
    for text in ("La hundo  kuras.\n\tJes!", " \u00a0x", "\u6f22\u5b57 \U0001f469", "<0x0A>", ""):
        ids = backend.encode(text, add_special_tokens=False).ids
        assert backend.decode(ids, skip_special_tokens=False) == text
    assert backend.get_vocab_size() == 420


@pytest.mark.parametrize(
    ("algorithm", "objective"),
    [("wordpiece", "masked"), ("unigram", "masked"), ("unigram", "causal")],
)
def test_no_text_becomes_a_special_token(corpus, none, tmp_path, algorithm, objective):
    backend = learned(tmp_path / "made", corpus, none, algorithm=algorithm, objective=objective)
    added = backend.get_added_tokens_decoder()
    special = {number for number, one in added.items() if one.special and one.content != "<unk>"}
    assert special
    for text in ("<mask>", "a <s>b</s>", "<pad><|endoftext|>", "<0x0A>"):
        assert not special & set(backend.encode(text, add_special_tokens=False).ids), text


def test_wordpiece_is_refused_where_nothing_stands_for_an_unknown_letter():
    with pytest.raises(ParamsError, match="no token for it"):
        TokenizerParams(corpus="eo", algorithm="wordpiece", objective="causal")


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram"])
def test_it_opens_with_the_auto_class(corpus, none, tmp_path, algorithm):
    from transformers import AutoTokenizer

    learned(tmp_path / "made", corpus, none, algorithm=algorithm)
    opened = AutoTokenizer.from_pretrained(tmp_path / "made")
    ids = opened("sunhundo katdomon")["input_ids"]
    assert (ids[0], ids[-1]) == (opened.bos_token_id, opened.eos_token_id)
    assert opened.decode(ids, skip_special_tokens=True) == "sunhundo katdomon"
    assert opened.decode([opened.mask_token_id]) == "<mask>"


def test_too_large_a_vocabulary_is_refused_in_three_lines(corpus, none, tmp_path):
    for algorithm in ("wordpiece", "unigram"):
        params = TokenizerParams(corpus="eo", algorithm=algorithm, vocab_size=50_000)
        with pytest.raises(CheckFailed) as refused:
            tokenizer(params, corpus, none, tmp_path / algorithm, Log())
        assert len(refused.value.lines()) == 3
        assert "vocab_size 50000" in refused.value.what


def test_counts_are_kept_whatever_the_batches():
    words = Counter({"la": 2 * algorithms.AT_ONCE + 3, "hundo": 1})
    again: Counter[str] = Counter()
    for batch in algorithms._counted(words):
        for text in batch:
            again.update(text.split())
    assert again == words
