"""Packing by `datasets.map` twice and loading by a DataLoader, as run_clm and its kin do.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.corpus.rounds import serve


def pack(folder: str, length: int) -> Iterator[Any]:
    """From Parquet: load, tokenise with a map, group with a map, both written, one process."""
    import datasets
    from transformers import AutoTokenizer

    root = Path(folder)
    datasets.disable_progress_bars()
    shutil.rmtree(root / "peer", ignore_errors=True)
    (root / "peer").mkdir()

    def tokenize(examples: dict[str, Any]) -> Any:
        return tokenizer(examples["text"])

    def group(examples: dict[str, Any]) -> dict[str, Any]:
        joined = {name: list(itertools.chain(*lists)) for name, lists in examples.items()}
        total = len(joined["input_ids"]) // length * length
        made = {
            name: [ids[at : at + length] for at in range(0, total, length)]
            for name, ids in joined.items()
        }
        made["labels"] = made["input_ids"].copy()
        return made

    given = [str(path) for path in sorted((root / "corpus").glob("train-*.parquet"))]
    yield None
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer", model_max_length=10**9)
    raw = datasets.load_dataset(
        "parquet", data_files=given, split="train", columns=["text"], cache_dir=str(root / "peer")
    )
    files = [str(root / "peer" / name) for name in ("tokens.arrow", "groups.arrow")]
    tokens = raw.map(tokenize, batched=True, remove_columns=["text"], cache_file_name=files[0])
    grouped = tokens.map(group, batched=True, cache_file_name=files[1])
    yield {"rows": len(grouped), "tokens": length * len(grouped)}


def load(folder: str, length: int, batch: int, tokens: int) -> Iterator[Any]:
    """Iterate a shuffled DataLoader over the grouped set with torch format."""
    import datasets
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    grouped = datasets.Dataset.from_file(str(Path(folder) / "peer" / "groups.arrow"))
    loader = DataLoader(grouped.with_format("torch"), batch_size=batch, shuffle=True)
    yield None
    read = steps = 0
    while read < tokens:
        for found in loader:
            read += found["input_ids"].numel()
            steps += 1
            if read >= tokens:
                break
    yield {"tokens": read, "batches": steps, "length": length}


if __name__ == "__main__":
    serve({"pack": pack, "load": load})
