"""Pretraining from several folders of tokens: by weight, in a saved order, to the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ParamsError, Resumable
from stages.core.log import Log
from stages.lm import objectives, orders
from stages.lm.blends import Blend
from stages.lm.loaders import Loader
from stages.lm.tokens import Tokens
from tests import training
from tests.stages.test_pretrain import PARAMS, StopAt, run


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return training.tokens(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def more(masked: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of another, smaller corpus by the same tokenizer."""
    from stages.encode.stage import EncodeParams, encode

    root = tmp_path_factory.mktemp("more")
    corpus = training.text_corpus(root / "corpus", documents=30, seed=9)
    params = EncodeParams(corpus="x", tokenizer="x", sequence_length=32)
    encode(params, corpus, masked[1], corpus, root / "tokens", Log(scratch=root / "scratch"))
    return root / "tokens"


BLENDED = PARAMS.model_copy(
    update={"second": "tokens/more", "weights": [0.75, 0.25], "steps": 10, "shuffle": "whole"}
)


def test_two_corpora_are_read_by_their_weights(
    masked: tuple[Path, Path], more: Path, tmp_path: Path
):
    """40 rows, 30 and 10 of them, in an order that a stopped run finds again."""
    stopped = StopAt(7, tmp_path / "scratch")
    with pytest.raises(Resumable):
        run(BLENDED, masked, tmp_path / "a", stopped, more={"second": more})
    made = (tmp_path / "scratch/order/order.npy").read_bytes()
    log = run(BLENDED, masked, tmp_path / "a", Log(scratch=tmp_path / "scratch"),
              more={"second": more})  # fmt: skip
    assert log.observed["order_reused"] == 1
    assert 0 < log.observed["data_wait_fraction"] < 1
    assert (tmp_path / "a/order.npy").read_bytes() == made
    told = json.loads((tmp_path / "a/order.json").read_text())
    assert hashlib.sha256(made).hexdigest() == told["sha256"]
    assert [one["tokens"] for one in told["sources"]] == ["tokens/x", "tokens/more"]
    assert [one["drawn"] for one in told["sources"]] == [30, 10]
    assert told["sources"] == log.tables["blend"]
    order = np.load(tmp_path / "a/order.npy")
    small = told["sources"][1]
    assert int((order >= small["first_row"]).sum()) == 10
    assert small["epochs"] == 10 / Tokens(more).rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [1.0]}, "1 weights for 2 folders of tokens"),
        ({"weights": [0.0, 0.0]}, "cannot be shared by"),
        ({"weights": [0.1, 0.9], "most_epochs": 0.5}, "epochs, more than 0.5"),
        ({"second": "tokens/x"}, "tokens/x is named twice"),
        ({"second": "corpora/more"}, "corpora/more is no folder of tokens"),
    ],
)
def test_blends_that_cannot_be_are_refused(
    masked: tuple[Path, Path], more: Path, tmp_path: Path, changes, message: str
):
    with pytest.raises(ParamsError, match=message):
        run(BLENDED.model_copy(update=changes), masked, tmp_path / "m", more={"second": more})


def test_parts_of_a_batch_see_every_row_once(masked: tuple[Path, Path], tmp_path: Path):
    train = Tokens(masked[0])
    make = objectives.Masked(4, train.special.all, 400)
    blend = Blend([train])
    size = {"steps": PARAMS.steps, "batch_rows": PARAMS.batch_rows, "seed": PARAMS.seed}
    order, _ = orders.kept(tmp_path, blend, ["x"], **size, whole=False)
    found = [Loader(blend, order, make, PARAMS.seed, parts).tasks(5) for parts in (1, 3)]
    assert [len(tasks) for tasks in found] == [1, 3]
    rows = train.gather_flat(train.order(5, 4, PARAMS.seed))["input_ids"]
    for tasks in found:
        seen = []
        for task in tasks:
            ids = task.pieces.ids.clone()
            ids[task.places] = task.answers
            seen += ids.tolist()
        assert sorted(seen) == sorted(rows.tolist())
