"""The declaration of `tokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.core.declare import FloatParams, stage
from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.lm.spelling import BYTES_SPECIALS, CAUSAL_SPECIALS, MASKED_SPECIALS
from stages.tokenizer.domain import refuse
from stages.tokenizer.normalisers import Step


class TokenizerParams(FloatParams):
    """What to learn a vocabulary from, how, and what to compare it with.

    `unigram` sums expected counts in float, so another number of `threads` may give other scores;
    `bpe` and `wordpiece` count whole numbers, and it changes nothing.
    """

    corpus: str
    """The refine entry whose training split is learned from (of the kind `text`)."""
    algorithm: Literal["bpe", "wordpiece", "unigram", "bytes"] = "bpe"
    """`bpe` is byte-level and gives every text back as it was; `wordpiece` (BERT) keeps no white
    space and knows no letter that the corpus has not; `unigram` (SentencePiece) falls back to
    bytes; `bytes` learns nothing: 6 special tokens and the 256 bytes, as Perceiver reads text
    (arXiv 2107.14795). All give the same bytes in every process."""
    objective: Literal["masked", "causal"] = "masked"
    """`masked` has the special tokens `<s> <pad> </s> <unk> <mask>` (ids 0 to 4) and wraps a text
    in `<s>` and `</s>`; `causal` has `<|endoftext|>` (id 0) and puts it before a text. `bytes` has
    `[PAD] [BOS] [EOS] [MASK] [CLS] [SEP]` (ids 0 to 5) for both, and wraps a text in `[CLS]` and
    `[SEP]`, or puts `[BOS]` before it."""
    vocab_size: int = Field(4000, ge=257, le=1_000_000)
    """Tokens in the vocabulary: special tokens, domain tokens and the 256 bytes included."""
    min_frequency: int = Field(2, ge=1)
    """Times that a pair must occur to be merged (`bpe`, `wordpiece`)."""
    normalise: list[Annotated[Step, Field(discriminator="kind")]] = []
    """What is done to a text before it is cut, in this order; tokenizer.json holds the same, so
    whoever opens it does the same. What they change does not come back when tokens are decoded."""
    split_digits: bool = False
    """Whether numbers are cut into digits, so that all are built alike."""
    digit_group: int = Field(1, ge=1, le=3)
    """Digits of a piece at most, from the left, where `split_digits` is set: 1 sets every digit
    apart, 3 cuts 12345 into 123 and 45 (Llama 3)."""
    domain_tokens: list[str] = []
    """Texts that are one token wherever they stand and are never cut: chat markers, runs of
    indentation. Found in the text as it is given, before it is normalised, the longest first;
    their ids follow the special tokens'."""
    max_training_bytes: int = Field(200_000_000, ge=1)
    """Bytes of text learned from at most; a larger corpus is sampled by the hash of document ids.
    (WordPiece's trainer counts pairs in 32 bits, which some billions of bytes overflow.)"""
    report_bytes: int = Field(20_000_000, ge=1)
    """Bytes of held-out text that the report measures at most, sampled in the same way."""
    reference: str = "none"
    """A corpus (`corpora/<key>`, text or parallel) of another language: a vocabulary of the same
    size learned from it shows what a foreign tokenizer costs. `none` leaves that row out."""

    def specials(self) -> tuple[str, ...]:
        """Return the special tokens in the order of their ids, from 0 on."""
        if self.algorithm == "bytes":
            return BYTES_SPECIALS
        return CAUSAL_SPECIALS if self.objective == "causal" else MASKED_SPECIALS

    @model_validator(mode="after")
    def _unknown(self) -> Self:
        if self.algorithm == "wordpiece" and self.objective == "causal":
            raise ParamsError(
                "algorithm 'wordpiece' knows no letter that the corpus has not, and a causal"
                " vocabulary has no token for it",
                "tokenizer: algorithm",
                "set algorithm to `bpe` or `unigram`, or objective to `masked`",
            )
        return self

    @model_validator(mode="after")
    def _digits(self) -> Self:
        if self.digit_group > 1 and not self.split_digits:
            raise ParamsError(
                f"digit_group {self.digit_group} says how digits are split, and split_digits is"
                " false",
                "tokenizer: digit_group",
                "set split_digits to true, or digit_group to 1",
            )
        return self

    @model_validator(mode="after")
    def _domain(self) -> Self:
        refuse(self.domain_tokens, self.algorithm)
        return self

    @model_validator(mode="after")
    def _alphabet(self) -> Self:
        given = len(self.specials()) + len(self.domain_tokens)
        alphabet = 0 if self.algorithm == "wordpiece" else 256
        told = f"{len(self.specials())} special tokens, {len(self.domain_tokens)} domain tokens"
        told += f" and {alphabet} bytes" if alphabet else ""
        exactly = self.algorithm == "bytes" and self.vocab_size != given + alphabet
        if exactly or self.vocab_size < given + alphabet:
            raise ParamsError(
                f"vocab_size {self.vocab_size} is {'not what' if exactly else 'smaller than what'}"
                f" algorithm {self.algorithm!r} has before anything is learned: {told}",
                "tokenizer: vocab_size",
                f"set vocab_size to {given + alphabet}{'' if exactly else ' or more'}",
            )
        return self


@stage(
    version=1,
    reads={"corpus": "data/corpora/${item.corpus}", "reference": "data/${item.reference}"},
    writes={"tokenizer": "models/tokenizers/${key}"},
)
def tokenizer(
    params: TokenizerParams, corpus: Path, reference: Path, tokenizer: Path, log: Log
) -> None:
    """Train a tokenizer (byte-level BPE, WordPiece, Unigram, bytes) and report on it."""
    from stages.tokenizer import report, training

    backend, learned = training.train(params, corpus)
    training.save(backend, params, tokenizer)
    measured = report.measure(params, backend, corpus, reference) | {"training": learned}
    report.write(tokenizer, measured, log)
