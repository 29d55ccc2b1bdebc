"""What the rules did, told by examples: texts that each dropped, scores of kept and dropped
documents, how the company of identity terms moved from rule to rule, what was redacted."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.lm import shards, tables
from stages.lm.kernels.text import to_strings
from stages.refine import lost, personal, rulesets
from stages.refine.settings import RefineParams

FILE = "filtering.json"
SHOWN_CHARACTERS = 200
BINS = 12
MOST_CHARTS = 16
MOVED = 8
"""Words shown of a pair of terms."""


def write(
    corpus: Path, params: RefineParams, raw: Sequence[Path], rules: Sequence[str],
    statistics: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write filtering.json beside a corpus, where the entry asks for samples."""
    if not params.measure.dropped_samples or params.intact:
        return
    found: dict[str, Any] = {
        "samples": samples(corpus, params, raw, rules),
        "private": redacted(corpus, params),
        "biases": biases(statistics, rules),
        "scores": scores(corpus, params) if params.filters.scores else [],
    }
    canonical.write_json(corpus / FILE, found)


def samples(
    corpus: Path, params: RefineParams, raw: Sequence[Path], rules: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a few texts that each rule dropped, drawn by the hash of the text."""
    most = params.measure.dropped_samples
    held: dict[str, list[tuple[bytes, str]]] = {}
    counts: dict[str, int] = {}
    for rule, texts in lost.lost(raw, params, lost.losses(corpus / "dropped.parquet")):
        counts[rule] = counts.get(rule, 0) + texts.documents
        fresh = [
            (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), _short(text))
            for text in to_strings(texts)
        ]
        held[rule] = heapq.nsmallest(most, [*held.get(rule, []), *fresh])
    return [
        {"rule": rule, "documents": counts[rule], "texts": [text for _, text in held[rule]]}
        for rule in rules
        if rule in held
    ]


def _short(text: str) -> str:
    """Return the beginning of a text in one line, as it can be written and shown."""
    line = " ".join(text[: 4 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS]
    return "".join(filter(str.isprintable, line))


def redacted(corpus: Path, params: RefineParams) -> dict[str, int]:
    """Return how many placeholders of each type of personal data the corpus holds."""
    if params.filters.private != "redact" or params.kind == "labelled":
        return {}
    marks = {
        kind: personal.PLACEHOLDERS.get(kind, f"[{kind}]").encode()
        for kind in params.filters.private_types
    }
    found: dict[str, int] = {kind: 0 for kind in marks}
    for group in shards.groups(corpus, params.kind):
        data = group.texts.data.tobytes()
        for kind, mark in marks.items():
            found[kind] += data.count(mark)
    return found


def biases(statistics: Mapping[str, Any], rules: Sequence[str]) -> list[dict[str, Any]]:
    """Return for the words of each pair of terms whose bias moved most what it was before every
    rule that dropped something, in the order of the rules, and what it is now."""
    found = []
    for pair in statistics.get("associations", {}).get("pairs", ()):
        rows = []
        for row in pair["words"]:
            before = row.get("bias_before", {})
            steps = [
                {"before": rule, "bias": before[f"before {rule}"]}
                for rule in rules
                if f"before {rule}" in before
            ]
            told = {"first": pair["first"], "second": pair["second"], "word": row["word"]}
            rows.append({**told, "steps": steps, "bias": row["bias"]})
        moved = sorted(range(len(rows)), key=lambda place: (-_moved(rows[place]), place))
        found += [rows[place] for place in sorted(moved[:MOVED])]
    return found


def _moved(row: Mapping[str, Any]) -> float:
    known = [float(step["bias"]) for step in row["steps"] if step["bias"] is not None]
    return abs(float(row["bias"]) - known[0]) if known else 0.0


def scores(corpus: Path, params: RefineParams) -> list[dict[str, Any]]:
    """Return histograms of what rules of published sets compare, of kept and dropped documents."""
    if params.kind != "text":
        return []
    held = tables.read_table(corpus / "scores.parquet")
    gone = lost.losses(corpus / "dropped.parquet")
    fate = np.array([gone.get(one, "") for one in held.column("id").to_pylist()], object)
    counted = np.stack([column.to_numpy() for column in held.columns[1:]], axis=1)
    named = rulesets.named(counted)
    found: list[dict[str, Any]] = []
    for rule in rulesets.chosen(params.filters.rule_sets, params.filters.thresholds):
        own = fate == rule.reason
        if own.any() and len(found) < MOST_CHARTS:
            values = rulesets.compared(named, rule)
            found.append(
                {
                    "rule": rule.reason,
                    "side": rule.side,
                    "threshold": rule.threshold,
                    "documents_dropped": int(own.sum()),
                    "bins": _bins(values, fate == "", own),
                }
            )
    return found


def _bins(
    values: NDArray[Any], kept: NDArray[np.bool_], own: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return equal bins up to the 99th percentile; the last holds all above it."""
    low, high = float(values.min()), float(np.quantile(values, 0.99, method="higher"))
    high = high if high > low else low + 1
    place = np.clip(((values - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)
    counts = [np.bincount(place[chosen], minlength=BINS).tolist() for chosen in (kept, own)]
    size = (high - low) / BINS
    return [
        {"from": round(low + number * size, 6), "kept": one, "dropped": other}
        for number, (one, other) in enumerate(zip(*counts, strict=True))
    ]
