"""Files of this machine: found by glob below a root, copied as they are or packed into shards."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from stages.acquire.sources import FilesSource, ReadingRule
from stages.core.errors import SourceError
from stages.core.log import Log
from stages.lm.records import Document, RawFile, Reading, format_of, read_file
from stages.lm.streams import LineShards
from stages.lm.writing import copy_stream, told_plainly

PYTHON_EXCLUDED = (
    "site-packages/**/*",
    "dist-packages/**/*",
    "test/**/*",
    "**/tests/**/*",
    "**/__pycache__/**/*",
)
"""What the root `python` leaves out: other people's packages, tests and their odd encodings."""
_CATALOGUES = ("/usr/share/locale", "/usr/local/share/locale", "/usr/share/locale-langpack")


def _catalogues() -> str:
    """Return where the system keeps messages of programs, else where Python's `gettext` looks."""
    found = [place for place in _CATALOGUES if any(Path(place).glob("*/LC_MESSAGES/*.mo"))]
    return found[0] if found else f"{sys.base_prefix}/share/locale"


NAMED_ROOTS: dict[str, Callable[[], str]] = {
    "locale": _catalogues,
    "python": lambda: sysconfig.get_path("stdlib"),
    "site-packages": lambda: sysconfig.get_path("purelib"),
}
"""Places of this machine that params name without a path of it."""


def find_root(source: FilesSource, folder: Path) -> Path:
    """Return the folder that a source's globs are relative to."""
    if source.root is None:
        root = folder
    elif source.root in NAMED_ROOTS:
        root = Path(NAMED_ROOTS[source.root]())
    else:
        root = Path(source.root).expanduser()
        if not root.is_absolute():
            raise SourceError(
                f"the root {source.root!r} is neither absolute nor one of {sorted(NAMED_ROOTS)}",
                "acquire: source.root",
                "use `folder` for places in the repository, or a path that begins with / or ~/",
            )
    if not root.is_dir():
        raise SourceError(
            f"no folder {source.root or root.name}", str(root), "make it, or name another root"
        )
    return root


def glob(
    root: Path, patterns: Sequence[str], where: str, strange: dict[str, str] | None = None
) -> list[str]:
    """Return the files that any pattern finds, relative, sorted; hidden ones never count.

    Into `strange` goes what is found and is no file, with what it is: nothing of it is read.
    """
    found = set()
    for pattern in patterns:
        _check(pattern, where)
        # A trailing `**` finds folders only before Python 3.13; here it means all that is below.
        for path in root.glob(f"{pattern}/*" if pattern.endswith("**") else pattern):
            relative = path.relative_to(root)
            if any(part.startswith(".") for part in relative.parts):
                continue
            if path.is_file():
                found.add(_named(relative.as_posix(), root))
            elif strange is not None and (what := _what(path)):
                strange[relative.as_posix()] = what
    return sorted(found)


def _what(path: Path) -> str:
    """Say what is neither a file nor a folder whose files a glob finds; nothing of a folder."""
    if path.is_symlink():
        # A glob walks through no link, or a link to a folder above would never end.
        return "a link to a folder" if path.is_dir() else "a link that leads nowhere"
    return "" if path.is_dir() else "a pipe, a socket or a device"


def _named(name: str, root: Path) -> str:
    """Return a file's name, which must be a text: it becomes a part of ids and of the manifest."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        spelled = name.encode("utf-8", "backslashreplace").decode("utf-8")
        raise SourceError(
            f"the name of the file {spelled} is not UTF-8",
            str(root),
            "give it another name, or leave it out of `patterns`",
        ) from error
    return name


def _check(pattern: str, where: str) -> None:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or not pattern:
        raise SourceError(
            f"the pattern {pattern!r} leads outside the root",
            where,
            "write patterns relative to the root, without `..`",
        )
    odd = [part for part in Path(pattern).parts if "**" in part and part != "**"]
    if odd:
        raise SourceError(
            f"`**` stands beside other characters in the pattern {pattern!r}",
            where,
            "write it as a part of its own (`**/*.txt`)",
        )


def matching(names: Iterable[str], patterns: Sequence[str], where: str) -> set[str]:
    """Return those of the names that `glob` would find: nothing is looked up on disk.

    To leave out `site-packages/**/*` must not mean to walk through it.
    """
    for pattern in patterns:
        _check(pattern, where)
    shapes = [list(Path(pattern).parts) for pattern in patterns]
    return {name for name in names if any(_fits(name.split("/"), shape) for shape in shapes)}


def _fits(parts: list[str], shape: list[str]) -> bool:
    """Tell whether a path's parts are as a glob's: `**` stands for any folders, last for all."""
    if not shape or not parts:
        return not shape and not parts
    if shape[0] == "**":
        return len(shape) == 1 or any(_fits(parts[n:], shape[1:]) for n in range(len(parts)))
    return fnmatchcase(parts[0], shape[0]) and _fits(parts[1:], shape[1:])


def find(source: FilesSource, root: Path, log: Log) -> list[str]:
    """Return the paths a source names; some patterns may find nothing, all of them may not."""
    where = f"acquire: source.patterns below {source.root or root}"
    strange: dict[str, str] = {}
    by_pattern = {pattern: glob(root, [pattern], where, strange) for pattern in source.patterns}
    idle = [pattern for pattern, found in by_pattern.items() if not found]
    if len(idle) == len(source.patterns):
        raise SourceError(
            f"no file matches {', '.join(idle) or 'an empty list of patterns'}",
            str(root),
            "put files there, or correct `patterns`",
        )
    if idle:
        log.text("idle_patterns", f"no file matches {', '.join(idle)}")
    exclude = [*source.exclude, *(PYTHON_EXCLUDED if source.root == "python" else ())]
    held = {name for found in by_pattern.values() for name in found}
    for name in sorted(set(strange) - matching(strange, exclude, "acquire: source.exclude")):
        raise SourceError(
            f"{name} is {strange[name]}: nothing of it would be read",
            str(root / name),
            "remove it, or leave it out with `exclude`; a linked folder may be a `root`",
        )
    names = sorted(held - matching(held, exclude, "acquire: source.exclude"))
    if not names:
        raise SourceError(
            "the source is empty: no file is left after `exclude`",
            str(root),
            "put files there, or correct `patterns` and `exclude`",
        )
    if len(names) > source.max_files and not source.pack:
        raise SourceError(
            f"{len(names)} files, allowed are {source.max_files}",
            str(root),
            "set `pack: true` (few shards instead of many files), or raise `max_files`",
        )
    return names


def copy(root: Path, names: Sequence[str], target: Path, log: Log) -> None:
    """Copy files below `target` under their relative names."""
    total = sum((root / name).stat().st_size for name in names)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        log.progress(done, total, "bytes")

    for name in names:
        with told_plainly(root / name), (root / name).open("rb") as stream:
            copy_stream(stream, target / name, tick=tick)


def pack(root: Path, names: Sequence[str], source: FilesSource, target: Path, log: Log) -> int:
    """Write every text document into `documents-*.jsonl.zst` shards; return how many there are."""
    if source.parallel or source.links or source.unpack:
        raise SourceError(
            "`pack` is set together with `parallel`, `links` or `unpack`",
            "acquire: source.pack",
            "pack texts in one entry, and keep the others in an entry of their own",
        )
    choose = reading_of(root, source.reading, source.rules, log)
    with told_plainly(target), LineShards(target, "documents") as shards:
        for done, name in enumerate(names):
            reading = choose(name)
            file = RawFile(root / name, name, format_of(name, reading), reading)
            if file.kind != "documents":
                raise SourceError(
                    f"{name} holds {file.kind}, and only texts can be packed",
                    str(root / name),
                    "leave it out of `patterns`, or set `pack: false`",
                )
            for document in read_file(file):
                assert isinstance(document, Document)
                row = {"id": document.id, "source": document.source, "text": document.text}
                shards.add(row)
            log.progress(done + 1, len(names), "files")
    return shards.rows


def reading_of(
    root: Path, reading: Reading, rules: Sequence[ReadingRule], log: Log
) -> Callable[[str], Reading]:
    """Return the function from a file's relative name to how it is read."""
    by_rule = [(rule, set(glob(root, [rule.pattern], "acquire: source.rules"))) for rule in rules]
    idle = [rule.pattern for rule, names in by_rule if not names]
    if idle:
        log.text("idle_rules", f"no file matches the rules {', '.join(idle)}")
    return lambda name: next((rule for rule, names in by_rule if name in names), reading)
