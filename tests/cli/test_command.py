"""The command itself: light, its own interpreter first, the code of the workspace it stands in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.cli import command
from tests.pipeline.bad_material import holds, three_lines
from tests.pipeline.conftest import BIN

HEAVY = ("torch", "transformers", "numpy", "pyarrow", "dvc", "prefect", "mlflow", "tokenizers",
         "datasets", "onnxruntime", "psutil", "requests")  # fmt: skip
VERBS = ("list", "show", "use", "sync", "run", "plan", "logs", "doctor", "up", "down", "try")
PROBE = """
import json, sys, time
began = time.process_time()
from stages.cli.command import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
spent = time.process_time() - began
print(json.dumps({"code": code, "cpu_s": spent, "modules": list(sys.modules)}))
"""


def probe(folder: Path, *words: str) -> dict:
    shown = subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=folder, capture_output=True, text=True,
        check=True, env=os.environ | {"PYTHONPATH": str(folder)},
    )  # fmt: skip
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", [["--help"], ["try", "--help"], ["list"], ["plan"], ["down"]])
def test_looking_imports_nothing_heavy(project, words):
    found = probe(project.root, *words)
    assert found["code"] == 0
    assert not set(HEAVY) & set(found["modules"]) - ({"psutil"} if words == ["down"] else set())


def test_help_is_quick(root):
    assert min(probe(root, "--help")["cpu_s"] for _ in range(3)) < 0.5


def test_help_names_every_verb(root, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ("arguments are required: VERB", "deveno", "`deveno -h`")),
        (["lst"], ("no verb 'lst'", "deveno", "did you mean list?")),
        (["plan", "--jso", "x", "--qq"], ("--qq", "deveno", "`deveno -h`")),
        (["list", "x"], ("unrecognized arguments: x", "deveno", "`deveno -h`")),
        (["try", "pos", "x", "--fast"], ("unrecognized arguments: --fast", "deveno", "-h")),
    ],
)
def test_wrong_words_are_three_lines(capsys, words, parts):
    assert command.main(words) == 2
    holds(three_lines(capsys.readouterr().err), *parts)


def test_a_closed_pipe_is_no_error(project):
    line = f"{BIN}/python -m stages list | head -n 1; echo ${{PIPESTATUS[0]}}"
    shown = project.run("bash", "-c", line)
    assert shown.stdout.splitlines() == ["STAGES", "0"]
    assert shown.stderr == ""


def test_an_installed_command_runs_the_code_of_the_workspace(project):
    shown = project.run("deveno", "show", "count@quick").stdout
    assert shown.startswith("count@quick: Count.")


def test_children_find_this_interpreter_first(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    command._own_interpreter_first()
    assert os.environ["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"
