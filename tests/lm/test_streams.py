"""Streams: every compression and encoding whole, every damage told, memory bounded."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from stages.core.errors import ArtifactError
from stages.lm import streams
from stages.lm.records import (
    Document,
    RawFile,
    Reading,
    read_file,
)
from tests.lm.record_files import file, read, refused

TEXT = "Eĥoŝanĝo\n" * 50_000
PACKERS = {
    ".txt": bytes,
    ".txt.gz": gzip.compress,
    ".txt.bz2": bz2.compress,
    ".txt.xz": lzma.compress,
    ".txt.zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressions_come_whole(tmp_path, suffix):
    [document] = read(tmp_path, f"a{suffix}", PACKERS[suffix](TEXT.encode()))
    assert document == Document(f"a{suffix}", TEXT, f"a{suffix}")


@pytest.mark.parametrize("suffix", [s for s in PACKERS if s != ".txt"])
def test_frames_one_after_the_other_are_one_stream(tmp_path, suffix):
    pack = PACKERS[suffix]
    [document] = read(tmp_path, f"a{suffix}", pack(b"Unu.\n") + pack(b"Du.\n"))
    assert document.text == "Unu.\nDu.\n"


@pytest.mark.parametrize("suffix", [s for s in PACKERS if s != ".txt"])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_every_truncation_is_seen(tmp_path, suffix, cut):
    whole = PACKERS[suffix](TEXT.encode())
    error = refused(tmp_path, f"a{suffix}", whole[:-cut] if cut < len(whole) else whole[:-9])
    assert "ends too early, near compressed byte" in error.what


def test_flipped_bit_is_damage(tmp_path):
    whole = bytearray(gzip.compress(TEXT.encode()))
    whole[-6] ^= 1
    assert refused(tmp_path, "a.txt.gz", bytes(whole)).what.startswith(
        "the gzip stream of a.txt.gz is damaged (Error -3 while decompressing data: incorrect data"
    )


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_byte_order_mark_tells_the_encoding_and_goes(tmp_path, mark, encoding):
    content = mark + "Ĉu?\nJes.\n".encode(encoding)
    records = read(tmp_path, "a.txt", content, documents="line")
    assert [r.text for r in records] == ["Ĉu?", "Jes."]


def test_declared_encodings(tmp_path):
    assert read(tmp_path, "a.txt", "café".encode("latin-1"), encoding="latin-1")[0].text == "café"
    assert read(tmp_path, "b.txt", "ĝi".encode("latin3"), encoding="latin3")[0].text == "ĝi"
    content = codecs.BOM_UTF8 + b"ho"
    assert read(tmp_path, "c.txt", content, encoding="utf-8")[0].text == "ho"
    with pytest.raises(ValueError, match="no encoding is called 'utf-9'"):
        Reading(encoding="utf-9")


@pytest.mark.parametrize("before", [0, 5, 262_143, 262_144, 700_001])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_wrong_encoding_is_told_with_its_byte(tmp_path, before, mark):
    error = refused(tmp_path, "a.txt", mark + b"x" * before + b"caf\xe9 noir")
    offset = len(mark) + before + 3
    assert error.what == f"a.txt is not utf-8: byte 0xe9 at offset {offset}"


def test_wrong_encoding_inside_a_compressed_stream(tmp_path):
    error = refused(tmp_path, "a.txt.gz", gzip.compress("ĉ".encode() * 1000 + b"\xc4"))
    assert error.what == "a.txt.gz is not utf-8: byte 0xc4 at offset 2000"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"MZ\x90\0\x03", "a.txt is binary: a zero byte at offset 3"),
        (b"PK\x03\x04rest", "a.txt holds a zip archive, not text"),
        (zstandard.compress(b"x"), "a.txt holds zstd data, not text"),
    ],
)
def test_binary_files_are_told(tmp_path, content, what):
    assert refused(tmp_path, "a.txt", content).what == what


def test_compressed_under_a_plain_name_says_which_suffix(tmp_path):
    assert refused(tmp_path, "a.txt", gzip.compress(b"x")).todo == "give its name the suffix .gz"


def test_missing_file(tmp_path):
    with pytest.raises(ArtifactError) as caught:
        list(read_file(RawFile(tmp_path / "a.txt", "a.txt", "text", Reading())))
    assert caught.value.what == "no file a.txt"


def test_lines_end_at_line_feeds_alone(tmp_path):
    content = "un\x0bu\u2028a\r\ndu\x85a\rb\nlasta"
    records = read(tmp_path, "a.txt", content, documents="line")
    assert [r.text for r in records] == ["un\x0bu\u2028a", "du\x85a\rb", "lasta"]
    assert [r.id for r in records] == ["a.txt:1", "a.txt:2", "a.txt:3"]


@pytest.mark.parametrize("documents", ["file", "line", "paragraph"])
def test_what_does_not_fit_memory_is_refused(tmp_path, monkeypatch, documents):
    monkeypatch.setattr(streams, "LINE_CHARACTERS", 100)
    text = "a" * 90 + "\n" + "b" * 20 if documents != "line" else "a" * 101
    error = refused(tmp_path, "a.txt", text, documents=documents)
    assert "of a.txt has more than 100 characters" in error.what


@pytest.mark.parametrize("name", ["a.txt.zst", "a.jsonl.gz", "a.conllu.bz2", "a.xml.bz2"])
def test_memory_stays_bounded(tmp_path, name):
    long = "linio de teksto " * 40
    word = f"1\tvorto\tvorto\tNOUN\t_\t_\t0\troot\t_\t{long}\n\n"
    page = f"<page><ns>0</ns><id>1</id><revision><text>{long}</text></revision></page>"
    content, reading = {
        "a.txt.zst": (f"{long}\n" * 10_000, {"documents": "line"}),
        "a.jsonl.gz": (f'{{"text": "{long}"}}\n' * 10_000, {}),
        "a.conllu.bz2": (word * 10_000, {}),
        "a.xml.bz2": (f"<m>{page * 10_000}</m>", {"format": "mediawiki"}),
    }[name]
    assert len(content) > 6_400_000
    suffix = ".txt" + Path(name).suffix
    source = file(tmp_path, name, PACKERS[suffix](content.encode()), **reading)
    del content
    tracemalloc.start()
    assert sum(1 for _ in read_file(source)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_shards_of_lines_are_cut_and_repeatable(tmp_path):
    for folder in ("one", "two"):
        with streams.LineShards(tmp_path / folder, "rows", shard_bytes=100) as shards:
            for n in range(10):
                shards.add({"id": f"d{n}", "text": "Saluton al ĉiuj!"})
        assert shards.shards[:2] == ["rows-00000.jsonl.zst", "rows-00001.jsonl.zst"]
        assert shards.rows == 10
    for name in shards.shards:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    source = RawFile(tmp_path / "one" / name, name, "jsonl", Reading())
    assert [d.id for d in read_file(source)] == ["d8", "d9"]
