"""The containers that the source kind `extract` reads, and what each must be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.core.declare import Params
from stages.lm.reading import Reading


class Encoded(Params):
    """What readers of text lines share."""

    encoding: str = "auto"
    """Encoding; `auto` is UTF-8, or what a byte order mark says. A line that is not of it is lost
    as `undecodable`."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        return Reading(encoding=value).encoding


class WarcFormat(Params):
    """Web archives (WARC 1.0 and 1.1, plain, gzip by record, zstd): the pages' visible text."""

    format: Literal["warc"] = "warc"
    """Discriminator."""
    main_content: bool = True
    """Whether navigation, headers, footers and the like are left out."""
    verify: bool = True
    """Whether records must have the digest that their header declares, where it declares one."""
    types: list[str] = ["text/html", "application/xhtml+xml", "text/plain"]
    """Media types of bodies that are kept."""
    max_depth: int = Field(512, ge=1)
    """Elements that may stand within each other (browsers go to 512); deeper pages are lost as
    `too_deep`, because what extracts text takes time by depth."""


class HtmlFormat(Params):
    """Pages as files: each file's visible text."""

    format: Literal["html"] = "html"
    """Discriminator."""
    main_content: bool = True
    """Whether navigation, headers, footers and the like are left out."""
    max_depth: int = Field(512, ge=1)
    """Elements that may stand within each other (browsers go to 512); deeper pages are lost as
    `too_deep`, because what extracts text takes time by depth."""


class MediawikiFormat(Params):
    """XML dumps of Wikipedia and its like, plain or packed: one document for each page."""

    format: Literal["mediawiki"] = "mediawiki"
    """Discriminator."""
    namespaces: list[int] = [0]
    """Namespaces that are kept; pages of others are lost as `other_namespace`."""


class JsonlFormat(Encoded):
    """JSON lines, OSCAR's and others': a text and what is told of it."""

    format: Literal["jsonl"] = "jsonl"
    """Discriminator."""
    text: str = "text"
    """Field of the text; dots lead into objects. OSCAR calls it `content`."""
    columns: dict[str, str] = {}
    """Further columns and the fields they come from (`url: warc_headers.warc-target-uri`); what is
    no text becomes canonical JSON. A column `licence` is the document's own licence."""


class LeipzigFormat(Encoded):
    """Leipzig corpora: `*-sentences.txt`, beside it perhaps `*-sources.txt` and `*-inv_so.txt`."""

    format: Literal["leipzig"] = "leipzig"
    """Discriminator."""


class TatoebaFormat(Encoded):
    """Tatoeba exports: sentences, sentences joined by links, or downloaded pairs."""

    format: Literal["tatoeba"] = "tatoeba"
    """Discriminator."""
    yields: Literal["documents", "pairs"] = "documents"
    """Sentences (`id, language, text`), or pairs (`id, text, id, text`)."""
    language: str | None = None
    """Language of the sentences that are kept, or of the pairs' source side; null is all."""
    target: str | None = None
    """Language of the pairs' target side; null is any other."""
    sentences: list[str] = []
    """Files of sentences beside the links that the patterns find (`id<TAB>id`), to be joined by
    them into pairs."""


class ConlluFormat(Encoded):
    """Universal Dependencies: labelled sentences, or pairs where a comment translates."""

    format: Literal["conllu"] = "conllu"
    """Discriminator."""
    yields: Literal["labelled", "documents", "pairs"] = "labelled"
    """Tokens with tags; the texts alone; or the texts and their translation in `translation`."""
    tags: Literal["upos", "xpos"] = "upos"
    """Column of the tag."""
    translation: str = "text_en"
    """Comment that holds the translation."""


class GettextFormat(Params):
    """Message catalogues (`.mo`, `.po`): what programs say in two languages."""

    format: Literal["gettext"] = "gettext"
    """Discriminator."""
    source: str = "en"
    """Language of the messages' keys."""
    targets: list[str] = []
    """Languages to take (`eo`, `pt_BR`); empty takes all."""
    fuzzy: bool = False
    """Whether translations that are marked as guessed are kept; else they are lost as `fuzzy`."""


class PythonFormat(Params):
    """Python source: each file one document, decoded as the file declares (PEP 263)."""

    format: Literal["python"] = "python"
    """Discriminator."""
    parsable: bool = False
    """Whether files must be valid for the running interpreter; others are lost as `unparsable`."""


class ArrowFormat(Params):
    """Arrow files and streams, and Parquet: batches pass as they are, none becomes an object."""

    format: Literal["arrow"] = "arrow"
    """Discriminator."""
    yields: Literal["documents", "pairs"] = "documents"
    """Texts, or pairs of texts."""
    text: str = "text"
    """Column of the text."""
    source_text: str = "source_text"
    """Column of a pair's source side."""
    target_text: str = "target_text"
    """Column of a pair's target side."""
    columns: dict[str, str] = {}
    """Further columns and the columns they come from; values become texts."""


Format = Annotated[
    WarcFormat
    | HtmlFormat
    | MediawikiFormat
    | JsonlFormat
    | LeipzigFormat
    | TatoebaFormat
    | ConlluFormat
    | GettextFormat
    | PythonFormat
    | ArrowFormat,
    Field(discriminator="format"),
]
