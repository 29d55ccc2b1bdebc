"""Delta weights: made against a base, added to it again, equal to the bit; the wrong base named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.errors import ArtifactError, CheckFailed, DevenoError
from stages.core.log import Log
from stages.export.stage import ExportParams, export
from stages.port.stage import Delta, PortParams, port

VOCABULARY, WIDTH = 30, 16


def tensors(seed: int, dtype: torch.dtype, near: dict | None = None, vocabulary: int = VOCABULARY):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (vocabulary, WIDTH),
        "model.layers.0.mlp.up_proj.weight": (40, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    drawn = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    if near is not None:
        drawn = {n: near[n].float() + 0.3 * t for n, t in drawn.items()}
    return {name: tensor.to(dtype) for name, tensor in drawn.items()}


def model(folder: Path, weights: dict, tokenizer: str = "{}") -> Path:
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def pair(root: Path, dtype: torch.dtype) -> tuple[Path, Path]:
    base = tensors(1, dtype)
    return model(root / "base", base), model(root / "target", tensors(2, dtype, base))


def made(root: Path, encoding: str) -> Path:
    raw = root / "raw"
    raw.mkdir()
    params = ExportParams(model="x/target", base="x/base", format="delta", encoding=encoding)
    none = root / "none"
    export(params, root / "target", none, root / "base", raw / "files", Log())
    return raw


def applied(raw: Path, base: Path, **changes) -> Path:
    source = Delta(kind="delta", **changes)
    port(PortParams(raw="x", base="x/base", source=source), raw, base, raw, raw / "out", Log())
    return raw / "out"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_bits_lead_back_to_equal_bytes_in_every_type(tmp_path: Path, dtype: torch.dtype):
    base, target = pair(tmp_path, dtype)
    out = applied(made(tmp_path, "bits"), base)
    found, wanted = (load_file(one / "model.safetensors") for one in (out, target))
    for name, tensor in wanted.items():
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))
    report = json.loads((out / "verification.json").read_text())
    assert report["encoding"] == "bits"
    assert {row["name"]: row["passed"] for row in report["checks"]} == {
        "source tensors without account": True,
        "tensors that torch makes otherwise": True,
        "tensors that are not the recorded ones": True,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_sum_says_how_many_elements_come_back_otherwise(tmp_path: Path, dtype: torch.dtype):
    base = model(tmp_path / "base", tensors(1, dtype))
    target = model(tmp_path / "target", tensors(2, dtype))
    raw = made(tmp_path, "sum")
    told = json.loads((raw / "files/delta.json").read_text())["elements_that_differ"]
    out = applied(raw, base)
    found, wanted = (load_file(one / "model.safetensors") for one in (out, target))
    counted = {name: int((found[name] != wanted[name]).sum()) for name in wanted}
    assert told == {name: count for name, count in counted.items() if count}
    assert told  # neither type is exact by sums: signs differ, magnitudes differ
    assert all(torch.allclose(found[n].float(), wanted[n].float(), atol=0.01) for n in wanted)


def test_a_published_delta_without_a_record_is_added_in_its_own_type(tmp_path: Path):
    """As Vicuna's: 16 bits, PyTorch files, with rotary frequencies that the base lacks."""
    base, target = pair(tmp_path, torch.float16)
    old, new = (load_file(one / "model.safetensors") for one in (base, target))
    raw = tmp_path / "raw"
    (raw / "files").mkdir(parents=True)
    change = {name: new[name] - old[name] for name in new}
    change["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    torch.save(change, raw / "files/pytorch_model.bin")
    (raw / "files/tokenizer.model").write_bytes(b"the delta's own pieces")
    out = applied(raw, base)
    found = load_file(out / "model.safetensors")
    for name, tensor in old.items():
        assert torch.equal(found[name], tensor + change[name])
    assert (out / "tokenizer.model").read_bytes() == b"the delta's own pieces"
    assert not (out / "tokenizer.json").exists()  # the base's cuts otherwise


def test_a_base_of_another_vocabulary_is_refused_with_both_sizes(tmp_path: Path):
    pair(tmp_path, torch.float32)
    raw = made(tmp_path, "bits")
    (raw / "files/delta.json").unlink()
    other = model(tmp_path / "other", tensors(1, torch.float32, vocabulary=32))
    with pytest.raises(ArtifactError, match="has 30 tokens and the base's 32") as caught:
        applied(raw, other)
    assert len(caught.value.lines()) == 3
    with pytest.raises(ArtifactError, match="has 30 tokens and the base's 32"):
        export(
            ExportParams(model="x/target", base="x/other", format="delta"),
            tmp_path / "target", other, other, tmp_path / "again", Log(),
        )  # fmt: skip


def test_a_base_with_another_tokenizer_or_other_weights_is_refused(tmp_path: Path):
    base, _ = pair(tmp_path, torch.float32)
    raw = made(tmp_path, "bits")
    (base / "tokenizer.json").write_text('{"other": 1}')
    with pytest.raises(ArtifactError, match="the base's tokenizer has sha256"):
        applied(raw, base)
    (base / "tokenizer.json").write_text("{}")
    changed = load_file(base / "model.safetensors")
    changed["model.norm.weight"][3] += 1
    save_file(changed, base / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model\.norm\.weight of the base is not the tensor"):
        applied(raw, base)
    assert not (raw / "out").exists()


def test_a_target_that_is_not_the_recorded_one_is_refused(tmp_path: Path):
    base, _ = pair(tmp_path, torch.float32)
    raw = made(tmp_path, "bits")
    weights = load_file(raw / "files/model.safetensors")
    weights["model.norm.weight"][3] += 1
    save_file(weights, raw / "files/model.safetensors")
    with pytest.raises(CheckFailed, match=r"not the recorded ones: 1.*model\.norm\.weight"):
        applied(raw, base)


def changed(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BROKEN = {
    "no base": (lambda raw, base: shutil.rmtree(base) or base.mkdir(), "base has no weights"),
    "no record": (
        lambda raw, base: (raw / "files/delta.json").write_text('{"encoding": "zip"}'),
        "encoding 'zip' is unknown",
    ),
    "record of lists": (
        lambda raw, base: (raw / "files/delta.json").write_text('{"encoding": "sum", "base": []}'),
        "no record of a delta",
    ),
    "losses of another form": (
        lambda raw, base: changed(raw / "files/delta.json", elements_that_differ=3),
        "elements_that_differ say nothing by name",
    ),
    "a record of nothing": (
        lambda raw, base: changed(raw / "files/delta.json", target={}),
        "tensors that are not the recorded ones",
    ),
    "a tensor less": (
        lambda raw, base: save_file({"x": torch.ones(2)}, raw / "files/model.safetensors"),
        "the base lacks x",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_belong_together_is_named(tmp_path: Path, name: str):
    base, _ = pair(tmp_path, torch.float32)
    raw = made(tmp_path, "bits")
    change, told = BROKEN[name]
    change(raw, base)
    with pytest.raises(DevenoError, match=told) as caught:
        applied(raw, base)
    assert len(caught.value.lines()) == 3


def test_a_delta_without_a_base_and_one_of_two_architectures_are_refused(tmp_path: Path):
    base, target = pair(tmp_path, torch.float32)
    params = ExportParams(model="x/target", format="delta")
    with pytest.raises(DevenoError, match="base = none"):
        export(params, target, base, base, tmp_path / "out", Log())
    extra = load_file(base / "model.safetensors") | {"more": torch.ones(1)}
    save_file(extra, base / "model.safetensors")
    params = ExportParams(model="x/target", base="x/base", format="delta")
    with pytest.raises(DevenoError, match="only one of both models has more"):
        export(params, target, base, base, tmp_path / "out2", Log())
