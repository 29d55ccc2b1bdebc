"""What code and which packages a stage's function can reach, read from its imports."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import environment
from stages.core.declare import Stage

SHAPING = "stages.core.canonical"
"""The one module of core whose text decides output bytes; the rest of core computes nothing."""


@dataclass(frozen=True)
class Closure:
    """The code files (from the root) and packages that a stage depends on."""

    files: tuple[str, ...]
    packages: tuple[str, ...]


def import_graph() -> Any:
    """Return grimp's graph of our modules and the packages that they import."""
    import grimp

    return grimp.build_graph(
        "stages", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def closure(stage: Stage, graph: Any, root: Path) -> Closure:
    """Return a stage's first-party import closure without core, and the packages it reaches."""
    start = stage.module
    ours = {start, *(name for name in graph.find_upstream_modules(start) if _first_party(name))}
    ours = {name for name in ours if not name.startswith("stages.core") or name == SHAPING}
    outside = {
        name.split(".")[0]
        for module in ours
        for name in graph.find_modules_directly_imported_by(module)
        if not _first_party(name)
    }
    outside -= set(sys.stdlib_module_names)
    paths = sorted({_path(name, root) for name in ours} | set(stage.assets))
    return Closure(tuple(paths), tuple(sorted(environment.closure(outside))))


def _first_party(name: str) -> bool:
    return name == "stages" or name.startswith("stages.")


def _path(module: str, root: Path) -> str:
    path = Path(*module.split("."))
    file = path.with_suffix(".py")
    if not (root / file).exists():
        file = path / "__init__.py"
    return file.as_posix()
