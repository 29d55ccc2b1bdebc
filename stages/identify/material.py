"""Labelled texts out of raw folders, cut into pieces that are counted once."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.identify.stage import LABEL, IdentifyParams
from stages.lm.records import Document, Labelled, RawFile, raw_files, read_file

PREFIX = re.compile(r"\s*__label__(\S+)[ \t]*")
NONE = "none"
FIELDED = ("jsonl", "parquet", "tsv")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass
class Pieces:
    """Different pieces of text by label, in the order of their hashes.

    Only those of the smallest hashes are kept, twice as many as are needed at most. `read` counts
    all pieces of each label; `ambiguous` texts stand under several labels and are
    taken out.
    """

    of: dict[str, dict[int, str]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    ambiguous: int = 0

    def settle(self) -> None:
        """Take out what stands under several labels, and sort the rest."""
        seen: set[int] = set()
        twice: set[int] = set()
        for found in self.of.values():
            twice |= seen & found.keys()
            seen |= found.keys()
        self.ambiguous = len(twice)
        self.of = {
            label: {value: found[value] for value in sorted(found.keys() - twice)}
            for label, found in sorted(self.of.items())
        }


def read(params: IdentifyParams, folders: Sequence[Path]) -> Pieces:
    """Return the pieces of all labelled texts of some raw folders."""
    pieces, room = Pieces(), params.max_pieces + params.max_held_out
    for folder in folders:
        for label, text in labelled(params, folder):
            if params.labels and label not in params.labels:
                continue
            found = pieces.of.setdefault(label, {})
            for piece in cut(text, params.piece_characters):
                pieces.read[label] = pieces.read.get(label, 0) + 1
                found[valued(piece, params.seed)] = piece
            if len(found) > 2 * room:
                pieces.of[label] = {value: found[value] for value in sorted(found)[:room]}
    pieces.settle()
    return pieces


def valued(text: str, seed: int) -> int:
    """Return a number below 2^64 that decides whether and when a piece is drawn."""
    data = f"{seed}\n{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def cut(text: str, most: int) -> Iterator[str]:
    """Yield the pieces of a text that have a letter: its lines, cut at blanks where they are long.

    A run without blanks is cut where it is too long.
    """
    for line in text.splitlines():
        rest = line.strip()
        while rest:
            stop = len(rest)
            if stop > most:
                stop = rest.rfind(" ", 1, most + 1)
                stop = stop if stop > 0 else most
            piece, rest = rest[:stop].strip(), rest[stop:].strip()
            if _LETTER.search(piece):
                yield piece


def labelled(params: IdentifyParams, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every text of a raw folder with its label."""
    files = [file for file in raw_files(folder) if file.kind in ("documents", "labelled")]
    if not files:
        raise ArtifactError(
            "the raw folder holds no texts", str(folder),
            "name another raw entry, or set `reading: {yields: documents}` in its source",
        )  # fmt: skip
    if params.label == "field":
        fielded = [one for one in files if one.format in FIELDED and one.kind == "documents"]
        if not fielded:
            raise ArtifactError(
                f"{files[0].source} ({files[0].format}) has no field {params.label_field!r}",
                str(files[0].path),
                "set `label` to path or prefix, or give JSON lines, Parquet or a table",
            )
        files = fielded  # others of the folder, such as treebanks of the same texts, say nothing
    for file in files:
        yield from _of_file(params, file)


def _of_file(params: IdentifyParams, file: RawFile) -> Iterator[tuple[str, str]]:
    if params.label == "field":
        yield from _by_field(params, file)
        return
    for record in read_file(file):
        text = _text(record)
        if params.label == "prefix":
            head = PREFIX.match(text)
            if head is None:
                raise ArtifactError(
                    f"the text {text[:40]!r} begins with no __label__",
                    f"{file.path}: {getattr(record, 'id', '')}",
                    "write `__label__eo La teksto`, or set `label` to path or field",
                )
            yield _checked(head[1], str(file.path)), text[head.end() :]
        else:
            label = by_path(params, record.source, file.path)
            if label != NONE:
                yield label, text


def _by_field(params: IdentifyParams, file: RawFile) -> Iterator[tuple[str, str]]:
    """Read a file twice side by side: its texts, and its labels as if they were the texts."""
    other = replace(file, reading=file.reading.model_copy(update={"text": params.label_field}))
    for record, said in zip(read_file(file), read_file(other), strict=True):
        yield _checked(_text(said), f"{file.path}: {getattr(record, 'id', '')}"), _text(record)


def _text(record: object) -> str:
    if isinstance(record, Labelled):
        return record.text if record.text is not None else " ".join(record.tokens)
    assert isinstance(record, Document)
    return record.text


def by_path(params: IdentifyParams, source: str, path: Path) -> str:
    """Return the label of a file by its path."""
    for pattern, label in params.paths.items():
        if fnmatch.fnmatchcase(source, pattern):
            return label
    if "/" not in source:
        raise ArtifactError(
            f"the path {source} tells no label: no glob of `paths` matches, and it has no folder",
            str(path),
            "put the file in a folder of its label's name, or name it in identify: paths",
        )
    return _checked(source.split("/")[0], str(path))


def _checked(label: str, place: str) -> str:
    if len(label) > 40 or not LABEL.fullmatch(label):
        raise ArtifactError(
            f"{label[:60]!r} is no label: letters, digits, `_` and `-`, at most 40",
            place,
            "write a code such as eo, eng_Latn or pt-BR",
        )
    return label
