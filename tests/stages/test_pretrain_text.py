"""How much text a model sees: equal bytes over any vocabulary, bits per byte of the text itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stages.lm.blends import Blend
from stages.lm.tokens import Tokens
from stages.pretrain import mixture, pretraining
from stages.pretrain.stage import PretrainParams
from tests import training

PARAMS = PretrainParams(tokens="x", tokenizer="x", batch_rows=4)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return training.tokens(tmp_path_factory.mktemp("masked"), documents=60)


def test_equally_much_text_takes_as_many_steps_as_its_tokens_need(masked: tuple[Path, Path]):
    one = Tokens(masked[0], "train")
    train = Blend([one])
    assert mixture.budgeted(PARAMS, train).steps == PARAMS.steps
    wanted = PARAMS.model_copy(update={"training_bytes": 2 * one.ledger["bytes"]})
    steps = mixture.budgeted(wanted, train).steps
    # Of two folders of equal text in shares of three to one as well.
    assert mixture.row_bytes(Blend([one, one], [3, 1])) == mixture.row_bytes(train)
    assert 2 * train.rows <= steps * PARAMS.batch_rows < 2 * train.rows + PARAMS.batch_rows
    with pytest.raises(ValidationError, match="training_bytes must be null"):
        PretrainParams(tokens="x", tokenizer="x", base="p/x", base_step=4, training_bytes=9)


def test_bytes_of_tokens_are_those_of_the_text(masked: tuple[Path, Path]):
    """Byte-level tokens spell all of it; of text that was normalised shorter, each stands for more.

    Planted: a ledger with twice the bytes.
    """
    valid = Tokens(masked[0], "valid")
    lengths, more = pretraining.byte_lengths(masked[1], valid)
    assert more == 1.0
    assert int(lengths[valid.stream.astype(np.int64)].sum()) == valid.ledger["bytes"]
    valid.ledger["bytes"] *= 2
    assert pretraining.byte_lengths(masked[1], valid)[1] == 2.0
