"""Sending: results with everything they name, each object hashed again before it goes.

DVC's cache may hold a damaged object that DVC itself calls good (a linked output somebody appended
to): it is named and stays here, with the records that name it; everything else is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import adoption, canonical, fingerprint, references, yamlfile
from stages.core.errors import ArtifactError, MachineError, ParamsError
from stages.core.hashes import Hashes
from stages.core.remotes import (
    BY_FINGERPRINT,
    INDEX,
    PARALLEL,
    RUNS,
    Remote,
    Result,
    object_path,
    unreachable,
)
from stages.core.transports import Unreachable


@dataclass
class Sent:
    """What a push did."""

    objects: int = 0
    size_bytes: int = 0
    records: int = 0
    results: int = 0
    """How many results the remote now has of those that were asked for."""
    incomplete: list[str] = field(default_factory=list)
    """Results whose objects are not all here: they cannot be sent."""
    corrupt: list[str] = field(default_factory=list)
    """Objects whose bytes are not what their name says."""


def push(root: Path, remote: Remote, targets: list[str], force: bool = False) -> Sent:
    """Send what the targets stand on (all of the run cache without targets); `force`: all again."""
    if not remote.transport.writable:
        raise ParamsError(
            f"the remote {remote.name!r} can only be read (HTTP)",
            f".dvc/config: remote {remote.name}",
            "push to the folder or bucket that the server shows: `deveno push --remote NAME`",
        )
    outbox = Outbox(root, remote, force)
    try:
        remote.transport.begin()
        return outbox.send(*outbox.chosen(targets))
    except Unreachable as error:
        raise unreachable(remote, error) from None


class Outbox:
    """One push."""

    def __init__(self, root: Path, remote: Remote, force: bool) -> None:
        self.root, self.remote, self.force = root, remote, force
        self.cache, self.transport = remote.cache, remote.transport
        self.hashes = Hashes(root)
        self.sent = Sent()
        self._bad: set[str] = set()

    def chosen(self, targets: list[str]) -> tuple[dict[str, Result], dict[str, str]]:
        """Return the results to send by what they are called, and tracked data (hash by path)."""
        locks = fingerprint.locks(self.root)
        graph = references.load(self.root)
        wanted = set(graph)
        if targets:
            chosen = references.select(graph, targets)
            for name in sorted(chosen - set(locks)):
                raise ArtifactError(
                    f"{name} has no result here", "dvc.lock", f"run `deveno run {name}` first"
                )
            wanted = references.ancestors(graph, chosen)
        named = {
            name: Result(body)
            for name, body in locks.items()
            if body.get("deps") and body.get("outs") and (not targets or name in wanted)
        }
        known = {one.place for one in named.values()}
        if not targets:
            for one in self._run_cache():
                if one.place not in known:
                    named[f"an earlier result of {_called(one)} ({one.fingerprint[:8]})"] = one
        read = {path for name in wanted if name in graph for path in graph[name].reads.values()}
        return named, tracked(self.root, read if targets else read | everywhere(self.root))

    def _run_cache(self) -> Iterable[Result]:
        for path in sorted((self.cache / RUNS).glob("*/*/*")):
            if path.name.startswith(".") or len(path.name) != 64:
                continue
            one = Result(yamlfile.plain(yamlfile.read(path)))
            if one.place == path.relative_to(self.cache).as_posix():
                yield one
            else:
                self.sent.corrupt.append(path.relative_to(self.cache).as_posix())

    def send(self, results: Mapping[str, Result], data: Mapping[str, str]) -> Sent:
        """Send objects, then listings, then the records that name them."""
        whole: dict[str, Result] = {}
        files: dict[str, str] = {}
        folders: dict[str, str] = {}
        for path, value in data.items():
            found = self._found({path: value})
            if found is None:
                self.sent.incomplete.append(f"{path} (as {path}.dvc records it)")
            else:
                files |= found[0]
                folders |= found[1]
        for name, one in results.items():
            found = self._found(one.outs)
            if found is None:
                self.sent.incomplete.append(name)
                continue
            whole[name] = one
            files |= found[0]
            folders |= found[1]
        self._send_all(files)
        self._send_all(folders)
        good = [one for one in whole.values() if not self._tainted(one)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            self.sent.records = sum(pool.map(self._record, good))
        self.sent.results = len(good)
        if self.sent.records:
            self._index({one.fingerprint for one in good})
        return self.sent

    def _found(self, outs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return an output's objects by hash, or None where one of them is not here."""
        for value in outs.values():
            if value.endswith(".dir") and not (self.cache / object_path(value)).exists():
                return None
        try:
            files, folders = self.remote.objects(outs)
        except ArtifactError:  # a listing whose bytes are wrong, and the remote has no other
            self.sent.corrupt += [object_path(one) for one in outs.values() if one.endswith(".dir")]
            return None
        missing = [value for value, path in files.items() if self._source(value, path) is None]
        return None if missing else (files, folders)

    def _source(self, value: str, path: str) -> Path | None:
        """Return where an object's bytes are: in the cache, or in the workspace."""
        place = self.cache / object_path(value)
        if place.exists():
            return place
        own = self.root / path
        return own if own.is_file() and self.hashes.of(path) == value else None

    def _send_all(self, objects: Mapping[str, str]) -> None:
        with ThreadPoolExecutor(PARALLEL) as pool:
            for size in pool.map(lambda row: self._send(*row), sorted(objects.items())):
                if size is not None:
                    self.sent.objects += 1
                    self.sent.size_bytes += size

    def _send(self, value: str, path: str) -> int | None:
        """Send one object unless it is there; return its size if it went."""
        source = self._source(value, path)
        if source is None:
            return None
        size = source.stat().st_size
        if not self.force and self.transport.size(object_path(value)) == size:
            return None
        md5 = value.removesuffix(".dir")
        if canonical.file_digest(source, "md5") != md5:
            self._bad.add(value)
            self.sent.corrupt.append(f"{object_path(value)} ({path})")
            return None
        self.transport.upload(object_path(value), source, md5)
        return size

    def _tainted(self, one: Result) -> bool:
        files, folders = self.remote.objects(one.outs)
        return bool(self._bad & (set(files) | set(folders)))

    def _record(self, one: Result) -> bool:
        """Send a result's record in both forms unless it is there; return whether it went."""
        path = f"{BY_FINGERPRINT}/{one.fingerprint[:2]}/{one.fingerprint}.json"
        others = self.remote.results(one.fingerprint)
        listed = self.transport.size(one.place) is not None
        if listed and any(other.place == one.place for other in others) and not self.force:
            return False
        own = self.cache / one.place
        text = own.read_bytes() if own.exists() else yamlfile.dump(dict(one.body)).encode()
        self.transport.write(one.place, text)
        rest = [other for other in others if other.place != one.place]
        rows = [{"value": each.value, "record": each.body} for each in (one, *rest)]
        self.transport.write(path, canonical.dumps({"records": rows}).encode())
        return True

    def _index(self, sent: set[str]) -> None:
        """Write the list of all fingerprints, for those who cannot list the remote."""
        names = self.transport.names(BY_FINGERPRINT) or []
        every = sent | {Path(name).stem for name in names if name.endswith(".json")}
        self.transport.write(INDEX, canonical.dumps({"fingerprints": sorted(every)}).encode())


def check(sent: Sent, remote: Remote) -> None:
    """Refuse in the end when something here is damaged."""
    if sent.corrupt:
        raise MachineError(
            f"{len(sent.corrupt)} damaged in the cache and not sent, nor what they are part of: "
            f"{', '.join(sorted(set(sent.corrupt))[:3])}",
            f"the cache ({remote.cache.name})",
            "`deveno doctor --deep` says what it taints; delete the object and `deveno run` again",
        )


def everywhere(root: Path) -> set[str]:
    """Return what `dvc add` tracks beside the artifacts, read by an entry or not."""
    found = [path for folder in ("", "data", "models") for path in (root / folder).glob("*.dvc")]
    return {
        path.relative_to(root).as_posix().removesuffix(".dvc") for path in found if path.is_file()
    }


def tracked(root: Path, read: Iterable[str]) -> dict[str, str]:
    """Return what `dvc add` tracks of the paths that entries read, or above: hashes by path."""
    every = {str(one) for path in read for one in (Path(path), *Path(path).parents[:-1])}
    found = {path: adoption.recorded_md5(root, path) for path in sorted(every)}
    return {path: value for path, value in found.items() if value}


def _called(one: Result) -> str:
    words: list[Any] = str(one.body.get("cmd", "")).split()
    return f"{words[-2]}@{words[-1]}" if len(words) >= 2 else str(one.body.get("cmd"))
