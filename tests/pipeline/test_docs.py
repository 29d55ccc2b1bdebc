"""The pages under docs/ are true: every command of theirs runs, in order, and says what is told."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from pathlib import Path

import pytest

from stages.cli import command as cli
from stages.core import recipes, yamlfile
from stages.core.errors import DevenoError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "lineage.md"
EXPECTED = {
    "cat metrics": "accuracy",
    "deveno explain": "evaluate@pos-int8",
    "deveno lineage metrics": "acquire@eo",
    "deveno lineage evaluate@pos-int8 --json": '"energy_wh_estimated"',
    "deveno lineage found": "export@pos-int8",
    "deveno lineage $(md5sum": "pretrain@eo",
    "deveno lineage data/raw/eo": "CC0-1.0",
    "deveno lineage $(python": "acquire@eo",
    "deveno rebuild models": "identical",
    "deveno rebuild reports": "identical",
    "deveno compare": "scores (a - b)",
    "deveno bundle": "digest",
    "deveno verify": "whole, made by export@pos-int8",
    "deveno adopt": "their-tagger",
    "deveno doctor --deep": "ok    bytes",
}
"""What the answer to a command that begins so must hold."""


def commands(page: Path) -> list[str]:
    """Return the commands of a page's console blocks, in order."""
    blocks = re.findall(
        r"^```console\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    rows = [row for block in blocks for row in block.splitlines()]
    assert all(row.startswith("$ ") for row in rows), "a console block holds commands only"
    return [row[2:] for row in rows]


def test_every_kind_of_command_is_told_what_it_must_say():
    rows = commands(PAGE)
    assert len(rows) >= 18
    for start in EXPECTED:
        assert any(row.startswith(start) for row in rows), f"{start} is not on the page"


PORTING = ROOT / "docs" / "porting.md"
SOURCES = ROOT / "docs" / "sources.md"
PAGES = (PAGE, PORTING, SOURCES, ROOT / "README.md")
INLINE = re.compile(r"(?<!`)`((?:deveno|dvc) [^`]+)`(?!`)")
FENCED = re.compile(r"^(?:\$ )?((?:deveno|dvc) [^#\n]*)", re.MULTILINE)


def mentioned(text: str) -> list[str]:
    """Return every command of ours or DVC's that a page mentions in prose or in a block."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    fenced = [row for block in blocks for row in FENCED.findall(block)]
    return [" ".join(row.split()) for row in [*INLINE.findall(prose), *fenced]]


def wrong(text: str, dvc: argparse.ArgumentParser) -> str | None:
    """Return what is wrong with a mentioned command: its verb, an option, a value; None if nothing.

    `[--from raw\\|parents]` stands for `--from raw`, `N` for a number, `NAME...` for a name.
    """
    plain = re.sub(r"\\?\|[^\s\]]+", "", re.sub(r"\$\(.*\)", "x", text))
    words = shlex.split(plain.replace("[", "").replace("]", "").replace("...", ""))
    program, *rest = ["1" if word == "N" else word for word in words]
    parser = cli._parser() if program == "deveno" else dvc
    while sub := next((a for a in parser._actions if isinstance(a.choices, dict)), None):
        if not rest:
            return None
        if rest[0] not in sub.choices:
            return f"{program} knows no {rest[0]!r}"
        parser, rest = sub.choices[rest[0]], rest[1:]
    for word in rest:
        if word.startswith("-") and word.partition("=")[0] not in parser._option_string_actions:
            return f"{parser.prog} has no option {word}"
    if program == "deveno" and any(not word.startswith("-") for word in rest):
        try:
            cli._parsed([*words[1:2], *rest])
        except DevenoError as error:
            return error.what
    return None


@pytest.fixture(scope="module")
def dvc_parser() -> argparse.ArgumentParser:
    from dvc.cli.parser import get_main_parser

    return get_main_parser()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_mentions_exists(page, dvc_parser):
    rows = mentioned(page.read_text("utf-8"))
    assert len(rows) > 2
    assert {row: told for row in rows if (told := wrong(row, dvc_parser))} == {}


@pytest.mark.parametrize(
    "row",
    [
        "deveno lineaje models/x", "deveno lineage x --everything", "deveno gc --keep many",
        "deveno rebuild x --from nowhere", "deveno compare A", "dvc exp runn", "dvc reproo",
        "dvc repro --nope",
    ],
)  # fmt: skip
def test_a_planted_command_that_does_not_exist_is_found(row, dvc_parser):
    text = f"Prose with `{row}` in it.\n```console\n$ {row}\n```\n"
    assert [wrong(one, dvc_parser) is None for one in mentioned(text)] == [False, False]


def entries(text: str) -> list[str]:
    """Return the blocks of a page that stand for sections of params.yaml."""
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_entry_on_the_page_about_ports_is_one_that_the_stages_take():
    blocks = entries(PORTING.read_text("utf-8"))
    assert len(blocks) > 4
    for block in blocks:
        recipes.complete(yamlfile.parse(block, "docs/porting.md"), "docs/porting.md")


def test_a_planted_entry_that_no_stage_takes_is_found():
    page = "```yaml\nport:\n  mine: {raw: release, source: {kind: fairsec}}\n```\n"
    with pytest.raises(DevenoError, match="fairsec"):
        recipes.complete(yamlfile.parse(entries(page)[0], "page"), "page")


@pytest.mark.tools
@pytest.mark.slow
def test_the_page_on_lineage_runs_command_by_command(line, tmp_path):
    """On a copy of the smoke run: the page writes bundles and adopts one."""
    place = tmp_path / "clone"
    shutil.copytree(line.root, place, symlinks=True)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "deveno").write_text('#!/bin/sh\nexec python -m stages "$@"\n')
    (binaries / "deveno").chmod(0o755)
    clone = type(line)(
        place, {**line.environment, "PATH": f"{binaries}:{line.environment['PATH']}"}
    )
    for command in commands(PAGE):
        shown = clone.run("sh", "-c", command, check=False)
        told = f"$ {command}\n{shown.stdout}{shown.stderr}"
        assert shown.returncode == 0, told
        for start, wanted in EXPECTED.items():
            if command.startswith(start):
                assert wanted in shown.stdout, told
