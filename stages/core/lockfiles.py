"""What dvc.lock and DVC's run cache hold, read quickly: entries split as text, parsed when asked.

A repository's history holds the same entries many times over. So a lock file is cut into entries
by its indentation, equal texts count once, paths and hashes are read line by line, and only the
parameters of an entry that is really shown go through the YAML reader. An entry that is not in
DVC's own style (edited by hand) goes through it whole.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import shapes, yamlfile
from stages.core.errors import DevenoError

NAME = re.compile(r"^  (\S.*):$", re.MULTILINE)
_STEP = r"(?:  )?"
ROW = re.compile(
    _STEP + r"- path: ([^\s'\"|>&*!%@`{\[].*)\n"
    f"(?:{_STEP}  hash: md5\n)?(?:{_STEP}  md5: (\\w[\\w.]*)\n)?(?:{_STEP}  size: (\\d+)\n)?"
    f"(?:{_STEP}  nfiles: \\d+\n)?(?:{_STEP}  isexec: true\n)?"
)
"""One dependency or output as DVC writes it; whatever else stands there is for the YAML reader."""


@dataclass(frozen=True)
class Text:
    """One entry as a lock file spells it, without its name and indentation."""

    text: str

    @functools.cached_property
    def fields(self) -> tuple[str, dict[str, str], dict[str, str], dict[str, int]]:
        """The command, dependencies and outputs by path (their md5), and sizes of the outputs."""
        return _scanned(self.text) or _parsed(self.body)

    @functools.cached_property
    def body(self) -> dict[str, Any]:
        """The whole entry, through the YAML reader."""
        try:
            return dict(yamlfile.plain(yamlfile.parse(self.text, "dvc.lock")))
        except DevenoError:
            return {}

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        """The recorded values per file."""
        rows = block(self.text, "params")
        if not rows:
            return {}
        try:
            found = yamlfile.plain(yamlfile.parse(rows, "dvc.lock")).get("params")
        except DevenoError:
            return {}
        given = found if isinstance(found, dict) else {}
        return {file: values for file, values in given.items() if isinstance(values, dict)}


def split(text: str) -> dict[str, Text]:
    """Return the entries of a dvc.lock by name; a damaged file gives what of it can be read."""
    start = text.find("stages:\n")
    if start < 0:
        return {}
    body = text[start + len("stages:\n") :]
    marks = list(NAME.finditer(body))
    ends = [mark.start() for mark in marks[1:]] + [len(body)]
    found = {}
    for mark, end in zip(marks, ends, strict=False):
        raw = body[mark.end() : end]
        if raw not in _texts:
            _texts[raw] = Text(raw.replace("\n    ", "\n").strip("\n") + "\n")
        found[mark[1].strip("'\"")] = _texts[raw]
    return found


PLAIN = re.compile(r"(?:#[^\n]*\n)*schema: '2\.0'\nstages:\n(?=  \S.*:\n)")
HEADS = re.compile(r"cmd: .*|deps:|params:|outs:|- path: .*|  .*|")
ODD = re.compile(r"^[a-z]+:\n(?![ -])|^ *md5: [\d.e]*$", re.MULTILINE)
"""An empty list, or a hash that YAML takes for a number."""
VALUES = re.compile(r"params:\n(?:  [^\s#-][^\n]*:\n(?:    [^\n]*\n|\n)*)*")


def is_plain(text: str) -> bool:
    """Return whether a dvc.lock is as DVC writes it from beginning to end.

    Of what is not, the reader for YAML says whether it is whole.
    """
    if not PLAIN.match(text) or not text.endswith("\n") or re.search("^[<=>]{7}", text, re.M):
        return False
    found = split(text)
    return bool(found) and all(_is_plain(entry.text) for entry in found.values())


def _is_plain(text: str) -> bool:
    found = _scanned(text)
    if found is None or (not found[2] and found[0].startswith("python -m stages ")):
        return False
    if ODD.search(text) or not all(HEADS.fullmatch(row) for row in text.splitlines()):
        return False
    rows = block(text, "params")
    return not rows or VALUES.fullmatch(rows) is not None


_texts: dict[str, Text] = {}
"""Entries by how a lock file spells them: a history repeats most of them in every commit."""


def block(text: str, name: str) -> str:
    """Return a top-level block of an entry with its heading; empty if there is none."""
    start = 0 if text.startswith(f"{name}:\n") else text.find(f"\n{name}:\n") + 1
    if not start and not text.startswith(f"{name}:\n"):
        return ""
    end = re.compile(r"^[a-z]", re.MULTILINE).search(text, start + len(name))
    return text[start : end.start()] if end else text[start:]


def _scanned(text: str) -> tuple[str, dict[str, str], dict[str, str], dict[str, int]] | None:
    """Return the fields line by line, or None where a line is not in DVC's own style."""
    command = re.match(r"cmd: ([^\n'\"|>&*!%@`{\[].*)\n(?! )", text)
    if command is None:
        return None
    deps, outs = _rows(block(text, "deps")), _rows(block(text, "outs"))
    if deps is None or outs is None:
        return None
    sizes = {path: int(size) for path, _, size in outs if size}
    return (
        command[1],
        {path: md5 for path, md5, _ in deps},
        {path: md5 for path, md5, _ in outs},
        sizes,
    )


def _rows(text: str) -> list[tuple[str, str, str]] | None:
    """Return (path, md5, size) of each row, or None where one is not in DVC's own style."""
    at, rows = text.find("\n") + 1, []
    for match in ROW.finditer(text, at):
        if match.start() != at:
            return None
        at = match.end()
        rows.append((match[1], match[2] or "", match[3] or ""))
    return rows if at == len(text) else None


def _parsed(body: Mapping[str, Any]) -> tuple[str, dict[str, str], dict[str, str], dict[str, int]]:
    def rows(name: str) -> list[dict[str, Any]]:
        given = body.get(name)
        listed = given if isinstance(given, list) else []
        return [row for row in listed if isinstance(row, dict) and "path" in row]

    def column(name: str) -> dict[str, str]:
        return {str(row["path"]): str(row.get("md5") or "") for row in rows(name)}

    sizes = {
        str(row["path"]): int(row["size"])
        for row in rows("outs")
        if isinstance(row.get("size"), int)
    }
    return str(shapes.command(body.get("cmd")) or ""), column("deps"), column("outs"), sizes


def history(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (commit, text of dvc.lock) for every commit that changed it, newest first.

    All branches, tags, DVC's experiments and our snapshots count; nothing where git is missing.
    """
    listed = git(root, "log", "--all", "--full-history", "--format=%H", "--", "dvc.lock")
    commits = listed.split()
    if not commits:
        return
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    asked = "".join(f"{commit}:{prefix}dvc.lock\n" for commit in commits).encode()
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "cat-file", "--batch"],
            input=asked, capture_output=True, check=False,
        ).stdout  # fmt: skip
    except OSError:
        return
    at = 0
    for commit in commits:
        end = answer.find(b"\n", at)
        head = answer[at:end].split()
        at = end + 1
        if len(head) == 3 and head[1] == b"blob":
            size = int(head[2])
            yield commit, answer[at : at + size].decode("utf-8", errors="replace")
            at += size + 1


def git(root: Path, *arguments: str) -> str:
    """Return what a git command printed; an empty text where it failed or git is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def run_cache(cache: Path) -> Iterator[tuple[str, Text]]:
    """Yield (name of the record, entry) of DVC's run cache, newest first."""
    files = [path for path in (cache / "runs").glob("*/*/*") if not path.name.endswith(".tmp")]
    stamped = []
    for path in files:
        try:
            stamped.append((path.stat().st_mtime, path, path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError):
            continue
    for _, path, text in sorted(stamped, key=lambda row: (-row[0], row[1])):
        yield f"{path.parent.name[:12]}", Text(text)
