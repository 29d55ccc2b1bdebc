"""Words to tokens and back: how a sentence given word by word becomes a tagger's input.

Words are spaced as running text is (`tago .` becomes `tago.`), so that a tagger meets the tokens
that its model was pretrained on, and a user of the plain tokenizer gets the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CLOSING = frozenset(".,;:!?…)]}»”’%")
"""Characters that cling to the word before."""
OPENING = frozenset("([{«“„‘¿¡")
"""Characters that cling to the word after."""
WORD = re.compile(r"\w+(?:['’\-]\w+)*['’]?|[^\w\s]")


def words(text: str) -> list[str]:
    """Split raw text into words and single punctuation marks."""
    return WORD.findall(text)


def spaced(sentence: Sequence[str]) -> list[str]:
    """Return the words, each with a space before it where running text has one."""
    out: list[str] = []
    glued = True
    for word in sentence:
        clings = bool(word) and all(letter in CLOSING for letter in word)
        out.append(word if glued or clings else f" {word}")
        glued = bool(word) and all(letter in OPENING for letter in word)
    return out


@dataclass(frozen=True)
class Window:
    """A part of a sentence that fits the model: token ids with begin and end, and for each of its
    words (from `first` on) where its first token stands in `ids`."""

    sentence: int
    first: int
    ids: list[int]
    heads: list[int]


class Encoder:
    """Cuts sentences, given word by word, into windows of at most `limit` tokens.

    A sentence is cut between words only, and never truncated; of a single word longer than the
    model the first tokens are kept (`cut_words` counts them). A word without tokens gets the
    unknown token, so every word has a place.
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self._tokenizer = tokenizer
        self._begin = _first(tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        self._end = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
        self._unknown = _first(tokenizer.unk_token_id, tokenizer.eos_token_id)
        self._room = limit - 2
        self._known: dict[str, list[int]] = {}
        self.cut_words = 0
        self.split_sentences = 0

    def encode(self, sentences: Sequence[Sequence[str]]) -> list[Window]:
        """Return the windows of all sentences, in order; an empty sentence has none."""
        texts = [spaced(sentence) for sentence in sentences]
        self._learn({text for row in texts for text in row})
        return [window for number, row in enumerate(texts) for window in self._windows(number, row)]

    def _learn(self, texts: set[str]) -> None:
        new = sorted(texts - self._known.keys())
        if new:
            found = self._tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            self._known.update(zip(new, (list(ids) for ids in found), strict=True))

    def _windows(self, number: int, texts: Sequence[str]) -> list[Window]:
        found: list[Window] = []
        ids: list[int] = []
        heads: list[int] = []
        for place, text in enumerate(texts):
            tokens = self._known[text] or [self._unknown]
            if len(tokens) > self._room:
                self.cut_words += 1
                tokens = tokens[: self._room]
            if len(ids) + len(tokens) > self._room:
                found.append(self._closed(number, place - len(heads), ids, heads))
                ids, heads = [], []
            heads.append(len(ids) + 1)
            ids.extend(tokens)
        if heads:
            found.append(self._closed(number, len(texts) - len(heads), ids, heads))
        self.split_sentences += len(found) > 1
        return found

    def _closed(self, number: int, first: int, ids: list[int], heads: list[int]) -> Window:
        return Window(number, first, [self._begin, *ids, self._end], heads)


def _first(*candidates: int | None) -> int:
    return int(next(number for number in candidates if number is not None))
