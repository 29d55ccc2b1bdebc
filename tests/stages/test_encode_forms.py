"""What else a folder of tokens holds on demand: Megatron's index of a run, records in shards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.encode import samples
from stages.encode.stage import EncodeParams, encode
from stages.lm import indexed
from stages.lm.tokens import Tokens
from tests.stages.test_encode import make_corpus, make_tokenizer, some_splits

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=25).filter(lambda sizes: sum(sizes) > 20)


def one_after_another(sizes, documents, length, total):
    """Where samples begin, by walking the documents token by token as Megatron's loop does."""
    found, place, offset = [(0, 0)], 0, 0
    while len(found) <= total:
        left = length + 1
        while left:
            size = sizes[documents[place]] - offset
            left -= size
            if left <= 0:
                offset, left = offset + left + size - 1, 0
            else:
                place, offset = place + 1, 0
        found.append((place, offset))
    return found


@settings(deadline=None)
@given(SIZES, st.integers(1, 20), st.integers(1, 90), st.integers(0, 1 << 31))
def test_samples_begin_where_megatrons_begin_and_hold_every_token(sizes, length, count, seed):
    given_ = np.array(sizes)
    made = samples.index(given_, length, count, seed)
    tokens, epochs = sum(sizes), samples.epochs_for(sum(sizes), length, count)
    total = (epochs * tokens - 1) // length
    assert total >= count
    assert epochs == 1 or ((epochs - 1) * tokens - 1) // length < count
    assert np.bincount(made.documents, minlength=len(sizes)).tolist() == [epochs] * len(sizes)
    assert made.firsts.tolist() == [
        list(one) for one in one_after_another(sizes, made.documents, length, total)
    ]
    assert sorted(made.order.tolist()) == list(range(total))
    # Put back in order and without the token they share, samples are the documents end to end.
    offsets = np.concatenate([[0], np.cumsum(given_)])
    stream = np.arange(tokens)
    unshuffled = made._replace(order=np.arange(total))
    taken = [samples.sample(unshuffled, number, stream, offsets) for number in range(total)]
    assert all(len(one) == length + 1 for one in taken)
    assert all(one[-1] == other[0] for one, other in zip(taken, taken[1:], strict=False))
    joined = np.concatenate([np.arange(a, b) for a, b in
                             zip(offsets[made.documents], offsets[made.documents + 1],
                                 strict=True)])  # fmt: skip
    assert np.concatenate([one[:-1] for one in taken]).tolist() == joined[: total * length].tolist()


def test_a_last_epoch_needed_by_little_is_shuffled_apart():
    """As Megatron: below 80 per cent of its samples it comes behind all others, else among them."""
    sizes = np.full(50, 21)  # 1050 tokens, 104 samples of 10 an epoch
    apart, together = samples.index(sizes, 10, 284, 1), samples.index(sizes, 10, 303, 1)
    assert len(apart.documents) == len(together.documents) == 150
    assert sorted(apart.documents[100:].tolist()) == list(range(50))
    assert sorted(together.documents[100:].tolist()) != list(range(50))
    assert sorted(apart.order[:209].tolist()) == list(range(209))
    assert sorted(together.order[:209].tolist()) != list(range(209))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("forms")
    corpus = make_corpus(root / "eo", some_splits())
    tokenizer = make_tokenizer(corpus, root / "tokenizer", objective="causal")

    def run(name: str, **options) -> Path:
        params = EncodeParams(corpus="eo", tokenizer="eo", sequence_length=64, **options)
        encode(params, corpus, tokenizer, corpus, root / name, Log())
        return root / name

    return run


def test_an_index_of_a_run_is_found_by_megatrons_name(made):
    options = {"megatron_index": True, "megatron_samples": 500}
    one, same = made("one", **options), made("same", **options)
    other = made("other", **options, megatron_seed=5)
    text = samples.description(64, 500, 1234)
    name = hashlib.md5(text.encode()).hexdigest()
    assert "Number of samples 500\nSequence length 64\nRandom seed 1234\n" in text
    names = [f"{name}.dsc", *(f"{name}_{part}_idx.npy" for part in ("doc", "sample", "shuffle"))]
    found = {path.name: path.read_bytes() for path in sorted((one / "index-cache").iterdir())}
    assert sorted(found) == sorted(names)
    assert found == {path.name: path.read_bytes() for path in (same / "index-cache").iterdir()}
    # Another seed: other index files, and nothing else is another.
    assert not set(found) & {path.name for path in (other / "index-cache").iterdir()}
    for path in one.glob("*.*"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    arrays = [np.load(one / "index-cache" / f"{name}_{part}_idx.npy")
              for part in ("doc", "sample", "shuffle")]  # fmt: skip
    assert [array.dtype for array in arrays] == [np.int32, np.int32, np.uint32]
    pair = indexed.read(one / "train")
    run = samples.Samples(*arrays)
    offsets = np.concatenate([[0], np.cumsum(pair.sizes)])
    first = samples.sample(run, 0, pair.stream, offsets)
    assert len(first) == 65
    assert np.array_equal(first, samples.sample(run, 0, Tokens(one).stream, Tokens(one).documents))


def test_records_of_a_fixed_length_are_counted_by_their_names(made):
    folder = made("records", records_per_shard=10)
    for split in ("train", "valid", "test"):
        opened = Tokens(folder, split)
        files = sorted((folder / "records" / split).iterdir())
        counts = [int(path.stem.split("-")[-1]) for path in files]
        told = (folder / f"records/split-{split}-records-count.txt").read_text()
        assert told == f"Total {split} records: {opened.rows}\n"
        assert sum(counts) == opened.rows
        assert all(count == 10 for count in counts[:-1])
        wanted = opened.gather(np.arange(opened.rows))
        tables = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in files]
        assert [len(table) for table in tables] == counts
        table = pa.concat_tables(tables)
        assert table["input_ids"].type == pa.list_(pa.uint16(), 64)
        assert table["input_ids"].to_pylist() == wanted["input_ids"].tolist()
        assert table["segment_ids"].to_pylist() == wanted["segment_ids"].tolist()
        assert table["position_ids"].to_pylist() == wanted["position_ids"].tolist()
        masks = np.array(table["attention_mask"].to_pylist())
        assert masks.sum() == opened.ledger["tokens"]
        assert np.array_equal(masks, wanted["segment_ids"] > 0)


def test_what_cannot_be_is_refused(made, tmp_path):
    with pytest.raises(ValidationError, match="megatron_samples needs megatron_index"):
        EncodeParams(corpus="x", tokenizer="x", megatron_samples=5)
    with pytest.raises(CheckFailed, match="tokens make no sample of 65000"):
        samples.write(made("short"), 65_000, 5, 1)
