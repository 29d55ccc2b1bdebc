"""Packed rows as records of a fixed length in shards, for trainers that read nothing else.

`records/<split>/dataset-<shard>-<records>.arrow` are streams of Arrow record batches, one each,
whose columns are lists of exactly `sequence_length` numbers: `input_ids` (padded), `attention_mask`
(1 where there is a token), `segment_ids` (a document's part counts from 1 in its row, 0 is padding)
and `position_ids`. How many records there are stands in the files' names and, for all of a split,
in `split-<split>-records-count.txt`, so that nobody opens a file to count. `datasets` and pyarrow
map the files into memory; no token is dropped at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lm.packing import Ints
from stages.lm.tokens import SPLITS, Tokens

FOLDER = "records"


def write_records(tokens: Path, per_shard: int) -> None:
    """Write every split of a folder of tokens as records, `per_shard` to a file."""
    for split in SPLITS:
        opened = Tokens(tokens, split)
        folder = tokens / FOLDER / split
        folder.mkdir(parents=True, exist_ok=True)
        for number, first in enumerate(range(0, opened.rows, per_shard)):
            rows = np.arange(first, min(first + per_shard, opened.rows))
            batch = _batch(opened, rows)
            path = folder / f"dataset-{number:05d}-{len(rows)}.arrow"
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as out:
                out.write_batch(batch)
        told = f"Total {split} records: {opened.rows}\n"
        (tokens / FOLDER / f"split-{split}-records-count.txt").write_text(told, encoding="utf-8")


def _batch(opened: Tokens, rows: Ints) -> pa.RecordBatch:
    found = opened.gather(rows)
    segments = found["segment_ids"]
    columns = {
        "input_ids": found["input_ids"].astype(opened.manifest["dtype"]),
        "attention_mask": (segments > 0).astype(np.uint8),
        "segment_ids": segments.astype(np.uint16),
        "position_ids": found["position_ids"].astype(np.uint16),
    }
    return pa.record_batch({name: _lists(array) for name, array in columns.items()})


def _lists(array: NDArray[np.generic]) -> pa.Array:
    values = pa.array(np.ascontiguousarray(array).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, array.shape[1])
