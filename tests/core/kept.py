"""A toy workspace whose entries have run, with the cache and the run cache as DVC leaves them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from stages.core import references, remotes, yamlfile
from stages.core.fingerprint import Fingerprints
from tests.core import toys

PARAMS = """
source:
  a: {text: saluton}
  other: {text: adiau}
copy:
  b: {base: raw/a, times: 2}
  c: {base: copied/b}
gather:
  all: {}
"""
ALL = {"source@a", "source@other", "copy@b", "copy@c", "gather@all"}


def made_at(root: Path) -> Path:
    """Make the workspace and run its entries."""
    toys.workspace_at(root, PARAMS)
    stages = {}
    for name, entry in references.load(root).items():
        stages[name] = run(root, entry)
    yamlfile.write(root / "dvc.lock", {"schema": "2.0", "stages": stages})
    return root


def run(root: Path, entry: references.Entry) -> dict:
    """Write what an entry makes, keep it as DVC does, and return its entry of dvc.lock."""
    lock = Fingerprints(root).complete(entry)
    outs = []
    for path in entry.writes.values():
        files = {"made.txt": f"{entry.name} {entry.item}\n" * 20, "same.txt": "the same\n"}
        for name, text in files.items():
            (root / path).mkdir(parents=True, exist_ok=True)
            (root / path / name).write_text(text)
        listed = [{"md5": kept(root, text), "relpath": name} for name, text in files.items()]
        value = kept(root, json.dumps(listed, sort_keys=True), ".dir")
        outs.append({"path": path, "hash": "md5", "md5": value})
    metrics = f"metrics/{entry.stage.name}/{entry.key}.json"
    paths = [metrics, f"plots/copy/{entry.key}.csv"] if entry.stage.name == "copy" else [metrics]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path}\n")
        outs.append({"path": path, "hash": "md5", "md5": kept(root, f"{path}\n")})
    body = {
        "cmd": lock["cmd"],
        "deps": [
            {"path": path, "hash": "md5", "md5": md5} for path, md5 in sorted(lock["deps"].items())
        ],
        "params": lock["params"],
        "outs": sorted(outs, key=lambda row: row["path"]),
    }
    yamlfile.write(root / ".dvc/cache" / remotes.Result(body).place, body)
    return body


def kept(root: Path, text: str, suffix: str = "") -> str:
    """Put a text into the cache, read only; return its hash."""
    value = hashlib.md5(text.encode()).hexdigest() + suffix
    place = root / ".dvc/cache" / remotes.object_path(value)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.write_text(text)
        place.chmod(0o444)
    return value


def fresh_clone(root: Path, target: Path) -> Path:
    """Copy what git would know of a workspace: nothing that was computed."""
    ignored = shutil.ignore_patterns(
        "cache", "config.local", ".deveno", "raw", "copied", "pages", "metrics", "plots",
        "dvc.lock",
    )  # fmt: skip
    shutil.copytree(root, target, ignore=ignored)
    return target
