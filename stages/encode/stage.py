"""The declaration of `encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stages.core.declare import Params, stage
from stages.core.log import Log


class EncodeParams(Params):
    """What to tokenise and how long a row is.

    Whether documents are laid out for a masked or a causal model follows from the tokenizer.
    """

    corpus: str
    """The refine entry whose texts are encoded (of the kind `text`)."""
    tokenizer: str
    """The tokenizer entry to encode with."""
    indexed: str = "none"
    """Raw entry (`raw/<entry>`) with a Megatron-LM token file (`.bin` and `.idx`), made with the
    same tokenizer, whose documents are the training split; the corpus' texts are then the `valid`
    and `test` splits alone. Or `none`."""
    megatron_index: bool = False
    """Whether `<split>.idx` is written beside `<split>.bin`: Megatron-LM opens the pair."""
    megatron_samples: int = Field(0, ge=0)
    """Samples of a training run in Megatron-LM for which its document, sample and shuffle index is
    written to `index-cache` (`--data-path train --split 100,0,0`); 0 writes none."""
    megatron_seed: int = Field(1234, ge=0, lt=1 << 32)
    """Seed of that run."""
    records_per_shard: int = Field(0, ge=0)
    """Packed rows of a file of records of fixed length (Arrow, in `records`); 0 writes none."""
    sequence_length: int = Field(128, ge=8, le=65_536)
    """Tokens of a row. Documents are packed into rows, longer ones cut; no token is lost."""
    cut: Literal["never", "when-needed"] = "when-needed"
    """Whether a document that fits a row may be cut where whole ones would leave more than
    `most_waste` of the rows empty (documents of just over half a row pair with nothing). The parts
    attend to themselves alone, and the ledger counts them."""
    most_waste: float = Field(0.005, ge=0, lt=1)
    """Share of row positions without a token, at most, where documents may be cut when needed."""

    @model_validator(mode="after")
    def _findable(self) -> EncodeParams:
        if self.megatron_samples and not self.megatron_index:
            raise ValueError("megatron_samples needs megatron_index")
        return self


@stage(
    version=1,
    reads={
        "corpus": "data/corpora/${item.corpus}",
        "tokenizer": "models/tokenizers/${item.tokenizer}",
        "indexed": "data/${item.indexed}",
    },
    writes={"tokens": "data/tokens/${key}"},
)
def encode(
    params: EncodeParams, corpus: Path, tokenizer: Path, indexed: Path, tokens: Path, log: Log
) -> None:
    """Tokenise a corpus once and pack it into rows without losing a token."""
    from stages.encode import fixed, samples
    from stages.encode.encoding import Rows, encode_corpus
    from stages.encode.megatron import prefix_of, write_indexes

    given = prefix_of(indexed / "files") if params.indexed != "none" else None
    waste = None if params.cut == "never" else params.most_waste
    rows = Rows(params.sequence_length, waste)
    manifest = encode_corpus(corpus, tokenizer, tokens, rows, log, given)
    if params.megatron_index:
        write_indexes(tokens, manifest)
    if params.megatron_samples:
        samples.write(tokens, params.sequence_length, params.megatron_samples, params.megatron_seed)
    if params.records_per_shard:
        fixed.write_records(tokens, params.records_per_shard)
    for split, ledger in sorted(manifest["splits"].items()):
        for name in ("documents", "tokens", "rows", "lost_tokens", "cuts", "waste_fraction"):
            log.metric(f"{split}_{name}", ledger[name])
    log.table("ledger", [{"split": split} | ledger for split, ledger in manifest["splits"].items()])
