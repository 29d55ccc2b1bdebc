"""Which reader reads which format."""

from __future__ import annotations

from stages.acquire.readers import (
    jsonlines,
    leipzig,
    mediawiki,
    treebank,
)
from stages.acquire.readers.batches import Reader

READERS: dict[str, Reader] = {
    "conllu": treebank.READER,
    "jsonl": jsonlines.READER,
    "leipzig": leipzig.READER,
    "mediawiki": mediawiki.READER,
}
