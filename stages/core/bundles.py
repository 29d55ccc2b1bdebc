"""Bundles: an artifact with its whole ancestry in one folder, and the proof that it is whole.

    <bundle>/
      README.md                  the model card, or a plain one
      lineage.json               the ancestry as `deveno lineage --json` tells it, less the machine
      LICENCES.md                sources, their licences, what they ask, where they conflict
      dvc.lock                   the recorded entries of the ancestry, as DVC wrote them
      SHA256SUMS                 every other file (`sha256sum -c SHA256SUMS`)
      models/<...>/<key>/        the artifact, at its own path; metrics and plots at theirs
      evidence/<md5>.dir         DVC's list of a folder's files; its own MD5 is the folder's hash
      evidence/<path>/manifest.json        what `acquire` wrote of a raw source
      evidence/<path>.adopted.json         what is known of an adopted input

`problems` needs no repository, no git and no DVC. What it proves: the files are those that were
written; the artifact has the hash that its lock entry records; every fingerprint follows from its
lock entry; every input was made by an entry of the bundle, or is raw, or adopted; every licence is
the one that the source's manifest states, and the manifest lies in the raw folder of that hash.
What nothing inside can prove is that all of it was not replaced together: compare `digest`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core import adoption, canonical, chains, hashes, shapes, yamlfile
from stages.core.adoption import Adopted
from stages.core.errors import ArtifactError, DevenoError, ParamsError, UnknownEntryError

LINEAGE, LOCK, SUMS, README, LICENCES = (
    "lineage.json",
    "dvc.lock",
    "SHA256SUMS",
    "README.md",
    "LICENCES.md",
)
EVIDENCE = "evidence"
FORMAT = 1
"""Raised when the layout changes; a reader refuses one that it does not know."""
SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def digest(folder: Path) -> str:
    """Return the SHA-256 of SHA256SUMS: the one number by which a bundle is known."""
    return canonical.file_digest(folder / SUMS)


def check(folder: Path) -> None:
    """Raise an ArtifactError that names the first thing that is wrong with a bundle."""
    found = problems(folder)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ArtifactError(
            f"{found[0]}{more}", str(folder), "fetch the bundle again from where it was made"
        )


def adopt(
    root: Path, folder: Path, name: str, entry: str | None, licence: str | None, origin: str | None
) -> Adopted:
    """Take the artifact of a bundle in under a name, with its lineage; the bundle must be whole."""
    check(folder)
    lineage, lock = read(folder)
    rows = [one for one in lineage["artifacts"] if entry in (None, one["made_by"], one["path"])]
    if len(rows) != 1:
        held = ", ".join(one["made_by"] for one in lineage["artifacts"])
        raise UnknownEntryError(
            f"{len(rows)} artifacts of the bundle are meant" + (f" by {entry!r}" if entry else ""),
            f"{folder}: {held}",
            "name one of them with --entry",
        )
    place = adoption.place_of(rows[0]["path"], name)
    stated = " AND ".join(lineage["licences"]["licences"]) or "unknown"
    if place is None:
        raise ArtifactError(
            f"{rows[0]['path']} is nothing that an entry reads", str(folder),
            "`deveno compare` and `deveno lineage` read it in the bundle",
        )  # fmt: skip
    if licence not in (None, stated):
        raise ParamsError(
            f"the bundle states the licence {stated!r}, not {licence!r}",
            "--licence",
            "leave the option out",
        )
    known = {
        "licence": stated,
        "origin": origin or f"bundle {digest(folder)[:12]}",
        "source": "bundle",
        "entry": rows[0]["made_by"],
        "fingerprint": rows[0]["fingerprint"],
        "bundle": digest(folder),
    }
    brought = {"lineage": lineage, "lock": lock}
    return adoption.take(root, folder / rows[0]["path"], place, known, brought)


def is_bundle(folder: Path) -> bool:
    """Return whether a folder looks like a bundle, whole or not."""
    return (folder / SUMS).is_file() and (folder / LINEAGE).is_file()


def problems(folder: Path) -> list[str]:
    """Return everything that is wrong with a bundle, in words that begin with the file."""
    if not folder.is_dir() or not (folder / SUMS).is_file():
        return [f"{SUMS}: not there; {folder.name} is no bundle"]
    found = list(_files(folder))
    try:
        lineage, lock = read(folder)
        found += [*_artifacts(folder, lineage, lock), *_proofs(folder, lineage, lock)]
    except DevenoError as error:
        found.append(f"{error.where}: {error.what}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        found.append(f"{LINEAGE}: it is not as `deveno bundle` writes it ({error!r})")
    return list(dict.fromkeys(found))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a bundle's lineage and its lock entries by name."""
    for name in (LINEAGE, LOCK):
        if not (folder / name).is_file():
            raise ArtifactError("it is not there", name, "fetch the bundle again")
    try:
        lineage = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
        text = (folder / LOCK).read_text(encoding="utf-8")
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"it cannot be read: {error}", LINEAGE, "fetch the bundle again"
        ) from None
    if not isinstance(lineage, dict) or lineage.get("bundle") != FORMAT:
        told = lineage.get("bundle") if isinstance(lineage, dict) else None
        raise ArtifactError(
            f"its format is {told!r}, and {FORMAT} is known here", LINEAGE, "use a newer Deveno"
        )
    stages = shapes.lock(yamlfile.parse(text, LOCK).get("stages"))
    for name, body in stages.items():
        for path in chains.outs(body):
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ArtifactError(
                    f"{name} writes {path}, which leads out of the bundle", LOCK, "do not use it"
                )
    return lineage, {name: yamlfile.plain(body) for name, body in stages.items()}


def _files(folder: Path) -> Iterator[str]:
    """Yield what differs from SHA256SUMS, file by file."""
    listed: dict[str, str] = {}
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    for number, row in enumerate(text.splitlines(), start=1):
        match = SUM.fullmatch(row)
        if match is None:
            yield f"{SUMS}: line {number} is no checksum"
            continue
        if match[2] in listed:
            yield f"{SUMS}: {match[2]} is listed twice"
        listed[match[2]] = match[1]
    here = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    for name, path in here.items():
        if path.is_symlink():
            yield f"{name}: a link, which no bundle holds"
        elif not path.is_dir() and name not in listed and name != SUMS:
            yield f"{name}: not listed in {SUMS}"
    for name, value in listed.items():
        place = here.get(name)
        if place is None or not place.is_file():
            yield f"{name}: missing"
        elif not place.is_symlink() and canonical.file_digest(place) != value:
            yield f"{name}: its bytes are not those of {SUMS}"


def _artifacts(folder: Path, lineage: Mapping[str, Any], lock: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the files of an artifact are not what its lock entry records."""
    held = {README, LINEAGE, LICENCES, LOCK, SUMS}
    places = []
    for one in lineage["artifacts"]:
        entry = chains.entry_of(lock, one["fingerprint"])
        outs = chains.outs(lock[entry]) if entry else {}
        if outs.get(one["path"]) != one["md5"] or not one["md5"]:
            yield f"{one['path']}: {LOCK} records no such output of md5 {one['md5']}"
        for path, md5 in outs.items():
            places.append(path)
            now = md5_of(folder / path)
            if now != md5:
                yield f"{path}: its md5 is {now}, and {entry} made {md5}"
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        known = name in held or name.startswith(f"{EVIDENCE}/")
        if file.is_file() and not known and not _below(name, places):
            yield f"{name}: part of no artifact of the bundle"


def _below(name: str, places: list[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def md5_of(path: Path) -> str | None:
    """Return the hash of a file or folder as DVC computes it, every byte read; None if absent."""
    if path.is_file():
        return canonical.file_digest(path, "md5")
    if not path.is_dir():
        return None
    rows = [(name, canonical.file_digest(file, "md5")) for name, file in hashes.files(path)]
    return hashes.combined(rows, True)


def _proofs(folder: Path, lineage: Mapping[str, Any], lock: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the ancestry does not follow from the lock entries and the evidence."""
    evidence = chains.Evidence(folder / EVIDENCE)
    yield from evidence.problems()
    yield from chains.problems(lineage, lock, evidence)
    terms = licences_text(lineage)
    path = folder / LICENCES
    if not path.is_file() or path.read_text(encoding="utf-8") != terms:
        yield f"{LICENCES}: it does not say what {LINEAGE} says"


def licences_text(lineage: Mapping[str, Any]) -> str:
    """Return LICENCES.md: what the lineage says of sources, licences and conflicts."""
    told = lineage["licences"]
    names = ", ".join(told["licences"]) or "none stated"
    rows = ["# Licences", "", f"Licences of the material: {names}."]
    if told["obligations"]:
        rows.append(f"They ask for: {', '.join(told['obligations'])}.")
    rows += [f"Conflict: {text}." for text in told["conflicts"]]
    if lineage["private"]:
        rows.append("This bundle is private: it may not be given on.")
    rows += ["", "| source | licence | origin |", "| --- | --- | --- |"]
    for one in lineage["sources"]:
        licence = one["licence"] or f"none stated ({one['licence_reason'] or 'and no reason'})"
        made = " (synthetic)" if one["synthetic"] else ""
        cells = (f"`{one['path']}`", licence, f"{one['origin']}{made}")
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    rows += ["", "A reading of well-known licences to warn by, and no legal advice."]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
