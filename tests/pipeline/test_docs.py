"""The pages under docs/ are true: every command of theirs runs, in order, and says what is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

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
