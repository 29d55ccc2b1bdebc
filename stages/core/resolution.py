"""What a path, a hash or an entry means among the records.

Tried in order: an entry's name, `REV:path`, a path in the workspace, the content of a file or
folder that lies anywhere, a bundle, a hash or a unique beginning of one. MLflow is asked last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import canonical, hashes, lockfiles, registry, tracked_models
from stages.core.errors import ArtifactError, UnknownEntryError
from stages.core.records import COMMIT, WORKSPACE, Place, Record, Records

HEX = re.compile(r"[0-9a-f]{8,64}(\.dir)?")
EXPERIMENTS = "refs/exps"
BUNDLE_FILE = "lineage.json"


@dataclass(frozen=True)
class Found:
    """A resolved artifact: who made it, which output it is, and the file inside it if one is."""

    record: Record
    path: str
    md5: str
    member: str = ""


def resolve(records: Records, target: str) -> Found:
    """Return the artifact that a target means, or say in three lines what is not known of it."""
    if not target.strip():
        raise UnknownEntryError(
            "no target is named", "an empty word", "name an entry, a path or a hash"
        )
    for attempt in (_entry, _revision, _path, _hash, _tracked):
        found = attempt(records, target)
        if found is not None:
            return _inside(records, found)
    known = sorted({*records.by_entry, *(path for path, _ in records.by_out)})
    near = registry.near(target, known)
    raise UnknownEntryError(
        f"nothing that was ever recorded here is called {target!r}",
        "dvc.lock of the workspace and of every commit, the run cache, the journals, MLflow",
        near if len(near) < 300 else "`deveno list` shows the entries and their artifacts",
    )


def _entry(records: Records, target: str) -> Found | None:
    """Return the first output of an entry in force (`pretrain@eo`, or a key that is unique)."""
    record = records.current(target)
    if record is None:
        named = [name for name in records.locks[WORKSPACE] if name.partition("@")[2] == target]
        if len(named) > 1:
            raise UnknownEntryError(
                f"{len(named)} entries are called {target!r}",
                f"dvc.lock: {', '.join(sorted(named))}",
                f"write the stage too, such as {sorted(named)[0]}",
            )
        record = records.current(named[0]) if named else None
    return _first(record) if record else None


def _first(record: Record) -> Found:
    """Return the output of a record that is its artifact: the first that is not a metric."""
    paths = [path for path in record.outs if not path.startswith(("metrics/", "plots/"))]
    path = next(iter(paths or record.outs), None)
    if path is None:
        raise UnknownEntryError(
            f"{record.entry} has no output, so there is no artifact of it",
            "dvc.lock",
            "name an entry that writes something",
        )
    return Found(record, path, record.outs[path])


def _inside(records: Records, found: Found) -> Found:
    """Return what was found, or say that the artifact never held such a file."""
    listing = records.listing(found.md5)
    if not found.member or listing is None:
        return found
    names = [name for name, _ in listing]
    if any(
        name == found.member or name.startswith(found.member.rstrip("/") + "/") for name in names
    ):
        return found
    raise UnknownEntryError(
        f"{found.path} of {found.record.entry} never held {found.member!r}",
        found.path,
        registry.near(found.member, names[:50]),
    )


def _revision(records: Records, target: str) -> Found | None:
    """Return what `REV:path` or `REV:entry` was at a commit."""
    revision, colon, rest = target.partition(":")
    if not colon or not rest:
        return None
    commit = commit_named(records.root, revision)
    if not commit:
        return None
    lock = lock_at(records, commit)
    if rest in lock:
        return _first(lock[rest])
    for record in lock.values():
        for path, md5 in record.outs.items():
            member = _member(path, rest)
            if member is not None:
                return Found(record, path, md5, member)
    raise UnknownEntryError(
        f"{rest!r} is no output at {revision}",
        f"dvc.lock of {commit[:12]}",
        registry.near(rest, [*lock, *(path for one in lock.values() for path in one.outs)]),
    )


def commit_named(root: Path, name: str) -> str | None:
    """Return the commit that a revision or the name of a DVC experiment means, or None."""
    if not name or name.startswith("-"):
        return None
    found = lockfiles.git(root, "rev-parse", "--verify", "-q", f"{name}^{{commit}}").strip()
    if found:
        return found
    rows = lockfiles.git(
        root, "for-each-ref", "--format=%(refname) %(objectname)", EXPERIMENTS
    ).splitlines()
    named = dict(row.split(" ") for row in rows)
    hits = sorted({commit for ref, commit in named.items() if ref.rsplit("/", 1)[-1] == name})
    if len(hits) > 1:
        near = [ref for ref in named if ref.endswith(f"/{name}")]
        raise UnknownEntryError(
            f"{len(hits)} experiments are called {name!r}",
            ", ".join(near[:4]),
            registry.near(near[0], near),
        )
    return hits[0] if hits else None


def lock_at(records: Records, commit: str) -> dict[str, Record]:
    """Return the entries of a commit's dvc.lock, which an older commit may have brought."""
    if commit not in records.locks:
        last = lockfiles.git(records.root, "log", "-1", "--format=%H", commit, "--", "dvc.lock")
        known = records.locks.get(last.strip())
        if known is None:
            raise UnknownEntryError(
                f"{commit[:12]} has no dvc.lock", "git", "name a commit that has one"
            )
        for record in known.values():
            record.places.append(Place(COMMIT, commit))
        records.locks[commit] = known
    return records.locks[commit]


def _member(path: str, wanted: str) -> str | None:
    """Return where below an output a path is: empty for the output itself, None for elsewhere."""
    if wanted == path:
        return ""
    return wanted.removeprefix(path + "/") if wanted.startswith(path + "/") else None


def _path(records: Records, target: str) -> Found | None:
    """Return what a path is: an output in force, else whatever has its content."""
    try:
        given = Path(target).expanduser()
    except RuntimeError:  # ~nobody
        given = Path(target)
    places = [given] if given.is_absolute() else [Path.cwd() / given, records.root / given]
    place = next((one for one in places if one.exists()), None)
    if place is None:
        return _vanished(records, target)
    place = place.resolve()
    if (place / BUNDLE_FILE).is_file():
        return _bundle(records, place)
    inside = place.is_relative_to(records.root.resolve())
    name = place.relative_to(records.root.resolve()).as_posix() if inside else ""
    found = _in_force(records, name) if inside else None
    found = found or _content(records, place)
    if found is None and inside:  # a file inside of what MLflow alone remembers
        found = _in_force(records, name)
    if found is not None:
        return found
    return _changed(records, place, target, inside)


def _in_force(records: Records, name: str) -> Found | None:
    """Return the record whose output lies at a path of the workspace, if its bytes are that."""
    known = hashes.Hashes(records.root)
    for path in _outputs(records):
        member = _member(path, name)
        if member is None:
            continue
        md5 = known.of(path)
        made = records.maker(path, md5) if md5 else None
        if made is not None and md5 is not None:
            return Found(made, path, md5, member)
    return None


def _outputs(records: Records) -> list[str]:
    return sorted({path for path, _ in records.by_out})


def _vanished(records: Records, target: str) -> Found | None:
    """Return the newest record of an output that is not there any more."""
    name = target.rstrip("/").removeprefix("./")
    for (path, md5), made in records.by_out.items():
        member = _member(path, name)
        if member is not None:
            return Found(made[0], path, md5, member)
    return None


def _content(records: Records, place: Path) -> Found | None:
    """Return the record that made something with exactly these bytes."""
    from stages.core import specimens

    md5 = specimens.digest(records, place)
    found = _by_md5(records, md5) if md5 else None
    if found is None and tracked_models.recall(records):  # of other sizes, perhaps
        md5 = specimens.digest(records, place)
        found = _by_md5(records, md5) if md5 else None
    return found


def _by_md5(records: Records, md5: str) -> Found | None:
    for (path, value), made in records.by_out.items():
        if value == md5:
            return Found(made[0], path, value)
    for (path, value), made in records.by_out.items():
        for name, one in (value.endswith(".dir") and records.listing(value)) or []:
            if one == md5:
                return Found(made[0], path, value, name)
    return None


def _changed(records: Records, place: Path, target: str, inside: bool) -> Found:
    """Say of something that lies there and that nobody made what it should be."""
    if inside:
        name = place.relative_to(records.root.resolve()).as_posix()
        for path in _outputs(records):
            if _member(path, name) is not None:
                maker = next(made for (out, _), made in records.by_out.items() if out == path)[0]
                raise ArtifactError(
                    f"{path} is not what any recorded run made: its bytes were changed since",
                    f"last made by {maker.entry}, md5 {maker.outs[path]}",
                    f"`deveno lineage {maker.outs[path].removesuffix('.dir')}` shows the recorded "
                    f"one; `deveno run {maker.entry}` makes it again",
                )
    raise UnknownEntryError(
        f"nothing that was ever recorded here has the bytes of {target!r}",
        str(target),
        "name an artifact below data/, models/ or reports/, or copy one unchanged",
    )


def _bundle(records: Records, folder: Path) -> Found:
    """Return the artifact of a bundle, as its own lineage tells it where nothing here does."""
    try:
        told = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = list(told["entries"])
        entry = str(rows[-1]["entry"])
        lock = (folder / "dvc.lock").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ArtifactError(
            f"the bundle's lineage cannot be read: {error}",
            str(folder / BUNDLE_FILE),
            "`deveno verify` says what is wrong with it",
        ) from None
    last = records.add_bundle(folder.name, lock).get(entry)
    if last is None:
        raise ArtifactError(
            f"the bundle's dvc.lock has no entry {entry}",
            str(folder / "dvc.lock"),
            "`deveno verify` says what is wrong with it",
        )
    return _first(last)


def _hash(records: Records, target: str) -> Found | None:
    """Return what a hash names: an output, a file inside one, a fingerprint, a source's sha256."""
    if not HEX.fullmatch(target):
        return None
    wanted = target.removesuffix(".dir")
    found = list(_unique(_hits(records, wanted)))
    if not found:
        records.settle()
        found = list(_unique(_fingerprints(records, wanted)))
    if not found:
        found = list(_unique(_sha256(records, wanted)))
    if not found:
        found = tracked_models.by_hash(records, wanted)
    hashes_found = {(one.md5, one.member) for one in found}
    if len(hashes_found) > 1 and len(wanted) not in (32, 64):  # a whole hash names one content
        raise UnknownEntryError(
            f"{len(hashes_found)} artifacts have a hash that begins with {target}",
            ", ".join(sorted({one.path for one in found})[:5]),
            "write more of its digits",
        )
    return found[0] if found else None


def _hits(records: Records, wanted: str) -> Iterator[Found]:
    for (path, md5), made in records.by_out.items():
        if md5.startswith(wanted):
            yield Found(made[0], path, md5)
    for (path, md5), made in records.by_out.items():
        if md5.endswith(".dir"):
            for name, one in records.listing(md5) or []:
                if one.startswith(wanted):
                    yield Found(made[0], path, md5, name)


def _fingerprints(records: Records, wanted: str) -> Iterator[Found]:
    for record in records.all:
        if record.fingerprint.startswith(wanted):
            yield _first(record)


def _sha256(records: Records, wanted: str) -> Iterator[Found]:
    """Yield the raw files whose manifest names a sha256, then outputs that have it now."""
    if len(wanted) < 16:
        return
    from stages.core.licences import manifest

    for (path, md5), made in records.by_out.items():
        if not path.startswith("data/raw/"):
            continue
        told = manifest(records, path, md5) or {}
        if str(told.get("content_sha256", "")).startswith(wanted):
            yield Found(made[0], path, md5)
        for row in [*told.get("files", []), *told.get("truth", [])]:
            if str(row.get("sha256", "")).startswith(wanted):
                yield Found(made[0], path, md5, str(row["path"]))
    for record in records.locks[WORKSPACE].values():
        for path, md5 in record.outs.items():
            place = records.root / path
            files = hashes.files(place) if place.is_dir() else [("", place)]
            for name, file in files:
                if file.is_file() and canonical.file_digest(file).startswith(wanted):
                    yield Found(record, path, md5, name)


def _tracked(records: Records, target: str) -> Found | None:
    """Return what MLflow alone remembers of a path, an entry, a key or the name of a model."""
    given = Path(target)
    if given.is_absolute() and given.is_relative_to(records.root.resolve()):
        target = given.relative_to(records.root.resolve()).as_posix()
    found = tracked_models.by_name(records, target.rstrip("/").removeprefix("./"))
    if len(found) > 1:
        entries = sorted(one.record.entry for one in found)
        raise UnknownEntryError(
            f"{len(found)} entries are called {target!r}",
            f"MLflow: {', '.join(entries)}",
            f"write the stage too, such as {entries[0]}",
        )
    return found[0] if found else None


def _unique(found: Iterable[Found]) -> Iterator[Found]:
    seen = set()
    for one in found:
        if (one.path, one.md5, one.member) not in seen:
            seen.add((one.path, one.md5, one.member))
            yield one
