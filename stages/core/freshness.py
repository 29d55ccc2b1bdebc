"""Whether nothing at all changed since a run found everything fresh: a look at stamps, no more.

`deveno run` that found all fresh leaves a record (`stages.core.witness`): the stamp (mode, size,
mtime, ctime, inode, device) of every file that verdict stood on, and what was printed. As long as
every stamp holds, the same is printed again, in a fraction of what any look at contents costs.

It errs on one side only. ctime cannot be set back, so an edit with its mtime restored is seen. A
file that changed within the clock's last tick before the record could change again unseen (git
calls it racily clean), so its bytes are compared too. Standard library only: it is imported first.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

VERSION = 1
RECORD = ".deveno/freshness.json"
SKIPPED = frozenset({
    ".git", ".venv", ".deveno", "scratch", "bundles", "mlruns", "mlartifacts", "mlflow.db",
    "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal", ".pytest_cache", ".mypy_cache",
    ".ruff_cache", ".hypothesis", ".import_linter_cache", ".grimp_cache", "dvc_plots",
    "deveno.egg-info",
})  # fmt: skip
"""Names at the root that decide nothing; what an entry names below them is watched all the same."""
DVC_OWN = frozenset({"cache", "tmp"})
"""Folders of .dvc that are not looked through: cache objects are watched one by one."""
COMPILED = "__pycache__"
TICK_NS, COARSE_TICK_NS = 50_000_000, 2_000_000_000
"""How far apart two writes must be for their times to differ; where times are whole milliseconds,
the file system keeps them coarsely."""
VARIABLES = (
    "HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR",
    "DVC_SITE_CACHE_DIR", "PYTHONPATH",
)  # fmt: skip
CPU_ROWS = ("model name", "flags", "Features")
GIT = ("git", "rev-parse", "-q", "--verify", "HEAD:./dvc.lock")


class Stamps:
    """The stamps of a workspace, gathered row by row; `times` keeps when each file changed."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.rows: list[str] = []
        self.times: dict[str, int] = {}
        facts = Path(root).stat()
        self._seen = {(facts.st_dev, facts.st_ino)}

    @property
    def text(self) -> str:
        """All rows."""
        return "\n".join(self.rows)

    def workspace(self) -> Stamps:
        """Add every file of the workspace, the installed packages, the machine, the settings."""
        self.rows.append(f"git\0{Path(self.root, '.git').exists()}")
        with os.scandir(self.root) as found:
            top = sorted((row for row in found if row.name not in SKIPPED), key=_name)
        for row in top:
            self._entry(row, row.name, DVC_OWN if row.name == ".dvc" else frozenset())
        self.rows += _packages()
        self.rows += _machine()
        for path in settings():
            self.path(path)
        return self

    def beyond(self, extra: Iterable[str], cache: str, objects: Iterable[str]) -> Stamps:
        """Add paths from the root outside what `workspace` walks, and objects of the cache."""
        for path in extra:
            self.path(str(Path(self.root, path)))
        for name in objects:
            self._file(f"{cache}/{name}", name)
        return self

    def path(self, path: str) -> None:
        """Add a file, a folder with all it holds, or that nothing is there."""
        self._file(path, path)
        if Path(path).is_dir():
            self._folder(path, path, frozenset())

    def _folder(self, path: str, shown: str, skipped: frozenset[str]) -> None:
        with os.scandir(path) as found:
            rows = sorted((row for row in found if row.name not in skipped), key=_name)
        for row in rows:
            self._entry(row, f"{shown}/{row.name}", frozenset())

    def _entry(self, row: os.DirEntry[str], shown: str, skipped: frozenset[str]) -> None:
        if row.is_dir(follow_symlinks=False):
            if row.name != COMPILED:
                mode = row.stat(follow_symlinks=False).st_mode
                self.rows.append(f"{shown}\0{mode}")
                self._folder(row.path, shown, skipped)
        elif row.is_symlink():
            self._link(row, shown, skipped)
        else:
            self._add(row.path, shown, row.stat(follow_symlinks=False))

    def _link(self, row: os.DirEntry[str], shown: str, skipped: frozenset[str]) -> None:
        """Add a link, what it points at, and what is in there (once: links can go in circles)."""
        self._add(row.path, shown, row.stat(follow_symlinks=False))
        self.rows.append(str(Path(row.path).readlink()))
        self._file(row.path, f"{shown}\0target")
        if row.is_dir():
            facts = row.stat()
            if (facts.st_dev, facts.st_ino) not in self._seen:
                self._seen.add((facts.st_dev, facts.st_ino))
                self._folder(row.path, shown, skipped)

    def _file(self, path: str, shown: str) -> None:
        try:
            facts = Path(path).stat()
        except OSError as error:
            self.rows.append(f"{shown}\0{error.errno}")
            return
        if stat.S_ISDIR(facts.st_mode):
            self.rows.append(f"{shown}\0{facts.st_mode}")
        else:
            self._add(path, shown, facts)

    def _add(self, path: str, shown: str, facts: os.stat_result) -> None:
        self.times[path] = max(facts.st_ctime_ns, facts.st_mtime_ns)
        self.rows.append(
            f"{shown}\0{facts.st_mode}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}"
            f"\0{facts.st_ino}\0{facts.st_dev}\0{facts.st_uid}"
        )

    def racy(self, clock_ns: int) -> dict[str, str]:
        """Return the digests of files that might change once more and keep their stamp."""
        found = {}
        for path, time_ns in self.times.items():
            tick_ns = COARSE_TICK_NS if time_ns % 1_000_000 == 0 else TICK_NS
            if time_ns >= clock_ns - tick_ns:
                found[path] = digest(path)
        return found


def _name(row: os.DirEntry[str]) -> str:
    return row.name


def _packages() -> list[str]:
    """Return the stamps of what says which packages are installed."""
    rows = [sys.version, sys.prefix, sys.executable]
    for place in sys.path:
        if not place.endswith("-packages") or not Path(place).is_dir():
            continue
        with os.scandir(place) as found:
            kept = sorted((row for row in found if row.name.endswith(("-info", ".pth"))), key=_name)
        for row in kept:
            facts = row.stat()
            rows.append(f"{row.path}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_ino}")
            for name in ("METADATA", "PKG-INFO"):
                try:
                    facts = Path(row.path, name).stat()
                except OSError:
                    continue
                rows.append(f"{name}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_size}")
    return rows


def _machine() -> list[str]:
    """Return what machine.yaml is made of; a workspace that moved has other figures to keep."""
    system = os.uname()
    rows = [f"{system.sysname} {system.machine} {os.cpu_count()}"]
    rows += [row for row in _start_of("/proc/cpuinfo") if row.startswith(CPU_ROWS)]
    rows += [row for row in _start_of("/proc/meminfo") if row.startswith("MemTotal")]
    return rows


def _start_of(path: str) -> list[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(8192).split("\n\n")[0].splitlines()
    except OSError:
        return []


def settings() -> list[str]:
    """Return DVC's files of settings outside the workspace."""
    own = os.environ.get("XDG_CONFIG_HOME") or str(Path("~").expanduser() / ".config")
    shared = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    places = [Path(folder, "dvc") for folder in (own, *shared)]
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        places += [Path(os.environ[name])] if os.environ.get(name) else []
    return [str(place / "config") for place in places]


def variables() -> dict[str, str | None]:
    """Return the variables by which the same files could mean something else."""
    return {name: os.environ.get(name) for name in VARIABLES}


def digest(path: str) -> str:
    """Return a digest of a file's bytes, or of where a link points."""
    import hashlib  # some milliseconds, and hardly ever needed

    if Path(path).is_symlink():
        return str(Path(path).readlink())
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def question(words: list[str], root: str) -> str | None:
    """Return what was asked of `deveno run` as the record keeps it; None if it must be run."""
    compare = "--compare" in words
    targets = [word for word in words if word != "--compare"]
    if any(word.startswith("-") for word in targets):
        return None
    published = _published(root) if compare else ""
    return json.dumps([sorted(set(targets)), compare, published])


def _published(root: str) -> str:
    """Return which dvc.lock HEAD has: `--compare` speaks of that one."""
    import subprocess

    try:
        shown = subprocess.run(GIT, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return shown.stdout.strip()


def answer(words: list[str], code: str) -> str | None:
    """Return what `deveno run` with these words would print, if the record still holds.

    `code` is the root of the code now running: another workspace has its own.
    """
    try:
        return _answer(words, code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # the long way says what is wrong


def _answer(words: list[str], code: str) -> str | None:
    root = _root()
    if root != code:
        return None
    with Path(root, RECORD).open(encoding="utf-8") as stream:
        record = json.load(stream)
    if record["version"] != VERSION or record["variables"] != variables():
        return None
    asked = question(words, root)
    if asked is None or asked not in record["answers"]:
        return None
    now = Stamps(root).workspace().beyond(record["extra"], record["cache"], record["objects"])
    if now.text != record["rows"]:
        return None
    if any(digest(path) != value for path, value in record["racy"].items()):
        return None
    return str(record["answers"][asked])


def _root() -> str | None:
    """Return the workspace as `stages.core.workspace.root` finds it."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").exists() and (folder / "stages").is_dir():
            return str(folder)
    return None
