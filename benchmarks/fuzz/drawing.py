"""What examples are drawn from: hostile characters, bytes that are none, pieces that repeat."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.lm.kernels import hostile

WORDS = [
    *("la", "La", "LA", "kaj", "domo", "ĉiu", "don't", "'s", "e.g.", "U.S.", "3.14", "12", "a.b"),
    *("http://a.b/c", "x=1", "{", "}", "...", "\u2026", "?", "lorem ipsum", "the", "of"),
]
BLANKS = [" ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x1c", ""]
COUNTS = [1, 1, 1, 1, 1, 2, 3, 7, 16, 17, 63, 64, 65, 130, 300]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


piece: SearchStrategy[bytes] = st.one_of(
    st.sampled_from([_bytes(one) for one in (*WORDS, *BLANKS)]),
    st.sampled_from([_bytes(one) for one in hostile.CHARACTERS]),
    st.sampled_from(hostile.PIECES),
    st.text(max_size=4).map(_bytes),
    st.binary(max_size=5),
)
document: SearchStrategy[bytes] = st.lists(
    st.tuples(piece, st.sampled_from(COUNTS)).map(lambda one: one[0] * one[1]), max_size=14
).map(b"".join)
documents: SearchStrategy[list[bytes]] = st.lists(document, max_size=6)
"""Documents of bytes, mostly UTF-8, some empty."""

character: SearchStrategy[str] = st.one_of(
    st.sampled_from([one for one in hostile.CHARACTERS if not "\ud800" <= one <= "\udfff"]),
    st.characters(exclude_categories=["Cs"]),
)
text: SearchStrategy[str] = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(WORDS), st.sampled_from(BLANKS), character),
        st.sampled_from(COUNTS),
    ).map(lambda one: one[0] * one[1]),
    max_size=16,
).map("".join)
texts: SearchStrategy[list[str]] = st.lists(text, max_size=6)
"""Documents of characters that have bytes."""


def changed(data: SearchStrategy[bytes]) -> SearchStrategy[list[Any]]:
    """Draw [what was, what became of it, whether anything was done]: cut, flipped, inserted."""
    return st.builds(
        _changed,
        data,
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "flip", "insert", "drop", "double", "zero"]),
                st.integers(0, 1 << 30),
                st.binary(min_size=1, max_size=4),
            ),
            max_size=3,
        ),
    )


def _changed(data: bytes, changes: list[tuple[str, int, bytes]]) -> list[Any]:
    found = data
    for kind, place, more in changes:
        at = place % (len(found) + 1)
        if kind == "cut":
            found = found[:at]
        elif kind == "flip":
            found = (
                found[:at] + bytes(x ^ (more[0] or 1) for x in found[at : at + 1]) + found[at + 1 :]
            )
        elif kind == "insert":
            found = found[:at] + more + found[at:]
        elif kind == "drop":
            found = found[:at] + found[at + len(more) :]
        elif kind == "double":
            found = found + found
        else:
            found = found[:at] + bytes(len(found[at : at + len(more)])) + found[at + len(more) :]
    return [data, found]
