"""A workspace in which bad input is tried on the real command, and what must hold of every error.

One throw-away project with the real stages per test session: each case writes its own params.yaml
over the same small artifacts, runs a command as a subprocess, and compares all files before and
after byte for byte.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core import recipes, yamlfile
from tests import training
from tests.pipeline.conftest import BIN, Clone, make_clone

PRODUCT = ("data", "models", "reports", "metrics", "plots", "dvc.lock", "dvc.yaml",
           "params.yaml", "environment.yaml", "machine.yaml", ".dvc/config")  # fmt: skip
"""What a refused command may not change; scratch and .deveno hold its outcome and journal."""
SMALL = {
    "kind": "roberta",
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
    "feed_forward_size": 64,
    "positions": 32,
}
ENTRIES: dict[str, Any] = {
    "acquire": {"eo": {"source": {"kind": "generator", "size_mb": 1}}},
    "refine": {
        "text": {"raw": "eo"},
        "labelled": {"raw": "eo", "kind": "labelled"},
        "foreign": {"raw": "eo", "kind": "labelled"},
        "unlabelled": {"raw": "eo", "kind": "labelled"},
    },
    "tokenizer": {
        "small": {"corpus": "text", "vocab_size": 400},
        "corrupt": {"corpus": "text", "vocab_size": 400},
        "other": {"corpus": "text", "vocab_size": 350},
    },
    "encode": {"small": {"corpus": "text", "tokenizer": "small", "sequence_length": 32}},
    "pretrain": {
        "small": {"tokens": "small", "tokenizer": "small", "steps": 4, "model": SMALL},
        "corrupt": {"tokens": "small", "tokenizer": "small", "steps": 4, "model": SMALL},
    },
    "finetune": {"pos": {"base": "pretrained/small", "data": "labelled"}},
}
"""The entries whose outputs the workspace holds; a case adds its own."""


class Bench:
    """The workspace, the commands tried in it and the traces they may not leave."""

    def __init__(self, clone: Clone) -> None:
        self.clone, self.root = clone, clone.root
        self.params({})

    def params(self, added: Mapping[str, Any]) -> None:
        """Write params.yaml: the entries whose outputs are there, and a case's own."""
        sections = {
            name: {**ENTRIES.get(name, {}), **added.get(name, {})} for name in [*ENTRIES, *added]
        }
        yamlfile.write(self.root / "params.yaml", sections)

    def complete(self) -> None:
        """Write every value into params.yaml, as `deveno use` does and DVC needs."""
        path = self.root / "params.yaml"
        yamlfile.write(path, recipes.complete(yamlfile.plain(yamlfile.read(path)), "params.yaml"))

    def put(self, name: str, content: str | bytes) -> Path:
        """Write a file of the workspace."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(
        self,
        *words: str,
        before: Callable[[], None] | None = None,
        cwd: Path | None = None,
        **extra: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run `deveno` (or, for `execute`, what DVC calls) as a user's shell would."""
        command = [str(BIN / "python"), "-m", "stages", *words]
        if words[0] in ("dvc", "deveno"):
            command = [str(BIN / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd=cwd or self.root, env=self.clone.environment | extra, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=300, check=False,
            preexec_fn=before,
        )  # fmt: skip

    def refused(self, *words: str, **options: Any) -> tuple[str, str, str]:
        """Run a command that must fail well; return its three lines without their labels."""
        held = self.held()
        shown = self.run(*words, **options)
        told = f"{' '.join(words)}: {shown.returncode}\n{shown.stdout}\n{shown.stderr}"
        assert shown.returncode == 2, told
        lines = three_lines(shown.stderr, told)
        assert "Traceback" not in shown.stdout, told
        now = self.held()
        assert now == held, sorted(set(now.items()) ^ set(held.items()))
        assert not self.litter(), self.litter()
        return lines

    def held(self) -> dict[str, str]:
        """Return the digest of every product file, and `folder` for every folder."""
        found = {}
        for name in PRODUCT:
            top = self.root / name
            for path in [top, *(sorted(top.rglob("*")) if top.is_dir() else [])]:
                if path.exists() or path.is_symlink():
                    found[path.relative_to(self.root).as_posix()] = digest(path)
        return found

    def litter(self) -> list[str]:
        """Return temporary files anywhere, and unpublished outputs left in scratch."""
        return [
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.name.endswith(".tmp") or (path.name == "out" and "scratch" in path.parts)
        ]

    def outcome(self, stage: str, key: str) -> dict[str, Any]:
        """Return the newest outcome.json of an entry: exit codes do not cross DVC."""
        paths = sorted(
            (self.root / "scratch" / stage).glob("*/outcome.json"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return next(one for one in reversed(found) if one["key"] == key)


def three_lines(text: str, told: str = "") -> tuple[str, str, str]:
    """Return the parts of an error that is exactly three lines: what, where, what to do."""
    lines = text.splitlines()
    assert len(lines) == 3, told or text
    for line, label in zip(lines, ("error: ", "where: ", "do: "), strict=True):
        assert line.startswith(label), told or text
        assert len(line) > len(label) + 3, told or text
    return lines[0][7:], lines[1][7:], lines[2][4:]


def holds(told: tuple[str, str, str], *parts: str) -> None:
    """Check that each of the three lines holds its part."""
    for line, part in zip(told, parts, strict=True):
        assert part in line, told


def digest(path: Path) -> str:
    """Return a file's digest with its permissions, or what else it is."""
    if path.is_symlink() or not path.is_file():
        return "folder" if path.is_dir() else "other"
    return hashlib.md5(path.read_bytes()).hexdigest() + oct(path.stat().st_mode)


def make(folder: Path) -> Bench:
    """Make the workspace with its small artifacts; a second or two, and one import of torch."""
    clone = make_clone(folder / "clone", "smoke")
    made, root = folder / "made", clone.root
    tokens, tokenizer = training.tokens(made, documents=60, held_out=8)
    homes = {
        "data/corpora/text": made / "corpus",
        "data/corpora/labelled": training.labelled_corpus(made / "labelled", (30, 10, 10)),
        "data/corpora/foreign": _foreign(made / "foreign"),
        "data/corpora/unlabelled": training.write_labelled(
            made / "unlabelled", {"train": [], "valid": [], "test": []}
        ),
        "data/tokens/small": tokens,
        "models/tokenizers/small": tokenizer,
        "models/tokenizers/corrupt": tokenizer,
        "models/pretrained/small": tiny_model(made / "model", tokenizer, "mlm"),
        "models/pretrained/corrupt": made / "model",
        "models/finetuned/pos": tiny_model(made / "tagger", tokenizer, "token-classification"),
    }
    for name, source in homes.items():
        shutil.copytree(source, root / name)
    for name in ("data/raw/eo", "models/tokenizers/other"):
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").write_text('{"files": []}\n')
    (root / "models/tokenizers/corrupt/tokenizer.json").write_text('{"version": "1.0", "mod')
    weights = root / "models/pretrained/corrupt/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return Bench(clone)


def _foreign(folder: Path) -> Path:
    """Write labelled sentences whose labels the tagger was never taught."""
    rows = [(words, [f"{tag.lower()}-x" for tag in tags]) for words, tags in training.sentences(12)]
    return training.write_labelled(folder, {"train": rows, "valid": rows[:4], "test": rows[4:8]})


def tiny_model(folder: Path, tokenizer: Path, head: str) -> Path:
    """Write a small model with new weights and its tokenizer, as pretrain and finetune do."""
    from transformers import RobertaConfig

    from stages.lm import models

    labels = ["ADJ", "ADV", "DET", "NOUN", "PUNCT", "VERB"]
    config = RobertaConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=34, type_vocab_size=1,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
        id2label=dict(enumerate(labels)), label2id={name: n for n, name in enumerate(labels)},
    )  # fmt: skip
    shutil.copytree(tokenizer, folder)
    models.save(models.create(config, head, seed=1), folder)
    return folder


def without_override() -> None:
    """Make a root process obey permissions, as any user's does (a forked child calls this)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; execve then drops it


def full_disk(root: Path, size_bytes: int = 256_000) -> Callable[[], None]:
    """Return what gives a child a small disk of its own for `scratch`, which fills up.

    Where it may not mount one, its files may not grow beyond that size: the same error to a writer.
    """
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    place, options = str(scratch).encode(), f"size={size_bytes}".encode()

    def shrink() -> None:
        alone = libc.unshare(0x20000) == 0  # CLONE_NEWNS
        alone = alone and libc.mount(b"none", b"/", None, 0x44000, None) == 0  # private, all below
        if not (alone and libc.mount(b"none", place, b"tmpfs", 0, options) == 0):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    return shrink
