"""The declaration of `encode`."""

from __future__ import annotations

from pathlib import Path

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
    sequence_length: int = Field(128, ge=8, le=65_536)
    """Tokens of a row. Documents are packed whole into rows; only longer ones are cut."""


@stage(
    version=1,
    reads={
        "corpus": "data/corpora/${item.corpus}",
        "tokenizer": "models/tokenizers/${item.tokenizer}",
    },
    writes={"tokens": "data/tokens/${key}"},
)
def encode(params: EncodeParams, corpus: Path, tokenizer: Path, tokens: Path, log: Log) -> None:
    """Tokenise a corpus once and pack it into rows without losing a token."""
    from stages.encode.encoding import encode_corpus

    manifest = encode_corpus(corpus, tokenizer, tokens, params.sequence_length, log)
    for split, ledger in sorted(manifest["splits"].items()):
        for name in ("documents", "tokens", "rows", "lost_tokens", "waste_fraction"):
            log.metric(f"{split}_{name}", ledger[name])
    log.table("ledger", [{"split": split} | ledger for split, ledger in manifest["splits"].items()])
