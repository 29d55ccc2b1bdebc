"""What of a corpus is measured, and the bounds that a measure must keep."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.core.declare import Params


class Gate(Params):
    """A bound; the stage fails where the measure is outside it."""

    measure: str
    """A number of statistics.json by its names with dots: `zipf.rank_exponent_s`,
    `length_words.mean`, `drift.topics.divergence_bits`; or `rules.<rule>.dropped_fraction`."""
    min: float | None = None
    """Least value that passes."""
    max: float | None = None
    """Largest value that passes."""
    against: Literal["nothing", "difference", "ratio"] = "nothing"
    """Bound the value itself, or its difference from (ratio to) that of the corpus `against`."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError(f"the gate on {self.measure} has no bound: give min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} of {self.measure} is above its max {self.max:g}")
        return self


class Perplexity(Params):
    """Dropping documents unlike the rest: a Kneser-Ney model of each half judges the other."""

    max: float = Field(0, ge=0)
    """Larger perplexity per word: `perplexity`; 0 switches the rule off. The report's odd
    documents tell what is usual."""
    order: int = Field(3, ge=1, le=6)
    """Words of an n-gram."""
    sample_documents: int = Field(100_000, ge=100)
    """Documents that the models are learned from, drawn by `sample_seed`; all are judged."""
    sample_seed: int = 0
    """Another seed draws other documents."""


class Identified(Params):
    """What is done with what the entry's `identifier` says of a document (`languages.parquet`)."""

    languages: list[str] = []
    """Labels to keep; other documents: `identified`. Empty keeps all, and only tells."""
    min_probability: float = Field(0.5, ge=0, le=1)
    """Least probability that a document is in one of `languages` together."""
    undetermined: bool = False
    """Whether a document without a letter is kept."""


class Measure(Params):
    """What is measured beside words, lengths, labels, duplicates and Zipf's law."""

    terms: list[str] = []
    """Terms whose company is measured (nPMI with every word); a term may have several words. Empty
    takes the identity terms of the corpus's languages, where they are known (en, eo)."""
    pairs: list[str] = []
    """Pairs of terms `he/she` whose difference is tabled; empty takes those of the languages."""
    groups: dict[str, list[str]] = {}
    """Groups of documents by the terms that any of them holds, for example `{women: [she, her]}`;
    how much of each enters, is dropped by and leaves every rule."""
    min_documents: int = Field(10, ge=1)
    """Terms and words in fewer documents are not tabled."""
    topics: int = Field(12, ge=0, le=256)
    """Most clusters of documents by their words (TF-IDF, spherical k-means); 0 finds none."""
    merge_topics: float = Field(0.2, gt=0, le=1)
    """Clusters whose centres part from the mean of all in ways so similar (cosine) become one."""
    drift_bits: float = Field(0.02, ge=0)
    """Jensen-Shannon divergence of topics from those of `against` that alerts, if it is also
    more than two samples of one mixture have in 99 of 100 draws."""
    perplexity_order: int = Field(3, ge=0, le=6)
    """Order of the Kneser-Ney model that tells each sampled document's perplexity from the others;
    0 does not look."""
    dropped_samples: int = Field(0, ge=0, le=20)
    """Texts shown of what each rule dropped, with the scores of kept and dropped documents and the
    company of terms before each rule (filtering.json; the terms need `groups`); 0 shows none."""
    sample_documents: int = Field(20_000, ge=100)
    """Documents that topics and perplexity are measured on, drawn by `sample_seed`."""
    sample_seed: int = 0
    """Another seed draws other documents."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        for pair in self.pairs:
            if len([side for side in pair.split("/") if side.strip()]) != 2:
                raise ValueError(f"pairs is {pair!r}, must be two terms as `he/she`")
        return self
