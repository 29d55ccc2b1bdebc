"""The first hour that README tells, in a login shell with nothing but the activated environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet
import pytest

from flows import server
from tests.pipeline import naps
from tests.pipeline.conftest import ROOT

pytestmark = pytest.mark.tools
TEXTS = "La hundo kuras en la ĝardeno. Mi vidas ĝin.\n" * 3


def shell(root: Path, line: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    """Run a line in a login shell that knows only the activated environment."""
    activate = Path(sys.prefix) / "bin" / "activate"
    environment = {"HOME": str(root.parent / "home"), "TERM": "dumb", "LANG": "C.UTF-8", **extra}
    shown = subprocess.run(
        ["bash", "--login", "-c", f". {activate} && cd {root} && {line}"], env=environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if check and shown.returncode != 0:
        raise AssertionError(f"{line}: {shown.returncode}\n{shown.stdout}\n{shown.stderr}")
    return shown


def test_make_knows_its_two_commands():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "run " in shown.stdout
    assert "test " in shown.stdout


def test_list_show_plan_logs_doctor(line):
    assert "pretrain@eo" in shell(line.root, "deveno list").stdout
    assert "learning_rate" in shell(line.root, "deveno show pretrain").stdout
    assert "models/finetuned/pos" in shell(line.root, "deveno show finetune@pos").stdout
    assert "skip" in shell(line.root, "deveno plan").stdout
    assert "outcome: ok" in shell(line.root, "deveno logs pretrain@eo").stdout
    assert "FAIL" not in shell(line.root, "deveno doctor --deep").stdout


def test_try_answers_texts_and_files(line):
    tagged = shell(line.root, "deveno try pos-int8 'Mi estas viro kaj estas varma tago.'").stdout
    assert len(tagged.splitlines()) == 8
    assert "viro" in tagged
    filled = shell(line.root, "deveno try pretrain@eo 'La suno <mask>.'").stdout
    assert filled.strip()
    translated = shell(line.root, "deveno try en-eo 'The big dog sees a small house.'").stdout
    assert translated.strip()
    (line.root.parent / "in.txt").write_text(TEXTS, encoding="utf-8")
    shell(line.root, "deveno try export@pos-int8 --file ../in.txt --out ../out.jsonl")
    rows = [json.loads(row) for row in (line.root.parent / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert rows[0]["result"][0]["word"] == "La"


def test_a_bare_key_must_be_unique(line):
    shown = shell(line.root, "deveno show eo", check=False)
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 3
    assert "entries are called 'eo'" in shown.stderr


def test_own_files_go_through_acquire_and_use_refuses_to_lose_changes(line):
    (line.root / "data/external").mkdir(exist_ok=True)
    (line.root / "data/external/mine.txt").write_text(TEXTS, encoding="utf-8")
    params = (line.root / "params.yaml").read_text()
    (line.root / "params.yaml").write_text(params + "# my own note\n")
    try:
        changed = (line.root / "params.yaml").read_text().replace("seed: 7", "seed: 8")
        (line.root / "params.yaml").write_text(changed)
        shown = shell(line.root, "deveno use esperanto_files", check=False)
        assert shown.returncode == 2
        assert "not committed" in shown.stderr
        assert (line.root / "params.yaml").read_text() == changed
        shell(line.root, "deveno use esperanto_files --force")
        assert (line.root / "params.1.yaml.kept").read_text() == changed
        shell(line.root, "dvc repro -q acquire@texts")
        manifest = json.loads((line.root / "data/raw/texts/manifest.json").read_text())
        assert manifest["files"][0]["size_bytes"] > 0
        shell(line.root, "dvc exp run -q --temp -S 'acquire.texts.origin=me' acquire@texts")
    finally:
        (line.root / "params.yaml").write_text(params)
        (line.root / "data/external/mine.txt").unlink()


def test_the_hour_in_its_order(line, tmp_path):
    """Each line as README has it, on the smoke recipe; only what would take minutes is narrowed."""
    root = line.root
    report = shell(root, "deveno run --compare").stdout
    assert "report: reports/pages/smoke/index.html" in report
    shell(root, "deveno try pos-int8 'Mi estas viro kaj estas varma tago.'")
    shell(root, "dvc exp run -q -S pretrain.eo.learning_rate=2e-3")
    assert "learning_rate: 0.002" in (root / "params.yaml").read_text()

    (root.parent / "my-texts").mkdir()
    train = pyarrow.parquet.read_table(root / "data/corpora/eo/train-00000.parquet")
    for number, text in enumerate(train.column("text").to_pylist()[:80]):
        (root.parent / "my-texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    chain = "cp ../my-texts/*.txt data/external/ && deveno use esperanto_files && dvc repro -q"
    used = shell(root, f"mkdir -p data/external && {chain} refine@eo").stdout
    assert "dvc exp apply" in used  # an experiment holds the values that `use` replaced
    corpus = json.loads((root / "data/corpora/eo/corpus.json").read_text())
    assert sum(split["documents"] for split in corpus["splits"].values()) > 60
    shell(root, "deveno use smoke")

    settings, port = root / "prefect.toml", server.free_port()
    settings.write_text(settings.read_text().replace(":4200", f":{port}"))
    ports = {"DEVENO_MLFLOW_PORT": str(server.free_port())}
    try:
        told = shell(root, "deveno up && prefect deployment run 'pipeline/smoke'", **ports).stdout
        (run,) = [row.split()[-1] for row in told.splitlines() if "UUID:" in row]
        deadline = time.monotonic() + 600
        while (state := _state(port, run)) not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            assert time.monotonic() < deadline, state
            time.sleep(1)
        assert state == "COMPLETED"
        assert (root / ".deveno/worktrees/smoke/models/exported/pos-int8/model.onnx").exists()
        nightly = shell(root, "prefect deployment inspect nightly/benchmark", **ports).stdout
        assert "cron" in nightly
    finally:
        shell(root, "deveno down", check=False, **ports)
        settings.write_text(settings.read_text().replace(f":{port}", ":4200"))


def _state(port: int, run: str) -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/flow_runs/{run}")
    return str(naps.answered(asked)["state_type"])


def test_mlflow_ui_finds_the_store_at_the_root(line, tmp_path):
    shell(line.root, "dvc repro -q -f -s evaluate@lm", DEVENO_TRACKING="on")
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not _runs(line.root):
        time.sleep(1)
    port = server.free_port()
    process = subprocess.Popen(
        [str(Path(sys.prefix) / "bin/mlflow"), "ui", "--port", str(port), "--workers", "1"],
        cwd=line.root, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        page = b""
        while time.monotonic() < deadline and b"mlflow" not in page.lower():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                    page = answer.read()
            except OSError:
                time.sleep(0.5)
        assert b"mlflow" in page.lower()
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert "evaluate@lm" in _runs(line.root)


def _runs(root: Path) -> list[str]:
    import sqlite3

    path = root / "mlflow.db"
    if not path.exists():
        return []
    with sqlite3.connect(path, timeout=10) as store:
        return [row[0] for row in store.execute("SELECT name FROM runs")]
