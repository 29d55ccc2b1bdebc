"""Outside artifacts taken in: not made here, tracked by DVC, and marked as adopted.

    models/adopted/<name>/                 the artifact, byte for byte; `base: adopted/<name>`
    models/adopted/<name>.dvc              DVC's digest and, under `meta`, what is known of it
    models/adopted/<name>.lineage.json     of a bundle: its lineage and its lock entries

Other kinds lie where their readers look for them: `data/corpora/adopted/<name>`,
`data/tokens/adopted/<name>`, `data/raw/adopted/<name>`, `models/tokenizers/adopted/<name>`. The
marks lie beside the folder and not in it, so that its digest stays the one its makers know.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stages.core import canonical, hashes, kinds, pickled, yamlfile
from stages.core.declare import KEY
from stages.core.errors import ArtifactError, MachineError, ParamsError

PLACES = ("data/corpora", "data/raw", "data/tokens", "models/tokenizers", "models")
"""Where readers look for each kind; the longest that a path begins with is its kind's."""
MARKS = (
    ("corpus.json", "data/corpora"),
    ("tokens.json", "data/tokens"),
    ("manifest.json", "data/raw"),
)
"""Files by which a folder of another kind than a model is known."""
FOLDER = "adopted"
LEFT_OUT = (*hashes.IGNORED, ".git", ".hg", ".dvc")
"""What DVC leaves out of every folder, and so what is not taken in."""
SOURCES = ("folder", "bundle")


@dataclass(frozen=True)
class Adopted:
    """What is known of an adopted artifact.

    `md5` is DVC's hash at adoption, `sha256` the digest of its files' names and SHA-256s. `entry`,
    `fingerprint` and `bundle` (the SHA-256 of its SHA256SUMS) are known of one that came in a
    bundle.
    """

    path: str
    md5: str
    sha256: str
    source: str
    licence: str = "unknown"
    origin: str = "unknown"
    entry: str = ""
    fingerprint: str = ""
    bundle: str = ""


def is_place(path: str) -> bool:
    """Return whether a path is where adopted artifacts lie."""
    return Path(path).parent.name == FOLDER


def find(root: Path, path: str) -> Adopted | None:
    """Return what is known of the adopted artifact at a path from the root, or None."""
    if not is_place(path):
        return None
    tracked = root / f"{path}.dvc"
    if not tracked.is_file():
        return None
    meta = yamlfile.plain(yamlfile.read(tracked)).get("meta")
    told = meta.get("adopted") if isinstance(meta, Mapping) else None
    if not isinstance(told, Mapping) or not {"path", "md5", "sha256", "source"} <= told.keys():
        return None
    known = {one.name for one in fields(Adopted)}
    return Adopted(**{key: str(value) for key, value in told.items() if key in known})


def everything(root: Path) -> list[Adopted]:
    """Return every adopted artifact of a workspace."""
    tracked = [path for place in PLACES for path in sorted((root / place / FOLDER).glob("*.dvc"))]
    found = [find(root, path.relative_to(root).as_posix().removesuffix(".dvc")) for path in tracked]
    return [one for one in found if one is not None]


def lineage(root: Path, path: str) -> dict[str, Any] | None:
    """Return what came with a bundle's artifact: `{"lineage": ..., "lock": {entry: ...}}`."""
    import json

    beside = root / f"{path}.lineage.json"
    if not beside.is_file():
        return None
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(
            f"{beside.name} is not JSON: {error}",
            str(beside.relative_to(root)),
            "bring it back with `git checkout`, or adopt the bundle again",
        ) from None
    return dict(told)


def recorded_md5(root: Path, path: str) -> str | None:
    """Return the hash that a `.dvc` file beside a path records for it, or None."""
    tracked = root / f"{path}.dvc"
    if not tracked.is_file():
        return None
    rows = yamlfile.plain(yamlfile.read(tracked)).get("outs") or []
    first = rows[0] if isinstance(rows, list) and isinstance(rows[0], Mapping) else {}
    return str(first["md5"]) if first.get("md5") else None


def missing(root: Path, paths: Iterator[str] | list[str]) -> list[str]:
    """Return the paths that a `.dvc` file records and that are not there."""
    found = {path for path in paths if not (root / path).exists()}
    return sorted(path for path in found if recorded_md5(root, path) is not None)


def bring_back(root: Path, paths: list[str]) -> None:
    """Restore tracked folders from DVC's cache; refuse where the cache does not hold them."""
    for path in paths:
        done = _dvc(root, "checkout", "-q", f"{path}.dvc")
        if done.returncode or not (root / path).exists():
            raise ArtifactError(
                f"{path} is not there, nor in DVC's cache",
                f"{path}.dvc",
                "fetch it with `dvc pull`, or adopt it again",
            )


def adopt(root: Path, source: Path, name: str, licence: str | None, origin: str | None) -> Adopted:
    """Take a folder or file in under a name; return what is now known of it."""
    _check_name(name)
    _check_source(root, source)
    place = f"{_kind(source)}/{FOLDER}/{name}"
    known = {"licence": licence or "unknown", "origin": origin or "unknown", "source": "folder"}
    return take(root, source, place, known, None)


def take(
    root: Path, source: Path, place: str, known: Mapping[str, str], brought: dict[str, Any] | None
) -> Adopted:
    """Copy a checked source to its place, whole or not at all, and have DVC track it.

    `known` holds fields of Adopted; `brought` is what is written to `<place>.lineage.json`.
    """
    target = root / place
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _copy(source, aside)
        found = Adopted(path=place, md5=_md5(aside), sha256=digest(aside), **known)
        before = find(root, place)
        if before is not None and before == found:
            if not target.exists():
                bring_back(root, [place])
            return found
        _check_free(root, place, before, found)
        aside.rename(target)
        with _undone(target):
            _track(root, found, brought)
        return found
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _undone(target: Path) -> Iterator[None]:
    """Remove what was put in place if it cannot be tracked."""
    try:
        yield
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        for suffix in (".dvc", ".lineage.json"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        raise


def _track(root: Path, found: Adopted, brought: dict[str, Any] | None) -> None:
    done = _dvc(root, "add", "-q", found.path)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["dvc said nothing"])[-1]
        raise MachineError(
            f"`dvc add` failed: {told}", found.path, "see what it says, and adopt it again"
        )
    tracked = root / f"{found.path}.dvc"
    file = yamlfile.plain(yamlfile.read(tracked))
    file["desc"] = "adopted, not made here"
    file["meta"] = {"adopted": {key: value for key, value in asdict(found).items() if value}}
    yamlfile.write(tracked, file)
    if brought is not None:
        canonical.write_json(root / f"{found.path}.lineage.json", brought)


def _dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=root, capture_output=True, text=True, check=False,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip


def _check_name(name: str) -> None:
    if not KEY.fullmatch(name):
        raise ParamsError(
            f"the name {name!r} is not allowed", "NAME", "use small letters, digits and hyphens"
        )


def _check_free(root: Path, place: str, before: Adopted | None, found: Adopted) -> None:
    """Refuse to put an artifact where another is, tracked or not."""
    target = root / place
    if before is None and not target.exists() and not (root / f"{place}.dvc").exists():
        return
    held = "something that was not adopted"
    if before is not None:
        held = f"another artifact, {before.md5}"
        if before.md5 == found.md5:
            held = f"these bytes, as of licence {before.licence!r} and origin {before.origin!r},"
    raise ArtifactError(
        f"{place} holds {held} already",
        place,
        f"choose another name, or remove it: `dvc remove {place}.dvc && rm -r {place}`",
    )


def _check_source(root: Path, source: Path) -> None:
    """Refuse what is not there, what is empty and what lies where artifacts of ours lie."""
    if not source.exists():
        raise ArtifactError(f"{source} is not there", str(source), "name a folder or a file")
    kinds.refuse(source, source.stat())
    real = source.resolve()
    if root.resolve().is_relative_to(real):
        raise ArtifactError(
            f"{source} holds this project", str(source), "name the folder of the artifact alone"
        )
    outside = (root / "data/external").resolve()
    if not real.is_relative_to(outside) and any(
        real.is_relative_to((root / part).resolve()) for part in ("data", "models", "reports")
    ):
        raise ArtifactError(
            f"{source} lies among this project's own artifacts",
            str(source),
            "entries read it where it is; adopt what comes from outside",
        )


def _kind(source: Path) -> str:
    """Return where the readers of such a folder look for it."""
    for mark, place in MARKS:
        if (source / mark).is_file() and (place != "data/raw" or (source / "files").is_dir()):
            return place
    weights = ("config.json", "*.safetensors", "*.onnx")
    if (source / "tokenizer.json").is_file() and not any(
        next(source.glob(one), None) for one in weights
    ):
        return "models/tokenizers"
    return "models"


def place_of(path: str, name: str) -> str | None:
    """Return where an artifact made at a path goes when it is adopted under a name, or None."""
    for place in PLACES:
        if path.startswith(f"{place}/"):
            return f"{place}/{FOLDER}/{name}"
    return None


def _copy(source: Path, target: Path) -> None:
    """Copy every file that DVC would count; links are followed inside the source only."""
    found = [(source.name, source)] if source.is_file() else sorted(_walk(source, source.resolve()))
    if not found:
        raise ArtifactError(f"{source} holds no file", str(source), "name a folder that holds some")
    needed = sum(path.stat().st_size for _, path in found)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise MachineError(
            f"{source} holds {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free",
            str(target.parent),
            "free some space, or name the folder of the artifact alone",
        )
    for name, path in found:
        pickled.refuse(path, name, is_tokens=(source / "tokens.json").is_file())
        goal = target / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)


def _walk(folder: Path, top: Path, inside: str = "") -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of a folder's files; refuse what leads out of it."""
    with os.scandir(folder) as rows:
        for row in sorted(rows, key=lambda one: one.name):
            if any(Path(row.name).match(pattern) for pattern in LEFT_OUT):
                continue
            path, name = Path(row.path), f"{inside}{row.name}"
            if row.is_symlink():
                _check_link(path, name, top)
            kinds.refuse(path, path.stat(), name)
            if row.is_dir():
                yield from _walk(path, top, f"{name}/")
            else:
                yield name, path


def _check_link(path: Path, name: str, top: Path) -> None:
    goal = Path(os.path.realpath(path))
    if goal.is_dir() and path.parent.resolve().is_relative_to(goal):
        raise ArtifactError(
            f"{name} links to a folder that holds it", str(path), "remove that link"
        )
    if not goal.is_relative_to(top) or not goal.exists():
        raise ArtifactError(
            f"{name} links to {path.readlink()}, outside the folder or to nothing",
            str(path),
            "copy the folder with its links followed (`cp -rL`), and adopt the copy",
        )


def _md5(folder: Path) -> str:
    rows = [(name, canonical.file_digest(path, "md5")) for name, path in hashes.files(folder)]
    return hashes.combined(rows, True)


def digest(folder: Path) -> str:
    """Return the SHA-256 of a folder: of its files' names and SHA-256s, as canonical JSON."""
    rows = [[name, canonical.file_digest(path)] for name, path in hashes.files(folder)]
    return canonical.digest(rows)
