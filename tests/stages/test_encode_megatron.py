"""Tokens go out to Megatron-LM and come in from it without one being lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ArtifactError, CheckFailed
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import indexed
from stages.lm.tokens import Tokens
from tests.stages.test_encode import make_corpus, make_tokenizer, some_splits

Made = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A corpus, a causal tokenizer, and the tokens with an index for Megatron."""
    root = tmp_path_factory.mktemp("megatron")
    corpus = make_corpus(root / "eo", some_splits())
    tokenizer = make_tokenizer(corpus, root / "tokenizer", objective="causal")
    params = EncodeParams(corpus="eo", tokenizer="eo", megatron_index=True)
    encode(params, corpus, tokenizer, corpus, root / "tokens", Log())
    return corpus, tokenizer, root / "tokens"


def _raw(tmp_path: Path, documents: list[np.ndarray], vocab_size: int = 300) -> Path:
    (tmp_path / "raw" / "files").mkdir(parents=True)
    indexed.write(tmp_path / "raw" / "files" / "text_document", documents, vocab_size)
    return tmp_path / "raw"


def _encode(made: Made, raw: Path, out: Path) -> Tokens:
    corpus, tokenizer, _ = made
    params = EncodeParams(corpus="eo", tokenizer="eo", indexed="raw/megatron")
    encode(params, corpus, tokenizer, raw, out, Log())
    return Tokens(out)


def test_every_split_is_a_megatron_token_file(made: Made) -> None:
    for split in ("train", "valid", "test"):
        found = indexed.read(made[2] / split)
        ours = Tokens(made[2], split)
        assert len(found) == ours.ledger["documents"]
        for number, tokens in enumerate(found.every()):
            assert np.array_equal(tokens, ours.document(number))


def test_a_token_file_is_the_training_split(made: Made, tmp_path: Path) -> None:
    """The same stream and rows as from the texts; valid and test are the corpus' own."""
    ours = Tokens(made[2])
    documents = [ours.document(number)[1:] for number in range(ours.ledger["documents"])]
    found = _encode(made, _raw(tmp_path, documents), tmp_path / "out")
    for path in sorted((tmp_path / "out").iterdir()):
        assert path.read_bytes() == (made[2] / path.name).read_bytes(), path.name
    assert found.ledger["bytes"] == ours.ledger["bytes"]


def test_documents_without_an_end_token_get_one(made: Made, tmp_path: Path) -> None:
    ours = Tokens(made[2])
    documents = [ours.document(number)[1:-1] for number in range(ours.ledger["documents"])]
    found = _encode(made, _raw(tmp_path, documents), tmp_path / "out")
    assert np.array_equal(found.stream, ours.stream)


def test_a_large_vocabulary_has_megatrons_type(made: Made, tmp_path: Path) -> None:
    wide = indexed.index_bytes(np.array([3, 1]), "int32")
    (tmp_path / "a.idx").write_bytes(wide)
    np.array([1, 2, 70_000, 4], dtype="<u4").tofile(tmp_path / "a.bin")
    assert indexed.read(tmp_path / "a").document(0).tolist() == [1, 2, 70_000]


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([[5, 6], [7, 301]], "token id 301 is outside the vocabulary of 300"),
        ([[5, 0, 7]], "token id 0 is special and stands inside the text"),
    ],
)
def test_tokens_of_another_tokenizer_are_refused(
    made: Made, tmp_path: Path, documents: list[list[int]], told: str
) -> None:
    raw = _raw(tmp_path, [np.array(one) for one in documents], 400)
    with pytest.raises(CheckFailed, match=told):
        _encode(made, raw, tmp_path / "out")


def test_a_raw_entry_without_one_pair_is_refused(made: Made, tmp_path: Path) -> None:
    raw = _raw(tmp_path, [np.array([5])])
    (raw / "files" / "more.idx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="2 indexes of token files"):
        _encode(made, raw, tmp_path / "out")
    for path in (raw / "files").glob("*.idx"):
        path.unlink()
    with pytest.raises(ArtifactError, match="0 indexes of token files: none"):
        _encode(made, raw, tmp_path / "out")
