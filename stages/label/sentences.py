"""Sentences as rounds know them: of the pool, of the test set, and those labelled before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm import corpora, tables
from stages.lm.words import words


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence word by word; `tags` where somebody knows them."""

    id: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    source: str

    @property
    def text(self) -> str:
        """Return the words with one blank between: the text that character spans count in."""
        return " ".join(self.tokens)


def pool_of(folder: Path) -> Iterator[Sentence]:
    """Yield the sentences of a pool's split train; of one id the first counts."""
    kind = str(corpora.read_corpus(folder, ["text", "labelled"], "label")["kind"])
    seen: set[str] = set()
    columns = ["id", "source", *(["text"] if kind == "text" else ["tokens", "tags"])]
    for row in tables.iter_rows(folder, "train", columns):
        tokens = words(row["text"]) if kind == "text" else row["tokens"]
        if not tokens or row["id"] in seen:
            continue
        seen.add(row["id"])
        tags = row.get("tags")
        known = tuple(tags) if tags and len(tags) == len(tokens) else None
        yield Sentence(row["id"], tuple(tokens), known, row["source"] or "")


def test_of(folder: Path) -> list[Sentence]:
    """Return every sentence of the fixed test set."""
    corpora.read_corpus(folder, ["labelled"], "label")
    rows = tables.iter_rows(folder, "test", ["id", "tokens", "tags", "source"])
    found = [
        Sentence(row["id"], tuple(row["tokens"]), tuple(row["tags"]), row["source"] or "")
        for row in rows
    ]
    if not found:
        raise ArtifactError(
            "the split test holds no labelled sentence",
            str(folder),
            "give the corpus of the test set labelled sentences: `split: {train: 0, test: 1}`",
        )
    return found


def digest_of(sentences: Iterable[Sentence]) -> str:
    """Return the digest of a set of labelled sentences, in any order."""
    rows = sorted([one.id, list(one.tokens), list(one.tags or ())] for one in sentences)
    return canonical.digest(rows)


def place(seed: int, what: str, name: str) -> int:
    """Return a number below 2^64 for a name, by which things are drawn."""
    data = f"{seed}\n{what}\n{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def row_of(sentence: Sentence) -> dict[str, Any]:
    """Return a sentence as the row of a labelled corpus."""
    return {
        "id": sentence.id,
        "tokens": list(sentence.tokens),
        "tags": list(sentence.tags or ()),
        "source": sentence.source,
    }
