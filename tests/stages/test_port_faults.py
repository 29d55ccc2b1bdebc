"""Every mistake a port can make is planted in turn: the verification fails and names it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm.generate import Hypothesis
from stages.port import checks
from stages.port.fairseq import recording, source, verification
from stages.port.fairseq.reference import positions
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[source.Source, Path]:
    """A release and the folder it was ported to, right as it is."""
    folder = tmp_path_factory.mktemp("release")
    raw = material.release(folder / "raw")
    port(PortParams(raw="x"), raw, raw, raw, folder / "model", Log())
    return source.read(raw / "files", Fairseq()), folder / "model"


def swap_query_and_value(state: State) -> None:
    for key in [key for key in state if ".q_proj." in key]:
        other = key.replace(".q_proj.", ".v_proj.")
        state[key], state[other] = state[other], state[key]


def interleave_sinusoids(state: State) -> None:
    for key in [key for key in state if "embed_positions" in key]:
        state[key] = positions(*state[key].shape, interleaved=True)


def start_one_position_early(state: State) -> None:
    for key in [key for key in state if "embed_positions" in key]:
        table = positions(state[key].shape[0], state[key].shape[1])
        table[2:] = torch.cat([torch.zeros(1, table.shape[1]), table[2:-1]])
        state[key] = table


def exchange_norms(state: State) -> None:
    for key in [key for key in state if ".self_attn_layer_norm." in key]:
        other = key.replace("self_attn", "final")
        state[key], state[other] = state[other], state[key]


def drop_output_projection(state: State) -> None:
    del state["model.decoder.output_projection.weight"]


def plant(model: Path, target: Path, change: Callable[[State], None]) -> Path:
    shutil.copytree(model, target)
    state = load_file(model / "model.safetensors")
    change(state)
    state = {key: value.clone() for key, value in state.items()}
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return target


def fails(release: source.Source, folder: Path) -> str:
    """Return what the failed verification tells the user."""
    report = verification.verify(release, folder, Log(), Fairseq())
    with pytest.raises(CheckFailed) as caught:
        checks.require(report, "model.pt")
    return caught.value.what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap_query_and_value, "exactly as if: q and v swapped"),
        (interleave_sinusoids, "exactly as if: sinusoids interleaved"),
        (start_one_position_early, "position tables are fairseq's"),
        (exchange_norms, "exactly as if: norms of a layer exchanged"),
        (drop_output_projection, "missing model.decoder.output_projection.weight"),
    ],
)
def test_wrong_weights_fail_by_name(
    tmp_path: Path,
    release: tuple[source.Source, Path],
    change: Callable[[State], None],
    words: str,
) -> None:
    told = fails(release[0], plant(release[1], tmp_path / "model", change))
    assert words in told
    assert "logits in fp32" in told


def test_missing_embedding_scale_fails_by_name(
    tmp_path: Path, release: tuple[source.Source, Path]
) -> None:
    folder = plant(release[1], tmp_path / "model", lambda state: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "scale_embedding": False}))
    assert "exactly as if: embeddings not scaled by sqrt(d)" in fails(release[0], folder)


def test_positions_from_one_fail_by_name(
    release: tuple[source.Source, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding

    right = SinusoidalPositionalEmbedding.make_positions

    def early(ids: torch.Tensor, pad: int) -> torch.Tensor:
        found = right(ids, pad)
        return torch.where(ids.eq(pad), found, found - 1)

    monkeypatch.setattr(SinusoidalPositionalEmbedding, "make_positions", staticmethod(early))
    assert "exactly as if: positions start at 1 instead of 2" in fails(*release)


def test_norm_before_the_sublayer_fails_by_name(
    release: tuple[source.Source, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.fsmt import modeling_fsmt as fsmt

    def feed_forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
        inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))
        return x + layer.fc2(inner)

    def encoder(self: Any, x: torch.Tensor, mask: Any, output_attentions: bool = False) -> Any:
        y = self.self_attn_layer_norm(x)
        x = x + self.self_attn(query=y, key=y, key_padding_mask=mask)[0]
        return feed_forward(self, x), None

    def decoder(self: Any, x: torch.Tensor, encoder_hidden_states: Any, **more: Any) -> Any:
        y = self.self_attn_layer_norm(x)
        x = (
            x
            + self.self_attn(
                query=y,
                key=y,
                layer_state=more["layer_state"],
                key_padding_mask=more["decoder_padding_mask"],
                attn_mask=more["causal_mask"],
            )[0]
        )
        y = self.encoder_attn_layer_norm(x)
        x = (
            x
            + self.encoder_attn(
                query=y,
                key=encoder_hidden_states,
                key_padding_mask=more["encoder_attn_mask"],
                layer_state=more["layer_state"],
            )[0]
        )
        return feed_forward(self, x), None, None

    monkeypatch.setattr(fsmt.EncoderLayer, "forward", encoder)
    monkeypatch.setattr(fsmt.DecoderLayer, "forward", decoder)
    assert "exactly as if: norm before the sublayer" in fails(*release)


def test_unknown_mistake_is_called_unknown(
    tmp_path: Path, release: tuple[source.Source, Path]
) -> None:
    def halve(state: State) -> None:
        state["model.decoder.layers.1.fc2.weight"] *= 0.5

    told = fails(release[0], plant(release[1], tmp_path / "model", halve))
    assert "no known mistake explains it" in told


def test_a_recording_of_another_model_fails(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    material.record(raw)
    with pytest.raises(CheckFailed) as caught:
        port(PortParams(raw="x"), raw, raw, raw, tmp_path / "model", Log())
    for words in ("reference repeats fairseq's beam-1 scores", "beam-1 tokens are fairseq's"):
        assert words in caught.value.what
    assert "source ids of beam-1 sentences" in caught.value.what


def test_more_recorded_hypotheses_than_beams_fail_by_name(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    one = {"tokens_bpe": "o", "text": "o", "score_log2": -1.0, "positional_log2": [-1.0, -1.0]}
    material.record(raw, hyps=[one, one])
    with pytest.raises(CheckFailed, match="beam-1 tokens are fairseq's: 1, limit 0"):
        port(PortParams(raw="x"), raw, raw, raw, tmp_path / "model", Log())


def test_recordings_longer_than_a_learned_table_fail_by_name(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw", **material.FAMILIES["marian"])
    material.record(raw, source_bpe="ab " * 64)
    with pytest.raises(CheckFailed, match="beam-1 scores: inf"):
        port(PortParams(raw="x"), raw, raw, raw, tmp_path / "model", Log())


class Words:
    """A text pipeline whose texts are its ids."""

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize(("gap", "passes"), [(4e-6, True), (1e-3, False)])
def test_hypotheses_may_change_places_only_within_a_near_tie(
    release: tuple[source.Source, Path], gap: float, passes: bool
) -> None:
    symbols = release[0].target_symbols
    first, second = [symbols["o"], 2], [symbols["a"], 2]
    row = {
        "id": 7,
        "source": "ab",
        "hyps": [
            {"tokens_bpe": "o", "score_log2": -1.0, "text": Words().decode(first)},
            {"tokens_bpe": "a", "score_log2": -1.0 - gap, "text": Words().decode(second)},
        ],
    }
    nats = math.log(2)
    swapped = [
        Hypothesis(second, -1.0 * nats, [-1.0, -1.0]),
        Hypothesis(first, (-1.0 - gap) * nats - 1e-9, [-1.0, -1.0]),
    ]
    report = checks.Verification()
    translator: Any = SimpleNamespace(pipeline=Words())
    if not passes:
        swapped = [replace(one, score_nats=one.score_nats - 1e-3) for one in swapped]
    no_look: Any = SimpleNamespace(explains=lambda *_: False)
    found = recording._check_search(
        report, translator, release[0], "beam-2", [row], [swapped], [[4, 2]], no_look
    )
    assert [check.name for check in report.failures] == (
        [] if passes else ["beam-2 tokens are fairseq's"]
    )
    assert found["sentences_equal"] == 0
    assert found["near_ties"] == ([7] if passes else [])
