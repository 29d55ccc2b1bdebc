"""The servers: Prefect's, the process that serves the deployments, and MLflow's page.

Each is a background process on the loopback interface with a file of its own:

    .deveno/servers/<name>.json    {pid, created, port}      (`created` tells a reused pid)
    .deveno/servers/<name>.log

Nothing here imports prefect or mlflow, so that `deveno down` is quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stages.core import canonical
from stages.core.errors import MachineError

LOOPBACK = "127.0.0.1"
HEALTHY_S = 240.0
"""How long a server may take; a cold one on two busy cores needs a minute and more."""
STOP_S = 15.0
MLFLOW_PORT = 5000
DEFAULT_URL = f"http://{LOOPBACK}:4200/api"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the loopback interface, whatever proxy the environment names."""


@dataclass(frozen=True)
class Service:
    """A background process of this home."""

    home: Path
    name: str
    command: tuple[str, ...]
    port: int = 0
    url: str = ""
    """Where it answers when it is well; empty if it answers nowhere."""

    @property
    def note(self) -> Path:
        """The file that says which process it is."""
        return self.home / ".deveno" / "servers" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.note.with_suffix(".log")


def api_url(home: Path) -> str:
    """Return the address of Prefect's server: PREFECT_API_URL, else what prefect.toml says."""
    stated = os.environ.get("PREFECT_API_URL")
    if stated:
        return stated
    try:
        settings = tomllib.loads((home / "prefect.toml").read_text(encoding="utf-8"))
        return str(settings["api"]["url"])
    except (OSError, KeyError):
        return DEFAULT_URL
    except tomllib.TOMLDecodeError as error:
        raise MachineError(
            f"prefect.toml does not parse: {error}", "prefect.toml", "correct it, or restore it"
        ) from None


def environment(home: Path, url: str) -> dict[str, str]:
    """Return the variables under which prefect runs here: this home, this server, no telemetry."""
    known = [part for part in os.environ.get("NO_PROXY", "").split(",") if part]
    return {
        "PREFECT_HOME": str(home / ".deveno" / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes otherwise
        "DVC_NO_ANALYTICS": "1",
        "NO_PROXY": ",".join(dict.fromkeys([*known, LOOPBACK, "localhost"])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }


def prefect_service(home: Path, url: str) -> Service:
    """Return Prefect's server at an address of this machine."""
    parts = urlsplit(url)
    if parts.hostname not in (LOOPBACK, "localhost"):
        raise MachineError(
            f"the Prefect address {url} is not on this machine",
            "prefect.toml: [api] url, or PREFECT_API_URL",
            f"start that server yourself, or set {DEFAULT_URL}",
        )
    port = parts.port or 4200
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK)
    return Service(home, "prefect", (*command, "--port", str(port)), port, f"{url}/health")


def mlflow_service(home: Path, database: str, port: int) -> Service:
    """Return MLflow's page over the store at the root."""
    command = (
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", database,
        "--host", LOOPBACK, "--port", str(port), "--workers", "1",
    )  # fmt: skip
    return Service(home, "mlflow", command, port, f"http://{LOOPBACK}:{port}/health")


def deployments_service(home: Path) -> Service:
    """Return the process that serves the deployments."""
    return Service(home, "deployments", (sys.executable, "-m", "flows.deployments"))


def answers(url: str, seconds: float = 2.0) -> bool:
    """Return whether an address answers with success."""
    try:
        with direct.open(url, timeout=seconds) as answer:
            return 200 <= answer.status < 300
    except (OSError, ValueError):
        return False


def running(service: Service) -> int | None:
    """Return the pid of a service that lives; a stale file does no harm."""
    try:
        note = json.loads(service.note.read_text(encoding="utf-8"))
        pid, created = int(note["pid"]), float(note["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        if alive and abs(process.create_time() - created) < 1.0:
            return pid
    return None


def own_url(prefect: Service) -> str:
    """Return the address at which this home's Prefect server listens, or an empty text."""
    if running(prefect) is None:
        return ""
    port = json.loads(prefect.note.read_text(encoding="utf-8"))["port"]
    return f"http://{LOOPBACK}:{port}/api"


def start(service: Service, variables: Mapping[str, str]) -> bool:
    """Start a service in the background; return False if it already runs."""
    if running(service) is not None:
        port = json.loads(service.note.read_text(encoding="utf-8"))["port"]
        if port != service.port:
            raise MachineError(
                f"the {service.name} server of this clone listens on port {port}",
                f"the settings say {service.port}",
                "run `deveno down`, then `deveno up`",
            )
        return False
    if service.port:
        check_port(service)
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with service.log.open("wb") as stream:
        process = subprocess.Popen(
            service.command, cwd=service.home, env={**os.environ, **variables},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    write_note(service, process.pid, service.port)
    return True


def write_note(service: Service, pid: int, port: int) -> None:
    """Note which process a service is, and where it listens."""
    import psutil

    with contextlib.suppress(psutil.Error):
        created = psutil.Process(pid).create_time()
        canonical.write_json(service.note, {"pid": pid, "created": created, "port": port})


def check_port(service: Service) -> None:
    """Refuse a port on which somebody else listens."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, service.port))
        except OSError as error:
            raise MachineError(
                f"port {service.port} is in use ({error.strerror})",
                f"{service.name} wants {LOOPBACK}:{service.port}",
                "stop what listens there (another clone's `deveno down`?), or set "
                + (
                    "DEVENO_MLFLOW_PORT" if service.name == "mlflow" else "the port in prefect.toml"
                ),
            ) from None


def wait(service: Service, seconds: float = HEALTHY_S) -> None:
    """Wait until a service answers; a dead or deaf one is an error that names its log."""
    deadline = time.monotonic() + seconds
    while not answers(service.url):
        if running(service) is None:
            raise MachineError(
                f"the {service.name} server stopped while it started",
                last_line(service.log),
                f"read {short(service.log, service.home)}",
            )
        if time.monotonic() > deadline:
            raise MachineError(
                f"the {service.name} server did not answer within {seconds:.0f} s",
                service.url,
                f"read {short(service.log, service.home)}, or try again",
            )
        time.sleep(0.2)


def stop(services: Sequence[Service], seconds: float = STOP_S) -> list[str]:
    """Stop services with everything they started, one by one; return the names of those that ran.

    The order matters: what serves the deployments still tells the server how its runs ended.
    What a killed service left in its process group is ended like the service itself.
    """
    stopped = []
    for service in services:
        left = _group(service)
        if left:
            stopped.append(service.name)
            _signal_group(left[0], signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while left := _group(service):
                if time.monotonic() > deadline:
                    _signal_group(left[0], signal.SIGKILL)
                time.sleep(0.05)
        service.note.unlink(missing_ok=True)
    return stopped


def _group(service: Service) -> list[int]:
    """Return the process group of a service, once per living member; [] when all have ended."""
    import psutil

    try:
        note = json.loads(service.note.read_text(encoding="utf-8"))
        leader, created = int(note["pid"]), float(note["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    with contextlib.suppress(ChildProcessError):  # a child of ours in a test
        os.waitpid(leader, os.WNOHANG)
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) != leader or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid == leader and abs(process.create_time() - created) >= 1.0:
                return []  # the number went to a stranger
            members.append(leader)
    return members


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def last_line(log: Path) -> str:
    """Return the last thing a log says."""
    try:
        rows = [row for row in log.read_text(errors="replace").splitlines() if row.strip()]
    except OSError:
        rows = []
    return rows[-1].strip() if rows else "it said nothing"


def short(path: Path, home: Path) -> str:
    """Return a path as it is called from the home."""
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
