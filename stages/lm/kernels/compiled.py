"""Kernels: functions over arrays that numba compiles once and keeps under `.deveno/kernels/`.

`@kernel(returns, *arguments)` declares what Python calls; it compiles (or loads what is kept) at
its first call, never at import. `@inlined` declares what kernels call. Arrays of a kernel are
contiguous; those it only reads are declared by `reads`, those it fills by `fills`, and both take
read-only buffers of Arrow where they only read.

What is kept is found by content, not by path or time: the folder's name is a digest of the
kernel's own module and of every module of `stages` that it imports (without `stages.core`), and
numba keys each file in it by its own version, Python's, the signature and the CPU with its
instruction sets. A torn or foreign file is compiled again. A project's copies (worktrees,
experiments) share one folder; `DEVENO_KERNELS` names another; outside a project numba chooses.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import config, njit, types
from numba.core import caching
from numpy.typing import NDArray

from stages.core import canonical, workspace
from stages.core.errors import MachineError
from stages.core.log import Log

FOLDER = "DEVENO_KERNELS"
"""Environment variable that names the folder of compiled kernels."""
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
T = TypeVar("T")

_spent = {"seconds": 0.0, "compiled": 0, "loaded": 0}
_lock = threading.RLock()


def reads(item: Any) -> types.Array:
    """Return the type of a one-dimensional array that a kernel only reads."""
    return types.Array(item, 1, "C", readonly=True)


def fills(item: Any, dimensions: int = 1) -> types.Array:
    """Return the type of an array that a kernel writes."""
    return types.Array(item, dimensions, "C")


BYTES, OFFSETS = reads(types.uint8), reads(types.int64)
"""A text: bytes [N] and offsets [D + 1] (`stages.lm.kernels.text`)."""

# Only kernels are called from Python; entries for it took a fifth of the time to compile.
_BARE = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inlined: Callable[[Callable[..., Any]], Any] = njit(forceinline=True, **_BARE)
"""Declare a small function that kernels call; its machine code becomes part of theirs."""
called: Callable[[Callable[..., Any]], Any] = njit(**_BARE)
"""Declare a larger function that kernels call; it is compiled once per kernel, not copied."""
leaf: Callable[[Callable[..., Any]], Any] = njit(forceinline=True, _nrt=False, **_BARE)
"""Declare an inlined function that makes no array. numba counts no references in it: where a loop
stands in a function, each array it is given costs two atomic additions a call otherwise (5 ns)."""
plain: Callable[[Callable[..., Any]], Any] = njit(_nrt=False, **_BARE)
"""Declare a called function that makes no array."""


class Kernel:
    """A function of one signature, compiled or loaded when it is first called."""

    def __init__(
        self, function: Callable[..., Any], returns: Any, arguments: tuple[Any, ...]
    ) -> None:
        functools.update_wrapper(self, function)
        self.reference: Callable[..., Any] = function
        """The same function in the interpreter: slow, but checks every index."""
        self._signature = returns(*arguments)
        self._program: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Run the kernel; the interpreter's lock is free meanwhile."""
        return (self._program or self._made())(*arguments)

    def _made(self) -> Callable[..., Any]:
        with _lock:
            if self._program is None:
                begun = time.process_time()
                program = njit(**OPTIONS)(self.reference)
                if hasattr(program, "compile"):  # NUMBA_DISABLE_JIT leaves the plain function
                    program._cache = _cache(self.reference)
                    program.compile(self._signature)
                    kind = "loaded" if program.stats.cache_hits else "compiled"
                    program.disable_compile()
                    _spent[kind] += 1
                    _spent["seconds"] += time.process_time() - begun
                self._program = program
        return self._program


def kernel(returns: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel of one signature: numba's type of what it returns and of its arguments."""
    return lambda function: Kernel(function, returns, arguments)


def spent() -> tuple[float, int, int]:
    """Return what making kernels ready cost this process: CPU seconds, compiled, loaded."""
    return _spent["seconds"], int(_spent["compiled"]), int(_spent["loaded"])


def report(log: Log) -> None:
    """Tell the log what making kernels ready cost this process so far."""
    seconds, made, loaded = spent()
    log.observe("kernels/ready_cpu_s", seconds)
    log.observe("kernels/compiled", made)
    log.observe("kernels/loaded", loaded)


def spread(offsets: NDArray[np.int64], threads: int, work: Callable[[int, int], T]) -> list[T]:
    """Call `work(first, stop)` on runs of documents of about equal bytes; results in order.

    `work` must give each document the same result in whatever run it falls.
    """
    count, size = len(offsets) - 1, int(offsets[-1] - offsets[0])
    if threads <= 1 or count < 2:
        return [work(0, count)]
    aims = offsets[0] + np.arange(1, threads) * size // threads
    inner = np.searchsorted(offsets, aims, side="left")
    cuts = [0, *sorted(set(inner.tolist()) - {0, count}), count]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, cuts[:-1], cuts[1:]))


def sources(path: Path) -> list[Path]:
    """Return a kernel's module and the modules of `stages` it imports, directly or not, sorted."""
    found: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file)
    return sorted(found)


@functools.cache
def _imported(file: Path) -> tuple[Path, ...]:
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[Path]:
    for node in ast.parse(file.read_bytes()).body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("stages.") and not name.startswith("stages.core"):
                with contextlib.suppress(ModuleNotFoundError):
                    spec = importlib.util.find_spec(name)
                    if spec is not None and spec.origin:
                        yield Path(spec.origin).resolve()


def digest(path: Path) -> str:
    """Return the digest of all source that a kernel of this module is made of."""
    state = hashlib.sha256(f"{OPTIONS} {config.BOUNDSCHECK}".encode())
    for file in sources(path):
        text = file.read_bytes()
        state.update(f"{file.parent.name}/{file.name} {len(text)}\n".encode() + text)
    return state.hexdigest()[:16]


def kept(name: str, module: str, make: Callable[[], Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Return read-only arrays that this Python and the source of a module alone decide.

    They lie beside the compiled kernels; what is torn (zip checks its sums) is made again.
    """
    place, file = folder(), None
    if place is not None:
        version = ".".join(map(str, sys.version_info[:3]))
        file = place / digest(Path(module)) / f"{name}-{version}.npz"
    arrays: list[NDArray[Any]] = []
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        if file is not None:
            with np.load(file, allow_pickle=False) as held:
                arrays = [held[f"arr_{number}"] for number in range(len(held.files))]
    if not arrays:
        arrays = list(make())
        stream = io.BytesIO()
        np.savez(stream, *arrays)
        with contextlib.suppress(OSError):
            if file is not None:
                canonical.write_bytes(file, stream.getvalue())
    for array in arrays:
        array.flags.writeable = False
    return arrays


def folder() -> Path | None:
    """Return where compiled kernels are kept; None outside a project."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named)
    with contextlib.suppress(MachineError):
        return workspace.state(workspace.root()) / "kernels"
    return None


def _cache(function: Callable[..., Any]) -> Any:
    """Return where numba keeps this function's machine code."""
    place = folder()
    try:
        if place is not None:
            return _Kept(function, place / digest(Path(function.__code__.co_filename)))
        return caching.FunctionCache(function)
    except (OSError, RuntimeError):  # nowhere to write: compiled in every process
        return caching.NullCache()


class _Place(caching._CacheLocator):
    """A folder named by content, so that the sources' paths and times do not matter."""

    def __init__(self, function: Callable[..., Any], kept: Path) -> None:
        self._kept = kept
        self._py_file = function.__code__.co_filename
        self.ensure_cache_path()

    def get_cache_path(self) -> str:
        return str(self._kept)

    def get_source_stamp(self) -> str:
        return self._kept.name

    def get_disambiguator(self) -> str:
        return "kernel"


class _Kept(caching.FunctionCache):
    """numba's cache of one function in a folder of ours; what cannot be read is made again."""

    def __init__(self, function: Callable[..., Any], kept: Path) -> None:
        place = _Place(function, kept)

        class Impl(caching.CompileResultCacheImpl):
            _locator_classes = [_Found(place)]

        self._impl_class = Impl
        super().__init__(function)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # torn, or written by something else: any error may come of it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()  # a full disk costs the next process a compilation, not this one
        except Exception:
            self.flush()
            super().save_overload(sig, data)


class _Found:
    """What numba asks for a locator: always the one place."""

    def __init__(self, place: _Place) -> None:
        self._place = place

    def from_function(self, function: Callable[..., Any], file: str) -> _Place:
        del function, file
        return self._place
