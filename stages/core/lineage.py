"""The whole ancestry of an artifact as plain data: who made it, from what, how and at what cost.

`told` gives one row per entry, producers first; `portable` leaves out what differs between two
machines that made the same bytes (times, cost, host, run ids), for a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stages.core import adoption, energy, journal, licences, snapshots, tracked_models
from stages.core.records import JOURNAL, WORKSPACE, Record, Records
from stages.core.resolution import Found

Row = dict[str, Any]


def told(records: Records, found: Found, portable: bool = False) -> Row:
    """Return the lineage of an artifact: {artifact, entries, sources, licences, cost}."""
    ancestry = records.ancestry(found.record)
    sources = licences.sources(ancestry, records)
    terms = licences.propagate(sources)
    entries = [_entry(records, record, portable) for record in ancestry]
    lineage: Row = {
        "artifact": artifact(records, found),
        "entries": entries,
        "sources": [licences.row_of(one) for one in sources],
        "licences": {
            "licences": list(terms.licences),
            "obligations": list(terms.obligations),
            "conflicts": list(terms.conflicts),
        },
    }
    if not portable:
        runs = tracked_models.runs(records.home)
        for row, record in zip(entries, ancestry, strict=True):
            row |= _of_this_home(records, record, runs)
        lineage["cost"] = cost(entries)
    return lineage


def artifact(records: Records, found: Found) -> Row:
    """Return what was asked for: path, md5, the file inside and its own, size where known."""
    inside = dict(records.listing(found.md5) or [])
    return {
        "path": found.path,
        "md5": found.md5,
        "member": found.member or None,
        "member_md5": inside.get(found.member) if found.member else None,
        "size_bytes": found.record.sizes.get(found.path),
        "made_by": found.record.entry,
        "fingerprint": found.record.fingerprint,
    }


def _entry(records: Records, record: Record, portable: bool) -> Row:
    """Return what is true of a record wherever it is made again."""
    makers = records.makers(record)
    values = record.params
    return {
        "entry": record.entry,
        "fingerprint": record.fingerprint,
        "command": record.command,
        "params": values.get("params.yaml", {}),
        "packages": values.get("environment.yaml", {}),
        "machine_bound_to": None if portable else values.get("machine.yaml"),
        "code": record.code,
        "commit": snapshots.commit_of(records.root, record, records),
        "inputs": [
            {
                "path": path,
                "md5": record.deps[path],
                "made_by": [made.entry for made in made_by],
                "fingerprints": [made.fingerprint for made in made_by],
                **_adopted(records, path, record.deps[path]),
            }
            for path, made_by in makers.items()
        ],
        "outputs": [
            {"path": path, "md5": md5, "size_bytes": record.sizes.get(path)}
            for path, md5 in record.outs.items()
        ],
    }


def _adopted(records: Records, path: str, md5: str) -> Row:
    """Return what is known of an input that was adopted, a leaf: it was not made here."""
    known = adoption.find(records.root, path)
    return {"adopted": asdict(known)} if known is not None and known.md5 == md5 else {}


def _of_this_home(records: Records, record: Record, runs: Mapping[str, str]) -> Row:
    """Return what only the home that ran it knows: the execution, its cost, who used the result."""
    execution = records.execution(record)
    readers = records.consumers(record)
    row: Row = {
        "recorded": sorted({str(place) for place in record.places}),
        "in_force": any(place.kind == WORKSPACE for place in record.places),
        "consumers": sorted({one.entry for one in readers}),
        "mlflow_run": runs.get(record.fingerprint),
        "execution": None,
    }
    if execution is not None:
        row["execution"] = _execution(execution)
        row["mlflow_run"] = runs.get(execution.id) or row["mlflow_run"]
        row["recorded"] = sorted({*row["recorded"], JOURNAL})
    return row


def _execution(execution: journal.Execution) -> Row:
    start, end = execution.start, execution.end or {}
    spent = end.get("durations", {})
    facts = start.get("machine") or {}
    cpu_s = float(spent.get("cpu_s", 0.0))
    return {
        "id": execution.id,
        "time": start.get("time"),
        "commit": start.get("commit"),
        "snapshot": start.get("snapshot"),
        "changed": start.get("changed") or [],
        "reasons": start.get("reasons") or [],
        "resumes": start.get("resumes"),
        "flow": start.get("flow"),
        "experiment": start.get("dvc_exp_name"),
        "wall_s": spent.get("process_s"),
        "cpu_s": spent.get("cpu_s"),
        "peak_rss_mib": spent.get("peak_rss_mib"),
        **(end.get("energy") or energy.estimate(cpu_s).row()),
        "machine": {name: value for name, value in facts.items() if name != "cpu_flags"},
    }


def cost(entries: Sequence[Row]) -> Row:
    """Return the sums over the entries whose execution is recorded here."""
    known = [row["execution"] for row in entries if row.get("execution")]
    cpu_s = sum(float(one["cpu_s"] or 0.0) for one in known)
    used = sum(float(one["energy_wh_estimated"]) for one in known)
    formulas = sorted({str(one["energy_formula"]) for one in known})
    grams = [float(one["co2_g_estimated"]) for one in known if "co2_g_estimated" in one]
    row: Row = {
        "wall_s": round(sum(float(one["wall_s"] or 0.0) for one in known), 3),
        "cpu_s": round(cpu_s, 3),
        "energy_wh_estimated": round(used, 4),
        "energy_formula": "; ".join(formulas) or energy.estimate(0).formula,
        "entries": len(known),
        "entries_without_record": len(entries) - len(known),
    }
    return row | ({"co2_g_estimated": round(sum(grams), 4)} if grams else {})
