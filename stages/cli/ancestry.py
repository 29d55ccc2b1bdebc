"""`deveno lineage`: back from any artifact to the raw text, as a tree for people or as JSON."""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stages.cli.inspection import Add
from stages.core import adoption, plan, registry, workspace

WIDTH = 100
Row = Mapping[str, Any]


def add_verbs(add: Add) -> None:
    """Register the verb."""
    verb = add(
        "lineage", show_lineage, "what an artifact was made from, how, and by whom it is used"
    )
    verb.add_argument(
        "target", metavar="PATH|HASH", help="an artifact, a file of one or a copy; a hash; an entry"
    )
    verb.add_argument("--json", action="store_true", help="everything, as JSON")
    verb.add_argument(
        "--full",
        action="store_true",
        help="code files, all packages and all inputs in the tree too",
    )


def show_lineage(options: argparse.Namespace) -> int:
    """Print the ancestry of an artifact."""
    from stages.core import lineage
    from stages.core.records import Records

    records = Records(workspace.root())
    known = adoption.find(records.root, options.target.rstrip("/").removeprefix("./"))
    if known is not None:
        print(_adopted(asdict(known), options.json))
        return 0
    told = lineage.told(records, records.resolve(options.target))
    if options.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print("\n".join(drawn(told, options.full)))
    return 0


def _adopted(known: Row, as_json: bool) -> str:
    """Return an adopted artifact, which has no ancestry here but what it brought along."""
    if as_json:
        return json.dumps(known, indent=2, ensure_ascii=False)
    return f"{known['path']}  md5 {known['md5']}\n{_leaf(known).strip()}"


def drawn(told: Row, full: bool = False) -> Iterator[str]:
    """Yield a lineage as lines: the tree of entries, then sources, licences and cost."""
    artifact = told["artifact"]
    inside = f"/{artifact['member']}" if artifact["member"] else ""
    own = f"  md5 {artifact['member_md5']}, in" if artifact["member_md5"] else ""
    whole = f"md5 {artifact['md5']}{_size(artifact['size_bytes'])}"
    yield f"{artifact['path']}{inside}{own}  {whole}"
    rows = {row["fingerprint"]: row for row in told["entries"]}
    seen: set[str] = set()
    yield from _branch(rows[artifact["fingerprint"]], rows, seen, "", True, full)
    yield ""
    yield "sources"
    for one in told["sources"]:
        licence = one["licence"] or f"no licence: {one['licence_reason'] or 'not said why'}"
        made = ", synthetic" if one["synthetic"] else ""
        yield f"  {one['path']}  {licence}{made}  {one['origin']}".rstrip()
    if not told["sources"]:
        yield "  none is recorded"
    terms = told["licences"]
    yield f"licences  {', '.join(terms['licences']) or 'none stated'}"
    if terms["obligations"]:
        yield f"  they ask for {', '.join(terms['obligations'])}"
    yield from (f"  CONFLICT: {text}" for text in terms["conflicts"])
    yield from _cost(told["cost"])


def _cost(cost: Row) -> Iterator[str]:
    missing = cost["entries_without_record"]
    note = f" ({missing} of the entries did not run here: their cost is not known)"
    yield (
        f"cost  {cost['wall_s']:.1f} s wall, {cost['cpu_s']:.1f} CPU s, "
        f"{cost['energy_wh_estimated']:.3f} Wh estimated{note if missing else ''}"
    )
    yield f"  energy_wh_estimated = {cost['energy_formula']}"
    if "co2_g_estimated" in cost:
        yield f"  {cost['co2_g_estimated']:.2f} g CO2 estimated at the declared grid intensity"


def _branch(
    row: Row, rows: Mapping[str, Row], seen: set[str], margin: str, last: bool, full: bool
) -> Iterator[str]:
    """Yield an entry, what is known of it, and below it what it was made from."""
    corner, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    if row["fingerprint"] in seen:
        yield f"{margin}{corner}{row['entry']}  (above)"
        return
    seen.add(row["fingerprint"])
    yield f"{margin}{corner}{row['entry']}  {_when(row)}"
    ups = _producers(row, rows)
    stem = margin + below + ("│  " if ups else "   ")
    for text in _facts(row, full):
        yield from textwrap.wrap(text, WIDTH, initial_indent=stem, subsequent_indent=stem + "  ")
    for place, up in enumerate(ups):
        yield from _branch(up, rows, seen, margin + below, place == len(ups) - 1, full)


def _producers(row: Row, rows: Mapping[str, Row]) -> list[Row]:
    prints = [one for made in row["inputs"] for one in made["fingerprints"]]
    return [rows[one] for one in dict.fromkeys(prints) if one in rows]


ONLY_TRACKED = "recorded in MLflow alone: no lock file, run cache or journal has it"


def _when(row: Row) -> str:
    execution = row["execution"]
    if execution is None:
        return ONLY_TRACKED if row["recorded"] == ["mlflow"] else "did not run here"
    clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(execution["time"]))
    return (
        f"{clock}, {execution['wall_s'] or 0:.1f} s wall, {execution['cpu_s'] or 0:.1f} CPU s, "
        f"{execution['energy_wh_estimated']:.3f} Wh estimated"
    )


def _facts(row: Row, full: bool) -> Iterator[str]:
    yield f"fingerprint {row['fingerprint']}"
    yield from _parameters(row, full)
    yield from _code(row, full)
    yield from _packages(row["packages"], full)
    execution = row["execution"]
    if execution:
        facts = execution["machine"]
        yield f"machine {facts.get('cpu_model')}, {facts.get('cores')} cores, Python " + str(
            facts.get("python")
        )
        if execution["reasons"]:
            more = len(execution["reasons"]) - 3
            yield (
                "ran because "
                + "; ".join(execution["reasons"][:3])
                + (f" (+{more} more)" if more > 0 else "")
            )
    if row["mlflow_run"]:
        yield f"MLflow run {row['mlflow_run']}"
    for made in row["inputs"]:
        if full or not made["made_by"]:
            yield f"reads {made['path']}  md5 {made['md5']}{_leaf(made.get('adopted'))}"
    if row["consumers"]:
        yield f"used by {', '.join(row['consumers'])}"


def _leaf(known: Row | None) -> str:
    """Return what is said of an adopted input."""
    if not known:
        return ""
    maker = f"; made elsewhere by {known['entry']}" if known["entry"] else ""
    terms = f"licence {known['licence']}, origin {known['origin']}"
    return f"  adopted, not made here: {terms}{maker}"


def _parameters(row: Row, full: bool) -> Iterator[str]:
    """Yield the values; what is as the stage has it by default only in full."""
    own = row["params"].get(row["entry"].replace("@", "."), row["params"])
    values = plan.flatten(own) if own else {}
    usual = {} if full else _defaults(row["entry"].split("@")[0])
    shown = {name: v for name, v in values.items() if name not in usual or usual[name] != v}
    if shown:
        text = ", ".join(f"{name}={json.dumps(v, ensure_ascii=False)}" for name, v in shown.items())
        rest = len(values) - len(shown)
        yield f"parameters {text}" + (f" and {rest} by default" if rest else "")
    elif values:
        yield f"parameters all {len(values)} by default"


def _defaults(stage: str) -> dict[str, Any]:
    """Return a stage's default values, flat; nothing of a stage that is not ours."""
    if stage not in registry.names():
        return {}
    fields = registry.get(stage).params.model_fields
    given = {name: one.get_default(call_default_factory=True) for name, one in fields.items()}
    plain = {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        for name, value in given.items()
        if not fields[name].is_required()
    }
    return plan.flatten(plain)


def _code(row: Row, full: bool) -> Iterator[str]:
    execution = row["execution"] or {}
    commit = row["commit"] or "no commit that is known has this code"
    snapshot = execution.get("snapshot")
    if snapshot and row["commit"] == snapshot:
        changed = ", ".join(execution["changed"][:4])
        yield f"code of {str(execution['commit'])[:12]} with uncommitted changes of {changed}"
        yield f"  (kept as {snapshot}; `git show {snapshot[:12]}` shows them)"
    else:
        yield f"code {len(row['code'])} files at {commit}"
    if full:
        yield from (f"  {path}  md5 {md5}" for path, md5 in row["code"].items())


TELLING = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "numba",
    "pyarrow",
    "onnxruntime",
    "onnx",
)


def _packages(packages: Mapping[str, str], full: bool) -> Iterator[str]:
    if not packages:
        return
    names: Sequence[str] = list(packages) if full else [n for n in TELLING if n in packages]
    shown = ", ".join(f"{name} {packages[name]}" for name in names or list(packages)[:5])
    rest = len(packages) - len(names or list(packages)[:5])
    yield f"packages {shown}" + (f" and {rest} more" if rest else "")


def _size(size: int | None) -> str:
    return f", {size / 1e6:.2f} MB" if size else ""
