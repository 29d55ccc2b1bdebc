"""Records out of files of every format: what comes, what is refused and where."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from stages.core.errors import ArtifactError
from stages.lm import streams
from stages.lm.dumps import plain_wikitext
from stages.lm.records import (
    Document,
    Pair,
    RawFile,
    Reading,
    format_of,
    raw_documents,
    raw_files,
    raw_manifest,
    read_file,
    with_reading,
)
from stages.lm.tables import write_table


def file(folder: Path, name: str, content: str | bytes = b"", **reading) -> RawFile:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    chosen = Reading(**reading)
    return RawFile(path, name, format_of(name, chosen), chosen)


def read(folder: Path, name: str, content: str | bytes, **reading) -> list:
    return list(read_file(file(folder, name, content, **reading)))


def refused(folder: Path, name: str, content: str | bytes, **reading) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        read(folder, name, content, **reading)
    assert len(caught.value.lines()) == 3
    return caught.value


# Streams.

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
        "the gzip stream of a.txt.gz is damaged (CRC check failed"
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


# Texts.


def test_paragraphs_are_named_by_their_first_line(tmp_path):
    records = read(tmp_path, "a.txt", "\nUnu\ndu\n\n\ntri\n", documents="paragraph")
    assert [(r.id, r.text) for r in records] == [("a.txt:2", "Unu\ndu"), ("a.txt:6", "tri")]


def test_numbered_lines_of_both_styles(tmp_path):
    records = read(tmp_path, "x-sentences.txt", "7\tUnu. Du.\n    12. Tri.\n\n")
    assert [(r.id, r.text) for r in records] == [
        ("x-sentences.txt:7", "Unu. Du."),
        ("x-sentences.txt:12", "Tri."),
    ]
    error = refused(tmp_path, "y-sentences.txt", "7\tUnu.\nDu.\n")
    assert error.what == "line 2 of y-sentences.txt does not begin with its number: 'Du.'"


def test_tatoeba_keeps_one_language(tmp_path):
    content = "1\tepo\tUnu.\n2\teng\tTwo.\t\\N\n"
    assert [r.text for r in read(tmp_path, "sentences.csv", content)] == ["Unu.", "Two."]
    chosen = read(tmp_path, "sentences.csv", content, language="epo")
    assert [(r.id, r.text) for r in chosen] == [("tatoeba:1", "Unu.")]
    error = refused(tmp_path, "sentences.csv", "1\tepo\tUnu.\nx\tepo\n")
    assert error.what.startswith("line 2 of sentences.csv is not `id<TAB>language<TAB>text`")


def test_tatoeba_links_that_are_not_links(tmp_path):
    sentences = file(tmp_path, "sentences.csv", "1\tepo\tUnu.\n")
    links = file(tmp_path, "links.csv", "1\t2\n1,2\n", format="tatoeba", yields="pairs")
    both = (sentences.path, sentences.path)
    with pytest.raises(ArtifactError) as caught:
        list(read_file(RawFile(links.path, "links.csv", "tatoeba", links.reading, both)))
    assert caught.value.what == "line 2 of links.csv is not `id<TAB>id`: '1,2'"


@pytest.mark.parametrize(
    ("wiki", "plain"),
    [
        ("'''A''' kaj ''b''", "A kaj b"),
        ("x{{a|{{b|c}}|d}}y", "xy"),
        ("[[urbo|urboj]] kaj [[vilaĝo]]j", "urboj kaj vilaĝoj"),
        ("[[Dosiero:a.png|eta|Bildo de [[urbo]].]]Teksto", "Teksto"),
        ("a<ref>b [http://c d]</ref>c<ref name=x />d", "acd"),
        ("[http://c.d nomo] kaj [//x.y]", "nomo kaj"),
        ("{| class=x\n| a || b\n{|\n|c\n|}\n|}\nfino", "fino"),
        ("<!-- ne -->== Titolo ==\n# unu\n* du<br/>tri", "Titolo\nunu\ndutri"),
        ("a&nbsp;b &lt;c&gt; __NOTOC__", "a b <c>"),
    ],
)
def test_wiki_markup_goes(wiki, plain):
    assert plain_wikitext(wiki) == plain


def test_broken_dump_is_told(tmp_path):
    error = refused(tmp_path, "x-pages-articles.xml", "<m><page><ns>0</ns></m>")
    assert error.what.startswith("x-pages-articles.xml is not well-formed XML (mismatched tag")


# Fields.


def test_json_lines_and_their_errors(tmp_path):
    content = '{"id": 5, "text": "Unu.", "more": 1}\n\n{"text": "Du."}\n'
    assert read(tmp_path, "a.jsonl", content) == [
        Document("5", "Unu.", "a.jsonl"),
        Document("a.jsonl:3", "Du.", "a.jsonl"),
    ]
    for line, what in [
        ("[1]", "line 1 of a.jsonl is list, not an object"),
        ('{"a": 1}', "no field 'text'; the record has a"),
        ('{"text": 1}', "the field 'text' holds 1, not a text"),
        ("{", "line 1 of a.jsonl is not JSON ("),
    ]:
        assert refused(tmp_path, "a.jsonl", line).what.startswith(what)
    for line, what in [
        ('{"tokens": ["a"], "tags": []}', "1 tokens and 0 tags"),
        ('{"tokens": "a", "tags": []}', "the field 'tokens' holds 'a', not a list"),
        ('{"tokens": ["a"]}', "no field 'tags'; the record has tokens"),
    ]:
        assert refused(tmp_path, "a.jsonl", line, yields="labelled").what == what


def test_parquet_reads_only_what_is_named(tmp_path):
    write_table(tmp_path / "a.parquet", pa.table({"id": ["x", "y"], "body": ["Unu.", "Du."]}))
    source = RawFile(tmp_path / "a.parquet", "a.parquet", "parquet", Reading(text="body"))
    assert [(d.id, d.text) for d in read_file(source)] == [("x", "Unu."), ("y", "Du.")]


def test_tab_separated_pairs_and_columns(tmp_path):
    assert read(tmp_path, "a.tsv", 'Li "diris".\tHe "said".\n') == [
        Pair("a.tsv:1", 'Li "diris".', 'He "said".', "a.tsv")
    ]
    content = "id\teo\ten\n7\tUnu\tOne\n"
    reading = {"header": True, "source_text": "en", "target_text": "eo"}
    assert read(tmp_path, "b.tsv", content, **reading) == [Pair("7", "One", "Unu", "b.tsv")]
    error = refused(tmp_path, "c.tsv", "a\tb\nc\n")
    assert error.what == "line 2 of c.tsv has 1 columns, the file 2"


# Labelled sentences.

CONLLU = """# newdoc id = d1
# sent_id = s1
# text = Mi vidas ĝin.
1-2\tMi vidas\t_\t_\t_\t_\t_\t_\t_\t_
1\tMi\tmi\tPRON\tP\tCase=Nom\t2\tnsubj\t_\t_
2\tvidas\tvidi\tVERB\tV\tTense=Pres\t0\troot\t_\t_
2.1\tiom\t_\t_\t_\t_\t_\t_\t_\t_
3\tĝin\tĝi\tPRON\tP\tCase=Acc\t2\tobj\t_\tSpaceAfter=No
4\t.\t.\tPUNCT\tZ\t_\t2\tpunct\t_\t_

# doc_id = d2
1\tJes\tjes\tINTJ\tI\t_\t0\troot\t_\t_
"""


def test_conllu_words_without_ranges_and_empty_nodes(tmp_path):
    first, second = read(tmp_path, "a.conllu", CONLLU)
    assert (first.id, first.document, first.text) == ("s1", "d1", "Mi vidas ĝin.")
    assert first.tokens == ["Mi", "vidas", "ĝin", "."]
    assert first.tags == ["PRON", "VERB", "PRON", "PUNCT"]
    assert first.lemmas == ["mi", "vidi", "ĝi", "."]
    assert first.feats == ["Case=Nom", "Tense=Pres", "Case=Acc", "_"]
    assert (second.id, second.document) == ("a.conllu:11", "d2")
    assert read(tmp_path, "a.conllu", CONLLU, tags="xpos")[0].tags == ["P", "V", "P", "Z"]
    texts = read(tmp_path, "a.conllu", CONLLU, yields="documents")
    assert [t.text for t in texts] == ["Mi vidas ĝin.", "Jes"]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("\t2\tobj\t", " 2 obj ", "line 8 of a.conllu: 7 columns in "),
        ("3\tĝin", "5\tĝin", "line 8 of a.conllu: the word number is '5', expected 3"),
        ("PUNCT", "_", "line 9 of a.conllu: the word '.' has the tag '_'"),
        ("\n\n# doc_id", "\n# doc_id", "line 11 of a.conllu: the word number is '1', expected 5"),
        ("\n\n# doc_id", "\n\n# text = x\n\n#", "line 12 of a.conllu: a sentence without words"),
    ],
)
def test_malformed_conllu_names_its_line(tmp_path, old, new, what):
    assert refused(tmp_path, "a.conllu", CONLLU.replace(old, new)).what.startswith(what)


def test_columns_of_any_width_with_comments_and_documents(tmp_path):
    content = "-DOCSTART- -X- O O\n\n# a comment\nEU NNP B-NP B-ORG\n# NN I-NP O\n\nHo UH O O\n"
    first, second = read(tmp_path, "a.conll", content)
    assert (first.tokens, first.tags) == (["EU", "#"], ["B-ORG", "O"])
    assert (first.document, second.document) == ("a.conll#1", "a.conll#1")
    assert second.id == "a.conll:7"
    assert read(tmp_path, "a.conll", content, tag_column=1)[0].tags == ["NNP", "NN"]
    error = refused(tmp_path, "a.conll", content, tag_column=7)
    assert error.what == "line 4 of a.conll: 4 column(s), the reading needs 8"


def test_ragged_columns_are_refused_or_repaired(tmp_path):
    content = "Herr O\nworden\nDeutsche Bank B-ORG\n. . O\n"
    assert refused(tmp_path, "a.bio", content).what.startswith("line 2 of a.bio: 1 column(s)")
    [sentence] = read(tmp_path, "a.bio", content, ragged="repair")
    assert sentence.tokens == ["Herr", "worden", "Deutsche Bank", ". ."]
    assert sentence.tags == ["O", "O", "B-ORG", "O"]
    error = refused(tmp_path, "b.bio", "a\tO\n\tO\n")
    assert error.what == "line 2 of b.bio: an empty token or tag"


def test_unsplit_stream_is_cut_at_sentence_ends_and_not_inside_entities(tmp_path):
    sentence = "En O\nD. B-PER\nKolb I-PER\niras O\n. O\n"
    records = read(tmp_path, "a.bio", sentence * 100)
    assert {" ".join(r.tokens) for r in records} == {"En D. Kolb iras ."}
    assert len(records) == 100
    endless = read(tmp_path, "b.bio", "mi B-X\nvi I-X\n" * 400)
    assert sum(len(r.tokens) for r in endless) == 800
    assert max(len(r.tokens) for r in endless) <= 250
    assert all(r.tags[0] == "B-X" for r in endless)


# Raw folders.


def test_raw_folder_without_or_with_a_bad_manifest(tmp_path):
    with pytest.raises(ArtifactError) as caught:
        raw_manifest(tmp_path)
    assert caught.value.what == "no manifest.json in the raw folder"
    for text, what in [
        ("{", "manifest.json cannot be read ("),
        ("{}", "manifest.json cannot be read ('files')"),
        ('{"files": [{"path": 1}]}', "a path in manifest.json is not a text"),
    ]:
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ArtifactError) as caught:
            raw_manifest(tmp_path)
        assert caught.value.what.startswith(what)
    rows = [{"path": "files/a.txt", "reading": {"documents": "word"}}]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": rows}))
    with pytest.raises(ArtifactError) as caught:
        raw_files(tmp_path)
    assert caught.value.what.startswith("the reading of files/a.txt is not valid (Input should be")


def test_raw_folder_follows_its_manifest(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_bytes("é\n\nà\n".encode("latin-1"))
    row = {
        "path": "files/a.txt",
        "format": "text",
        "encoding": "latin-1",
        "reading": {"documents": "line"},
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [row]}))
    assert [d.text for d in raw_documents(tmp_path)] == ["é", "à"]
    [found] = raw_files(tmp_path)
    assert [d.text for d in read_file(with_reading(found, documents="file"))] == ["é\n\nà\n"]


def test_parallel_file_without_its_partner(tmp_path):
    source = file(tmp_path, "a.eng", "x\n", format="parallel")
    with pytest.raises(ArtifactError) as caught:
        list(read_file(source))
    assert caught.value.what == "the parallel file a.eng has 0 partners"


# Real material: nothing is lost.


@pytest.fixture(scope="module")
def listed(shared_data) -> dict[str, tuple[int, int]]:
    """Bytes and lines of every shared file, from its manifest."""
    rows = [line.split("\t") for line in (shared_data / "MANIFEST.tsv").read_text().splitlines()]
    return {row[0]: (int(row[1]), int(row[3] or 0)) for row in rows[1:]}


def real(shared_data: Path, name: str, **reading) -> list:
    chosen = Reading(**reading)
    return list(read_file(RawFile(shared_data / name, name, format_of(name, chosen), chosen)))


def test_every_real_text_comes_whole(shared_data, listed):
    folders = (
        "eo_classics/",
        "eo_bible/",
        "eo_raw_commonvoice/",
        "multilingual_raw_commonvoice/",
        "mixed_language/",
        "dedup/eo_second_transcriptions/",
        "document_pairs/",
    )
    names = [name for name in listed if name.startswith(folders)]
    assert len(names) == 134
    marked = 0
    for name in names:
        [document] = real(shared_data, name)
        text, (size, lines) = document.text, listed[name]
        assert text.count("\n") + (not text.endswith("\n")) == lines, name
        lost = size - len(text.encode())
        assert lost in (0, 3), name
        marked += lost == 3
        by_line = real(shared_data, name, documents="line")
        assert len(by_line) == sum(1 for line in text.split("\n") if line.strip()), name
    assert marked == 3  # Files that begin with a byte order mark.


def test_every_wikipedia_sentence_comes(shared_data):
    for name in ("eowiki.crp.txt.bz2", "enwiki.crp.txt.bz2"):
        records = real(shared_data, f"wikipedia_sentences/{name}")
        assert [int(r.id.rpartition(":")[2]) for r in records] == list(range(1, 20_001))
        assert not any(r.text[0].isspace() for r in records)
    old = real(shared_data, "wikipedia_sentences/eowiki_old_part1.txt.gz", documents="line")
    assert len(old) == 12_000


@pytest.mark.parametrize(
    ("name", "sentences", "words"),
    [
        ("UD_Esperanto-Prago/eo_prago-ud-test", 131, 3165),
        ("UD_Welsh-CCG/cy_ccg-ud-train", 1255, 26_159),
        ("UD_Welsh-CCG/cy_ccg-ud-dev", 409, 9123),
        ("UD_Welsh-CCG/cy_ccg-ud-test", 953, 17_026),
        ("UD_Maltese-MUDT/mt_mudt-ud-train", 1123, 22_880),
        ("UD_Maltese-MUDT/mt_mudt-ud-dev", 433, 10_209),
        ("UD_Maltese-MUDT/mt_mudt-ud-test", 518, 11_073),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-train", 1315, 33_878),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-dev", 194, 5317),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-test", 425, 10_063),
    ],
)
def test_every_treebank_has_the_published_counts(shared_data, name, sentences, words):
    records = real(shared_data, f"ud/{name}.conllu.gz")
    assert len(records) == sentences
    assert sum(len(r.tokens) for r in records) == words


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "reading"),
    [
        ("wnut17/wnut17train.conll", 3394, 62_730, {}),
        ("wnut17/emerging.dev.conll", 1009, 15_733, {}),
        ("wnut17/emerging.test.annotated", 1287, 23_394, {"format": "conll"}),
        ("wnut17/submissions/uh_ritual", 1287, 23_394, {"format": "conll", "tag_column": 1}),
        ("wnut17/submissions/arcada", 1287, 23_394, {"format": "conll"}),
        ("seqeval_tests/ground_truth.txt", 40, 961, {"format": "conll"}),
        ("europeana/enp_DE.lft.bio.gz", None, 70_259, {}),
        ("europeana/enp_DE.sbb.bio.gz", None, 47_281 - 3 * 14, {"ragged": "repair"}),
        ("europeana/enp_NL.kb.bio.gz", None, 182_482, {}),
    ],
)
def test_every_entity_file_comes_whole(shared_data, name, sentences, tokens, reading):
    records = real(shared_data, f"ner/{name}", **reading)
    assert sum(len(r.tokens) for r in records) == tokens
    if sentences is None:
        assert max(len(r.tokens) for r in records) <= 250
        assert 10 < tokens / len(records) < 60
    else:
        assert len(records) == sentences


def test_odd_real_file_is_refused_with_its_line(shared_data):
    with pytest.raises(ArtifactError) as caught:
        real(shared_data, "ner/europeana/enp_DE.sbb.bio.gz")
    assert caught.value.what == (
        "line 129 of enp_DE.sbb.bio.gz: 1 column(s) where the file has 2: 'worden'"
    )


def test_every_real_pair_comes(shared_data, listed):
    names = [name for name in listed if name.startswith("tatoeba/") and ".epo." in name]
    assert len(names) == 6
    for name in names:
        stem = name.removesuffix("epo.gz")
        [other] = [n for n in listed if n.startswith(stem) and n != name]
        source = RawFile(shared_data / name, name, "parallel", Reading(), (shared_data / other,))
        assert sum(1 for _ in read_file(source)) == listed[name][1] == listed[other][1]


def test_real_tables_and_json(shared_data):
    records = real(shared_data, "sib200/epo_Latn/train.tsv", header=True, yields="documents")
    assert len(records) == 701
    rows = real(shared_data, "scitldr_a/dev.jsonl.gz", text="title")
    assert len(rows) == 619
