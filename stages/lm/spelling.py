"""How tokens are spelled: special tokens by name, bytes as GPT-2 writes them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

MASKED_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Ids 0 to 4 of a tokenizer for masked models, in the order of RoBERTa and of `how-to-train`."""
CAUSAL_SPECIALS = ("<|endoftext|>",)
"""The one special token of a tokenizer for causal models: begin, end and padding, as in GPT-2."""
BYTES_SPECIALS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
"""Ids 0 to 5 where bytes are the vocabulary, in the order of Perceiver; byte b is b + 6."""
PRINTED = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))
"""Bytes that GPT-2 spells as the character of that number; the others follow from 256 on."""

BYTE = re.compile("<0x[0-9A-F]{2}>")
"""How a byte is spelled where unknown letters fall back to bytes (SentencePiece)."""
SPACE = "\u2581"
"""What stands for a space there."""


@functools.cache
def spellings() -> tuple[str, ...]:
    """Return the character that spells each byte [256] (GPT-2's `bytes_to_unicode`)."""
    printed = {byte for part in PRINTED for byte in part}
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in printed else next(others)) for byte in range(256))


@functools.cache
def _bytes_of() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(spellings())}


def spell(token: bytes) -> str:
    """Return a token's bytes as the vocabulary spells them."""
    letters = spellings()
    return "".join(letters[byte] for byte in token)


def unspell(token: str) -> bytes | None:
    """Return the bytes that a token of the vocabulary stands for; None if it spells none."""
    known = _bytes_of()
    if not all(letter in known for letter in token):
        return None
    return bytes(known[letter] for letter in token)


def byte_lengths(state: Mapping[str, Any]) -> dict[int, int]:
    """Return the bytes of text that each token of a tokenizer.json stands for; special ones: none.

    What normalising changes and what WordPiece leaves out (white space) is in no token.
    """
    model = state["model"]
    vocabulary = model["vocab"]
    if not isinstance(vocabulary, dict):  # Unigram lists its pieces with their scores
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    found = {number: _spelled(token, model) for token, number in vocabulary.items()}
    for one in state.get("added_tokens") or []:
        found[one["id"]] = 0 if one["special"] else len(one["content"].encode("utf-8"))
    return found


def _spelled(token: str, model: Mapping[str, Any]) -> int:
    """Return the bytes that a token of a model's vocabulary stands for."""
    if model.get("byte_fallback"):
        return 1 if BYTE.fullmatch(token) else len(token.replace(SPACE, " ").encode("utf-8"))
    if model["type"] == "BPE":
        spelled = unspell(token)
        return len(token.encode("utf-8") if spelled is None else spelled)
    prefix = model.get("continuing_subword_prefix") or ""
    return len(token.removeprefix(prefix).replace(SPACE, " ").encode("utf-8"))
