"""Static shapes change no token, and buckets keep the number of traced shapes small."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.errors import ArtifactError, MachineError
from stages.lm.decoding import settings
from stages.lm.decoding.compiled import StaticDecoder
from stages.lm.decoding.decoder import Decoder
from tests.lm.decoding import tiny

LONGEST = 12


def greedy(model: Any, rows: list[list[int]]) -> list[list[int]]:
    found = Decoder(model).decode(rows, settings.Greedy(max_tokens=LONGEST))
    return [outputs[0].tokens for outputs in found]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_static_shapes_change_no_token_at_any_bucket_or_batch(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model, lengths=(1, 4, 7, 3, 11, 16, 17))
    wanted = greedy(model, rows)
    for bucket, batch_size in ((1, 1), (8, 1), (8, 3), (16, 7)):
        decoder = StaticDecoder(
            model, capacity=48, batch_size=batch_size, bucket=bucket, backend="none"
        )
        assert decoder.decode(rows, LONGEST) == wanted
        assert decoder.decode(rows[::-1], LONGEST) == wanted[::-1]


def test_each_shape_is_traced_once_and_buckets_share_them() -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model, lengths=(3, 8, 9))
    wanted = greedy(model, rows)
    traces = {}
    for bucket in (8, 1):
        decoder = StaticDecoder(model, capacity=32, bucket=bucket, backend="eager")
        assert decoder.decode(rows, LONGEST) == wanted
        first = decoder.traces
        assert decoder.decode(rows, LONGEST) == wanted
        assert decoder.traces == first
        traces[bucket] = first
    # One for every width of a prompt, and one for single tokens.
    assert traces == {8: 2 + 1, 1: 3 + 1}


def test_padding_that_is_seen_changes_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model)
    wanted = greedy(model, rows)
    decoder = StaticDecoder(model, capacity=48, bucket=16, backend="none")
    whole = StaticDecoder._mask

    def seen(self: StaticDecoder, real: Any, width: int, step: int) -> Any:
        return whole(self, real | True, width, step)

    monkeypatch.setattr(StaticDecoder, "_mask", seen)
    assert decoder.decode(rows, LONGEST) != wanted


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    with pytest.raises(ArtifactError, match="16 tokens, padded, and 12 more are over"):
        StaticDecoder(model, capacity=26, backend="none").decode([[5]], 12)
    with pytest.raises(ArtifactError, match="is an encoder-decoder"):
        StaticDecoder(tiny.model("bart"), capacity=20, backend="none")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MachineError, match="no C\\+\\+ compiler"):
        StaticDecoder(model, capacity=26)
