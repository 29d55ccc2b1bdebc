"""fairseq's dictionary over GPT-2's byte pairs: RoBERTa's ids, and the files for transformers.

    dict.txt       lines `<GPT-2 id> <count>`; a line's number plus 4 is the id, `<mask>` the last
    encoder.json   token -> GPT-2 id
    vocab.bpe      merges

fairseq puts `<s> <pad> </s> <unk>` before the lines. transformers wants one vocabulary from token
to id, so the two maps are joined; `madeupword...` lines keep their ids under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.port.families.bytepairs import END, BytePairs, dictionary_json

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
REMEDY = "give the dict.txt, encoder.json and vocab.bpe that the checkpoint was trained with"


@dataclass(frozen=True)
class Dictionary:
    """Ids of tokens, and byte pairs that make the tokens."""

    ids: dict[str, int]
    """Token -> RoBERTa's id, for the special ones too."""
    pairs: BytePairs
    lacking: tuple[str, ...]
    """Tokens of GPT-2 that the dictionary lacks. fairseq reads them as unknown; byte pairs of
    transformers need an id for each, since others are merged of them."""

    def files(self, max_tokens: int) -> dict[str, bytes]:
        """Return the tokenizer files of the ported folder."""
        settings = {
            "tokenizer_class": "RobertaTokenizer",
            "model_max_length": max_tokens,
            "add_prefix_space": False,
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "mask_token": MASK,
        }
        return {
            "vocab.json": dictionary_json(self.ids | self._further()),
            "merges.txt": self.pairs.merges_bytes,
            "tokenizer_config.json": canonical.dumps(settings).encode("utf-8"),
        }

    def _further(self) -> dict[str, int]:
        """Return ids behind the dictionary's: rows that copy the one of `<unk>`."""
        return {token: len(self.ids) + number for number, token in enumerate(self.lacking)}

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text by the original's two steps: GPT-2's ids, then the lines'."""
        return [self.ids.get(token, self.ids["<unk>"]) for token in self.pairs.plain_tokens(text)]


def read(path: Path, pairs: BytePairs, rows: int) -> Dictionary:
    """Read dict.txt; ArtifactError when it does not fit the checkpoint's `rows`."""
    tokens = {number: token for token, number in pairs.ids.items()}
    ids = {token: number for number, token in enumerate(SPECIALS)}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as fault:
        raise ArtifactError(f"it is no UTF-8: {fault}", path.name, REMEDY) from None
    for number, line in enumerate(lines, 1):
        if line:
            token = _token(line, number, tokens, path.name)
            if token in ids:
                raise ArtifactError(
                    f"{line.split()[0]} stands twice", f"{path.name}:{number}", REMEDY
                )
            ids[token] = len(ids)
    ids[MASK] = len(ids)
    if len(ids) != rows:
        raise ArtifactError(
            f"the dictionary makes {len(ids)} ids with the special ones and the checkpoint has "
            f"{rows} rows",
            path.name,
            REMEDY,
        )
    lacking = tuple(token for token in pairs.ids if token not in ids and token != END)
    return Dictionary(ids, pairs, lacking)


def _token(line: str, number: int, tokens: Mapping[int, str], name: str) -> str:
    symbol, _, count = line.rstrip("\r").partition(" ")
    if not count.strip().isdigit():
        raise ArtifactError(
            f"the line {line!r} is no symbol with its count", f"{name}:{number}", REMEDY
        )
    if symbol.startswith("madeupword"):
        return symbol
    if not symbol.isdigit() or int(symbol) not in tokens:
        raise ArtifactError(
            f"{symbol!r} is no id of encoder.json, which has {len(tokens)}",
            f"{name}:{number}",
            REMEDY,
        )
    return tokens[int(symbol)]
