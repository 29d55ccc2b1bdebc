"""Writing a bundle: the artifact, its ancestry and the evidence, whole or not at all.

Nothing of the machine goes in: no time, no host, no path but those from the root. So the same
record gives the same bytes, wherever and whenever it is bundled.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.core import (
    adoption,
    bundles,
    canonical,
    chains,
    hashes,
    lockfiles,
    plan,
    snapshots,
    yamlfile,
)
from stages.core.errors import ArtifactError, CheckFailed
from stages.core.records import WORKSPACE, Record, Records
from stages.core.resolution import Found

FOLDER = "bundles"
CARDS = "reports/pages/*/cards"


def place_of(root: Path, found: Sequence[Found]) -> Path:
    """Return where a bundle goes that nobody named a place for."""
    first = found[0].record
    more = f"-and-{len(found) - 1}" if len(found) > 1 else ""
    return root / FOLDER / f"{first.stage}-{first.key or 'stage'}{more}"


def write(records: Records, found: Sequence[Found], out: Path, private: bool = False) -> list[str]:
    """Write a bundle of artifacts; return what a reader of the console must know, in sentences.

    Raises ArtifactError if an artifact is damaged or not to be had, CheckFailed if a licence
    forbids to give it on and the bundle is not `private`.
    """
    if out.exists() or out.is_symlink():
        raise ArtifactError(f"{out} is there already", str(out), "remove it, or choose --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir()
        notes = _fill(records, found, aside, private)
        wrong = bundles.problems(aside)
        if wrong:
            raise ArtifactError(
                f"the bundle would not be whole: {wrong[0]}",
                ", ".join(one.path for one in found),
                "`deveno run` makes what is stale or lost again; then bundle it",
            )
        aside.rename(out)
        return notes
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(records: Records, found: Sequence[Found], folder: Path, private: bool) -> list[str]:
    for one in found:
        _copy_outputs(records, one.record, folder)
    ancestry: list[Record] = []
    for one in found:
        ancestry += [up for up in records.ancestry(one.record) if up not in ancestry]
    found = sorted(found, key=lambda one: ancestry.index(one.record))  # producers first
    lock = _named(ancestry)
    _write_lock(folder / bundles.LOCK, lock)
    evidence = folder / bundles.EVIDENCE
    _collect(records, ancestry, evidence)
    bodies = {name: _body(record) for name, record in lock.items()}
    lineage = _lineage(records, found, lock, bodies, chains.Evidence(evidence))
    conflicts = lineage["licences"]["conflicts"]
    if conflicts and not private:
        raise CheckFailed(
            f"its licences do not let it be given on: {'; '.join(conflicts)}",
            ", ".join(one.path for one in found),
            "settle that at the source's `licence`, or bundle it for yourself with --private",
        )
    lineage["private"] = private
    canonical.write_json(folder / bundles.LINEAGE, lineage)
    canonical.write_text(folder / bundles.LICENCES, bundles.licences_text(lineage))
    canonical.write_text(folder / bundles.README, _card(records.root, found, folder, lineage))
    rows = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in rows]
    _check_names(names)
    sums = [f"{canonical.file_digest(folder / name)}  {name}\n" for name in sorted(names)]
    canonical.write_text(folder / bundles.SUMS, "".join(sums))
    return list(_notes(lineage))


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that SHA256SUMS cannot hold in its plain form."""
    for name in names:
        if "\\" in name or any(ord(letter) < 32 for letter in name):
            raise ArtifactError(
                f"the file name {name!r} does not fit in SHA256SUMS", name, "rename that file"
            )


def _named(ancestry: Sequence[Record]) -> dict[str, Record]:
    """Name the records for a lock; a second version of an entry bears its fingerprint too."""
    found: dict[str, Record] = {}
    for record in reversed(ancestry):
        name = record.entry
        if name in found:
            name = f"{name}{chains.SEPARATOR}{record.fingerprint[:12]}"
        found[name] = record
    return dict(reversed(found.items()))


def _body(record: Record) -> dict[str, Any]:
    """Return a record in the form of dvc.lock."""
    if isinstance(record.source, lockfiles.Text):
        return record.source.body
    body: dict[str, Any] = {
        "cmd": record.command,
        "deps": [{"path": p, "hash": "md5", "md5": md5} for p, md5 in sorted(record.deps.items())],
    }
    if record.params:
        body["params"] = record.params
    body["outs"] = [
        {"path": path, "hash": "md5", "md5": md5}
        | ({"size": record.sizes[path]} if path in record.sizes else {})
        for path, md5 in sorted(record.outs.items())
    ]
    return body


def _write_lock(path: Path, lock: Mapping[str, Record]) -> None:
    """Write the entries as DVC wrote them, letter by letter where their text is kept."""
    text = "schema: '2.0'\nstages:\n"
    for name, record in lock.items():
        source = record.source
        rows = source.text if isinstance(source, lockfiles.Text) else yamlfile.dump(_body(record))
        text += f"  {name}:\n" + "".join(f"    {row}\n" for row in rows.splitlines())
    canonical.write_text(path, text)


def _lineage(
    records: Records,
    found: Sequence[Found],
    lock: Mapping[str, Record],
    bodies: Mapping[str, Any],
    evidence: chains.Evidence,
) -> dict[str, Any]:
    artifacts = [
        {
            "path": one.path,
            "md5": one.md5,
            "member": None,
            "size_bytes": one.record.sizes.get(one.path),
            "made_by": one.record.entry,
            "fingerprint": one.record.fingerprint,
        }
        for one in found
    ]
    entries = [
        chains.row_of(name, bodies, evidence)
        | {
            "machine_bound_to": None,
            "commit": snapshots.commit_of(records.root, record, records),
        }
        for name, record in lock.items()
    ]
    lineage: dict[str, Any] = {
        "bundle": bundles.FORMAT,
        "artifact": artifacts[-1],
        "artifacts": artifacts,
        "entries": entries,
    }
    lineage["sources"] = chains.sources_of(lineage, bodies, evidence)
    lineage["licences"] = chains.terms_of(lineage["sources"])
    return lineage


def _copy_outputs(records: Records, record: Record, folder: Path) -> None:
    """Copy all outputs of a record, from the workspace or else the cache, and hash the copies."""
    for path, md5 in record.outs.items():
        here = records.root / path
        now = bundles.md5_of(here)
        if now == md5:
            _copy(here, folder / path)
        elif now is not None and records.locks[WORKSPACE].get(record.entry) is record:
            raise ArtifactError(
                f"{path} is not what {record.entry} made: its md5 is {now}, recorded is {md5}",
                path,
                f"`deveno run {record.entry}` brings it back",
            )
        else:
            _from_cache(records, path, md5, folder / path)
        copied = bundles.md5_of(folder / path)
        if copied != md5:
            raise ArtifactError(
                f"DVC's cache holds {path} damaged: its md5 is {copied}, recorded is {md5}",
                path,
                f"`deveno doctor --deep` names the files; `deveno run {record.entry}` makes it",
            )


def _copy(source: Path, target: Path) -> None:
    files = [("", source)] if source.is_file() else hashes.files(source)
    for name, path in files:
        goal = target / name if name else target
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)


def _from_cache(records: Records, path: str, md5: str, target: Path) -> None:
    rows = records.listing(md5)
    for name, value in rows or []:
        stored = records.cache / "files" / "md5" / value[:2] / value[2:]
        if stored.is_file():
            _copy(stored, target / name if name else target)
    if rows is None or not target.exists():
        raise ArtifactError(
            f"{path} ({md5}) is neither in the workspace nor in DVC's cache",
            path,
            "`dvc pull` fetches it where a remote holds it; `deveno rebuild` makes it again",
        )


def _collect(records: Records, ancestry: Sequence[Record], evidence: Path) -> None:
    """Write the listings of all folders, the manifests of raw ones, and what was adopted."""
    for record in ancestry:
        for path, md5 in [*record.outs.items(), *record.inputs.items()]:
            _listing(records, path, md5, evidence)
        for path, md5 in record.outs.items():
            if path.startswith("data/raw/"):
                _manifest(records, path, md5, evidence)
        for path, md5 in record.inputs.items():
            known = adoption.find(records.root, path)
            if known is not None and known.md5 == md5:
                told = {"known": asdict(known), "brought": adoption.lineage(records.root, path)}
                canonical.write_json(evidence / f"{path}.adopted.json", told)


def _listing(records: Records, path: str, md5: str, evidence: Path) -> None:
    """Write DVC's list of a folder, from the cache or the workspace; nothing if it is gone."""
    target = evidence / md5
    if not md5.endswith(".dir") or target.exists():
        return
    stored = records.cache / "files" / "md5" / md5[:2] / md5[2:]
    if stored.is_file() and canonical.file_digest(stored, "md5") + ".dir" == md5:
        _copy(stored, target)
        return
    rows = hashes.Hashes(records.root).rows(path)
    if rows and hashes.combined(rows, True) == md5:
        canonical.write_bytes(target, hashes.listing(rows))


def _manifest(records: Records, path: str, md5: str, evidence: Path) -> None:
    listed = dict(records.listing(md5) or []).get("manifest.json")
    stored = records.cache / "files" / "md5" / (listed or "--")[:2] / (listed or "--")[2:]
    for source in (stored, records.root / path / "manifest.json"):
        if source.is_file() and canonical.file_digest(source, "md5") == listed:
            _copy(source, evidence / path / "manifest.json")
            return


def _card(root: Path, found: Sequence[Found], folder: Path, lineage: Mapping[str, Any]) -> str:
    """Return the card that `report` made of this very artifact, else a plain one."""
    if len(found) == 1:
        reference = found[0].path.partition("/")[2] or found[0].path
        for card in sorted(root.glob(f"{CARDS}/{reference}/README.md")):
            text = card.read_text(encoding="utf-8")
            place = folder / found[0].path
            files = [path for _, path in hashes.files(place)] if place.is_dir() else [place]
            if any(canonical.file_digest(path) in text for path in files):
                return text
    return plain_card(lineage)


def plain_card(lineage: Mapping[str, Any]) -> str:
    """Return a card of what every lineage tells."""
    rows = ["# " + ", ".join(f"`{one['path']}`" for one in lineage["artifacts"]), ""]
    for one in lineage["artifacts"]:
        size = f", {one['size_bytes']} bytes" if one["size_bytes"] else ""
        rows.append(
            f"- `{one['path']}`: made by `{one['made_by']}`, fingerprint "
            f"`{one['fingerprint']}`, md5 `{one['md5']}`{size}"
        )
    rows += ["", "Made from:", ""]
    for row in lineage["entries"]:
        reads = ", ".join(f"`{made['path']}`" for made in row["inputs"]) or "nothing"
        rows.append(f"- `{row['entry']}` reads {reads}")
    rows += [
        "",
        "`LICENCES.md` says on what terms, `lineage.json` how: parameters, code, packages, inputs.",
        "`deveno verify` on this folder proves it whole, without any repository; so does",
        "`sha256sum -c SHA256SUMS` for its files alone.",
    ]
    return "\n".join(rows) + "\n"


def _notes(lineage: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the recorded parameters name places of one machine: they are part of it."""
    for row in lineage["entries"]:
        for name, value in plan.flatten(row["params"]).items():
            if isinstance(value, str) and Path(value).is_absolute():
                yield f"{name} of {row['entry']} names a place of this machine: {value}"


def named(records: Records, targets: Sequence[str]) -> list[Found]:
    """Return the artifacts that targets mean, each once."""
    found: list[Found] = []
    for target in targets:
        one = records.resolve(target)
        if one.record not in [other.record for other in found]:
            found.append(one)
    return found
