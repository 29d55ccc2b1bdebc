"""Which language a text is in: frequent words mixed with a character-trigram model.

A word's probability in a language is the mixture

    p(w) = 1/2 * Zipf(rank of w in the language's list) + 1/2 * product of p(c | two before)

where the trigram model is trained on the same list, word by word (Cavnar & Trenkle 1994 for the
trigrams, Dunning 1994, CRL MCCS 94-273, for the Markov form). Letters that a list never shows, such
as diacritics of another language, cost log(1/ALPHABET) each, so they speak against it.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from stages.refine.wordlists import WORDS

LANGUAGES = tuple(WORDS)
ALPHABET = 200
"""Characters that could follow a context, for smoothing."""
BACKOFF = (4.0, 2.0, 2.0)
"""Weight of the shorter context's estimate for contexts of 0, 1 and 2 characters."""
KEPT = 200_000
"""Words and trigrams whose scores are remembered."""
LETTERS = 24
"""Letters of a word that are looked at."""
SLACK_NATS = 1e-3
SAMPLE_WORDS = 400
"""Words judged per document: half from its start, half from its middle."""

GAP = "\n\n"
"""What stands between two paragraphs."""
WHOLE = 12 * SAMPLE_WORDS
"""Characters of a text of which all words are looked at, the first `SAMPLE_WORDS` of them."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]*)*")
_TOKEN = re.compile(rf"{_WORD.pattern}|{GAP}")


class _Trigrams:
    """Character probabilities given the two before, backing off to fewer by linear weights."""

    def __init__(self, words: Sequence[str]) -> None:
        self.counts: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
        self.contexts: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
        for word in words:
            padded = f"\x02\x02{word}\x03"
            for i in range(2, len(padded)):
                for order in range(3):
                    self.counts[order][padded[i - order : i + 1]] += 1
                    self.contexts[order][padded[i - order : i]] += 1

    def log(self, trigram: str) -> float:
        """Return the natural logarithm of p(last character | first two)."""
        chance = 1.0 / ALPHABET
        for order in range(3):
            seen = self.counts[order][trigram[2 - order :]]
            context = self.contexts[order][trigram[2 - order : 2]]
            weight = BACKOFF[order]
            chance = (seen + weight * chance) / (context + weight)
        return math.log(chance)


class Identifier:
    """Scores texts against every language of `wordlists`."""

    def __init__(self) -> None:
        self._trigrams: list[_Trigrams] = []
        self._listed: dict[str, NDArray[np.float64]] = {}
        for number, text in enumerate(WORDS.values()):
            words = list(dict.fromkeys(text.split()))
            harmonic = sum(1 / (rank + 10) for rank in range(len(words)))
            for rank, word in enumerate(words):
                row = self._listed.setdefault(word, np.zeros(len(LANGUAGES)))
                row[number] = 0.5 / (rank + 10) / harmonic
            self._trigrams.append(_Trigrams(words))
        self._logs: dict[str, NDArray[np.float64]] = {}
        self._room = KEPT
        self._rows = np.zeros((KEPT + SAMPLE_WORDS, len(LANGUAGES)))
        """Scores of words: those that are remembered, and behind them a text's others."""
        self._known: dict[str, int] = {GAP: 0}
        self._masks: dict[tuple[str, ...], NDArray[np.bool_]] = {}
        self._last: tuple[str, NDArray[np.bool_], float] = "", np.zeros(0, bool), 0.0

    def _trigram(self, trigram: str) -> NDArray[np.float64]:
        found = self._logs.get(trigram)
        if found is None:
            found = np.array([model.log(trigram) for model in self._trigrams])
            if len(self._logs) < KEPT:
                self._logs[trigram] = found
        return found

    def _word(self, word: str) -> NDArray[np.float64]:
        padded = f"\x02\x02{word}\x03"
        found = sum(
            (self._trigram(padded[i : i + 3]) for i in range(len(word) + 1)),
            start=np.full(len(LANGUAGES), math.log(0.5)),
        )
        if word in self._listed:
            found = np.log(self._listed[word] + np.exp(found))
        return found

    def _learn(self, word: str, spare: int) -> int:
        """Return the row of a word that is new; row `spare` where no more are remembered."""
        number = len(self._known)
        if number < self._room:
            self._known[word] = number
        else:
            number = spare
        self._rows[number] = self._word(word[:LETTERS])
        return number

    def scores(self, text: str) -> tuple[NDArray[np.float64], int]:
        """Return the summed log-probability per language and how many words were judged."""
        words = sample(text)
        if not words:
            return np.zeros(len(LANGUAGES)), 0
        rows = list(map(self._known.get, words, repeat(-1)))
        if -1 in rows:
            for place, word in enumerate(words):
                if rows[place] < 0:  # may have come since: a word stands twice in a text
                    known = self._known.get(word, -1)
                    rows[place] = known if known >= 0 else self._learn(word, self._room + place)
        return self._rows[rows].sum(axis=0), len(words)

    def suspects(self, text: str, languages: Sequence[str], evidence_nats: float) -> list[int]:
        """Return the places of paragraphs that may be in another language: all others are not.

        Those where the best of `languages` is so many nats behind, with some slack, as sums of
        many rows at once are rounded otherwise; and those with a word that is not remembered.
        Long paragraphs, of which not all words are judged, may be too.
        """
        wanted = self._mask(tuple(languages))
        if wanted.all():
            return []
        if len(text) > WHOLE and max(map(len, text.split(GAP))) > WHOLE:
            return list(range(text.count(GAP) + 1))
        tokens = _TOKEN.findall(text.lower().replace("’", "'"))
        if not tokens:
            return []
        rows = np.array(self._numbers(tokens))
        # A gap's own row is zero, and so is the sum of a paragraph that has no words.
        firsts = np.concatenate([[0], np.flatnonzero(rows == 0)])
        totals = np.add.reduceat(self._rows[rows], firsts, axis=0)
        leads = totals[:, wanted].max(axis=1) - totals[:, ~wanted].max(axis=1)
        doubtful = leads <= SLACK_NATS - evidence_nats
        doubtful |= np.diff(firsts, append=len(rows)) > SAMPLE_WORDS
        if rows.min() < 0:
            doubtful |= np.minimum.reduceat(rows, firsts) < 0
        elif rows.any() and len(text) <= WHOLE and len(rows) <= SAMPLE_WORDS:
            whole = totals.sum(axis=0)
            self._last = text, wanted, float(whole[wanted].max() - whole[~wanted].max())
        found: list[int] = np.flatnonzero(doubtful).tolist()
        return found

    def surely(self, text: str, languages: Sequence[str], evidence_nats: float) -> bool:
        """Tell whether the text that `suspects` saw last is not in another language."""
        last, wanted, lead = self._last
        same = last is text and wanted is self._mask(tuple(languages))
        return same and lead > SLACK_NATS - evidence_nats

    def _mask(self, languages: tuple[str, ...]) -> NDArray[np.bool_]:
        if languages not in self._masks:
            self._masks[languages] = np.array([name in languages for name in LANGUAGES])
        return self._masks[languages]

    def _numbers(self, tokens: list[str]) -> list[int]:
        """Return the rows of words and gaps, -1 for words that are not remembered."""
        rows = list(map(self._known.get, tokens, repeat(-1)))
        if -1 in rows:
            for place in [place for place, row in enumerate(rows) if row < 0]:
                word = tokens[place]
                known = self._known.get(word, -1)
                room = len(self._known) < self._room
                rows[place] = self._learn(word, -1) if known < 0 and room else known
        return rows

    def identify(self, text: str) -> tuple[str, float]:
        """Return the likeliest language and its lead over the next in nats per word.

        A text without a word is `und` (undetermined) with lead 0.
        """
        total, count = self.scores(text)
        if not count:
            return "und", 0.0
        order = np.argsort(-total, kind="stable")
        return LANGUAGES[order[0]], float(total[order[0]] - total[order[1]]) / count

    def lead(self, text: str, languages: Sequence[str]) -> tuple[float, int]:
        """Return by how much the best of `languages` leads all others, and the words judged.

        The lead is in nats per word, negative where another language is likelier.
        """
        total, count = self.scores(text)
        wanted = self._mask(tuple(languages))
        if not count:
            return 0.0, 0
        if wanted.all():
            return math.inf, count
        return float(total[wanted].max() - total[~wanted].max()) / count, count


def sample(text: str) -> list[str]:
    """Return the lower-cased words that are judged: all of a short text, two runs of a long one."""
    half = SAMPLE_WORDS // 2
    room = half * 12
    if len(text) <= WHOLE:
        return _WORD.findall(text.lower().replace("’", "'"))[:SAMPLE_WORDS]
    middle = len(text) // 2
    parts = (text[:room], text[middle : middle + room])
    return [w for part in parts for w in _WORD.findall(part.lower().replace("’", "'"))[:half]]


@functools.cache
def identifier() -> Identifier:
    """Return the identifier, trained once per process."""
    return Identifier()
