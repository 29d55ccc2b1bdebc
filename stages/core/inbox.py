"""Receiving: results into the cache and the workspace, as a run that computes nothing would.

What is put in place is also written into `dvc.lock`, so `dvc status` is clean afterwards.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.core import canonical, fingerprint, plan, prune, references
from stages.core.errors import ArtifactError, DevenoError, MachineError
from stages.core.hashes import Hashes
from stages.core.outbox import everywhere, tracked
from stages.core.remotes import BY_FINGERPRINT, INDEX, Remote, Result, object_path, unreachable
from stages.core.transports import Unreachable

PATIENCE_S = 20.0
"""How long another DVC command may hold the workspace."""


@dataclass
class Received:
    """What a pull did."""

    objects: int = 0
    placed: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Entries that neither the remote nor the cache has."""
    refused: dict[str, DevenoError] = field(default_factory=dict)
    """Entries whose bytes in the remote are damaged or incomplete, and why."""
    results: int = 0
    """Further results that were brought into the run cache."""


def pull(root: Path, remote: Remote, targets: list[str], everything: bool = False) -> Received:
    """Bring the targets and what they stand on (all entries without) into cache and workspace."""
    try:
        received = Received()
        _take_tracked(root, remote, targets, received)
        made = plan.make(root, targets, remote=remote)
        placed: dict[str, Mapping[str, Any]] = {}
        for step in made.of(plan.RESTORE):
            body = step.record or {}
            try:
                received.objects += remote.fetch(body)
                placed[step.name] = body
            except ArtifactError as error:
                received.refused[step.name] = error
        received.fresh = [step.name for step in made.of(plan.SKIP)]
        received.absent = [step.name for step in made.of(plan.RUN)]
        _place(root, remote, placed)
        received.placed = list(placed)
        if everything:
            _take_run_cache(remote, received)
        return received
    except Unreachable as error:
        raise unreachable(remote, error) from None


def pull_fingerprint(remote: Remote, wanted: str) -> Result:
    """Bring the result of a fingerprint into the cache, whatever params.yaml says now."""
    try:
        for one in remote.results(wanted):
            remote.fetch(one.body)
            return one
    except Unreachable as error:
        raise unreachable(remote, error) from None
    raise ArtifactError(
        f"the remote {remote.name!r} has no result of fingerprint {wanted}",
        f"remote {remote.name}: {BY_FINGERPRINT}",
        "`deveno push` in the clone that has it",
    )


def _take_run_cache(remote: Remote, received: Received) -> None:
    """Bring every result of the remote into the run cache, with its objects."""
    names = remote.transport.names(BY_FINGERPRINT)
    if names is None:
        data = remote.transport.read(INDEX)
        every = json.loads(data)["fingerprints"] if data else []
    else:
        every = [Path(name).stem for name in names]
    for wanted in every:
        for one in remote.results(wanted):
            try:
                received.objects += remote.fetch(one.body)
                received.results += 1
            except ArtifactError as error:
                received.refused[wanted] = error


def _take_tracked(root: Path, remote: Remote, targets: list[str], received: Received) -> None:
    """Bring data that `dvc add` tracks, where an entry reads it and nothing lies in its place."""
    graph = references.load(root)
    names = references.ancestors(graph, references.select(graph, targets)) if targets else graph
    read = {path for name in names for path in graph[name].reads.values()}
    hashes = Hashes(root)
    for path, value in tracked(root, read if targets else read | everywhere(root)).items():
        place = root / path
        own = hashes.of(path)
        empty = not place.exists() or (place.is_dir() and not any(place.iterdir()))
        if own != value and not empty:
            continue  # somebody's own files, not yet `dvc commit`ted
        if not (remote.cache / object_path(value)).exists():
            if remote.transport.size(object_path(value)) is None:
                continue
            files, folders = remote.objects({path: value})
            received.objects += remote.take(files) + remote.take(folders)
        if own != value:
            _dvc(root, "checkout", f"{path}.dvc")


def _place(root: Path, remote: Remote, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """Record the entries in dvc.lock and put their outputs into the workspace."""
    if not bodies:
        return
    _record(root, bodies)
    _dvc(root, "checkout", *bodies)
    for body in bodies.values():
        for path, value in Result(body).outs.items():
            # DVC checks out no metrics and no plots (`cache: false`): a run would have written them
            if not value.endswith(".dir") and Hashes(root).of(path) != value:
                source = remote.cache / object_path(value)
                canonical.write_bytes(root / path, source.read_bytes())


def _record(root: Path, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """Write entries into dvc.lock in DVC's own style, while no DVC command is at work."""
    path = root / prune.LOCK
    known = fingerprint.locks(root)
    if all(known.get(name) == dict(body) for name, body in bodies.items()):
        return
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with prune.dvc_idle(root) as idle:
            if idle:
                text = YAML(typ="rt", pure=True)
                document = text.load(path.read_text(encoding="utf-8")) if path.exists() else None
                document = document or {"schema": "2.0", "stages": {}}
                stages = {**(document.get("stages") or {}), **bodies}
                document["stages"] = {name: stages[name] for name in sorted(stages)}
                stream = io.StringIO()
                text.dump(document, stream)
                canonical.write_text(path, stream.getvalue())
                return
        if time.monotonic() > deadline:
            raise MachineError(
                "another DVC command holds the workspace", ".dvc/tmp/lock", "wait for it to end"
            )
        time.sleep(0.2)


def _dvc(root: Path, *arguments: str) -> None:
    """Run a DVC command; what it says is told only if it fails."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    variables = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=root, env=variables, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        rows = [row for row in done.stderr.splitlines() if row.strip()]
        raise MachineError(
            f"`dvc {' '.join(arguments[:4])}` failed: {rows[0] if rows else 'it said nothing'}",
            root.name,
            "keep or remove what you changed there, then pull again",
        )
