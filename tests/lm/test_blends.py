"""Blends and saved orders: counts exact at every moment, any step found at once, faults named."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import ArtifactError, ParamsError
from stages.lm import orders
from stages.lm.blends import Blend
from stages.lm.kernels import blending, laying
from stages.lm.loaders import Loader
from stages.lm.models import lay_out
from stages.lm.objectives import Causal, Masked
from stages.lm.tokens import Tokens
from tests.lm.test_tokens import LENGTH, make, some_documents

SEED = 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("blends")
    for number, count in enumerate((200, 40, 9)):
        make(root / f"{number}", some_documents(count, seed=number))
    return [Tokens(root / f"{number}") for number in range(3)]


def kept(folder, blend, **changes):
    size = {"steps": 40, "batch_rows": 4, "seed": SEED, "whole": False} | changes
    names = [f"tokens/{number}" for number in range(len(blend.sources))]
    return orders.kept(folder, blend, names, **size)


def furthest(shares, chosen):
    """How far any source is from its share at any moment."""
    whole = sum(shares)
    counts = np.array([(chosen == source).cumsum() for source in range(len(shares))])
    steps = np.arange(1, len(chosen) + 1)
    return max(
        float(np.abs(counts[source] - steps * share / whole).max())
        for source, share in enumerate(shares)
    )


def furthest_behind_first(shares, size):
    """The usual rule (Megatron's build_blending_indices): whoever is furthest behind."""
    counts, chosen = [0] * len(shares), []
    for step in range(size):
        behind = [
            Fraction(share * max(step, 1), sum(shares)) - count
            for share, count in zip(shares, counts, strict=True)
        ]
        chosen.append(behind.index(max(behind)))
        counts[chosen[-1]] += 1
    return np.array(chosen)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4).filter(any), st.integers(1, 400))
def test_every_source_has_had_its_share_at_every_moment(shares, size):
    counts = np.zeros(len(shares), np.int64)
    chosen = blending.blend(np.array(shares), 0, counts, size)
    used = sum(share > 0 for share in shares)
    bound = 1 - 1 / (2 * used - 2) if used > 1 else 0
    assert furthest(shares, chosen) <= bound + 1e-9
    assert counts.tolist() == [int((chosen == source).sum()) for source in range(len(shares))]
    # In parts, and in the interpreter, the same.
    again, halves = np.zeros(len(shares), np.int64), []
    for first, last in ((0, size // 3), (size // 3, size)):
        halves.append(blending.blend(np.array(shares), first, again, last - first))
    assert np.array_equal(np.concatenate(halves), chosen)


def test_whoever_is_furthest_behind_is_not_the_rule_to_choose_by():
    """It gives some source a whole row more than its share at some moment."""
    shares = [1, 57, 4]
    ours = blending.blend(np.array(shares), 0, np.zeros(3, np.int64), 200)
    assert furthest(shares, ours) <= 3 / 4
    assert furthest(shares, furthest_behind_first(shares, 200)) > 1.3


def test_shares_that_would_overflow_are_refused():
    with pytest.raises(OverflowError):
        blending.blend(np.array([1 << 30, (1 << 30) - 1]), 1 << 32, np.zeros(2, np.int64), 10)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("weights", "size"), [([], 700), ([0.5, 0.3, 0.2], 333), ([2, 0, 1], 90)])
def test_rows_of_a_folder_come_equally_often(folders, weights, size, whole):
    blend = Blend(folders, weights)
    order = np.concatenate(list(blend.order(size, SEED, whole)))
    assert len(order) == size
    shares = blend.shares / blend.shares.sum()
    for number, one in enumerate(folders):
        first = int(blend.firsts[number])
        mine = order[(order >= first) & (order < first + one.rows)]
        assert abs(len(mine) - size * shares[number]) < 1
        often = np.bincount(mine - first, minlength=one.rows)
        assert often.max() - often.min() <= 1
        if not whole:  # every row before any again
            for epoch in range(len(mine) // one.rows):
                part = mine[epoch * one.rows : (epoch + 1) * one.rows]
                assert len(set(part.tolist())) == one.rows
    assert (blend.counts(size) == [((order >= a) & (order < b)).sum()
                                   for a, b in zip(blend.firsts, blend.firsts[1:], strict=False)]
            ).all()  # fmt: skip


def test_how_far_a_run_reads_changes_nothing_of_what_it_has_read(folders):
    blend = Blend(folders, [0.5, 0.3, 0.2])
    assert np.array_equal(blend.first(500, SEED)[:123], blend.first(123, SEED))
    assert not np.array_equal(blend.first(123, SEED), blend.first(123, SEED + 1))


def test_one_folder_is_read_in_the_order_of_tokens(folders):
    for number in (0, 2):
        one = folders[number]
        assert np.array_equal(Blend([one]).first(300, SEED), one.order(0, 300, SEED))


@pytest.mark.parametrize("weights", [[], [0.6, 0.3, 0.1]])
@pytest.mark.parametrize("longest", [0, 7])
def test_tasks_are_those_of_rows_joined_and_laid_out(folders, tmp_path, weights, longest):
    """At steps taken at random, from a start of its own each: what a run through all gives."""
    blend = Blend(folders, weights)
    order, _ = kept(tmp_path, blend)
    masked = Masked(4, (0, 1, 2, 3, 4), 300)
    for make_task in (Causal(), masked):
        through = Loader(blend, order, make_task, SEED, 2)
        for step in range(40):
            tasks = through.tasks(step, longest)
            if step not in (0, 3, 17, 39):
                continue
            fresh = Loader(Blend(folders, weights), orders.read(tmp_path), make_task, SEED, 2)
            again = fresh.tasks(step, longest)
            for number, (one, other) in enumerate(zip(tasks, again, strict=True)):
                rows = order.step(step)[2 * number : 2 * number + 2].astype(np.int64)
                batch = blend.gather_flat(rows)
                starts = batch["segment_starts"]
                if longest:
                    starts = [at for a, b in zip(starts, starts[1:], strict=False)
                              for at in range(a, b, longest)] + [starts[-1]]  # fmt: skip
                pieces = lay_out(batch["input_ids"], starts)
                wanted = make_task(pieces, SEED, 2 * step + number)
                for got in (one, other):
                    assert got.pieces.groups == wanted.pieces.groups
                    assert got.pieces.ids.tolist() == wanted.pieces.ids.tolist()
                    assert got.pieces.positions.tolist() == wanted.pieces.positions.tolist()
                    assert got.places.tolist() == wanted.places.tolist()
                    assert torch.equal(got.answers, wanted.answers)
                    assert got.origins.tolist() == wanted.origins.tolist()


def test_wide_tokens_are_laid_out(tmp_path):
    make(tmp_path / "t", some_documents(30, vocab_size=100_000), vocab_size=100_000)
    one = Tokens(tmp_path / "t")
    laid = laying.Layer(
        [one.stream], [one.pieces], [one.row_offsets], LENGTH, 5, sources=True
    )(np.arange(5))  # fmt: skip
    batch = one.gather_flat(np.arange(5))
    wanted = lay_out(batch["input_ids"], batch["segment_starts"])
    assert max(laid.ids) > 1 << 16
    assert laid.ids.tolist() == wanted.ids.tolist()
    assert laid.sources.tolist() == wanted.sources.tolist()


def test_rows_that_are_not_there_are_refused(folders):
    lay = laying.Layer(
        [folders[2].stream], [folders[2].pieces], [folders[2].row_offsets], LENGTH, 2
    )
    for row in (-1, folders[2].rows):
        with pytest.raises(IndexError, match=f"of {folders[2].rows}"):
            lay(np.array([0, row]))
    with pytest.raises(IndexError, match="3 rows at once"):
        lay(np.array([0, 0, 0]))


def test_an_order_is_made_once_and_told(folders, tmp_path):
    blend = Blend(folders, [0.5, 0.25, 0.25])
    made, there = kept(tmp_path / "a", blend)
    again, found = kept(tmp_path / "a", blend)
    assert (there, found) == (False, True)
    assert np.array_equal(made.rows, again.rows)
    assert made.rows.shape == (40, 4)
    assert made.rows.dtype == np.uint32
    told = json.loads((tmp_path / "a" / "order.json").read_text())
    assert [one["drawn"] for one in told["sources"]] == [80, 40, 40]
    assert sum(one["drawn"] for one in told["sources"]) == told["rows_read"] == 160
    small = told["sources"][2]
    assert small["epochs"] == 40 / folders[2].rows
    assert small["most_often"] - small["least_often"] <= 1
    kept(tmp_path / "b", blend)
    for name in orders.FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("change", [{"seed": 6}, {"steps": 39}, {"whole": True}, {"batch_rows": 5}])
def test_an_order_of_another_run_is_made_anew(folders, tmp_path, change):
    blend = Blend(folders)
    kept(tmp_path, blend)
    other, there = kept(tmp_path, blend, **change)
    assert not there
    assert not np.array_equal(other.rows, kept(tmp_path, blend)[0].rows)


def damaged_byte(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("order.npy", damaged_byte, "its content is not what order.json says"),
        ("order.npy", lambda path: path.unlink(), "its content is not what order.json says"),
        ("order.json", lambda path: path.write_text("{"), "order.npy cannot be read"),
    ],
)
def test_a_damaged_order_is_named_and_made_anew(folders, tmp_path, name, damage, message):
    blend = Blend(folders)
    right = kept(tmp_path, blend)[0].rows.copy()
    damage(tmp_path / name)
    with pytest.raises(ArtifactError, match=message):
        orders.read(tmp_path)
    made, there = kept(tmp_path, blend)
    assert not there
    assert np.array_equal(made.rows, right)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "2 weights for 3 folders"),
        ([0, 0, 0], "cannot be shared by"),
        ([1, -1, 1], "cannot be shared by"),
        ([0.123456789012, 0.1, 0.2], "too many digits"),
    ],
)
def test_weights_that_cannot_be_are_refused(folders, weights, message):
    with pytest.raises(ParamsError, match=message):
        Blend(folders, weights)


def test_a_folder_too_small_is_refused_where_epochs_are_bounded(folders):
    blend = Blend(folders, [0.1, 0.1, 0.8])
    told = orders.describe(blend, "abc", steps=50, batch_rows=4, seed=1, whole=False)
    orders.check_epochs(told, None, "here")
    with pytest.raises(ParamsError, match=r"160 are asked of it: \d+\.\d\d epochs, more than 4"):
        orders.check_epochs(told, 4.0, "here")


def test_empty_and_foreign_folders_are_refused(folders, tmp_path):
    make(tmp_path / "empty", [])
    empty = Tokens(tmp_path / "empty")
    for given_, weights in (([empty], []), ([folders[0], empty], [1, 1])):
        with pytest.raises(ArtifactError, match="no tokens to train on"):
            Blend(given_, weights)
    assert Blend([folders[0], empty]).shares.tolist() == [1, 0]
    make(tmp_path / "other", some_documents(9), sequence_length=16)
    with pytest.raises(ArtifactError, match="sequence_length is 16, and that of 0 is 32"):
        Blend([folders[0], Tokens(tmp_path / "other")])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 5))
def test_a_row_is_never_drawn_more_often_than_another(folders, seed, size, share):
    blend = Blend(folders, [share, 1, 0])
    for whole in (False, True):
        order = np.concatenate(list(blend.order(size, seed, whole)))
        for number in (0, 1):
            mine = order[(order >= blend.firsts[number]) & (order < blend.firsts[number + 1])]
            often = np.bincount(mine - blend.firsts[number], minlength=folders[number].rows)
            assert often.max() - often.min() <= 1
