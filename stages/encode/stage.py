"""The declaration of `encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

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
    sequence_length: int = Field(128, ge=8, le=65_536)
    """Tokens of a row. Documents are packed into rows, longer ones cut; no token is lost."""
    cut: Literal["never", "when-needed"] = "when-needed"
    """Whether a document that fits a row may be cut where whole ones would leave more than
    `most_waste` of the rows empty (documents of just over half a row pair with nothing). The parts
    attend to themselves alone, and the ledger counts them."""
    most_waste: float = Field(0.005, ge=0, lt=1)
    """Share of row positions without a token, at most, where documents may be cut when needed."""


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
    from stages.encode.encoding import Rows, encode_corpus
    from stages.encode.megatron import prefix_of, write_indexes

    given = prefix_of(indexed / "files") if params.indexed != "none" else None
    waste = None if params.cut == "never" else params.most_waste
    rows = Rows(params.sequence_length, waste)
    manifest = encode_corpus(corpus, tokenizer, tokens, rows, log, given)
    if params.megatron_index:
        write_indexes(tokens, manifest)
    for split, ledger in sorted(manifest["splits"].items()):
        for name in ("documents", "tokens", "rows", "lost_tokens", "cuts", "waste_fraction"):
            log.metric(f"{split}_{name}", ledger[name])
    log.table("ledger", [{"split": split} | ledger for split, ledger in manifest["splits"].items()])
