"""Records out of containers: kept with their columns, lost with a reason, the same after a kill."""

from __future__ import annotations

import json

import pytest

from stages.acquire import extraction
from stages.acquire.readers import batches
from stages.core.canonical import file_digest
from stages.core.errors import DevenoError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_labelled, raw_pairs
from tests.stages.extract_material import compressed, extract, interrupted, zeros
from tests.stages.loopback import Server, sha

JSONL = {"format": "jsonl"}
OSCAR = {
    "format": "jsonl",
    "text": "content",
    "columns": {
        "url": "warc_headers.warc-target-uri",
        "language": "metadata.identification.label",
        "quality": "metadata.quality_warnings",
        "licence": "licence",
    },
}
PAGE = (
    "<page><title>{title}</title><ns>{ns}</ns><id>{n}</id>{more}<revision><id>{n}0</id>"
    "<timestamp>2024-01-01T00:00:00Z</timestamp><text>{text}</text></revision></page>\n"
)
SITE = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="eo"><siteinfo>'
    '<namespaces><namespace key="0" /><namespace key="6">Dosiero</namespace>'
    '<namespace key="14">Kategorio</namespace></namespaces></siteinfo>\n'
)


def page(n: int, text: str, title: str = "Titolo", ns: int = 0, more: str = "") -> str:
    return PAGE.format(n=n, text=text, title=title, ns=ns, more=more)


def rows(count: int) -> bytes:
    return b"".join(b'{"text": "teksto %d estas longa"}\n' % n for n in range(count))


def test_oscar_keeps_what_is_told_of_a_text(tmp_path):
    told = {
        "content": "Saluton\nmondo",
        "warc_headers": {"warc-target-uri": "http://a.b/"},
        "metadata": {"identification": {"label": "eo"}, "quality_warnings": ["tiny"]},
        "licence": "CC-BY-4.0",
    }
    plain = {"content": "sen io ajn"}
    lines = "".join(json.dumps(one) + "\n" for one in (told, plain)).encode()
    for suffix in (".gz", ".bz2", ".xz", ".zst", ""):
        place = tmp_path / (suffix or "plain")
        taken = extract(place, {f"eo.jsonl{suffix}": compressed(lines, suffix)}, OSCAR)
        [first, second] = taken.rows
        assert first["text"] == "Saluton\nmondo"
        assert (first["url"], first["language"], first["quality"]) == (
            "http://a.b/", "eo", '["tiny"]',
        )  # fmt: skip
        assert (first["licence"], second["licence"]) == ("CC-BY-4.0", "CC0-1.0")
        assert taken.manifest["licences"] == {"CC-BY-4.0": 1, "CC0-1.0": 1}
        assert second["url"] is None
        assert [d.text for d in raw_documents(taken.raw)] == [first["text"], second["text"]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", "not_json"),
        (b"[1]", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"other": 1}', "no_text"),
        (b'{"text": 7}', "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"text": " \\n"}', "empty"),
        (b'{"text": "\\ud800"}', "half_surrogate"),
        (b'{"text": "\xff"}', "undecodable"),
        (b'{"text": "' + b"a" * 3000 + b'"}', "too_long"),
    ],
)
def test_a_bad_line_costs_itself_and_says_why(tmp_path, line, reason):
    data = b'{"text": "unu"}\n' + line + b'\n\n{"text": "du"}'
    taken = extract(tmp_path, {"a.jsonl": data}, JSONL, max_record_bytes=2000)
    if line.startswith(b"[["):
        reason = "too_long"
    assert taken.texts == ["unu", "du"]
    assert taken.lost == [("a.jsonl:2", reason)]
    assert [row["id"] for row in taken.rows] == ["a.jsonl:1", "a.jsonl:4"]


def test_depth_that_json_refuses_is_a_loss(tmp_path):
    taken = extract(tmp_path, {"a.jsonl": b'{"text": "a"}\n' + b"[" * 200_000}, JSONL)
    assert taken.lost == [("a.jsonl:2", "not_json")]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_truncated_container_keeps_what_came_and_says_what_is_missing(tmp_path, suffix):
    data = compressed(rows(20_000), suffix)
    cut = data[: len(data) * 2 // 3] if suffix != ".bz2" else data[:-20]
    taken = extract(tmp_path, {"a.jsonl": cut, "b.jsonl": rows(2)}, JSONL)
    assert [reason for _, reason in taken.lost] == ["truncated"]
    assert taken.lost[0][0] == f"a.jsonl:{len(taken.rows) - 2 + 1}"
    assert taken.texts[-2:] == ["teksto 0 estas longa", "teksto 1 estas longa"]
    with pytest.raises(DevenoError) as caught:
        extract(tmp_path, {}, JSONL, damage="refuse", to="again")
    assert len(caught.value.lines()) == 3
    assert "truncated" in caught.value.what


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_a_bomb_costs_no_more_than_its_bound(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("stages.acquire.readers.containers.FREE_BYTES", 4 << 20)
    bomb = zeros(64 << 20, suffix)
    files = {f"a.jsonl{suffix}": bomb, "b.jsonl": rows(1)}
    taken = extract(tmp_path, files, JSONL, max_ratio=100)
    assert [reason for _, reason in taken.lost][-1] == "bomb"
    assert taken.texts == ["teksto 0 estas longa"]


def test_names_that_lie_and_damage_within(tmp_path):
    packed = bytearray(compressed(rows(20_000), ".gz"))
    packed[len(packed) // 2] ^= 0xFF
    files = {
        "a.jsonl.gz": rows(3),
        "b.jsonl": compressed(rows(3), ".zst"),
        "c.jsonl.gz": bytes(packed),
    }
    taken = extract(tmp_path, files, JSONL)
    by_file = {row["path"]: row for row in taken.manifest["inputs"]}
    assert by_file["a.jsonl.gz"]["kept"] == by_file["b.jsonl"]["kept"] == 3
    assert by_file["c.jsonl.gz"]["kept"] > 100
    assert sum(by_file["c.jsonl.gz"]["lost"].values()) >= 1


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "shift_jis", "utf-8-sig"]
)
def test_declared_encodings(tmp_path, encoding):
    text = "kafé" if encoding == "latin-1" else "日本"
    data = f'{{"text": "{text}"}}\n{{"text": "du"}}\n'.encode(encoding)
    taken = extract(tmp_path, {"a.jsonl": data}, {**JSONL, "encoding": encoding})
    assert taken.texts == [text, "du"]
    if encoding in ("utf-16", "utf-32", "utf-8-sig"):
        assert extract(tmp_path, {}, JSONL, to="auto").texts == [text, "du"]


DUMP = (
    SITE
    + page(1, "'''Unu''' [[Dosiero:a.jpg|x]] {{b}} &lt;ref&gt;c&lt;/ref&gt;teksto[[Kategorio:D]]")
    + page(2, "#REDIRECT [[Unu]]", "Alidirekto", more='<redirect title="Unu" />')
    + page(3, "diskuto", "Diskuto:Unu", ns=1)
    + page(4, "&bomb;")
    + page(5, "{{nur|sxablono}}")
    + "<page><title>rompita</ns></page>"
    + page(6, "x" * 5000)
    + page(7, "Sep")
    + "</mediawiki>"
)


def test_a_dump_gives_articles_with_title_and_revision(tmp_path):
    taken = extract(
        tmp_path, {"eo.xml.bz2": compressed(DUMP.encode(), ".bz2")}, {"format": "mediawiki"},
        max_record_bytes=4000,
    )  # fmt: skip
    assert taken.texts == ["Unu teksto", "Sep"]
    first = taken.rows[0]
    assert (first["title"], first["page"], first["revision"]) == ("Titolo", "1", "10")
    assert taken.lost == [
        ("eo.xml.bz2:2", "redirect"),
        ("eo.xml.bz2:3", "other_namespace"),
        ("eo.xml.bz2:4", "malformed"),
        ("eo.xml.bz2:5", "no_words"),
        ("eo.xml.bz2:6", "malformed"),
        ("eo.xml.bz2:7", "too_long"),
    ]


def test_entities_of_a_document_type_are_never_expanded(tmp_path):
    bomb = (
        "<!DOCTYPE m [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'><!ENTITY f SYSTEM '/etc/hostname'>]>"
    )
    data = bomb + "<m>" + page(1, "&b;") + page(2, "&f;") + page(3, "tri") + "</m>"
    taken = extract(tmp_path, {"d.xml": data}, {"format": "mediawiki"})
    assert (taken.texts, [r for _, r in taken.lost]) == (["tri"], ["malformed", "malformed"])
    assert "undefined entity" in taken.losses[0]["detail"]


def test_leipzig_sentences_know_their_source(tmp_path):
    files = {
        "eo-sentences.txt": "1\tUnu frazo.\n2\tDu.\nsen numero\n3\t\n4\tKvar.\n",
        "eo-inv_so.txt": "7\t1\n8\t2\n9\t4\n",
        "eo-sources.txt": "7\thttp://a/\t2020-01-01\n8\thttp://b/\n",
    }
    taken = extract(tmp_path, files, {"format": "leipzig"}, patterns=["*-sentences.txt"])
    told = [(row["text"], row["sentence"], row["url"], row["date"]) for row in taken.rows]
    assert told == [
        ("Unu frazo.", "1", "http://a/", "2020-01-01"),
        ("Du.", "2", "http://b/", None),
        ("Kvar.", "4", None, None),
    ]
    assert taken.lost == [
        ("eo-sentences.txt:3", "no_number"),
        ("eo-sentences.txt:4", "empty"),
    ]


WORD = "{n}\t{form}\t{form}\tNOUN\tN\tCase=Nom\t0\troot\t_\t_\n"
TREE = (
    "# newdoc id = d1\n# sent_id = s1\n# text = Du hundoj\n# text_en = Two dogs\n"
    + WORD.format(n=1, form="Du") + WORD.format(n=2, form="hundoj")
    + "\n# sent_id = s2\n" + WORD.format(n=2, form="rompita")
    + "\n# sent_id = s3\n# text = malplena\n"
    + "\n# sent_id = s4\n" + WORD.format(n=1, form="kato")
)  # fmt: skip


def test_treebanks_give_sentences_texts_and_pairs(tmp_path):
    reader = {"format": "conllu"}
    taken = extract(tmp_path, {"a.conllu": TREE}, reader)
    assert [(row["tokens"], row["document"]) for row in taken.rows] == [
        (["Du", "hundoj"], "d1"), (["kato"], "d1"),
    ]  # fmt: skip
    assert [reason for _, reason in taken.lost] == ["malformed", "no_words"]
    assert [one.tags for one in raw_labelled(taken.raw)] == [["NOUN", "NOUN"], ["NOUN"]]
    texts = extract(tmp_path, {}, {**reader, "yields": "documents"}, to="texts")
    assert texts.texts == ["Du hundoj", "kato"]
    pairs = extract(tmp_path, {}, {**reader, "yields": "pairs"}, to="pairs")
    assert [(one.source_text, one.target_text) for one in raw_pairs(pairs.raw)] == [
        ("Du hundoj", "Two dogs")
    ]
    assert [reason for _, reason in pairs.lost][-1] == "no_translation"


MANY = {
    "jsonl": ({"format": "jsonl"}, rows(60)),
    "jsonl-zst": ({"format": "jsonl"}, compressed(rows(60), ".zst")),
    "jsonl-wide": ({"format": "jsonl"}, rows(60).decode().encode("utf-16")),
    "mediawiki": (
        {"format": "mediawiki"}, (SITE + "".join(page(n, f"t {n}") for n in range(60))).encode(),
    ),
    "leipzig": (
        {"format": "leipzig"}, "".join(f"{n}\tfrazo {n}\n" for n in range(60)).encode(),
    ),
    "conllu": ({"format": "conllu"}, (TREE + "\n").encode() * 20),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_stopped_and_started_again_it_gives_the_same_bytes(tmp_path, name, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_ITEMS", 4)
    monkeypatch.setattr(extraction, "PART_RECORDS", 9)
    reader, data = MANY[name]
    files = {"a": data, "b": data[:-9], "c": b""}
    whole = extract(tmp_path, files, reader)
    again, starts = interrupted(tmp_path, {}, reader)
    assert starts > 3
    assert again.bytes == whole.bytes
    assert len(whole.rows) > 30


def test_a_kept_part_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "PART_RECORDS", 10)
    monkeypatch.setattr(batches, "BATCH_ITEMS", 5)
    files = {"a.jsonl": rows(40)}
    again, _ = interrupted(tmp_path, files, JSONL)
    (job,) = (tmp_path / "scratch/parts").iterdir()
    assert again.log.observed[f"parts_reused/{job.name}"] >= 3
    kept = sorted(job.glob("*.part"))
    assert len(kept) >= 4
    torn = kept[1]
    torn.write_bytes(torn.read_bytes()[:-7])
    once_more = extract(tmp_path, {}, JSONL, log=Log(scratch=tmp_path / "scratch"), to="b")
    assert once_more.bytes == again.bytes
    assert once_more.log.observed[f"parts_made/{job.name}"] == 1


def test_declared_digests_are_held(tmp_path):
    files = {"a.jsonl": rows(2)}
    first = extract(tmp_path, files, JSONL)
    digest = file_digest(tmp_path / "in/a.jsonl")
    assert first.manifest["inputs"][0]["sha256"] == digest
    extract(tmp_path, {}, JSONL, to="b", sha256={"a.jsonl": digest})
    with pytest.raises(DevenoError, match="declared is 0000") as caught:
        extract(tmp_path, {}, JSONL, to="c", sha256={"a.jsonl": "0" * 64})
    assert len(caught.value.lines()) == 3
    with pytest.raises(DevenoError, match=r"no file 'b.jsonl'"):
        extract(tmp_path, {}, JSONL, to="d", sha256={"b.jsonl": digest})


def test_an_unknown_licence_is_said(tmp_path):
    taken = extract(tmp_path, {"a.jsonl": rows(2)}, JSONL, licence=None)
    assert taken.manifest["licences"] == {"unknown": 2}
    assert "2 records" in taken.log.texts["unknown_licence"]


def test_nothing_left_is_an_error_that_counts(tmp_path):
    with pytest.raises(DevenoError, match=r"no record is left \(2 not_json\)") as caught:
        extract(tmp_path, {"a.jsonl": b"x\ny\n"}, JSONL)
    assert len(caught.value.lines()) == 3


def test_files_are_fetched_first_and_read_by_their_names(tmp_path):
    files = {
        "eo-sentences.txt": b"1\tUnu frazo.\n", "eo-inv_so.txt": b"7\t1\n",
        "eo-sources.txt": b"7\thttp://a/\n",
    }  # fmt: skip
    server = Server(files)
    try:
        pin = sha(files["eo-sentences.txt"])
        addresses = {
            "kind": "url", "base": server.base, "backoff_seconds": 0.0,
            "files": [{"path": "eo-sentences.txt", "sha256": pin}, {"path": "eo-inv_so.txt"},
                      {"path": "eo-sources.txt"}],
        }  # fmt: skip
        log, reader = Log(scratch=tmp_path / "scratch"), {"format": "leipzig"}
        source = {"addresses": addresses, "patterns": ["*-sentences.txt"]}
        taken = extract(tmp_path, {}, reader, log=log, **source)
        assert [(row["text"], row["url"]) for row in taken.rows] == [("Unu frazo.", "http://a/")]
        assert [row["pinned"] for row in taken.manifest["addresses"]] == [True, False, False]
        assert taken.manifest["origin"] == server.base
        addresses["files"][0]["sha256"] = "0" * 64
        with pytest.raises(DevenoError, match="declared is 000"):
            extract(tmp_path, {}, reader, to="b", **source)
    finally:
        server.close()
