"""Near ties at the edge of the beam: the second look explains them, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm.generate import Hypothesis, Search, TransformersStepper, beam_search, pad_batch
from stages.lm.translator import Translator
from stages.port.fairseq import ties
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

BEAMS = 2
TWINS = (".", "Y")
"""Symbols of one output row and two input rows: they tie exactly and go on differently."""
TEXTS = ("ab ca", "ca b", "abc", "bc ab", "a b c", "cab ca", "b b", "ab")
Change = Callable[[Tensor], Tensor]


class Nudged(TransformersStepper):
    """A stepper whose log-probabilities are changed a little, as another machine rounds."""

    change: Change

    def next_nats(self, logits: Tensor) -> Tensor:
        return self.change(super().next_nats(logits))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Translator]:
    """A release whose model ties at every step, and its port."""
    folder = tmp_path_factory.mktemp("tied")
    raw = material.release(folder / "raw", tying="none", max_target_positions=7)
    state = material.weights({**material.SHAPE, "share_decoder_input_output_embed": False}, 16, 14)
    one, two = map(token, TWINS)
    output = state["decoder.output_projection.weight"]
    output[two] = output[one]
    shape = material.SHAPE | {"share_decoder_input_output_embed": False, "max_target_positions": 7}
    material.save(raw / "files" / "model.pt", state, shape)
    port(PortParams(raw="x"), raw, raw, raw, folder / "model", Log())
    return raw, Translator.load(folder / "model")


def searched(translator: Translator, text: str, change: Change) -> list[Hypothesis]:
    stepper = Nudged(translator.model)
    stepper.change = change
    ids, mask = pad_batch([translator.source_ids(text)], translator.specials.pad)
    return beam_search(stepper, ids, mask, translator.search(BEAMS), translator.specials)[0]


def favour(token: int, nats: float) -> Change:
    def change(found: Tensor) -> Tensor:
        found = found.clone()
        found[:, token] += nats
        return found

    return change


def token(name: str) -> int:
    return 4 + material.SYMBOLS["eo"].index(name)


def apart(one: list[Hypothesis], two: list[Hypothesis]) -> bool:
    return any(abs(a.score_nats - b.score_nats) > 1e-3 for a, b in zip(one, two, strict=True))


def write(raw: Path, translator: Translator, change: Change) -> list[str]:
    """Record every text as a fairseq that rounds otherwise would; return those that differ."""
    names = {index: symbol for symbol, index in _symbols().items()}
    rows, other = [], []
    for text in TEXTS:
        found = searched(translator, text, change)
        if apart(found, searched(translator, text, lambda nats: nats)):
            other.append(text)
        hyps = [
            {
                "tokens_bpe": " ".join(names[index] for index in one.tokens[:-1]),
                "score_log2": one.score_nats / math.log(2),
                "positional_log2": [nats / math.log(2) for nats in one.positional_nats],
                "text": translator.pipeline.decode(one.tokens),
            }
            for one in found
        ]
        ids = translator.source_ids(text)[:-1]
        symbols = ["<s>", "<pad>", "</s>", "<unk>", *material.SYMBOLS["en"]]
        pieces = " ".join(symbols[index] for index in ids)
        rows.append({"id": text, "source": text, "source_bpe": pieces, "hyps": hyps})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (raw / "files" / "fairseq-beam2-nbest2.jsonl").write_text(lines, encoding="utf-8")
    return other


def _symbols() -> dict[str, int]:
    names = ["<s>", "<pad>", "</s>", "<unk>", *material.SYMBOLS["eo"]]
    return {name: at for at, name in enumerate(names)}


def ported(raw: Path, model: Path) -> dict[str, Any]:
    port(PortParams(raw="x", source=Fairseq()), raw, raw, raw, model, Log())
    found: dict[str, Any] = json.loads((model / "verification.json").read_text(encoding="utf-8"))
    return found


def test_a_tie_at_the_edge_of_the_beam_is_listed_not_failed(
    tmp_path: Path, tied: tuple[Path, Translator]
) -> None:
    raw, translator = tied
    other = write(raw, translator, favour(token("Y"), 3e-7))
    (search,) = ported(raw, tmp_path / "model")["searches"]
    assert len(other) >= 2
    assert set(other) <= set(search["near_ties"])
    assert search["sentences_equal"] < len(TEXTS)


def test_a_choice_beyond_rounding_still_fails(
    tmp_path: Path, tied: tuple[Path, Translator]
) -> None:
    raw, translator = tied
    write(raw, translator, favour(token("Y"), 1e-3))
    with pytest.raises(CheckFailed, match="beam-2 tokens are fairseq's"):
        ported(raw, tmp_path / "model")


def longer(search: Search) -> Search:
    return replace(search, length_penalty=0.2)


def shorter(search: Search) -> Search:
    return replace(search, max_tokens=search.max_tokens - 1)


@pytest.mark.parametrize("fault", [longer, shorter])
def test_a_wrong_search_fails_although_the_model_ties(
    tmp_path: Path,
    tied: tuple[Path, Translator],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Search], Search],
) -> None:
    raw, translator = tied
    write(raw, translator, favour(token("Y"), 3e-7))
    right = Translator.search
    monkeypatch.setattr(Translator, "search", lambda self, beams: fault(right(self, beams)))
    with pytest.raises(CheckFailed, match="beam-2 tokens are fairseq's"):
        ported(raw, tmp_path / "model")


def test_without_a_near_tie_nothing_is_explained(tied: tuple[Path, Translator]) -> None:
    translator = tied[1]
    exact = ties.Exact(translator, translator.search(BEAMS))
    text = TEXTS[0]
    found = searched(translator, text, favour(token("Y"), 3e-7))
    wanted = [(one.tokens, one.score_nats / math.log(2)) for one in found]
    source = translator.source_ids(text)
    assert exact.explains(source, wanted)
    assert not exact.explains(source, [(tokens, bits + 1e-3) for tokens, bits in wanted])
    assert not exact.explains(source, wanted[1:])  # the best one was left out
    reversed_tokens = [(tokens[::-1], bits) for tokens, bits in wanted]
    assert not exact.explains(source, reversed_tokens)


def test_many_differing_sentences_are_no_ties() -> None:
    assert not ties.worth_it(0, 500)
    assert ties.worth_it(25, 500)
    assert not ties.worth_it(26, 500)
    assert ties.worth_it(8, 12)
    assert not ties.worth_it(9, 12)
