"""Byte-level BPE as `tokenizers` writes it: how text is cut, a model from counted words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.lm.kernels import merges
from stages.lm.kernels.wordcounts import Words
from stages.lm.spelling import spellings, unspell

EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How GPT-2 cuts text (Radford et al. 2019)."""


def splitter(split_digits: bool) -> Any:
    """Return the pre-tokenizer of `tokenizers` that the kernels are equal to."""
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if not split_digits:
        return byte_level
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, byte_level])


def isolates(pre_tokenizer: Any) -> bool | None:
    """Return whether a pre-tokenizer of tokenizer.json sets every digit apart.

    None is one that `stages.lm.kernels.pretokens` is not equal to.
    """
    if not isinstance(pre_tokenizer, dict):
        return None
    steps = [pre_tokenizer]
    if pre_tokenizer.get("type") == "Sequence":
        steps = list(pre_tokenizer["pretokenizers"])
    digits = bool(steps) and steps[0].get("type") == "Digits"
    if digits and not steps.pop(0).get("individual_digits"):
        return None
    cut = bool(steps) and steps[0].get("type") == "Split"
    if cut and not _is_expression(steps.pop(0)):
        return None
    plain = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": not cut}
    if len(steps) != 1 or not plain.items() <= {"use_regex": True, **steps[0]}.items():
        return None
    return digits


def keeps_bytes(pre_tokenizer: Any) -> bool:
    """Return whether a pre-tokenizer of tokenizer.json is ByteLevel that adds nothing to a text."""
    return (
        isinstance(pre_tokenizer, dict)
        and pre_tokenizer.get("type") == "ByteLevel"
        and not pre_tokenizer.get("add_prefix_space")
    )


def _is_expression(split: dict[str, Any]) -> bool:
    return (
        split.get("pattern") == {"Regex": EXPRESSION}
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
    )


def learned_model(
    words: Words,
    specials: Sequence[str],
    vocab_size: int,
    min_frequency: int,
    unknown: str | None = None,
) -> Any:
    """Learn a BPE model of `tokenizers` from counted words.

    The vocabulary is: special tokens, the 256 bytes in the order of their spellings, what is
    learned. It is token for token what `tokenizers`' own BpeTrainer learns from the same words.
    """
    from tokenizers import models

    first = [*dict.fromkeys([*specials, *sorted(spellings())])]
    found = merges.learned(words, [unspell(token) for token in first], vocab_size, min_frequency)
    lefts, rights, made = found.T.tolist()
    names = list(first)
    for left, right, token in zip(lefts, rights, made, strict=True):
        if token == len(names):
            names.append(names[left] + names[right])
    # A pair that is merged twice counts by its last merge.
    last = np.unique((found[::-1, 0] << 32) | found[::-1, 1], return_index=True)[1]
    kept = np.sort(len(found) - 1 - last).tolist()
    pairs = [(names[lefts[at]], names[rights[at]]) for at in kept]
    vocabulary = {name: number for number, name in enumerate(names)}
    return models.BPE(vocab=vocabulary, merges=pairs, unk_token=unknown)
