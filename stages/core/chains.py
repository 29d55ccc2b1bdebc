"""Whether an ancestry follows from its lock entries: fingerprints, makers, sources, licences.

Everything is computed again from the lock entries and from evidence that proves itself: a listing
is named by its own MD5, which is the hash of the folder that it lists; a manifest has the MD5 that
the listing of its raw folder names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core import adoption, canonical, fingerprint, licences, registry
from stages.core.records import is_code
from stages.core.references import NOTHING

Row = dict[str, Any]
KEEP = ".keep"
SEPARATOR = "~"
"""Before the fingerprint in the name of an entry that a lock holds in a second version."""


class Evidence:
    """Listings, manifests and adoption records below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def problems(self) -> Iterator[str]:
        """Yield the listings whose bytes do not have the hash that they are named by."""
        for path in sorted(self.folder.glob("*.dir")):
            if not path.is_file() or canonical.file_digest(path, "md5") + ".dir" != path.name:
                yield f"evidence/{path.name}: its md5 is not its name"

    def listing(self, md5: str) -> dict[str, str] | None:
        """Return the md5 by name of a folder's files, or None where there is no listing."""
        rows = self._json(self.folder / md5) if md5.endswith(".dir") else None
        return None if rows is None else {str(row["relpath"]): str(row["md5"]) for row in rows}

    def manifest(self, path: str) -> tuple[Any, str | None]:
        """Return a raw folder's manifest and the md5 of its bytes; (None, None) if absent."""
        place = self.folder / path / "manifest.json"
        if not place.is_file():
            return None, None
        return self._json(place), canonical.file_digest(place, "md5")

    def adopted(self, path: str) -> Any:
        """Return what is known of an adopted input: {known, brought}; None if nothing is."""
        return self._json(self.folder / f"{path}.adopted.json")

    def _json(self, path: Path) -> Any:
        if not path.is_file():
            return None
        return json.loads(path.read_text(encoding="utf-8"))


def outs(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a lock entry by path."""
    return {str(row["path"]): str(row.get("md5") or "") for row in body.get("outs") or []}


def sizes(body: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the sizes of a lock entry's outputs by path."""
    return {str(row["path"]): row.get("size") for row in body.get("outs") or []}


def print_of(body: Mapping[str, Any]) -> str:
    """Return the fingerprint that follows from a lock entry."""
    return fingerprint.digest(fingerprint.from_lock(body))


def entry_of(lock: Mapping[str, Any], wanted: str) -> str | None:
    """Return the name of the lock entry that has a fingerprint."""
    return next((name for name, body in lock.items() if print_of(body) == wanted), None)


def problems(
    lineage: Mapping[str, Any], lock: Mapping[str, Any], evidence: Evidence
) -> Iterator[str]:
    """Yield what a lineage says that its lock entries and the evidence do not."""
    prints = {name: print_of(body) for name, body in lock.items()}
    told = {str(row["fingerprint"]): row for row in lineage["entries"]}
    for name, value in prints.items():
        if value not in told:
            yield f"dvc.lock: {name} has the fingerprint {value}, which lineage.json does not tell"
    seen: set[str] = set()
    for row in lineage["entries"]:
        named = [one for one, value in prints.items() if value == row["fingerprint"]]
        if not named:
            yield (
                f"lineage.json: {row['entry']} with the fingerprint {row['fingerprint']} follows "
                "from no entry of dvc.lock"
            )
            continue
        yield from _entry(row, named[0], lock, evidence)
        for made in row["inputs"]:
            for up in made["fingerprints"]:
                if up not in seen:
                    yield f"lineage.json: {row['entry']} comes before what {made['path']} is from"
        seen.add(row["fingerprint"])
    last = lineage["artifacts"][-1]
    if not lineage["entries"] or lineage["entries"][-1]["fingerprint"] != last["fingerprint"]:
        yield f"lineage.json: its last entry is not what made {last['path']}"
    if lineage["artifact"] != last:
        yield "lineage.json: `artifact` is not the last of `artifacts`"
    yield from _sources(lineage, lock, evidence)


def _entry(row: Row, name: str, lock: Mapping[str, Any], evidence: Evidence) -> Iterator[str]:
    """Yield where one entry of the lineage is not what its lock entry gives."""
    body = lock[name]
    wanted = row_of(name, lock, evidence)
    for field, value in wanted.items():
        if row.get(field) != value:
            where = _where(row, field, value)
            yield f"lineage.json: {name}: its {field} are not what dvc.lock gives{where}"
    deps = fingerprint.from_lock(body)["deps"]
    for made in wanted["inputs"]:
        path, md5 = made["path"], made["md5"]
        if made["made_by"]:
            if path not in outs_by_path(lock):
                yield from _parent(name, path, md5, lock, evidence)
        elif not _is_leaf(path, deps[path], name, lock, evidence):
            yield f"dvc.lock: nothing in the bundle made {path} ({md5}), which {name} reads"


def _where(row: Row, field: str, value: Any) -> str:
    """Return the first key in which two mappings differ, in words."""
    now = row.get(field)
    if not isinstance(now, Mapping) or not isinstance(value, Mapping):
        return ""
    keys = [key for key in sorted({*now, *value}) if now.get(key) != value.get(key)]
    return f" ({', '.join(keys[:3])})"


def outs_by_path(lock: Mapping[str, Any]) -> set[str]:
    """Return the paths of all outputs of a lock."""
    return {path for body in lock.values() for path in outs(body)}


def row_of(name: str, lock: Mapping[str, Any], evidence: Evidence) -> Row:
    """Return what a lineage tells of an entry, computed from the lock alone."""
    body = lock[name]
    plain = fingerprint.from_lock(body)
    inputs = []
    for path, md5 in plain["deps"].items():
        if is_code(path) or path in NOTHING:
            continue
        makers = _makers(name, path, md5, lock, evidence)
        inputs.append(
            {
                "path": path,
                "md5": md5,
                "made_by": [one.split(SEPARATOR)[0] for one in makers],
                "fingerprints": [print_of(lock[one]) for one in makers],
            }
        )
    size = sizes(body)
    return {
        "entry": name.split(SEPARATOR)[0],
        "fingerprint": print_of(body),
        "command": plain["cmd"],
        "params": plain["params"].get("params.yaml", {}),
        "packages": plain["params"].get("environment.yaml", {}),
        "code": {path: md5 for path, md5 in plain["deps"].items() if is_code(path)},
        "inputs": inputs,
        "outputs": [
            {"path": path, "md5": md5, "size_bytes": size[path]} for path, md5 in outs(body).items()
        ],
    }


def _makers(
    reader: str, path: str, md5: str, lock: Mapping[str, Any], evidence: Evidence
) -> list[str]:
    """Return the entries that made an input; of a parent folder those that it lists."""
    plain = [name for name, body in lock.items() if outs(body).get(path) == md5 and md5]
    if plain:
        return plain[:1]
    listed = evidence.listing(md5) or {}
    found = []
    for name, body in lock.items():
        for out, value in outs(body).items():
            inside = evidence.listing(value) if out.startswith(f"{path}/") else None
            start = out.removeprefix(f"{path}/")
            held = inside and all(listed.get(f"{start}/{one}") == v for one, v in inside.items())
            if held and name != reader and name not in found:
                found.append(name)
    return found


def _parent(
    name: str, path: str, md5: str, lock: Mapping[str, Any], evidence: Evidence
) -> Iterator[str]:
    """Yield the files of a parent folder that nothing in the bundle made."""
    starts = [
        out.removeprefix(f"{path}/") + "/"
        for one in _makers(name, path, md5, lock, evidence)
        for out in outs(lock[one])
        if out.startswith(f"{path}/")
    ]
    for file in evidence.listing(md5) or {}:
        own = file == KEEP or file.startswith(f"{adoption.FOLDER}/")
        if not own and not file.startswith(tuple(starts)):
            yield f"dvc.lock: nothing in the bundle made {path}/{file}, which {name} reads"


def _is_leaf(path: str, md5: str, name: str, lock: Mapping[str, Any], evidence: Evidence) -> bool:
    """Return whether an input without a maker may be one: raw, adopted, or no stage's output."""
    told = evidence.adopted(path)
    if told is not None:
        return bool(told["known"]["md5"] == md5) and not list(adopted_problems(told))
    if adoption.is_place(path):
        return False
    written = {
        write.split("${")[0]
        for stage in registry.stages().values()
        for write in stage.writes.values()
    }
    written |= {out.rsplit("/", 1)[0] + "/" for out in outs_by_path(lock)}
    return not f"{path}/".startswith(tuple(written))


def adopted_problems(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the lineage that an adopted artifact brought along."""
    known, brought = told["known"], told["brought"]
    if known["source"] != "bundle":
        return
    lock = brought["lock"]
    entry = entry_of(lock, known["fingerprint"])
    if entry is None or known["md5"] not in outs(lock[entry]).values():
        yield f"{known['path']}: no entry that it brought made it"


def sources_of(
    lineage: Mapping[str, Any], lock: Mapping[str, Any], evidence: Evidence
) -> list[Row]:
    """Return the sources of an ancestry as manifests, lock entries and adoptions tell them."""
    found = []
    for row in lineage["entries"]:
        name = entry_of(lock, row["fingerprint"])
        body = lock.get(name or "", {})
        for path in outs(body):
            if path.startswith("data/raw/"):
                told, _ = evidence.manifest(path)
                section = str(row["entry"]).replace("@", ".")
                values = row["params"].get(section) or {}
                found.append(licences.source_of(path, told or values))
        for path in (one["path"] for one in row["inputs"] if not one["made_by"]):
            known = evidence.adopted(path)
            if known is not None:
                found += licences.adopted_sources(known["known"], known["brought"])
    return [licences.row_of(one) for one in dict.fromkeys(found)]


def _sources(
    lineage: Mapping[str, Any], lock: Mapping[str, Any], evidence: Evidence
) -> Iterator[str]:
    """Yield where sources and licences are not what the manifests state."""
    for body in lock.values():
        for path, md5 in outs(body).items():
            manifest, own = evidence.manifest(path)
            listed = (evidence.listing(md5) or {}).get("manifest.json")
            if manifest is not None and own != listed:
                yield f"evidence/{path}/manifest.json: it is not the manifest of {path} ({md5})"
    if lineage["sources"] != sources_of(lineage, lock, evidence):
        yield "lineage.json: its sources are not those that the manifests state"
    if lineage["licences"] != terms_of(lineage["sources"]):
        yield "lineage.json: its licences are not what its sources ask together"


def terms_of(sources: list[Row]) -> Row:
    """Return what the licences of a lineage's sources ask together."""
    names = ("path", "licence", "licence_reason", "origin", "synthetic")
    terms = licences.propagate([licences.Source(*(one[name] for name in names)) for one in sources])
    return {
        "licences": list(terms.licences),
        "obligations": list(terms.obligations),
        "conflicts": list(terms.conflicts),
    }
