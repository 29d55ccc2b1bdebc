"""English words that are cut otherwise than at their punctuation: contractions, abbreviations.

A contraction is cut before its clitic (`do|n't`, `she|'ll`, `can|not`), with or without the
apostrophe where that is no other word; an abbreviation keeps its full stop. Both are generated from
the grammar below, in lower case and with a capital, with ASCII and typographic apostrophes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels.compiled import reads

_SUBJECTS = "i you he she it we they"
SUBJECTS = _SUBJECTS.split()
_POINTERS = "who what when where why how there that this these those"
POINTERS = _POINTERS.split()
CLITICS = ("'d", "'d've", "'ll", "'ll've")
_PLURALS = "you we they who what when where why how there these those"
PLURALS = _PLURALS.split()
_SINGULARS = "he she it who what when where why how there that this"
SINGULARS = _SINGULARS.split()
_NEGATED = "could do does did had may might must need ought sha should wo would ca"
NEGATED = _NEGATED.split()
_BARELY_NEGATED = "is are was were has have ai dare"
BARELY_NEGATED = _BARELY_NEGATED.split()
_STRONG = "could might must should would not"
STRONG = _STRONG.split()
_OTHER_WORDS = "ill its hell shell shed well were whore lets cmon"
OTHER_WORDS = frozenset(_OTHER_WORDS.split())
"""Contractions without their apostrophe that are words of their own."""
PIECES = (
    ("can", "not"), ("gon", "na"), ("got", "ta"), ("let", "'s"), ("c'm", "on"), ("y'", "all"),
    ("i", "'m", "a"),
)  # fmt: skip
_TITLES = "Adm Bros Co Corp Dr Gen Gov Inc Jr Ltd Messrs Mr Mrs Ms Mt Prof Rep Rev Sen St"
TITLES = _TITLES.split()
_MONTHS = "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
MONTHS = _MONTHS.split()
_STATES = (
    "Ak Ala Ariz Ark Calif Colo Conn Del Fla Ga Ia Id Ill Ind Kan Kans Ky La Mass Md Mich "
    "Minn Miss Mo Mont N.C N.D N.H N.J N.M N.Y Neb Nebr Nev Okla Ore Pa S.C Tenn Va Wash Wis "
    "D.C"
)
STATES = _STATES.split()
_SHORT = "a.m p.m e.g E.g E.G i.e I.e I.E v.s vs co Ph.D"
SHORT = _SHORT.split()
_ALONE = (
    "o'clock ma'am and/or w/o c++ ol' goin' doin' havin' lovin' nothin' nuthin' somethin' 'em "
    "'cause 'cos 'coz 'cuz 'bout 'nuff 's 'S 'd 'll 're"
)
ALONE = _ALONE.split()
MOST_PIECES = 3
LONGEST = 12
"""Characters of the longest exception."""
FACTOR = 0x9E3779B97F4A7C15
ALL = (1 << 64) - 1


def words() -> dict[str, tuple[str, ...]]:
    """Return every exception with its pieces."""
    found: dict[str, tuple[str, ...]] = {}
    for pieces in _contractions():
        for given in (pieces, (pieces[0].capitalize(), *pieces[1:])):
            found["".join(given)] = given
            curly = tuple(one.replace("'", "’") for one in given)
            found["".join(curly)] = curly
            bare = tuple(one.replace("'", "") for one in given)
            joined = "".join(bare)
            if joined.lower() not in OTHER_WORDS and len(bare) > 1 and bare[0].lower() != "y":
                found[joined] = bare
    for one in (*TITLES, *MONTHS, *STATES, *SHORT, *"abcdefghijklmnopqrstuvwxyz", *"äöü"):
        found[one + "."] = (one + ".",)
    for one in ALONE:
        for word in (one, one.capitalize(), one.replace("'", "’")):
            found[word] = (word,)
    return {word: pieces for word, pieces in found.items() if len(word) <= LONGEST}


def _contractions() -> Iterator[tuple[str, ...]]:
    for subject in (*SUBJECTS, *POINTERS):
        for clitic in CLITICS:
            yield (subject, *_clitics(clitic))
    yield ("i", "'m")
    for subject in PLURALS:
        yield (subject, "'re")
    for subject in (*PLURALS, "i"):
        yield (subject, "'ve")
    for subject in SINGULARS:
        yield (subject, "'s")
    for verb in NEGATED:
        yield (verb, "n't")
        yield (verb, "n't", "'ve")
    for verb in BARELY_NEGATED:
        yield (verb, "n't")
    for verb in STRONG:
        yield (verb, "'ve")
    yield from PIECES


def _clitics(clitic: str) -> Iterable[str]:
    return ("'" + one for one in clitic.split("'")[1:])


class Exceptions(NamedTuple):
    """A table of exceptions by hash: `keys` [R] (0: free), `cuts` [R, 3] lengths of the pieces.

    `shapes` [64, 64], by the lower six bits of the first and the last character, has the bit of
    every length that an exception of such ends has: most words need no hash to be none.
    """

    keys: NDArray[np.uint64]
    cuts: NDArray[np.uint8]
    shapes: NDArray[np.uint16]


EXCEPTIONS = types.NamedTuple(
    (
        reads(types.uint64),
        types.Array(types.uint8, 2, "C", readonly=True),
        types.Array(types.uint16, 2, "C", readonly=True),
    ),
    Exceptions,
)


def hash_of(word: str) -> int:
    """Return the hash of a word, as `stages.lm.scores.words.hash_span` makes it."""
    found = len(word)
    for one in word:
        found = ((found ^ ord(one)) * FACTOR) & ALL
        found ^= found >> 29
    return found


@functools.cache
def table() -> Exceptions:
    """Return the table that kernels read."""
    return made(words())


def made(given: dict[str, tuple[str, ...]]) -> Exceptions:
    """Return a table of these words; half of it is free at least."""
    room = 64
    while room < 2 * len(given):
        room *= 2
    keys, cuts = np.zeros(room, np.uint64), np.zeros((room, MOST_PIECES), np.uint8)
    shapes = np.zeros((64, 64), np.uint16)
    for word, pieces in given.items():
        shapes[ord(word[0]) & 63, ord(word[-1]) & 63] |= 1 << len(word)
        hashed = hash_of(word)
        slot = hashed & (room - 1)
        while keys[slot]:
            slot = (slot + 1) & (room - 1)
        keys[slot] = hashed
        cuts[slot, : len(pieces)] = [len(piece) for piece in pieces]
    found = Exceptions(keys, cuts, shapes)
    for array in found:
        array.flags.writeable = False
    return found
