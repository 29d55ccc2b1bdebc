"""Statistics of a corpus: words, lengths, labels, duplicates, Zipf's law, company, topics, oddity.

The families are those of the Data Measurements Tool (huggingface.co/blog/data-measurements-tool),
counted over Arrow buffers after the shards are written. Words are `\\w+` of the lower-cased text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.lm import tables
from stages.lm.kernels import equality
from stages.lm.kernels.vocabulary import Numbered, Vocabulary
from stages.lm.shards import Group
from stages.refine import identities, zipf

TOP_WORDS = 100
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 24
PEEK, PEEK_CHARACTERS = 100, 160
REPEATED = 20
MOST_LISTED = 200_000
"""Words that words.parquet lists, the most frequent ones."""
SAMPLE_WORDS = 2000
"""Words of a sampled document that are looked at, the first ones."""
WORDS = pa.schema([("word", pa.string()), ("count", pa.int64()), ("documents", pa.int64())])
Ints = NDArray[np.int64]


class Measures:
    """Takes a corpus's row groups in order and tells what is in them."""

    def __init__(self, sampled: Ints, threads: int = 1) -> None:
        self.words = Vocabulary()
        self.documents = 0
        self.characters = 0
        self.ids: list[str] = []
        """Ids of the sampled documents."""
        self._sampled, self._threads = sampled, threads
        self._lengths: dict[str, list[Ints]] = {}
        self._keys: list[NDArray[np.uint64]] = []
        self._sample: list[NDArray[np.int32]] = []
        self._labels: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._nulls: Counter[str] = Counter()
        self._empty = 0
        self._peek: list[dict[str, str]] = []
        self._ranked: Ints | None = None

    def add(self, group: Group) -> None:
        """Take a row group."""
        numbered = self.words.add(group.texts)
        self._lengths.setdefault(group.split, []).append(np.diff(numbered.offsets))
        self._keys.append(equality.keys(group.texts, self._threads))
        self._empty += int((np.diff(group.texts.offsets) == 0).sum())
        names = group.rows.schema.names
        for name in names:
            self._nulls[name] += group.rows.column(name).null_count
        if "tags" in names:
            flat = pc.value_counts(pc.list_flatten(group.rows.column("tags")))
            self._labels.update({row["values"]: row["counts"] for row in flat.to_pylist()})
        flat = pc.value_counts(group.rows.column("source"))
        self._sources.update({row["values"] or "": row["counts"] for row in flat.to_pylist()})
        self._take_sample(group, numbered)
        if group.split == "train" and len(self._peek) < PEEK:
            self._peek += _excerpts(group, range(min(PEEK - len(self._peek), group.rows.num_rows)))
        self.characters += group.characters
        self.documents += group.rows.num_rows

    def _take_sample(self, group: Group, numbered: Numbered) -> None:
        first, stop = np.searchsorted(
            self._sampled, [self.documents, self.documents + group.rows.num_rows]
        )
        places = self._sampled[first:stop] - self.documents
        for place in places.tolist():
            begin, end = numbered.offsets[place], numbered.offsets[place + 1]
            self._sample.append(numbered.ids[begin : min(end, begin + SAMPLE_WORDS)])
        self.ids += group.rows.column("id").take(pa.array(places)).to_pylist()

    def sample(self) -> tuple[Ints, Ints]:
        """Return the words of the sampled documents and where each document begins."""
        sizes = [len(one) for one in self._sample]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = np.concatenate(self._sample) if self._sample else np.zeros(0, np.int32)
        return flat.astype(np.int64), offsets

    def as_json(self, duplicates: int, languages: Sequence[str]) -> dict[str, Any]:
        """Return the statistics; `duplicates` is how many documents were dropped as such."""
        every = np.concatenate([np.zeros(0, np.int64), *sum(self._lengths.values(), [])])
        counts = self.words.counts
        order = self.ranked()
        descending = counts[order]
        total = int(counts.sum()) + self.words.others
        top = [self.words.word(number) for number in order[:TOP_WORDS].tolist()]
        law = zipf.zipf(descending)
        found: dict[str, Any] = {
            "documents": self.documents,
            "characters": self.characters,
            "words": total,
            "vocabulary_size": len(counts),
            "words_seen_once": int((counts == 1).sum()),
            "words_past_the_vocabulary": self.words.others,
            "duplicates_dropped": duplicates,
            "length_words": lengths(every),
            "length_words_by_split": {
                split: lengths(np.concatenate(parts)) for split, parts in self._lengths.items()
            },
            "top_words": [
                {"word": word, "count": int(count), "fraction": round(int(count) / total, 6)}
                for word, count in zip(top, descending.tolist(), strict=False)
            ],
            "open_class": self._open(order, set(identities.closed(languages))),
            "zipf": law,
            "columns": {
                "nulls": dict(sorted(self._nulls.items())),
                "empty_texts": self._empty,
            },
            "sources": {name: count for name, count in sorted(self._sources.items())},
            "duplicates": self._repeated(),
        }
        if law:
            law["warnings"] = zipf.warnings(law)
            law["points"] = zipf.points(descending, top, law["rank_exponent_s"])
        if self._labels:
            found["labels"] = _labels(self._labels)
            found["label_balance"] = balance(self._labels)
        return found

    def ranked(self) -> Ints:
        """Return the words' numbers, most frequent first, words of one count by their bytes."""
        if self._ranked is None or len(self._ranked) != len(self.words):
            counts = self.words.counts
            by_word = pc.sort_indices(word_array(self.words)).to_numpy()
            order = by_word[np.argsort(-counts[by_word], kind="stable")]
            self._ranked = order.astype(np.int64)
        return self._ranked

    def peek(self) -> list[dict[str, str]]:
        """Return the beginnings of the first training documents."""
        return self._peek

    def write_words(self, path: Path) -> None:
        """Write the most frequent words with their counts."""
        order = self.ranked()[:MOST_LISTED]
        table = pa.table(
            [
                word_array(self.words).take(pa.array(order)).cast(pa.string()),
                pa.array(self.words.counts[order]),
                pa.array(self.words.holders[order]),
            ],
            schema=WORDS,
        )
        tables.write_table(path, table)

    def _open(self, order: Ints, closed: set[str]) -> dict[str, Any]:
        numbers = {self.words.number(word) for word in closed} - {-1}
        left = order[~np.isin(order, list(numbers))] if numbers else order
        counts = self.words.counts
        return {
            "vocabulary_size": len(left),
            "words": int(counts[left].sum()),
            "top_words": [
                {"word": self.words.word(number), "count": int(counts[number])}
                for number in left[:TOP_WORDS].tolist()
            ],
        }

    def _repeated(self) -> dict[str, Any]:
        """Tell of texts that are equal up to case and blanks; the first copy counts too."""
        keys = np.concatenate([np.zeros((0, 2), np.uint64), *self._keys])
        firsts = equality.firsts_of(keys) if len(keys) else np.zeros(0, np.int64)
        copies = np.bincount(firsts, minlength=len(firsts))
        repeated = np.flatnonzero(copies > 1)
        most = repeated[np.argsort(-copies[repeated], kind="stable")][:REPEATED]
        extra = int((copies[repeated] - 1).sum())
        return {
            "texts": len(repeated),
            "documents": int(copies[repeated].sum()),
            "fraction": round(extra / max(1, len(keys)), 6),
            "most": [{"document": int(at), "copies": int(copies[at])} for at in most],
        }


def word_array(words: Vocabulary) -> pa.Array:
    """Return the words as an Arrow array over the vocabulary's own bytes."""
    held = words.texts()
    data, offsets = np.ascontiguousarray(held.data), np.ascontiguousarray(held.offsets)
    return pa.LargeStringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer(data))


def sampled(documents: int, most: int, seed: int) -> Ints:
    """Return which documents are sampled, ascending: all of them, or a seeded draw."""
    if documents <= most:
        return np.arange(documents)
    return np.sort(np.random.RandomState(seed).permutation(documents)[:most]).astype(np.int64)


def _excerpts(group: Group, places: Sequence[int]) -> list[dict[str, str]]:
    ids = group.rows.column("id").slice(0, max(places, default=-1) + 1).to_pylist()
    found = []
    for place in places:
        text = group.texts.bytes_at(place)[: 4 * PEEK_CHARACTERS].decode("utf-8", "ignore")
        found.append({"id": ids[place], "text": text[:PEEK_CHARACTERS]})
    return found


def _labels(labels: Counter[str]) -> dict[str, Any]:
    total = sum(labels.values())
    return {
        label: {"count": count, "fraction": round(count / total, 6)}
        for label, count in sorted(labels.items())
    }


def balance(labels: Counter[str]) -> dict[str, Any]:
    """Return how even labels are: entropy over that of equal shares, and largest over smallest."""
    counts = np.array(sorted(labels.values()), np.float64)
    share = counts / counts.sum()
    entropy = float(-(share * np.log(share)).sum())
    even = float(np.log(len(counts))) if len(counts) > 1 else 0.0
    return {
        "labels": len(counts),
        "evenness": round(entropy / even, 6) if even else 1.0,
        "largest_to_smallest": round(float(counts[-1] / counts[0]), 4),
    }


def lengths(given: Ints) -> dict[str, Any]:
    """Return mean, deviation, range, quantiles and a histogram of lengths in words."""
    if not len(given):
        return {}
    top = int(np.quantile(given, 0.99, method="lower"))
    width = max(1, -(-(top + 1) // BINS))
    places = np.minimum(given // width, BINS)
    counts = np.bincount(places, minlength=BINS + 1)
    return {
        "mean": round(float(given.mean()), 4),
        "std": round(float(given.std()), 4),
        "median": int(np.quantile(given, 0.5, method="lower")),
        "min": int(given.min()),
        "max": int(given.max()),
        "distinct": len(np.unique(given)),
        "quantiles": {
            f"{share:g}": int(np.quantile(given, share, method="lower")) for share in QUANTILES
        },
        "histogram": [
            {"from": place * width, "documents": int(count)}
            for place, count in enumerate(counts.tolist())
            if count
        ],
    }
