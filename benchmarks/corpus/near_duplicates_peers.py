"""Near-duplicates by rensa, gaoya and datatrove, from text to the list of what goes.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.corpus.rounds import serve

WORDS = re.compile(r"\w+")
NGRAM = 5


def _texts(path: str, documents: int) -> list[str]:
    import pyarrow as pa

    column = pa.ipc.open_file(pa.memory_map(path)).read_all()["text"]
    return column[: documents or len(column)].to_pylist()


def shingles(text: str) -> list[str]:
    """Return the word 5-grams of a text: what rensa is to be given."""
    words = WORDS.findall(text.lower())
    return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


def rensa(path: str, bands: int, rows: int, documents: int = 0) -> Iterator[Any]:
    """Shingle in Python; one matrix of signatures, one pass for the flags: its fastest way.

    It flags all of a bucket, the first one too, and documents without shingles are all alike to
    it, so these are not asked about.
    """
    from rensa import RMinHash, RMinHashLSH

    texts = _texts(path, documents)
    yield None
    made = [(number, shingles(text)) for number, text in enumerate(texts)]
    made = [(number, one) for number, one in made if one]
    matrix = RMinHash.digest_matrix_from_token_sets(
        [one for _, one in made], num_perm=bands * rows, seed=42
    )
    lsh = RMinHashLSH(threshold=0.7, num_perm=bands * rows, num_bands=bands)
    flags = lsh.query_duplicate_flags_matrix_one_shot(matrix)
    yield [number for (number, _), flag in zip(made, flags, strict=True) if flag]


def gaoya(path: str, bands: int, rows: int, documents: int = 0) -> Iterator[Any]:
    """Insert all, query all, keep the lowest of what is joined: its way for a whole set."""
    from gaoya.minhash import MinHashStringIndex

    texts = _texts(path, documents)
    yield None
    index = MinHashStringIndex(
        32, 0.5, bands, rows, None, "word", True, (NGRAM, NGRAM), id_container="vec"
    )
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    found = index.par_bulk_query(texts)
    parent = list(range(len(texts)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for number, others in enumerate(found):
        for other in others:
            low, high = sorted((root(number), root(other)))
            parent[high] = low
    yield [number for number in range(len(texts)) if root(number) != number]


def datatrove(path: str, bands: int, rows: int, documents: int = 0) -> Iterator[Any]:
    """Run its four stages: signatures, buckets, clusters, filter."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.utils.hashing import HashConfig
    from loguru import logger

    logger.remove()
    logging.disable(logging.WARNING)
    texts = _texts(path, documents)
    config = MinhashConfig(
        n_grams=NGRAM, num_buckets=bands, hashes_per_bucket=rows,
        hash_config=HashConfig(precision=32),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        given = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
        first = MinhashDedupSignature(f"{folder}/signatures", config)
        first.word_tokenizer.word_tokenize("once")  # its model is loaded before
        yield None
        first.run(given)
        for band in range(bands):
            MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(
                None, band, bands
            )
        MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config).run(None, 0, 1)
        left = MinhashDedupFilter(f"{folder}/remove").run(iter(given), 0, 1)
        kept = {int(document.id) for document in left}
        yield [number for number in range(len(texts)) if number not in kept]


if __name__ == "__main__":
    serve({"rensa": rensa, "gaoya": gaoya, "datatrove": datatrove})
