"""Tokens on disk: what is written comes back, any step is found at once, faults are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.lm import packed
from stages.lm.packed import check_packing, write_manifest, write_split
from stages.lm.packing import Packing, pack
from stages.lm.tokens import Encoded, Special, Tokens

SPECIAL = Special(begin=0, end=2, pad=1, mask=4, all=(0, 1, 2, 3, 4))
VOCAB = 300
LENGTH = 32


def make(folder, documents, *, vocab_size=VOCAB, sequence_length=LENGTH, block=7, split="train"):
    def blocks():
        for first in range(0, len(documents), block):
            some = documents[first : first + block]
            sizes = np.array([len(ids) for ids in some], dtype=np.int64)
            yield Encoded(np.concatenate(some).astype(np.uint32), sizes, sizes * 3, sizes * 2)

    ledger = write_split(folder, split, blocks(), SPECIAL, vocab_size, sequence_length)
    write_manifest(
        folder,
        vocab_size=vocab_size,
        sequence_length=sequence_length,
        objective="masked",
        special=SPECIAL,
        tokenizer_digest="0" * 64,
        splits={split: ledger},
    )
    return ledger


def some_documents(count, seed=0, longest=90, vocab_size=VOCAB):
    source = np.random.Generator(np.random.PCG64(seed))
    sizes = source.integers(0, longest, size=count)
    return [source.integers(5, vocab_size, size=size) for size in sizes]


@pytest.fixture(scope="module")
def documents():
    return some_documents(200)


@pytest.fixture(scope="module")
def folder(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens") / "eo"
    make(folder, documents)
    return folder


def segments_of(batch):
    """Return the tokens of every segment of a padded batch."""
    found = []
    for ids, segments in zip(batch["input_ids"], batch["segment_ids"], strict=True):
        found += [ids[segments == number].tolist() for number in range(1, segments.max() + 1)]
    return found


def test_documents_come_back_between_begin_and_end(folder, documents):
    opened = Tokens(folder)
    for number, ids in enumerate(documents):
        assert opened.document(number).tolist() == [0, *ids.tolist(), 2]
        assert opened.text_bytes[number] == 3 * len(ids)
    assert opened.ledger["documents"] == len(documents)


def test_the_ledger_adds_up(folder, documents):
    ledger = Tokens(folder).ledger
    text = sum(len(ids) for ids in documents)
    assert ledger["text_tokens"] == text
    assert ledger["special_tokens"] == 2 * len(documents)
    assert ledger["tokens"] == text + 2 * len(documents) == ledger["packed_tokens"]
    assert ledger["lost_tokens"] == 0
    assert ledger["bytes"] == 3 * text
    assert ledger["characters"] == 2 * text
    assert ledger["padding"] == ledger["rows"] * LENGTH - ledger["tokens"]
    assert ledger["documents_cut"] == sum(len(ids) + 2 > LENGTH for ids in documents)


def test_an_epoch_holds_every_token_once(folder):
    """Putting the segments back in stream order gives the stream, token by token."""
    opened = Tokens(folder)
    everything = opened.gather(np.arange(opened.rows))
    expected = [
        opened.document(number)[first : first + LENGTH].tolist()
        for number in range(opened.ledger["documents"])
        for first in range(0, len(opened.document(number)), LENGTH)
    ]
    assert sorted(segments_of(everything)) == sorted(expected)
    assert everything["lengths"].sum() == opened.ledger["tokens"]


def test_positions_begin_again_and_padding_is_marked(folder):
    batch = Tokens(folder).batch(0, 16, 3)
    for row, length in enumerate(batch["lengths"]):
        segments, positions = batch["segment_ids"][row], batch["position_ids"][row]
        assert (segments[:length] > 0).all()
        assert (segments[length:] == 0).all()
        assert (batch["input_ids"][row, length:] == SPECIAL.pad).all()
        begins = np.flatnonzero(np.diff(segments[:length], prepend=0))
        assert (positions[begins] == 0).all()
        inside = np.setdiff1d(np.arange(1, length), begins)
        assert (positions[inside] == positions[inside - 1] + 1).all()
        assert (np.diff(segments[:length]) >= 0).all()


def test_no_segment_holds_two_documents(folder):
    """A begin token can only stand first and an end token last in a segment."""
    opened = Tokens(folder)
    for ids in segments_of(opened.gather(np.arange(opened.rows))):
        assert SPECIAL.begin not in ids[1:]
        assert SPECIAL.end not in ids[:-1]


def test_the_flat_batch_is_the_padded_one_without_padding(folder):
    opened = Tokens(folder)
    padded, flat = opened.batch(5, 8, 3), opened.flat_batch(5, 8, 3)
    filled = padded["segment_ids"] > 0
    for name in ("input_ids", "position_ids", "segment_ids"):
        assert np.array_equal(padded[name][filled], flat[name])
    assert np.array_equal(padded["lengths"], flat["lengths"])
    assert np.array_equal(np.nonzero(filled)[0], flat["row_ids"])
    starts = np.flatnonzero(flat["position_ids"] == 0)
    assert np.array_equal(flat["segment_starts"], [*starts, len(flat["input_ids"])])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.integers(1, 40).map(lambda half: 2 * half), st.integers(0, 1 << 40))
def test_any_step_is_the_one_a_replay_reaches(folder, step, rows, seed):
    opened = Tokens(folder)
    fresh = Tokens(folder)
    for name, array in opened.batch(step, rows, seed).items():
        assert np.array_equal(array, fresh.batch(step, rows, seed)[name])
    # The same sequence of rows whatever the batch size: here one row at a time.
    single = [int(opened.order(step * rows + at, 1, seed)[0]) for at in range(rows)]
    assert single == opened.order(step, rows, seed).tolist()
    halves = [opened.order(step, rows, seed, rank=rank, world_size=2) for rank in (0, 1)]
    assert np.array_equal(np.concatenate(halves), opened.order(step, rows, seed))


def test_batches_run_through_epochs_without_dropping_a_row(folder):
    opened = Tokens(folder)
    rows = opened.rows
    steps = -(-3 * rows // 8)
    order = np.concatenate([opened.order(step, 8, 11) for step in range(steps)])[: 3 * rows]
    epochs = order.reshape(3, rows)
    assert all(sorted(epoch.tolist()) == list(range(rows)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize(
    ("vocab_size", "dtype", "width"), [(65_536, "uint16", 2), (65_537, "uint32", 4)]
)
def test_ids_are_as_narrow_as_the_vocabulary_allows(tmp_path, vocab_size, dtype, width):
    highest = np.array([vocab_size - 1, 7])
    make(tmp_path / "t", [highest], vocab_size=vocab_size)
    opened = Tokens(tmp_path / "t")
    assert opened.manifest["dtype"] == dtype
    assert (tmp_path / "t" / "train.bin").stat().st_size == 4 * width
    assert opened.document(0).tolist() == [0, vocab_size - 1, 7, 2]


def test_blocks_do_not_shape_the_bytes(tmp_path, documents):
    make(tmp_path / "a", documents, block=1)
    make(tmp_path / "b", documents, block=64)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(
        ["tokens.json", "train.bin"]
        + [f"train-{name}.npy" for name in ("bytes", "documents", "pieces", "rows")]
    )
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_id_outside_the_vocabulary_is_refused(tmp_path):
    with pytest.raises(CheckFailed, match="token id 300 is outside the vocabulary of 300"):
        make(tmp_path / "t", [np.array([5, 300])])


@pytest.mark.parametrize("fault", ["lost", "repeated", "overfull"])
def test_a_faulty_packer_is_caught(tmp_path, monkeypatch, documents, fault):
    def faulty(offsets, sequence_length, most_waste):
        good = pack(offsets, sequence_length, most_waste)
        starts, lengths, rows = good.starts.copy(), good.lengths.copy(), good.row_offsets.copy()
        if fault == "lost":
            lengths[3] -= 1
        elif fault == "repeated":
            starts[3] = starts[4]
        else:
            rows = np.delete(rows, 1)
        return Packing(starts, lengths, rows, sequence_length)

    monkeypatch.setattr(packed, "pack", faulty)
    with pytest.raises(CheckFailed, match="exactly once in rows of 32") as caught:
        make(tmp_path / "t", documents)
    assert "split train of t" in caught.value.where


def test_an_empty_split_is_written_and_refused_when_trained_on(tmp_path):
    ledger = make(tmp_path / "t", [])
    assert ledger["tokens"] == ledger["rows"] == ledger["waste_fraction"] == 0
    opened = Tokens(tmp_path / "t")
    with pytest.raises(ArtifactError, match="no tokens to train on"):
        opened.batch(0, 4, 1)
    check_packing(pack(np.zeros(1, dtype=np.int64), 8), 0, "nowhere")


def test_a_batch_that_processes_cannot_share_is_refused(folder):
    with pytest.raises(ParamsError, match="9 rows cannot be shared equally by 2 processes"):
        Tokens(folder).batch(0, 9, 1, rank=0, world_size=2)


def test_an_unknown_split_is_named_with_those_there_are(folder):
    with pytest.raises(ArtifactError, match="no split 'dev'") as caught:
        Tokens(folder, "dev")
    assert "train" in caught.value.todo


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("tokens.json", lambda path: path.write_text("{"), "tokens.json cannot be read"),
        ("tokens.json", lambda path: path.unlink(), "tokens.json cannot be read"),
        ("train.bin", lambda path: path.write_bytes(b"123"), "it has 3 bytes instead of"),
        ("train.bin", lambda path: path.unlink(), "it is missing"),
        ("train-rows.npy", lambda path: path.write_bytes(b"no"), "train-rows.npy cannot be read"),
        ("train-rows.npy", lambda path: np.save(path, np.zeros(3)), "instead of int64"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, documents, name, damage, message):
    make(tmp_path / "t", documents)
    damage(tmp_path / "t" / name)
    with pytest.raises(ArtifactError, match=message) as caught:
        Tokens(tmp_path / "t")
    assert "encode entry" in caught.value.todo


def test_the_manifest_says_what_training_needs(folder):
    manifest = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    assert manifest["special"] == {
        "begin": 0,
        "end": 2,
        "pad": 1,
        "mask": 4,
        "all": [0, 1, 2, 3, 4],
    }
    assert manifest["sequence_length"] == LENGTH
    assert manifest["objective"] == "masked"
