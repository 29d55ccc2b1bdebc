"""Targets: from ids to rows: encoding, packing, batches, indexes, clusters."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.fuzz import drawing
from benchmarks.fuzz.engine import Target
from benchmarks.fuzz.kernels import same
from stages.core.errors import ArtifactError
from stages.lm import indexed, minhash, neighbours, packing, repeats, signatures
from stages.lm.kernels import company, gathering, wordplaces
from stages.lm.kernels.text import of_bytes, of_strings, to_strings
from stages.lm.kernels.vocabulary import Numbered


@functools.cache
def encoders(form: str) -> tuple[Any, Any]:
    """Return a small tokenizer of the library and the encoder made of it."""
    from tokenizers import Tokenizer, models, normalizers, trainers

    from stages.lm import bytelevel
    from stages.lm.encoders import Encoder

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = bytelevel.splitter(form == "digits")
    if form == "nfc":
        backend.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=420, show_progress=False, special_tokens=["<s>", "<mask>"],
        initial_alphabet=bytelevel.splitter(False).alphabet(),
    )  # fmt: skip
    lines = ["la domo kaj la ĉiuj 123 1234 don't the of aaaa ....  \n\n漢字 é e\u0301"] * 9
    backend.train_from_iterator([*lines, "lala lalala domodomo kajkaj"] * 3, trainer)
    backend.encode_special_tokens = True
    encoder = Encoder(backend, 2)
    assert encoder.reason is None, encoder.reason
    return backend, encoder


def encoded(given: dict[str, Any], folder: Path) -> None:
    """Ids are those of the library, document by document."""
    backend, encoder = encoders(given["form"])
    texts = given["documents"]
    found = encoder.encode(of_strings(texts), 0, 1)
    bounds = found.firsts.tolist()
    wanted = backend.encode_batch_fast(texts, add_special_tokens=False)
    for number, one in enumerate(wanted):
        same(found.ids[bounds[number] : bounds[number + 1]].tolist(), [0, *one.ids, 1])
    same(found.characters.tolist(), [len(one) for one in texts])


def encoded_bytes(given: list[bytes], folder: Path) -> None:
    """Ids of bytes that are no text decode to the same bytes: none is lost."""
    backend, encoder = encoders("plain")
    assert encoder.reason is None
    ids, firsts, _ = encoder._kernel.encode(of_bytes(given))
    faces = byte_faces()
    bounds = firsts.tolist()
    for number, one in enumerate(given):
        own = ids[bounds[number] : bounds[number + 1]].tolist()
        spelled = "".join(backend.id_to_token(id) for id in own)
        same(bytes(faces[face] for face in spelled), one)


def byte_faces() -> dict[str, int]:
    """Return which byte a letter of a byte-level vocabulary stands for (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    shifted = {chr(256 + place): byte for place, byte in enumerate(others)}
    return {chr(byte): byte for byte in plain} | shifted


def packed(given: dict[str, Any], folder: Path) -> None:
    """Every token lies in one row, rows are not overfull, and batches hold what they say."""
    length, sizes = given["length"], given["sizes"]
    offsets = np.cumsum([0, *sizes]).astype(np.int64)
    stream = (70_001 * np.arange(offsets[-1])).astype(np.uint32 if given["wide"] else np.uint16)
    made = packing.pack(offsets, length, given["waste"])
    covered = np.zeros(offsets[-1], np.int64)
    for start, size in zip(made.starts.tolist(), made.lengths.tolist(), strict=True):
        covered[start : start + size] += 1
        document = int(np.searchsorted(offsets, start, side="right")) - 1
        assert 0 < size <= length
        assert start + size <= offsets[document + 1], "a piece reaches into the next document"
    same(covered.tolist(), [1] * int(offsets[-1]))
    spread = np.stack([made.starts, made.lengths], axis=1)
    rows = np.array([row % made.rows for row in given["rows"]] if made.rows else [], np.int64)
    ids, positions, segments, lengths = gathering.gather(
        stream, spread, made.row_offsets, rows, length, 7
    )
    for place, row in enumerate(rows.tolist()):
        first, last = made.row_offsets[row : row + 2].tolist()
        parts = [(made.starts[at], made.lengths[at]) for at in range(first, last)]
        joined = [int(stream[start + at]) for start, size in parts for at in range(size)]
        assert len(joined) <= length
        rest = length - len(joined)
        same(ids[place].tolist(), joined + [7] * rest)
        same(positions[place].tolist(), [at for _, n in parts for at in range(n)] + [0] * rest)
        told = [number for number, (_, n) in enumerate(parts, start=1) for _ in range(n)]
        same(segments[place].tolist(), told + [0] * rest)
        same(int(lengths[place]), len(joined))


def shuffled(given: dict[str, Any], folder: Path) -> None:
    """A shuffled epoch holds every row once, and any part of it is found without the rest."""
    size, seed, epoch = given["size"], given["seed"], given["epoch"]
    order = packing.shuffled(np.arange(size), size, seed, epoch)
    same(sorted(order.tolist()), list(range(size)))
    same(packing.shuffled(np.arange(size)[-1:], size, seed, epoch).tolist(), order[-1:].tolist())


def read_index(given: dict[str, Any], folder: Path) -> None:
    """A token file comes back as written; a damaged one is refused, or is whole all the same."""
    documents = [np.array(one, np.int64) for one in given["documents"]]
    prefix = folder / "a"
    indexed.write(prefix, documents, given["vocab"])
    same([one.tolist() for one in indexed.read(prefix).every()], given["documents"])
    for suffix, (place, value) in zip((".idx", ".bin"), given["damage"], strict=True):
        path = prefix.with_name("a" + suffix)
        data = bytearray(path.read_bytes())
        if place >= 0 and data:
            data[place % len(data)] = value
            path.write_bytes(data)
        elif place < 0:
            path.write_bytes(data[:place])
    try:
        found = indexed.read(prefix)
    except ArtifactError as error:
        same(len(error.lines()), 3)
        return
    same(sum(len(one) for one in found.every()), len(found.stream))


def read_weights(given: dict[str, Any], folder: Path) -> None:
    """A file of weights is checked, or refused: nothing else."""
    from stages.lm import weights

    path = folder / "model.safetensors"
    header = given["header"].encode("utf-8", "surrogatepass")
    length = struct.pack("<Q", max(0, len(header) + given["more"]))
    path.write_bytes(length + header + given["data"])
    try:
        weights.check(path)
    except ArtifactError as error:
        same(len(error.lines()), 3)


def companions(given: dict[str, Any], folder: Path) -> None:
    """Who stands beside a term is told as by sets."""
    documents, column = given["documents"], list(range(8))
    numbers = [(row % 4, list(words)) for row, words in enumerate(given["terms"])]
    found = company.Company(company.terms(numbers, 8), 4, np.array(column, np.int32))
    bounds = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    ids = np.array([word for one in documents for word in one], np.int32)
    found.add(Numbered(ids, bounds))
    table, holders, columns = company.reference(documents, numbers, 4, column)
    same((found.table.tolist(), found.holders.tolist(), found.columns.tolist()),
         (table, holders, columns))  # fmt: skip


def word_spans(given: dict[str, Any], folder: Path) -> None:
    """Repeated runs of words are those of all places compared."""
    strings = [" ".join("abc"[at] for at in row) for row in given["rows"]]
    words = wordplaces.words(of_strings(strings), fold=True)
    found = repeats.word_spans(
        words.hashes, words.bounds, given["least"], earlier=given["earlier"],
        threads=given["threads"],
    )  # fmt: skip
    documents = [one.split() for one in strings]
    wanted = repeats.reference_spans(documents, given["least"], given["earlier"])
    same([tuple(row) for row in found[:, :2].tolist()], wanted)


def clustered(given: dict[str, Any], folder: Path) -> None:
    """Clusters are those of all pairs that share a band and are alike, joined one by one."""
    strings = [" ".join("abcdef"[at] for at in row) for row in given["rows"]]
    texts = of_strings(strings)
    signed = signatures.sign(texts, "fast", 8, ngram=2)
    lengths = np.diff(texts.offsets)

    def reader(numbers: Any) -> Any:
        return of_strings([strings[number] for number in np.asarray(numbers).tolist()])

    comparison = neighbours.Comparison(reader, lengths, 2, "unicode")
    judged = (signed.sizes > 0).astype(np.uint8)
    parent, _ = neighbours.cluster(signed.signatures, judged, (4, 2), comparison, 0.5)
    sets = [minhash.shingles(minhash.words(one), 2) for one in to_strings(texts)]
    clusters = minhash.Clusters(len(sets))
    for one in range(len(sets)):
        for other in range(one + 1, len(sets)):
            rows = signed.signatures[one].reshape(4, 2) == signed.signatures[other].reshape(4, 2)
            alike = sets[one] and sets[other] and rows.all(axis=1).any()
            if alike and minhash.jaccard(sets[one], sets[other]) >= 0.5:
                clusters.union(one, other)
    roots = [find(parent, number) for number in range(len(sets))]
    wanted = clusters.roots().tolist()
    same([roots.index(root) for root in roots], [wanted.index(root) for root in wanted])


def find(parent: Any, number: int) -> int:
    """Return where a chain of parents ends."""
    while parent[number] != number:
        number = int(parent[number])
    return number


_threads = st.sampled_from([1, 2, 3])
_letters = st.lists(st.lists(st.integers(0, 2), max_size=60), max_size=4)
TARGETS = [
    Target("encoding", st.fixed_dictionaries({
        "documents": drawing.texts,
        "form": st.sampled_from(["plain", "digits", "nfc"])}), encoded),
    Target("encoding_bytes", drawing.documents, encoded_bytes),
    Target("packing", st.fixed_dictionaries({
        "length": st.integers(1, 40), "sizes": st.lists(st.integers(0, 130), max_size=40),
        "waste": st.sampled_from([None, 0.0, 0.005, 0.1]), "wide": st.booleans(),
        "rows": st.lists(st.integers(0, 99), max_size=9)}), packed),
    Target("shuffled", st.fixed_dictionaries({
        "size": st.integers(1, 2000), "seed": st.integers(0, 1 << 62),
        "epoch": st.integers(0, 1 << 20)}), shuffled),
    Target("indexed", st.fixed_dictionaries({
        "documents": st.lists(st.lists(st.integers(0, 299), max_size=9), max_size=6),
        "vocab": st.sampled_from([300, 65_499, 65_500, 200_000]),
        "damage": st.lists(st.tuples(st.integers(-9, 200), st.integers(0, 255)).map(list),
                           min_size=2, max_size=2)}), read_index),
    Target("weights", st.fixed_dictionaries({
        "header": st.one_of(st.text(max_size=30), st.sampled_from([
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "{}", "[]", "null",
            '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
            '{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}',
            '{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
            '{"a":{"dtype":"F32","shape":{},"data_offsets":"ab"}}',
            '{"__metadata__":[],"a":1}', '{"a":' * 3000])),
        "more": st.sampled_from([0, 0, 0, 1, -1, 1 << 40]), "data": st.binary(max_size=9)}),
        read_weights),
    Target("company", st.fixed_dictionaries({
        "documents": st.lists(st.lists(st.integers(0, 7), max_size=12), max_size=6),
        "terms": st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=6)}),
        companions),
    Target("word_spans", st.fixed_dictionaries({
        "rows": _letters, "least": st.integers(2, 9), "earlier": st.booleans(),
        "threads": _threads}), word_spans),
    Target("clusters", st.fixed_dictionaries({
        "rows": st.lists(st.lists(st.integers(0, 5), max_size=14), max_size=9)}), clustered),
]  # fmt: skip
