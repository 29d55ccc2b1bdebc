"""Encode: nothing lost between the texts of a corpus and its packed rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import tables, tokenizers
from stages.lm.tokens import Tokens
from stages.tokenizer import training
from stages.tokenizer.stage import TokenizerParams

WORDS = [
    "la",
    "suno",
    "brilas",
    "kaj",
    "ĉiu",
    "bela",
    "hundo",
    "vidas",
    "malgrandan",
    "katon",
    "1887",
    "sur",
    "ŝtono",
    ".",
]


def text(seed, words):
    source = np.random.Generator(np.random.PCG64(seed))
    return " ".join(source.choice(WORDS, size=words))


def make_corpus(folder, splits, kind="text"):
    counts = {}
    for split, texts in splits.items():
        with tables.ShardWriter(folder, split, tables.TEXT_SCHEMA) as writer:
            for number, one in enumerate(texts):
                writer.add({"id": f"{split}-{number}", "text": one, "source": "test"})
        counts[split] = {
            "documents": len(texts),
            "characters": sum(len(one) for one in texts),
            "bytes": sum(len(one.encode("utf-8")) for one in texts),
            "shards": writer.shards,
        }
    canonical.write_json(folder / "corpus.json", {"kind": kind, "splits": counts})
    return folder


def some_splits():
    return {
        "train": [text(seed, 5 + seed * 7 % 90) for seed in range(150)],
        "valid": [text(1000 + seed, 30) for seed in range(8)],
        "test": [text(2000 + seed, 30) for seed in range(8)]
        + ["a <mask> <s> b</s>", "👩‍👩‍👧 \x00"],
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "eo", some_splits())


def make_tokenizer(corpus, folder, **options):
    params = TokenizerParams(corpus="eo", vocab_size=300, **options)
    backend, _ = training.train(params, corpus)
    training.save(backend, params, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(corpus, tmp_path_factory):
    return make_tokenizer(corpus, tmp_path_factory.mktemp("tokenizers") / "eo")


def run(corpus, tokenizer, tokens, indexed=None, **options):
    log = Log()
    params = EncodeParams(corpus="eo", tokenizer="eo", **options)
    encode(params, corpus, tokenizer, indexed or corpus, tokens, log)
    return log


@pytest.mark.parametrize("objective", ["masked", "causal"])
def test_every_text_comes_back_from_the_tokens(corpus, tmp_path, objective):
    folder = make_tokenizer(corpus, tmp_path / "t", objective=objective)
    log = run(corpus, folder, tmp_path / "k", sequence_length=64)
    backend = tokenizers.load(folder)
    for split, texts in some_splits().items():
        opened = Tokens(tmp_path / "k", split)
        assert opened.manifest["objective"] == objective
        for number, one in enumerate(texts):
            ids = opened.document(number).tolist()
            assert (ids[0], ids[-1]) == (opened.special.begin, opened.special.end)
            assert backend.decode(ids[1:-1], skip_special_tokens=False) == one
            assert opened.text_bytes[number] == len(one.encode("utf-8"))
            # What a text spells is never taken for a special token.
            assert not set(ids[1:-1]) & set(opened.special.all)
        assert opened.ledger["bytes"] == sum(len(one.encode("utf-8")) for one in texts)
        assert opened.ledger["packed_tokens"] == opened.ledger["tokens"]
        assert log.metrics[f"{split}_tokens"] == opened.ledger["tokens"]
        assert log.metrics[f"{split}_lost_tokens"] == 0


def test_the_tokens_say_which_tokenizer_made_them(corpus, tokenizer, tmp_path):
    run(corpus, tokenizer, tmp_path / "k")
    manifest = json.loads((tmp_path / "k" / "tokens.json").read_text(encoding="utf-8"))
    assert manifest["tokenizer_digest"] == tokenizers.digest(tokenizer)
    assert manifest["vocab_size"] == 300


def test_documents_are_cut_when_needed_or_never(tokenizer, tmp_path):
    """Texts of just over half a row pair with nothing; every cut is in the ledger."""
    texts = {split: [text(seed, 45) for seed in range(60)] for split in ("train", "valid", "test")}
    corpus = make_corpus(tmp_path / "c", texts)
    ledgers = {}
    for cut in ("never", "when-needed"):
        log = run(corpus, tokenizer, tmp_path / cut, sequence_length=120, cut=cut)
        opened = Tokens(tmp_path / cut)
        ledgers[cut] = ledger = opened.ledger
        sizes = np.diff(opened.documents)
        assert 60 < sizes.min() <= sizes.max() <= 120
        batch = opened.gather_flat(np.arange(opened.rows))
        assert len(batch["input_ids"]) == ledger["tokens"] == ledger["packed_tokens"]
        assert ledger["pieces"] == ledger["documents"] + ledger["cuts"]
        assert ledger["cuts"] == ledger["cuts_to_fill"] == log.metrics["train_cuts"]
        assert ledger["lost_tokens"] == ledger["documents_cut"] == 0
        assert ledger["fewest_rows"] == -(-ledger["tokens"] // 120)
    never, needed = ledgers["never"], ledgers["when-needed"]
    assert (never["cuts"], never["documents_split"]) == (0, 0)
    assert never["waste_fraction"] > 0.25
    assert needed["rows"] == needed["fewest_rows"]
    assert 0 < needed["documents_split"] <= needed["cuts"] < 60


CHILD = """
import sys
from functools import partial
from pathlib import Path
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
corpus, tokenizer, tokens = map(Path, sys.argv[1:])
params = EncodeParams(corpus="eo", tokenizer="eo")
encode(params, corpus, tokenizer, corpus, tokens, Log())
"""


def test_fresh_processes_write_the_same_bytes(corpus, tokenizer, tmp_path, root):
    made = []
    for seed, parallel in (("1", "false"), ("2", "true")):
        out = tmp_path / seed / "k"
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "TOKENIZERS_PARALLELISM": parallel,
            "PYTHONPATH": str(root),
        }
        arguments = [sys.executable, "-c", CHILD, str(corpus), str(tokenizer), str(out)]
        subprocess.run(arguments, check=True, env=environment, cwd=tmp_path)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 16


@pytest.mark.parametrize("kind", ["labelled", "parallel"])
def test_a_corpus_of_another_kind_is_refused(tmp_path, tokenizer, kind):
    folder = make_corpus(tmp_path / "c", some_splits(), kind=kind)
    with pytest.raises(ArtifactError, match=f"the corpus is of the kind '{kind}'") as caught:
        run(folder, tokenizer, tmp_path / "k")
    assert caught.value.todo == "give encode a corpus of the kind text"


def test_an_empty_split_is_refused(tmp_path, tokenizer):
    folder = make_corpus(tmp_path / "c", some_splits() | {"valid": []})
    with pytest.raises(CheckFailed, match="the split valid has no documents"):
        run(folder, tokenizer, tmp_path / "k")


def test_a_row_longer_than_the_training_split_is_refused(corpus, tokenizer, tmp_path):
    with pytest.raises(CheckFailed, match="sequence_length 60000 is more than all") as caught:
        run(corpus, tokenizer, tmp_path / "k", sequence_length=60_000)
    assert "set sequence_length to" in caught.value.todo


def test_a_row_beyond_the_limit_is_refused():
    with pytest.raises(ValueError, match="less than or equal to 65536"):
        EncodeParams(corpus="eo", tokenizer="eo", sequence_length=65_537)


def test_a_corpus_that_lost_documents_is_refused(tmp_path, tokenizer):
    folder = make_corpus(tmp_path / "c", some_splits())
    manifest = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    manifest["splits"]["valid"]["documents"] += 1
    canonical.write_json(folder / "corpus.json", manifest)
    with pytest.raises(CheckFailed, match="8 documents were encoded and 9 are in corpus.json"):
        run(folder, tokenizer, tmp_path / "k")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
        ("tokenizer.json", None, "tokenizer.json cannot be read"),
        ("tokenizer_config.json", "{", "tokenizer_config.json cannot be read"),
        ("tokenizer_config.json", "{}", "the bos_token is None"),
        ("tokenizer_config.json", '{"bos_token": "<no>"}', "the bos_token is '<no>'"),
    ],
)
def test_a_damaged_tokenizer_is_named(corpus, tokenizer, tmp_path, name, damage, message):
    folder = tmp_path / "t"
    tokenizers.copy(tokenizer, folder)
    path = folder / name
    path.unlink() if damage is None else path.write_text(damage, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        run(corpus, folder, tmp_path / "k")


def test_a_damaged_manifest_of_the_corpus_is_named(tmp_path, tokenizer):
    folder = make_corpus(tmp_path / "c", some_splits())
    (folder / "corpus.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"corpus\.json cannot be read"):
        run(folder, tokenizer, tmp_path / "k")


def test_a_large_vocabulary_is_stored_in_32_bits(corpus, tokenizer, tmp_path):
    folder = tmp_path / "t"
    tokenizers.copy(tokenizer, folder)
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["model"]["vocab"] |= {f"\u2603{number}": number for number in range(300, 65_600)}
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    run(corpus, folder, tmp_path / "k")
    assert Tokens(tmp_path / "k").manifest["dtype"] == "uint32"


def test_memory_does_not_grow_with_the_corpus(tokenizer, tmp_path, monkeypatch):
    """Texts are read row group by row group: at no time are more than two of them alive."""
    from stages.encode import encoding
    from stages.lm.engines import Engine
    from stages.lm.parts import Parts

    alive, most = 0, 0

    class Chunk:
        """A row group that is counted while it lives."""

        def __init__(self, first: int) -> None:
            nonlocal alive, most
            self.texts = [text(number, 20) for number in range(first, first + 100)]
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    backend = tokenizers.load(tokenizer)
    shared = backend.to_str(), tokenizers.special(tokenizer, backend)
    log = Log(scratch=tmp_path)
    groups = (partial(Chunk, first) for first in range(0, 1000, 100))
    parts = Parts(log, "encode train")
    done = encoding._Progress(log, 1)

    plain = encoding._encoded

    def work(state, special, chunk: Chunk):
        return plain(state, special, pa.array(chunk.texts))

    monkeypatch.setattr(encoding, "_encoded", work)
    for block in encoding._parts(groups, Engine(), shared, parts, done):
        assert block.sizes.sum() == len(block.ids) - 2 * len(block.sizes)
    assert parts.made == 10
    assert most <= 2


def test_a_tokenizer_that_the_kernels_do_not_know_encodes_by_the_library(
    corpus, tokenizer, tmp_path
):
    """The reason is told, and an equal tokenizer written otherwise gives equal bytes."""
    folder = tmp_path / "tokenizer"
    tokenizers.copy(tokenizer, folder)
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["normalizer"] = {"type": "Replace", "pattern": {"String": "\uffff"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    told = {}

    class Heard(Log):
        def text(self, name: str, text: str) -> None:
            told[name] = text

    params = EncodeParams(corpus="eo", tokenizer="eo", sequence_length=16)
    for name, given in (("kernels", tokenizer), ("library", folder)):
        encode(
            params, corpus, given, tmp_path, tmp_path / name, Heard(scratch=tmp_path / "s" / name)
        )
        told[name] = told.pop("encoded_by")
    assert told["kernels"] == "the kernels"
    assert told["library"] == "the normalizer is not NFC"
    for path in sorted((tmp_path / "kernels").glob("train*")):
        assert path.read_bytes() == (tmp_path / "library" / path.name).read_bytes(), path.name
