"""Acquire over HTTP from a loopback server that cuts, lies, refuses and moves."""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import MachineError, Resumable, SourceError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_labelled, raw_manifest, raw_pairs

BODY = os.urandom(300_000)
TEXT = "".join(f"Linio numero {n}.\n" for n in range(20_000)).encode()


class Server:
    """A loopback server; `act` decides what each request gets, `seen` remembers the requests."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.seen: list[tuple[str, str | None]] = []
        self.act: Callable[[Handler, bytes], None] = serve
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        owner: Server = self.server.owner
        owner.seen.append((self.path, self.headers.get("Range")))
        body = owner.files.get(self.path.lstrip("/"))
        if body is None:
            self.answer(404, b"")
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            owner.act(self, body)

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True

    @property
    def start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0


def serve(handler: Handler, body: bytes, cut: int | None = None) -> None:
    """Answer as an honest server with ranges; `cut` closes the connection after so many bytes."""
    start, tag = handler.start, f'"{hashlib.md5(body).hexdigest()}"'
    if start >= len(body) > 0:
        handler.answer(416, b"", Content_Range=f"bytes */{len(body)}")
        return
    guard = handler.headers.get("If-Range")
    if guard not in (None, tag):
        start = 0
    rest = body[start:]
    headers = {"ETag": tag}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
    sent = rest if cut is None else rest[:cut]
    handler.answer(206 if start else 200, sent, len(rest), **headers)


@pytest.fixture
def server():
    made = Server({"a.bin": BODY, "t.txt": TEXT})
    yield made
    made.close()


def parameters(server: Server, paths=("a.bin",), **source) -> AcquireParams:
    files = [path if isinstance(path, dict) else {"path": path} for path in paths]
    given = {
        "kind": "url",
        "base": server.base,
        "files": files,
        "backoff_seconds": 0.01,
        "attempts": 3,
        "timeout_seconds": 5.0,
        "reading": {"format": "binary"},
    }
    return AcquireParams.model_validate({"licence": "CC0-1.0", "source": given | source})


def fetch(tmp_path: Path, params: AcquireParams, log: Log | None = None) -> Path:
    acquire(params, tmp_path / "none", tmp_path / "raw", log or Log(scratch=tmp_path / "scratch"))
    return tmp_path / "raw"


def refused(tmp_path: Path, params: AcquireParams) -> SourceError:
    with pytest.raises(SourceError) as caught:
        fetch(tmp_path, params)
    assert len(caught.value.lines()) == 3
    assert not (tmp_path / "raw/manifest.json").exists()
    return caught.value


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_file_comes_whole_and_is_recorded(tmp_path, server):
    events = []
    log = Log(events.append, tmp_path / "scratch")
    raw = fetch(tmp_path, parameters(server, ["t.txt"], reading={"documents": "line"}), log)
    assert (raw / "files/t.txt").read_bytes() == TEXT
    manifest = raw_manifest(raw)
    assert manifest["addresses"] == [
        {
            "url": f"{server.base}t.txt",
            "path": "files/t.txt",
            "sha256": sha(TEXT),
            "pinned": False,
        }
    ]
    assert manifest["files"][0]["records"] == 20_000
    assert manifest["origin"] == server.base
    assert "attempts" not in manifest["source"]
    assert log.texts["pins"] == f"{server.base}t.txt sha256: {sha(TEXT)}"
    done = [e for e in events if e["event"] == "progress" and e["unit"] == "bytes of file 1/1"]
    assert (done[-1]["done"], done[-1]["total"]) == (len(TEXT), len(TEXT))


def test_cut_connection_resumes_by_range(tmp_path, server):
    cuts = iter([100_000, 50_000, None])
    server.act = lambda handler, body: serve(handler, body, next(cuts))
    raw = fetch(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert raw_manifest(raw)["addresses"][0]["pinned"] is True


def test_many_cuts_are_fine_while_each_try_brings_something(tmp_path, server):
    server.act = lambda handler, body: serve(handler, body, 40_000)
    raw = fetch(tmp_path, parameters(server, attempts=2))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert len(server.seen) == 8


def test_killed_run_goes_on_in_the_next(tmp_path, server):
    log = Log(scratch=tmp_path / "scratch")

    def stop_midway(handler: Handler, body: bytes) -> None:
        log.request_stop()
        serve(handler, body, 120_000)

    server.act = stop_midway
    with pytest.raises(Resumable) as caught:
        fetch(tmp_path, parameters(server), log)
    assert caught.value.what == "stopped on request during a download"
    kept = next((tmp_path / "scratch/downloads").glob("*.part")).stat().st_size
    assert 0 < kept <= 120_000
    server.act = serve
    (tmp_path / "raw").exists() and (tmp_path / "raw").rmdir()
    raw = fetch(tmp_path, parameters(server))
    assert server.seen[-1] == ("/a.bin", f"bytes={kept}-")
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_server_without_ranges_starts_over(tmp_path, server):
    cuts = iter([100_000, None])

    def whole_only(handler: Handler, body: bytes) -> None:
        cut = next(cuts)
        handler.answer(200, body[:cut], len(body))

    server.act = whole_only
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-"]


def test_file_that_changed_meanwhile_is_not_mixed(tmp_path, server):
    new = os.urandom(200_000)

    def change(handler: Handler, body: bytes) -> None:
        serve(handler, body, 100_000 if len(server.seen) == 1 else None)
        server.files["a.bin"] = new

    server.act = change
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == new


def test_range_that_was_not_asked_starts_over(tmp_path, server):
    def shifted(handler: Handler, body: bytes) -> None:
        if handler.start == 100_000:
            handler.answer(206, body[7:], Content_Range=f"bytes 7-{len(body) - 1}/{len(body)}")
        else:
            serve(handler, body, 100_000 if len(server.seen) == 1 else None)

    server.act = shifted
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_busy_server_is_asked_again(tmp_path, server):
    answers = iter([503, 429])

    def busy(handler: Handler, body: bytes) -> None:
        status = next(answers, None)
        if status is None:
            serve(handler, body)
        else:
            handler.answer(status, b"")

    server.act = busy
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


def test_lost_end_answered_416_is_taken_if_all_is_there(tmp_path, server):
    params = parameters(server)
    name = sha(f"{server.base}a.bin".encode())
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{name}.part").write_bytes(BODY)
    (folder / f"{name}.json").write_text(json.dumps({"total": len(BODY), "validator": None}))
    assert (fetch(tmp_path, params) / "files/a.bin").read_bytes() == BODY
    assert server.seen == [("/a.bin", f"bytes={len(BODY)}-")]


def test_part_longer_than_the_file_starts_over(tmp_path, server):
    name = sha(f"{server.base}a.bin".encode())
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{name}.part").write_bytes(BODY + b"more")
    (folder / f"{name}.json").write_text(json.dumps({"total": None, "validator": None}))
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


def test_part_without_its_note_is_not_trusted(tmp_path, server):
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{sha(f'{server.base}a.bin'.encode())}.part").write_bytes(b"something else")
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
def test_lying_length_is_told(tmp_path, server, ranges):
    def lie(handler: Handler, body: bytes) -> None:
        if ranges and handler.start:
            serve(handler, body)
        else:
            handler.answer(200, body, len(body) + 1000)

    server.act = lie
    error = refused(tmp_path, parameters(server))
    promised = len(BODY) + 1000
    what = f"later {len(BODY)}" if ranges else f"sent {len(BODY)}"
    if ranges:
        assert f"the server said {promised} bytes and {what}" in error.what
    else:
        assert error.what.startswith(f"the download stopped at {len(BODY)} of {promised} bytes")


def test_lying_length_is_forgiven_if_the_digest_is_right(tmp_path, server):
    def lie(handler: Handler, body: bytes) -> None:
        if handler.start:
            serve(handler, body)
        else:
            handler.answer(200, body, len(body) + 1000)

    server.act = lie
    raw = fetch(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_length_that_is_too_short_is_caught_by_the_digest(tmp_path, server):
    server.act = lambda handler, body: handler.answer(200, body[:1000])
    error = refused(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert error.what == f"the SHA-256 is {sha(BODY[:1000])}, declared is {sha(BODY)}"


def test_wrong_checksum_is_told_and_not_kept(tmp_path, server):
    wrong = "0" * 64
    error = refused(tmp_path, parameters(server, [{"path": "a.bin", "sha256": wrong}]))
    assert error.what == f"the SHA-256 is {sha(BODY)}, declared is {wrong}"
    assert error.where == f"{server.base}a.bin"
    assert not list((tmp_path / "scratch/downloads").glob("[0-9a-f]" * 64))


def test_too_large_by_its_length_and_by_its_body(tmp_path, server):
    error = refused(tmp_path / "a", parameters(server, max_bytes=1000))
    assert error.what == f"the file has {len(BODY)} bytes or more, allowed are 1000"

    def endless(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        handler.wfile.write(body)

    server.act = endless
    error = refused(tmp_path / "b", parameters(server, max_bytes=1000))
    assert error.what.endswith("bytes or more, allowed are 1000")


def test_server_not_reachable(tmp_path, server):
    params = parameters(server, attempts=2)
    server.close()
    error = refused(tmp_path, params)
    assert error.what == f"the server {params.source.base[7:-1]} is not reachable (2 tries)"


def test_dead_connection_is_told_where_it_stopped(tmp_path, server):
    def hang_up(handler: Handler, body: bytes) -> None:
        if handler.start:
            handler.close_connection = True
        else:
            serve(handler, body, 5000)

    server.act = hang_up
    error = refused(tmp_path, parameters(server))
    assert error.what.startswith(f"the download stopped at 5000 of {len(BODY)} bytes: ")
    assert error.todo == "run again, it goes on there (3 tries brought nothing more)"


def test_missing_file_on_the_server(tmp_path, server):
    error = refused(tmp_path, parameters(server, ["gone.txt"]))
    assert error.what == "the server answered 404 Not Found"
    assert len(server.seen) == 1


def test_redirects_lead_to_declared_hosts_only(tmp_path, server):
    other = Server({"a.bin": BODY})
    server.act = lambda handler, _: handler.answer(302, b"", Location=f"{other.base}a.bin")
    error = refused(tmp_path / "a", parameters(server))
    assert error.what == f"the server redirects to {other.base}a.bin"
    raw = fetch(tmp_path / "b", parameters(server, hosts=[other.base[7:-1]]))
    assert (raw / "files/a.bin").read_bytes() == BODY
    server.act = lambda handler, _: handler.answer(302, b"", Location=handler.path)
    error = refused(tmp_path / "c", parameters(server))
    assert error.what == "more than 5 redirects"
    other.close()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"files": []}, "the source is empty: no address"),
        ({"base": "ftp://x/"}, "'ftp://x/a.bin' is no http or https address"),
        ({"base": ""}, "'a.bin' is no http or https address"),
        ({"files": [{"path": "../a.bin"}]}, "the path '../a.bin' leads outside its folder"),
        ({"files": [{"path": "a", "name": "/x"}]}, "the path '/x' leads outside its folder"),
        (
            {"files": [{"path": "a/x", "name": "x"}, {"path": "b/x", "name": "x"}]},
            "two addresses would be kept as 'x'",
        ),
    ],
)
def test_addresses_that_cannot_be(tmp_path, server, given, what):
    assert refused(tmp_path, parameters(server, **given)).what == what
    assert server.seen == []


def test_full_disk_while_fetching(tmp_path, server, monkeypatch):
    real = Path.open

    def full(self, mode="r", *rest, **more):
        if mode == "ab":
            raise OSError(28, "No space left on device")
        return real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MachineError) as caught:
        fetch(tmp_path, parameters(server))
    assert caught.value.what.startswith("no space is left for ")
    assert len(server.seen) == 1


# The address layouts of the recipe `esperanto_web`.

COMMIT = "c360b587ce258dd1463ee09bc642ea2c27deacac"
CONLLU = "# sent_id = prago-001\n# text = Bone\n1\tBone\tbone\tADV\t_\t_\t0\troot\t_\t_\n\n"
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="eo">
<siteinfo><sitename>Vikipedio</sitename></siteinfo>
<page><title>Akvo</title><ns>0</ns><id>7</id><revision><id>99</id><text>{{Informkesto
|nomo={{lang|eo|x}}}}'''Akvo''' estas [[kemia kombino|kombino]].&lt;ref name="a"&gt;n&lt;/ref&gt;
== Ecoj ==
* Ĝi [[bolo|bolas]].
[[Kategorio:Akvo]]</text></revision></page>
<page><title>Aĵo</title><ns>0</ns><id>8</id><redirect title="Akvo"/><revision><text>#ALIDIREKTU
[[Akvo]]</text></revision></page>
<page><title>Diskuto:Akvo</title><ns>1</ns><id>9</id><revision><text>Kio?</text></revision></page>
</mediawiki>"""


def leipzig() -> bytes:
    data = io.BytesIO()
    name = "epo_wikipedia_2021_10K"
    with tarfile.open(fileobj=data, mode="w:gz") as bundle:
        for part, text in (
            ("sentences", "1\tUnua frazo.\n2\tDua frazo.\n"),
            ("words", "1\tla\t9\n"),
        ):
            content = text.encode()
            info = tarfile.TarInfo(f"{name}/{name}-{part}.txt")
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture
def web():
    made = Server(
        {
            "exports/per_language/epo/epo_sentences.tsv.bz2": bz2.compress(
                b"11\tepo\tUnu.\n12\tepo\tDu.\n13\tepo\tTri.\n"
            ),
            "exports/per_language/eng/eng_sentences.tsv.bz2": bz2.compress(
                b"21\teng\tOne.\n22\teng\tTwo.\n"
            ),
            "exports/per_language/epo/epo-eng_links.tsv.bz2": bz2.compress(
                b"12\t22\n11\t21\n13\t99\n"
            ),
            "corpora/epo_wikipedia_2021_10K.tar.gz": leipzig(),
            f"UniversalDependencies/UD_Esperanto-Prago/{COMMIT}/eo_prago-ud-test.conllu": (
                CONLLU.encode()
            ),
            "eowiki/20260101/eowiki-20260101-pages-articles.xml.bz2": bz2.compress(DUMP.encode()),
        }
    )
    yield made
    made.close()


WEB = """
tatoeba:
  licence: CC-BY-2.0-FR
  source:
    kind: url
    base: BASE/exports/per_language/
    files:
    - path: epo/epo_sentences.tsv.bz2
    - path: eng/eng_sentences.tsv.bz2
    - path: epo/epo-eng_links.tsv.bz2
    links:
    - links: epo/epo-eng_links.tsv.bz2
      source: epo/epo_sentences.tsv.bz2
      target: eng/eng_sentences.tsv.bz2
leipzig:
  licence: CC-BY-4.0
  source:
    kind: url
    base: BASE/corpora/
    files:
    - path: epo_wikipedia_2021_10K.tar.gz
    unpack: ["*-sentences.txt"]
ud:
  licence: CC-BY-SA-4.0
  source:
    kind: url
    base: BASE/UniversalDependencies/
    files:
    - path: UD_Esperanto-Prago/COMMIT/eo_prago-ud-test.conllu
      name: eo_prago-ud-test.conllu
wikipedia:
  licence: CC-BY-SA-4.0
  source:
    kind: url
    base: BASE/eowiki/20260101/
    files:
    - path: eowiki-20260101-pages-articles.xml.bz2
"""


def from_web(tmp_path: Path, web: Server, key: str) -> Path:
    text = WEB.replace("BASE", web.base.rstrip("/")).replace("COMMIT", COMMIT)
    return fetch(tmp_path, AcquireParams.model_validate(YAML(typ="safe").load(text)[key]))


def test_tatoeba_layout(tmp_path, web):
    raw = from_web(tmp_path, web, "tatoeba")
    pairs = [(p.id, p.source_text, p.target_text) for p in raw_pairs(raw)]
    assert pairs == [("tatoeba:11-21", "Unu.", "One."), ("tatoeba:12-22", "Du.", "Two.")]
    assert [d.text for d in raw_documents(raw)] == ["Unu.", "Du.", "Tri."]


def test_leipzig_layout(tmp_path, web):
    raw = from_web(tmp_path, web, "leipzig")
    assert [d.text for d in raw_documents(raw)] == ["Unua frazo.", "Dua frazo."]


def test_universal_dependencies_layout(tmp_path, web):
    raw = from_web(tmp_path, web, "ud")
    assert [(s.id, s.tags, s.text) for s in raw_labelled(raw)] == [("prago-001", ["ADV"], "Bone")]


def test_wikipedia_layout(tmp_path, web):
    raw = from_web(tmp_path, web, "wikipedia")
    [article] = raw_documents(raw)
    assert article.id == "eowiki-20260101-pages-articles.xml.bz2:7"
    assert article.text == "Akvo estas kombino.\nEcoj\nĜi bolas."
