"""Which languages Moses was told, where the release does not say: what its recordings repeat.

`--tokenizer moses` of fairseq knows English unless it is told otherwise, and people tokenise before
with any language; neither stands in the checkpoint. Recorded sentences show it: their words must be
those that Moses cuts, and their texts those that it joins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stages.lm.pipelines import CONTINUED, SPECIALS, Words

if TYPE_CHECKING:
    from stages.port.fairseq.source import Source
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
    told = _told(own, source.source_symbols, options)
    found = []
    for place in (0, 1):
        candidates = list(dict.fromkeys([own[place], ENGLISH]))
        wrong = [_mistakes(one, place, told, rows) for one in candidates]
        found.append(candidates[wrong.index(min(wrong))])
    return found


def lower_case(symbols: Iterable[str]) -> bool:
    """Tell whether a dictionary knows no capital, so that texts were written small before."""
    return not any(one.isupper() for symbol in {*symbols} - {*SPECIALS} for one in symbol)


def used(own: list[str], symbols: Iterable[str], rows: list[Any], options: Fairseq) -> bool:
    """Tell whether texts of byte pairs went through Moses: unless spaces alone repeat recordings.

    Words were then cut before the recorded sources, or never.
    """
    told = _told(own, symbols, options)
    languages = options.moses_languages[:1] or list(dict.fromkeys([own[0], ENGLISH]))
    plain = _mistakes("", 0, told, rows[:ROWS])
    return plain >= min(_mistakes(one, 0, told, rows[:ROWS]) for one in languages)


def _told(own: list[str], symbols: Iterable[str], options: Fairseq) -> dict[str, Any]:
    normalised = options.punctuation_normalisation
    lower = lower_case(symbols)
    return {"langs": own, "do_lower_case": lower, "punctuation_normalisation": normalised}


def _mistakes(language: str, place: int, told: dict[str, Any], rows: list[Any]) -> int:
    """Return how many recorded sides Moses would cut (0: source) or join (1: target) otherwise.

    No language: words are what stands between spaces.
    """
    words = Words({**told, "moses_languages": [language or ENGLISH] * 2}, moses=bool(language))
    if place == 0:
        cut = (" ".join(words.split(row["source"]).split()) for row in rows)
        return sum(one != _whole(row["source_bpe"]) for one, row in zip(cut, rows, strict=True))
    return sum(
        words.join(_whole(one["tokens_bpe"]).split()) != one["text"]
        for row in rows
        for one in row["hyps"][:1]
    )


def _whole(pieces: str) -> str:
    """Return words of pieces, as `--remove-bpe` does."""
    return (pieces + " ").replace(f"{CONTINUED} ", "").rstrip()
