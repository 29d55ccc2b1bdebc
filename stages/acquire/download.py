"""Files over HTTP: resumed by range, retried with back-off, checked against what was declared.

A download lives in the scratch folder as `<digest of the address>.part` until it is whole, so a
killed run goes on where it stopped. Nothing here depends on chance: waits double, without jitter.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from stages.acquire.sources import UrlSource
from stages.acquire.writing import told_plainly
from stages.core.canonical import file_digest, write_json
from stages.core.errors import Resumable, SourceError
from stages.core.log import Log

LONGEST_WAIT_S = 60.0
CHUNK_BYTES = 1 << 16
REDIRECTS = 5
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)")
_TRANSIENT = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class _Again(Exception):
    """This try brought an end that another try may mend."""


@dataclass
class _State:
    """What is known of a download between tries, kept beside the part file."""

    part: Path
    note: Path
    total: int | None = None
    validator: str | None = None

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def load(self) -> None:
        try:
            held = json.loads(self.note.read_text("utf-8"))
            self.total, self.validator = held["total"], held["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            self.restart()

    def save(self) -> None:
        write_json(self.note, {"total": self.total, "validator": self.validator})

    def restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.total = self.validator = None


def fetch(url: str, pin: str | None, source: UrlSource, log: Log, done: int, files: int) -> Path:
    """Return the path of the whole file in scratch, or raise a SourceError that says why not.

    `done` of `files` are there already; the progress line counts bytes of this one.
    """
    folder = log.scratch / "downloads"
    name = hashlib.sha256(url.encode()).hexdigest()
    whole = folder / name
    with told_plainly(whole):
        folder.mkdir(parents=True, exist_ok=True)
        if not whole.exists():
            state = _State(folder / f"{name}.part", folder / f"{name}.json")
            state.load()
            _insist(url, state, source, log, f"bytes of file {done + 1}/{files}", pin)
            state.part.rename(whole)
    if pin is not None and (found := file_digest(whole)) != pin:
        whole.unlink()
        raise SourceError(
            f"the SHA-256 is {found}, declared is {pin}",
            url,
            "find out why the file changed; if it may, declare the new digest",
        )
    return whole


def _insist(
    url: str, state: _State, source: UrlSource, log: Log, unit: str, pin: str | None
) -> None:
    """Try until the file is whole; tries that bring nothing new are counted."""
    idle, best, wait = 0, state.have, source.backoff_seconds
    with requests.Session() as session:
        while True:
            try:
                _attempt(session, url, state, source, log, unit, pin)
                return
            except (_Again, *_TRANSIENT) as error:
                if isinstance(error, OSError) and error.errno and not _network(error):
                    raise
                idle = 1 if state.have > best else idle + 1
                if state.have > best:
                    best, wait = state.have, source.backoff_seconds
                if idle >= source.attempts:
                    raise _given_up(url, state, idle, error) from error
                _pause(wait, url, log)
                wait = min(2 * wait, LONGEST_WAIT_S)


def _network(error: OSError) -> bool:
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError)


def _given_up(url: str, state: _State, tries: int, error: Exception) -> SourceError:
    reason = str(error) if isinstance(error, _Again) else f"{type(error).__name__}: {error}"
    if isinstance(error, requests.ConnectionError) and not state.have:
        return SourceError(
            f"the server {urlsplit(url).netloc} is not reachable ({tries} tries)",
            url,
            "check the address and the network; `base` names another server",
        )
    return SourceError(
        f"the download stopped at {state.have} of {state.total or 'unknown'} bytes: {reason:.200}",
        url,
        f"run again, it goes on there ({tries} tries brought nothing more)",
    )


def _pause(seconds: float, url: str, log: Log) -> None:
    until = time.monotonic() + seconds
    while True:
        _stop_if_asked(url, log)
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.5))


def _stop_if_asked(url: str, log: Log) -> None:
    if log.stopping:
        raise Resumable(
            "stopped on request during a download", url, "run again: it goes on where it was"
        )


def _attempt(
    session: requests.Session,
    url: str,
    state: _State,
    source: UrlSource,
    log: Log,
    unit: str,
    pin: str | None,
) -> None:
    _stop_if_asked(url, log)
    have = state.have
    headers = {"Accept-Encoding": "identity", "User-Agent": "deveno"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if state.validator:
            headers["If-Range"] = state.validator
    with _open(session, url, headers, source) as answer:
        if answer.status_code == 416:
            _beyond_the_end(answer, state, pin)
            return
        _begin(answer, url, state, have)
        if state.total is not None and state.total > source.max_bytes:
            raise _too_large(url, state.total, source)
        state.save()
        _receive(answer, url, state, source, log, unit)
    if state.total is not None and state.have < state.total:
        raise _Again(f"the server said {state.total} bytes and sent {state.have}")


def _open(
    session: requests.Session, url: str, headers: dict[str, str], source: UrlSource
) -> requests.Response:
    """Send the request, following redirects to declared hosts only."""
    allowed = {urlsplit(url).netloc, urlsplit(source.base).netloc, *source.hosts}
    at = url
    for _ in range(REDIRECTS + 1):
        answer = session.get(
            at,
            headers=headers,
            stream=True,
            timeout=source.timeout_seconds,
            allow_redirects=False,
        )
        if answer.status_code not in _MOVED:
            return answer
        target = urljoin(at, answer.headers.get("Location", ""))
        answer.close()
        secure = urlsplit(at).scheme == "https"
        if urlsplit(target).netloc not in allowed or (
            secure and urlsplit(target).scheme != "https"
        ):
            raise SourceError(
                f"the server redirects to {target}",
                at,
                f"add {urlsplit(target).netloc!r} to `hosts` if you trust it",
            )
        at = target
    raise SourceError(f"more than {REDIRECTS} redirects", url, "name the final address")


def _beyond_the_end(answer: requests.Response, state: _State, pin: str | None) -> None:
    """Take what is there as whole if the server says so, and nothing said otherwise before."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    real = int(found[3]) if found and found[3] != "*" else None
    promised = state.total
    if real is not None and real == state.have:
        if promised in (None, real) or (pin is not None and file_digest(state.part) == pin):
            return
        raise _Again(f"the server said {promised} bytes and later {real}")
    state.restart()
    raise _Again("the server refused the range (416); starting over")


def _begin(answer: requests.Response, url: str, state: _State, have: int) -> None:
    """Check the status line and set the part file to where the body begins."""
    status = answer.status_code
    if status in _RETRIED:
        raise _Again(f"the server answered {status}")
    if status not in (200, 206):
        raise SourceError(
            f"the server answered {status} {answer.reason or ''}".rstrip(),
            url,
            "check the address in `base` and `files`",
        )
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if validator is not None and validator.startswith("W/"):
        validator = answer.headers.get("Last-Modified")  # A weak tag may not guard a range.
    if status == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not have or found is None or found[1] is None or int(found[1]) != have:
            state.restart()
            raise _Again("the server sent another range than asked")
        total = None if found[3] == "*" else int(found[3])
        if state.total is not None and total not in (None, state.total):
            state.restart()
            raise _Again(f"the file has {total} bytes now; starting over")
        state.total = total or state.total
    else:
        state.restart()  # The server ignores ranges, or the file is another one now.
        length = answer.headers.get("Content-Length", "")
        state.total = int(length) if length.isdigit() else None
    state.validator = validator


def _receive(
    answer: requests.Response, url: str, state: _State, source: UrlSource, log: Log, unit: str
) -> None:
    have = state.have
    with state.part.open("ab") as out:
        for chunk in _chunks(answer):
            have += len(chunk)
            if have > source.max_bytes:
                raise _too_large(url, have, source)
            out.write(chunk)
            log.progress(have, state.total, unit)
            if log.stopping:
                out.flush()
                _stop_if_asked(url, log)


def _chunks(answer: requests.Response) -> Any:
    """Yield the body as it comes off the wire; a cut connection keeps what came before."""
    while chunk := answer.raw.read1(CHUNK_BYTES):
        yield chunk


def _too_large(url: str, size: int, source: UrlSource) -> SourceError:
    return SourceError(
        f"the file has {size} bytes or more, allowed are {source.max_bytes}",
        url,
        "raise `max_bytes` if that is meant",
    )
