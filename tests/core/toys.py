"""Toy stages for tests of the machinery: small functions with real declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from stages.core import registry
from stages.core.declare import Params, Stage, stage
from stages.core.log import Log


class SourceParams(Params):
    """What the toy source writes."""

    text: str = "saluton"
    """The text."""
    threads: int = Field(1, ge=1)
    """Cores."""


class CopyParams(Params):
    """What the toy copy reads."""

    base: str = "raw/a"
    """Which folder under data/ to copy."""
    times: int = Field(1, ge=1, le=9)
    """How often."""


@stage(version=1, reads={}, writes={"raw": "data/raw/${key}"})
def source(params: SourceParams, raw: Path, log: Log) -> None:
    """Write a text."""
    raw.mkdir()
    (raw / "text.txt").write_text(params.text, encoding="utf-8")
    log.metric("size_bytes", len(params.text))


@stage(
    version=1,
    reads={"base": "data/${item.base}"},
    writes={"copied": "data/copied/${key}"},
    curves=("loss_nats",),
)
def copy(params: CopyParams, base: Path, copied: Path, log: Log) -> None:
    """Copy a text some times."""
    copied.mkdir()
    for step in range(params.times):
        log.metric("loss_nats", 1.0 / (step + 1), step=step)
        name = f"{step}.txt"
        (copied / name).write_text((base / "text.txt").read_text(encoding="utf-8"))


class GatherParams(Params):
    """Nothing to choose."""


@stage(
    version=1, reads={"all": "data/copied"}, writes={"page": "data/pages/${key}"},
    sections=("copy",),
)  # fmt: skip
def gather(params: GatherParams, entries: dict[str, Any], all: Path, page: Path, log: Log) -> None:
    """List what the copies hold."""
    page.mkdir()
    rows = [f"{key} {len(list((all / key).iterdir()))}" for key in entries["copy"]]
    (page / "page.txt").write_text("\n".join(rows))


TOYS: dict[str, Stage] = {
    "source": source.declaration,
    "copy": copy.declaration,
    "gather": gather.declaration,
}


def install(monkeypatch) -> None:
    """Make the registry hold the toy stages only."""
    monkeypatch.setattr(registry, "names", lambda: sorted(TOYS))
    monkeypatch.setattr(registry, "get", lambda name: TOYS[name])
    monkeypatch.setattr(registry, "stages", lambda: TOYS)


def workspace_at(root: Path, params: str) -> Path:
    """Write a workspace with the toys' dvc.yaml and the given params.yaml."""
    (root / "stages").mkdir(parents=True)
    (root / "stages/copy.py").write_text("# code\n")
    (root / "data/none").mkdir(parents=True)
    (root / "data/none/.keep").touch()
    (root / "params.yaml").write_text(params)
    (root / "environment.yaml").write_text('pydantic: "0"\n')
    (root / "dvc.yaml").write_text(
        "vars:\n- {source: {}, copy: {}, gather: {}}\n"
        "stages:\n"
        "  source:\n    foreach: ${source}\n    do:\n"
        "      cmd: python -m stages execute source ${key}\n"
        "      deps: [stages/copy.py]\n      params: ['source.${key}']\n"
        "      outs: ['data/raw/${key}']\n"
        "      metrics: [{'metrics/source/${key}.json': {cache: false}}]\n"
        "  copy:\n    foreach: ${copy}\n    do:\n"
        "      cmd: python -m stages execute copy ${key}\n"
        "      deps: [stages/copy.py, 'data/${item.base}']\n      params: ['copy.${key}']\n"
        "      outs: ['data/copied/${key}']\n"
        "      metrics: [{'metrics/copy/${key}.json': {cache: false}}]\n"
        "      plots: [{'plots/copy/${key}.csv': {cache: false, x: step, y: loss_nats}}]\n"
        "  gather:\n    foreach: ${gather}\n    do:\n"
        "      cmd: python -m stages execute gather ${key}\n"
        "      deps: [data/copied]\n      params: ['gather.${key}', copy]\n"
        "      outs: ['data/pages/${key}']\n"
        "      metrics: [{'metrics/gather/${key}.json': {cache: false}}]\n"
    )
    return root
