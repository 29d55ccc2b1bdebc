"""What fairseq recorded: whose it is, what keeps it, and a real ensemble that repeats it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.core.errors import CheckFailed
from stages.lm.decoding.settings import Beam, Greedy
from stages.lm.recordings import Recordings
from tests.stages.test_port_several import run


def test_recordings_belong_to_the_checkpoint_that_repeats_them(
    tmp_path: Path, test_data: Path
) -> None:
    raw = _real(tmp_path, test_data)
    other = run(raw, tmp_path / "second", checkpoint="model2.pt", sentences=6)
    assert other["recorded_of"] == "model1.pt"
    assert not other["recorded"]
    assert Recordings.load(tmp_path / "second").of(Greedy()) == {}


def test_the_recorded_checkpoint_is_ported_where_none_is_asked_for(
    tmp_path: Path, test_data: Path
) -> None:
    files = tmp_path / "raw" / "files"
    files.mkdir(parents=True)
    other = {"model1.pt": "model2.pt", "model2.pt": "model1.pt"}
    for path in (test_data / "checkpoints" / "fairseq-en-eo").iterdir():
        (files / other.get(path.name, path.name)).symlink_to(path)
    found = run(tmp_path / "raw", tmp_path / "model", sentences=6)
    assert found["checkpoint"] == "model2.pt"
    assert found["recorded"]
    assert all(row["sentences_equal"] == 6 for row in found["searches"])


def test_recordings_of_no_checkpoint_fail_by_name(tmp_path: Path, test_data: Path) -> None:
    raw = tmp_path / "raw"
    place = test_data / "checkpoints" / "fairseq-en-eo"
    (raw / "files").mkdir(parents=True)
    for path in place.iterdir():
        if path.name.endswith((".pt", "codes")) or path.name.startswith("dict."):
            (raw / "files" / path.name).symlink_to(path)
    rows = [json.loads(line) for line in (place / "fairseq-beam1.jsonl").open(encoding="utf-8")]
    for row in rows[:4]:
        row["hyps"][0]["positional_log2"][0] -= 0.5
    lines = "".join(json.dumps(row) + "\n" for row in rows[:4])
    (raw / "files" / "fairseq-beam1.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(CheckFailed, match="reference repeats fairseq's beam-1 scores"):
        run(raw, tmp_path / "model", checkpoint="model1.pt")


def test_the_real_ensemble_repeats_fairseq_on_some_sentences(
    tmp_path: Path, test_data: Path
) -> None:
    _check_real(tmp_path, test_data, 12)


@pytest.mark.slow
def test_the_real_ensemble_repeats_fairseq_on_all_sentences(
    tmp_path: Path, test_data: Path
) -> None:
    found = _check_real(tmp_path, test_data, 0)
    text = (test_data / "checkpoints" / "fairseq-en-eo" / "fairseq-scores.json").read_text()
    golden = json.loads(text)
    for row, name in zip(found["searches"], ("b1", "b5", "ens"), strict=True):
        assert row["bleu_ported"] == row["bleu_original"] == golden[name]["bleu"]
        assert row["chrf_ported"] == row["chrf_original"] == golden[name]["chrf"]
        assert row["bleu_signature"] == golden[name]["bleu_signature"]


def _check_real(tmp_path: Path, test_data: Path, sentences: int) -> dict:
    found = run(
        _real(tmp_path, test_data),
        tmp_path / "model",
        combine="ensemble",
        sentences=sentences,
    )
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert settings["moses_languages"] == ["en", "eo"]  # which the recordings bear out
    shown = [(row["num_beams"], row["members"]) for row in found["searches"]]
    assert shown == [(1, 1), (5, 1), (5, 2)]
    count = sentences or 500
    assert [row["sentences_equal"] for row in found["searches"]] == [count] * 3
    kept = Recordings.load(tmp_path / "model")
    together, alone = kept.of(Beam()), kept.of(Beam(), "first")
    assert len(together) == len(alone) == count
    assert {one.text for one in together.values()} != {one.text for one in alone.values()}
    assert kept.of(Beam(length_penalty=0.9)) == {}
    assert kept.of(Beam(search="transformers")) == {}
    return found


def _real(tmp_path: Path, test_data: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "files").symlink_to(test_data / "checkpoints" / "fairseq-en-eo")
    return raw
