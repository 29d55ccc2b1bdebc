"""What a refine entry may choose: normalisation, filters, duplicates, decontamination, splits."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.core.declare import Params
from stages.refine.measured import Gate, Identified, Measure, Perplexity
from stages.refine.pairing import PairRules
from stages.refine.permissions import Permitted
from stages.refine.personal import Kind
from stages.refine.rulesets import SETS, SetName, chosen

Action = Literal["repair", "drop", "keep"]


def _listed(names: list[str]) -> None:
    from stages.refine.wordlists import WORDS

    unknown = [name for name in names if name not in WORDS]
    if unknown:
        raise ValueError(f"no word list for {', '.join(unknown)}; known: {', '.join(WORDS)}")


class Normalise(Params):
    """Changes to the characters of a text; each is a rule of the ledger."""

    mojibake: Action = "repair"
    """UTF-8 read as Windows-1252: mend it, drop the document, or keep it."""
    controls: bool = True
    """Drop byte order marks, zero-width and control characters; line ends become line feeds."""
    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normal form."""
    markers: bool = True
    """Cut the frame of an electronic book, lines like `***UPLOADED***` and picture captions."""
    line_numbers: bool = True
    """Drop `1. ` in front of lines where nearly all lines count upwards."""
    unwrap: bool = True
    """Join hard-wrapped lines of paragraphs; verse and lists keep theirs."""
    verse_numbers: bool = True
    """Drop verse numbers where they count through chapter after chapter."""
    repeats: bool = True
    """Leave one of a sentence that stands four times or more in a row."""
    x_system: bool = True
    """Turn `cx gx hx jx sx ux` into letters, where the text really is x-system Esperanto."""
    blanks: bool = True
    """Make runs of blanks one space and trim lines; off for code."""


class Counting(Params):
    """What the scores of rule sets count; thresholds are another matter."""

    stop_words: list[str] = Field(
        ["the", "be", "to", "of", "and", "that", "have", "with"], max_length=64
    )
    """Words of which Gopher asks two: its English ones; give others for other languages."""
    short_line_characters: int = Field(30, ge=0)
    """A line of so many characters at most is short (FineWeb)."""
    long_line_characters: int = Field(200, ge=1)
    """A line of so many characters at least is long (mC4)."""
    c4_line_words: int = Field(3, ge=-1)
    """Words that C4 asks of a line; -1 asks none."""
    c4_word_characters: int = Field(1000, ge=1)
    """Characters of a word that C4 still takes in a line."""
    c4_line_ends: bool = True
    """Whether C4 asks that a line ends in punctuation; FineWeb (Penedo et al. 2024) does not."""

    def options(self) -> Any:
        """Return what the kernel takes."""
        from stages.lm.scores.table import Options

        return Options(
            tuple(self.stop_words), self.short_line_characters, self.long_line_characters,
            self.c4_line_words, self.c4_word_characters, self.c4_line_ends,
        )  # fmt: skip


class Filters(Params):
    """Why a document is dropped; 0 (or an empty list) switches a filter off."""

    boilerplate: Literal["remove", "drop", "keep"] = "remove"
    """Lines of web furniture (menus, cookies, rights): remove them, or drop the document."""
    private: Literal["redact", "drop", "keep"] = "redact"
    """Personal data: put `[email]`, `[phone]`, ... in its place, or drop the document."""
    private_types: list[Kind] = ["email", "phone"]
    """Which: `email`, `phone`, `ip` (public ones), `key` (tokens and secrets), `iban`, `card`."""
    min_characters: int = Field(1, ge=0)
    """Fewer characters: `too_short`."""
    min_words: int = Field(1, ge=0)
    """Fewer words: `too_short` (Gopher, Rae et al. 2021, asks 50 of web pages)."""
    max_characters: int = Field(0, ge=0)
    """More characters: `too_long`."""
    max_line_characters: int = Field(0, ge=0)
    """A longer line: `long_line` (1000 for code: Codex, Chen et al. 2021)."""
    max_mean_line_characters: int = Field(0, ge=0)
    """A larger mean line length: `long_lines` (100 for code: Codex)."""
    min_alphabetic_fraction: float = Field(0.4, ge=0, le=1)
    """Fewer letters among characters that are not blank: `few_letters` (0.25 for code: CodeParrot,
    counting alphanumeric characters)."""
    max_symbol_fraction: float = Field(0.1, ge=0, le=1)
    """More of `# { } < > | \\ ~ ^ = *` and ellipses per word: `many_symbols` (Gopher: 0.1)."""
    max_repeated_line_fraction: float = Field(0.3, ge=0, le=1)
    """More characters in lines seen before in the document: `repeated_lines` (Gopher: 0.2 of
    characters, 0.3 of lines; plays repeat the speakers' names)."""
    max_mean_word_characters: float = Field(14.0, ge=0)
    """A larger mean word length: `long_words` (Gopher: 3 to 10, for English)."""
    autogenerated: bool = False
    """Drop code that says so in its first five lines: `autogenerated` (Codex)."""
    languages: list[str] = []
    """Languages to keep, for example `[eo]`; others: `language`. Empty keeps all."""
    language_evidence_nats: float = Field(4.0, ge=0)
    """A document goes if another language is e^this times as likely; three times this for one
    paragraph among others. Short sentences of names alone give little evidence."""
    foreign_paragraphs: Literal["remove", "keep"] = "remove"
    """Paragraphs in other languages within a document, where `languages` says which to keep."""
    rule_sets: list[SetName] = []
    """Published rules to apply after all others, in this order: `gopher-quality`,
    `gopher-repetition`, `c4`, `mc4`, `fineweb`, `codeparrot`, `codeparrot-later`."""
    thresholds: dict[str, float] = {}
    """Other thresholds of their rules, by reason: `{gopher-quality/few_words: 20}`; a negative
    number switches a rule off."""
    c4_lines: Literal["remove", "keep"] = "remove"
    """Whether the lines go that C4 does not keep; sets behind `c4` then judge what is left."""
    counting: Counting = Counting()
    """What is counted for the rule sets."""
    scores: bool = False
    """Write what was counted of every document that met the rule sets, dropped ones too, to
    scores.parquet: thresholds can then be tried without counting again. The same of pairs."""

    @field_validator("rule_sets")
    @classmethod
    def _once(cls, value: list[SetName]) -> list[SetName]:
        twice = [name for name in value if value.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        return value

    @field_validator("thresholds")
    @classmethod
    def _rules(cls, value: dict[str, float]) -> dict[str, float]:
        chosen(SETS, value)
        return value

    @field_validator("languages")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        _listed(value)
        return value


class Substrings(Params):
    """Spans that stand in the corpus before, whatever documents hold them."""

    action: Literal["keep", "report", "cut", "drop"] = "keep"
    """`keep` looks for none; `report` lists them in `substrings.parquet`; `cut` also takes later
    copies out of their documents, `drop` drops the documents that hold some: `repeated_spans`."""
    unit: Literal["words", "bytes"] = "words"
    """What a span is counted in: runs of letters and digits, compared as they are, or bytes."""
    length: int = Field(50, ge=2)
    """Shorter spans are no copies (Lee et al. 2022: 50 tokens); at least 16 bytes."""
    boundaries: Literal["character", "word", "sentence"] = "word"
    """Where a cut may begin and end: the part of a span that lies between such places goes."""
    max_fraction: float = Field(0.0, ge=0, le=1)
    """`drop` spares documents of which at most this share of bytes stands in earlier ones."""

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if self.unit == "bytes" and self.length < 16:
            raise ValueError(f"length is {self.length} bytes, must be at least 16")
        return self


class Duplicates(Params):
    """Which documents repeat others, and which of them stay."""

    exact: bool = True
    """Drop texts that are equal up to letter case and blanks."""
    near: bool = True
    """Drop near-duplicates found by MinHash and locality-sensitive hashing."""
    keep: Literal["first", "last", "longest"] = "first"
    """Which document of a cluster stays: the first or last in reading order (`raw` is read before
    `second`, that before `third`), or the one of most words."""
    hash: Literal["fast", "stack"] = "fast"
    """Numbers of the signatures: `fast`, or digit for digit The Stack's (SHA-1; ten times the
    time). The same words and shingles are compared, and the same ones are found."""
    permutations: int = Field(256, ge=1, le=9000)
    """Hash functions per signature (The Stack: 256)."""
    threshold: float = Field(0.7, gt=0, lt=1)
    """Jaccard similarity of word n-gram sets from which documents are near-duplicates."""
    bands: int = Field(0, ge=0)
    """Bands of the signatures, of permutations / bands rows each; 0 chooses by `missed_weight`."""
    missed_weight: float = Field(0.9, gt=0, lt=1)
    """What a missed pair weighs against a false candidate where bands are chosen. The Stack takes
    0.5; a false candidate that is verified costs a comparison, a missed one stays in the corpus."""
    ngram: int = Field(5, ge=1, le=20)
    """Words per shingle."""
    words: Literal["unicode", "ascii"] = "unicode"
    """`unicode`: lower-cased words of any script; `ascii`: The Stack's split, case kept."""
    verify: Literal["exact", "none"] = "exact"
    """Whether candidates are compared exactly, or trusted as The Stack does."""
    containment: float = Field(0.9, ge=0, le=1)
    """Drop a document of which this share of shingles lies in one larger document; 0 is off."""
    related: float = Field(0.3, ge=0, le=1)
    """Report, but keep, pairs of at least this containment; 0 is off."""
    sketch_scale: int = Field(16, ge=1)
    """One shingle in so many is kept to look for containment; documents under 8 times this many
    shingles are not searched."""
    across: Literal["drop", "keep"] = "drop"
    """Duplicates of documents of another raw folder (`raw`, `second`, `third`): dropped, entered in
    the ledger as `across_sources`, or kept, so that every source is freed of its own alone."""
    max_paragraph_copies: int = Field(0, ge=0)
    """Of a paragraph, so many copies stand in the whole corpus, the first in reading order; later
    ones are cut out of their documents: `duplicate_paragraphs`; 0 is off (CCNet, Wenzek et al.
    2020: 1)."""
    max_line_copies: int = Field(0, ge=0)
    """The same of lines: `duplicate_lines`; 0 is off (C4, Raffel et al. 2020, and RefinedWeb,
    Penedo et al. 2023, leave 1 of spans of lines)."""
    min_copied_characters: int = Field(30, ge=1)
    """Shorter lines and paragraphs are no copies: names, headings, numbers."""
    substrings: Substrings = Substrings()
    """Spans of documents' texts that stand in the corpus before."""

    @model_validator(mode="after")
    def _banded(self) -> Self:
        if self.bands > self.permutations:
            raise ValueError(
                f"bands is {self.bands}, must be at most the {self.permutations} permutations"
            )
        return self


class Decontaminate(Params):
    """Removal of evaluation text (`held_out`) from the corpus."""

    ngram: int = Field(13, ge=1)
    """Words in a row that must not occur in the held-out texts (GPT-3, Brown et al. 2020: 13)."""
    min_sentence_words: int = Field(5, ge=1)
    """Held-out sentences of at least so many words must not occur whole either."""
    action: Literal["cut", "drop", "fail"] = "cut"
    """Cut the sentences that match, drop the document (pairs and labelled sentences are always
    dropped whole), or fail, with what was found, and write nothing."""


class Split(Params):
    """Shares of the splits; a document's split depends on its text and the seed alone."""

    train: float = Field(0.9, ge=0, le=1)
    """Share of documents for training."""
    valid: float = Field(0.05, ge=0, le=1)
    """Share of documents for validation."""
    test: float = Field(0.05, ge=0, le=1)
    """Share of documents for testing."""
    seed: int = 0
    """Another seed gives another assignment."""
    by: Literal["text", "document", "group"] = "text"
    """`text`: hash of the text. `group`: hash of the id up to its last colon, so that the lines of
    one file, or the questions about one table, stay together. `document`: hash of the document's
    id, so that corpora made from one raw folder agree, and labelled sentences of one document stay
    together."""

    @model_validator(mode="after")
    def _sum(self) -> Self:
        if abs(self.train + self.valid + self.test - 1.0) > 1e-9:
            total = self.train + self.valid + self.test
            raise ValueError(f"train + valid + test is {total:g}, must be 1")
        return self


class Pairs(PairRules):
    """Filters of parallel text; a pair is dropped whole."""

    source_language: str = "none"
    """Language that the source side must be in; `none` does not look."""
    target_language: str = "none"
    """Language that the target side must be in; `none` does not look."""
    max_length_ratio: float = Field(4.0, ge=1)
    """Larger ratio of words between the sides, each plus 5: `length_ratio` (Moses' clean-corpus
    uses 9 without the constant; the constant spares short sentences)."""
    max_words: int = Field(250, ge=1)
    """A side with more words: `too_long`."""
    drop_identical: bool = True
    """Drop pairs whose sides have equal letters: `identical`."""
    lines: Literal["join", "keep"] = "join"
    """Line breaks within a side: make them blanks, or keep them (a document's sentences)."""

    @field_validator("source_language", "target_language")
    @classmethod
    def _known(cls, value: str) -> str:
        _listed([] if value == "none" else [value])
        return value


class RefineParams(Params):
    """How raw material becomes a corpus."""

    raw: str
    """Entry of `acquire` to read."""
    second: str = "none"
    """A further raw folder, as `raw/<key>`, or `none`."""
    third: str = "none"
    """A further raw folder, as `raw/<key>`, or `none`."""
    held_out: str = "none"
    """Evaluation text to keep out: `raw/<key>`, `corpora/<key>` (its valid and test), or `none`."""
    held_out_second: str = "none"
    """A further evaluation set to keep out, or `none`."""
    held_out_third: str = "none"
    """A further evaluation set to keep out, or `none`."""
    held_out_fourth: str = "none"
    """A further evaluation set to keep out, or `none`."""
    against: str = "none"
    """A corpus to measure this one against, as `corpora/<key>`: an earlier version, or `none`."""
    identifier: str = "none"
    """A language identifier that judges documents, as `identifiers/<key>`, or `none`."""
    identified: Identified = Identified()
    """What becomes of what it says."""
    lists: str = "none"
    """Opt-out and word lists that `permitted` names, as `raw/<key>` (an entry of `acquire` whose
    files are read as `binary`), or `none`."""
    permitted: Permitted = Permitted()
    """Which licences, makers and words are accepted."""
    kind: Literal["text", "labelled", "parallel"] = "text"
    """Documents, labelled sentences, or pairs of texts."""
    documents: Literal["record", "paragraph", "line"] = "record"
    """What one document is: a record as read (a file, a row), or its paragraphs or lines."""
    languages: list[str] = []
    """Languages that the corpus is said to be in; the filter's languages where empty."""
    intact: bool = False
    """Whether records are taken exactly as they are, all of them and in their order: a given test
    set. Nothing is normalised, filtered or found to be a duplicate; only `documents`, `held_out`,
    `split` and `max_documents` count then."""
    normalise: Normalise = Normalise()
    """Changes to the characters."""
    filters: Filters = Filters()
    """Reasons to drop a document."""
    duplicates: Duplicates = Duplicates()
    """Exact and near duplicates."""
    decontaminate: Decontaminate = Decontaminate()
    """Removal of held-out text."""
    pairs: Pairs = Pairs()
    """Filters of parallel text."""
    split: Split = Split()
    """Shares of train, valid and test."""
    perplexity: Perplexity = Perplexity()
    """Dropping documents unlike the rest."""
    measure: Measure = Measure()
    """What is measured."""
    gates: list[Gate] = []
    """Bounds on measures; the stage fails where one is outside, and writes nothing."""
    max_documents: int = Field(0, ge=0)
    """Keep the first so many documents; 0 keeps all."""
    threads: int = Field(1, ge=1, le=256)
    """Cores that kernels may use at once; no output depends on it."""

    @model_validator(mode="after")
    def _asked(self) -> Self:
        self.permitted.check(self.lists != "none", self.kind, self.intact)
        return self

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.identifier != "none" and (self.kind != "text" or self.intact):
            what = "intact" if self.intact else self.kind
            raise ValueError(f"identifier judges documents of the kind text, this entry is {what}")
        if self.identifier == "none" and self.identified.languages:
            raise ValueError("identified.languages needs an identifier, as `identifiers/<key>`")
        return self
