"""Texts to ids: by the kernels where they give what `tokenizers` gives, by the library elsewhere.

The rule, per tokenizer (`kernel_rules` says why not):

- the model is BPE without dropout, affixes or `ignore_merges`, its vocabulary has all 256 bytes and
  what every merge makes, and ids are below 2 ** 20;
- the pre-tokenizer is ByteLevel with GPT-2's expression and no added space, alone or behind
  `Digits(individual_digits=True)`, or `Split` by that expression and ByteLevel without one; or
  ByteLevel in any way where the vocabulary is bytes alone;
- there is no normalizer, or NFC alone; and neither truncation nor padding.

And per document: one that holds, under NFC, a character from U+0300 on is the library's; so is one
with an added token which the tokenizer takes out of text, where such tokens have conditions (a
normalised text, a single word, spaces beside them) or NFC is asked for. Where they have none
(domain tokens), the kernels encode what stands between them (`stages.lm.segments`). Everything else
is encoded by the kernels.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.lm import bytelevel, segments
from stages.lm.kernels import bpe, encoding
from stages.lm.kernels.remembered import MOST_IDS
from stages.lm.kernels.text import Texts
from stages.lm.spelling import spellings

Ids = NDArray[Any]
Counts = NDArray[np.int64]
COMBINING_LEAD = 0xCC
"""First byte of U+0300: below it every text is in NFC."""
AT_ONCE = 64
"""Documents given to the library at once: larger batches are slower."""


class KernelRules(NamedTuple):
    """What the kernels need; `traps` are added tokens, `composed` says that NFC is asked for.

    `tokens` are the traps where texts can be cut at them without the library.
    """

    rules: bpe.Rules
    isolate: bool
    traps: tuple[bytes, ...]
    composed: bool
    tokens: segments.Tokens | None


def kernel_rules(state: dict[str, Any], specials_are_text: bool) -> KernelRules | str:
    """Return rules for a tokenizer.json, or the reason why the library must encode."""
    model, added = state["model"], state.get("added_tokens") or []
    isolate = bytelevel.isolates(state.get("pre_tokenizer"))
    composed = _composes(state.get("normalizer"))
    if model.get("type") != "BPE":
        return f"the model is {model.get('type')}"
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(name):
            return f"the model has {name}"
    if isolate is None and not model["merges"] and bytelevel.keeps_bytes(state["pre_tokenizer"]):
        isolate = False  # without merges every byte is a token, wherever text is cut
    if isolate is None:
        return "the pre-tokenizer is not GPT-2's"
    if composed is None:
        return "the normalizer is not NFC"
    for name in ("truncation", "padding"):
        if state.get(name):
            return f"the tokenizer has {name}"
    rules = _rules(model["vocab"], model["merges"])
    if isinstance(rules, str):
        return rules
    traps = [one["content"] for one in added if not (one["special"] and specials_are_text)]
    return KernelRules(
        rules,
        isolate,
        tuple(one.encode() for one in traps if one),
        composed,
        segments.tokens_of(added, specials_are_text) if traps else None,
    )


def _rules(vocabulary: dict[str, int], merges: list[Any]) -> bpe.Rules | str:
    if any(letter not in vocabulary for letter in spellings()):
        return "the vocabulary lacks bytes"
    if max(vocabulary.values()) >= MOST_IDS:
        return f"ids reach {MOST_IDS}"
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    try:
        found = {
            (vocabulary[left], vocabulary[right]): (rank, vocabulary[left + right])
            for rank, (left, right) in enumerate(pairs)
        }
    except KeyError:
        return "the vocabulary lacks what a merge makes"
    return bpe.rules([vocabulary[letter] for letter in spellings()], found)


def _composes(normalizer: Any) -> bool | None:
    """Return whether a normalizer is NFC, False if there is none, None if it is another."""
    if normalizer is None:
        return False
    if normalizer.get("type") == "Sequence":
        inner = [_composes(one) for one in normalizer["normalizers"]]
        return None if None in inner else any(inner)
    return True if normalizer.get("type") == "NFC" else None


class Encoded(NamedTuple):
    """`ids` of all documents (uint16 or uint32); `firsts` [D + 1] where each document's begin;
    `characters` [D] how many each has."""

    ids: Ids
    firsts: Counts
    characters: Counts


class Encoder:
    """Encodes texts with one tokenizer, without its post-processor.

    `reason` is why the library encodes everything, None where the kernels do.
    """

    def __init__(self, backend: Any, threads: int = 1) -> None:
        self._backend = backend
        state = json.loads(backend.to_str())
        self._wide = _largest(state, backend) >= 1 << 16
        found = kernel_rules(state, bool(backend.encode_special_tokens))
        self.reason = found if isinstance(found, str) else None
        self._kernel: encoding.Encoder | None = None
        self._traps: tuple[bytes, ...] = ()
        self._composed = False
        self._tokens: segments.Tokens | None = None
        if not isinstance(found, str):
            self._kernel = encoding.Encoder(found.rules, found.isolate, threads)
            self._traps, self._composed = found.traps, found.composed
            self._tokens = None if self._composed else found.tokens

    def encode(self, texts: Texts, begin: int = -1, end: int = -1) -> Encoded:
        """Encode texts; `begin` and `end` stand around every document unless they are -1."""
        if self._kernel is None:
            return self._by_library(texts, begin, end)
        found = Encoded(*self._kernel.encode(texts, self._wide, begin, end))
        apart = self._apart(texts)
        if not len(apart):
            return found
        otherwise = self._by_library if self._tokens is None else self._by_segments
        if len(apart) == texts.documents:
            return otherwise(texts, begin, end)
        told = otherwise(_chosen(texts, apart), begin, end)
        return found._replace(**_spliced(found, told, apart))

    def _apart(self, texts: Texts) -> Counts:
        """Return the numbers of the documents that the library must encode."""
        chosen = np.zeros(texts.documents, bool)
        if self._composed:
            chosen[_owners(texts, np.flatnonzero(texts.data >= COMBINING_LEAD))] = True
        data = texts.data.tobytes() if self._traps else b""
        for trap in self._traps:
            at = data.find(trap)
            while at >= 0:
                owner = int(_owners(texts, np.array([at]))[0])
                inside = at + len(trap) <= int(texts.offsets[owner + 1])
                chosen[owner] |= inside
                # A document needs to be found once.
                at = data.find(trap, int(texts.offsets[owner + 1]) if inside else at + 1)
        return np.flatnonzero(chosen)

    def _by_segments(self, texts: Texts, begin: int, end: int) -> Encoded:
        kernel, tokens = self._kernel, self._tokens
        assert kernel is not None, "kernel_rules gave rules"
        assert tokens is not None, "and tokens without conditions"
        work = partial(kernel.encode, wide=self._wide)
        return Encoded(*segments.encode(texts, tokens, work, begin, end))

    def _by_library(self, texts: Texts, begin: int, end: int) -> Encoded:
        ids: list[Ids] = []
        kind = np.uint32 if self._wide else np.uint16
        opening, closing = ([] if one < 0 else [one] for one in (begin, end))
        strings = [texts.bytes_at(number).decode("utf-8", "replace") for number in
                   range(texts.documents)]  # fmt: skip
        for first in range(0, len(strings), AT_ONCE):
            batch = strings[first : first + AT_ONCE]
            for one in self._backend.encode_batch_fast(batch, add_special_tokens=False):
                ids.append(np.array([*opening, *one.ids, *closing], kind))
        firsts = np.cumsum([0, *(len(one) for one in ids)]).astype(np.int64)
        characters = np.array([len(one) for one in strings], np.int64)
        return Encoded(np.concatenate([np.zeros(0, kind), *ids]), firsts, characters)


def _largest(state: dict[str, Any], backend: Any) -> int:
    """Return the largest id."""
    vocabulary = state["model"].get("vocab")
    if not isinstance(vocabulary, dict):  # Unigram lists its pieces
        vocabulary = backend.get_vocab()
    added = (one["id"] for one in state.get("added_tokens") or [])
    return max([*vocabulary.values(), *added], default=0)


def _owners(texts: Texts, places: Counts) -> Counts:
    return np.searchsorted(texts.offsets, places, side="right") - 1


def _chosen(texts: Texts, numbers: Counts) -> Texts:
    parts = [texts.bytes_at(int(number)) for number in numbers]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return Texts(np.frombuffer(b"".join(parts), np.uint8), offsets)


def _spliced(found: Encoded, told: Encoded, numbers: Counts) -> dict[str, Any]:
    """Return the ids and firsts of `found` with `told` in place of some documents."""
    sizes = np.diff(found.firsts)
    sizes[numbers] = np.diff(told.firsts)
    pieces: list[Ids] = []
    at = 0
    for place, number in enumerate(numbers.tolist()):
        pieces += [
            found.ids[at : found.firsts[number]],
            told.ids[told.firsts[place] : told.firsts[place + 1]],
        ]
        at = found.firsts[number + 1]
    firsts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return {"ids": np.concatenate([*pieces, found.ids[at:]]), "firsts": firsts}
