"""The content digest of raw material that lies outside the repository, for `sources.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from stages.acquire.sources import ExtractSource, FilesSource, UrlSource
from stages.core import canonical
from stages.core.errors import SourceError
from stages.core.log import Log

if TYPE_CHECKING:
    from stages.acquire.stage import AcquireParams

INSIDE = "none"
PATIENCE_S = 5.0
"""How long a server may take to say what it holds; asked is only what has no declared digest."""
AT_ONCE = 8
VALIDATORS = ("ETag", "Last-Modified", "Content-Length")


def digest(params: AcquireParams, hash_file: Callable[[Path], str | None]) -> str | None:
    """Return the digest of what a source holds now; `none` inside the repository, None if gone.

    Files count by path and content. Files behind addresses count by their declared SHA-256, else
    by what the server says of them (ETag, Last-Modified, Content-Length): no byte is fetched.
    """
    source = params.source
    if isinstance(source, ExtractSource):
        if source.addresses is not None:
            return _of_addresses(source.addresses)
        return _of_files(source.files(), hash_file, source) if source.root else INSIDE
    if isinstance(source, FilesSource) and source.root is not None:
        return _of_files(source, hash_file)
    if isinstance(source, UrlSource):
        return _of_addresses(source)
    return INSIDE


def _of_files(
    source: FilesSource,
    hash_file: Callable[[Path], str | None],
    extract: ExtractSource | None = None,
) -> str | None:
    from stages.acquire import local  # its readers are heavy

    try:
        root = local.find_root(source, Path())
        names = local.find(source, root, Log())
        if extract is not None:
            names = sorted({*names, *_beside(extract, root, names)})
    except (SourceError, OSError):
        return None
    return f"files:{canonical.digest([[name, hash_file(root / name)] for name in names])}"


def _beside(source: ExtractSource, root: Path, names: list[str]) -> list[str]:
    """Return the files that are read together with a source's own, relative to the root."""
    from stages.acquire import packages
    from stages.acquire.readers.registry import READERS

    found = READERS[source.reader.format].beside
    inputs = packages.inputs(source, [(name, root / name) for name in names], None)
    paths = [path for one in inputs for path in found(one, source.reader) if path.is_file()]
    return [path.relative_to(root).as_posix() for path in paths]


def _of_addresses(source: UrlSource) -> str | None:
    from stages.acquire.collection import targets

    try:
        wanted = targets(source)
    except SourceError:
        return None
    if all(pin for _, _, pin in wanted):
        return f"pinned:{canonical.digest([[url, pin] for url, _, pin in wanted])}"
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        told = list(pool.map(lambda row: [row[0], row[2] or _told(row[0])], wanted))
    if any(facts is None for _, facts in told):
        return None
    return f"served:{canonical.digest(told)}"


def _told(url: str) -> list[str] | None:
    """Return what a server says of a file, or None where it does not answer."""
    import requests

    try:
        answer = requests.head(
            url, allow_redirects=True, timeout=PATIENCE_S, headers={"Accept-Encoding": "identity"}
        )
    except requests.RequestException:
        return None
    if answer.status_code >= 400:
        return None
    return [answer.headers.get(name, "") for name in VALIDATORS]
