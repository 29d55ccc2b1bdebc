"""A fairseq release on disk: one folder with checkpoint, dictionaries, codes, recorded outputs.

    model.pt               or model1.pt ... (an ensemble), checkpoint_best.pt
    dict.en.txt dict.eo.txt
    bpecodes               or `code`, `codes`
    fairseq-beam5*.jsonl   optional: what fairseq itself translated, for verification
    fairseq-ensemble-beam5*.jsonl   optional: the same by all checkpoints together

A recorded row: `source`, `reference`, `source_bpe` and `hyps`, each with `tokens_bpe`,
`score_log2`, `positional_log2` (one per token and `</s>`), `text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stages.core.errors import ArtifactError
from stages.port import pickles
from stages.port.fairseq import architecture, vocabulary

CHECKPOINT = "*.pt"
NUMBER = re.compile(r"(\d+)")
CODES = ("bpecodes", "code", "codes", "bpe.codes", "bpe-codes")
RECORDED = re.compile(r"fairseq-(ensemble-)?beam([1-9][0-9]*)(?:-.*)?\.jsonl")


@dataclass(frozen=True)
class Source:
    """Everything a port starts from."""

    checkpoint: str
    """File name of the checkpoint that was read."""
    tensors: Mapping[str, torch.Tensor]
    architecture: architecture.Architecture
    source_symbols: dict[str, int]
    target_symbols: dict[str, int]
    merges: list[tuple[str, str]]
    codes_format: str
    recorded: dict[int, list[dict[str, Any]]]
    """Beam size -> fairseq's own rows."""
    recorded_ensemble: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """The same of all checkpoints of the release together."""


def read(folder: Path, checkpoint: str = "") -> Source:
    """Read the release in `folder` (searched with its subfolders)."""
    files = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    path = _checkpoint(files, checkpoint)
    tree = pickles.load(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
        raise ArtifactError(
            "the file holds no state dict under `model`",
            path.name,
            "give a checkpoint as fairseq-train saved it",
        )
    shape = architecture.read(tree)
    codes = next((files[name] for name in CODES if name in files), None)
    if codes is None:
        raise _absent("codes", CODES, files)
    merges, codes_format = vocabulary.read_codes(codes)
    return Source(
        checkpoint=path.name,
        tensors=_tensors(tree["model"], path.name),
        architecture=shape,
        source_symbols=_dictionary(files, shape.source_language),
        target_symbols=_dictionary(files, shape.target_language),
        merges=merges,
        codes_format=codes_format,
        recorded=_recorded(files),
        recorded_ensemble=_recorded(files, ensemble=True),
    )


def checkpoints(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a release, model2.pt before model10.pt."""
    found = {path.name for path in folder.rglob(CHECKPOINT) if path.is_file()}
    return sorted(found, key=lambda name: [_number(part) for part in NUMBER.split(name)])


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _checkpoint(files: Mapping[str, Path], wanted: str) -> Path:
    names = sorted(name for name in files if Path(name).match(CHECKPOINT))
    if wanted:
        if wanted not in files:
            raise _absent("checkpoint", (wanted,), files)
        return files[wanted]
    if not names:
        raise _absent("checkpoint", ("model.pt",), files)
    if len(names) > 1:
        raise ArtifactError(
            f"{len(names)} checkpoints: {', '.join(names)}",
            "files of the raw entry",
            f"say which one to port, such as `checkpoint: {names[0]}`",
        )
    return files[names[0]]


def _absent(what: str, wanted: tuple[str, ...], files: Mapping[str, Path]) -> ArtifactError:
    return ArtifactError(
        f"no {what}: looked for {', '.join(wanted)}",
        f"files of the raw entry: {', '.join(sorted(files)[:12]) or 'none'}",
        "give a folder with a checkpoint (.pt), dict.<language>.txt for both sides and bpecodes",
    )


def _dictionary(files: Mapping[str, Path], language: str) -> dict[str, int]:
    name = f"dict.{language}.txt"
    if name not in files:
        raise _absent("dictionary", (name,), files)
    return vocabulary.read_dictionary(files[name])


def _tensors(state: Mapping[str, Any], name: str) -> dict[str, torch.Tensor]:
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ArtifactError(
                f"{key} is a {type(value).__name__}, not a tensor",
                f"{name}: model",
                "give a checkpoint whose `model` is a state dict",
            )
    return dict(state)


def _recorded(
    files: Mapping[str, Path], *, ensemble: bool = False
) -> dict[int, list[dict[str, Any]]]:
    recorded: dict[int, list[dict[str, Any]]] = {}
    for name, path in files.items():
        match = RECORDED.fullmatch(name)
        if match is None or bool(match[1]) != ensemble:
            continue
        try:
            rows = _json_lines(path)
            _check_rows(rows)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"not a recording of fairseq's output: {type(error).__name__}: {error}",
                name,
                "give rows with source, source_bpe and hyps (tokens_bpe, score_log2, "
                "positional_log2, text), or remove the file",
            ) from None
        recorded[int(match[2])] = rows
    return dict(sorted(recorded.items()))


def _check_rows(rows: list[Any]) -> None:
    """Raise ValueError, KeyError or TypeError where a recording could prove nothing."""
    if not rows:
        raise ValueError("it holds no row")
    for number, row in enumerate(rows, 1):
        if not row["hyps"]:
            raise ValueError(f"row {number} holds no hypothesis")
        texts = [row["source"], row["source_bpe"]]
        for one in row["hyps"]:
            texts += [one["tokens_bpe"], one["text"]]
            sum([one["score_log2"], *one["positional_log2"]])
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"row {number} holds something that is no text")


def _json_lines(path: Path) -> list[Any]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
