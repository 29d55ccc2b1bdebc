"""Which languages Moses was told, where the release does not say: what its recordings repeat.

`--tokenizer moses` of fairseq knows English unless it is told otherwise, and people tokenise before
with any language; neither stands in the checkpoint. Recorded sentences show it: their words must be
those that Moses cuts, and their texts those that it joins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.lm.pipelines import CONTINUED, Words
from stages.port.fairseq.source import Source

if TYPE_CHECKING:
    from stages.port.stage import Fairseq

ENGLISH = "en"
ROWS = 200
"""Recorded sentences looked at."""


def languages(source: Source, options: Fairseq) -> list[str]:
    """Return the two languages: as told, else those that the recordings repeat best, else own."""
    if options.moses_languages:
        return options.moses_languages
    shape = source.architecture
    own = [shape.source_language, shape.target_language]
    rows = [row for found in source.recorded.values() for row in found[:ROWS]][:ROWS]
    rows = rows or [row for found in source.recorded_ensemble.values() for row in found[:ROWS]]
    if not (source.moses and rows) or source.subwords.format == "sentencepiece":
        return own
    normalised = options.punctuation_normalisation
    found = []
    for place in (0, 1):
        candidates = list(dict.fromkeys([own[place], ENGLISH]))
        wrong = [_mistakes(one, place, own, rows, normalised) for one in candidates]
        found.append(candidates[wrong.index(min(wrong))])
    return found


def _mistakes(language: str, place: int, own: list[str], rows: list[Any], normalised: bool) -> int:
    """Return how many recorded sides Moses would cut (0: source) or join (1: target) otherwise."""
    told = {"langs": own, "moses_languages": [language, language]}
    words = Words({**told, "punctuation_normalisation": normalised}, moses=True)
    if place == 0:
        return sum(words.split(row["source"]) != _whole(row["source_bpe"]) for row in rows)
    return sum(
        words.join(_whole(one["tokens_bpe"]).split()) != one["text"]
        for row in rows
        for one in row["hyps"][:1]
    )


def _whole(pieces: str) -> str:
    """Return words of pieces, as `--remove-bpe` does."""
    return (pieces + " ").replace(f"{CONTINUED} ", "").rstrip()
