"""How tokens are spelled: special tokens by name, bytes as GPT-2 writes them."""

from __future__ import annotations

import functools

MASKED_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Ids 0 to 4 of a tokenizer for masked models, in the order of RoBERTa and of `how-to-train`."""
CAUSAL_SPECIALS = ("<|endoftext|>",)
"""The one special token of a tokenizer for causal models: begin, end and padding, as in GPT-2."""
BYTES_SPECIALS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
"""Ids 0 to 5 where bytes are the vocabulary, in the order of Perceiver; byte b is b + 6."""
PRINTED = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))
"""Bytes that GPT-2 spells as the character of that number; the others follow from 256 on."""


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
