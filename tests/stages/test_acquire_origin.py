"""What lies outside the repository enters the key: by content, by pin, by what a server says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from stages.acquire.stage import AcquireParams, acquire
from stages.core import origins, plan, references, yamlfile
from stages.core.fingerprint import Fingerprints
from tests.stages.loopback import Handler, Server, parameters


def hashed(path: Path) -> str | None:
    return hashlib.md5(path.read_bytes()).hexdigest() if path.exists() else None


def digest(params: AcquireParams) -> str | None:
    return acquire.declaration.origin.digest(params, hashed)


def files(root: Path, **more) -> AcquireParams:
    source = {"kind": "files", "root": str(root), **more}
    return AcquireParams.model_validate({"source": source, "licence": "CC0-1.0"})


def test_a_folder_elsewhere_counts_by_names_and_content(tmp_path):
    (tmp_path / "a.txt").write_text("unu")
    first = digest(files(tmp_path))
    os.utime(tmp_path / "a.txt", (1, 1))
    assert digest(files(tmp_path)) == first
    (tmp_path / "a.txt").write_text("dua")
    second = digest(files(tmp_path))
    assert second != first
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert digest(files(tmp_path)) not in (first, second)
    (tmp_path / "c.md").write_text("tri")
    assert digest(files(tmp_path, patterns=["*.txt"])) == digest(
        files(tmp_path, patterns=["b.txt"])
    )


def test_what_is_gone_has_no_digest_and_what_is_inside_needs_none(tmp_path):
    assert digest(files(tmp_path / "nowhere")) is None
    assert digest(AcquireParams()) == "none"
    inside = {"source": {"kind": "files"}, "folder": "data/external", "licence": "CC0-1.0"}
    assert digest(AcquireParams.model_validate(inside)) == "none"


def test_the_standard_library_is_told_by_its_content():
    params = {
        "source": {"kind": "files", "root": "python", "patterns": ["json/*.py"], "pack": True}
    }
    found = digest(AcquireParams.model_validate(params | {"licence": "PSF-2.0"}))
    assert found is not None
    assert found.startswith("files:")


class Tagged(Handler):
    """Says by its validator what it holds."""

    def do_HEAD(self):
        body = self.server.owner.files[self.path.lstrip("/")]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()


def test_an_address_counts_by_what_the_server_says_and_a_pin_by_itself():
    server = Server({"a.bin": b"unu"})
    server.http.RequestHandlerClass = Tagged
    server.http.owner = server
    try:
        first = digest(parameters(server))
        assert first is not None
        assert first.startswith("served:")
        assert digest(parameters(server)) == first
        server.files["a.bin"] = b"dua"
        assert digest(parameters(server)) != first
    finally:
        server.close()
    assert digest(parameters(server)) is None
    pinned = {"kind": "url", "base": "http://127.0.0.1:9/", "files": [
        {"path": "a.bin", "sha256": "0" * 64}
    ]}  # fmt: skip
    found = digest(AcquireParams.model_validate({"source": pinned, "licence": "CC0-1.0"}))
    assert found is not None
    assert found.startswith("pinned:")


@pytest.fixture
def workspace_at(tmp_path) -> tuple[Path, Path]:
    """A workspace with one source inside and one outside it."""
    root, outside = tmp_path / "clone", tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("unu")
    (root / "data/none").mkdir(parents=True)
    (root / "stages").mkdir()
    source = {"kind": "files", "root": str(outside)}
    yamlfile.write(root / "params.yaml", {"acquire": {
        "far": {"folder": "data/none", "source": source, "licence": "CC0-1.0"},
        "near": {"folder": "data/none", "source": {"kind": "generator"}},
    }})  # fmt: skip
    (root / "dvc.yaml").write_text(
        "stages:\n  acquire:\n    foreach: ${acquire}\n    do:\n"
        "      cmd: python -m stages execute acquire ${key}\n"
        "      deps: ['${item.folder}']\n"
        "      params: ['acquire.${key}', {sources.yaml: ['${item.source.kind}']}]\n"
        "      outs: ['data/raw/${key}']\n"
    )
    return root, outside


def test_the_digest_enters_the_fingerprint_of_its_entry_and_plan_says_so(workspace_at):
    root, outside = workspace_at
    graph = references.load(root)
    before = {name: Fingerprints(root).of(entry) for name, entry in graph.items()}
    lock = Fingerprints(root).lock(graph["acquire@far"])
    (outside / "b.txt").write_text("dua")
    after = {name: Fingerprints(root).of(entry) for name, entry in graph.items()}
    assert after["acquire@far"] != before["acquire@far"]
    assert after["acquire@near"] == before["acquire@near"]
    recorded = {
        "cmd": lock["cmd"], "params": lock["params"],
        "deps": [{"path": path, "md5": md5} for path, md5 in lock["deps"].items()],
    }  # fmt: skip
    told = plan.changes(Fingerprints(root).lock(graph["acquire@far"]), recorded)
    assert len(told) == 1
    assert told[0].startswith("source outside files.far: files:")


def test_a_source_that_is_gone_keeps_its_digest(workspace_at):
    root, outside = workspace_at
    graph = references.load(root)
    assert origins.refresh(root, graph) == ["sources.yaml"]
    assert origins.refresh(root, graph) == []
    kept = origins.recorded(root)
    assert set(kept) == {"extract", "files", "generator", "hub", "sql", "table-qa", "url"}
    assert kept["generator"] == {}
    outside.rename(outside.with_name("away"))
    assert origins.current(root, graph) == kept
