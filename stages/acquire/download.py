"""Files over HTTP: resumed by range, retried with back-off, checked against what was declared.

A download lives in the scratch folder as `<digest of the address>.part` until it is whole, so a
killed run goes on where it stopped. Nothing here depends on chance: waits double, without jitter,
unless a busy server says how long it wants to be left alone. The file's own bytes are asked for; a
server that sends them in gzip all the same is resumed in gzip, and unpacked once all is there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from stages.acquire.sources import UrlSource
from stages.core.canonical import file_digest, write_json
from stages.core.errors import Resumable, SourceError
from stages.core.log import Log
from stages.lm.writing import copy_stream, told_plainly

LONGEST_WAIT_S = 60.0
LONGEST_ASKED_WAIT_S = 900.0
"""A server that asks for a longer pause than this (`Retry-After`) is told to the user instead."""
CHUNK_BYTES = 1 << 16
REDIRECTS = 5
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_GZIP = frozenset({"gzip", "x-gzip"})
_RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)")
_TRANSIENT = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class _Again(Exception):
    """This try brought an end that another try may mend, after `wait_s` if the server says so."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


@dataclass
class _State:
    """What is known of a download between tries, kept beside the part file."""

    part: Path
    note: Path
    total: int | None = None
    validator: str | None = None
    coding: str | None = None

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def load(self) -> None:
        try:
            held = json.loads(self.note.read_text("utf-8"))
            self.total, self.validator = held["total"], held["validator"]
            self.coding = held.get("coding")
        except (OSError, ValueError, KeyError, TypeError):
            self.restart()

    def save(self) -> None:
        known = {"total": self.total, "validator": self.validator, "coding": self.coding}
        write_json(self.note, known)

    def restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.total = self.validator = self.coding = None


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
            _finish(url, state, whole, source, pin)
    if pin is not None and (found := file_digest(whole)) != pin:
        whole.unlink()
        raise SourceError(
            f"the SHA-256 is {found}, declared is {pin}",
            url,
            "find out why the file changed; if it may, declare the new digest",
        )
    return whole


def _finish(url: str, state: _State, whole: Path, source: UrlSource, pin: str | None) -> None:
    """Name the part as whole; what travelled in gzip only to be smaller is unpacked."""
    packed = urlsplit(url).path.lower().endswith((".gz", ".tgz"))
    if state.coding is None or packed or (pin is not None and file_digest(state.part) == pin):
        state.part.rename(whole)
        return
    plain = state.part.with_suffix(".plain")
    plain.unlink(missing_ok=True)
    try:
        with gzip.open(state.part) as stream:
            copy_stream(stream, plain, max_bytes=source.max_bytes)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        plain.unlink(missing_ok=True)
        state.restart()
        raise SourceError(
            f"the server sent gzip that is damaged ({error})", url, "run again, it starts over"
        ) from error
    plain.rename(whole)
    state.part.unlink()


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
                _pause(max(wait, getattr(error, "wait_s", 0.0)), url, log)
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
        raise _Again(f"the server answered {status}", _asked_wait(answer, url))
    if status not in (200, 206):
        raise SourceError(
            f"the server answered {status} {answer.reason or ''}".rstrip(),
            url,
            "check the address in `base` and `files`",
        )
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if validator is not None and validator.startswith("W/"):
        validator = answer.headers.get("Last-Modified")  # A weak tag may not guard a range.
    coding = _coding(answer, url)
    if status == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not have or found is None or found[1] is None or int(found[1]) != have:
            state.restart()
            raise _Again("the server sent another range than asked")
        if (validator and state.validator and validator != state.validator) or (
            coding != state.coding
        ):
            state.restart()  # It went on in another file: `If-Range` was not heeded.
            raise _Again("the file changed between two tries; starting over")
        total = None if found[3] == "*" else int(found[3])
        if state.total is not None and total not in (None, state.total):
            state.restart()
            raise _Again(f"the file has {total} bytes now; starting over")
        state.total = total or state.total
    else:
        state.restart()  # The server ignores ranges, or the file is another one now.
        length = answer.headers.get("Content-Length", "")
        state.total = int(length) if length.isdigit() else None
    state.validator, state.coding = validator, coding


def _coding(answer: requests.Response, url: str) -> str | None:
    """Return `gzip` where the body is not the file itself; it was not asked for, but servers do."""
    found = answer.headers.get("Content-Encoding", "").strip().lower()
    if found in ("", "identity"):
        return None
    if found in _GZIP:
        return "gzip"
    raise SourceError(
        f"the server sends the file in the encoding {found!r}",
        url,
        "name an address that gives the file as it is, or fetch it yourself into a `files` source",
    )


def _asked_wait(answer: requests.Response, url: str) -> float:
    """Return the seconds that a busy server asks for (`Retry-After`: a number or a date)."""
    said = answer.headers.get("Retry-After", "").strip()
    try:
        wait = (
            float(said) if said.isdigit() else parsedate_to_datetime(said).timestamp() - time.time()
        )
    except ValueError:
        return 0.0
    if wait > LONGEST_ASKED_WAIT_S:
        raise SourceError(
            f"the server answered {answer.status_code} and asks to wait {wait:.0f} seconds",
            url,
            "run again after that; what has come is kept",
        )
    return max(0.0, wait)


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
