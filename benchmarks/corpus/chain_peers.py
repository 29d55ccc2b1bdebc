"""The whole chain by the peers: datatrove, tokenizers, and two maps of datasets.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.corpus.rounds import serve

NGRAM, BANDS, ROWS = 5, 14, 8
END = "<|endoftext|>"
THREADS = int(os.environ.get("RAYON_NUM_THREADS", "1"))
if THREADS > 1:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"


@contextmanager
def phase(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Enter what a part of the chain took, its ended children counted."""
    cpu, wall = _cpu(), time.perf_counter()
    yield
    found[name] = {"cpu_s": _cpu() - cpu, "wall_s": time.perf_counter() - wall}


def _cpu() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(one)[:2]) for one in who)


def peers(raw: str, out: str, vocab: int, length: int, stop_words: Sequence[str]) -> Iterator[Any]:
    """Parquet to a packed set as each peer's documentation does its part."""
    import datasets
    from transformers import AutoTokenizer

    root, found = Path(out) / f"peers-{THREADS}", dict[str, Any]()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    datasets.disable_progress_bars()
    _ready()
    yield None
    with phase("rules", found):
        _run(root, "rules", [_reader(raw), *_filters(stop_words), _writer(root / "ruled")])
    with phase("near duplicates", found):
        _near_duplicates(root)
    with phase("tokenizer", found):
        _learn(root, vocab)
    with phase("encode", found):
        tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer", model_max_length=10**9)
        files = [str(path) for path in sorted((root / "kept").glob("*.jsonl.gz"))]
        dataset = datasets.load_dataset(
            "json", data_files=files, split="train", cache_dir=str(root / "cache")
        )
        given: dict[str, Any] = {"batched": True, "remove_columns": dataset.column_names}
        if THREADS > 1:
            given["num_proc"] = THREADS
        tokens = dataset.map(
            lambda rows: tokenizer(rows["text"]), cache_file_name=str(root / "tokens.arrow"),
            **given,
        )  # fmt: skip
    with phase("pack", found):
        given.pop("remove_columns")
        packed = tokens.map(_grouping(length), cache_file_name=str(root / "packed.arrow"), **given)
    yield {"phases": found, "documents": len(tokens), "rows": len(packed),
           "tokens": length * len(packed)}  # fmt: skip


def _ready() -> None:
    """Have the models of datatrove's word and sentence splitters loaded, as a long run has."""
    from datatrove.utils.word_tokenizers import load_word_tokenizer
    from loguru import logger

    logger.remove()
    logging.disable(logging.WARNING)
    known = load_word_tokenizer("eng")
    known.word_tokenize("Loads its model once.")
    known.sent_tokenize("Loads its model once.")


def _run(root: Path, name: str, steps: list[Any], tasks: int = THREADS) -> None:
    from datatrove.executor import LocalPipelineExecutor

    LocalPipelineExecutor(
        steps, tasks=tasks, workers=THREADS, logging_dir=str(root / "logs" / name),
        start_method="fork",
    ).run()  # fmt: skip


def _reader(raw: str) -> Any:
    from datatrove.pipeline.readers import ParquetReader

    return ParquetReader(raw, glob_pattern="*.parquet")


def _lines(folder: Path) -> Any:
    from datatrove.pipeline.readers import JsonlReader

    return JsonlReader(str(folder))


def _writer(folder: Path) -> Any:
    from datatrove.pipeline.writers import JsonlWriter

    return JsonlWriter(str(folder))


def _filters(stop_words: Sequence[str]) -> list[Any]:
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    return [
        GopherRepetitionFilter(),
        GopherQualityFilter(stop_words=list(stop_words)),
        C4QualityFilter(),
        FineWebQualityFilter(),
    ]


def _near_duplicates(root: Path) -> None:
    """Run datatrove's four stages: signatures, buckets, clusters, filter."""
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS,
        hash_config=HashConfig(precision=32),
    )  # fmt: skip
    ruled, signed, bucketed, gone = (
        str(root / name) for name in ("ruled", "signatures", "buckets", "remove")
    )
    _run(root, "signatures", [_lines(Path(ruled)), MinhashDedupSignature(signed, config)])
    _run(root, "buckets", [MinhashDedupBuckets(signed, bucketed, config=config)], BANDS)
    _run(root, "clusters", [MinhashDedupCluster(bucketed, gone, config)], 1)
    steps = [_lines(Path(ruled)), MinhashDedupFilter(gone), _writer(root / "kept")]
    _run(root, "filter", steps)


def _learn(root: Path, vocab: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=2, show_progress=False, special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(_batches(root / "kept"), trainer)
    (root / "tokenizer").mkdir()
    made.save(str(root / "tokenizer" / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END}
    (root / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))


def _batches(folder: Path) -> Iterator[list[str]]:
    texts = (row["text"] for row in _rows(folder))
    while batch := list(itertools.islice(texts, 1000)):
        yield batch


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _grouping(length: int) -> Any:
    def group(examples: dict[str, Any]) -> dict[str, Any]:
        joined = {name: list(itertools.chain(*lists)) for name, lists in examples.items()}
        total = len(joined["input_ids"]) // length * length
        made = {
            name: [ids[at : at + length] for at in range(0, total, length)]
            for name, ids in joined.items()
        }
        made["labels"] = made["input_ids"].copy()
        return made

    return group


def decisions(out: str) -> Iterator[Any]:
    """Return the ids that passed the rules, and those left of duplicates, of the last call."""
    yield None
    root = Path(out) / f"peers-{THREADS}"
    names = {"rules": "ruled", "near duplicates": "kept"}
    yield {name: [row["id"] for row in _rows(root / folder)] for name, folder in names.items()}


if __name__ == "__main__":
    serve({"peers": peers, "decisions": decisions})
