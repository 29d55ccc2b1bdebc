"""Which reader reads which format."""

from __future__ import annotations

from stages.acquire.readers import (
    html,
    jsonlines,
    leipzig,
    mediawiki,
    treebank,
    warc,
)
from stages.acquire.readers.batches import Reader

READERS: dict[str, Reader] = {
    "conllu": treebank.READER,
    "html": html.READER,
    "jsonl": jsonlines.READER,
    "leipzig": leipzig.READER,
    "mediawiki": mediawiki.READER,
    "warc": warc.READER,
}
