"""Where the batches of a data stage are worked on: in this process, or by workers of Ray.

An engine is execution, not identity. `DEVENO_ENGINE` names it, no parameter does, and no byte of an
output may depend on it: work is cut the same way everywhere, results come back in the order of the
work, and workers that run other versions of what decides bytes are refused before they begin.

    local            this process (the default)
    ray              a Ray of this machine, started and stopped with the stage; `DEVENO_WORKERS`
                     names its workers (default: as many as there are cores)
    ray:HOST:PORT    a Ray that is there; its workers get this checkout's `stages` sent

Ray hands functions and arrays between processes of one user in its own form, which is pickle: a
cluster is as trusted as the machine itself, and nothing of it is ever kept in a file of ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from stages.core import kernels, machine, workspace
from stages.core.errors import DevenoError, MachineError
from stages.core.log import Log

T = TypeVar("T")
ENGINE, WORKERS = "DEVENO_ENGINE", "DEVENO_WORKERS"
KERNELS = "DEVENO_KERNELS"
DECIDING = ("numba", "numpy", "pyarrow", "tokenizers")
"""Packages whose versions decide the bytes of what a worker returns."""
STORE_BYTES = 1 << 28
"""Shared memory of a Ray of this machine: a few batches per worker."""
REACH_S = 5.0
"""How long a host may take to answer."""
AHEAD = 2
"""Batches handed out per worker: one at work, one waiting."""


class Engine:
    """This process: work is done when its result is asked for."""

    name = "local"
    ahead = 0
    """How much more work is worth handing out before the first result is asked for."""

    def share(self, value: T) -> T:
        """Return what stands for a value that many pieces of work need; it travels once.

        It is an argument of `submit` itself: within another value nobody resolves it.
        """
        return value

    def submit(self, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Hand out `work(*arguments)`; what is returned waits for its result.

        `work` is a function of a module, or a `partial` of one, and changes nothing but its result.
        """
        return partial(work, *arguments)

    def map(self, work: Callable[..., T], items: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """Yield `work(*item)` of each item, in their order; few are in memory at a time."""
        waiting: list[Callable[[], T]] = []
        for item in items:
            waiting.append(self.submit(work, *item))
            if len(waiting) > self.ahead:
                yield waiting.pop(0)()
        for result in waiting:
            yield result()


class RayEngine(Engine):
    """The workers of a Ray, one core each."""

    name = "ray"

    def __init__(self, address: str | None, workers: int) -> None:
        self._ray = _ray()
        self._connect(address, workers)
        found = self._ray.cluster_resources()
        self.workers = int(found.get("CPU", 0))
        self.machines = sum(one["Alive"] for one in self._ray.nodes())
        self.ahead = AHEAD * max(1, self.workers)
        self._work = self._ray.remote(num_cpus=1, max_retries=3)(_told)
        try:
            self._agree()
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str | None, workers: int) -> None:
        pinned = (*kernels.PINNED, *kernels.QUIET, *kernels.THREAD_NAMES, KERNELS)
        variables = {name: os.environ[name] for name in pinned if name in os.environ}
        if KERNELS not in variables:
            with contextlib.suppress(DevenoError):  # outside a project numba chooses a place
                variables[KERNELS] = str(workspace.state(workspace.root()) / "kernels")
        source = Path(__file__).resolve().parents[1]
        runtime: dict[str, Any] = {"env_vars": variables}
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if address is None:
            runtime["env_vars"] = variables | {"PYTHONPATH": str(source.parent)}
            options |= {
                "num_cpus": workers, "num_gpus": 0, "include_dashboard": False,
                "_node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES,
                "_temp_dir": str(Path(tempfile.gettempdir()) / f"ray-{os.getuid()}"),
            }  # fmt: skip
        else:
            _reach(address)
            variables.pop(KERNELS, None)  # a folder of this machine
            runtime["py_modules"] = [str(source)]
            options["address"] = address
        try:
            self._ray.init(runtime_env=runtime, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as fault:
            raise _silent(str(fault)) from fault

    def _agree(self) -> None:
        """Refuse workers that could return other bytes than this process."""
        own = _own_versions()
        places = [one["NodeID"] for one in self._ray.nodes() if one["Alive"]]
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        asked = self._ray.remote(num_cpus=0)(_versions)
        for place in places:
            near = asked.options(scheduling_strategy=strategy(place, soft=False))
            theirs = self._ray.get(near.remote())
            for name in DECIDING:
                if theirs[name] != own[name]:
                    raise MachineError(
                        f"a worker has {name} {theirs[name]} and this process {own[name]}",
                        f"{ENGINE}={os.environ.get(ENGINE)}, node {place[:8]}",
                        "install requirements.lock there, so that every machine gives equal bytes",
                    )

    def share(self, value: T) -> T:
        """Put a value where every worker's machine fetches it once."""
        shared: T = self._ray.put(value)
        return shared

    def submit(self, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Hand work to a worker; a worker that dies is replaced and its work done again."""
        return partial(self._result, self._work.remote(work, *arguments))

    def _result(self, reference: Any) -> Any:
        error, found = self._ray.get(reference)
        if error is not None:
            raise error[0](*error[1:])
        return found

    def close(self) -> None:
        """Leave the Ray; one that was started here ends."""
        self._ray.shutdown()


@contextlib.contextmanager
def engine(log: Log) -> Iterator[Engine]:
    """Give the engine that the environment names, for as long as a stage needs it."""
    kind, address, workers = named()
    if kind == "local":
        yield Engine()
        return
    found = RayEngine(address, workers)
    log.text("engine", f"ray, {found.workers} workers on {found.machines} machines")
    try:
        yield found
    finally:
        found.close()


def named() -> tuple[str, str | None, int]:
    """Return the kind of engine that the environment names, its address, how many workers.

    Raises MachineError for what is no engine and no number.
    """
    name = os.environ.get(ENGINE, "local") or "local"
    kind, colon, address = name.partition(":")
    if kind not in ("local", "ray") or (kind == "local" and colon):
        raise MachineError(
            f"there is no engine {name!r}", f"{ENGINE}={name}", "say local, ray or ray:HOST:PORT"
        )
    return kind, address if colon else None, _workers()


def _reach(address: str) -> None:
    """Refuse an address that nothing listens at: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise _silent(f"{address!r} is no HOST:PORT")
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, OverflowError) as fault:
        raise _silent(str(fault)) from fault


def _silent(reason: str) -> MachineError:
    return MachineError(
        f"no Ray answers: {reason}",
        f"{ENGINE}={os.environ.get(ENGINE)}",
        "start it (`ray start --head`), name its host and port, or unset the variable",
    )


def _workers() -> int:
    told = os.environ.get(WORKERS, "") or str(machine.cores())
    if not told.isdecimal() or not 1 <= int(told) <= 4096:
        raise MachineError(
            f"{told!r} is no number of workers", f"{WORKERS}={told}", "say a number from 1 to 4096"
        )
    return int(told)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as fault:
        raise MachineError(
            "Ray is not installed",
            f"{ENGINE}={os.environ.get(ENGINE)}",
            "run `make setup`, or unset the variable",
        ) from fault
    return ray


def _told(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Return a result, or a user's error in a form that travels whole."""
    try:
        return None, work(*arguments)
    except DevenoError as fault:
        return (type(fault), fault.what, fault.where, fault.todo), None


def _own_versions() -> dict[str, str]:
    return _versions()


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in DECIDING}
