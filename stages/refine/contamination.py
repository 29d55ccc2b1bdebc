"""Evaluation text in training text: shared runs of words and whole sentences."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.records import raw_documents, raw_files, raw_labelled, raw_pairs
from stages.refine.settings import Decontaminate

_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[^\n.!?…]+(?:[.!?…]+[»”\"')\]]*|\n|$)")


def _key(words: Sequence[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of sentences: up to `.`, `!`, `?`, an ellipsis or a line end."""
    for match in _SENTENCE.finditer(text):
        if match[0].strip():
            yield match.span()


@dataclass
class HeldOut:
    """Word runs and sentences of the held-out texts, as 8-byte hashes, each with its item.

    An item is one held-out record; `hit` collects the items that training text contained.
    """

    settings: Decontaminate
    runs: dict[bytes, int] = field(default_factory=dict)
    whole: dict[bytes, int] = field(default_factory=dict)
    items: int = 0
    hit: set[int] = field(default_factory=set)

    def add(self, text: str) -> None:
        """Take one held-out text."""
        ngram = self.settings.ngram
        words = _WORD.findall(text.lower())
        for start in range(len(words) - ngram + 1):
            self.runs.setdefault(_key(words[start : start + ngram]), self.items)
        for start, stop in sentences(text):
            sentence = _WORD.findall(text[start:stop].lower())
            if len(sentence) >= self.settings.min_sentence_words:
                self.whole.setdefault(_key(sentence), self.items)
        self.items += 1

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the sentences of a text that share something with the held-out texts, in order."""
        lower = text.lower()
        if len(lower) != len(text):
            # A few capitals grow when lowered; offsets must stay those of the text.
            lower = "".join(low if len(low := char.lower()) == 1 else char for char in text)
        matches = list(_WORD.finditer(lower))
        found: list[tuple[int, int]] = []
        ngram = self.settings.ngram
        words = [match[0] for match in matches]
        if self.runs:
            for start in range(len(words) - ngram + 1):
                item = self.runs.get(_key(words[start : start + ngram]))
                if item is not None:
                    self.hit.add(item)
                    found.append((matches[start].start(), matches[start + ngram - 1].end()))
        cut: list[tuple[int, int]] = []
        at = 0
        for begin, end in sentences(text):
            while at < len(found) and found[at][1] <= begin:
                at += 1
            crossed = at < len(found) and found[at][0] < end
            if crossed or self._is_whole(lower[begin:end]):
                cut.append((begin, end))
        return cut

    def _is_whole(self, sentence: str) -> bool:
        words = _WORD.findall(sentence)
        if len(words) < self.settings.min_sentence_words:
            return False
        item = self.whole.get(_key(words))
        if item is not None:
            self.hit.add(item)
        return item is not None


def cut_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text without the spans."""
    parts, at = [], 0
    for start, stop in spans:
        parts.append(text[at:start])
        at = stop
    kept = "".join([*parts, text[at:]])
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", kept)).strip()


def held_out(folder: Path, settings: Decontaminate) -> HeldOut:
    """Read the held-out texts: valid and test of a corpus, or every text of a raw folder."""
    found = HeldOut(settings)
    if (folder / "corpus.json").is_file():
        texts = _corpus_texts(folder)
    elif (folder / "manifest.json").is_file():
        texts = _raw_texts(folder)
    else:
        raise ArtifactError(
            "the held-out folder holds neither corpus.json nor manifest.json",
            str(folder),
            "name an entry of refine (corpora/<key>) or of acquire (raw/<key>) that was made",
        )
    for text in texts:
        found.add(text)
    return found


def _corpus_texts(folder: Path) -> Iterator[str]:
    from stages.lm import tables

    manifest = json.loads((folder / "corpus.json").read_text("utf-8"))
    columns = {"text": ["text"], "labelled": ["tokens"], "parallel": ["source_text", "target_text"]}
    wanted = columns[manifest["kind"]]
    for split in ("test", "valid"):
        for row in tables.iter_rows(folder, split, wanted):
            for value in row.values():
                yield " ".join(value) if isinstance(value, list) else value


def _raw_texts(folder: Path) -> Iterator[str]:
    kinds = {file.kind for file in raw_files(folder)}
    if "documents" in kinds:
        yield from (document.text for document in raw_documents(folder))
    if "labelled" in kinds:
        for sentence in raw_labelled(folder):
            yield sentence.text or " ".join(sentence.tokens)
    if "pairs" in kinds:
        for pair in raw_pairs(folder):
            yield pair.source_text
            yield pair.target_text
