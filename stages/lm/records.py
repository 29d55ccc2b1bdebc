"""Records out of raw files: documents, labelled sentences, pairs of texts.

A raw folder (`data/raw/<key>`, made by the stage `acquire`) says in its manifest how each file is
read; `raw_documents`, `raw_labelled` and `raw_pairs` follow it. Everything streams: one record, one
buffer or one row group is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.core.errors import ArtifactError
from stages.lm import fields, streams
from stages.lm.conll import read_columns, read_conllu
from stages.lm.dumps import join_tatoeba, read_mediawiki, read_numbered, read_tatoeba
from stages.lm.reading import PROVENANCE, Document, Kind, Labelled, Pair, Reading, format_of

__all__ = [
    "Document",
    "Labelled",
    "Pair",
    "RawFile",
    "Reading",
    "format_of",
    "raw_documents",
    "raw_files",
    "raw_labelled",
    "raw_manifest",
    "raw_pairs",
    "read_file",
    "read_pair_files",
]

Record = Document | Labelled | Pair
_NAMED = {"documents": "documents", "labelled": "labelled sentences", "pairs": "pairs of texts"}


@dataclass(frozen=True)
class RawFile:
    """One row of a raw folder's manifest.

    `partners` are files that are read together with this one: the target side of parallel lines,
    or the two sentence files that a Tatoeba links file joins. They yield nothing by themselves.
    """

    path: Path
    source: str
    format: str
    reading: Reading
    partners: tuple[Path, ...] = ()
    silent: bool = False

    @property
    def kind(self) -> Kind:
        """Kind of record that the file yields."""
        return "nothing" if self.silent else self.reading.kind(self.format)


def raw_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a raw folder."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArtifactError(
            "no manifest.json in the raw folder", str(folder), "make it with the stage acquire"
        )
    try:
        manifest = json.loads(path.read_text("utf-8"))
        rows = manifest["files"]
        named = all(isinstance(row["path"], str) for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"manifest.json cannot be read ({error})", str(path), "make the folder again"
        ) from error
    if not named:
        raise ArtifactError(
            "a path in manifest.json is not a text", str(path), "make the folder again"
        )
    return manifest


def raw_files(folder: Path) -> list[RawFile]:
    """Return the files of a raw folder in the manifest's order, with how to read each."""
    found = []
    for row in raw_manifest(folder)["files"]:
        try:
            reading = Reading(**row.get("reading", {}))
        except ValidationError as error:
            raise ArtifactError(
                f"the reading of {row['path']} is not valid ({error.errors()[0]['msg']})",
                str(folder / "manifest.json"),
                "make the folder again",
            ) from error
        source = row["path"].removeprefix("files/")
        if row.get("encoding"):
            reading = reading.model_copy(update={"encoding": row["encoding"]})
        found.append(
            RawFile(
                path=folder / row["path"],
                source=source,
                format=row.get("format") or format_of(source, reading),
                reading=reading,
                partners=tuple(folder / name for name in row.get("partners", [])),
                silent=bool(row.get("partner_of")),
            )
        )
    return found


def raw_documents(folder: Path) -> Iterator[Document]:
    """Yield every text of a raw folder, in the order of its manifest."""
    yield from _raw(folder, "documents")  # type: ignore[misc]


def raw_labelled(folder: Path) -> Iterator[Labelled]:
    """Yield every labelled sentence of a raw folder, in the order of its manifest."""
    yield from _raw(folder, "labelled")  # type: ignore[misc]


def raw_pairs(folder: Path) -> Iterator[Pair]:
    """Yield every pair of texts of a raw folder, in the order of its manifest."""
    yield from _raw(folder, "pairs")  # type: ignore[misc]


def _raw(folder: Path, kind: Kind) -> Iterator[Record]:
    files = raw_files(folder)
    chosen = [file for file in files if file.kind == kind]
    if not chosen:
        held = sorted({_NAMED[file.kind] for file in files if file.kind != "nothing"})
        raise ArtifactError(
            f"the raw folder holds no {_NAMED[kind]}, only {', '.join(held) or 'other files'}",
            str(folder),
            "name another raw entry, or set `reading: {yields: ...}` in its source",
        )
    for file in chosen:
        yield from read_file(file)


def read_file(file: RawFile) -> Iterator[Record]:
    """Yield the records of one file."""
    if file.format == "parallel":
        yield from read_pair_files(file)
    elif file.format == "tatoeba" and file.partners:
        sources, targets = file.partners
        yield from join_tatoeba(file.path, sources, targets, file.source, file.reading)
    elif file.format in ("jsonl", "parquet", "tsv"):
        yield from _fields(file)
    elif file.format != "binary":
        reader: Callable[..., Iterator[Any]] = {
            "text": _read_text,
            "numbered": read_numbered,
            "tatoeba": read_tatoeba,
            "mediawiki": read_mediawiki,
            "conllu": read_conllu,
            "conll": read_columns,
        }[file.format]
        records: Iterator[Record] = reader(file.path, file.source, file.reading)
        yield from _as_documents(records) if file.kind == "documents" else records


def _as_documents(records: Iterator[Record]) -> Iterator[Record]:
    """Turn labelled sentences into texts where the reading asks for documents."""
    for record in records:
        if isinstance(record, Labelled):
            text = record.text if record.text is not None else " ".join(record.tokens)
            yield Document(record.id, text, record.source)
        else:
            yield record


def _read_text(path: Path, source: str, reading: Reading) -> Iterator[Document]:
    if reading.documents == "file":
        yield Document(source, streams.whole_text(path, reading.encoding), source)
        return
    held: list[str] = []
    start = size = 0
    for number, line in streams.text_lines(path, reading.encoding):
        if reading.documents == "line":
            if line.strip():
                yield Document(f"{source}:{number}", line, source)
            continue
        if line.strip():
            start = start or number
            size += len(line)
            if size > streams.LINE_CHARACTERS:
                raise streams.too_long(path, f"the paragraph at line {start}")
            held.append(line)
        elif held:
            yield Document(f"{source}:{start}", "\n".join(held), source)
            held, start, size = [], 0, 0
    if held:
        yield Document(f"{source}:{start}", "\n".join(held), source)


def read_pair_files(file: RawFile) -> Iterator[Pair]:
    """Yield the pairs of two files whose lines translate each other, one by one."""
    if len(file.partners) != 1:
        raise ArtifactError(
            f"the parallel file {file.path.name} has {len(file.partners)} partners",
            str(file.path),
            "name its other side: `parallel: [{source: '*.eng.gz', target: '*.epo.gz'}]`",
        )
    other = file.partners[0]
    left = streams.text_lines(file.path, file.reading.encoding)
    right = streams.text_lines(other, file.reading.encoding)
    for first, second in zip_longest(left, right):
        if first is None or second is None:
            shorter, longer = (file.path, other) if first is None else (other, file.path)
            done = (first or second)[0] - 1
            rest = 1 + sum(1 for _ in (right if first is None else left))
            raise ArtifactError(
                f"{shorter.name} has {done} lines and {longer.name} has {done + rest}",
                str(file.path),
                "parallel files need line for line; repair the pair or leave it out",
            )
        yield Pair(f"{file.source}:{first[0]}", first[1], second[1], file.source)


def _fields(file: RawFile) -> Iterator[Record]:
    if file.format == "parquet":
        rows: Iterator[tuple[int, Mapping[str, Any]]] = _parquet_rows(file)
    elif file.format == "jsonl":
        rows = _json_rows(file)
    else:
        rows = _tab_rows(file)
    reading = file.reading
    for number, row in rows:
        place = f"{file.path}:{number}"
        identity = f"{file.source}:{number}"
        if row.get("id") not in (None, ""):
            identity = fields.whole(str(row["id"]), "id", place)
        said = row.get("source")  # Packed texts and other people's shards remember theirs.
        source = file.source
        if isinstance(said, str) and said:
            source = fields.whole(said, "source", place)
        if file.kind == "documents":
            text = fields.string(row, reading.text, place)
            yield Document(identity, text, source, fields.provenance(row))
        elif file.kind == "pairs":
            sentences = fields.side(row, reading.source_text, place)
            # A line is a sentence: where there are several, none keeps line breaks of its own.
            several = len(sentences) > 1
            document = [" ".join(one.split("\n")) if several else one for one in sentences]
            target, *references = fields.side(row, reading.target_text, place)
            yield Pair(identity, "\n".join(document), target, source, tuple(references))
        else:
            yield _labelled(row, reading, identity, source, place)


def _labelled(
    row: Mapping[str, Any], reading: Reading, identity: str, source: str, place: str
) -> Labelled:
    tokens, tags = (
        fields.strings(row, reading.tokens, place),
        fields.strings(row, reading.tags, place),
    )
    if len(tokens) != len(tags):
        raise ArtifactError(
            f"{len(tokens)} tokens and {len(tags)} tags", place, "give one tag to each token"
        )
    further: dict[str, list[str] | None] = {"lemmas": None, "feats": None}
    for name in further:
        if row.get(name) is not None:
            further[name] = held = fields.strings(row, name, place)
            if len(held) != len(tokens):
                raise ArtifactError(
                    f"{len(tokens)} tokens and {len(held)} {name}",
                    place,
                    f"give one of {name} to each token, or leave the field out",
                )
    return Labelled(
        identity,
        tokens,
        tags,
        further["lemmas"],
        further["feats"],
        source,
        document=fields.perhaps(row, "document", place),
        text=row.get("text") if isinstance(row.get("text"), str) else None,
    )


def _json_rows(file: RawFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    wanted = [name.partition(".")[0] for name in _wanted(file)]
    for number, line in streams.text_lines(file.path, file.reading.encoding):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(
                f"line {number} of {file.path.name} is not JSON ({error})",
                f"{file.path}:{number}",
                "correct the line: one JSON object per line",
            ) from error
        if not isinstance(row, dict):
            raise ArtifactError(
                f"line {number} of {file.path.name} is {type(row).__name__}, not an object",
                f"{file.path}:{number}",
                "write one JSON object per line",
            )
        for name in wanted:
            if line.count(f'"{name}"') > 1:
                _told_once(line, name, f"{file.path}:{number}")
        yield number, row


def _told_once(line: str, name: str, place: str) -> None:
    """Refuse an object that gives a field twice: JSON takes the last, and the first would be lost.

    Whether the quoted name is one, or stands in a text, only a second reading tells.
    """
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = pairs  # The last object that ends is the outermost.

    json.loads(line, object_pairs_hook=keep)
    if sum(key == name for key, _ in outermost) > 1:
        raise ArtifactError(
            f"the field {name!r} stands twice in one record",
            place,
            "leave one of them, or give them different names",
        )


def _wanted(file: RawFile) -> list[str]:
    """Return the fields that a record of the file must have."""
    reading = file.reading
    return {
        "documents": [reading.text],
        "pairs": [reading.source_text, reading.target_text],
        "labelled": [reading.tokens, reading.tags],
    }[file.kind]


def _parquet_rows(file: RawFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from stages.lm import tables

    wanted = _wanted(file)
    columns = [name.partition(".")[0] for name in wanted]
    names = tables.open_parquet(file.path, columns).schema_arrow.names
    kept: tuple[str, ...] = ("id", "source", "lemmas", "feats", "document")
    kept += PROVENANCE if file.kind == "documents" else ()
    extra = [name for name in kept if name in names]
    number = 0
    for batch in tables.iter_file(file.path, list(dict.fromkeys([*columns, *extra]))):
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError as error:
            raise ArtifactError(
                f"a text of {file.path.name} is not UTF-8: byte 0x{error.object[error.start]:02x}",
                f"{file.path}: row {number + 1} or later",
                "write the file again; Parquet texts are UTF-8",
            ) from error
        for row in rows:
            number += 1
            yield number, row


def _tab_rows(file: RawFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield rows without quoting (a quote is a character), under numbers and, if given, names."""
    names: list[str] = []
    width = 0
    for number, line in streams.text_lines(file.path, file.reading.encoding):
        cells = line.split("\t")
        width = width or len(cells)
        if len(cells) != width:
            raise ArtifactError(
                f"line {number} of {file.path.name} has {len(cells)} columns, the file {width}",
                f"{file.path}:{number}",
                "correct the line: the same number of tab-separated columns everywhere",
            )
        if file.reading.header and not names:
            names = cells
            continue
        row = {str(at): cell for at, cell in enumerate(cells)}
        yield number, row | dict(zip(names, cells, strict=False))


def with_reading(file: RawFile, **choices: Any) -> RawFile:
    """Return the file with some choices of its reading replaced."""
    return replace(file, reading=Reading(**{**file.reading.model_dump(), **choices}))
