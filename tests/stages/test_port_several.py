"""Several checkpoints of a release: the best, their average, an ensemble; the decoding search."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.core.errors import ArtifactError, CheckFailed
from stages.core.log import Log
from stages.lm import ensembles
from stages.lm.decoding.settings import Beam, Greedy, stored
from stages.lm.translator import Translator
from stages.port.fairseq import combination, source
from stages.port.fairseq.release import checkpoints
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import evaluate_material
from tests.stages import fairseq_material as material

TEXTS = ["ab ca", "c b , a", "abc cab X", "b", "ca ca bc .", "a b c ab", "cab . X", "bc , bc"]
SHAPE = {**material.SHAPE, "max_target_positions": 16}
SEEDS = (2, 3, 4)
"""Of random models that say different things, and more than nothing."""


def release(folder: Path, count: int = 2, *, half: bool = False) -> Path:
    """Write a release of `count` checkpoints with weights of their own."""
    raw = material.release(folder)
    (raw / "files" / "model.pt").unlink()
    for number in range(1, count + 1):
        state = material.weights(SHAPE, 16, 14, seed=SEEDS[number - 1])
        if half:
            state = {key: value.half() for key, value in state.items()}
        material.save(raw / "files" / f"model{number}.pt", state, SHAPE)
    return raw


def run(raw: Path, model: Path, pairs: Path | None = None, **params: object) -> dict:
    """Port a raw folder; return verification.json."""
    settings = PortParams(
        raw="x", pairs="corpora/x" if pairs else "none", source=Fairseq.model_validate(params)
    )
    port(settings, raw, raw, pairs or raw, model, Log())
    return json.loads((model / "verification.json").read_text(encoding="utf-8"))


def corpus(folder: Path, references: Sequence[str], sources: Sequence[str] = TEXTS) -> Path:
    """Write a parallel corpus that has a valid split and nothing else."""
    rows = [
        {"id": str(place), "source_text": text, "target_text": reference}
        for place, (text, reference) in enumerate(zip(sources, references, strict=True))
    ]
    return evaluate_material.write_corpus(folder, "parallel", {"valid": rows})


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("three") / "raw", 3)


@pytest.fixture(scope="module")
def ensemble(three: Path) -> tuple[Path, dict]:
    model = three.parent / "ensemble"
    return model, run(three, model, combine="ensemble")


def test_checkpoints_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("model10.pt", "model2.pt", "model1.pt", "average.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    names = ["average.pt", "model1.pt", "model2.pt", "model10.pt"]
    assert checkpoints(tmp_path) == names


@pytest.mark.parametrize("half", [False, True])
def test_an_average_is_the_mean_taken_in_fp32(tmp_path: Path, half: bool) -> None:
    raw = release(tmp_path / "raw", 3, half=half)
    found = run(raw, tmp_path / "model", combine="average")
    assert found["passed"]
    assert found["checkpoints"] == ["model1.pt", "model2.pt", "model3.pt"]
    assert found["checkpoint"] == "average of model1.pt, model2.pt, model3.pt"
    assert "weights are the mean" in {check["name"] for check in found["checks"]}
    states = [source.read(raw / "files", Fairseq(), f"model{n}.pt").tensors for n in (1, 2, 3)]
    key = "decoder.layers.1.encoder_attn.k_proj.weight"
    wanted = (states[0][key].float() + states[1][key].float() + states[2][key].float()) / 3
    ported = load_file(tmp_path / "model" / "model.safetensors")
    assert torch.equal(ported[f"model.{key}"], wanted)
    listed = run(raw, tmp_path / "two", combine="average", checkpoints=["model3.pt", "model1.pt"])
    assert listed["checkpoints"] == ["model3.pt", "model1.pt"]


@pytest.mark.parametrize("fault", ["sum", "first", "half"])
def test_a_wrong_average_is_caught_by_name(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    faults = {
        "sum": ("_divided", lambda total, count: total),
        "first": ("_add", lambda total, tensor: total),
        "half": ("_add", lambda total, tensor: (total.half() + tensor.half()).float()),
    }
    monkeypatch.setattr(combination, *faults[fault])
    with pytest.raises(CheckFailed, match="weights are the mean"):
        run(three, tmp_path / "model", combine="average")


def test_checkpoints_of_other_shape_have_no_average(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", 1)
    shape = {**SHAPE, "encoder_layers": 1}
    state = material.weights(shape, 16, 14, seed=2)
    material.save(raw / "files" / "model2.pt", state, shape)
    with pytest.raises(ArtifactError, match="encoder_layers is 3 in one and 1 in other"):
        run(raw, tmp_path / "model", combine="average")
    found = run(raw, tmp_path / "together", combine="ensemble")  # which an ensemble may well join
    assert found["passed"]


def test_a_class_whose_vocabulary_is_filled_up_makes_ensembles_too(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", 1)
    shape = {**SHAPE, "encoder_normalize_before": True, "decoder_normalize_before": True}
    for number in (1, 2):
        state = material.weights(shape, 16, 14, seed=SEEDS[number])
        for side in ("encoder", "decoder"):
            state[f"{side}.layer_norm.weight"] = torch.full((16,), 0.9)
            state[f"{side}.layer_norm.bias"] = torch.full((16,), 0.1)
        material.save(raw / "files" / f"model{number}.pt", state, shape)
    found = run(raw, tmp_path / "model", combine="ensemble")
    assert found["passed"]
    assert found["family"] != "fsmt"
    together, alone = (
        Translator.load(tmp_path / "model"),
        Translator.load(tmp_path / "model", "first"),
    )
    assert together.decoded(TEXTS, Beam(num_beams=2)) != alone.decoded(TEXTS, Beam(num_beams=2))


@pytest.mark.parametrize(
    ("count", "params", "told"),
    [
        (1, {"combine": "ensemble", "checkpoints": ["model1.pt"]},
         "combine = ensemble with 1 checkpoint: model1.pt"),
        (2, {"combine": "average", "checkpoints": ["model9.pt", "model1.pt"]},
         "no checkpoint model9.pt; there are model1.pt, model2.pt"),
        (2, {"combine": "average", "checkpoints": ["model1.pt", "model1.pt"]},
         "combine = average with 1 checkpoint"),
    ],
)  # fmt: skip
def test_too_few_or_unknown_checkpoints_are_named(
    tmp_path: Path, count: int, params: dict, told: str
) -> None:
    with pytest.raises(ArtifactError, match=told):
        run(release(tmp_path / "raw", count), tmp_path / "model", **params)


@pytest.mark.parametrize("combine", ["average", "ensemble"])
def test_a_release_of_one_checkpoint_is_that_one_however_combined(
    tmp_path: Path, combine: str
) -> None:
    raw = release(tmp_path / "raw", 1)
    found = run(raw, tmp_path / "model", combine=combine)
    run(raw, tmp_path / "alone")
    assert found["checkpoint"] == "model1.pt"
    assert len(ensembles.folders(tmp_path / "model")) == 1
    one, two = (tmp_path / name / "model.safetensors" for name in ("model", "alone"))
    assert one.read_bytes() == two.read_bytes()


def test_of_several_unrecorded_checkpoints_the_first_is_ported_and_told(three: Path) -> None:
    log = Log()
    params = PortParams(raw="x", source=Fairseq())
    port(params, three, three, three, three.parent / "first", log)
    told = json.loads((three.parent / "first" / "verification.json").read_text(encoding="utf-8"))
    assert told["checkpoint"] == "model1.pt"
    assert "model1.pt of model1.pt, model2.pt, model3.pt" in log.texts["checkpoint_chosen"]


def test_an_ensemble_opens_as_its_first_member_and_holds_the_others(
    ensemble: tuple[Path, dict],
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model, found = ensemble
    assert found["checkpoints"] == ["model1.pt", "model2.pt", "model3.pt"]
    assert [place.name for place in ensembles.folders(model)] == ["ensemble", "2", "3"]
    names = {(check.get("checkpoint"), check["name"]) for check in found["checks"]}
    for number in (1, 2, 3):
        assert (f"model{number}.pt", "logits in fp64") in names
    assert ("model1.pt", "ensemble step is the mean of probabilities") in names
    AutoTokenizer.from_pretrained(model)
    states = [AutoModelForSeq2SeqLM.from_pretrained(place).state_dict()
              for place in ensembles.folders(model)]  # fmt: skip
    key = "model.encoder.embed_tokens.weight"
    assert len({states[at][key].sum().item() for at in range(3)}) == 3


def test_members_decode_together_or_the_first_alone(ensemble: tuple[Path, dict]) -> None:
    model, _ = ensemble
    together, alone = Translator.load(model), Translator.load(model, "first")
    assert len(together.others) == 2
    assert alone.others == []
    beam = Beam(num_beams=3, max_tokens=12)
    assert together.decoded(TEXTS, beam) != alone.decoded(TEXTS, beam)
    rule = Beam(num_beams=3, max_tokens=12, search="transformers", early_stopping=True)
    assert together.decoded(TEXTS, rule) != alone.decoded(TEXTS, rule)
    assert together.decoded(TEXTS, Greedy()) == together.decoded(TEXTS, Beam(num_beams=1))
    parts = [together.decoded([text], beam)[0] for text in TEXTS]
    assert parts == together.decoded(TEXTS, beam, batch_size=3)


@pytest.mark.parametrize(
    ("combine", "told"),
    [
        (lambda nats: torch.stack(nats).mean(dim=0), "the mean of log-probabilities"),
        (lambda nats: torch.stack(nats).mean(dim=0).log_softmax(-1), "made a distribution again"),
        (lambda nats: torch.logsumexp(torch.stack(nats), 0), "the sum of probabilities"),
        (lambda nats: nats[0], "the first member alone"),
        (lambda nats: nats[-1] - math.log(2), "no known mistake explains it"),
    ],
    ids=["logs", "normalised", "sum", "first", "other"],
)
def test_another_way_of_joining_members_is_caught_and_named(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, combine: object, told: str
) -> None:
    monkeypatch.setattr(ensembles, "mean_of_probabilities", combine)
    with pytest.raises(CheckFailed, match=f"ensemble step is the mean.*{told}"):
        run(three, tmp_path / "model", combine="ensemble", checkpoints=["model1.pt", "model2.pt"])


def test_the_best_checkpoint_on_valid_pairs_is_kept(three: Path, tmp_path: Path) -> None:
    run(three, tmp_path / "third", checkpoint="model3.pt")
    references = Translator.load(tmp_path / "third").decoded(TEXTS, Beam())
    pairs = corpus(tmp_path / "pairs", references)
    found = run(three, tmp_path / "best", pairs, combine="best")
    assert found["checkpoint"] == "model3.pt"
    table = found["candidates"]
    assert [row["chosen"] for row in table["rows"]] == [True, False, False]
    scores = [row["bleu"] for row in table["rows"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(100.0)
    assert table["n"] == len(TEXTS)
    assert table["split"] == "valid"
    assert "tok:13a" in table["signatures"]["bleu"]
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == (
        tmp_path / "third" / "model.safetensors"
    ).read_bytes()
    backwards = corpus(tmp_path / "backwards", TEXTS, references)
    again = run(three, tmp_path / "again", backwards, combine="best", choice={"reverse": True})
    assert again["candidates"]["rows"] == table["rows"]


def test_choices_need_valid_pairs(three: Path, tmp_path: Path) -> None:
    for source_of in ({"combine": "best"}, {"search": {"kind": "product"}}):
        with pytest.raises(ValueError, match="there is nothing to choose by"):
            PortParams.model_validate({"raw": "x", "source": {"kind": "fairseq", **source_of}})
    rows = [{"id": "0", "source_text": "a", "target_text": "o"}]
    empty = evaluate_material.write_corpus(tmp_path / "test-only", "parallel", {"test": rows})
    with pytest.raises(ArtifactError, match="no shard of the split valid"):
        run(three, tmp_path / "model", empty, combine="best")
    evaluate_material.write_corpus(tmp_path / "empty", "parallel", {"valid": [], "test": rows})
    with pytest.raises(ArtifactError, match="valid split of the corpus holds nothing"):
        run(three, tmp_path / "model", tmp_path / "empty", combine="best")


GRID = {"kind": "product", "num_beams": [3, 1, 2], "length_penalty": [1.0, -1.0],
        "early_stopping": [True, False, "never"]}  # fmt: skip


@pytest.fixture(scope="module")
def searched(three: Path) -> tuple[Path, Path, dict]:
    """A search whose references are what beam 2 under the first stop rule says."""
    run(three, three.parent / "plain", checkpoint="model1.pt")
    wanted = Beam(num_beams=2, length_penalty=1.0, early_stopping=True, search="transformers")
    references = Translator.load(three.parent / "plain").decoded(TEXTS, wanted)
    pairs = corpus(three.parent / "search-pairs", references)
    model = three.parent / "searched"
    return model, pairs, run(three, model, pairs, checkpoint="model1.pt", search=GRID)


def test_a_search_scores_the_full_product_and_stores_the_winner(
    searched: tuple[Path, Path, dict],
) -> None:
    model, _, found = searched
    table = found["decoding_search"]
    rows = table["rows"]
    combinations = {
        (row["num_beams"], row["length_penalty"], row["early_stopping"]) for row in rows
    }
    assert len(rows) == len(combinations) == 3 * 2 * 3
    scores = [row["bleu"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row["chosen"] for row in rows] == [True] + [False] * 17
    assert scores[0] == pytest.approx(100.0)
    best = rows[0]
    config = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))
    settings = stored(model)
    assert isinstance(settings, Beam)
    for name in ("num_beams", "length_penalty", "early_stopping"):
        assert config[name] == best[name] == getattr(settings, name)
    assert settings.search == "transformers"


def test_plain_generate_with_the_stored_defaults_is_the_search_that_won(
    searched: tuple[Path, Path, dict],
) -> None:
    model, _, _ = searched
    translator = Translator.load(model)
    ids = [translator.source_ids(text) for text in TEXTS]
    plain = []
    for row in ids:
        output = translator.model.generate(input_ids=torch.tensor([row]))
        plain.append(translator.pipeline.decode(output[0, 1:].tolist()))
    settings = stored(model)
    assert settings is not None
    assert plain == translator.decoded(TEXTS, settings)


def test_a_search_that_runs_out_of_memory_halves_its_batches_and_finds_the_same(
    three: Path,
    tmp_path: Path,
    searched: tuple[Path, Path, dict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stages.lm.decoding.decoder import Decoder

    _, pairs, found = searched
    plain, sizes = Decoder._batch, []

    def scarce(self: Decoder, ids: Tensor, *rest: object) -> object:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return plain(self, ids, *rest)

    monkeypatch.setattr(Decoder, "_batch", scarce)
    again = run(three, tmp_path / "model", pairs, checkpoint="model1.pt", search=GRID)
    assert again["decoding_search"] == found["decoding_search"]
    assert sizes[:4] == [8, 4, 2, 2]


def test_a_search_under_fairseqs_rule_has_no_stop_rules_to_try(
    three: Path, tmp_path: Path, searched: tuple[Path, Path, dict]
) -> None:
    grid = {"kind": "product", "num_beams": [1, 2], "length_penalty": [1.0, 1.0, 0.5],
            "early_stopping": [True], "search": "fairseq"}  # fmt: skip
    found = run(three, tmp_path / "model", searched[1], combine="ensemble", search=grid)
    assert len(found["decoding_search"]["rows"]) == 4
    settings = stored(tmp_path / "model")
    assert isinstance(settings, Beam)
    assert settings.search == "fairseq"
    assert settings.early_stopping is True
    with pytest.raises(ValueError, match="fairseq's search stops"):
        Fairseq.model_validate({"search": {**grid, "early_stopping": [True, False]}})
    for odd in ({"num_beams": [0]}, {"num_beams": []}, {"length_penalty": [math.nan]},
                {"early_stopping": ["sometimes"]}):  # fmt: skip
        with pytest.raises(ValueError, match="validation error"):
            Fairseq.model_validate({"search": {**grid, **odd}})
