"""CoNLL-U: labelled sentences, their texts, or pairs with the translation in a comment.

A sentence that is malformed is lost with its reason, and the next one is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from stages.acquire.formats import ConlluFormat
from stages.acquire.readers.batches import Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import Lines
from stages.core.errors import ArtifactError
from stages.lm.conll import Sentence, take_word


def _columns(settings: ConlluFormat) -> list[pa.Field]:
    document = [] if settings.yields == "labelled" else [pa.field("document", pa.string())]
    return [pa.field("sentence", pa.string()), *document]


def _read(source: Input, settings: ConlluFormat, place: Place) -> Iterator[Item]:
    block: list[tuple[int, str | tuple[str, str]]] = []
    document: str | None = None
    size = 0
    at = Place()
    # Always from the start: which document goes on is told by comments far above.
    for at, line in Lines(source, settings.encoding, Place()):
        if line and not (isinstance(line, str) and not line.strip()):
            size += len(line)
            if size > source.bounds.record_bytes:
                block = [(at.number, ("too_long", f"a sentence of {size} characters or more"))]
            else:
                block.append((at.number, line))
        elif block:
            document, row = _sentence(source, settings, block, document)
            if at.number > place.number:
                yield Item(row, at)
            block, size = [], 0
    if block and at.number > place.number:
        yield Item(_sentence(source, settings, block, document)[1], at)


def _sentence(
    source: Input,
    settings: ConlluFormat,
    block: list[tuple[int, str | tuple[str, str]]],
    document: str | None,
) -> tuple[str | None, dict[str, Any] | Loss]:
    """Return the document that goes on, and the sentence's row or the reason it is lost."""
    identity = source.id(block[0][0])
    sentence = Sentence(block[0][0])
    loss: Loss | None = None
    for number, line in block:
        if isinstance(line, tuple):
            loss = loss or Loss(identity, line[0], f"line {number}: {line[1]}")
        elif line.startswith("#"):
            name, _, value = line[1:].partition("=")
            sentence.names[name.strip()] = value.strip()
            if name.strip() in ("newdoc id", "newdoc"):
                document = value.strip() or None
        elif loss is None:
            try:
                take_word(source.path, number, line, sentence, 4 if settings.tags == "xpos" else 3)
            except ArtifactError as error:
                loss = Loss(identity, "malformed", clipped(error.what))
    if loss is None and not sentence.tokens:
        loss = Loss(identity, "no_words", clipped(sentence.names.get("text", "")))
    return document, loss or _row(identity, settings, sentence, document)


def _row(
    identity: str, settings: ConlluFormat, sentence: Sentence, document: str | None
) -> dict[str, Any] | Loss:
    text = sentence.names.get("text") or " ".join(sentence.tokens)
    row: dict[str, Any] = {
        "id": identity,
        "sentence": sentence.names.get("sent_id"),
        "document": sentence.names.get("doc_id", document),
    }
    if settings.yields == "documents":
        return row | {"text": text}
    if settings.yields == "labelled":
        given = {name: getattr(sentence, name) for name in ("tokens", "tags", "lemmas", "feats")}
        return row | {"text": text} | given
    other = sentence.names.get(settings.translation)
    if not other:
        return Loss(identity, "no_translation", f"no comment {settings.translation}")
    return row | {"source_text": text, "target_text": other}


READER = Reader(kind=lambda settings: settings.yields, columns=_columns, read=_read)
