"""Data sets in the layout of the Hugging Face hub, streamed row by row into JSON lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.acquire.sources import HubSource
from stages.core.errors import SourceError
from stages.core.log import Log
from stages.lm.streams import LineShards
from stages.lm.writing import told_plainly

_COMMIT = re.compile(r"[0-9a-f]{40}")


def check(source: HubSource) -> None:
    """Refuse a remote repository whose revision may move."""
    if source.repo is None:
        return
    fixed = source.revision is not None and _COMMIT.fullmatch(source.revision)
    if not fixed and not source.moving_revision:
        raise SourceError(
            f"the revision {source.revision!r} is not a commit of 40 hex digits",
            f"acquire: source.revision of {source.repo}",
            "name the commit, or set `moving_revision: true` if you mean what is newest",
        )


def stream(source: HubSource, folder: Path, target: Path, log: Log) -> int:
    """Write the splits to `<split>-00000.jsonl.zst`; return the number of rows."""
    check(source)
    rows = 0
    for split in source.splits:
        with told_plainly(target), LineShards(target, split) as shards:
            for row in _rows(source, folder, split, log):
                if source.max_rows is not None and shards.rows >= source.max_rows:
                    break
                shards.add(_plain(row, source))
                log.progress(shards.rows, source.max_rows, f"rows of {split}")
        if not shards.rows:
            raise SourceError(
                f"the split {split!r} is empty", source.repo or str(folder), "name another split"
            )
        rows += shards.rows
    return rows


def _rows(source: HubSource, folder: Path, split: str, log: Log) -> Iterator[Mapping[str, Any]]:
    """Open one split as a stream; the cache goes to scratch, and a folder needs no network."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1" if source.repo is None else "0"
    import datasets

    place = source.repo or str(folder)
    try:
        opened = datasets.load_dataset(
            place,
            source.config,
            split=split,
            revision=source.revision if source.repo else None,
            streaming=True,
            cache_dir=str(log.scratch / "hub"),
        )
        for row in opened:
            yield {str(name): value for name, value in row.items()}
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"the split {split!r} of the data set cannot be read: "
            f"{type(error).__name__}: {str(error):.200}",
            place,
            "check repo, revision, config and splits, and the network",
        ) from error


def _plain(row: Mapping[str, Any], source: HubSource) -> dict[str, Any]:
    if not source.columns:
        return dict(row)
    lacking = [name for name in source.columns if name not in row]
    if lacking:
        raise SourceError(
            f"no column {', '.join(lacking)}",
            source.repo or "acquire: source.columns",
            f"name some of its columns: {', '.join(row)}",
        )
    return {name: row[name] for name in source.columns}
