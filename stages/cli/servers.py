"""Verbs around the servers: up, down, serve, and what a flow asks a worktree for (steps)."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.cli.inspection import Add
from stages.core import adoption, machine, origins, plan, prune, recipes, references, workspace
from stages.core.errors import MachineError

if TYPE_CHECKING:
    from flows.server import Service


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    add(
        "up",
        up,
        "start the Prefect server, the deployments and MLflow's page, on this machine only",
    )
    add("down", down, "stop what `up` started")
    add("serve", serve, "serve the deployments in the foreground (a server must be up)")
    steps = add("steps", show_steps, "what is to run, as JSON for the flows")
    steps.add_argument("targets", nargs="*", metavar="TARGET")
    steps.add_argument("--force", action="store_true")


def up(options: argparse.Namespace) -> int:
    """Start the servers and wait until each answers; those that run are left alone."""
    from flows import server

    home = workspace.home(workspace.root())
    url = server.api_url(home)
    variables = server.environment(home, url)
    (home / ".deveno" / "prefect").mkdir(parents=True, exist_ok=True)
    prefect = server.prefect_service(home, url)
    began = time.monotonic()
    new = server.start(prefect, variables)
    if new:
        print("starting the Prefect server (half a minute on its first start) ...", flush=True)
    page = _mlflow(home)
    if page is not None:
        server.start(page, variables)
    server.wait(prefect)
    print(f"prefect      {url.removesuffix('/api')}")
    _serve_deployments(home, url, new)
    if page is not None:
        server.wait(page)
        print(f"mlflow       {page.url.removesuffix('/health')}")
    print("a deployment runs what is committed (HEAD), in .deveno/worktrees/<recipe>")
    print(f"up after {time.monotonic() - began:.0f} s; `deveno down` stops them")
    return 0


def _serve_deployments(home: Path, url: str, new_server: bool) -> None:
    """Serve the deployments, anew where the server is new: who served them for one that died
    hears no more of cancelled runs.
    """
    from flows import runs, server

    service = server.deployments_service(home)
    since = 0.0
    if new_server or server.running(service) is None:
        server.stop([service], _patience_s())
        for name in runs.close_lost(home, url):
            print(f"closed       {name}: it had no process any more")
        since = time.time()
        server.start(service, server.environment(home, url))
    names = [f"pipeline/{name}" for name in recipes.names(home)] + ["nightly/benchmark"]
    _wait_deployments(home, url, names, since)
    print(f"deployments  {', '.join(names)}")


def _patience_s() -> float:
    """Return how long a running flow may take to stop: its entries' grace, and its own end."""
    from flows import walk

    return walk.allowed_grace_s() + 15.0


def _mlflow(home: Path) -> Service | None:
    """Return the service of MLflow's page; None where the store is a server of its own."""
    from flows import server
    from stages.core import tracking

    address = tracking.uri(home)
    if not address.startswith("sqlite:"):
        print(f"mlflow       {address} (MLFLOW_TRACKING_URI)")
        return None
    tracking.create(home)
    port = int(os.environ.get("DEVENO_MLFLOW_PORT", server.MLFLOW_PORT))
    return server.mlflow_service(home, address, port)


def _wait_deployments(home: Path, url: str, names: list[str], since: float) -> None:
    """Wait until every deployment is known and was asked for work after a moment."""
    from flows import runs, server

    service = server.deployments_service(home)
    deadline = time.monotonic() + server.HEALTHY_S
    while not all(runs.polled(url, name) >= since for name in names):
        if server.running(service) is None or time.monotonic() > deadline:
            raise MachineError(
                "the deployments were not registered",
                url,
                "read .deveno/servers/deployments.log",
            )
        time.sleep(0.2)


def down(options: argparse.Namespace) -> int:
    """Stop what runs; running deployments are cancelled with their process trees."""
    from flows import runs, server

    home = workspace.home(workspace.root())
    names = ("deployments", "mlflow", "prefect")
    deployments, mlflow, prefect = (server.Service(home, name, ()) for name in names)
    url = server.own_url(prefect)
    if url and server.answers(f"{url}/health"):
        served = server.running(deployments) is not None
        grace_s = _patience_s()
        for name in runs.cancel(home, url, grace_s if served else 0.0, grace_s):
            print(f"cancelled: {name}")
    stopped = server.stop([deployments], _patience_s()) + server.stop([mlflow, prefect])
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was up")
    return 0


def serve(options: argparse.Namespace) -> NoReturn:
    """Become the process that serves the deployments."""
    from flows import server

    home = workspace.home(workspace.root())
    url = server.api_url(home)
    if not server.answers(f"{url}/health"):
        raise MachineError("the Prefect server does not answer", url, "run `deveno up` first")
    command = server.deployments_service(home).command
    os.chdir(home)
    os.execve(command[0], list(command), {**os.environ, **server.environment(home, url)})


def show_steps(options: argparse.Namespace) -> int:
    """Print what is to run, producers first, after pruning what no entry makes any more."""
    root = workspace.root()
    machine.refresh(root)
    graph = references.load(root)
    origins.refresh(root, graph)
    prune.prune(root, graph)
    forced = references.select(graph, options.targets) if options.force else set()
    made = plan.make(root, options.targets, frozenset(forced))
    made.check_disk()
    adoption.bring_back(root, made.tracked)
    rows = [
        {
            "entry": step.name,
            "upstream": list(step.entry.upstream),
            "threads": step.entry.threads,
            "alone": bool(step.entry.stage.machine_bound) and not step.entry.stage.sections,
            "force": step.name in forced,
            "seconds": step.usage.wall_s if step.usage else 1.0,
        }
        for step in made.pending
    ]
    print(json.dumps(rows, indent=2))
    return 0
