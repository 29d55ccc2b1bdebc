"""Nothing in the sources can run what a data file says, but the restricted unpickler of `port`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ALLOWED = "stages/port/pickles.py"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "_pickle"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.package", "numpy.lib.format.read_array",
    "pandas.read_pickle", "pd.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec",
}  # fmt: skip


def faults(text: str) -> list[str]:
    """Return what a source does that could run foreign code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in CALLS:
                found.append(name)
            if name in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
                found.append(name)
            if words.get("trust_remote_code") == "True" or words.get("allow_pickle") == "True":
                found.append(f"{name} with trust")
            weights = name.endswith(".from_pretrained") and "Model" in name
            if weights and words.get("use_safetensors") != "True" and "options" not in words:
                found += [name] if "**" not in ast.unparse(node) else []
    return found


def test_no_source_can_run_what_a_file_says(root: Path):
    bad = {}
    for folder in ("stages", "flows", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if name != ALLOWED and (found := faults(path.read_text(encoding="utf-8"))):
                bad[name] = found
    assert not bad


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x.npy')", "np.load('x', allow_pickle=True)", "eval('1')",
        "AutoModel.from_pretrained('x')", "Auto.from_pretrained('x', trust_remote_code=True)",
        "import joblib",
    ],
)  # fmt: skip
def test_the_scan_has_teeth(text: str):
    assert faults(text)


def test_the_restricted_unpickler_is_the_one_exception(root: Path):
    assert faults((root / ALLOWED).read_text(encoding="utf-8")) == ["pickle"]
