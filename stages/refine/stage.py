"""Declaration of the stage `refine`."""

from __future__ import annotations

from pathlib import Path

from stages.core.declare import stage
from stages.core.log import Log
from stages.refine.settings import RefineParams


@stage(
    version=1,
    reads={
        "raw": "data/raw/${item.raw}",
        "second": "data/${item.second}",
        "third": "data/${item.third}",
        "held_out": "data/${item.held_out}",
        "held_out_second": "data/${item.held_out_second}",
        "held_out_third": "data/${item.held_out_third}",
        "held_out_fourth": "data/${item.held_out_fourth}",
        "against": "data/${item.against}",
        "identifier": "models/${item.identifier}",
        "lists": "data/${item.lists}",
    },
    writes={"corpus": "data/corpora/${key}"},
)
def refine(
    params: RefineParams,
    raw: Path,
    second: Path,
    third: Path,
    held_out: Path,
    held_out_second: Path,
    held_out_third: Path,
    held_out_fourth: Path,
    against: Path,
    identifier: Path,
    lists: Path,
    corpus: Path,
    log: Log,
) -> None:
    """Turn raw material into a clean, deduplicated, split and measured corpus."""
    from stages.refine.corpus import make_corpus

    chosen = [raw]
    chosen += [
        folder
        for name, folder in ((params.second, second), (params.third, third))
        if name != "none"
    ]
    sets = [
        (params.held_out, held_out),
        (params.held_out_second, held_out_second),
        (params.held_out_third, held_out_third),
        (params.held_out_fourth, held_out_fourth),
    ]
    make_corpus(
        params,
        chosen,
        [(name, folder) for name, folder in sets if name != "none"],
        against if params.against != "none" else None,
        identifier,
        lists,
        corpus,
        log,
    )
