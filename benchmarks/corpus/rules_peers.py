"""The rules by datatrove: its four filters, each on its own and one behind the other.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from benchmarks.corpus.rounds import serve


def _texts(path: str) -> list[str]:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(path)).read_all()["text"].to_pylist()


def _filters() -> dict[str, Any]:
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter
    from loguru import logger

    logger.remove()
    logging.disable(logging.WARNING)
    return {
        "gopher-repetition": GopherRepetitionFilter(),
        "gopher-quality": GopherQualityFilter(),
        "c4": C4QualityFilter(),
        "fineweb": FineWebQualityFilter(),
        "mc4": C4ParagraphFilter(),
    }


def _ask(one: Any, text: str) -> tuple[str, str]:
    """Return (why a text is dropped, or nothing; the text as it is afterwards)."""
    from datatrove.data import Document

    document = Document(text=text, id="0")
    try:
        found = one.filter(document)
    except ZeroDivisionError:
        return "divided by zero", text
    if found is True:
        return "", document.text
    return (found[1] if isinstance(found, tuple) else "dropped"), document.text


def alone(path: str) -> Iterator[Any]:
    """Ask every filter about every text."""
    texts = _texts(path)
    filters = _filters()
    _ask(filters["c4"], "Loads its model once.")
    yield None
    yield {name: [_ask(one, text)[0] for text in texts] for name, one in filters.items()}


def chain(path: str, sets: list[str], begin: int = 0, stop: int = 0) -> Iterator[Any]:
    """Ask filters in a row, each about what the one before left: why each text is dropped."""
    texts = _texts(path)[begin : stop or None]
    filters = _filters()
    _ask(filters["c4"], "Loads its model once.")
    yield None
    found = []
    for text in texts:
        why = ""
        for name in sets:
            why, text = _ask(filters[name], text)
            if why:
                why = f"{name}/{why}"
                break
        found.append(why)
    yield found


if __name__ == "__main__":
    serve({"alone": alone, "chain": chain})
