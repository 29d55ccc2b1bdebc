"""GPT-2's byte pairs: the files as they came, and ids by the original's rules (src/encoder.py).

The encoding here is the other side of a comparison: it imports nothing of tokenizers. A text is
cut into contractions, words, numbers, signs and spaces, each piece becomes bytes written as
printable characters, and pairs are merged in the order of the merges file.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.port.families.release import read_json

END = "<|endoftext|>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
REMEDY = "give the vocabulary and the merges that the checkpoint was trained with"


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary and its merges."""

    ids: dict[str, int]
    ranks: dict[tuple[str, str], int]
    vocabulary_bytes: bytes
    merges_bytes: bytes
    name: str

    @classmethod
    def read(cls, vocabulary: Path, merges: Path) -> BytePairs:
        """Read encoder.json (or vocab.json) and vocab.bpe (or merges.txt)."""
        ids = read_json(vocabulary)
        if sorted(ids.values(), key=str) != sorted(range(len(ids)), key=str):
            raise ArtifactError(
                f"its {len(ids)} ids are not 0 to {len(ids) - 1}", vocabulary.name, REMEDY
            )
        try:
            lines = merges.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as fault:
            raise ArtifactError(f"it is no UTF-8: {fault}", merges.name, REMEDY) from None
        rows = [line for line in lines if line and not line.startswith("#version")]
        pairs = []
        for line in rows:
            left, _, right = line.rstrip("\r").partition(" ")
            if not right or " " in right:
                raise ArtifactError(f"the line {line!r} is no pair", merges.name, REMEDY)
            absent = [one for one in (left, right, left + right) if one not in ids]
            if absent:
                raise ArtifactError(
                    f"the merge {left} {right} needs {absent[0]!r}, which {vocabulary.name} lacks",
                    merges.name,
                    REMEDY,
                )
            pairs.append((left, right))
        ranks = {pair: rank for rank, pair in enumerate(pairs)}
        return cls(ids, ranks, vocabulary.read_bytes(), merges.read_bytes(), vocabulary.name)

    def check_size(self, rows: int) -> None:
        """Raise ArtifactError when the vocabulary is not as large as the embedding."""
        if len(self.ids) != rows:
            raise ArtifactError(
                f"{self.name} holds {len(self.ids)} tokens and the checkpoint {rows} rows",
                self.name,
                REMEDY,
            )

    def files(self, max_tokens: int) -> dict[str, bytes]:
        """Return the tokenizer files of the ported folder: the originals under other names."""
        end = END if END in self.ids else None
        settings = {
            "tokenizer_class": "GPT2Tokenizer",
            "model_max_length": max_tokens,
            "add_prefix_space": False,
            "bos_token": end,
            "eos_token": end,
            "unk_token": end,
        }
        return {
            "vocab.json": self.vocabulary_bytes,
            "merges.txt": self.merges_bytes,
            "tokenizer_config.json": canonical.dumps(settings).encode("utf-8"),
        }

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return [self.ids[one] for one in self.tokens(text)]

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text; a symbol that stands for the end of a text counts as one."""
        found: list[str] = []
        rest = text
        while END in self.ids and END in rest:
            before, _, rest = rest.partition(END)
            found += [*self.plain_tokens(before), END]
        return found + self.plain_tokens(rest)

    def plain_tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, every character of it being text."""
        letters = byte_letters()
        found: list[str] = []
        for piece in pieces(text):
            found += self._merged(tuple(letters[byte] for byte in piece.encode("utf-8")))
        return found

    def _merged(self, word: tuple[str, ...]) -> tuple[str, ...]:
        while len(word) > 1:
            best = min(pairwise(word), key=lambda pair: self.ranks.get(pair, 1 << 60))
            if best not in self.ranks:
                break
            joined: list[str] = []
            at = 0
            while at < len(word):
                if word[at : at + 2] == best:
                    joined.append(word[at] + word[at + 1])
                    at += 2
                else:
                    joined.append(word[at])
                    at += 1
            word = tuple(joined)
        return word


@lru_cache(maxsize=1)
def byte_letters() -> list[str]:
    """Return the printable character of every byte: itself, or one behind 255 in order."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, more = [], 0
    for byte in range(256):
        letters.append(chr(byte if byte in plain else 256 + more))
        more += byte not in plain
    return letters


def pieces(text: str) -> list[str]:
    """Cut a text as the pattern of the original does.

    `'s|'t|'re|'ve|'m|'ll|'d| ?letters+| ?numbers+| ?others+|spaces+(?!no space)|spaces+`
    """
    found: list[str] = []
    at = 0
    while at < len(text):
        end = _piece(text, at)
        found.append(text[at:end])
        at = end
    return found


def _piece(text: str, at: int) -> int:
    short = next((one for one in CONTRACTIONS if text.startswith(one, at)), None)
    if short is not None:
        return at + len(short)
    begin = at + 1 if text[at] == " " and at + 1 < len(text) and _class(text[at + 1]) else at
    kind = _class(text[begin])
    end = begin
    while end < len(text) and _class(text[end]) == kind:
        end += 1
    if kind or end == len(text):
        return end
    # Spaces before something else leave the last one to it, unless it is alone.
    return end - 1 if end - at > 1 else end


def _class(letter: str) -> str:
    """Return L, N or O for letters, numbers and others, nothing for spaces."""
    if letter.isspace():
        return ""
    kind = unicodedata.category(letter)[0]
    return kind if kind in "LN" else "O"


def dictionary_json(ids: dict[str, int]) -> bytes:
    """Return a vocabulary as vocab.json, in the order of its ids."""
    ordered = dict(sorted(ids.items(), key=lambda item: item[1]))
    return json.dumps(ordered, ensure_ascii=False).encode("utf-8")
