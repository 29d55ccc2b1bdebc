"""Each kind of source into a raw folder: `files/`, perhaps `truth/`, and `manifest.json`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from stages.acquire import local, manifest
from stages.acquire.generator.parameters import GeneratorParams
from stages.acquire.sources import (
    ExtractSource,
    FilesSource,
    HubSource,
    SqlSource,
    Tangible,
    UrlSource,
)
from stages.acquire.tableqa.parameters import TableQaParams
from stages.core.canonical import file_digest, write_json
from stages.core.errors import DevenoError, SourceError
from stages.core.log import Log
from stages.lm import tables
from stages.lm.archives import archive_stem, is_archive, unpack
from stages.lm.reading import Reading
from stages.lm.writing import content_digest, inside, told_plainly

if TYPE_CHECKING:
    from stages.acquire.stage import AcquireParams

GENERATED = "made by the generator of Deveno (stages/acquire/generator)"
MAX_MEMBER_BYTES = 50_000_000_000
MOST_LICENCES = 12
"""Licences of documents that the manifest still names in one expression."""
UNKNOWN = "unknown"


def collect(params: AcquireParams, folder: Path, raw: Path, log: Log) -> None:
    """Fill a raw folder from the entry's source and describe it."""
    source = params.source
    told: dict[str, Any] = {
        "source": manifest.identity(source),
        "licence": params.licence,
        "licence_reason": params.licence_reason,
        "origin": params.origin or _origin(source, params.folder),
        "synthetic": params.synthetic or isinstance(source, GeneratorParams | TableQaParams),
    }
    with told_plainly(raw):
        raw.mkdir(parents=True, exist_ok=True)
    if isinstance(source, GeneratorParams):
        told["licence"] = params.licence or "CC0-1.0"
        told |= _generated(source, raw, log)
    elif isinstance(source, FilesSource):
        told |= _from_files(source, folder, raw, log)
    elif isinstance(source, UrlSource):
        told |= _from_addresses(source, raw, log)
    elif isinstance(source, SqlSource):
        told |= _from_query(source, folder, raw, log)
    elif isinstance(source, TableQaParams):
        if source.tables == "random":
            told["licence"] = params.licence or "CC0-1.0"
        told |= _table_qa(source, folder, raw, log)
    elif isinstance(source, ExtractSource):
        told |= _from_containers(source, params.licence, folder, raw, log)
    else:
        told |= _from_hub(source, params.licence, folder, raw, log)
    told["content_sha256"] = content_digest(told["files"])
    _check_pin(source, told["content_sha256"])
    _write(raw, told)
    if params.check and not isinstance(source, GeneratorParams | ExtractSource):
        with _told_at_the_source(source, folder, raw):
            counts = manifest.count(raw, told["files"], log)
        for kind, number in counts.items():
            log.metric(f"{kind}_read", number)
        _write(raw, told)
    log.metric("files_kept", len(told["files"]))
    log.metric("size_bytes", sum(row["size_bytes"] for row in told["files"]))


def _write(raw: Path, told: dict[str, Any]) -> None:
    with told_plainly(raw / "manifest.json"):
        write_json(raw / "manifest.json", told)


@contextmanager
def _told_at_the_source(source: Any, folder: Path, raw: Path) -> Iterator[None]:
    """Let an error about a copied file name the file it came from: the copy is not kept."""
    try:
        yield
    except DevenoError as error:
        copies = str(raw / "files")
        if not error.where.startswith(copies):
            raise
        name = error.where.removeprefix(copies).lstrip("/")
        place = f"{_origin(source, str(folder))}: {name}"
        if isinstance(source, FilesSource):
            place = str(local.find_root(source, folder) / name)
        elif isinstance(source, UrlSource):
            urls = (url for url, kept, _ in targets(source) if name.startswith(kept))
            place = f"{next(urls, source.base)} ({name})"
        raise type(error)(error.what, place, error.todo) from error


def _origin(source: Any, folder: str) -> str:
    if isinstance(source, GeneratorParams):
        return GENERATED
    if isinstance(source, TableQaParams):
        made = "made by the generator of Deveno (stages/acquire/tableqa)"
        return made if source.tables == "random" else f"{made} from files below {folder}"
    if isinstance(source, UrlSource):
        return source.base or ", ".join(file.path for file in source.files)
    if isinstance(source, HubSource) and source.repo:
        return f"{source.repo}@{source.revision}"
    if isinstance(source, ExtractSource) and source.addresses is not None:
        return _origin(source.addresses, folder)
    if isinstance(source, FilesSource | ExtractSource) and source.root:
        return f"files below {source.root}"
    return f"files below {folder}"


def _generated(source: GeneratorParams, raw: Path, log: Log) -> dict[str, Any]:
    from stages.acquire.generator.corpus import generate

    with told_plainly(raw):
        made = generate(source, raw, log)
    return {name: made[name] for name in sorted(made)}


def _table_qa(source: TableQaParams, folder: Path, raw: Path, log: Log) -> dict[str, Any]:
    from stages.acquire.tableqa import corpus

    account = corpus.make(source, folder, raw, log)
    return {"files": manifest.rows(raw, corpus.PAIRS, [corpus.TEXTS], log), **account}


def _from_files(source: FilesSource, folder: Path, raw: Path, log: Log) -> dict[str, Any]:
    root = local.find_root(source, folder)
    names = local.find(source, root, log)
    target = raw / "files"
    if source.pack:
        local.pack(root, names, source, target, log)
        return {"files": manifest.rows(raw, Reading(), [], log)}
    local.copy(root, names, target, log)
    archives = _unpack(source, target)
    return {"files": _described(raw, source, log), **archives}


def _described(raw: Path, source: Tangible, log: Log) -> list[manifest.Row]:
    rows = manifest.rows(raw, source.reading, source.rules, log)
    manifest.join(rows, source)
    return rows


def _unpack(source: Tangible, target: Path) -> dict[str, Any]:
    """Replace archives by their chosen members; keep the archives' digests."""
    if not source.unpack:
        return {}
    archives = []
    for path in sorted(path for path in target.rglob("*") if is_archive(path.name)):
        name = path.relative_to(target).as_posix()
        members = unpack(
            path, path.with_name(archive_stem(path.name)), source.unpack, MAX_MEMBER_BYTES
        )
        archives.append(
            {
                "path": name,
                "sha256": file_digest(path),
                "size_bytes": path.stat().st_size,
                "members": len(members),
            }
        )
        path.unlink()
    return {"archives": archives}


def _from_addresses(source: UrlSource, raw: Path, log: Log) -> dict[str, Any]:
    if not source.files:
        raise SourceError(
            "the source is empty: no address", "acquire: source.files", "list what to fetch"
        )
    wanted = targets(source)
    fetched = _fetched(source, wanted, log)
    addresses = []
    for (path, name), (url, _, pin) in zip(fetched, wanted, strict=True):
        kept = raw / "files" / name
        with told_plainly(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            _move(path, kept)
        addresses.append(
            {"url": url, "path": f"files/{name}", "sha256": file_digest(kept), "pinned": bool(pin)}
        )
    unpinned = [row for row in addresses if not row["pinned"]]
    if unpinned:
        log.text("pins", "\n".join(f"{row['url']} sha256: {row['sha256']}" for row in unpinned))
    archives = _unpack(source, raw / "files")
    return {"files": _described(raw, source, log), "addresses": addresses, **archives}


def _fetched(
    source: UrlSource, wanted: list[tuple[str, str, str | None]], log: Log
) -> list[tuple[Path, str]]:
    from stages.acquire.download import fetch

    return [
        (fetch(url, pin, source, log, done, len(wanted)), name)
        for done, (url, name, pin) in enumerate(wanted)
    ]


def _from_containers(
    source: ExtractSource, licence: str | None, folder: Path, raw: Path, log: Log
) -> dict[str, Any]:
    from stages.acquire import extraction, packages

    files, came = source.files(), []
    if source.addresses is not None:
        wanted = targets(source.addresses)
        root = log.scratch / "fetched"
        for path, name in _fetched(source.addresses, wanted, log):
            _link(path, root / name)
        came = [
            {"url": url, "path": name, "sha256": file_digest(root / name), "pinned": bool(pin)}
            for url, name, pin in wanted
        ]
    else:
        root = local.find_root(files, folder)
    places = [(name, root / name) for name in local.find(files, root, log)]
    inputs = packages.inputs(source, places, licence)
    account, reading = extraction.extract(source, inputs, raw, log)
    if licence is None and (stated := _together(account["licences"])):
        account["licence"] = stated
    rows = manifest.rows(raw, reading, [], log)
    for row in rows:
        row["records"] = tables.open_parquet(raw / row["path"]).metadata.num_rows
    return {"files": rows, **account, **({"addresses": came} if came else {})}


def _together(licences: dict[str, int]) -> str | None:
    """Return the licences of all documents as one expression, where each states a plain one."""
    names = sorted({one for name in licences for one in name.split(" AND ")})
    if not names or len(names) > MOST_LICENCES or any(" OR " in one for one in names):
        return None
    return None if UNKNOWN in names else " AND ".join(names)


def _link(path: Path, place: Path) -> None:
    """Give a fetched file the name that patterns look for, without copying it where that works."""
    with told_plainly(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(path, place)
        except OSError:
            shutil.copyfile(path, place)


def _move(path: Path, kept: Path) -> None:
    shutil.move(path, kept)


def targets(source: UrlSource) -> list[tuple[str, str, str | None]]:
    """Return (address, relative path to keep, pin) of each file; two may not share a path."""
    found: list[tuple[str, str, str | None]] = []
    for file in source.files:
        base = source.base if source.base.endswith("/") or not source.base else source.base + "/"
        url = urljoin(base, file.path)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SourceError(
                f"{url!r} is no http or https address",
                "acquire: source.base",
                "begin `base` or the path with https://",
            )
        relative = file.path if not urlsplit(file.path).scheme else parts.path.lstrip("/")
        name = str(inside(file.name or relative.split("?")[0], f"acquire: source.files of {url}"))
        found.append((url, name, file.sha256))
    names = [name for _, name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"two addresses would be kept as {twice[0]!r}",
            "acquire: source.files",
            "give one of them another `name`",
        )
    return found


def _from_hub(
    source: HubSource, licence: str | None, folder: Path, raw: Path, log: Log
) -> dict[str, Any]:
    from stages.acquire.hub import card_licence, stream

    stream(source, folder, raw / "files", log)
    reading = source.reading.model_copy(update={"format": "jsonl"})
    told: dict[str, Any] = {"files": manifest.rows(raw, reading, [], log)}
    stated = card_licence(source, folder, log)
    told["card_licence"] = stated
    if stated and licence is None:
        told["licence"] = stated
    elif stated and stated != licence:
        log.text("card_licence", f"the card states {stated}, declared is {licence}")
    return told


def _from_query(source: SqlSource, folder: Path, raw: Path, log: Log) -> dict[str, Any]:
    from stages.acquire.sql import stream

    stream(source, folder, raw / "files", log)
    reading = source.reading.model_copy(update={"format": "parquet"})
    return {"files": manifest.rows(raw, reading, [], log)}


def _check_pin(source: Any, found: str) -> None:
    pin = source.sha256 if isinstance(source, FilesSource) else None
    if pin is not None and pin != found:
        raise SourceError(
            f"the content's SHA-256 is {found}, declared is {pin}",
            "acquire: source.sha256",
            "find out why the files changed; if they may, declare the new digest",
        )
