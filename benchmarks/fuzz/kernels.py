"""Targets: kernels of texts against their slow references, on whatever bytes are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.fuzz import drawing
from benchmarks.fuzz.engine import Target
from stages.lm import minhash, repeats, signatures
from stages.lm.kernels import (
    alike,
    characters,
    copies,
    equality,
    merges,
    merging,
    pretokens,
    vocabulary,
    wordcounts,
    wordplaces,
)
from stages.lm.kernels import text as kernel_text
from stages.lm.kernels.text import of_bytes, of_strings, to_strings

BYTES = [bytes([number]) for number in range(256)]
Documents = list[bytes]


def same(found: Any, wanted: Any) -> None:
    """Raise where two results differ."""
    if found != wanted:
        raise AssertionError(f"found {found!r:.400}\nwanted {wanted!r:.400}")


def lower(given: Documents, folder: Path) -> None:
    """Lower case is Python's; what is no character stays as it is."""
    found, wanted = (one(of_bytes(given)) for one in (characters.lower, characters.reference_lower))
    same((found.data.tobytes(), found.offsets.tolist()),
         (wanted.data.tobytes(), wanted.offsets.tolist()))  # fmt: skip


def kinds(given: Documents, folder: Path) -> None:
    """Characters are counted and classed as in the decoded text."""
    starts, found = characters.kinds(of_bytes(given))
    strings = to_strings(of_bytes(given))
    same(starts.tolist(), np.cumsum([0, *map(len, strings)]).tolist())
    whole = "".join(strings)
    for name, test in (("LETTER", str.isalpha), ("SPACE", str.isspace), ("UPPER", str.isupper)):
        flags = (found & np.uint32(getattr(characters, name))) != 0
        same(flags.tolist(), [test(one) for one in whole])


def cut(given: dict[str, Any], folder: Path) -> None:
    """Words of a tokenizer are those of the regular expression, and no byte is lost."""
    documents, isolate = given["documents"], given["isolate"]
    starts, firsts = pretokens.pretokens(of_bytes(documents), isolate)
    data, bounds = b"".join(documents), firsts.tolist()
    for number, one in enumerate(documents):
        places = starts[bounds[number] : bounds[number + 1] + 1].tolist()
        pieces = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
        same(pieces, pretokens.reference(one, isolate))


def counted(given: dict[str, Any], folder: Path) -> None:
    """Words are counted as by a Counter, on any number of threads."""
    texts, isolate = of_bytes(given["documents"]), given["isolate"]
    found = wordcounts.count(texts, given["threads"], isolate)
    same(wordcounts.as_counter(found), wordcounts.reference(given["documents"], isolate))


def merged(given: dict[str, Any], folder: Path) -> None:
    """Merges are those of counting all pairs again after each."""
    counts = Counter({bytes(word): times for word, times in given["words"] if word})
    offsets = np.cumsum([0, *map(len, counts)]).astype(np.int64)
    words = wordcounts.Words(
        np.frombuffer(b"".join(counts), np.uint8), offsets, np.array([*counts.values()], np.int64)
    )
    size, least = 256 + given["merges"], given["least"]
    same(merges.learn(words, BYTES, size, least), merging.reference(counts, BYTES, size, least))


def signed(given: dict[str, Any], folder: Path) -> None:
    """Signatures, sizes and sketches are those of shingles in Python."""
    texts, ngram, kind = of_bytes(given["documents"]), given["ngram"], given["kind"]
    got = signatures.sign(
        texts, "fast", 3, ngram=ngram, words=kind, scale=2, threads=given["threads"]
    )
    factors, terms = (one.tolist() for one in signatures.lanes("fast", 3))
    at = 0
    for number, one in enumerate(to_strings(texts)):
        tokens = minhash.words(one, kind)
        same(got.signatures[number].tolist(), alike.reference_fast(tokens, ngram, factors, terms))
        same(int(got.sizes[number]), max(0, len(tokens) - ngram + 1))
        short = [value >> 32 for value in alike.reference_shingles(tokens, ngram)]
        samples = got.samples[at : at + got.sampled[number]].tolist()
        same(samples, [value for value in short if value < 1 << 31])
        at += int(got.sampled[number])


def signed_stack(given: dict[str, Any], folder: Path) -> None:
    """The Stack's signatures, digit for digit."""
    import hashlib

    texts, ngram, kind = of_bytes(given["documents"]), given["ngram"], given["kind"]
    got = signatures.sign(texts, "stack", 3, ngram=ngram, words=kind, threads=given["threads"])
    hashed = []
    for one in to_strings(texts):
        tokens = minhash.words(one, kind)
        runs = {" ".join(tokens[at : at + ngram]) for at in range(len(tokens) - ngram + 1)}
        digests = (hashlib.sha1(run.encode("utf-8", "surrogatepass")).digest() for run in runs)
        hashed.append(np.array(sorted(int.from_bytes(d[:4], "little") for d in digests), np.uint32))
    wanted = minhash.sign(hashed, minhash.draw_permutations(3))
    same(got.signatures.tolist(), wanted.tolist())


def repeated(given: dict[str, Any], folder: Path) -> None:
    """Exact substrings are those of all places compared."""
    documents = [b"".join(given["pieces"][at] for at in row if at < len(given["pieces"]))[:160]
                 for row in given["rows"]]  # fmt: skip
    least, earlier = given["least"], given["earlier"]
    found = repeats.spans(of_bytes(documents), least, earlier=earlier, threads=given["threads"])
    wanted = repeats.reference_spans(documents, least, earlier)
    same([tuple(row) for row in found[:, :2].tolist()], wanted)


def pieces(given: Documents, folder: Path) -> None:
    """Lines and paragraphs are Python's."""
    texts = of_bytes(given)
    for divide, reference in (
        (copies.lines, copies.reference_lines),
        (copies.paragraphs, copies.reference_paragraphs),
    ):
        found, bounds = divide(texts)
        strings = to_strings(found)
        for number, one in enumerate(to_strings(texts)):
            same(strings[bounds[number] : bounds[number + 1]], reference(one))


def equal(given: dict[str, Any], folder: Path) -> None:
    """Keys of texts equal up to case and blanks are Python's."""
    texts = of_bytes(given["documents"])
    strings = to_strings(texts)
    found, sizes = equality.keyed(texts, given["threads"])
    same(found.tolist(), [list(equality.reference_key(one)) for one in strings])
    same(sizes.tolist(), [len(equality.reference_normal(one)) for one in strings])


def placed(given: dict[str, Any], folder: Path) -> None:
    """Words with their places are the reference's."""
    texts = of_bytes(given["documents"])
    found = wordplaces.words(texts, fold=given["isolate"])
    rows = [(int(key), *place)
            for key, place in zip(found.hashes, found.places.tolist(), strict=True)]  # fmt: skip
    own = [rows[a:b] for a, b in zip(found.bounds, found.bounds[1:], strict=False)]
    same(own, wordplaces.reference_words(texts, fold=given["isolate"]))


def numbered(given: list[Documents], folder: Path) -> None:
    """A vocabulary that grows batch by batch is the one of all at once."""
    found = vocabulary.Vocabulary()
    rows: list[list[int]] = []
    strings: list[str] = []
    for batch in given:
        texts = of_bytes(batch)
        strings += to_strings(texts)
        made = found.add(texts)
        bounds = made.offsets.tolist()
        rows += [made.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]
    wanted, numbers = vocabulary.reference(strings)
    same(to_strings(found.texts()), list(wanted))
    same(found.counts.tolist(), [count for count, _ in wanted.values()])
    same(found.holders.tolist(), [holders for _, holders in wanted.values()])
    same(rows, numbers)


def scored(given: dict[str, Any], folder: Path) -> None:
    """Every count that rule sets judge by is the reference's, and so is what C4 keeps."""
    from stages.lm.scores import reference
    from stages.lm.scores.columns import COLUMNS
    from stages.lm.scores.table import DEFAULTS, score

    texts = of_bytes([one[:300] for one in given["documents"]])  # The reference is quadratic.
    found = score(texts, DEFAULTS, threads=given["threads"])
    cleaned = to_strings(found.cleaned)
    for one, row, clean in zip(to_strings(texts), found.table.tolist(), cleaned, strict=True):
        expected, kept = reference.score(one, DEFAULTS)
        same(dict(zip(COLUMNS, row, strict=True)), expected)
        same(clean, kept)


def held(given: list[str], folder: Path) -> None:
    """Strings become arrays and strings again."""
    same(to_strings(of_strings(given)), given)
    whole = kernel_text.concatenated([of_strings([one]) for one in given])
    same(to_strings(whole), given)


_threads = st.sampled_from([1, 2, 3])
_more = {"documents": drawing.documents, "threads": _threads, "isolate": st.booleans()}
_alike = {
    "documents": drawing.documents, "threads": _threads, "ngram": st.integers(1, 5),
    "kind": st.sampled_from(["unicode", "ascii"]),
}  # fmt: skip
_words = st.lists(
    st.tuples(
        st.one_of(st.text("ab", max_size=12).map(str.encode), st.binary(max_size=6)),
        st.integers(1, 9),
    ).map(list),
    max_size=40,
)
_repeats = {
    "pieces": st.lists(st.one_of(
        st.text("ab", max_size=40).map(str.encode), st.binary(max_size=30),
        st.tuples(st.binary(min_size=1, max_size=3), st.integers(1, 60)).map(lambda x: x[0] * x[1]),
    ), min_size=1, max_size=4),
    "rows": st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=4),
    "least": st.sampled_from([16, 17, 23, 33, 50, 70]), "earlier": st.booleans(),
    "threads": _threads,
}  # fmt: skip

TARGETS = [
    Target("lower", drawing.documents, lower),
    Target("kinds", drawing.documents, kinds),
    Target("pretokens", st.fixed_dictionaries(_more), cut),
    Target("wordcounts", st.fixed_dictionaries(_more), counted),
    Target("merges", st.fixed_dictionaries({"words": _words, "merges": st.integers(0, 60),
                                            "least": st.integers(0, 3)}), merged),
    Target("minhash", st.fixed_dictionaries(_alike), signed),
    Target("minhash_stack", st.fixed_dictionaries(_alike), signed_stack),
    Target("substrings", st.fixed_dictionaries(_repeats), repeated),
    Target("copies", drawing.documents, pieces),
    Target("equality", st.fixed_dictionaries(_more), equal),
    Target("wordplaces", st.fixed_dictionaries(_more), placed),
    Target("vocabulary", st.lists(drawing.documents, max_size=3), numbered),
    Target("scores", st.fixed_dictionaries(_more), scored),
    Target("texts", st.lists(st.text(st.characters(), max_size=9), max_size=5), held),
]  # fmt: skip
