"""Words by language: identity terms whose company is measured, and closed-class words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stages.refine.wordlists import WORDS

TERMS = {
    "en": "man,woman,non binary,gay,lesbian,queer,trans,straight,cis,she,her,hers,he,him,his,they,"
    "them,their,theirs,himself,herself",
    "eo": "viro,virino,knabo,knabino,patro,patrino,edzo,edzino,li,lia,lin,ŝi,ŝia,ŝin,ili,ilia,ilin,"
    "geja,samseksema,nebinara,transgenra",
}
"""English: the list of the Data Measurements Tool; Esperanto: the same of it that has a word."""
PAIRS = {
    "en": ("he/she", "man/woman", "his/her"),
    "eo": ("li/ŝi", "viro/virino", "patro/patrino"),
}
CLOSED = 60
"""So many first words of a language's list are of closed classes, nearly all."""
REMNANTS = {
    "en": "ll wasn don dont u t s re ve d m didn isn aren couldn doesn hadn hasn haven shouldn won "
    "wouldn"
}
"""What `\\w+` leaves of contractions."""


def terms(languages: Iterable[str]) -> list[str]:
    """Return the identity terms of languages, each once."""
    found = [term for name in languages for term in TERMS.get(name, "").split(",") if term]
    return list(dict.fromkeys(found))


def pairs(languages: Iterable[str], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of terms to compare: the chosen ones, or those of the languages."""
    named = chosen or [pair for name in languages for pair in PAIRS.get(name, ())]
    found = []
    for pair in named:
        first, second = (side.strip().lower() for side in pair.split("/"))
        found.append((first, second))
    return found


def closed(languages: Iterable[str]) -> set[str]:
    """Return closed-class words of languages, what is left of contractions, and 0 to 20."""
    found = {str(number) for number in range(21)}
    for name in languages:
        found.update(WORDS.get(name, "").split()[:CLOSED])
        found.update(REMNANTS.get(name, "").split())
    return found
