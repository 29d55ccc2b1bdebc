"""Which reader reads which format."""

from __future__ import annotations

from stages.acquire.readers import (
    arrow,
    catalogues,
    html,
    jsonlines,
    leipzig,
    mediawiki,
    python_source,
    tatoeba,
    treebank,
    warc,
)
from stages.acquire.readers.batches import Reader

READERS: dict[str, Reader] = {
    "arrow": arrow.READER,
    "conllu": treebank.READER,
    "gettext": catalogues.READER,
    "html": html.READER,
    "jsonl": jsonlines.READER,
    "leipzig": leipzig.READER,
    "mediawiki": mediawiki.READER,
    "python": python_source.READER,
    "tatoeba": tatoeba.READER,
    "warc": warc.READER,
}
