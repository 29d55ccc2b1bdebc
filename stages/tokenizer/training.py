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
from stages.lm.kernels.text import Texts, of_arrow
from stages.lm.kernels.wordcounts import Tallies
from stages.lm.tokenizers import CAUSAL_SPECIALS, CONFIG, MASKED_SPECIALS
from stages.tokenizer import algorithms
from stages.tokenizer.stage import TokenizerParams

BATCH_DOCUMENTS = 256
MODEL_MAX_LENGTH = 512
"""Tokens that a model reads at most, as `how-to-train` sets it; a model's folder says its own."""


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
    specials = CAUSAL_SPECIALS if params.objective == "causal" else MASKED_SPECIALS
    seen = {"documents": 0, "bytes": 0}
    given = [_special(token) for token in specials]
    if params.algorithm == "bpe":
        tallies = Tallies(params.threads, params.split_digits)
        for texts in sampled(corpus, "train", column, size, limit):
            seen["documents"] += texts.documents
            seen["bytes"] += len(texts.data)
            tallies.add(texts)
        backend = algorithms.bpe(params, given, tallies.words())
    else:
        strings = sample(corpus, "train", column, size, limit)
        backend = algorithms.learn(params, given, _batches(strings, seen))
    _finish(backend, params)
    return backend, seen | {"corpus_bytes": size, "vocabulary_tokens": backend.get_vocab_size()}


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


def _rank(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode("utf-8"), digest_size=8).digest(), "big")


def _batches(texts: Iterator[str], seen: dict[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        seen["documents"] += 1
        seen["bytes"] += len(text.encode("utf-8"))
        batch.append(text)
        if len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _special(token: str) -> AddedToken:
    # RoBERTa's mask takes the space before it, so that "la <mask>" predicts " hundo" as it is
    # written inside a text.
    return AddedToken(token, lstrip=token == "<mask>", normalized=False, special=True)


def _finish(backend: Tokenizer, params: TokenizerParams) -> None:
    """Add the post-processor: what surrounds a text when it is encoded with special tokens."""
    begin, end = MASKED_SPECIALS.index("<s>"), MASKED_SPECIALS.index("</s>")
    if params.objective == "masked" and params.algorithm != "bpe":
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[("<s>", begin), ("</s>", end)],
        )
        return
    if params.objective == "masked":
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", end), ("<s>", begin), trim_offsets=True, add_prefix_space=False
        )
        return
    # The end token is written by `encode`, not here: a prompt must stay open for generation.
    (token,) = CAUSAL_SPECIALS
    template = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A $B:1", special_tokens=[(token, 0)]
    )
    offsets = [processors.ByteLevel(trim_offsets=False)] if params.algorithm == "bpe" else []
    backend.post_processor = processors.Sequence([*offsets, template])


def save(backend: Tokenizer, objective: str, folder: Path) -> None:
    """Write tokenizer.json, the vocabulary in its own format, and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    canonical.write_text(folder / "tokenizer.json", backend.to_str(pretty=True) + "\n")
    backend.model.save(str(folder))
    canonical.write_json(folder / CONFIG, _config(backend, objective))


def _config(backend: Tokenizer, objective: str) -> dict[str, Any]:
    """Return tokenizer_config.json.

    The generic class keeps tokenizer.json as it is; RobertaTokenizer rebuilds the pre-tokenizer
    from its own options and would drop the splitting of digits (transformers 5.23).
    """
    masked = objective == "masked"
    begin, end, pad = ("<s>", "</s>", "<pad>") if masked else CAUSAL_SPECIALS * 3
    roles = {"bos_token": begin, "eos_token": end, "pad_token": pad}
    if masked:
        roles |= {"cls_token": begin, "sep_token": end, "unk_token": "<unk>"}
        roles |= {"mask_token": "<mask>"}
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
    return roles | {
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": MODEL_MAX_LENGTH,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
