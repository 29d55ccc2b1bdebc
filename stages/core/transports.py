"""Reading and writing single files of a DVC remote: a local folder, S3, or HTTP (reading only).

DVC's own commands move outputs of `dvc.lock`; they do not move what the run cache names besides
(metrics, plots, earlier results), cannot ask for one key, and take bytes on trust. So the few
calls that `stages.core.remotes` needs are here, on DVC's own layout and DVC's own settings.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from stages.core import canonical
from stages.core.addresses import Settings
from stages.core.errors import ParamsError

LOOK_S = (3.0, 5.0)
"""Seconds to connect, and to wait for an answer, when only asking: a dead remote costs no more."""
MOVE_S = (5.0, 60.0)
"""The same when moving an object."""
CHUNK_BYTES = 1 << 20
TELLING = "Connection refused|timed out|Name or service not known|[Uu]nable to locate credentials"


class Unreachable(Exception):
    """The remote does not answer, or not to us."""


class Sink(Protocol):
    """What a download is written to."""

    def write(self, data: bytes, /) -> int:
        """Take bytes."""


class Transport(Protocol):
    """What every kind of remote can do; paths are relative, with slashes."""

    writable: bool

    def begin(self) -> None:
        """Make ready to be written to."""

    def read(self, path: str) -> bytes | None:
        """Return a small file, or None where there is none."""

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes (-1 where it is not told), or None."""

    def names(self, folder: str) -> list[str] | None:
        """Return the paths of all files below a folder; None where listing is impossible."""

    def download(self, path: str, target: Sink) -> bool:
        """Append a file to an open one; return whether it was there."""

    def upload(self, path: str, source: Path, md5: str) -> None:
        """Put a file there whole, or not at all; its bytes must have that MD5."""

    def write(self, path: str, data: bytes) -> None:
        """Put a small file there whole."""


def opened(settings: Settings) -> Transport:
    """Return the transport of a remote; other kinds than the three are refused."""
    for option in ("version_aware", "worktree"):
        if settings.options.get(option, "false").lower() in ("true", "1", "yes", "on"):
            raise ParamsError(
                f"the remote {settings.name!r} is {option}: it has no objects by content",
                f".dvc/config: remote {settings.name}",
                "use a plain remote, or `dvc push` and `dvc pull`",
            )
    scheme = urlsplit(settings.url).scheme if "://" in settings.url else ""
    if not scheme:
        return Folder(Path(settings.url))
    if scheme in ("http", "https"):
        return Web(settings)
    if scheme == "s3":
        from stages.core.buckets import Bucket

        return Bucket(settings)
    raise ParamsError(
        f"the remote {settings.name!r} is of kind {scheme}",
        f".dvc/config: remote {settings.name}: {settings.url}",
        "deveno knows folders, s3 and http; for others use `dvc push --run-cache` and `dvc pull`",
    )


class Folder:
    """A local or mounted folder."""

    writable = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self) -> None:
        """Make the folder, as DVC's own push does."""
        self.root.mkdir(parents=True, exist_ok=True)

    def _there(self) -> None:
        if not self.root.is_dir():
            raise Unreachable(f"the folder {self.root} is not there")

    def read(self, path: str) -> bytes | None:
        """Return a small file, or None."""
        self._there()
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreachable(f"{error.strerror}: {path}") from None

    def size(self, path: str) -> int | None:
        """Return a file's size, or None."""
        self._there()
        place = self.root / path
        return place.stat().st_size if place.is_file() else None

    def names(self, folder: str) -> list[str] | None:
        """Return the files below a folder, sorted."""
        self._there()
        found = (self.root / folder).rglob("*")
        paths = [path for path in found if path.is_file() and not path.name.endswith(".tmp")]
        return sorted(path.relative_to(self.root).as_posix() for path in paths)

    def download(self, path: str, target: Sink) -> bool:
        """Append a file to an open one."""
        self._there()
        try:
            with (self.root / path).open("rb") as stream:
                shutil.copyfileobj(stream, target, CHUNK_BYTES)
        except FileNotFoundError:
            return False
        return True

    def upload(self, path: str, source: Path, md5: str) -> None:
        """Copy a file beside its place, read it back, and rename."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, temporary)
            if canonical.file_digest(temporary, "md5") != md5:
                raise Unreachable(f"the folder {self.root} kept other bytes of {path} than it got")
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, path: str, data: bytes) -> None:
        """Write a small file."""
        canonical.write_bytes(self.root / path, data)


class Web:
    """A folder that some server shows by HTTP."""

    writable = False

    def __init__(self, settings: Settings) -> None:
        import requests

        self.url = settings.url.rstrip("/")
        options = settings.options
        self.session = requests.Session()
        user, password = options.get("user", ""), options.get("password", "")
        if options.get("custom_auth_header"):
            self.session.headers[options["custom_auth_header"]] = password
        elif user:
            self.session.auth = (user, password)
        verify = options.get("ssl_verify", "true")
        known = {"true": True, "false": False}
        self.session.verify = known.get(verify.lower(), verify)

    def _ask(self, method: str, path: str, times: tuple[float, float]) -> Any:
        """Return the answer, or None where there is no such file."""
        import requests

        try:
            answer = self.session.request(
                method, f"{self.url}/{quote(path)}", timeout=times, stream=True,
                allow_redirects=True, headers={"Accept-Encoding": "identity"},
            )  # fmt: skip
        except requests.RequestException as error:
            raise Unreachable(f"{self.url}: {plain(error)}") from None
        if answer.status_code in (404, 410):
            answer.close()
            return None
        if answer.status_code >= 400:
            answer.close()
            raise Unreachable(f"{self.url} answers {answer.status_code} {answer.reason}")
        return answer

    def read(self, path: str) -> bytes | None:
        """Return a small file, or None."""
        import requests

        answer = self._ask("GET", path, LOOK_S)
        if answer is None:
            return None
        try:
            return bytes(answer.content)
        except requests.RequestException as error:
            raise Unreachable(f"{self.url}: {plain(error)}") from None

    def size(self, path: str) -> int | None:
        """Return a file's size, or None."""
        answer = self._ask("HEAD", path, LOOK_S)
        if answer is None:
            return None
        answer.close()
        return int(answer.headers.get("Content-Length", -1))

    def names(self, folder: str) -> list[str] | None:
        """Return None: HTTP has no listing."""
        return None

    def download(self, path: str, target: Sink) -> bool:
        """Append a file to an open one."""
        import requests

        answer = self._ask("GET", path, MOVE_S)
        if answer is None:
            return False
        try:
            for chunk in answer.iter_content(CHUNK_BYTES):
                target.write(chunk)
        except requests.RequestException as error:
            raise Unreachable(f"{self.url}: {plain(error)}") from None
        return True

    def begin(self) -> None:
        """Refuse: this kind is read only."""
        raise Unreachable(f"{self.url} is read only")

    def upload(self, path: str, source: Path, md5: str) -> None:
        """Refuse: this kind is read only."""
        raise Unreachable(f"{self.url} is read only")

    def write(self, path: str, data: bytes) -> None:
        """Refuse: this kind is read only."""
        raise Unreachable(f"{self.url} is read only")


def plain(error: Exception) -> str:
    """Return an exception's reason on one line, without the objects that libraries print."""
    text = " ".join(str(error).split()) or type(error).__name__
    reason = re.search(TELLING, text)
    return reason[0] if reason else text[:200]
