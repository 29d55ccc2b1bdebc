"""A clean tree of a recorded commit, in which one entry after another is made again.

It lies under `.deveno/rebuilds/` and is a workspace of its own: `workspace.home` of it is itself,
so journals, scratch folders and remembered hashes of what runs there are its own too. It is no git
worktree: the user's repository is only read, and what runs there sees no repository (a runner keeps
uncommitted work as a snapshot, and here all work is on purpose). DVC plays no part: parameters are
written as the records have them, inputs are put where the records say, the recorded command runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.core import environment, journal, references, yamlfile
from stages.core.errors import ArtifactError, MachineError
from stages.core.records import Record, is_code

GRACE_S = 5
"""Seconds that a stage gets to end when a rebuild is broken off; nothing of it is kept."""
TICK_S = 0.2
"""Seconds between two looks at a running command."""
INHERITED = ("DEVENO_", "DVC_", "MLFLOW_", "PREFECT_", "GIT_")
"""Variables of whoever calls us (a flow run, an experiment) that a clean worktree must not see."""
KEPT = ("DEVENO_CORES",)

NO_REPOSITORY = "a rebuild is no repository\n"
"""Text of a file `.git` that stops git's search upwards: it would find the user's repository."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, seconds, the three lines or last words of its error."""

    code: int
    seconds: float
    error: tuple[str, ...] = ()
    curves: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Stepped metrics of its journal: {name: {step: value}}."""
    fingerprint: str = ""


class Replica:
    """The tree of one commit."""

    def __init__(self, root: Path, folder: Path, commit: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.commit = folder, commit
        self.repository = Path(git(root, "rev-parse", "--show-toplevel"))
        self.prefix = git(root, "rev-parse", "--show-prefix")
        self.root = folder / self.prefix
        self.index = folder.with_name(f"{folder.name}.index")
        self._git("read-tree", commit)
        self._git("checkout-index", "--all", "--force", f"--prefix={folder}/")
        (folder / ".git").write_text(NO_REPOSITORY, encoding="utf-8")

    def _git(self, *arguments: str) -> str:
        return git(self.repository, *arguments, GIT_INDEX_FILE=str(self.index))

    def prepare(self, record: Record, ancestry: Sequence[Record], whole: bool = True) -> None:
        """Write the recorded parameters, the installed versions, and the folders that must exist.

        `ancestry` holds the record's producers, near ones last: theirs are the parameters of the
        entries that it names. Where it is not `whole`, the commit's own parameters fill in.
        """
        files: dict[str, dict[str, Any]] = {}
        if not whole:
            files[references.PARAMS] = self._committed(references.PARAMS)
        for one in [*ancestry, record]:
            for file, given in one.params.items():
                values = files.setdefault(file, {})
                for name, value in given.items():
                    _set(values, name, value)
        for file, values in files.items():
            if file == environment.ENVIRONMENT:
                known = yamlfile.read(self.root / file) if (self.root / file).exists() else {}
                names = {**known, **values}
                values = {name: installed(name) or str(names[name]) for name in names}
            elif file != references.PARAMS:
                values = _merged(self.root / file, values)
            yamlfile.write(self.root / file, values)
        made = {path for one in ancestry for path in one.outs}
        for one in [*ancestry, record]:
            for path in one.deps:
                if path not in made and not (self.root / path).exists() and not is_code(path):
                    (self.root / path).mkdir(parents=True)
            for path in one.outs:  # DVC makes no folder either, but the user's was there
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)

    def _committed(self, file: str) -> dict[str, Any]:
        try:
            text = self._git("show", f"{self.commit}:{self.prefix}{file}")
        except ArtifactError:
            return {}
        return dict(yamlfile.plain(yamlfile.parse(text, file)))

    def clear(self, paths: Sequence[str]) -> None:
        """Remove what an earlier entry left at these paths."""
        for path in paths:
            target = self.root / path
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def bring_back(self, paths: Sequence[str]) -> None:
        """Put back what git tracks at these paths."""
        wanted = [f":(top,literal){self.prefix}{path}" for path in paths]
        listed = self._git("ls-files", "-z", "--", *wanted) if wanted else ""
        names = [name for name in listed.split("\0") if name]
        if names:
            self._git("checkout-index", "--force", f"--prefix={self.folder}/", "--", *names)

    def take(self, paths: Sequence[str], target: Path) -> None:
        """Move outputs out of the worktree, to the same paths below `target`."""
        for path in paths:
            if (self.root / path).exists():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (self.root / path).rename(target / path)

    def run(
        self,
        record: Record,
        launch: Sequence[str],
        tick: Callable[[str], None],
        device: Mapping[str, str],
    ) -> Ended:
        """Run the recorded command as DVC would; `launch` is what ends it together with us.

        `device` holds the variables that show it the device it was made on.
        """
        started = time.monotonic()
        log = self.folder.parent / f"{self.folder.name}.log"
        shell = os.environ.get("SHELL") or "/bin/sh"
        command = [*launch, shell, "-c", record.command]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, cwd=self.root, env={**self._variables(record), **device},
                stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                while (code := process.poll()) is None:
                    time.sleep(TICK_S)
                    tick(self._progress(record))
            except BaseException:
                process.terminate()
                process.wait()
                raise
            finally:
                if process.stdin is not None:
                    process.stdin.close()
        told = [row for row in log.read_text("utf-8", "replace").splitlines() if row.strip()]
        lines = [row for row in told if row.startswith(("error: ", "where: ", "do: "))][-3:]
        error = () if code == 0 else tuple(lines or told[-3:])
        execution = self._execution(record)
        return Ended(
            code,
            time.monotonic() - started,
            tuple(row.replace(f"{self.root}/", "") for row in error),
            curves(execution) if execution else {},
            str(execution.start.get("fingerprint", "")) if execution else "",
        )

    def _variables(self, record: Record) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in KEPT or not name.startswith(INHERITED)
        }
        return kept | {
            "DEVENO_TRACKING": "off",
            "DVC_ROOT": str(self.root),
            "DVC_STAGE": record.entry,
            "PYTHONPATH": str(self.root),
        }

    def _execution(self, record: Record) -> journal.Execution | None:
        stage, _, key = record.entry.partition("@")
        return journal.last(self.root, stage, key)

    def _progress(self, record: Record) -> str:
        folder = journal.folder(self.root) / record.entry
        newest = max(folder.glob("*.jsonl"), default=None) if folder.is_dir() else None
        if newest is None:
            return ""
        size = newest.stat().st_size
        events = journal.Tail(newest, max(0, size - 4096)).read()
        for event in reversed(events):
            if event.get("event") == "progress":
                total = f" of {event['total']:g}" if event.get("total") else ""
                return f"{event['done']:g}{total} {event.get('unit', '')}"
        return ""


def curves(execution: journal.Execution) -> dict[str, dict[str, float]]:
    """Return the stepped metrics of an execution: {name: {step: value}}."""
    found: dict[str, dict[str, float]] = {}
    for event in execution.events():
        if event.get("event") == "metric" and event.get("step") is not None:
            found.setdefault(str(event["name"]), {})[str(event["step"])] = float(event["value"])
    return found


def installed(name: str) -> str | None:
    """Return the public version of an installed package, or None."""
    try:
        return environment.public(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def packages(record: Record) -> dict[str, tuple[str, str]]:
    """Return the packages of a record whose installed version is another: (recorded, installed)."""
    recorded = record.params.get(environment.ENVIRONMENT, {})
    found = {name: (str(version), installed(name)) for name, version in recorded.items()}
    return {
        name: (then, now or "not installed") for name, (then, now) in found.items() if then != now
    }


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Set a value under its dotted name; a section's whole value replaces what is there."""
    *parents, last = name.split(".")
    for part in parents:
        values = values.setdefault(part, {})
    values[last] = dict(value) if isinstance(value, Mapping) else value


def _merged(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(yamlfile.plain(yamlfile.read(path))) if path.exists() else {}
    for name, value in values.items():
        _set(found, name, value)
    return found


def git(root: Path, *arguments: str, **variables: str) -> str:
    """Return what git says of a repository; a failure is an error that shows its words."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], env=clean | variables,
            capture_output=True, text=True, errors="surrogateescape", check=False,
        )  # fmt: skip
    except OSError as error:
        raise MachineError(f"git does not start: {error}", "PATH", "install git") from None
    if done.returncode:
        raise ArtifactError(
            f"`git {arguments[0]}` failed: {done.stderr.strip()}",
            ".deveno/rebuilds",
            "`git fsck` tells what the repository misses",
        )
    return done.stdout.strip("\n")
