"""Learning a vocabulary from a corpus and saving it as the ecosystem opens it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import AddedToken, Tokenizer, processors

from stages.core import canonical
from stages.core.errors import CheckFailed
from stages.lm import corpora
from stages.lm.kernels.text import Texts, of_arrow, of_strings, to_strings
from stages.lm.kernels.wordcounts import Tallies
from stages.lm.spelling import BYTES_SPECIALS, CAUSAL_SPECIALS, MASKED_SPECIALS
from stages.lm.tokenizers import CONFIG
from stages.tokenizer import algorithms
from stages.tokenizer.preparation import Preparation
from stages.tokenizer.stage import TokenizerParams

BATCH_DOCUMENTS = 256
MODEL_MAX_LENGTH = 512
"""Tokens that a model reads at most, as `how-to-train` sets it; a model's folder says its own."""
BYTES_MAX_LENGTH = 2048
"""The same where tokens are bytes (Perceiver): about as much text."""


def train(params: TokenizerParams, corpus: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Learn a vocabulary from the training split; returns the tokenizer and what it saw."""
    backend, seen = learn(params, corpus, "text")
    found = backend.get_vocab_size()
    if found < params.vocab_size:
        raise CheckFailed(
            f"vocab_size {params.vocab_size} is more than this corpus can give: it has {found}"
            f" tokens whose pairs occur at least {params.min_frequency} times",
            f"the training split of {corpus} ({seen['bytes']} bytes were read)",
            f"set vocab_size to {found} or less, lower min_frequency, or give the corpus more text",
        )
    return backend, seen


def learn(params: TokenizerParams, corpus: Path, kind: str) -> tuple[Tokenizer, dict[str, Any]]:
    """Learn at most `vocab_size` tokens from a corpus of `kind`; fewer where it has fewer."""
    described = corpora.read_corpus(corpus, [kind], "tokenizer")
    size = corpora.split_size(described, "train", "bytes")
    if not size:
        raise CheckFailed(
            "the training split has no text to learn a vocabulary from",
            str(corpus),
            "give the corpus more text, or its training split a larger share",
        )
    column, limit = corpora.TEXT_COLUMNS[kind], params.max_training_bytes
    seen = {"documents": 0, "bytes": 0}
    first = [_special(token) for token in params.specials()]
    first += [AddedToken(token, normalized=False) for token in params.domain_tokens]
    preparation = Preparation(params)
    if params.algorithm == "bytes":
        backend = algorithms.every_byte(params, first)
    elif params.algorithm == "bpe":
        alone = params.split_digits and params.digit_group == 1
        tallies = Tallies(params.threads, alone)
        for texts in sampled(corpus, "train", column, size, limit):
            seen["documents"] += texts.documents
            seen["bytes"] += len(texts.data)
            tallies.add(_prepared(texts, preparation, alone))
        _check(preparation, corpus)
        backend = algorithms.bpe(params, first, tallies.words())
    else:
        strings = sample(corpus, "train", column, size, limit)
        backend = algorithms.learn(params, first, _batches(strings, seen, preparation, corpus))
    _finish(backend, params)
    return backend, seen | {"corpus_bytes": size, "vocabulary_tokens": backend.get_vocab_size()}


def _prepared(texts: Texts, preparation: Preparation, alone: bool) -> Texts:
    """Return what the words of texts are counted in; single digits are cut by the kernel."""
    if preparation.idle and (alone or preparation.whole):
        return texts
    cut = preparation.parts if alone else preparation.pieces
    return of_strings(piece for text in to_strings(texts) for piece in cut(text))


def _check(preparation: Preparation, corpus: Path) -> None:
    if not preparation.idle:
        preparation.check(f"the training split of {corpus}")


def sampled(corpus: Path, split: str, column: str, size: int, limit: int) -> Iterator[Texts]:
    """Yield the same texts as `sample`, row group by row group and as buffers."""
    threshold = min(1.0, limit / size) * 2.0**64
    used = 0
    for ids, column_texts in corpora.arrays(corpus, split, column):
        if size > limit:
            chosen = np.array([_rank(one) < threshold for one in ids.to_pylist()], bool)
            texts = of_arrow(column_texts.filter(pa.array(chosen)))
        else:
            texts = of_arrow(column_texts)
        fitting = int(np.searchsorted(texts.offsets, limit - used, side="right")) - 1
        used += int(texts.offsets[fitting])
        yield texts.part(0, fitting)
        if fitting < texts.documents:
            return


def sample(corpus: Path, split: str, column: str, size: int, limit: int) -> Iterator[str]:
    """Yield the texts of a split, at most `limit` of its `size` bytes, chosen by hash of id.

    The choice depends on the ids and the two numbers alone, and reads nothing twice.
    """
    threshold = min(1.0, limit / size) * 2.0**64
    used = 0
    for identity, text in corpora.documents(corpus, split, column):
        if size > limit and _rank(identity) >= threshold:
            continue
        used += len(text.encode("utf-8"))
        if used > limit:
            return
        yield text


def grouped_sample(
    corpus: Path, split: str, column: str, size: int, limit: int
) -> Iterator[tuple[str, str]]:
    """Yield the same texts as `sample`, each with its language or source."""
    threshold = min(1.0, limit / size) * 2.0**64
    used = 0
    for identity, text, group in corpora.grouped(corpus, split, column):
        if size > limit and _rank(identity) >= threshold:
            continue
        used += len(text.encode("utf-8"))
        if used > limit:
            return
        yield group, text


def _rank(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode("utf-8"), digest_size=8).digest(), "big")


def _batches(
    texts: Iterator[str], seen: dict[str, int], preparation: Preparation, corpus: Path
) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        seen["documents"] += 1
        seen["bytes"] += len(text.encode("utf-8"))
        batch += [text] if preparation.idle else preparation.parts(text)
        if len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch = []
    _check(preparation, corpus)
    if batch:
        yield batch


def _special(token: str) -> AddedToken:
    # RoBERTa's mask takes the space before it, so that "la <mask>" predicts " hundo" as it is
    # written inside a text.
    return AddedToken(token, lstrip=token == "<mask>", normalized=False, special=True)


def _finish(backend: Tokenizer, params: TokenizerParams) -> None:
    """Add the post-processor: what surrounds a text when it is encoded with special tokens."""
    masked, algorithm = params.objective == "masked", params.algorithm
    if masked and algorithm == "bpe":
        begin, end = MASKED_SPECIALS.index("<s>"), MASKED_SPECIALS.index("</s>")
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", end), ("<s>", begin), trim_offsets=True, add_prefix_space=False
        )
        return
    single, pair = "<s> $A </s>", "<s> $A </s> </s> $B </s>"
    if algorithm == "bytes":
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"
    if not masked:
        # The end token is written by `encode`, not here: a prompt must stay open for generation.
        begun = "[BOS]" if algorithm == "bytes" else CAUSAL_SPECIALS[0]
        single, pair = f"{begun} $A", f"{begun} $A $B:1"
    named = [(token, number) for number, token in enumerate(params.specials()) if token in pair]
    template = processors.TemplateProcessing(single=single, pair=pair, special_tokens=named)
    if masked and algorithm != "bytes":
        backend.post_processor = template
        return
    offsets = [processors.ByteLevel(trim_offsets=False)] if algorithm in ("bpe", "bytes") else []
    backend.post_processor = processors.Sequence([*offsets, template])


def save(backend: Tokenizer, params: TokenizerParams, folder: Path) -> None:
    """Write tokenizer.json, the vocabulary in its own format, and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    canonical.write_text(folder / "tokenizer.json", backend.to_str(pretty=True) + "\n")
    backend.model.save(str(folder))
    canonical.write_json(folder / CONFIG, _config(backend, params))


def _config(backend: Tokenizer, params: TokenizerParams) -> dict[str, Any]:
    """Return tokenizer_config.json.

    The generic class keeps tokenizer.json as it is; RobertaTokenizer rebuilds the pre-tokenizer
    from its own options and would drop the splitting of digits (transformers 5.23).
    """
    longest = BYTES_MAX_LENGTH if params.algorithm == "bytes" else MODEL_MAX_LENGTH
    added = {
        str(number): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for number, token in sorted(backend.get_added_tokens_decoder().items())
    }
    return _roles(params) | {
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": longest,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _roles(params: TokenizerParams) -> dict[str, str]:
    """Return which special token does what."""
    masked = params.objective == "masked"
    if params.algorithm == "bytes":
        pad, begin, end, mask, first, last = BYTES_SPECIALS
        roles = {"bos_token": begin, "eos_token": end, "pad_token": pad}
        wrapping = {"cls_token": first, "sep_token": last, "mask_token": mask}
        return roles | wrapping if masked else roles
    if not masked:
        return dict.fromkeys(("bos_token", "eos_token", "pad_token"), CAUSAL_SPECIALS[0])
    begin, pad, end, unknown, mask = MASKED_SPECIALS
    roles = {"bos_token": begin, "eos_token": end, "pad_token": pad}
    roles |= {"cls_token": begin, "sep_token": end, "unk_token": unknown}
    return roles | {"mask_token": mask}
