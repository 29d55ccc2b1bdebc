"""Labelled sentences of a corpus: which are used, and which labels may be learned."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm import corpora, tables


@dataclass(frozen=True)
class Sentences:
    """Sentences word by word, and one tag per word."""

    tokens: list[list[str]]
    tags: list[list[str]]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def words(self) -> int:
        """Return the number of words."""
        return sum(map(len, self.tokens))

    @property
    def labels(self) -> list[str]:
        """Return the labels that occur, sorted."""
        return sorted({tag for row in self.tags for tag in row})


def read(corpus: Path, split: str, limit: int, salt: str) -> Sentences:
    """Return a split's sentences in order, or `limit` of them chosen by the hash of salt and id.

    A choice by hash is the same in any order of rows, and a larger limit only adds sentences.
    """
    corpora.read_corpus(corpus, ["labelled"], "finetune")
    columns = ["id", "tokens", "tags"]
    chosen = choose(corpus, split, limit, salt)
    tokens, tags = [], []
    for row in tables.iter_rows(corpus, split, columns):
        if chosen is not None and row["id"] not in chosen:
            continue
        if len(row["tokens"]) != len(row["tags"]) or not all(row["tags"]):
            raise ArtifactError(
                f"the sentence {row['id']} has {len(row['tokens'])} words and"
                f" {sum(map(bool, row['tags']))} tags",
                f"split {split} of {corpus}",
                "give every word one tag",
            )
        if row["tokens"]:
            tokens.append(row["tokens"])
            tags.append(row["tags"])
    if not tokens:
        raise ArtifactError(
            f"the split {split} holds no labelled sentence",
            str(corpus),
            "give the corpus labelled sentences, and each split a share of them",
        )
    return Sentences(tokens, tags)


def choose(corpus: Path, split: str, limit: int, salt: str) -> set[str] | None:
    """Return the ids of `limit` rows of a split, chosen by the hash of salt and id; None is all."""
    if not limit:
        return None
    ids = [row["id"] for row in tables.iter_rows(corpus, split, ["id"])]
    order = sorted(ids, key=lambda name: hashlib.sha256(f"{salt}:{name}".encode()).digest())
    return set(order[:limit])


def known_labels(train: Sentences, where: Path) -> list[str]:
    """Return the labels that training shows, sorted; fewer than two cannot be told apart."""
    if len(train.labels) < 2:
        raise ArtifactError(
            f"the training sentences have {len(train.labels)} label: {', '.join(train.labels)}",
            str(where),
            "give the corpus sentences with at least two different labels",
        )
    return train.labels


def unseen(valid: Sentences, labels: list[str]) -> dict[str, int]:
    """Return how often validation shows each label that training does not (always errors)."""
    counts = Counter(tag for row in valid.tags for tag in row if tag not in labels)
    return dict(sorted(counts.items()))
