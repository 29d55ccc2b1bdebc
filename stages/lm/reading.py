"""What a raw file holds and how to read it: the choices, and the three kinds of record."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from stages.core.declare import Params
from stages.core.errors import ArtifactError
from stages.lm.streams import bare_name

Format = Literal[
    "text",
    "numbered",
    "jsonl",
    "parquet",
    "conllu",
    "conll",
    "tsv",
    "parallel",
    "tatoeba",
    "mediawiki",
    "binary",
]
Kind = Literal["documents", "labelled", "pairs", "nothing"]

KINDS: dict[str, Kind] = {
    "text": "documents",
    "numbered": "documents",
    "jsonl": "documents",
    "parquet": "documents",
    "tatoeba": "documents",
    "mediawiki": "documents",
    "conllu": "labelled",
    "conll": "labelled",
    "tsv": "pairs",
    "parallel": "pairs",
    "binary": "nothing",
}
"""What each format yields unless `yields` says otherwise."""

OTHERS: dict[str, tuple[Kind, ...]] = {
    "jsonl": ("labelled", "pairs"),
    "parquet": ("labelled", "pairs"),
    "conllu": ("documents",),
    "conll": ("documents",),
    "tsv": ("documents",),
    "tatoeba": ("pairs",),
}
"""What else `yields` may ask of a format."""

_SUFFIXES: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".py": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conllu": "conllu",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".tsv": "tsv",
}
_NOTATIONS = frozenset(
    {"unicode_escape", "raw_unicode_escape", "punycode", "idna", "undefined", "utf_7"}
)
"""Codecs that spell characters in ASCII, halves of surrogate pairs among them."""
_NAMES: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r".*-pages-(articles|meta).*\.xml"), "mediawiki"),
    (re.compile(r".*-sentences\.txt"), "numbered"),
    (re.compile(r"([a-z]{3}_)?sentences(_detailed)?\.(tsv|csv)"), "tatoeba"),
    (re.compile(r".*\.crp\.txt"), "numbered"),
)


PROVENANCE = (
    "licence", "license", "licenses", "repository", "repo_name", "repo", "author", "user", "url",
    "host",
)  # fmt: skip
"""Fields of a record that say who made a document, where it stood, and under which terms."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text. `source` is the path of its file below the raw folder's `files/`.

    `about` is what its record says of who made it and under which terms: fields of `PROVENANCE`.
    """

    id: str
    text: str
    source: str
    about: tuple[tuple[str, str | tuple[str, ...] | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sentence of tokens with one tag each; `document` groups sentences of one text."""

    id: str
    tokens: list[str]
    tags: list[str]
    lemmas: list[str] | None
    feats: list[str] | None
    source: str
    document: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that translate each other, or a document and its summary.

    `references` are further texts that the target might have been, for evaluation.
    """

    id: str
    source_text: str
    target_text: str
    source: str
    references: tuple[str, ...] = ()


class Reading(Params):
    """How a file's bytes become records."""

    format: Literal["auto"] | Format = "auto"
    """Format of the file; `auto` goes by its name (`binary` is kept and never read)."""
    yields: Literal["auto", "documents", "labelled", "pairs"] = "auto"
    """Kind of record; `auto` goes by format: texts, CoNLL-U and columns, tab-separated pairs."""
    encoding: str = "auto"
    """Encoding of text files; `auto` is UTF-8, or what a byte order mark says."""
    documents: Literal["file", "line", "paragraph"] = "file"
    """What one document of a plain text file is (a paragraph ends at an empty line)."""
    header: bool = False
    """Whether the first line of a tab-separated file names its columns."""
    text: str = "text"
    """Field of a document's text: a name, or the number of a column from 0."""
    source_text: str = "0"
    """Field of a pair's source side: a name, or the number of a column from 0. A list of texts
    (the sentences of a document) becomes one text of as many lines."""
    target_text: str = "1"
    """Field of a pair's target side: a name, or the number of a column from 0. Of a list of texts
    the first is the target and the others are further references for evaluation."""
    tokens: str = "tokens"
    """Field of a labelled sentence's tokens in JSON lines and Parquet."""
    tags: str = "tags"
    """Field of the tags in JSON lines and Parquet; `upos` or `xpos` in CoNLL-U works as well."""
    token_column: int = Field(0, ge=0)
    """Column of the token in column CoNLL, from 0."""
    tag_column: int = -1
    """Column of the tag in column CoNLL, from 0, or -1 for the last."""
    ragged: Literal["refuse", "repair"] = "refuse"
    """What to do with lines of other width in column CoNLL; `repair` joins or tags them `O`."""
    language: str | None = None
    """Language code to keep where a file mixes them (Tatoeba's, for example `epo`); null is all."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "auto":
            try:
                "".encode(value)  # Not every codec is one of text: `base64` is not.
            except (LookupError, TypeError, UnicodeError):
                raise ValueError(f"no encoding is called {value!r}") from None
            if codecs.lookup(value).name.replace("-", "_") in _NOTATIONS:
                raise ValueError(f"the encoding {value!r} is not one of files")
        return value

    def kind(self, format: str) -> Kind:
        """Return the kind of record that a file of the format yields."""
        if self.yields in ("auto", KINDS[format]) or format == "binary":
            return KINDS[format]
        if self.yields not in OTHERS.get(format, ()):
            possible = (KINDS[format], *OTHERS.get(format, ()))
            raise ArtifactError(
                f"a {format} file cannot yield {self.yields}",
                "reading: yields",
                f"set it to {' or '.join(possible)}, or declare the file's format",
            )
        return self.yields


def format_of(name: str, reading: Reading) -> str:
    """Return the declared format, or the one that the file's name tells."""
    if reading.format != "auto":
        return reading.format
    bare = bare_name(Path(name).name).lower()
    for pattern, found in _NAMES:
        if pattern.fullmatch(bare):
            return found
    suffix = Path(bare).suffix
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    raise ArtifactError(
        f"the name {Path(name).name} does not tell its format",
        name,
        "declare it (`reading: {format: text}`), or leave the file out of the patterns",
    )
