"""BERT's word pieces: vocab.txt as it came, and ids by the original's rules (tokenization.py).

The encoding here is the other side of a comparison: it imports nothing of tokenizers. A text is
cleaned, Chinese characters stand alone, words are cut at spaces and signs, lower-cased without
accents where the model is, and each word is the longest pieces from the left, or unknown.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from stages.core import canonical
from stages.core.errors import ArtifactError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 200
"""Letters of a word that the original still cuts into pieces; BertTokenizer stops at 100."""
CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
REMEDY = "give the vocab.txt that the checkpoint was trained with"


@dataclass(frozen=True)
class WordPieces:
    """A vocabulary, and whether texts are lower-cased."""

    ids: dict[str, int]
    lower_case: bool
    content: bytes

    @classmethod
    def read(cls, path: Path, lower_case: bool | None) -> WordPieces:
        """Read vocab.txt: one token a line, its number the id."""
        content = path.read_bytes()
        try:
            lines = content.decode("utf-8").split("\n")
        except UnicodeDecodeError as fault:
            raise ArtifactError(f"it is no UTF-8: {fault}", path.name, REMEDY) from None
        tokens = [line.rstrip("\r") for line in lines]
        if tokens and not tokens[-1]:
            tokens.pop()
        ids: dict[str, int] = {}
        for number, token in enumerate(tokens):
            if token in ids:
                raise ArtifactError(
                    f"the token {token!r} stands in lines {ids[token] + 1} and {number + 1}",
                    path.name,
                    REMEDY,
                )
            ids[token] = number
        lacking = [one for one in SPECIALS if one not in ids]
        if lacking:
            raise ArtifactError(f"it lacks {', '.join(lacking)}", path.name, REMEDY)
        if lower_case is None:
            usual = (token for token in tokens if not token.startswith("["))
            lower_case = not any(letter.isupper() for token in usual for letter in token)
        return cls(ids, lower_case, content)

    def check_size(self, rows: int) -> None:
        """Raise ArtifactError when the vocabulary is not as large as the embedding."""
        if len(self.ids) != rows:
            raise ArtifactError(
                f"vocab.txt holds {len(self.ids)} tokens and the checkpoint {rows} rows",
                "vocab.txt",
                REMEDY,
            )

    def files(self, max_tokens: int) -> dict[str, bytes]:
        """Return the tokenizer files of the ported folder."""
        settings = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lower_case,
            "tokenize_chinese_chars": True,
            "strip_accents": None,
            "model_max_length": max_tokens,
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        }
        return {
            "vocab.txt": self.content,
            "tokenizer_config.json": canonical.dumps(settings).encode("utf-8"),
        }

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text without [CLS] and [SEP]."""
        return [self.ids[piece] for word in self._words(text) for piece in self._pieces(word)]

    def _words(self, text: str) -> list[str]:
        words: list[str] = []
        for word in _cleaned(text).split():
            if word in SPECIALS:
                words.append(word)
                continue
            if self.lower_case:
                decomposed = unicodedata.normalize("NFD", word.lower())
                word = "".join(one for one in decomposed if unicodedata.category(one) != "Mn")
            words += _cut(word)
        return words

    def _pieces(self, word: str) -> list[str]:
        if word in SPECIALS:
            return [word]
        if len(word) > LONGEST_WORD:
            return ["[UNK]"]
        found: list[str] = []
        at = 0
        while at < len(word):
            end = len(word)
            begin = "##" if at else ""
            while end > at and begin + word[at:end] not in self.ids:
                end -= 1
            if end == at:
                return ["[UNK]"]
            found.append(begin + word[at:end])
            at = end
        return found


def _cleaned(text: str) -> str:
    out = []
    for letter in text:
        code, kind = ord(letter), unicodedata.category(letter)
        if letter in " \t\n\r" or kind == "Zs":
            out.append(" ")
        elif code in (0, 0xFFFD) or kind.startswith("C"):
            continue
        elif any(low <= code <= high for low, high in CHINESE):
            out.append(f" {letter} ")
        else:
            out.append(letter)
    return "".join(out)


def _cut(word: str) -> list[str]:
    parts: list[str] = []
    grows = False
    for letter in word:
        if _sign(letter):
            parts.append(letter)
            grows = False
        elif grows:
            parts[-1] += letter
        else:
            parts.append(letter)
            grows = True
    return parts


def _sign(letter: str) -> bool:
    code = ord(letter)
    in_ascii = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return in_ascii or unicodedata.category(letter).startswith("P")
