"""The `report` stage: one HTML page and a card for every model, drawn from tracked files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.core.declare import Params, stage
from stages.core.log import Log

SECTIONS = (
    "acquire",
    "identify",
    "refine",
    "label",
    "tokenizer",
    "encode",
    "pretrain",
    "finetune",
    "port",
    "export",
    "evaluate",
    "benchmark",
    "report",
)


class ReportParams(Params):
    """What the page is called and how much of it is samples."""

    title: str = ""
    """Heading of the page; empty: the entry's name, where no other entry has the same values."""
    samples: int = Field(6, ge=0)
    """Samples shown of each evaluation."""
    words: int = Field(24, ge=0)
    """Most frequent words shown of each corpus."""


@stage(
    version=1,
    sections=SECTIONS,
    reads={
        "raw": "data/raw",
        "corpora": "data/corpora",
        "identifiers": "models/identifiers",
        "tokenizers": "models/tokenizers",
        "tokens": "data/tokens",
        "pretrained": "models/pretrained",
        "finetuned": "models/finetuned",
        "ported": "models/ported",
        "exported": "models/exported",
        "evaluations": "reports/evaluate",
        "benchmarks": "reports/benchmark",
        "texts": "docs/cards",
    },
    writes={"page": "reports/pages/${key}"},
    assets=("stages/report/style.css",),
    machine_bound="it shows times that the benchmark took on this machine",
)
def report(
    params: ReportParams,
    entries: Mapping[str, Mapping[str, Mapping[str, Any]]],
    raw: Path,
    corpora: Path,
    identifiers: Path,
    tokenizers: Path,
    tokens: Path,
    pretrained: Path,
    finetuned: Path,
    ported: Path,
    exported: Path,
    evaluations: Path,
    benchmarks: Path,
    texts: Path,
    page: Path,
    log: Log,
) -> None:
    """Draw one self-contained page and the model cards from what the entries made."""
    from stages.report import cards
    from stages.report import page as pages
    from stages.report.sources import Sources

    folders = {
        "acquire": raw,
        "refine": corpora,
        "label": corpora,
        "identify": identifiers,
        "tokenizer": tokenizers,
        "encode": tokens,
        "pretrain": pretrained,
        "finetune": finetuned,
        "port": ported,
        "export": exported,
        "evaluate": evaluations,
        "benchmark": benchmarks,
    }
    sources = Sources(entries, folders)
    made = pages.render(params, _key(params, entries), sources)
    (page / "cards").mkdir(parents=True)
    (page / "index.html").write_text(made, encoding="utf-8")
    written = cards.write(page / "cards", sources, texts)
    log.metric("files_read", len(sources.files))
    log.metric("page_bytes", len(made.encode("utf-8")))
    log.metric("cards_written", written)


def _key(params: ReportParams, entries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return this entry's name: that of the entry with its values; empty where two have them."""
    own = params.model_dump(mode="json")
    found = [key for key, values in entries.get("report", {}).items() if dict(values) == own]
    return found[0] if len(found) == 1 else ""
