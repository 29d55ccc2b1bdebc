"""Records out of files of every format: what comes, what is refused and where."""

from __future__ import annotations

import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stages.core.errors import ArtifactError
from stages.lm import wikitext
from stages.lm.records import (
    Document,
    Pair,
    RawFile,
    Reading,
    raw_documents,
    raw_files,
    raw_manifest,
    read_file,
    with_reading,
)
from stages.lm.tables import write_table
from tests.lm.record_files import file, read, refused


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


def test_tatoeba_links_are_joined_once_each_by_id(tmp_path):
    left = file(tmp_path, "epo_sentences.tsv", "30\tepo\tTri ĉi.\n2\tepo\tDu.\n9\tepo\tNeligita.\n")
    right = file(tmp_path, "eng_sentences.tsv", "7\teng\tSeven.\n5\teng\tFive.\n")
    rows = "30\t7\n2\t5\n30\t5\n30\t7\n2\t404\n404\t5\n"
    links = file(tmp_path, "links.csv", rows, format="tatoeba", yields="pairs")
    both = (left.path, right.path)
    joined = list(read_file(RawFile(links.path, "links.csv", "tatoeba", links.reading, both)))
    assert [(p.id, p.source_text, p.target_text) for p in joined] == [
        ("tatoeba:2-5", "Du.", "Five."),
        ("tatoeba:30-5", "Tri ĉi.", "Five."),
        ("tatoeba:30-7", "Tri ĉi.", "Seven."),
    ]


def test_tatoeba_join_holds_little_more_than_the_texts(tmp_path):
    count, text = 30_000, "Jen frazo de mezuma longo, kiel ili estas. "
    left = file(tmp_path, "epo_sentences.tsv", "".join(f"{n}\tepo\t{text}\n" for n in range(count)))
    rows = "".join(f"{n}\t{count - 1 - n}\n" for n in range(count))
    links = file(tmp_path, "links.csv", rows, format="tatoeba", yields="pairs")
    source = RawFile(links.path, "links.csv", "tatoeba", links.reading, (left.path, left.path))
    tracemalloc.start()
    assert sum(1 for _ in read_file(source)) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * 2 * count * len(text)  # A string object for each text takes it to 6.2.


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
    assert wikitext.plain(wiki) == plain


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


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "\\ud800a"}', "the field 'text' holds half of a surrogate pair"),
        ('{"text": null}', "the field 'text' is null"),
        ('{"text": ' + "[" * 99_999, "line 1 of a.jsonl is not JSON (maximum recursion depth"),
    ],
)
def test_json_that_is_no_text(tmp_path, line, what):
    error = refused(tmp_path, "a.jsonl", line + "\n")
    assert error.what.startswith(what)
    assert error.where.endswith("a.jsonl:1")


def test_half_a_surrogate_in_a_token(tmp_path):
    line = '{"tokens": ["a", "\\udc00"], "tags": ["X", "X"]}\n'
    error = refused(tmp_path, "a.jsonl", line, yields="labelled")
    assert error.what == "the field 'tokens' holds half of a surrogate pair"


def test_parquet_whose_texts_are_not_utf8(tmp_path):
    limits, data = b"\0\0\0\0\2\0\0\0", b"a\xff"
    texts = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(limits), pa.py_buffer(data)])
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(ArtifactError) as caught:
        list(read_file(RawFile(tmp_path / "a.parquet", "a.parquet", "parquet", Reading())))
    assert caught.value.what == "a text of a.parquet is not UTF-8: byte 0xff"


@pytest.mark.parametrize(
    ("name", "yields", "possible"),
    [
        ("a.txt", "pairs", "documents"),
        ("a.conllu", "pairs", "labelled or documents"),
        ("a.tsv", "labelled", "pairs or documents"),
    ],
)
def test_formats_yield_what_they_can(tmp_path, name, yields, possible):
    error = refused(tmp_path, name, "x\ty\n", yields=yields)
    assert error.what == f"a {name[2:].replace('txt', 'text')} file cannot yield {yields}"
    assert error.todo == f"set it to {possible}, or declare the file's format"


@pytest.mark.parametrize("encoding", ["rot13", "base64", "utf-99"])
def test_encodings_that_are_none(encoding):
    with pytest.raises(ValidationError, match=f"no encoding is called '{encoding}'"):
        Reading(encoding=encoding)


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
