"""Bad input on the real command: three lines, exit code 2, nothing half-written.

What is quick to refuse comes first; what needs torch to be imported comes last.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from stages.core import references
from stages.core.fingerprint import Fingerprints
from tests.pipeline import bad_cases, bad_material
from tests.pipeline.bad_cases import Case, pretrain
from tests.pipeline.bad_material import Bench, holds, three_lines
from tests.stages import loopback

pytestmark = pytest.mark.tools
FILES = {"folder": "data/external/bad", "licence": "CC0-1.0", "source": {"kind": "files"}}


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Bench:
    return bad_material.make(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def bench(made: Bench) -> Iterator[Bench]:
    """The workspace, as it was made again after each case."""
    yield made
    made.params({})
    shutil.rmtree(made.root / "data/external", ignore_errors=True)
    for folder in ("data", "models", "reports", "metrics"):
        for path in (made.root / folder).glob("*/bad*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(made.root / "scratch", ignore_errors=True)


def named(cases: list[Case]) -> list:
    return [pytest.param(case, id=case.name) for case in cases]


def refused(bench: Bench, case: Case, earlier: bool = True, **options) -> tuple[str, str, str]:
    """Run a case's entry, over an earlier output where it has one; return what was told."""
    prepare(bench, case)
    if earlier:
        with contextlib.suppress(Exception):  # what does not even parse has no place
            entry = references.load(bench.root)[f"{case.stage}@bad"]
            for path in entry.writes.values():
                bench.put(f"{path}/earlier.txt", "what an earlier run made")
    told = bench.refused("execute", case.stage, "bad", **options)
    holds(told, case.what, case.where, case.do)
    return told


def prepare(bench: Bench, case: Case) -> None:
    for name, content in case.files.items():
        bench.put(f"data/external/bad/{name}", content)
    sections = {**case.others}
    sections[case.stage] = {**case.others.get(case.stage, {}), "bad": case.entry}
    bench.params(sections)


@pytest.mark.parametrize("case", named(bad_cases.PARAMETERS))
def test_parameters(bench, case):
    refused(bench, case, earlier=False)
    assert not list((bench.root / "scratch").glob("*/*")), "nothing was begun"


@pytest.mark.parametrize("name", bad_cases.TEXTS)
def test_params_file(bench, name):
    text, what, where = bad_cases.TEXTS[name]
    path = bench.root / "params.yaml"
    path.unlink() if text is None else bench.put("params.yaml", text)
    holds(bench.refused("execute", "encode", "small"), what, where, "")


@pytest.mark.parametrize("name", bad_cases.COMMANDS)
def test_commands(bench, name):
    words, *parts = bad_cases.COMMANDS[name]
    tagger = {"base": "pretrained/small", "data": "labelled"}
    bench.params({"pretrain": {"corrupt-twin": pretrain()}, "finetune": {"corrupt-twin": tagger}})
    holds(bench.refused(*words, PREFECT_API_URL="http://127.0.0.1:9/api"), *parts)


@pytest.mark.parametrize("case", named(bad_cases.SOURCES))
def test_sources(bench, case):
    refused(bench, case)
    outcome = bench.outcome("acquire", "bad")
    assert outcome["status"] == "user error"
    assert case.what in outcome["error"]["what"]


def test_outside_a_workspace(bench, tmp_path):
    for words in (("plan",), ("execute", "encode", "small")):
        told = bench.refused(*words, cwd=tmp_path, PYTHONPATH=str(bench.root))
        holds(told, f"no Deveno workspace at {tmp_path}", "dvc.yaml", "change into your clone")


def test_not_a_dvc_repository(bench, tmp_path):
    (bench.root / ".dvc").rename(tmp_path / "dvc")
    try:
        bench.params({"acquire": {"bad": {"source": {"kind": "generator"}}}})
        holds(bench.refused("run", "acquire@bad"), "is no DVC repository", "clone", "dvc init")
    finally:
        (tmp_path / "dvc").rename(bench.root / ".dvc")


@contextlib.contextmanager
def changed(bench: Bench, name: str, change) -> Iterator[None]:
    """Change a file of the workspace for a while."""
    path = bench.root / name
    before = path.read_bytes() if path.exists() else None
    path.write_text(change(before.decode() if before else ""), encoding="utf-8")
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def test_package_of_another_version(bench):
    case = Case("", "tokenizer", {"corpus": "text", "vocab_size": 300},
                "tokenizers is ", "tokenizer@bad needs it", "make setup")  # fmt: skip
    with changed(bench, "environment.yaml", lambda text: text.replace('tokenizers: "', '\\g: "9')
                 .replace("\\g", "tokenizers")):  # fmt: skip
        told = refused(bench, case)
    assert "the lock file says 9" in told[0]


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_dvc_yaml_that_does_not_parse(bench, verb):
    with changed(bench, "dvc.yaml", lambda text: text + "stages: [\n"):
        holds(bench.refused(verb), "dvc.yaml is not YAML", "dvc.yaml: line ", "mend that line")


def test_dvc_yaml_out_of_step(bench):
    with changed(bench, "dvc.yaml", lambda text: text.replace("version: 1", "version: 77")):
        holds(bench.refused("run"), "dvc.yaml differ from the code", "clone", "deveno sync")


def test_dvc_lock_with_conflict_marks(bench):
    with changed(bench, "dvc.lock", lambda text: "<<<<<<< HEAD\nstages: {}\n=======\n"):
        holds(bench.refused("plan"), "dvc.lock is not YAML", "dvc.lock: line 2", "mend")


def test_disk_too_small_for_the_plan(bench):
    bench.params({"acquire": {"bad": {"source": {"kind": "generator"}}}})
    rows = [
        {"event": "start", "execution": "acquire@bad/x", "fingerprint": "f", "time": 1},
        {"event": "end", "outcome": "ok", "durations": {"process_s": 7, "peak_rss_mib": 50},
         "outputs": [{"path": "data/raw/bad", "md5": "0.dir", "size_bytes": 10**15}]},
    ]  # fmt: skip
    path = ".deveno/journal/acquire@bad/20260101T000000.000000Z-1.jsonl"
    bench.put(path, "".join(json.dumps(row) + "\n" for row in rows))
    try:
        for verb in ("plan", "run"):
            told = bench.refused(verb, "acquire@bad")
            holds(told, "the plan needs about 2400000000 MB", "1 entries to run", "free some")
    finally:
        shutil.rmtree((bench.root / path).parent)


def test_prefect_server_not_reachable(bench):
    bench.params({"acquire": {"bad": FILES}})
    bench.put("data/external/bad/a.txt", "Saluton.\n")
    told = bench.refused("run", "acquire@bad", PREFECT_API_URL="http://127.0.0.1:9/api")
    holds(told, "the Prefect server does not answer", "http://127.0.0.1:9/api", "unset")


def test_port_in_use(bench):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = bench.refused("up", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    holds(told, f"port {port} is in use", f"127.0.0.1:{port}", "the port in prefect.toml")


def web(server: loopback.Server | None, path: str = "a.bin", **choices) -> dict:
    base = server.base if server else "http://127.0.0.1:9/"
    file = {"path": path, **({"sha256": choices.pop("sha256")} if "sha256" in choices else {})}
    return {"licence": "CC0-1.0", "source": {
        "kind": "url", "base": base, "files": [file], "attempts": 2, "backoff_seconds": 0.01,
        "timeout_seconds": 5.0, "reading": {"format": "binary"}, **choices}}  # fmt: skip


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    opened = loopback.Server({"a.bin": loopback.BODY})
    yield opened
    opened.close()


def test_source_server_not_reachable(bench):
    refused(bench, Case("", "acquire", web(None), "the server 127.0.0.1:9 is not reachable",
                        "acquire@bad: http://127.0.0.1:9/a.bin", "check the address"))  # fmt: skip


def test_address_that_is_not_there(bench, server):
    refused(bench, Case("", "acquire", web(server, "b.bin"), "the server answered 404",
                        f"{server.base}b.bin", "check the address"))  # fmt: skip


def test_interrupted_download_goes_on_later(bench, server):
    server.act = lambda handler, body: loopback.serve(
        handler, body, cut=100_000 if len(server.seen) == 1 else 0
    )
    case = Case("", "acquire", web(server), "the download stopped at 100000 of 300000 bytes",
                f"acquire@bad: {server.base}a.bin", "run again, it goes on there")  # fmt: skip
    refused(bench, case, earlier=False)
    server.act = loopback.serve
    assert bench.run("execute", "acquire", "bad").returncode == 0
    assert server.seen[-1] == ("/a.bin", "bytes=100000-")
    assert (bench.root / "data/raw/bad/files/a.bin").read_bytes() == loopback.BODY


def test_download_with_another_sha256(bench, server):
    refused(bench, Case("", "acquire", web(server, sha256="0" * 64), f"declared is {'0' * 64}",
                        f"{server.base}a.bin", "declare the new digest"))  # fmt: skip


def test_download_that_is_too_large(bench, server):
    refused(bench, Case("", "acquire", web(server, max_bytes=1000), "300000 bytes",
                        f"{server.base}a.bin", "max_bytes"))  # fmt: skip


LARGE = {"a.txt": b"Granda dosiero.\n" * 40_000}


def test_full_disk(bench):
    case = Case("", "acquire", FILES, "no space is left for a.txt", "acquire@bad: ",
                "free some disk space", LARGE)  # fmt: skip
    for earlier in (False, True):
        refused(bench, case, earlier=earlier, before=bad_material.full_disk(bench.root))


def test_read_only_folder_keeps_the_earlier_output(bench):
    folder = bench.root / "data/raw"
    folder.chmod(0o555)
    case = Case("", "acquire", FILES, "this may not be written or read: Permission denied",
                "data/raw/bad", "change its permissions", bad_cases.PLAIN)  # fmt: skip
    try:
        folder.chmod(0o755)
        bench.put("data/raw/bad/earlier.txt", "what an earlier run made")
        folder.chmod(0o555)
        refused(bench, case, earlier=False, before=bad_material.without_override)
    finally:
        folder.chmod(0o755)


def test_input_that_may_not_be_read(bench):
    case = Case("", "acquire", FILES, "Permission denied", "data/external/bad/a.txt",
                "permissions", bad_cases.PLAIN)  # fmt: skip
    prepare(bench, case)
    (bench.root / "data/external/bad/a.txt").chmod(0o000)
    told = bench.refused("execute", "acquire", "bad", before=bad_material.without_override)
    holds(told, case.what, case.where, case.do)


def test_file_where_a_folder_should_be(bench):
    metrics = bench.root / "metrics/acquire"
    metrics.rename(bench.root / "metrics/kept") if metrics.exists() else None
    metrics.parent.mkdir(exist_ok=True)
    metrics.write_text("in the way")
    case = Case("", "acquire", FILES, "a file is where a folder should be", "metrics/acquire",
                "move away what is there", bad_cases.PLAIN)  # fmt: skip
    try:
        refused(bench, case)
        assert metrics.read_text() == "in the way"
    finally:
        metrics.unlink()


BROKEN = next(case for case in bad_cases.SOURCES if case.name == "truncated_jsonl")


def test_plain_dvc_repro_adds_its_own_lines(bench):
    prepare(bench, BROKEN)
    bench.complete()  # DVC resolves every entry
    shown = bench.run("dvc", "repro", "acquire@bad")
    rows = shown.stderr.splitlines()
    at = next(n for n, row in enumerate(rows) if row.startswith("error: "))
    holds(three_lines("\n".join(rows[at : at + 3])), BROKEN.what, BROKEN.where, BROKEN.do)
    assert shown.returncode not in (0, 2)
    assert any("failed to reproduce 'acquire@bad'" in row for row in rows)
    assert not (bench.root / "data/raw/bad").exists()


def test_deveno_run_shows_only_the_three_lines(bench):
    prepare(bench, BROKEN)
    holds(bench.refused("deveno", "run", "acquire@bad"), BROKEN.what, BROKEN.where, BROKEN.do)


@pytest.mark.parametrize("case", named(bad_cases.STAGES))
def test_stages(bench, case):
    refused(bench, case)


def test_checkpoint_of_another_fingerprint(bench):
    case = Case("", "pretrain", pretrain(), "the checkpoint step-00000002 belongs to another run",
                "checkpoints", "delete that folder")  # fmt: skip
    prepare(bench, case)
    entry = references.load(bench.root)["pretrain@bad"]
    folder = f"scratch/pretrain/{Fingerprints(bench.root).of(entry)}/checkpoints/step-00000002"
    weights = (bench.root / "models/pretrained/small/model.safetensors").read_bytes()
    bench.put(f"{folder}/state.safetensors", weights)
    head = {"step": 2, "identity": "f" * 64, "digest": "0" * 64, "facts": {}}
    bench.put(f"{folder}/state.json", json.dumps(head))
    refused(bench, case)
    assert (bench.root / folder / "state.safetensors").read_bytes() == weights


class Attack:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def attack(raw, tmp_path):
    import torch

    evil = {"model": {}, "args": None, "evil": Attack(f"touch {tmp_path}/executed")}
    torch.save(evil, raw / "files/model.pt")


def without_a_key(raw, tmp_path):
    import torch

    from stages.port import pickles

    tree = pickles.plain(pickles.load(raw / "files/model.pt"))
    del tree["model"]["encoder.layers.0.fc2.weight"]
    torch.save(tree, raw / "files/model.pt")


def short_dictionary(raw, tmp_path):
    path = raw / "files/dict.eo.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


@pytest.mark.parametrize(
    ("spoil", "changes", "parts"),
    [
        pytest.param(attack, {}, ("the pickle asks for posix.system", "model.pt", "do not trust"),
                     id="pickle_with_code_in_it"),
        pytest.param(None, {"arch": "lstm"}, ("arch = lstm: transformers cannot hold another",
                                              "port@bad: settings inside the checkpoint",
                                              "fairseq transformer"), id="unsupported_checkpoint"),
        pytest.param(without_a_key, {}, ("1 missing: encoder.layers.0.fc2.weight", "model.pt",
                                         "give the checkpoint"), id="port_with_a_missing_key"),
        pytest.param(short_dictionary, {}, ("decoder.embed_tokens.weight has 14 rows, the target "
                                            "dictionary has 12 symbols", "port@bad: model.pt",
                                            "madeupword"),
                     id="port_with_another_dictionary"),
    ],
)  # fmt: skip
def test_ports(bench, tmp_path, spoil, changes, parts):
    from tests.stages import fairseq_material

    raw = fairseq_material.release(bench.root / "data/raw/bad-release", **changes)
    if spoil is not None:
        spoil(raw, tmp_path)
    release = {"acquire": {"bad-release": {"source": {"kind": "generator"}}}}
    refused(bench, Case("", "port", {"raw": "bad-release"}, *parts, others=release))
    assert not (tmp_path / "executed").exists()


def test_try_a_text_that_is_too_long_writes_nothing(bench, tmp_path):
    lines = ["La suno <mask>.", "la " * 300 + "<mask>.", ""]
    (tmp_path / "in.txt").write_text("\n".join(lines), encoding="utf-8")
    told = bench.refused("try", "pretrain@small", "--file", str(tmp_path / "in.txt"),
                         "--out", str(tmp_path / "out.jsonl"))  # fmt: skip
    holds(told, "tokens and the model reads 32", "in.txt:2", "shorten the text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt"]
