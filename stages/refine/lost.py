"""The texts of documents that rules dropped, read again from the raw folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.lm import tables
from stages.lm.kernels.text import Texts, of_strings
from stages.lm.records import raw_documents, raw_labelled, raw_pairs
from stages.refine import filters, layout
from stages.refine.settings import RefineParams

BATCH_CHARACTERS = 4 << 20
PREFIXES = ("", "second/", "third/")


def losses(path: Path) -> dict[str, str]:
    """Return the rule that dropped each document, by id."""
    table = tables.read_table(path, ["id", "rule"])
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))


def lost(
    raw: Sequence[Path], params: RefineParams, rules: dict[str, str]
) -> Iterator[tuple[str, Texts]]:
    """Yield (rule, texts) of dropped documents, as they were when they entered, in batches.

    Pieces of a record (`documents: paragraph`) are cut as they were before the filters.
    """
    held: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for rule, text in _each(raw, params, rules):
        held.setdefault(rule, []).append(text)
        sizes[rule] = sizes.get(rule, 0) + len(text)
        if sizes[rule] >= BATCH_CHARACTERS:
            yield rule, of_strings(held.pop(rule))
            sizes[rule] = 0
    for rule, texts in held.items():
        yield rule, of_strings(texts)


def _each(
    raw: Sequence[Path], params: RefineParams, rules: dict[str, str]
) -> Iterator[tuple[str, str]]:
    for folder, prefix in zip(raw, PREFIXES, strict=False):
        if params.kind == "labelled":
            for sentence in raw_labelled(folder):
                if rule := rules.get(prefix + sentence.id):
                    yield rule, sentence.text or " ".join(sentence.tokens)
        elif params.kind == "parallel":
            for pair in raw_pairs(folder):
                if rule := rules.get(prefix + pair.id):
                    yield rule, f"{pair.source_text}\n{pair.target_text}"
        elif params.documents == "record":
            for document in raw_documents(folder):
                if rule := rules.get(prefix + document.id):
                    yield rule, document.text
        else:
            yield from _pieces(folder, prefix, params, rules)


def _pieces(
    folder: Path, prefix: str, params: RefineParams, rules: dict[str, str]
) -> Iterator[tuple[str, str]]:
    wanted = {name.rsplit("#", 1)[0] for name in rules}
    cut = layout.paragraphs if params.documents == "paragraph" else layout.lines
    steps = [] if params.intact else filters.changes(params.normalise)
    for document in raw_documents(folder):
        name = prefix + document.id
        if name not in wanted:
            continue
        if rule := rules.get(name):
            yield rule, document.text
            continue
        text = document.text
        for _, step in steps:
            text = str(step(text))
        for number, piece in enumerate(cut(text), start=1):
            if rule := rules.get(f"{name}#{number}"):
                yield rule, piece
