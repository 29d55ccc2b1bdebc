"""The declaration of `tokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stages.core.declare import FloatParams, stage
from stages.core.errors import ParamsError
from stages.core.log import Log


class TokenizerParams(FloatParams):
    """What to learn a vocabulary from, how, and what to compare it with.

    `unigram` sums expected counts in float, so another number of `threads` may give other scores;
    `bpe` and `wordpiece` count whole numbers, and it changes nothing.
    """

    corpus: str
    """The refine entry whose training split is learned from (of the kind `text`)."""
    algorithm: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """`bpe` is byte-level and gives every text back as it was; `wordpiece` (BERT) keeps no white
    space and knows no letter that the corpus has not; `unigram` (SentencePiece) falls back to
    bytes. All three give the same bytes in every process."""
    objective: Literal["masked", "causal"] = "masked"
    """`masked` has the special tokens `<s> <pad> </s> <unk> <mask>` (ids 0 to 4) and wraps a text
    in `<s>` and `</s>`; `causal` has `<|endoftext|>` (id 0) and puts it before a text."""
    vocab_size: int = Field(4000, ge=261, le=1_000_000)
    """Tokens in the vocabulary, special tokens and the 256 bytes included."""
    min_frequency: int = Field(2, ge=1)
    """Times that a pair must occur to be merged (`bpe`, `wordpiece`)."""
    split_digits: bool = False
    """Whether every digit is a token of its own, so that numbers are built alike."""
    max_training_bytes: int = Field(200_000_000, ge=1)
    """Bytes of text learned from at most; a larger corpus is sampled by the hash of document ids.
    (WordPiece's trainer counts pairs in 32 bits, which some billions of bytes overflow.)"""
    report_bytes: int = Field(20_000_000, ge=1)
    """Bytes of held-out text that the report measures at most, sampled in the same way."""
    reference: str = "none"
    """A corpus (`corpora/<key>`, text or parallel) of another language: a vocabulary of the same
    size learned from it shows what a foreign tokenizer costs. `none` leaves that row out."""

    @model_validator(mode="after")
    def _unknown(self) -> TokenizerParams:
        if self.algorithm == "wordpiece" and self.objective == "causal":
            raise ParamsError(
                "algorithm 'wordpiece' knows no letter that the corpus has not, and a causal"
                " vocabulary has no token for it",
                "tokenizer: algorithm",
                "set algorithm to `bpe` or `unigram`, or objective to `masked`",
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
    """Train a tokenizer (byte-level BPE, WordPiece or Unigram) and report on it."""
    from stages.tokenizer import report, training

    backend, learned = training.train(params, corpus)
    training.save(backend, params.objective, tokenizer)
    measured = report.measure(params, backend, corpus, reference) | {"training": learned}
    report.write(tokenizer, measured, log)
