"""Labelled sentences from CoNLL-U and from column files, as clean or as odd as they come.

CoNLL-U is read strictly (universaldependencies.org/format.html). Column files differ: separators,
width, comments, `-DOCSTART-`, no blank lines at all; what cannot be told is refused by line number
unless the reading says `ragged: repair`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.reading import Labelled, Reading
from stages.lm.streams import text_lines

FIELDS = 10
"""Columns of CoNLL-U."""
STREAM_TOKENS = 250
"""A run of this many tokens without a blank line is an unsplit stream and gets cut."""
_RANGE = re.compile(r"[0-9]+[-.][0-9]+")
_FINAL = frozenset(".!?")


def _malformed(path: Path, number: int, what: str, todo: str) -> ArtifactError:
    return ArtifactError(f"line {number} of {path.name}: {what}", f"{path}:{number}", todo)


class Sentence:
    """The sentence of CoNLL-U that is being read: its words so far and its comments by name."""

    __slots__ = ("feats", "lemmas", "names", "start", "tags", "tokens")

    def __init__(self, start: int) -> None:
        self.start = start
        self.tokens: list[str] = []
        self.tags: list[str] = []
        self.lemmas: list[str] = []
        self.feats: list[str] = []
        self.names: dict[str, str] = {}

    def record(self, source: str, document: str | None) -> Labelled:
        """Return the sentence as a record."""
        return Labelled(
            id=self.names.get("sent_id") or f"{source}:{self.start}",
            tokens=self.tokens,
            tags=self.tags,
            lemmas=self.lemmas,
            feats=self.feats,
            source=source,
            document=self.names.get("doc_id", document),
            text=self.names.get("text"),
        )


def read_conllu(path: Path, source: str, reading: Reading) -> Iterator[Labelled]:
    """Yield the sentences of a CoNLL-U file; multiword ranges and empty nodes are left out."""
    column = 4 if reading.tags == "xpos" else 3
    sentence: Sentence | None = None
    document: str | None = None
    number = 0
    for number, line in text_lines(path, reading.encoding):
        if not line.strip():
            if sentence is not None and sentence.tokens:
                yield sentence.record(source, document)
            elif sentence is not None and "text" in sentence.names:
                raise _malformed(
                    path, number, "a sentence without words", "remove its comments, or add words"
                )
            sentence = None
            continue
        if sentence is None:
            sentence = Sentence(number)
        if line[0] == "#":
            name, _, value = line[1:].partition("=")
            name, value = name.strip(), value.strip()
            sentence.names[name] = value
            if name in ("newdoc id", "newdoc"):
                document = value or None
            continue
        take_word(path, number, line, sentence, column)
    if sentence is not None and sentence.tokens:
        yield sentence.record(source, document)


def take_word(path: Path, number: int, line: str, sentence: Sentence, column: int) -> None:
    """Add the word of a line to a sentence; a malformed line is an ArtifactError."""
    cells = line.split("\t")
    if len(cells) != FIELDS:
        raise _malformed(
            path,
            number,
            f"{len(cells)} columns in {line[:60]!r}, CoNLL-U has {FIELDS} between tabs",
            "correct the line, or declare `reading: {format: conll}` for a column file",
        )
    if cells[0] != str(len(sentence.tokens) + 1):
        if _RANGE.fullmatch(cells[0]):
            return
        raise _malformed(
            path,
            number,
            f"the word number is {cells[0]!r}, expected {len(sentence.tokens) + 1}",
            "number the words of a sentence from 1, with a blank line between sentences",
        )
    if not cells[1] or cells[column] in ("", "_"):
        raise _malformed(
            path,
            number,
            f"the word {cells[1]!r} has the tag {cells[column]!r}",
            "give every word a form and a tag, or choose the other tag column (`tags: xpos`)",
        )
    sentence.tokens.append(cells[1])
    sentence.tags.append(cells[column])
    sentence.lemmas.append(cells[2])
    sentence.feats.append(cells[5])


class _Columns:
    """Tokens and tags of a column file up to the next sentence end."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.document: str | None = None
        self.documents = 0
        self.unsplit = False
        self.rows: list[tuple[int, str, str]] = []

    def cut(self, stop: int) -> Labelled:
        rows, self.rows = self.rows[:stop], self.rows[stop:]
        return Labelled(
            id=f"{self.source}:{rows[0][0]}",
            tokens=[row[1] for row in rows],
            tags=[row[2] for row in rows],
            lemmas=None,
            feats=None,
            source=self.source,
            document=self.document,
        )

    def flush(self) -> Iterator[Labelled]:
        """Give what is held: one sentence, or the end of an unsplit stream."""
        for length in self._ends() if self.unsplit else ():
            yield self.cut(length)
        if self.rows:
            yield self.cut(len(self.rows))
        self.unsplit = False

    def overflow(self) -> Iterator[Labelled]:
        """Cut an unsplit stream at sentence ends, else where no entity is cut, else where it is."""
        self.unsplit = True
        ends = self._ends()
        if not ends:
            free = [at for at in range(1, len(self.rows)) if not self.rows[at][2].startswith("I")]
            ends = [free[-1] if free else len(self.rows)]
        for length in ends:
            yield self.cut(length)

    def _ends(self) -> list[int]:
        """Lengths of the sentences that end for certain: a full stop, then a capital letter."""
        start, ends = 0, []
        for at in range(1, len(self.rows)):
            outside = not self.rows[at][2].startswith(("I-", "E-", "I_"))
            if outside and self.rows[at - 1][1][-1] in _FINAL and self.rows[at][1][0].isupper():
                ends.append(at - start)
                start = at
        return ends

    def new_document(self) -> None:
        self.documents += 1
        self.document = f"{self.source}#{self.documents}"


def read_columns(path: Path, source: str, reading: Reading) -> Iterator[Labelled]:
    """Yield the sentences of a column file: token in one column, tag in another.

    A stream without blank lines is cut at sentence ends into sentences of at most 250 tokens.
    """
    columns = _Columns(source)
    width = 0
    for number, line in text_lines(path, reading.encoding):
        if not line.strip():
            yield from columns.flush()
            continue
        cells = line.split("\t") if "\t" in line and line[:2] != "# " else line.split()
        if line.startswith(("# ", "#\t")) and _is_comment(cells, line, width):
            continue
        if cells[0] == "-DOCSTART-":
            yield from columns.flush()
            columns.new_document()
            continue
        width = width or len(cells)
        token, tag = _token_and_tag(path, number, cells, width, reading)
        columns.rows.append((number, token, tag))
        if len(columns.rows) >= STREAM_TOKENS:
            yield from columns.overflow()
    yield from columns.flush()


def _is_comment(cells: list[str], line: str, width: int) -> bool:
    """Tell `# newdoc ...` from a token that is a hash sign: the latter has the file's width."""
    if width == 0:
        return line[1] == " "
    return len(cells) != width


def _token_and_tag(
    path: Path, number: int, cells: list[str], width: int, reading: Reading
) -> tuple[str, str]:
    needed = max(reading.token_column, reading.tag_column) + 1 if reading.tag_column >= 0 else 2
    if width < needed:
        raise _malformed(
            path,
            number,
            f"{width} column(s), the reading needs {needed}",
            "name the right token_column and tag_column, or another format",
        )
    if len(cells) != width:
        if reading.ragged == "refuse":
            raise _malformed(
                path,
                number,
                f"{len(cells)} column(s) where the file has {width}: {' '.join(cells)[:60]!r}",
                "correct the line, or declare `ragged: repair`",
            )
        if len(cells) == 1:
            return cells[0], "O"
        if width == 2:
            return " ".join(cells[:-1]), cells[-1]
        cells = [*cells, *["O"] * (width - len(cells))][:width]
    token, tag = cells[reading.token_column].strip(), cells[reading.tag_column].strip()
    if not token or not tag:
        raise _malformed(
            path, number, "an empty token or tag", "correct the line, or leave the file out"
        )
    return token, tag
