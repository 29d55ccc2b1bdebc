"""Parameters of the embedded generator."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.core.declare import Params

FULL_ANNOTATION_MB = 50
"""Up to this size everything is annotated by default; CoNLL-U is ten times the text."""
SPARSE_SHARE = 0.01


class PlantShares(Params):
    """How often each kind of plant is set, per document written from the grammar.

    Copies and other languages come as further documents after the drawn one; the other kinds alter
    the drawn document. One document carries at most one altering plant.
    """

    exact_duplicate: float = Field(0.02, ge=0, le=1)
    """A further document with the very text of an earlier one."""
    near_duplicate: float = Field(0.04, ge=0, le=1)
    """A further document made from an earlier one by edits, with its exact Jaccard in the truth."""
    foreign_document: float = Field(0.03, ge=0, le=1)
    """A further document in another language."""
    foreign_paragraph: float = Field(0.01, ge=0, le=1)
    """A paragraph in another language at the end of the document."""
    boilerplate: float = Field(0.04, ge=0, le=1)
    """Menu and footer lines that many documents share."""
    mojibake: float = Field(0.01, ge=0, le=1)
    """The whole text as UTF-8 bytes misread in a one-byte encoding."""
    x_system: float = Field(0.02, ge=0, le=1)
    """The whole text in the x-system (`cx` for `ĉ`)."""
    email: float = Field(0.015, ge=0, le=1)
    """A sentence with an e-mail address (of a reserved domain)."""
    phone: float = Field(0.015, ge=0, le=1)
    """A sentence with a telephone number (of the reserved 555-01xx range)."""
    hard_wrapped: float = Field(0.01, ge=0, le=1)
    """Lines broken at 72 characters."""
    line_endings: float = Field(0.005, ge=0, le=1)
    """CR LF instead of LF."""
    byte_order_mark: float = Field(0.003, ge=0, le=1)
    """U+FEFF before the text."""
    decomposed: float = Field(0.005, ge=0, le=1)
    """Letters with combining marks (NFD)."""
    markers: float = Field(0.003, ge=0, le=1)
    """A licence header and footer between the start and end markers of an electronic book."""
    repetition: float = Field(0.005, ge=0, le=1)
    """One sentence of the text repeated many times at its end."""
    private: float = Field(0, ge=0, le=1)
    """Personal data and secrets of six types in many forms, and decoys that only look like some."""
    symbols: float = Field(0, ge=0, le=1)
    """Signs behind many words."""
    listing: float = Field(0, ge=0, le=1)
    """The whole text as short lines with bullets."""
    repeated_lines: float = Field(0, ge=0, le=1)
    """One line again and again at the end."""
    glued: float = Field(0, ge=0, le=1)
    """Most blanks between words left out."""
    figures: float = Field(0, ge=0, le=1)
    """A table of numbers that is longer than the text."""
    code: float = Field(0, ge=0, le=1)
    """A script with curly brackets behind the text."""


class GeneratorParams(Params):
    """The embedded grammar of Esperanto: how much text, how much gold, which plants."""

    kind: Literal["generator"] = "generator"
    """Tells this source from the others."""
    size_mb: float = Field(6.0, ge=0.05, le=20_000)
    """Plain UTF-8 text of all documents, in units of 10^6 bytes; met within one document."""
    seed: int = Field(0, ge=0)
    """Everything follows from it."""
    num_topics: int = Field(24, ge=1, le=256)
    """Topics, each with its own distribution over roots; a document keeps to one."""
    annotated_share: float | None = Field(None, ge=0, le=1)
    """Share of documents with gold UPOS, lemmas and features; null: 1 up to 50 MB, 0.01 above."""
    parallel_share: float | None = Field(None, ge=0, le=1)
    """Share of documents with an English sentence for each sentence; null: as annotated_share."""
    shard_mb: float = Field(256.0, ge=0.05, le=4096)
    """Plain text of a shard, at most, in units of 10^6 bytes."""
    plants: PlantShares = PlantShares()
    """What is planted, and how often."""

    def gold_share(self) -> float:
        """Return the share of documents that are annotated."""
        return self._share(self.annotated_share)

    def pair_share(self) -> float:
        """Return the share of documents that are paired with English."""
        return self._share(self.parallel_share)

    def _share(self, value: float | None) -> float:
        if value is not None:
            return value
        return 1.0 if self.size_mb <= FULL_ANNOTATION_MB else SPARSE_SHARE
