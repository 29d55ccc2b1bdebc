"""Every transformers class that a fairseq checkpoint may need: ported, proved, and its mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm.decoding.settings import Beam
from stages.lm.translator import Translator
from stages.port import checks
from stages.port.fairseq import source, verification
from stages.port.fairseq.families import KINDS
from stages.port.fairseq.reference import positions
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

State = dict[str, torch.Tensor]
FAMILIES = pytest.mark.parametrize("family", material.FAMILIES)


def ported(folder: Path, **changed: object) -> tuple[dict, Path]:
    """Port a release of these settings; return verification.json and the model folder."""
    raw = material.release(folder / "raw", **changed)
    port(PortParams(raw="x"), raw, raw, raw, folder / "model", Log())
    told = (folder / "model" / "verification.json").read_text(encoding="utf-8")
    return json.loads(told), folder / "model"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[source.Source, Path]]:
    """One release of every family, nothing tied, and the folder it was ported to."""
    found = {}
    for family, changed in material.FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        _, model = ported(folder, tying="none", **changed)
        found[family] = source.read(folder / "raw" / "files", Fairseq()), model
    return found


@pytest.mark.parametrize(("layout", "tying"), [("new", "decoder"), ("old", "all")])
@pytest.mark.parametrize("family", [name for name in material.FAMILIES if name != "fsmt"])
def test_every_family_is_ported_and_proved(
    tmp_path: Path, family: str, tying: str, layout: str
) -> None:
    changed = material.FAMILIES[family]
    found, model = ported(tmp_path, layout=layout, tying=tying, half=tying == "all", **changed)
    assert (found["passed"], found["family"], found["tying"]) == (True, family, tying)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [KINDS[family].architecture]
    accounted = {row["source"] for row in found["tensors"]}
    assert accounted == set(source.read(tmp_path / "raw" / "files", Fairseq()).tensors)
    state = load_file(model / "model.safetensors")
    targets = {name for row in found["tensors"] for name in row["targets"]}
    assert set(state) - targets <= {
        "final_logits_bias",
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    }


@pytest.mark.parametrize(
    ("changed", "family"),
    [
        ({"no_token_positional_embeddings": True}, "marian"),
        ({"decoder_learned_pos": True}, "marian"),
        ({**material.PRE, "no_token_positional_embeddings": True}, "pegasus"),
        ({**material.PRE, "encoder_learned_pos": True, "no_scale_embedding": True}, "pegasus"),
        ({"layernorm_embedding": True, "activation_fn": "gelu_accurate"}, "bart"),
        ({"activation_fn": "relu_squared", **material.PRE}, "pegasus"),
        ({"activation_fn": "tanh", "max_source_positions": 12}, "fsmt"),
    ],
)
def test_odd_shapes_go_to_the_class_that_holds_them(
    tmp_path: Path, changed: dict[str, object], family: str
) -> None:
    found, _ = ported(tmp_path, **changed)
    assert (found["passed"], found["family"]) == (True, family)


def test_outputs_end_where_the_positions_do(
    releases: dict[str, tuple[source.Source, Path]],
) -> None:
    """Under fairseq's rule, which stops there too: learned positions have no row behind."""
    for family in ("fsmt", "marian"):
        translator = Translator.load(releases[family][1])
        asked = Beam(num_beams=2, max_tokens=4000, min_tokens=300)
        found = translator.outputs(["a b"], asked)[0][0]
        assert 0 < len(found.text.split()) < translator.model.config.max_position_embeddings


def rows_of(state: State, family: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the rows that tokens take in both position tables."""
    for side in ("encoder", "decoder"):
        table = state[f"model.{side}.embed_positions.weight"]
        offset = KINDS[family].offset
        table[offset:] = change(table[offset:])


def early(table: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(1, table.shape[1]), table[:-1]])


def interleaved(table: torch.Tensor) -> torch.Tensor:
    return positions(table.shape[0] + 2, table.shape[1], interleaved=True)[2:]


def swap(state: State, one: str, other: str) -> None:
    for key in [key for key in state if one in key]:
        twin = key.replace(one, other)
        state[key], state[twin] = state[twin], state[key]


def fails(release: source.Source, folder: Path) -> str:
    """Return what the failed verification tells the user."""
    report = verification.verify(release, folder, Log(), Fairseq())
    with pytest.raises(CheckFailed) as caught:
        checks.require(report, "model.pt")
    return caught.value.what


def plant(model: Path, target: Path, change: Callable[[State], None]) -> Path:
    shutil.copytree(model, target)
    state = {key: value.clone() for key, value in load_file(model / "model.safetensors").items()}
    change(state)
    save_file({key: value.clone() for key, value in state.items()}, target / "model.safetensors")
    return target


def drop_output(state: State) -> None:
    name = "lm_head.weight"
    del state[name if name in state else "model.decoder.output_projection.weight"]


@FAMILIES
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state, _: swap(state, ".q_proj.", ".v_proj."), "as if: q and v swapped"),
        (lambda state, _: drop_output(state), "missing"),
        (
            lambda state, _: swap(state, ".self_attn_layer_norm.", ".final_layer_norm."),
            "as if: norms of a layer exchanged",
        ),
        (lambda state, family: rows_of(state, family, early), "position tables are fairseq's"),
        (
            lambda state, family: rows_of(state, family, interleaved),
            "position tables are fairseq's",
        ),
    ],
)
def test_wrong_weights_fail_by_name(
    tmp_path: Path,
    releases: dict[str, tuple[source.Source, Path]],
    family: str,
    change: Callable[[State, str], None],
    words: str,
) -> None:
    release, model = releases[family]
    told = fails(release, plant(model, tmp_path / "model", lambda state: change(state, family)))
    assert words in told
    assert "logits in fp32" in told


@FAMILIES
def test_missing_embedding_scale_fails_by_name(
    tmp_path: Path, releases: dict[str, tuple[source.Source, Path]], family: str
) -> None:
    release, model = releases[family]
    folder = plant(model, tmp_path / "model", lambda state: None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "scale_embedding": False}))
    assert "exactly as if: embeddings not scaled by sqrt(d)" in fails(release, folder)


@pytest.mark.parametrize(
    ("family", "wrong", "words"),
    [
        ("pegasus", "marian", "norm after the sublayer instead of before it"),
        ("marian", "pegasus", "norm before the sublayer instead of after it"),
        ("mbart", "bart", "norm after the sublayer instead of before it"),
    ],
)
def test_the_wrong_order_of_norms_fails_by_name(
    tmp_path: Path,
    releases: dict[str, tuple[source.Source, Path]],
    family: str,
    wrong: str,
    words: str,
) -> None:
    release, model = releases[family]
    folder = plant(model, tmp_path / "model", lambda state: None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {"vocab_size": 16, "decoder_vocab_size": 16, "share_encoder_decoder_embeddings": False}
    told = {**config, **sizes, "model_type": wrong, "architectures": [KINDS[wrong].architecture]}
    if family == "marian":  # one vocabulary: the smaller is filled up, as a port would
        state = {
            key: value.clone() for key, value in load_file(folder / "model.safetensors").items()
        }
        for key in ("model.decoder.embed_tokens.weight", "lm_head.weight"):
            state[key] = torch.cat([state[key], torch.zeros(2, 16)])
        state["final_logits_bias"] = torch.tensor([[0.0] * 14 + [-torch.inf] * 2])
        state["model.shared.weight"] = state["model.encoder.embed_tokens.weight"].clone()
        for side in ("encoder", "decoder"):
            for part, fill in (("weight", 1.0), ("bias", 0.0)):
                state[f"model.{side}.layer_norm.{part}"] = torch.full((16,), fill)
        save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(told))
    found = fails(release, folder)
    assert "logits in fp32" in found
    assert f"exactly as if: {words}" in found
    if family != "marian":
        assert "unexpected model.decoder.layer_norm" in found


@pytest.mark.parametrize("family", ["pegasus", "marian"])
def test_an_exchanged_line_of_a_written_vocabulary_is_caught(
    tmp_path: Path, releases: dict[str, tuple[source.Source, Path]], family: str
) -> None:
    release, model = releases[family]
    for name in ("vocab-src.json", "vocab-tgt.json"):
        folder = plant(model, tmp_path / name, lambda state: None)
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        one, other = list(found)[4:6]
        found[one], found[other] = found[other], found[one]
        (folder / name).write_text(json.dumps(found), encoding="utf-8")
        assert f"{name} is the dictionary's: 2, limit 0" in fails(release, folder)


def test_exchanged_rows_of_a_table_are_caught(
    tmp_path: Path, releases: dict[str, tuple[source.Source, Path]]
) -> None:
    release, model = releases["mbart"]

    def exchange(state: State) -> None:
        table = state["model.encoder.embed_tokens.weight"]
        table[[7, 9]] = table[[9, 7]]

    told = fails(release, plant(model, tmp_path / "model", exchange))
    assert "token tables are the source's: 2, limit 0" in told


@FAMILIES
def test_our_translator_searches_with_every_family(
    releases: dict[str, tuple[source.Source, Path]], family: str
) -> None:
    translator = Translator.load(releases[family][1])
    texts = ["ab ca bc", "c", "a b c ab"]
    together = translator.translate(texts, num_beams=3, batch_size=3)
    assert together == [translator.translate([one], num_beams=3)[0] for one in texts]
    plain = translator.translate(texts, num_beams=1, search="transformers")
    assert len(plain) == 3
