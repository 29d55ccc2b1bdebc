"""The making of an identifier: pieces drawn by hash, one regression, accuracy where held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.identify.material import Pieces, read
from stages.identify.stage import IdentifyParams
from stages.lm.identifiers import REPORT, Identifier
from stages.lm.kernels import compiled, languages
from stages.lm.kernels.text import of_strings
from stages.lm.proportions import share

REPEATS = 8
"""How often the pieces of a rare label are seen per epoch, at most."""
CHARACTERS = (10, 20, 50, 100, 200)
"""Lengths that held-out pieces are cut to: short texts tell little."""
BINS = 10
Example = tuple[str, str]
"""A label and a text."""


def make(
    params: IdentifyParams, raw: Sequence[Path], held_out: Path | None, out: Path, log: Log
) -> None:
    """Write an identifier's folder."""
    pieces = read(params, raw)
    _refuse_few(pieces, params, raw)
    measured: Pieces | None = None
    if held_out is not None:
        measured = read(params, [held_out])
    trained, held, leaked = shared(params, pieces, measured)
    labels = sorted(trained)
    model = train(params, trained, log)
    model.save(out)
    report = report_of(model, trained, held, params.threads)
    for label, row in report["languages"].items():
        row["pieces_read"] = pieces.read[label]
    report |= {
        "ambiguous_pieces": pieces.ambiguous,
        "held_out_pieces_left_out": leaked,
        "untrained": {label: len(found) for label, found in held.items() if label not in trained},
    }
    canonical.write_json(out / REPORT, report)
    log.metric("labels", len(labels))
    log.metric("pieces", sum(map(len, trained.values())))
    for label, row in report["languages"].items():
        if "held_out" in row:
            log.metric(f"accuracy_{label}", row["held_out"]["share"])
    compiled.report(log)


def _refuse_few(pieces: Pieces, params: IdentifyParams, raw: Sequence[Path]) -> None:
    filled = [label for label, found in pieces.of.items() if found]
    missing = [label for label in params.labels if label not in filled]
    where = ", ".join(map(str, raw))
    if missing:
        raise ArtifactError(
            f"no text is labelled {missing[0]}; there are {', '.join(filled) or 'none'}",
            where,
            "give text of that label, or take it out of identify: labels",
        )
    if len(filled) < 2:
        told = f"only {filled[0]}" if filled else "nothing"
        raise ArtifactError(
            f"the labelled text is of {told}; there is nothing to tell apart",
            where,
            "give texts of at least two labels, each in a folder of its name",
        )


def shared(
    params: IdentifyParams, pieces: Pieces, measured: Pieces | None
) -> tuple[dict[str, list[str]], dict[str, list[str]], int]:
    """Return the pieces to learn from and to measure on, by label, and how many held-out ones were
    left out because they are learned from as well."""
    trained: dict[str, list[str]] = {}
    held: dict[str, list[str]] = {}
    if measured is not None:
        for label, found in pieces.of.items():
            if found:
                trained[label] = list(found.values())[: params.max_pieces]
        known = {text for found in trained.values() for text in found}
        leaked = 0
        for label, found in measured.of.items():
            fresh = [text for text in found.values() if text not in known]
            leaked += len(found) - len(fresh)
            held[label] = fresh[: params.max_held_out]
        return trained, held, leaked
    for label, found in pieces.of.items():
        texts = list(found.values())
        # A label of so few pieces that its share is none is learned whole, and not measured.
        apart = min(int(len(texts) * params.held_out_fraction), params.max_held_out)
        if texts:
            held[label] = texts[:apart]
            trained[label] = texts[apart : apart + params.max_pieces]
    return trained, held, 0


def ordered(counts: Sequence[int], epochs: int) -> NDArray[np.int64]:
    """Return in which order pieces are seen: labels take turns as evenly as their counts allow.

    In an epoch every label shows as many pieces as the largest, or its own `REPEATS` times.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    turns = [min(max(counts), REPEATS * count) for count in counts]
    at = np.concatenate([(np.arange(turn) + 0.5) / turn for turn in turns])
    label = np.repeat(np.arange(len(counts)), turns)
    number = np.concatenate(
        [start + np.arange(turn) % count
         for start, turn, count in zip(starts, turns, counts, strict=False)]
    )  # fmt: skip
    return np.tile(number[np.lexsort((label, at))], epochs).astype(np.int64)


def train(params: IdentifyParams, trained: dict[str, list[str]], log: Log) -> Identifier:
    """Return the identifier that some pieces teach."""
    labels = sorted(trained)
    texts = of_strings([text for label in labels for text in trained[label]])
    counts = [len(trained[label]) for label in labels]
    columns = np.repeat(np.arange(len(labels)), counts).astype(np.int32)
    order = ordered(counts, params.epochs)
    log.progress(0, len(order), "pieces")
    weights = languages.train(texts, columns, order, len(labels), params.bucket_bits, params.rate)
    log.progress(len(order), len(order), "pieces")
    table, shift = languages.quantised(weights)
    return Identifier(labels, table, shift)


def report_of(
    model: Identifier, trained: dict[str, list[str]], held: dict[str, list[str]], threads: int
) -> dict[str, Any]:
    """Return report.json: an accuracy of every language that has held-out text, of no other."""
    rows: dict[str, Any] = {}
    examples = [(label, text) for label in model.labels for text in held.get(label, [])]
    guesses, shares = judged(model, [text for _, text in examples], threads)
    for label in model.labels:
        texts = trained[label]
        rows[label] = {
            "pieces_trained": len(texts),
            "bytes_trained": sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
        }
        found = Counter(
            guess for (own, _), guess in zip(examples, guesses, strict=True) if own == label
        )
        if found:
            wrong = sorted((name, n) for name, n in found.items() if name != label)
            rows[label]["held_out"] = share(found[label], found.total()) | {
                "taken_for": dict(wrong)
            }
    right = [own == guess for (own, _), guess in zip(examples, guesses, strict=True)]
    told = [row["held_out"]["share"] for row in rows.values() if "held_out" in row]
    return {
        "languages": rows,
        "without_held_out": [name for name, row in rows.items() if "held_out" not in row],
        "all": share(sum(right), len(right)),
        **({"mean_of_languages": round(sum(told) / len(told), 6)} if told else {}),
        "by_characters": _by_length(model, examples, threads),
        "calibration": _calibration(right, shares),
    }


def judged(
    model: Identifier, texts: Sequence[str], threads: int
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the likeliest label of each text and its probability."""
    if not texts:
        return [], np.zeros(0)
    found = model.judge(of_strings(texts), threads)
    best = found.probabilities.argmax(axis=1).tolist()
    return [model.labels[place] for place in best], found.probabilities.max(axis=1)


def _by_length(model: Identifier, examples: Sequence[Example], threads: int) -> list[Any]:
    rows = []
    for most in CHARACTERS:
        cut = [(label, text[:most]) for label, text in examples if len(text) >= most]
        if cut:
            guesses, _ = judged(model, [text for _, text in cut], threads)
            right = sum(own == guess for (own, _), guess in zip(cut, guesses, strict=True))
            rows.append({"characters": most, **share(right, len(cut))})
    return rows


def _calibration(right: Sequence[bool], shares: NDArray[np.float64]) -> list[Any]:
    """Return by tenths of probability how many guesses were right."""
    rows = []
    place = np.minimum((shares * BINS).astype(np.int64), BINS - 1)
    hits = np.array(right, bool)
    for number in range(BINS):
        inside = place == number
        if inside.any():
            mean = round(float(shares[inside].mean()), 6)
            rows.append(
                {"from": number / BINS, "mean_probability": mean,
                 **share(int(hits[inside].sum()), int(inside.sum()))}
            )  # fmt: skip
    return rows
