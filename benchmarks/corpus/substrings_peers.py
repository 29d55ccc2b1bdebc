"""Exact substrings by a suffix array (pydivsufsort) and its common prefixes.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.corpus.rounds import memory_begins, resident_kb, serve


def spans(documents: bytearray, ends: Any, least: int) -> Any:
    """Return rows (begin, end): maximal spans that stand twice, places without the separators.

    `documents` has a zero byte, which no document holds, behind each; `ends` are their places. Two
    matching suffixes meet their separators together, so a match is cut at one's own.
    """
    from pydivsufsort import divsufsort, kasai

    text = np.frombuffer(documents, np.uint8)
    order = divsufsort(text)
    shared = kasai(text, order)
    size = np.zeros(len(text), shared.dtype)
    size[order[:-1]] = shared[:-1]
    size[order[1:]] = np.maximum(size[order[1:]], shared[:-1])
    del order, shared
    places = np.flatnonzero(size >= least)
    number = np.searchsorted(ends, places)
    stops = np.minimum(places + size[places], ends[number])
    whole = stops - places >= least
    places, stops, number = places[whole], stops[whole], number[whole]
    reached = np.maximum.accumulate(np.concatenate([[-1], stops[:-1]])) if len(stops) else stops
    new = stops > reached
    return np.stack([places[new] - number[new], stops[new] - number[new]], 1)


def suffix_array(path: str, least: int) -> Iterator[Any]:
    """List the spans of a text."""
    import pyarrow as pa

    texts = pa.ipc.open_file(pa.memory_map(path)).read_all()["text"].to_pylist()
    encoded = [text.encode() for text in texts]
    del texts
    ends = np.cumsum([len(one) + 1 for one in encoded]) - 1
    documents = bytearray(b"\0").join([*encoded, b""])
    del encoded
    start = memory_begins()
    yield None
    found = spans(documents, ends, least)
    peak = resident_kb("VmHWM")
    digest = hashlib.sha256(np.ascontiguousarray(found, np.int64).tobytes()).hexdigest()
    yield {"spans": len(found), "sha256": digest, "start_kb": start, "peak_kb": peak}


if __name__ == "__main__":
    serve({"suffix array": suffix_array})
