"""Targets: readers of files. Bytes in; records that account for them, or a three-line error."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import strategies as st

from benchmarks.fuzz import drawing
from benchmarks.fuzz.engine import Target
from benchmarks.fuzz.kernels import same
from stages.core.errors import DevenoError, SourceError, translated
from stages.lm import archives, streams
from stages.lm.records import RawFile, Reading, format_of, read_file
from tests.hostile import line

PACK = {
    "": lambda data: data, ".gz": lambda data: gzip.compress(data, mtime=0), ".bz2": bz2.compress,
    ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}  # fmt: skip


def refused(error: Exception) -> None:
    """Take an error that a user can act on; raise any other."""
    told = error if isinstance(error, DevenoError) else translated(error)
    if told is None:
        raise error
    assert len(told.lines()) == 3
    assert all(len(one) > 6 for one in told.lines()), told.lines()


def records(path: Path, **reading: Any) -> list[Any] | None:
    """Return a file's records, or None where it was refused."""
    choices = Reading(**reading)
    try:
        return list(read_file(RawFile(path, path.name, format_of(path.name, choices), choices)))
    except Exception as error:
        refused(error)
    return None


def texts(given: dict[str, Any], folder: Path) -> None:
    """Lines and files are what Python decodes and splits, to the last character."""
    path = folder / "a.txt"
    path.write_bytes(given["data"])
    encoding, by = given["encoding"], given["by"]
    found = records(path, encoding=encoding, documents=by)
    if found is None:
        return
    if encoding == "auto":
        marks = [name for mark, name in streams._BOMS if given["data"].startswith(mark)]
        encoding = marks[0] if marks else "utf-8"
    decoder = "utf-8-sig" if encoding in ("utf-8", "auto") else encoding
    whole = given["data"].decode(decoder)
    if by == "file":
        same([one.text for one in found], [whole])
        return
    rows = [row.removesuffix("\r") if number < whole.count("\n") else row
            for number, row in enumerate(whole.split("\n"))]  # fmt: skip
    filled = [(number, row) for number, row in enumerate(rows, start=1) if row.strip()]
    if by == "line":
        same([(one.id, one.text) for one in found], [(f"a.txt:{n}", row) for n, row in filled])
    else:
        same("\n".join(one.text for one in found), "\n".join(row for _, row in filled))


def packed(given: dict[str, Any], folder: Path) -> None:
    """A changed stream is refused, or gives all that was packed: never a part that looks whole."""
    payload = given["payload"]
    parts = [PACK[given["suffix"]](one) for one in payload]
    _, data = drawing._changed(b"".join(parts), [tuple(one) for one in given["changes"]])
    path = folder / f"a.bin{given['suffix']}"
    path.write_bytes(data)
    try:
        with streams.open_bytes(path) as stream:
            found = stream.read()
    except Exception as error:
        refused(error)
        return
    if given["suffix"] == "":
        same(found, data)
        return
    # A cut between two frames leaves a whole file of fewer, and doubling one of more.
    known, rest, wanted = dict(zip(parts, payload, strict=True)), data, b""
    while stored := next((one for one in known if rest.startswith(one)), b""):
        rest, wanted = rest[len(stored) :], wanted + known[stored]
    if not rest:
        same(found, wanted)
    elif not composed(found, [one for one in payload if one]):
        # A header may change and nothing of the content: all that is packed here has a sum.
        raise AssertionError(f"{data!r:.200} was read as {found!r:.200}")


def composed(whole: bytes, parts: list[bytes]) -> bool:
    """Tell whether bytes are nothing but some of the parts, in any order."""
    waiting, seen = [whole], set()
    while waiting:
        one = waiting.pop()
        if not one:
            return True
        if one not in seen:
            seen.add(one)
            waiting += [one[len(part) :] for part in parts if one.startswith(part)]
    return False


def archived(given: dict[str, Any], folder: Path) -> None:
    """A changed archive is refused, or its members lie below the folder; nothing else happens."""
    out = io.BytesIO()
    kind, members = given["kind"], given["members"]
    if kind == ".zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, data in members.items():
                bundle.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    whole = PACK[kind.removeprefix(".tar")](out.getvalue()) if kind != ".zip" else out.getvalue()
    _, data = drawing._changed(whole, [tuple(one) for one in given["changes"]])
    path, target = folder / f"a{kind}", folder / "out" / "deep"
    path.write_bytes(data)
    try:
        names = archives.unpack(path, target, ["*"], 1 << 20)
    except Exception as error:
        refused(error)
        names = None
    written = {one for one in folder.rglob("*") if one.is_file()} - {path}
    assert all(one.is_relative_to(target) and not one.is_symlink() for one in written), written
    if names is not None:
        same(sorted(str(one.relative_to(target)) for one in written), names)
        if data == whole:
            found = {name: (target / name).read_bytes() for name in names}
            same(found, {name: one for name, one in members.items()})
        elif kind != ".zip" and kind != ".tar":  # every byte of these is summed
            same(names, sorted(members))


def lines_of_json(given: list[Any], folder: Path) -> None:
    """Each line gives its text under its id, as the library reads it, or the file is refused."""
    path = folder / "a.jsonl"
    data = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in given)
    path.write_bytes(data)
    found = records(path)
    if found is None:
        return
    wanted = []
    for number, row in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not row.decode().strip():
            continue
        held = json.loads(row)
        own = held.get("id") not in (None, "")
        wanted.append((str(held["id"]) if own else f"a.jsonl:{number}", held["text"]))
    same([(one.id, one.text) for one in found], wanted)


def table(given: dict[str, Any], folder: Path) -> None:
    """A changed Parquet file is refused or gives rows; whole it gives its rows."""
    out = io.BytesIO()
    pq.write_table(
        pa.table({"text": pa.array(given["rows"], pa.string()), "id": [*map(str, given["rows"])]}),
        out, compression=given["compression"],
    )  # fmt: skip
    whole, data = drawing._changed(out.getvalue(), [tuple(one) for one in given["changes"]])
    path = folder / "a.parquet"
    path.write_bytes(data)
    found = records(path)
    if data == whole:
        same([one.text for one in found or []], given["rows"])


def layouts(given: dict[str, Any], folder: Path) -> None:
    """Any layout reads any bytes to records, or refuses them; no other error, no endless loop."""
    path = folder / given["name"]
    path.write_bytes(given["data"])
    records(path, **given["reading"])


def refined(given: dict[str, Any], folder: Path) -> None:
    """Documents of any characters pass the line: in = kept + lost, by id, and twice the same."""
    (folder / "in").mkdir()
    named = {str(number): text for number, text in enumerate(given["documents"])}
    rows = [json.dumps({"id": name, "text": text}) for name, text in named.items()]
    (folder / "in" / "a.jsonl").write_text("\n".join(rows))
    corpora = []
    try:
        raw = line.acquired(folder / "in", folder / "raw")
        for threads in (1, 3):
            split = {"train": 1.0, "valid": 0.0, "test": 0.0}
            place = folder / f"corpus-{threads}"
            corpora.append(
                line.refined(raw, place, split=split, threads=threads, **given["params"])
            )
    except Exception as error:
        refused(error)
        if not (isinstance(error, SourceError) or "no document is left" in str(error)):
            raise
        return
    out = line.read(corpora[0])
    kept = {name: text for one in out.kept.values() for name, text in one}
    lost = {name for name, _, _ in out.lost}
    same(sorted([*kept, *lost]), sorted(named))
    assert all(rule and detail for _, rule, detail in out.lost), out.lost
    came = {name: (named[name], "") for name in named}
    wrong = line.account(came, out)
    assert not any("told" in one or "nowhere" in one for one in wrong), wrong
    same(line.digests(corpora[1]), line.digests(corpora[0]))


def stepped(given: str, folder: Path) -> None:
    """Every normalising step and filter takes every text: a text or a reason comes out."""
    from stages.refine import filters
    from stages.refine.personal import KINDS
    from stages.refine.settings import Filters, Normalise

    settings = Filters.model_validate({
        "private_types": [*KINDS], "languages": ["eo"], "max_characters": 9999,
        "autogenerated": True,
        "max_line_characters": 99, "max_mean_line_characters": 50,
    })  # fmt: skip
    steps = [*filters.changes(Normalise(unicode_form="NFKC")), *filters.reasons(settings)]
    for name, step in steps:
        found = step(given)
        assert isinstance(found, str | filters.Drop), name
        if isinstance(found, filters.Drop):
            assert found.detail, name


_changes = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "drop", "double", "zero"]),
        st.integers(0, 1 << 30), st.binary(min_size=1, max_size=4),
    ).map(list),
    max_size=3,
)  # fmt: skip
_names = st.sampled_from(["a", "b.txt", "c/d.txt", "e/f/g", "é", "h" * 120])
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
_row = st.one_of(
    st.fixed_dictionaries({"text": st.one_of(drawing.text, _json)},
                          optional={"id": _json, "source": _json}),
    st.dictionaries(st.sampled_from(["text", "id", "b"]), _json, max_size=3), _json,
    st.sampled_from([b'{"text": "a", "text": "b"}', b'{"text":"\\ud800"}', b"", b" ", b"{", b"\xff",
                     b'{"text": "a"}\r', b'{"b": {"text": 1, "text": 2}, "text": "c"}', b"[[[["]),
)  # fmt: skip
_suffix = st.sampled_from([*PACK])
_marked = st.builds(
    bytes.__add__, st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]),
    st.one_of(
        drawing.text.map(str.encode),
        drawing.document,
        st.lists(st.one_of(drawing.piece, st.just(b"")), max_size=9).map(b"\n".join),
    ),
)  # fmt: skip
_layouts = [
    ("a.conllu", {}, ["1\ta\ta\tX\t_\t_\t0\tr\t_\t_\n", "# text = a\n", "# sent_id = 1\n", "1-2\t",
                      "\n", "# newdoc id\n"]),
    ("a.conll", {}, ["a O\n", "b B-X\n", "\n", "-DOCSTART- O\n", "# a\n", "a\tb\tO\n"]),
    ("a.conll", {"ragged": "repair"}, ["a O\n", "b\n", "c d e O\n", "\n", "O\n", " \t\n"]),
    ("a.tsv", {}, ["a\tb\n", "a\n", "\t\n", '"a\t"\n']),
    ("a.tsv", {"yields": "documents", "text": "1", "header": True}, ["a\tb\n", "1\t1\n", "\t"]),
    ("a-sentences.txt", {}, ["1\ta\n", "12. b\n", "x\n", "\n"]),
    ("sentences.csv", {}, ["1\tepo\ta\n", "2\tepo\t\n", "x\ty\n", "9" * 30 + "\tepo\ta\n"]),
    ("a-pages-articles.xml", {}, ["<mediawiki>", "<page>", "<title>a</title>", "<ns>0</ns>", "<id>1"
     "</id>", "<text>[[a|b]] {{c}}</text>", "</page>", "</mediawiki>", "<redirect/>", "{{", "[["]),
]  # fmt: skip


def _joined(parts: list[str]) -> Any:
    return st.lists(
        st.one_of(st.sampled_from(parts).map(str.encode), drawing.piece), max_size=14
    ).map(b"".join)


TARGETS = [
    Target("texts_read", st.fixed_dictionaries({
        "data": _marked, "by": st.sampled_from(["file", "line", "paragraph"]),
        "encoding": st.sampled_from(["auto", "utf-8", "latin-1", "utf-16", "utf-16-le", "cp1252",
                                     "shift_jis", "gb18030", "iso2022_jp", "hz", "big5hkscs",
                                     "ascii", "utf-32", "cp037"])}), texts),
    Target("streams", st.fixed_dictionaries({
        "payload": st.lists(st.one_of(st.binary(max_size=60), st.just(b"la " * 3000)), min_size=1,
                            max_size=3), "suffix": _suffix, "changes": _changes}), packed),
    Target("archives", st.fixed_dictionaries({
        "kind": st.sampled_from([".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]),
        "members": st.dictionaries(_names, st.binary(max_size=600), min_size=1, max_size=3),
        "changes": _changes}), archived),
    Target("jsonl", st.lists(_row, max_size=5), lines_of_json),
    Target("parquet", st.fixed_dictionaries({
        "rows": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=9),
        "compression": st.sampled_from(["none", "snappy", "zstd", "gzip"]),
        "changes": _changes}), table),
    Target("layouts", st.sampled_from(_layouts).flatmap(lambda one: st.fixed_dictionaries({
        "name": st.just(one[0]), "reading": st.just(one[1]), "data": _joined(one[2])})), layouts),
    Target("steps", drawing.text, stepped),
    Target("refine", st.fixed_dictionaries({
        "documents": st.lists(drawing.text, min_size=1, max_size=6),
        "params": st.sampled_from([
            {}, {"documents": "record", "filters": {"rule_sets": ["c4", "gopher-repetition"]}},
            {"duplicates": {"max_paragraph_copies": 1, "max_line_copies": 1}},
            {"duplicates": {"substrings": {"action": "cut", "unit": "bytes", "length": 16}}},
            {"normalise": {"controls": False, "blanks": False, "unicode_form": "none"}},
            {"intact": True}])}), refined),
]  # fmt: skip
