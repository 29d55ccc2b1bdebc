"""Reading a refined corpus: its manifest, its splits, its texts in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm import tables

MANIFEST = "corpus.json"
TEXT_COLUMNS = {"text": "text", "parallel": "target_text"}
"""Which column of a kind of corpus is running text (of parallel corpora: the translation)."""


def read_corpus(folder: Path, kinds: Sequence[str], stage: str) -> dict[str, Any]:
    """Return corpus.json of a corpus whose kind `stage` can use."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = manifest["kind"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"{MANIFEST} cannot be read: {fault}",
            str(folder),
            "run the refine entry that makes this corpus again",
        ) from fault
    if kind not in kinds:
        raise ArtifactError(
            f"the corpus is of the kind {kind!r}",
            str(path),
            f"give {stage} a corpus of the kind {' or '.join(kinds)}",
        )
    return manifest


def documents(folder: Path, split: str, column: str = "text") -> Iterator[tuple[str, str]]:
    """Yield (id, text) of a split in its order, one row group in memory at a time."""
    for batch in tables.iter_batches(folder, split, ["id", column], batch_rows=256):
        ids, texts = batch.column(0).to_pylist(), batch.column(1).to_pylist()
        yield from zip(ids, texts, strict=True)


def grouped(folder: Path, split: str, column: str = "text") -> Iterator[tuple[str, str, str]]:
    """Yield (id, text, group) of a split: the language where the corpus says it, else the source.

    A corpus that has neither column has the one group "".
    """
    for path in tables.shard_paths(folder, split):
        known = tables.open_parquet(path, ["id", column]).schema_arrow.names
        by = next((name for name in ("language", "source") if name in known), None)
        columns = ["id", column, *([by] if by else [])]
        for batch in tables.iter_file(path, columns):
            found = [batch.column(place).to_pylist() for place in range(len(columns))]
            groups = found[2] if by else [""] * len(found[0])
            yield from zip(found[0], found[1], (one or "" for one in groups), strict=True)


def pairs(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield a parallel split's rows: id, source_text, target_text, and `references` where kept.

    `references` lists further texts that the target might have been; null where there are none.
    """
    columns = ["id", "source_text", "target_text"]
    for path in tables.shard_paths(folder, split):
        known = tables.open_parquet(path, columns).schema_arrow.names
        extra = ["references"] if "references" in known else []
        for batch in tables.iter_file(path, [*columns, *extra]):
            yield from batch.to_pylist()


def groups(folder: Path, split: str, column: str = "text") -> Iterator[Callable[[], Any]]:
    """Yield a reader of each row group's texts, as an Arrow array, in order; none is read yet."""
    for path in tables.shard_paths(folder, split):
        source = tables.open_parquet(path, [column])
        for number in range(source.num_row_groups):
            yield partial(_group, source, number, column)


def _group(source: Any, number: int, column: str) -> Any:
    return source.read_row_group(number, [column], use_threads=False)[0]


def arrays(folder: Path, split: str, column: str = "text") -> Iterator[tuple[Any, Any]]:
    """Yield (ids, texts) of every row group of a split as Arrow arrays, in order, one at a time."""
    for path in tables.shard_paths(folder, split):
        source = tables.open_parquet(path, ["id", column])
        for number in range(source.num_row_groups):
            group = source.read_row_group(number, ["id", column], use_threads=False)
            yield group.column("id"), group.column(column)


def split_size(manifest: dict[str, Any], split: str, unit: str = "documents") -> int:
    """Return how many documents, characters or bytes a split has; 0 where it is not listed."""
    return int(manifest["splits"].get(split, {}).get(unit, 0))
