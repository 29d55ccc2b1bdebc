"""Tiny material for tests of training: a regular language, its corpora, tokenizer and tokens.

The language is that of the experiment in the how-to-train post's specification: random roots,
nouns in -o, adjectives in -a, plural -j, accusative -n with agreement, verbs in -as/-is/-os,
adverbs in -e; the tags come free.
"""

from __future__ import annotations

import random
from pathlib import Path

from stages.core import canonical
from stages.core.log import Log

NO_MORE = {name: Path("none") for name in ("second", "third", "fourth")}
"""What `pretrain` is given where an entry names one folder of tokens."""
Sentence = tuple[list[str], list[str]]
SYLLABLES = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]


def sentences(count: int, seed: int = 0, roots: int = 120) -> list[Sentence]:
    """Return sentences of the regular language as words and tags."""
    rng = random.Random(f"{seed}")
    lexicon = random.Random("lexicon")
    stems = [
        "".join(lexicon.choice(SYLLABLES) for _ in range(2)) + lexicon.choice("bdfgklmnprstv")
        for _ in range(roots)
    ]
    nouns, adjectives, verbs, adverbs = (stems[n::4] for n in range(4))

    def noun_phrase(case: str) -> Sentence:
        number = rng.choice(["", "j"])
        words, tags = [], []
        if rng.random() < 0.5:
            words.append("la")
            tags.append("DET")
        if rng.random() < 0.6:
            words.append(rng.choice(adjectives) + "a" + number + case)
            tags.append("ADJ")
        words.append(rng.choice(nouns) + "o" + number + case)
        tags.append("NOUN")
        return words, tags

    found = []
    for _ in range(count):
        words, tags = noun_phrase("")
        if rng.random() < 0.4:
            words.append(rng.choice(adverbs) + "e")
            tags.append("ADV")
        words.append(rng.choice(verbs) + rng.choice(["as", "is", "os"]))
        tags.append("VERB")
        if rng.random() < 0.7:
            more = noun_phrase("n")
            words, tags = words + more[0], tags + more[1]
        found.append(([*words, "."], [*tags, "PUNCT"]))
    return found


def text(sentence: Sentence) -> str:
    """Return a sentence as running text."""
    return " ".join(sentence[0]).replace(" .", ".")


def text_corpus(folder: Path, documents: int = 400, seed: int = 1, held_out: int = 40) -> Path:
    """Write a corpus of texts of one to six sentences each."""
    from stages.lm import tables

    rng = random.Random(f"{seed} documents")
    splits = {}
    for number, (split, count) in enumerate(
        (("train", documents), ("valid", held_out), ("test", held_out))
    ):
        with tables.ShardWriter(folder, split, tables.TEXT_SCHEMA) as writer:
            size = 0
            for document in range(count):
                body = " ".join(
                    text(row)
                    for row in sentences(
                        rng.randint(1, 6), seed * 1_000_003 + document * 3 + number
                    )
                )
                size += len(body)
                writer.add({"id": f"{split}-{document}", "text": body, "source": "test"})
        splits[split] = {
            "documents": count,
            "characters": size,
            "bytes": size,
            "shards": writer.shards,
        }
    canonical.write_json(folder / "corpus.json", {"kind": "text", "splits": splits})
    return folder


def labelled_corpus(
    folder: Path, counts: tuple[int, int, int] = (60, 40, 40), seed: int = 2
) -> Path:
    """Write a corpus of labelled sentences."""
    rows = sentences(sum(counts), seed)
    parts = {
        "train": rows[: counts[0]],
        "valid": rows[counts[0] : sum(counts[:2])],
        "test": rows[sum(counts[:2]) :],
    }
    return write_labelled(folder, parts)


def write_labelled(folder: Path, parts: dict[str, list[Sentence]]) -> Path:
    """Write labelled sentences by split."""
    from stages.lm import tables

    for split, part in parts.items():
        with tables.ShardWriter(folder, split, tables.LABELLED_SCHEMA) as writer:
            for number, (words, tags) in enumerate(part):
                writer.add(
                    {"id": f"{split}-{number}", "tokens": words, "tags": tags, "source": "test"}
                )
    labels = sorted({tag for part in parts.values() for _, tags in part for tag in tags})
    splits = {split: {"documents": len(part)} for split, part in parts.items()}
    canonical.write_json(
        folder / "corpus.json", {"kind": "labelled", "splits": splits, "labels": labels}
    )
    return folder


def tokens(
    root: Path,
    objective: str = "masked",
    documents: int = 400,
    sequence_length: int = 32,
    vocab_size: int = 400,
    held_out: int = 40,
) -> tuple[Path, Path]:
    """Write a corpus, a tokenizer and packed tokens; returns (tokens, tokenizer)."""
    from stages.encode.stage import EncodeParams, encode
    from stages.tokenizer.stage import TokenizerParams, tokenizer

    corpus = text_corpus(root / "corpus", documents, held_out=held_out)
    none = root / "none"
    none.mkdir(parents=True)
    tokenizer(
        params=TokenizerParams(corpus="x", vocab_size=vocab_size, objective=objective),
        corpus=corpus,
        reference=none,
        tokenizer=root / "tokenizer",
        log=Log(),
    )
    encode(
        params=EncodeParams(corpus="x", tokenizer="x", sequence_length=sequence_length),
        corpus=corpus,
        tokenizer=root / "tokenizer",
        indexed=none,
        tokens=root / "tokens",
        log=Log(),
    )
    return root / "tokens", root / "tokenizer"
