"""Damage: bytes that are not what their name or their record says.

Size and time of a file are what DVC and our planner look at, and DVC trusts whatever lies
write-protected in its cache; a flipped bit shows in neither. Here every byte is read: of the cache
(an object's name is its MD5), of the run cache (a record's name is the SHA-256 of its content), and
of the outputs that dvc.lock and `*.dvc` files record.

What is damaged is put out of the way: a cache object is written anew from a good copy in the
workspace or moved to `.deveno/damaged`, a file of the workspace gets a new time, by which every
remembered hash of it (ours and DVC's, both bound to the time) is forgotten. Then `plan` says what
will run and why, and both `deveno run` and `dvc repro` restore it or make it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import canonical, fingerprint, hashes, machine, plan, workspace, yamlfile
from stages.core.errors import ParamsError

Tell = Callable[[int, int], None]
"""Called with the bytes read so far and their total."""
OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")
RECORD = re.compile(r"[0-9a-f]{64}")
CACHE, RUN_CACHE, OUTPUT, SOURCE = "cache", "run cache", "output", "source"
UNREADABLE = "cannot be read"
PROTECTED = 0o444
"""The mode by which DVC knows a cache object that it need not look at again."""


@dataclass
class Damage:
    """One damaged file: where it is, what it should be and is, and what was done about it."""

    path: str
    kind: str
    recorded: str
    found: str
    files: list[Path] = field(default_factory=list)
    """The files of the workspace whose time must change."""
    out: str = ""
    """The recorded output that the file belongs to; empty for the cache."""
    done: str = ""


@dataclass(frozen=True)
class Output:
    """One recorded output that lies in the workspace."""

    path: str
    recorded: str
    kind: str


class Reading:
    """Everything that is recorded here, read once, by as many threads as there are cores."""

    def __init__(self, root: Path, tell: Tell | None = None) -> None:
        self.root, self.cache = root, plan.cache_folder(root)
        self.objects = {oid: path for path, oid in objects(self.cache)}
        self.records = list(records(self.cache))
        self.outputs = list(_outputs(root))
        files = [path for out in self.outputs for _, path in _files(root / out.path)]
        self.digests = digests([*self.objects.values(), *files], tell)

    def damages(self) -> list[Damage]:
        """Return all damage, the cache's first."""
        found = [
            Damage(self.named(path), CACHE, oid, self.digests[path])
            for oid, path in sorted(self.objects.items())
            if path in self.digests and self.digests[path] != oid.removesuffix(".dir")
        ]
        bad = {damage.recorded for damage in found}
        for path in self.records:
            name = record_name(path)
            if name != path.name:
                found.append(Damage(self.named(path), RUN_CACHE, path.name, name))
        for out in self.outputs:
            found += self._of_output(out, bad)
        return found

    def _of_output(self, out: Output, bad: set[str]) -> Iterator[Damage]:
        target = self.root / out.path
        rows = self.rows(out)
        now = hashes.combined(rows, target.is_dir()) if rows or target.is_dir() else out.recorded
        # Bytes that the cache knows are another version, which `plan` tells of; no bit flips so.
        if now == out.recorded or (now in self.objects and now not in bad):
            return
        listed = None
        if target.is_dir() and out.recorded in self.objects and out.recorded not in bad:
            listed = plan.members(self.cache, out.recorded)
        if listed is None:
            files = [path for _, path in _files(target)]
            yield Damage(out.path, out.kind, out.recorded, now, files, out.path)
            return
        have = dict(rows)
        for name in sorted(set(listed) | set(have)):
            if listed.get(name) != have.get(name):
                path = target / name
                told = have.get(name, "not there")
                touched = [path] if path.exists() else [path for _, path in _files(target)]
                recorded = listed.get(name, "nothing of that name")
                yield Damage(f"{out.path}/{name}", out.kind, recorded, told, touched, out.path)

    def rows(self, out: Output) -> list[tuple[str, str]]:
        """Return the files of an output with the hashes that were read."""
        found = _files(self.root / out.path)
        return [(name, self.digests[path]) for name, path in found if path in self.digests]

    def named(self, path: Path) -> str:
        """Return a path from the root, or as it is where the cache lies elsewhere."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def good(self) -> dict[str, bytes | Path]:
        """Return what the workspace can give back to the cache: files, and listings of folders."""
        found: dict[str, bytes | Path] = {}
        for out in self.outputs:
            files = [path for _, path in _files(self.root / out.path) if path in self.digests]
            found |= {self.digests[path]: path for path in files}
            rows = self.rows(out)
            if (self.root / out.path).is_dir() and hashes.combined(rows, True) == out.recorded:
                found[out.recorded] = hashes.listing(rows)
        return found


def mend(root: Path, reading: Reading, damages: Iterable[Damage]) -> None:
    """Put all damage out of the way, so that nothing calls it good any more."""
    good = reading.good()
    for damage in damages:
        if damage.kind == CACHE:
            path = reading.objects[damage.recorded]
            source = good.get(damage.recorded)
            if source is not None:
                _write_object(path, source)
                damage.done = "written anew from the good copy in the workspace"
            else:
                damage.done = f"moved to {put_aside(root, path)}"
        elif damage.kind == RUN_CACHE:
            place = put_aside(root, reading.cache / Path(*Path(damage.path).parts[-4:]))
            damage.done = f"moved to {place}"
        else:
            for file in damage.files:
                forget(file)
            damage.done = "its remembered hash is forgotten"


def put_aside(root: Path, path: Path) -> str:
    """Move a damaged cache object or record out of the cache; return where it is."""
    folder = workspace.state(root) / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{path.parent.name}{path.name}"
    shutil.move(path, place)
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # where it was the last: an empty folder of records means none
    return place.relative_to(workspace.home(root)).as_posix()


def forget(path: Path) -> None:
    """Give a file another time: every remembered hash of it, ours and DVC's, is then void."""
    facts = path.stat()
    now = time.time_ns()
    changed = now if now != facts.st_mtime_ns else now + 1
    os.utime(path, ns=(facts.st_atime_ns, changed))


def faults(root: Path, name: str) -> list[str]:
    """Read again what dvc.lock says an entry made; put damage out of the way and return it.

    For an entry that DVC did not run: it does not look at what it restores.
    """
    cache, found = plan.cache_folder(root), []
    for path, oid in _made(root, name).items():
        target = root / path
        files = _files(target)
        read = digests([file for _, file in files])
        rows = [(file, read[place]) for file, place in files if place in read]
        whole = hashes.combined(rows, target.is_dir()) if rows else None
        if oid is None or whole == oid:
            continue
        if whole is not None:
            found.append(f"{path} is not what {name} made")
        for place in damaged_objects(cache, oid):
            found.append(f"the cache's object {place.parent.name}{place.name} is damaged")
            put_aside(root, place)
        for _, file in files:
            forget(file)
    return found


def damaged_lists(root: Path) -> list[str]:
    """Put aside every damaged list of a folder in the cache; return their hashes.

    DVC takes some for absent and yet never writes them anew, so the folder could never be cached.
    """
    cache = plan.cache_folder(root)
    lists = {path: oid for path, oid in objects(cache) if oid.endswith(".dir")}
    read = digests(lists)
    bad = [
        path for path, oid in lists.items() if read.get(path, oid[:32]) != oid.removesuffix(".dir")
    ]
    for path in bad:
        put_aside(root, path)
    return [lists[path] for path in bad]


def damaged_objects(cache: Path, oid: str, before_s: float | None = None) -> list[Path]:
    """Return the damaged cache objects among an output's: itself and, of a folder, its files.

    With `before_s`, only objects that are older than that time are looked at.
    """
    path = plan.object_path(cache, oid)
    wanted = {path: oid.removesuffix(".dir")}
    if oid.endswith(".dir"):
        rows = plan.members(cache, oid)
        wanted |= {plan.object_path(cache, value): value for value in (rows or {}).values()}
    there = {place: place.stat().st_mtime for place in wanted if place.exists()}
    read = digests(place for place, at in there.items() if before_s is None or at < before_s)
    return sorted(place for place, value in read.items() if wanted[place] != value)


def heal(root: Path, name: str, began_s: float) -> list[str]:
    """Write damaged cache objects anew from what an entry has just made; return their hashes.

    DVC writes no object that is there already: where the same bytes were made again, what lay in
    the cache before stays, damaged or not.
    """
    cache, healed = plan.cache_folder(root), []
    for path, oid in _made(root, name).items():
        bad = damaged_objects(cache, oid, began_s) if oid else []
        good = digests([file for _, file in _files(root / path)]) if bad else {}
        sources = {value: file for file, value in good.items()}
        for place in bad:
            value = place.parent.name + place.name
            if value in sources:
                _write_object(place, sources[value])
                healed.append(value)
    return healed


def _made(root: Path, name: str) -> dict[str, str | None]:
    """Return what dvc.lock says an entry made; nothing where a full disk has torn it."""
    with contextlib.suppress(ParamsError):
        return plan.outs(fingerprint.locks(root).get(name) or {})
    return {}


def unlike(root: Path, paths: Iterable[str], known: hashes.Hashes) -> list[str]:
    """Return the files below some paths whose bytes are not what `known` remembers; forget those.

    What `known` has itself read in this process is not read again.
    """
    found = []
    for path in paths:
        trusted = [file for _, file in _files(root / path) if file not in known.read]
        read = digests(trusted)
        for file in trusted:
            if file in read and read[file] != known.file(file):
                forget(file)
                found.append(file.relative_to(root).as_posix())
    return found


def digests(paths: Iterable[Path], tell: Tell | None = None) -> dict[Path, str]:
    """Return the MD5 of each file that is there; two links to one file are read once."""
    files: dict[tuple[int, int], list[Path]] = {}
    sizes: dict[tuple[int, int], int] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            files.setdefault((facts.st_dev, facts.st_ino), []).append(path)
            sizes[facts.st_dev, facts.st_ino] = facts.st_size
    found: dict[Path, str] = {}
    done, total = 0, sum(sizes.values())
    order = sorted(files, key=lambda key: -sizes[key])  # the longest first: no core waits for it

    def read(key: tuple[int, int]) -> tuple[tuple[int, int], str | None]:
        try:
            return key, canonical.file_digest(files[key][0], "md5")
        except FileNotFoundError:
            return key, None
        except OSError as error:
            return key, f"{UNREADABLE} ({error.strerror})"

    with ThreadPoolExecutor(max_workers=max(1, machine.cores())) as pool:
        for key, value in pool.map(read, order):
            done += sizes[key]
            if tell is not None:
                tell(done, total)
            if value is not None:
                found |= dict.fromkeys(files[key], value)
    return found


def objects(cache: Path) -> Iterator[tuple[Path, str]]:
    """Yield the objects of a cache with the hash that each is named by."""
    for folder in sorted((cache / "files" / "md5").glob("[0-9a-f][0-9a-f]")):
        for path in sorted(folder.iterdir()):
            if OBJECT.fullmatch(path.name):
                yield path, folder.name + path.name


def records(cache: Path) -> Iterator[Path]:
    """Yield the records of DVC's run cache."""
    for path in sorted((cache / "runs").glob("[0-9a-f][0-9a-f]/*/*")):
        if RECORD.fullmatch(path.name):
            yield path


def record_name(path: Path) -> str:
    """Return the name that a run-cache record's content asks for (dvc.utils.dict_sha256)."""
    try:
        content = yamlfile.plain(yamlfile.read(path))
    except ParamsError as error:
        return error.what
    except OSError as error:
        return f"{UNREADABLE} ({error.strerror})"
    bare = _without(content, ("size", "nfiles"))
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode("utf-8")).hexdigest()


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    if isinstance(value, list):
        return [_without(item, names) for item in value]
    return value


def _outputs(root: Path) -> Iterator[Output]:
    """Yield what dvc.lock and the `*.dvc` files record and the workspace holds."""
    for recorded in fingerprint.locks(root).values():
        yield from _recorded(root, recorded, "", OUTPUT)
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--", "*.dvc"], capture_output=True, check=False
    )
    for name in listed.stdout.decode("utf-8", "replace").split("\0"):
        if name and (root / name).is_file():
            row = yamlfile.plain(yamlfile.read(root / name))
            yield from _recorded(root, row, str(Path(name).parent), SOURCE)


def _recorded(root: Path, row: Mapping[str, Any], folder: str, kind: str) -> Iterator[Output]:
    for out in row.get("outs", []):
        path = (Path(folder) / str(out.get("path"))).as_posix()
        # Without `hash: md5` it was hashed as DVC 2 did, which is another function for texts.
        known = out.get("md5") and out.get("hash") == "md5" and "://" not in path
        if known and (root / path).exists():
            yield Output(path, str(out["md5"]), kind)


def _files(target: Path) -> list[tuple[str, Path]]:
    with contextlib.suppress(FileNotFoundError):
        if target.is_dir():
            return hashes.files(target)
    return [("", target)] if target.exists() else []


def _write_object(path: Path, source: bytes | Path) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if isinstance(source, bytes):
            temporary.write_bytes(source)
        else:
            shutil.copyfile(source, temporary)
        temporary.chmod(PROTECTED)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
