"""Remotes: results found by what made them, fetched before anything is computed, never on trust.

A remote is laid out as DVC's own, so that plain `dvc pull` reads it too, with one folder more:

    files/md5/<2>/<30>                     contents by MD5 (DVC)
    runs/<2>/<key>/<value>                 the run cache's records (DVC; must be listed to be found)
    deveno/runs/<2>/<fingerprint>.json     the same by fingerprint: one plain GET, also over HTTP
    deveno/index.json                      all fingerprints, for where nothing can be listed

An object enters the local cache only after its bytes were hashed; a record only if its own key and
value say what it says. A dead remote is a warning, once, and then no longer asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from stages.core import addresses, canonical, fingerprint, plan, references, transports, yamlfile
from stages.core.errors import ArtifactError, DevenoError, MachineError, ParamsError
from stages.core.hashes import Hashes
from stages.core.transports import Transport, Unreachable

OBJECTS, RUNS, BY_FINGERPRINT, INDEX = "files/md5", "runs", "deveno/runs", "deveno/index.json"
SIZES = ("size", "nfiles")
"""What DVC leaves out when it hashes a record (dvc.stage.cache._get_cache_hash)."""
PARALLEL = 8
CACHE_MODE = 0o444
"""DVC trusts a read-only object without reading it; that is why it is read here before."""

_logger = logging.getLogger("deveno.remotes")
Warn = Callable[[str], None]
Before = Callable[[str, threading.Event], None]
"""Called with an entry that is about to run and with what tells that the walk is being stopped."""


@dataclass(frozen=True)
class Result:
    """What the run cache holds of one execution: the lock entry as `dvc.lock` has it."""

    body: Mapping[str, Any]

    @property
    def outs(self) -> dict[str, str]:
        """The outputs' hashes by path."""
        return {path: value for path, value in plan.outs(self.body).items() if value}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what was asked."""
        return fingerprint.digest(fingerprint.from_lock(self.body))

    @property
    def key(self) -> str:
        """DVC's key of what was asked: command, dependencies, params and output paths."""
        bare = _bare(self.body)
        return _digest({**bare, "outs": [row["path"] for row in self.body.get("outs", [])]})

    @property
    def value(self) -> str:
        """DVC's name of the answer: the same with the outputs' hashes."""
        return _digest(_bare(self.body))

    @property
    def place(self) -> str:
        """Where a run cache keeps it."""
        return f"{RUNS}/{self.key[:2]}/{self.key}/{self.value}"


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _bare(item) for name, item in value.items() if name not in SIZES}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def object_path(md5: str) -> str:
    """Return where a remote or a cache keeps an object, from its root."""
    return f"{OBJECTS}/{md5[:2]}/{md5[2:]}"


def wanted() -> bool:
    """Return whether runs and plans ask the default remote (DEVENO_REMOTE=off: they do not)."""
    return os.environ.get("DEVENO_REMOTE", "on").lower() not in ("off", "0", "false", "no")


def default(root: Path, warn: Warn | None = None) -> Remote | None:
    """Return the default remote for runs and plans, or None; a bad setting is a warning here."""
    if not wanted():
        return None
    told = warn or _logger.warning
    try:
        settings = addresses.configured(root)
        return opened(root, settings, told) if settings else None
    except DevenoError as error:
        told(f"warning: no remote is asked: {error.what} ({error.where})")
        return None


def named(root: Path, name: str | None) -> Remote:
    """Return the remote of that name, or the default one; refused where there is none."""
    settings = addresses.configured(root, name)
    if settings is None:
        raise ParamsError(
            "no default remote is configured",
            ".dvc/config",
            "`dvc remote add -d NAME URL` (a folder, s3://bucket/path or http://host/path)",
        )
    remote = opened(root, settings)
    remote.strict = True
    return remote


def opened(root: Path, settings: addresses.Settings, warn: Warn | None = None) -> Remote:
    """Return a remote that is ready to be asked; nothing is contacted yet."""
    transport = transports.opened(settings)
    return Remote(settings.name, transport, root, warn or _logger.warning)


class Remote:
    """One remote as seen from one workspace."""

    def __init__(self, name: str, transport: Transport, root: Path, warn: Warn) -> None:
        self.name, self.transport, self.root, self.warn = name, transport, root, warn
        self.cache = plan.cache_folder(root)
        self.dead: str | None = None
        self.strict = False
        """Asked for by name: then a dead remote is an error, no warning."""
        self.stopping = threading.Event()
        self._results: dict[str, list[Result]] = {}
        self._listings: dict[str, bytes] = {}
        self._telling = threading.Lock()

    def find(
        self, fingerprint_: str, key: str, known: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any] | None:
        """Return a record that answers a key and whose objects are there; None, never an error.

        `known` are records that we have and whose objects we lack.
        """
        try:
            if self.dead is None:
                told = [one.body for one in self.results(fingerprint_) if one.key == key]
                return next((body for body in [*told, *known] if self._holds(body)), None)
        except Unreachable as error:
            if self.strict:
                raise
            self.give_up(error)
        return None

    def give_up(self, error: Unreachable) -> None:
        """Say once that the remote is dead; it is asked no more."""
        with self._telling:
            if self.dead is None:
                self.dead = str(error)
                self.warn(f"warning: the remote {self.name!r} is not asked any more: {error}")

    def results(self, fingerprint_: str) -> list[Result]:
        """Return the results of a fingerprint, newest first; a damaged record is left out."""
        if fingerprint_ not in self._results:
            path = f"{BY_FINGERPRINT}/{fingerprint_[:2]}/{fingerprint_}.json"
            data = self.transport.read(path)
            found = self._read(data, fingerprint_, path) if data is not None else []
            self._results[fingerprint_] = found
        return self._results[fingerprint_]

    def _read(self, data: bytes, fingerprint_: str, path: str) -> list[Result]:
        try:
            rows = json.loads(data)["records"]
            found = [(Result(row["record"]), row["value"]) for row in rows]
            good = [one for one, value in found if one.value == value]
            good = [one for one in good if one.fingerprint == fingerprint_]
        except (ValueError, KeyError, TypeError, AttributeError):
            rows, good = [None], []
        if len(good) < len(rows):
            self.warn(f"warning: a record in the remote {self.name!r} is damaged: {path}: refused")
        return good

    def _holds(self, body: Mapping[str, Any]) -> bool:
        """Return whether every output is here or there."""
        for value in Result(body).outs.values():
            if value.endswith(".dir"):
                try:
                    self.listing(value)
                except ArtifactError as error:
                    self.warn(f"warning: {error.what}")
                    return False
            elif (
                not (self.cache / object_path(value)).exists()
                and self.transport.size(object_path(value)) is None
            ):
                return False
        return True

    def listing(self, value: str) -> list[dict[str, str]]:
        """Return the rows of a folder's listing, from the cache or the remote; checked."""
        if value not in self._listings:
            place = self.cache / object_path(value)
            data = place.read_bytes() if place.exists() else None
            if data is None or not _is(data, value):
                data = self.transport.read(object_path(value))
            if data is None:
                raise self._missing(value, "a folder's listing")
            if not _is(data, value):
                raise self._corrupt(value, "a folder's listing")
            self._listings[value] = data
        rows: list[dict[str, str]] = json.loads(self._listings[value])
        return rows

    def fetch(self, body: Mapping[str, Any]) -> int:
        """Bring a result's objects and record into the cache; return the objects that came.

        Listings come last and the record after them: what names an object never comes before it.
        """
        result = Result(body)
        files, folders = self.objects(result.outs)
        came = self.take(files) + self.take(folders)
        self.install(result)
        return came

    def objects(self, outs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the paths of files and of folder listings by hash."""
        files: dict[str, str] = {}
        folders: dict[str, str] = {}
        for path, value in outs.items():
            if value.endswith(".dir"):
                folders[value] = path
                for row in self.listing(value):
                    files[row["md5"]] = f"{path}/{row['relpath']}"
            else:
                files[value] = path
        return files, folders

    def take(self, wanted_: Mapping[str, str]) -> int:
        """Bring what the cache lacks of these objects; return how many came."""
        lacking = [
            (value, path)
            for value, path in wanted_.items()
            if not (self.cache / object_path(value)).exists()
        ]
        with ThreadPoolExecutor(PARALLEL) as pool:
            return sum(pool.map(lambda row: self._take(*row), lacking))

    def _take(self, value: str, path: str) -> int:
        """Put one object into the cache, from the workspace if it is there, else from the remote.

        It goes by another name until its bytes are hashed.
        """
        place = self.cache / object_path(value)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        own = self.root / path
        local = own.is_file() and Hashes(self.root).of(path) == value
        try:
            with temporary.open("wb") as stream:
                if local:
                    stream.write(own.read_bytes())
                elif not self.transport.download(object_path(value), Stoppable(stream, self)):
                    raise self._missing(value, path)
            if canonical.file_digest(temporary, "md5") != value.removesuffix(".dir"):
                raise self._corrupt(value, path)
            temporary.chmod(CACHE_MODE)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        return 0 if local else 1

    def install(self, result: Result) -> None:
        """Put a result's record into the local run cache, where DVC and the planner look."""
        place = self.cache / result.place
        if not place.exists():
            canonical.write_text(place, yamlfile.dump(dict(result.body)))

    def _missing(self, value: str, path: str) -> ArtifactError:
        return ArtifactError(
            f"the remote {self.name!r} has no object {value} ({path})",
            f"remote {self.name}: {object_path(value)}",
            "push it from a clone that has it, or make it: `deveno run`",
        )

    def _corrupt(self, value: str, path: str) -> ArtifactError:
        return ArtifactError(
            f"the remote {self.name!r} holds other bytes for {path} than its name {value} says",
            f"remote {self.name}: {object_path(value)}",
            "refused; `deveno run` makes it again, `deveno push --force` then mends the remote",
        )


def _is(data: bytes, value: str) -> bool:
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == value.removesuffix(".dir")


class Stoppable:
    """A file that takes no more once its remote was told to stop: a long download then ends."""

    def __init__(self, stream: BinaryIO, remote: Remote) -> None:
        self.stream, self.remote = stream, remote

    def write(self, data: Any) -> int:
        """Write, or break off."""
        if self.remote.stopping.is_set():
            raise Unreachable("stopped on request")
        return self.stream.write(data)


class Restorer:
    """Asks the remote for an entry that is about to run; whatever goes wrong, it is computed."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root, self.remote = root, remote
        self.graph = references.load(root)

    def before(self, name: str, stopping: threading.Event) -> None:
        """Fetch an entry's result if the remote has it and nobody here has."""
        self.remote.stopping = stopping
        if self.remote.dead is not None or name not in self.graph:
            return
        try:
            step = plan.Planner(self.root, self.graph, frozenset(), self.remote).step(
                self.graph[name]
            )
            if step.remote and step.record is not None:
                self.remote.fetch(step.record)
        except Unreachable as error:
            self.remote.give_up(error)
        except (DevenoError, OSError) as error:
            what = error.what if isinstance(error, DevenoError) else str(error)
            self.remote.warn(f"warning: {what}; {name} is computed instead")


def restorer(root: Path, remote: Remote | None) -> Before | None:
    """Return what a walk calls before each entry, or None without a remote."""
    return Restorer(root, remote).before if remote is not None else None


def unreachable(remote: Remote, error: Unreachable) -> MachineError:
    """Return a dead remote as an error, for who asked for it by name."""
    return MachineError(
        f"the remote {remote.name!r} cannot be used: {error}",
        f".dvc/config: remote {remote.name}",
        "start it, or correct its address: `dvc remote list`, `dvc remote modify`",
    )
