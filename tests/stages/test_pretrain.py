"""Pretraining from packed tokens to a folder that transformers opens."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.core.errors import ArtifactError, CheckFailed, ParamsError, Resumable
from stages.core.log import Log
from stages.lm import models, objectives
from stages.lm.tokens import Tokens
from stages.pretrain import pretraining
from stages.pretrain.stage import Causal, Gpt2, Llama, Masked, PretrainParams, Roberta, pretrain
from tests import training

SIZE = {"hidden_size": 32, "layers": 2, "heads": 2, "feed_forward_size": 64, "positions": 32}
PARAMS = PretrainParams(
    tokens="x",
    tokenizer="x",
    model=Roberta(**SIZE),
    steps=16,
    batch_rows=4,
    evaluate_every=6,
    evaluate_rows=8,
    checkpoint_every=5,
    learning_rate=3e-3,
    probes=["la <mask>.", "<mask> la."],
)
CAUSAL = PARAMS.model_copy(
    update={"model": Gpt2(kind="gpt2", **SIZE), "objective": Causal(kind="causal"), "probes": []}
)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return training.tokens(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return training.tokens(tmp_path_factory.mktemp("causal"), "causal")


def run(
    params: PretrainParams,
    material: tuple[Path, Path],
    out: Path,
    log: Log | None = None,
    base: Path | None = None,
    more: dict[str, Path] | None = None,
) -> Log:
    log = log or Log(scratch=out.parent / f"{out.name}-scratch")
    given = base or material[0].parent / "none"
    pretrain(
        params=params, tokens=material[0], tokenizer=material[1], base=given, model=out, log=log,
        **(training.NO_MORE | (more or {})),
    )  # fmt: skip
    return log


@pytest.fixture(scope="module")
def trained(masked: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    run(PARAMS, masked, out)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


class StopAt(Log):
    """A log that asks to stop once so many updates are done, as SIGTERM does."""

    def __init__(self, step: int, scratch: Path) -> None:
        super().__init__(scratch=scratch)
        self.step = step

    def metric(self, name: str, value: float, *, step: int | None = None) -> None:
        super().metric(name, value, step=step)
        if step == self.step:
            self.request_stop()


def test_the_folder_is_what_the_ecosystem_opens(trained: Path, masked: tuple[Path, Path]):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    assert sorted(path.name for path in trained.iterdir()) == [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "order.json",
        "order.npy",
        "probes.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
        "vocab.json",
    ]
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForMaskedLM.from_pretrained(trained).eval()
    assert tokenizer.model_max_length == 32
    assert (trained / "tokenizer.json").read_bytes() == (masked[1] / "tokenizer.json").read_bytes()
    given = tokenizer(["la <mask>.", "<mask>"], return_tensors="pt", padding=True)
    assert model(**given).logits.shape[-1] == 400
    for name in ("config.json", "training.json"):
        text = (trained / name).read_text()
        assert str(trained.parent) not in text
        assert "deveno" not in text


def test_what_it_reports_can_be_recomputed(trained: Path, masked: tuple[Path, Path]):
    """Loss and pseudo bits per byte again, from the written weights, by the plainest code."""
    report = json.loads((trained / "training.json").read_text())
    model = models.load(trained, "mlm").eval()
    valid = Tokens(masked[0], "valid")
    make = objectives.Masked(valid.special.mask, valid.special.all, 400)
    nats = predictions = 0.0
    hidden = size = 0.0
    backend = models.open_tokenizer(trained)
    with torch.inference_mode():
        for number in range(2):
            rows = valid.gather_flat(torch.arange(number * 4, number * 4 + 4).numpy())
            pieces = models.lay_out(rows["input_ids"], rows["segment_starts"])
            task = make(pieces, pretraining.VALID_SEED, number)
            nats += float(objectives.nats(model, task).sum())
            predictions += len(task.answers)
            for task in make.every_token_once(pieces, pretraining.FOLDS):
                hidden += float(objectives.nats(model, task).sum())
                text = backend.decode(task.answers.tolist(), clean_up_tokenization_spaces=False)
                size += len(text.encode("utf-8"))
    scores = report["scores"]
    assert scores["valid_loss_nats"] == pytest.approx(nats / predictions, rel=1e-5)
    assert scores["valid_perplexity"] == pytest.approx(math.exp(nats / predictions), rel=1e-4)
    bits = hidden / math.log(2) / size
    assert scores["valid_pseudo_bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert report["checks"]["initial_loss_nats"] == pytest.approx(math.log(400), rel=0.05)
    assert report["checks"]["overfit_steps"] < 300
    assert [point["step"] for point in report["curve"]] == [6, 12, 16]
    assert report["parameters"] == models.parameter_count(model)


def test_probes_are_the_fillings_of_transformers_own_pipeline(trained: Path):
    from transformers import pipeline

    fill = pipeline("fill-mask", model=str(trained), top_k=5)
    for probe in json.loads((trained / "probes.json").read_text()):
        theirs = fill(probe["text"])
        assert len(probe["guesses"]) == 5
        for mine, other in zip(probe["guesses"], theirs, strict=True):
            assert mine["score"] == pytest.approx(other["score"], abs=1e-4)
            assert round(mine["score"], 4) == mine["score"]


@pytest.mark.parametrize("stop", [7, 10])
def test_stopped_and_resumed_is_byte_identical(
    trained: Path, masked: tuple[Path, Path], tmp_path: Path, stop: int
):
    out, scratch = tmp_path / "model", tmp_path / "scratch"
    with pytest.raises(Resumable, match=f"stopped after step {stop} of 16"):
        run(PARAMS, masked, out, StopAt(stop, scratch))
    assert not out.exists(), "nothing half-made may be published"
    log = run(PARAMS, masked, out, Log(scratch=scratch))
    assert log.observed["resumed_at_step"] == stop
    assert digests(out) == digests(trained)
    # A kill between here and the publication loses nothing; the runner clears the scratch folder.
    assert (scratch / "checkpoints").exists()


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from stages.core.errors import Resumable
from stages.core.log import Log
from tests.stages.test_pretrain import PARAMS, pretrain
class Killed(Log):
    def metric(self, name, value, *, step=None):
        super().metric(name, value, step=step)
        if name == "loss_nats" and step == {at}:
            os.kill(os.getpid(), signal.SIGTERM)
log = Killed(scratch=Path({scratch!r}))
signal.signal(signal.SIGTERM, lambda *_: log.request_stop())
try:
    pretrain(params=PARAMS, tokens=Path({tokens!r}), tokenizer=Path({tokenizer!r}),
             second=None, third=None, fourth=None, base=Path({none!r}), model=Path({out!r}),
             log=log)
except Resumable as error:
    sys.exit(error.exit_code)
"""


def test_fresh_processes_killed_and_resumed_give_the_same_bytes(
    root: Path, trained: Path, masked: tuple[Path, Path], tmp_path: Path
):
    out = tmp_path / "else/where/model"
    for turn, (at, expected) in enumerate(((9, 75), (99, 0))):
        code = CHILD.format(
            root=str(root),
            at=at,
            scratch=str(tmp_path / "scratch"),
            tokens=str(masked[0]),
            tokenizer=str(masked[1]),
            none=str(tmp_path),
            out=str(out),
        )
        environment = os.environ | {"PYTHONHASHSEED": str(turn + 1), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stderr
    assert digests(out) == digests(trained)


def test_a_checkpoint_of_other_parameters_is_refused(masked: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(Resumable):
        run(PARAMS, masked, tmp_path / "model", StopAt(3, tmp_path / "s"))
    other = PARAMS.model_copy(update={"learning_rate": 1e-3})
    with pytest.raises(ArtifactError, match="belongs to another run"):
        run(other, masked, tmp_path / "model", Log(scratch=tmp_path / "s"))


def test_a_causal_model_counts_the_bytes_that_it_predicts(
    causal: tuple[Path, Path], tmp_path: Path
):
    log = run(CAUSAL, causal, tmp_path / "model")
    assert log.curves["valid_loss_nats"][-1][1] < log.curves["loss_nats"][0][1]
    valid = Tokens(causal[0], "valid")
    model = models.load(tmp_path / "model", "causal").eval()
    backend = models.open_tokenizer(tmp_path / "model")
    nats = size = 0.0
    with torch.inference_mode():
        rows = valid.gather_flat(torch.arange(8).numpy())
        starts = rows["segment_starts"]
        model.set_attn_implementation("eager")
        for first, last in zip(starts[:-1], starts[1:], strict=True):
            ids = torch.from_numpy(rows["input_ids"][first:last])[None]
            if ids.shape[1] > 1:
                nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
                text = backend.decode(ids[0, 1:], skip_special_tokens=True)
                size += len(text.encode("utf-8"))
    expected = nats / math.log(2) / size
    assert log.metrics["valid_bits_per_byte"] == pytest.approx(expected, rel=1e-4)


def test_a_llama_learns_through_the_same_loop(causal: tuple[Path, Path], tmp_path: Path):
    params = CAUSAL.model_copy(update={"model": Llama(kind="llama", key_value_heads=1, **SIZE)})
    log = run(params, causal, tmp_path / "model")
    assert log.curves["valid_loss_nats"][-1][1] < math.log(400) - 0.3
    assert json.loads((tmp_path / "model/config.json").read_text())["num_key_value_heads"] == 1


def test_going_on_with_a_base_starts_where_it_stopped(
    trained: Path, masked: tuple[Path, Path], tmp_path: Path
):
    params = PARAMS.model_copy(update={"base": "pretrained/x", "steps": 2, "evaluate_every": 1})
    log = run(params, masked, tmp_path / "model", base=trained)
    before = json.loads((trained / "training.json").read_text())["scores"]["valid_loss_nats"]
    assert log.curves["valid_loss_nats"][0][1] == pytest.approx(before, abs=0.3)
    assert before < 5.9
    report = json.loads((tmp_path / "model/training.json").read_text())
    assert "initial_loss_nats" not in report["checks"]


# --- refusals ------------------------------------------------------------------------------------


def test_tokens_of_another_tokenizer_are_refused(
    masked: tuple[Path, Path], causal: tuple[Path, Path], tmp_path: Path
):
    with pytest.raises(ArtifactError, match="not encoded with the tokenizer"):
        run(PARAMS, (masked[0], causal[1]), tmp_path / "model")


def test_tokens_for_another_objective_are_refused(causal: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(ParamsError, match="laid out for the objective 'causal', not 'masked'"):
        run(PARAMS.model_copy(update={"probes": []}), causal, tmp_path / "model")


def test_rows_longer_than_the_model_are_refused(masked: tuple[Path, Path], tmp_path: Path):
    params = PARAMS.model_copy(update={"model": Roberta(**{**SIZE, "positions": 16})})
    with pytest.raises(ParamsError, match="32 tokens do not fit a model of 16 positions"):
        run(params, masked, tmp_path / "model")


def test_a_base_with_another_vocabulary_is_refused(
    trained: Path, masked: tuple[Path, Path], tmp_path: Path
):
    small = training.tokens(tmp_path / "small", documents=300, vocab_size=350)
    params = PARAMS.model_copy(update={"base": "pretrained/x"})
    with pytest.raises(ArtifactError, match="the model has 400 tokens and the tokenizer 350"):
        run(params, small, tmp_path / "model", base=trained)


def test_a_corrupt_base_is_refused(trained: Path, masked: tuple[Path, Path], tmp_path: Path):
    base = tmp_path / "base"
    shutil.copytree(trained, base)
    (base / "model.safetensors").write_bytes(b"\x00" * 100)
    params = PARAMS.model_copy(update={"base": "pretrained/x"})
    with pytest.raises(ArtifactError, match="cannot be opened"):
        run(params, masked, tmp_path / "model", base=base)


@pytest.mark.parametrize("probe", ["no mask here", "<mask> <mask>"])
def test_a_probe_without_one_mask_is_refused(masked: tuple[Path, Path], tmp_path: Path, probe: str):
    with pytest.raises(ParamsError, match="does not hold exactly one <mask>"):
        run(PARAMS.model_copy(update={"probes": [probe]}), masked, tmp_path / "model")


def test_a_failed_check_spends_nothing(
    masked: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    create = models.create

    def broken(*given):
        model = create(*given)
        model.roberta.embeddings.word_embeddings.weight.data.mul_(60)
        return model

    monkeypatch.setattr(models, "create", broken)
    log = Log(scratch=tmp_path / "s")
    with pytest.raises(CheckFailed, match="the loss of new weights"):
        run(PARAMS, masked, tmp_path / "model", log)
    assert "loss_nats" not in log.curves
    assert not (tmp_path / "model").exists()


def test_an_empty_valid_split_is_refused(masked: tuple[Path, Path], tmp_path: Path):
    tokens = tmp_path / "tokens"
    shutil.copytree(masked[0], tokens)
    manifest = json.loads((tokens / "tokens.json").read_text())
    manifest["splits"]["valid"] |= {"rows": 0, "pieces": 0, "documents": 0, "tokens": 0}
    (tokens / "tokens.json").write_text(json.dumps(manifest))
    for name, shape in (("rows", 1), ("documents", 1), ("bytes", 0), ("pieces", (0, 2))):
        np.save(tokens / f"valid-{name}.npy", np.zeros(shape, dtype=np.int64))
    (tokens / "valid.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match="the split valid is empty"):
        run(PARAMS, (tokens, masked[1]), tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"steps": 0}, "steps"),
        ({"learning_rat": 0.1}, "learning_rat"),
        ({"model": {"kind": "roberta", "hidden_size": 30}}, "no multiple of 4 heads"),
        ({"objective": {"kind": "causal"}}, "cannot learn the objective causal"),
        ({"model": {"kind": "t5"}}, "kind"),
        (
            {"model": {"kind": "gpt2"}, "objective": {"kind": "causal"}, "probes": ["a"]},
            "probes need the objective masked",
        ),
    ],
)
def test_wrong_parameters_are_refused(changes: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        PretrainParams(**({"tokens": "x", "tokenizer": "x"} | changes))


def test_the_defaults_are_a_masked_roberta():
    params = PretrainParams(tokens="eo", tokenizer="eo")
    assert params.model == Roberta()
    assert params.objective == Masked()
