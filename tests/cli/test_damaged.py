"""Damaged files and odd ones: every verb that looks says so in three lines, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from stages.cli import command
from stages.core import dvcfile, environment, fingerprint, imports, journal, yamlfile
from tests.core import toys
from tests.core.recorded import git
from tests.core.test_plan import record

PARAMS = """
source:
  a: {text: saluton}
copy:
  b: {base: raw/a, times: 2}
gather:
  all: {}
"""
CONFLICT = "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> other\n"
JUNK = "\x00junk\xff\x00\n"
WHOLE_FILES = {"conflict": CONFLICT, "junk": JUNK, "list": "- a\n- b\n", "word": "a\n"}
LOCKS = {
    **WHOLE_FILES,
    "stages words": "schema: '2.0'\nstages: [a]\n",
    "stages word": "schema: '2.0'\nstages: a\n",
    "entry null": "schema: '2.0'\nstages:\n  copy@b:\n",
    "entry list": "schema: '2.0'\nstages:\n  copy@b: [a]\n",
}
ENTRIES = {
    "deps word": {"deps": "a"},
    "deps words": {"deps": ["a"]},
    "deps null": {"deps": None},
    "deps without path": {"deps": [{"md5": "a"}]},
    "deps md5 list": {"deps": [{"path": "a", "md5": ["a"]}]},
    "outs null": {"outs": None},
    "outs words": {"outs": ["a"]},
    "outs md5 number": {"outs": [{"path": "data/copied/b", "md5": 12}]},
    "cmd null": {"cmd": None},
    "cmd mappings": {"cmd": [{"a": 1}]},
    "params list": {"params": ["a"]},
    "params file word": {"params": {"params.yaml": "a"}},
}
OWN = "  own:\n    cmd: echo one\n"
YAMLS = {
    **WHOLE_FILES,
    "stages words": "stages: [a]\n",
    "stages word": "stages: a\n",
    "entry null": OWN.replace("    cmd: echo one\n", ""),
    "entry word": "  own: a\n",
    "do null": "  own:\n    foreach: [1]\n    do:\n",
}
BODIES = {
    "deps null": {"deps": None},
    "deps mapping": {"deps": [{"a": "b"}]},
    "deps slot": {"deps": ["data/${item.nothing}"]},
    "outs null": {"outs": None},
    "outs rows": {"outs": [["a"]]},
    "params null": {"params": None},
    "params number": {"params": [3]},
    "params file null": {"params": [{"params.yaml": None}]},
}
VALUES = {
    **WHOLE_FILES,
    "section null": "copy:\n",
    "entry list": "copy: {b: [a]}\n",
    "in itself": "copy: &a\n  b: *a\n",
    "5000 digits": f"copy: {{b: {{times: {'9' * 5000}}}}}\n",
    "3000 brackets": f"copy: {'[' * 3000}{']' * 3000}\n",
    "two of a name": "copy: {}\ncopy: {}\n",
    "tag": "copy: !!python/object:os.system {}\n",
}
SETTINGS = {
    "conflict": CONFLICT,
    "junk": JUNK,
    "no value": "[core]\nremote\n",
    "long": f"[cache]\ndir = {'a' * 5000}\n",
    "null byte": "[cache]\ndir = a\0b\n",
}


class Workspace:
    """A small project with a run behind it, kept to be put back after every blow."""

    def __init__(self, root: Path, sizes: bool = False) -> None:
        self.root = toys.workspace_at(root, PARAMS)
        (root / ".gitignore").write_text("/data/\n/.deveno/\n/.dvc/cache\n/.dvc/tmp\n/bundles/\n")
        (root / ".dvc").mkdir()
        (root / ".dvc/config").touch()
        dvcfile.sync(root)
        record(root)
        if sizes:
            self._sizes()
        git(root, "init", "-q", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "one")
        for name in ("source@a", "copy@b"):
            stage, key = name.split("@")
            entry = fingerprint.locks(root)[name]
            lock = fingerprint.from_lock(entry)
            opened = journal.Journal.open(
                root, stage, key, fingerprint=fingerprint.digest(lock), version=1, params={},
                workspace=root, lock=lock,
            )  # fmt: skip
            opened.close("ok", outputs=[{**row, "size_bytes": 3} for row in entry["outs"]])
        self.known = self.state()

    def _sizes(self) -> None:
        """Note the sizes of all outputs, as DVC does."""
        lock = yamlfile.plain(yamlfile.read(self.root / "dvc.lock"))
        for body in lock["stages"].values():
            for row in body["outs"]:
                found = [path for path in (self.root / row["path"]).rglob("*") if path.is_file()]
                row |= {"size": sum(path.stat().st_size for path in found), "nfiles": len(found)}
        yamlfile.write(self.root / "dvc.lock", lock)

    def state(self) -> dict[str, bytes]:
        """Return every file but git's own, remembered hashes and bundles."""
        found = {}
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if name not in (".git", "tmp", "bundles")]
            for name in files:
                path = Path(folder, name)
                if not name.startswith("hashes.db"):
                    found[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return found

    def lost(self, given: dict[str, bytes]) -> list[str]:
        """Return the files that are not as they were, but for what was given; bundles go."""
        now = self.state()
        wanted = {**self.known, **given}
        shutil.rmtree(self.root / "bundles", ignore_errors=True)
        return sorted(name for name in {*now, *wanted} if now.get(name) != wanted.get(name))

    def put(self, name: str, data: bytes) -> None:
        """Write one file."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the toys in the place of our stages; they are no package that could be looked through."""
    toys.install(patch)
    patch.setenv("DEVENO_TRACKING", "off")
    closure = imports.Closure(files=("stages/copy.py",), packages=("pydantic",))
    patch.setattr(imports, "import_graph", lambda: None)
    patch.setattr(imports, "closure", lambda stage, graph, root: closure)
    patch.setattr(
        environment,
        "versions_of",
        lambda names, root: dict.fromkeys(names, version("pydantic")),
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        found = Workspace(tmp_path_factory.mktemp("damaged") / "project")
        patch.chdir(found.root)
        yield found


@pytest.fixture
def made(project) -> Iterator[Workspace]:
    yield project
    for name, data in project.known.items():
        project.put(name, data)


LOOKING = {
    "lineage": ["lineage", "copy@b"],
    "explain": ["explain", "copy@b"],
    "plan": ["plan"],
    "list": ["list"],
    "doctor": ["doctor", "--deep", "--look"],
    "gc": ["gc"],
    "bundle": ["bundle", "copy@b", "--private"],
}
LOCK_READERS = tuple(LOOKING)
PLANNERS = ("explain", "plan", "list", "doctor")


def blows(root: Path) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Yield (file, what is wrong, its text, the verbs that must refuse it)."""
    for label, text in LOCKS.items():
        yield "dvc.lock", label, text, LOCK_READERS
    lock = yamlfile.plain(yamlfile.read(root / "dvc.lock"))
    for label, body in ENTRIES.items():
        entry = lock["stages"]["copy@b"] | body
        text = yamlfile.dump({**lock, "stages": {**lock["stages"], "copy@b": entry}})
        yield "dvc.lock", label, text, LOCK_READERS
    whole = (root / "dvc.lock").read_text()
    inside = f"{CONFLICT}    outs:"
    yield "dvc.lock", "conflict inside", whole.replace("    outs:", inside, 1), LOCK_READERS
    own = (root / "dvc.yaml").read_text()
    for label, text in YAMLS.items():
        yield "dvc.yaml", label, own + text if text.startswith("  own") else text, PLANNERS
    stages = yamlfile.plain(yamlfile.read(root / "dvc.yaml"))
    for label, body in BODIES.items():
        do = {**stages["stages"]["copy"]["do"], **body}
        copy = {"foreach": "${copy}", "do": do}
        text = yamlfile.dump({**stages, "stages": {**stages["stages"], "copy": copy}})
        yield "dvc.yaml", label, text, ("explain", "plan", "list", "doctor")
    for label, text in VALUES.items():
        yield "params.yaml", label, text, ("explain", "plan", "list", "doctor")
    for label, text in SETTINGS.items():
        yield ".dvc/config", label, text, ("lineage", "gc", "bundle")


def called(words: list[str], capsys) -> tuple[int, str, str]:
    code = command.main(words)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.parametrize("file", ["dvc.lock", "dvc.yaml", "params.yaml", ".dvc/config"])
def test_a_damaged_file_is_told_in_three_lines_and_nothing_is_lost(made, capsys, file):
    for name, label, text, refusing in list(blows(made.root)):
        if name != file:
            continue
        for verb, words in LOOKING.items():
            made.put(file, text.encode("latin-1"))
            code, out, err = called(words, capsys)
            told = f"{file}: {label}, {words}: {code}\n{out}{err}"
            assert code == 2 or (code == 0 and verb not in refusing), told
            if code == 2 and "FAIL" not in out:
                rows = err.strip().splitlines()[-3:]
                assert [row.split(":")[0] for row in rows] == ["error", "where", "do"], told
            assert made.lost({file: text.encode("latin-1")}) == [], told
        made.put(file, made.known[file])


def test_no_damaged_value_of_a_journal_hides_the_rest(made, capsys):
    name = next(name for name in made.known if "copy@b" in name and name.endswith(".jsonl"))
    rows = made.known[name].decode().splitlines()
    start, end = json.loads(rows[0]), json.loads(rows[-1])
    texts = [CONFLICT, "", JUNK, "[]\n", rows[0][:40]]
    for place, event in enumerate((start, end)):
        for key in event.keys() - {"event"}:
            for value in (3, ["a"], [{"a": 1}]):
                both = [start, end]
                both[place] = {**event, key: value}
                texts.append("".join(f"{json.dumps(one)}\n" for one in both))
    for number, text in enumerate(texts):
        made.put(name, text.encode("latin-1"))
        for verb in ("lineage", "explain") if number % 4 else ("lineage", "gc", "explain"):
            code, out, err = called(LOOKING[verb], capsys)
            assert code == 0, f"{text}\n{out}{err}"
        assert made.lost({name: text.encode("latin-1")}) == []
    made.put(name, made.known[name])


def test_a_whole_project_is_not_refused(made, capsys):
    """The table has teeth: what it refuses is the damage."""
    for words in LOOKING.values():
        code, out, err = called(words, capsys)
        assert code == 0, f"{words}: {out}{err}"
