"""Two benchmarks of one machine side by side; of two machines, a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError, CheckFailed

SAME = ("cpu", "cores", "flags", "system")
"""Parts of `declared` in machine.json that must be equal."""


def compare(folder_a: Path, folder_b: Path) -> dict[str, Any]:
    """Return, per variant and cell that both have, how b's latency stands to a's.

    `latency_ratio` is b's median over a's: two runs at two times, so it holds what else the
    machine did. `relative_ratio` divides both by their own run's baseline first, which cancels
    that. `apart` says that the quartile ranges of latency do not overlap. Packages may differ:
    what an update changed is what one asks; the differing ones are listed.
    """
    machine_a, machine_b = (_read(folder, "machine.json") for folder in (folder_a, folder_b))
    _refuse_unlike(machine_a, machine_b, folder_b)
    rows_a, rows_b = (_rows(folder) for folder in (folder_a, folder_b))
    rows = []
    for place in sorted(rows_a.keys() & rows_b.keys()):
        a, b = rows_a[place], rows_b[place]
        rows.append(
            {name: a[name] for name in ("variant", "threads", "batch", "length")}
            | {
                "latency_ms_p50_a": a["latency_ms_p50"],
                "latency_ms_p50_b": b["latency_ms_p50"],
                "latency_ratio": round(b["latency_ms_p50"] / a["latency_ms_p50"], 6),
                "relative_ratio": round(b["latency_ratio_p50"] / a["latency_ratio_p50"], 6),
                "apart": b["latency_ms_q25"] > a["latency_ms_q75"]
                or b["latency_ms_q75"] < a["latency_ms_q25"],
                "n": [a["n"], b["n"]],
            }
        )
    versions = (machine_a["packages"], machine_b["packages"])
    changed = {
        name: [one.get(name) for one in versions]
        for name in sorted({*versions[0], *versions[1]})
        if versions[0].get(name) != versions[1].get(name)
    }
    alone = sorted({place[0] for place in rows_a.keys() ^ rows_b.keys()})
    return {"rows": rows, "packages_changed": changed, "variants_in_one_only": alone}


def _refuse_unlike(a: dict[str, Any], b: dict[str, Any], folder: Path) -> None:
    """Refuse two machines, two grids, or one machine with another share of its cores."""
    pairs = [(name, a["declared"].get(name), b["declared"].get(name)) for name in SAME]
    pairs.append(("usable cores", a["facts"]["cores_usable"], b["facts"]["cores_usable"]))
    pairs.append(("grid", a["grid"], b["grid"]))
    unlike = [f"{name}: {one!r} and {two!r}" for name, one, two in pairs if one != two]
    if unlike:
        raise CheckFailed(
            f"the benchmarks are not comparable: {'; '.join(unlike)}",
            str(folder),
            "run both on one machine with the same batches, lengths and threads_grid",
        )


def _rows(folder: Path) -> dict[tuple[str, int, int, int], dict[str, Any]]:
    rows = _read(folder, "latency.json")["rows"]
    return {(row["variant"], row["threads"], row["batch"], row["length"]): row for row in rows}


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        reason = "is missing" if isinstance(fault, OSError) else "is no JSON"
        raise ArtifactError(
            f"{name} of a benchmark {reason}", str(path), "name a folder that benchmark wrote"
        ) from None
    return found
