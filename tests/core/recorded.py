"""A small repository with a recorded history: makings of a chain, written as DVC writes them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from stages.core import yamlfile
from stages.core.hashes import combined


def git(root: Path, *words: str) -> str:
    """Run git as somebody."""
    who = {
        f"GIT_{a}_{b}": "test@localhost" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")
    }
    return subprocess.run(
        ["git", "-C", str(root), *words], env={**os.environ, **who, "HOME": str(root)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def md5(data: bytes) -> str:
    """Return the MD5 as DVC names it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class History:
    """Writes artifacts, cache and dvc.lock of a chain acquire -> refine -> pretrain -> report."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("stages/pretrain", "data/none", "models/none", ".dvc"):
            (root / name).mkdir(parents=True)
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / ".gitignore").write_text("/data/\n/models/\n/reports/\n/.dvc/\n/.deveno/\n")
        (root / "stages/pretrain/stage.py").write_text("# one\n")
        git(root, "init", "-q", "-b", "main")
        self.entries: dict[str, dict] = {}

    def folder(self, path: str, files: dict[str, str]) -> str:
        """Write a folder artifact and put it into the cache; return its hash."""
        rows = []
        for name, text in sorted(files.items()):
            place = self.root / path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            rows.append((name, md5(text.encode())))
            self._cache(md5(text.encode()), text.encode())
        value = combined(rows, True)
        listing = json.dumps([{"md5": one, "relpath": name} for name, one in rows])
        self._cache(value, listing.encode())
        return value

    def _cache(self, name: str, data: bytes) -> None:
        place = self.root / ".dvc/cache/files/md5" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def made(self, entry: str, deps: dict[str, str], params: dict, outs: dict[str, str]) -> None:
        """Record an entry."""
        stage, key = entry.split("@")
        code = "stages/pretrain/stage.py"
        deps = {**deps, code: md5((self.root / code).read_bytes())}

        def rows(given: dict[str, str]) -> list[dict]:
            return [
                {"path": p, "hash": "md5", "md5": m, **self._sizes(m)}
                for p, m in sorted(given.items())
            ]

        values = {"params.yaml": {f"{stage}.{key}": params}}
        self.entries[entry] = {
            "cmd": f"python -m stages execute {stage} {key}",
            "deps": rows(deps),
            "params": {**values, "environment.yaml": {"numpy": "2.4.6"}},
            "outs": rows(outs),
        }

    def commit(self, text: str) -> str:
        """Write dvc.lock and commit everything; return the commit."""
        document = {"schema": "2.0", "stages": dict(sorted(self.entries.items()))}
        (self.root / "dvc.lock").write_text(yamlfile.dump(document))
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", text)
        return git(self.root, "rev-parse", "HEAD").strip()

    def chain(
        self, word: str, licence: str | None = "CC0-1.0", rate: float = 0.1
    ) -> dict[str, str]:
        """Make the whole chain from a word; return the hash of each artifact by path."""
        manifest = json.dumps({
            "licence": licence, "licence_reason": None if licence else "mine", "origin": "here",
            "content_sha256": hashlib.sha256(word.encode()).hexdigest(),
            "files": [{"path": "files/a.txt", "sha256": hashlib.sha256(word.encode()).hexdigest()}],
        })  # fmt: skip
        raw = self.folder("data/raw/eo", {"files/a.txt": word, "manifest.json": manifest})
        corpus = self.folder("data/corpora/eo", {"train.txt": word.upper()})
        model = self.folder("models/pretrained/eo", {"model.bin": word * 3, "config.json": "{}"})
        page = self.folder("reports/pages/all", {"index.html": f"<p>{word}</p>"})
        self.made("acquire@eo", {"data/none": "x.dir"}, {"licence": licence}, {"data/raw/eo": raw})
        self.made("refine@eo", {"data/raw/eo": raw}, {"raw": "eo"}, {"data/corpora/eo": corpus})
        self.made(
            "pretrain@eo", {"data/corpora/eo": corpus, "models/none": "x.dir"},
            {"rate": rate, "off": "no"}, {"models/pretrained/eo": model},
        )  # fmt: skip
        inside = [(f"eo/{name}", one) for name, one in self._listing(model)]
        parent = combined(sorted([(".keep", md5(b"")), *inside]), True)
        self.made("report@all", {"models/pretrained": parent}, {}, {"reports/pages/all": page})
        return {
            "data/raw/eo": raw, "data/corpora/eo": corpus, "models/pretrained/eo": model,
            "reports/pages/all": page,
        }  # fmt: skip

    def _sizes(self, value: str) -> dict[str, int]:
        """Return the size and number of files of a folder in the cache, as DVC records them."""
        folder = self.root / ".dvc/cache/files/md5"
        if not (folder / value[:2] / value[2:]).exists():
            return {"size": 3}
        sizes = [(folder / one[:2] / one[2:]).stat().st_size for _, one in self._listing(value)]
        return {"size": sum(sizes), "nfiles": len(sizes)}

    def _listing(self, value: str) -> list[tuple[str, str]]:
        place = self.root / ".dvc/cache/files/md5" / value[:2] / value[2:]
        return [(row["relpath"], row["md5"]) for row in json.loads(place.read_text())]
