"""A small generated corpus and its readers, shared by the tests of the generator."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from stages.acquire.generator.corpus import generate
from stages.acquire.generator.parameters import GeneratorParams
from stages.core.log import Log

Token = tuple[str, str, str, str, str]
"""Form, lemma, UPOS, features, misc."""


class Corpus:
    """A generated folder, read whole."""

    def __init__(self, folder: Path, params: GeneratorParams) -> None:
        self.folder, self.params, self.log = folder, params, Log()
        self.rows = generate(params, folder, self.log)
        self.documents = [json.loads(line) for line in lines(folder, "files/documents")]
        self.by_id = {row["id"]: row for row in self.documents}
        self.plants: list[dict[str, Any]] = [
            json.loads(line) for line in lines(folder, "truth/plants")
        ]
        self.pairs = [line.split("\t") for line in lines(folder, "files/pairs")]
        self.statistics = json.loads((folder / "truth/statistics.json").read_text())
        self.sentences = list(sentences(lines(folder, "files/annotated")))

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the plants of a kind."""
        return [row for row in self.plants if row["kind"] == kind]


class Sentence:
    """One CoNLL-U sentence."""

    def __init__(self, comments: dict[str, str], tokens: list[list[str]]) -> None:
        self.comments = comments
        self.columns = tokens

    @property
    def text(self) -> str:
        """The `# text` line."""
        return self.comments["text"]

    def joined(self) -> str:
        """Return the tokens joined as SpaceAfter says."""
        pieces = [c[1] + ("" if "SpaceAfter=No" in c[9] else " ") for c in self.columns]
        return "".join(pieces).rstrip(" ")

    def upos(self) -> str:
        """Return the tags joined by spaces."""
        return " ".join(c[3] for c in self.columns)


def lines(folder: Path, stem: str) -> Iterator[str]:
    """Yield the lines of all shards of a stem."""
    for path in sorted((folder / stem).parent.glob(Path(stem).name + "-*.zst")):
        with path.open("rb") as raw:
            reader = zstandard.ZstdDecompressor().stream_reader(raw)
            for line in io.TextIOWrapper(reader, encoding="utf-8", newline="\n"):
                yield line.removesuffix("\n")


def sentences(found: Iterator[str]) -> Iterator[Sentence]:
    """Yield CoNLL-U sentences."""
    comments: dict[str, str] = {}
    tokens: list[list[str]] = []
    for line in found:
        if line.startswith("# "):
            name, _, value = line[2:].partition(" = ")
            comments[name] = value
        elif line:
            tokens.append(line.split("\t"))
        else:
            yield Sentence(comments, tokens)
            comments, tokens = {}, []
