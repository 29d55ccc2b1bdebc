"""Stage `export` on a ported translator: every format says what the model says, or is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from stages.cli.trying import answerer
from stages.core.errors import CheckFailed, DevenoError
from stages.core.log import Log
from stages.export import translations
from stages.export.stage import ExportParams, export
from stages.lm import ensembles
from stages.lm.decoding.settings import Beam, Greedy, Sampling, stored
from stages.lm.runner import storage
from stages.lm.translator import Translator
from stages.port.stage import PortParams, port

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("onnx-translator", "ctranslate2", "runner")
TEXTS = ["The dog sees the cat.", "I read a good book, and she sleeps.", "No", "", "a tree " * 12]


@pytest.fixture(scope="module")
def ported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed checkpoint, ported: small, and trained, so that its words tell faults."""
    folder = tmp_path_factory.mktemp("ported")
    raw = folder / "raw"
    shutil.copytree(ROOT / "stages/port/checkpoint", raw / "files")
    params = PortParams.model_validate({"raw": "x", "source": {"kind": "fairseq", "sentences": 10}})
    none = folder / "none"
    port(params, raw, none, none, folder / "model", Log())
    return folder / "model"


def run(ported: Path, out: Path, corpus: Path | None = None, **params: Any) -> tuple[dict, Log]:
    """Export; return export.json and the log."""
    log = Log()
    named = {} if corpus is None else {"corpus": "corpora/pairs"}
    settings = ExportParams.model_validate({"model": "ported/x", **named, **params})
    none = out.parent / "none"
    export(settings, ported, corpus or none, none, out, log)
    return json.loads((out / "export.json").read_text(encoding="utf-8")), log


@pytest.mark.parametrize("form", FORMATS)
def test_a_float_export_translates_as_the_model(form: str, ported: Path, tmp_path: Path) -> None:
    facts, _ = run(ported, tmp_path / "out", format=form)
    assert [row["case"] for row in facts["parity"]] == ["greedy", "beam 5"]
    assert all(row["equal"] + row["cut"] == row["sentences"] for row in facts["parity"])
    model, exported = Translator.load(ported), Translator.load(tmp_path / "out")
    assert type(exported).__name__ != "Translator"
    for settings in (Greedy(), Beam(num_beams=3, length_penalty=0.6)):
        limited = settings.model_copy(update={"max_tokens": 40})
        assert exported.decoded(TEXTS, limited) == model.decoded(TEXTS, limited)
    tried = answerer(tmp_path / "out")(TEXTS[:2], 0)
    wanted = model.translate(TEXTS[:2], 5)
    assert all(text in str(one) for text, one in zip(wanted, tried, strict=True))
    long = Beam(num_beams=2, max_tokens=4000, min_tokens=3000)  # cut to the positions there are
    assert exported.decoded(["No"], long)
    assert stored(tmp_path / "out") == stored(ported) == Beam(num_beams=5)
    with pytest.raises(DevenoError, match="search but fairseq's"):
        exported.decoded(TEXTS, Sampling())
    with pytest.raises(DevenoError, match="source tokens, the model takes at most"):
        exported.decoded(["a tree " * 900], Greedy())


def test_int8_of_every_format_has_the_same_bytes_in_any_process(
    ported: Path, tmp_path: Path
) -> None:
    for form in FORMATS:
        small = {"kind": "dynamic-int8"}
        facts, _ = run(ported, tmp_path / f"a/{form}", format=form, quantize=small)
        assert [row["agreement_limit"] for row in facts["parity"]] == [0.7, 0.7]
    code = (
        "from pathlib import Path; from stages.core.log import Log;"
        "from stages.export.stage import *;"
        f"[export(ExportParams(model='ported/x', format=form, quantize=DynamicInt8()),"
        f" Path({str(ported)!r}), *2 * [Path('none')], Path({str(tmp_path)!r}) / 'b' / form, Log())"
        f" for form in {FORMATS}]"
    )
    environment = {"PYTHONHASHSEED": "7", "PATH": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    first, second = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*.*"))
            if path.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second
    assert len(first) > 25
    assert str(ROOT).encode() not in b"".join(first.values())


ALONE = """
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
folder = Path(sys.argv[1])
facts = json.loads((folder / "translator.json").read_text())
ids = np.array([json.loads(sys.argv[2])])
encoder, decoder = (onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
                    for name in ("encoder", "decoder"))
mask = np.ones_like(ids)
names = [one.name for one in encoder.get_outputs()]
cross = dict(zip(names, encoder.run(None, {"input_ids": ids, "attention_mask": mask})))
cache = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32)
         for one in decoder.get_inputs() if one.name.startswith("past_")}
tokens, special = [facts["specials"]["start"]], facts["specials"]
while len(tokens) < 30:
    logits, *present = decoder.run(None, {
        "input_ids": np.array([tokens[-1:]]), "position": np.array([len(tokens) - 1]),
        "rows": np.array([0]), "attention_mask": mask, **cross, **cache})
    cache = dict(zip(cache, present))
    logits[0, special["pad"]] = -np.inf
    if len(tokens) == 1:
        logits[0, special["eos"]] = -np.inf
    tokens.append(int(logits[0].argmax()))
    if tokens[-1] == special["eos"]:
        break
print(json.dumps({"tokens": tokens[1:], "modules": sorted(sys.modules)}))
"""


def test_the_graphs_need_onnxruntime_and_numpy_alone(ported: Path, tmp_path: Path) -> None:
    run(ported, tmp_path / "out", format="onnx-translator")
    model = Translator.load(ported)
    ids = model.pipeline.encode(TEXTS[1])
    command = [sys.executable, "-c", ALONE, str(tmp_path / "out"), json.dumps(ids)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    told = json.loads(done.stdout)
    expected = model.hypotheses([ids], model.search(1))[0][0].tokens
    assert told["tokens"] == expected[:29]
    assert not {"torch", "transformers", "stages"} & set(told["modules"])


def corpus(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """Write a parallel corpus of these pairs, the same in both splits."""
    for split in ("train", "valid"):
        table = pa.table(
            {
                "id": [str(number) for number in range(len(rows))],
                "source_text": [one for one, _ in rows],
                "target_text": [one for _, one in rows],
            }
        )
        pq.write_table(table, folder / f"{split}-00000.parquet")
    manifest = {"kind": "parallel", "splits": {}}
    (folder / "corpus.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pairs(ported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose references are the model's own translations."""
    lines = (ROOT / "stages/port/checkpoint/fairseq-beam1.jsonl").read_text(encoding="utf-8")
    texts = [json.loads(line)["source"] for line in lines.splitlines()[:80]]
    said = Translator.load(ported).translate(texts, 1)
    return corpus(tmp_path_factory.mktemp("pairs"), list(zip(texts, said, strict=True)))


def test_a_shortlist_keeps_what_is_said_and_a_starved_one_is_caught(
    ported: Path, pairs: Path, tmp_path: Path
) -> None:
    wide = {"kind": "lexical", "each": 300, "common": 300, "rare": 0}
    facts, log = run(ported, tmp_path / "out", pairs, format="runner", shortlist=wide)
    assert facts["shortlist"]["sentences"] == log.metrics["shortlist_sentences"] == 80
    assert facts["parity"][0]["points_limit"] == 0.2
    listed = Translator.load(tmp_path / "out")
    assert listed.runner.shortlist.words.size
    starved = {"kind": "lexical", "each": 1, "common": 5, "rare": 0}
    with pytest.raises(CheckFailed, match="chrF falls from"):
        run(ported, tmp_path / "starved", pairs, format="runner", shortlist=starved)


@pytest.mark.parametrize("form", ["onnx-translator", "runner", "ctranslate2"])
def test_a_position_off_by_one_is_caught(form: str, ported: Path, tmp_path: Path) -> None:
    """The planted fault: the exporter reads positions one row too late."""
    from stages.lm import weights

    folder = tmp_path / "shifted"
    folder.mkdir()
    for path in ported.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(ported / "model.safetensors")
    for side in ("encoder", "decoder"):
        name = f"model.{side}.embed_positions.weight"
        tensors[name] = np.roll(tensors[name], -1, axis=0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weights.check(folder / "model.safetensors")
    out = tmp_path / "out"
    run(folder, out, format=form)
    params = ExportParams(model="ported/x", format=form)
    config = json.loads((ported / "config.json").read_text())
    facts = translations.Material.read(params, tmp_path, config, config["src_vocab_size"])
    with pytest.raises(CheckFailed, match="the export (says|scores)"):
        translations.prove(params, ported, out, facts, Log())


@pytest.mark.parametrize("small", [False, True])
def test_the_runner_decodes_an_ensemble_together(
    small: bool, ported: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = shutil.copytree(ported, tmp_path / "pair")
    shutil.copytree(ported, pair / "members" / "2")
    tensors = load_file(ported / "model.safetensors")
    generator = np.random.Generator(np.random.PCG64(1))
    for name, one in tensors.items():
        if ".layers." in name:
            noise = generator.standard_normal(one.shape, np.float32)
            tensors[name] = one + noise * np.float32(0.3) * one.std()
    save_file(tensors, pair / "members/2/model.safetensors", metadata={"format": "pt"})
    ensembles.write(pair, ["model1.pt", "model2.pt"])
    if small:
        wide = {"kind": "lexical", "each": 300, "common": 300, "rare": 0}
        int8 = {"quantize": {"kind": "dynamic-int8"}, "shortlist": wide, "parity_points": 3.0}
        facts, _ = run(pair, tmp_path / "out", pairs, format="runner", **int8)
        assert (facts["members"], facts["shortlist"]["sentences"]) == (2, 80)
        return
    facts, _ = run(pair, tmp_path / "out", format="runner")
    assert facts["members"] == 2
    assert all(row["equal"] == row["sentences"] for row in facts["parity"])
    model, exported = Translator.load(pair), Translator.load(tmp_path / "out")
    together = exported.decoded(TEXTS, Beam(num_beams=3, max_tokens=20))
    assert together == model.decoded(TEXTS, Beam(num_beams=3, max_tokens=20))
    read = storage.read

    def forgetful(folder: Path) -> Any:
        members, shortlist = read(folder)
        return members[:1], shortlist

    monkeypatch.setattr(storage, "read", forgetful)
    with pytest.raises(CheckFailed, match="the export (says|scores)"):
        run(pair, tmp_path / "forgetful", format="runner")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "out/members")
    with pytest.raises(DevenoError):
        Translator.load(tmp_path / "out")


def test_a_cache_off_by_one_is_caught(
    ported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: the decoder forgets the newest step of its past."""
    from stages.lm.onnx_translator import OnnxStepper

    step = OnnxStepper.step

    def forgetful(self: OnnxStepper, prefix: Any) -> Any:
        found = step(self, prefix)
        self._cache = {name: one[:, :, :-1] for name, one in self._cache.items()}
        return found

    monkeypatch.setattr(OnnxStepper, "step", forgetful)
    with pytest.raises(CheckFailed, match="the export (says|scores)"):
        run(ported, tmp_path / "out", format="onnx-translator")


def test_refusals_name_the_field(ported: Path, tmp_path: Path) -> None:
    with pytest.raises(DevenoError, match="format ctranslate2 has no shortlist"):
        run(ported, tmp_path / "a", format="ctranslate2", shortlist={"kind": "lexical"})
    with pytest.raises(DevenoError, match="a lexical shortlist learns from a corpus"):
        run(ported, tmp_path / "b", format="runner", shortlist={"kind": "lexical"})
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(DevenoError, match="of type 'bert' cannot be exported as runner"):
        run(tmp_path / "bert", tmp_path / "c", format="runner")
    pair = shutil.copytree(ported, tmp_path / "pair")
    shutil.copytree(ported, pair / "members" / "2")
    ensembles.write(pair, ["model1.pt", "model2.pt"])
    with pytest.raises(DevenoError, match="an ensemble of 2 models cannot be exported"):
        run(pair, tmp_path / "e", format="ctranslate2")
    run(ported, tmp_path / "d", format="runner")
    (tmp_path / "d/translator.json").write_text('{"format": "tape"}', encoding="utf-8")
    with pytest.raises(DevenoError, match="translator.json cannot be read"):
        Translator.load(tmp_path / "d")
