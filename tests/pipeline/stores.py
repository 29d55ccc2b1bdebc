"""Remotes on this machine: a folder, an S3 server and a web server in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipeline.naps import free_port

KINDS = ("folder", "bucket", "web")
SECRET = "not-a-real-secret"
BUCKET = "artifacts"


@dataclass
class Store:
    """One remote: how it is written to, how it is read from, and a folder where one shows it."""

    url: str
    read_url: str = ""
    folder: Path | None = None
    options: dict[str, str] = field(default_factory=dict)

    def configure(self, root: Path, reading: bool = False) -> None:
        """Make it a clone's default remote; what is secret goes to config.local."""
        (root / ".dvc").mkdir(exist_ok=True)
        url = self.read_url if reading and self.read_url else self.url
        config = root / ".dvc/config"
        config.write_text(
            "[core]\n    analytics = false\n    check_update = false\n    remote = store\n"
            f"['remote \"store\"']\n    url = {url}\n"
        )
        rows = "".join(f"    {name} = {value}\n" for name, value in self.options.items())
        if rows:
            (root / ".dvc/config.local").write_text(f"['remote \"store\"']\n{rows}")


@contextlib.contextmanager
def served(*arguments: str, port: int) -> Iterator[str]:
    """Run a Python module as a server until the end; give its address once it answers."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while not _answers(address):
                assert server.poll() is None, "the server went away"
                assert time.monotonic() < deadline, "the server did not come"
                time.sleep(0.1)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def buckets() -> Iterator[str]:
    """Run an S3-compatible server that begins with one empty bucket."""
    import boto3

    port = free_port()
    with served("moto.server", "-H", "127.0.0.1", "-p", str(port), port=port) as address:
        client = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key=SECRET,
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield address


@contextlib.contextmanager
def web(folder: Path) -> Iterator[str]:
    """Show a folder by HTTP, reading only."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ("http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder))
    with served(*arguments, port=port) as address:
        yield address


@contextlib.contextmanager
def opened(kind: str, folder: Path, address: str) -> Iterator[Store]:
    """Give an empty remote of a kind; `address` is a running S3 server's."""
    place = folder / "remote"
    if kind == "folder":
        yield Store(str(place), folder=place)
    elif kind == "web":
        with web(place) as shown:
            yield Store(str(place), read_url=shown, folder=place)
    else:
        options = {
            "endpointurl": address, "access_key_id": "test", "secret_access_key": SECRET,
            "region": "us-east-1",
        }  # fmt: skip
        yield Store(f"s3://{BUCKET}/{folder.name}", options=options)
