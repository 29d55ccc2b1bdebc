"""A fairseq release as a port starts from it: weights, shape, vocabularies, recorded outputs.

A recorded row: `source`, `reference`, `source_bpe` and `hyps`, each with `tokens_bpe`,
`score_log2`, `positional_log2` (one per token and `</s>`), `text`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.core.errors import ArtifactError
from stages.port import pickles
from stages.port.fairseq import architecture, release, vocabulary
from stages.port.fairseq import moses as words

if TYPE_CHECKING:
    from stages.port.stage import Fairseq


@dataclass(frozen=True)
class Subwords:
    """How words become symbols: merges, or a sentencepiece model for each side."""

    merges: list[tuple[str, str]]
    format: str
    """`fastBPE`, `subword-nmt` or `sentencepiece`."""
    source_model: bytes = b""
    target_model: bytes = b""


@dataclass(frozen=True)
class Source:
    """Everything a port starts from."""

    checkpoint: str
    """File name of the checkpoint that was read."""
    tensors: Mapping[str, torch.Tensor]
    architecture: architecture.Architecture
    source_symbols: dict[str, int]
    target_symbols: dict[str, int]
    subwords: Subwords
    moses: bool
    """Whether texts go through Moses before and after."""
    recorded: dict[int, list[dict[str, Any]]]
    """Beam size -> fairseq's own rows."""
    recorded_ensemble: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """The same of all checkpoints of the release together."""


def read(folder: Path, options: Fairseq, checkpoint: str = "") -> Source:
    """Read the release in `folder` (searched with its subfolders), one checkpoint of it."""
    files = release.listed(folder)
    path = release.checkpoint(files, checkpoint or options.checkpoint)
    tree = pickles.load(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
        raise ArtifactError(
            "the file holds no state dict under `model`",
            path.name,
            "give a checkpoint as fairseq-train saved it",
        )
    shape = architecture.read(tree, options.architecture == "transformer")
    checked = options.dictionary_order == "checked"
    names = (shape.source_language, shape.target_language)
    places = [release.dictionary(files, name) for name in names]
    symbols = [vocabulary.read_dictionary(place, checked) for place in places]
    codes = release.codes(files, shape.bpe, options.codes, names)
    if shape.bpe == "sentencepiece" or codes[0].name.endswith(release.PIECES):
        subwords = _pieces(codes, [place.name for place in places], symbols)
    else:
        subwords = Subwords(*vocabulary.read_codes(codes[0]))
    recorded, together = _recorded(files), _recorded(files, ensemble=True)
    moses = shape.tokenizer == "moses" or subwords.format != "sentencepiece"
    rows = [row for found in (recorded, together) for each in found.values() for row in each]
    if moses and not shape.tokenizer and rows:
        moses = words.used(list(names), symbols[0], rows, options)
    return Source(
        checkpoint=path.name,
        tensors=_tensors(tree["model"], path.name),
        architecture=shape,
        source_symbols=symbols[0],
        target_symbols=symbols[1],
        subwords=subwords,
        moses={"auto": moses, "moses": True, "none": False}[options.tokenizer],
        recorded=recorded,
        recorded_ensemble=together,
    )


def _pieces(
    codes: Sequence[Path], dictionaries: Sequence[str], symbols: Sequence[dict[str, int]]
) -> Subwords:
    """Read the models of both sides, whose pieces the dictionaries must hold."""
    models = [vocabulary.read_pieces(path) for path in codes]
    for model, path, name, known in zip(models, codes, dictionaries, symbols, strict=True):
        vocabulary.check_pieces(model, known, path.name, name)
    return Subwords([], "sentencepiece", *models)


def _tensors(state: Mapping[str, Any], name: str) -> dict[str, torch.Tensor]:
    for key, value in state.items():
        odd = ""
        if not isinstance(value, torch.Tensor):
            odd = f"{key} is a {type(value).__name__}, not a tensor"
        elif not isinstance(key, str):
            odd = f"a tensor's name is {key!r}, not a text"
        if odd:
            raise ArtifactError(
                odd, f"{name}: model", "give a checkpoint whose `model` is a state dict"
            )
    return dict(state)


def _recorded(files: release.Files, *, ensemble: bool = False) -> dict[int, list[dict[str, Any]]]:
    recorded: dict[int, list[dict[str, Any]]] = {}
    for name in files:
        match = release.RECORDED.fullmatch(name)
        if match is None or bool(match[1]) != ensemble:
            continue
        try:
            rows = _json_lines(release.one(files, name))
            _check_rows(rows)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"not a recording of fairseq's output: {type(error).__name__}: {error}",
                name,
                "give rows with source, source_bpe and hyps (tokens_bpe, score_log2, "
                "positional_log2, text), or remove the file",
            ) from None
        recorded.setdefault(int(match[2]), []).extend(rows)
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
            if not math.isfinite(sum([one["score_log2"], *one["positional_log2"]])):
                raise ValueError(f"row {number} holds a score that is no finite number")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"row {number} holds something that is no text")


def _json_lines(path: Path) -> list[Any]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
