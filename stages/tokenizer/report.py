"""What a tokenizer is worth: fertility, compression, words kept whole, round trip, references."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Tokenizer

from stages.core import canonical
from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm import corpora
from stages.lm.tokenizers import encode_texts
from stages.tokenizer import languages, quality, training
from stages.tokenizer.languages import Group, share
from stages.tokenizer.preparation import Preparation
from stages.tokenizer.stage import TokenizerParams

REPORT = "report.json"
WORD = re.compile(r"[^\W\d_]+")
"""A run of letters: what `kept whole` counts. Fertility counts what white space separates."""
RANDOM_STRINGS = 10_000
SPELLED_STRINGS = 1_000
"""Those of them that are searched for special tokens."""
RANDOM_SEED = 20_200_214
BATCH_DOCUMENTS = 64

T = TypeVar("T")


@dataclass
class Tally:
    """Sums over the texts measured so far."""

    texts: int = 0
    text_bytes: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    unknown: int = 0
    blank: int = 0
    broken: int = 0
    changed: int = 0
    emptied: int = 0
    groups: dict[str, Group] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    letters: Counter[str] = field(default_factory=Counter)


def measure(
    params: TokenizerParams, backend: Tokenizer, corpus: Path, reference: Path
) -> dict[str, Any]:
    """Measure a tokenizer on held-out text; returns what report.json holds."""
    described = corpora.read_corpus(corpus, ["text"], "tokenizer")
    splits = ("test", "valid", "train")
    split = next(name for name in splits if corpora.split_size(described, name, "bytes"))
    backend.encode_special_tokens = True

    def held_out() -> Iterator[tuple[str, str]]:
        size = corpora.split_size(described, split, "bytes")
        return training.grouped_sample(corpus, split, "text", size, params.report_bytes)

    preparation = Preparation(params)
    tally = tally_texts(backend, held_out(), preparation)
    _check_left(tally, f"the split {split} of {corpus}")
    kept, kept_distinct = kept_whole(backend, tally.letters)
    strings = random_strings(RANDOM_STRINGS, params.domain_tokens)
    broken, changed = round_trip(backend, strings, preparation)
    if params.algorithm in ("bpe", "bytes") and (tally.broken or broken):
        raise CheckFailed(
            f"decoding changed {tally.broken} of {tally.texts} held-out texts and {broken} of"
            f" {RANDOM_STRINGS} random strings",
            f"the tokenizer learned from {corpus}",
            "report this with the entry's parameters: bytes must come back as they went in",
        )
    return {
        "split": split,
        "texts": tally.texts,
        "bytes": tally.text_bytes,
        "characters": tally.characters,
        "words": tally.words,
        "tokens": tally.tokens,
        "tokens_per_word": share(tally.tokens, tally.words),
        "bytes_per_token": share(tally.text_bytes, tally.tokens),
        "characters_per_token": share(tally.characters, tally.tokens),
        "kept_whole_fraction": kept,
        "kept_whole_distinct_fraction": kept_distinct,
        "unknown_fraction": share(tally.unknown, tally.tokens),
        "white_space_fraction": share(tally.blank, tally.tokens),
        "vocabulary_tokens": backend.get_vocab_size(),
        "vocabulary_used_fraction": share(len(tally.used), backend.get_vocab_size()),
        "round_trip": {
            "held_out_texts": tally.texts,
            "random_strings": RANDOM_STRINGS,
            "changed": tally.broken + broken,
            "changed_by_normalising": tally.changed + changed,
        },
        "empty_after_normalising": tally.emptied,
        "tokens_by_kind": quality.kinds(backend, params, tally.used),
        "special_from_text": quality.special_from_text(backend, params, strings[:SPELLED_STRINGS]),
        "references": references(params, tally, reference, (text for _, text in held_out())),
        "languages": languages.of_groups(tally.groups)
        + languages.of_sides(params, backend, reference),
        "objective": params.objective,
    }


def _check_left(tally: Tally, where: str) -> None:
    if tally.texts and not tally.tokens:
        raise CheckFailed(
            f"all {tally.texts} held-out texts are empty after they are normalised",
            where,
            "take steps out of `normalise` in the tokenizer's entry, or give the corpus other text",
        )


def tally_texts(
    backend: Tokenizer, texts: Iterable[tuple[str, str]], preparation: Preparation
) -> Tally:
    """Encode, decode and count texts, each with its group, a few at a time.

    `broken` are texts that decoding does not give back, but for what normalising changes; `changed`
    those that normalising changes.
    """
    tally = Tally()
    unknown = backend.token_to_id("<unk>")
    blank = blank_ids(backend)
    for batch in _grouped(texts):
        found = encode_texts(backend, [text for _, text in batch])
        back = backend.decode_batch(found, skip_special_tokens=False)
        for (group, text), ids, decoded in zip(batch, found, back, strict=True):
            tally.groups.setdefault(group, Group()).add(text, ids, unknown)
            tally.texts += 1
            tally.text_bytes += len(text.encode("utf-8"))
            tally.characters += len(text)
            tally.words += len(text.split())
            tally.tokens += len(ids)
            tally.unknown += 0 if unknown is None else ids.count(unknown)
            tally.blank += sum(number in blank for number in ids)
            wanted = preparation.decoded(text)
            tally.broken += decoded != wanted
            tally.changed += wanted != text
            tally.emptied += bool(text) and not ids
            tally.used.update(ids)
            tally.letters.update(WORD.findall(text))
    return tally


def blank_ids(backend: Tokenizer) -> set[int]:
    """Return the ids of tokens that are white space only: in code they are the indentation."""
    decoded = backend.decode_batch(
        [[number] for number in range(backend.get_vocab_size())], skip_special_tokens=False
    )
    return {number for number, text in enumerate(decoded) if text and text.isspace()}


def kept_whole(backend: Tokenizer, letters: Counter[str]) -> tuple[float, float]:
    """Return the share of words that are one token after a space: of all, of distinct ones."""
    words = sorted(letters)
    whole = whole_distinct = 0
    for batch in _grouped(words, 4096):
        for word, ids in zip(
            batch, encode_texts(backend, [f" {word}" for word in batch]), strict=True
        ):
            if len(ids) == 1:
                whole += letters[word]
                whole_distinct += 1
    return share(whole, letters.total()), share(whole_distinct, len(words))


def round_trip(backend: Tokenizer, texts: list[str], preparation: Preparation) -> tuple[int, int]:
    """Return how many texts decoding does not give back, and how many normalising changes.

    What comes back must be the normalised text, exactly.
    """
    back = backend.decode_batch(encode_texts(backend, texts), skip_special_tokens=False)
    wanted = list(map(preparation.decoded, texts))
    broken = sum(one != decoded for one, decoded in zip(wanted, back, strict=True))
    return broken, sum(one != text for one, text in zip(wanted, texts, strict=True))


def random_strings(count: int, domain: Sequence[str] = ()) -> list[str]:
    """Return strings of 0 to 40 code points from all of Unicode but the surrogates.

    Half are uniform over code points; half mix in white space, digits, combining marks, domain
    tokens and the spelling of special tokens, where tokenizers go wrong.
    """
    source = random.Random(RANDOM_SEED)
    traps = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u200d", "\u0301", "\x00", "7", "Ġ", "ĉ"]
    traps += ["<s>", "<mask>", " <mask>", "</s>", "<pad>", "<unk>", "<|endoftext|>", "'s", "👩‍👩‍👧"]
    traps += ["[MASK]", "[CLS]", *domain]

    def point() -> str:
        number = source.randrange(0x110000 - 0x800)
        return chr(number if number < 0xD800 else number + 0x800)

    return [
        "".join(
            source.choice(traps) if number % 2 and source.random() < 0.5 else point()
            for _ in range(source.randrange(41))
        )
        for number in range(count)
    ]


def references(
    params: TokenizerParams, tally: Tally, reference: Path, texts: Iterator[str]
) -> list[dict[str, Any]]:
    """Compare the length of the held-out text with that under simpler or foreign tokenizers.

    `length_ratio` is our tokens by theirs: below 1 the text is shorter with ours.
    """
    rows: list[dict[str, Any]] = [
        {"name": "bytes", "tokens": tally.text_bytes, "vocabulary_tokens": 256},
        {"name": "characters", "tokens": tally.characters, "vocabulary_tokens": None},
    ]
    if params.reference != "none":
        kind = corpora.read_corpus(reference, list(corpora.TEXT_COLUMNS), "tokenizer")["kind"]
        foreign, _ = training.learn(params, reference, kind)
        foreign.encode_special_tokens = True
        tokens = sum(len(ids) for batch in _grouped(texts) for ids in encode_texts(foreign, batch))
        rows.append(
            {
                "name": f"{params.algorithm}:{params.reference}",
                "tokens": tokens,
                "vocabulary_tokens": foreign.get_vocab_size(),
            }
        )
    return [row | {"length_ratio": share(tally.tokens, row["tokens"])} for row in rows]


def write(folder: Path, measured: dict[str, Any], log: Log) -> None:
    """Write report.json and report its numbers."""
    canonical.write_json(folder / REPORT, measured)
    log.metric("vocabulary_tokens", measured["vocabulary_tokens"])
    log.metric("fertility_tokens_per_word", measured["tokens_per_word"])
    log.metric("compression_bytes_per_token", measured["bytes_per_token"])
    log.metric("kept_whole_fraction", measured["kept_whole_fraction"])
    log.metric("unknown_fraction", measured["unknown_fraction"])
    log.metric("vocabulary_used_fraction", measured["vocabulary_used_fraction"])
    for row in measured["references"]:
        name = "foreign" if ":" in row["name"] else row["name"]
        log.metric(f"length_against_{name}_ratio", row["length_ratio"])
    log.table("references", measured["references"])
    log.table("languages", measured["languages"])


def _grouped(texts: Iterable[T], size: int = BATCH_DOCUMENTS) -> Iterator[list[T]]:
    batch: list[T] = []
    for text in texts:
        batch.append(text)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
