"""Orphans: outputs and lock entries of entries that params.yaml no longer has.

DVC leaves both for ever. They are removed before anything runs, so that no reader of a parent
folder meets them; an output that the cache does not hold is kept, for it could not be restored.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.core import dvclock, fingerprint, plan, registry
from stages.core.dvclock import LOCK
from stages.core.dvclock import held as dvc_idle
from stages.core.references import Graph

__all__ = ["LOCK", "dvc_idle", "orphans", "prune"]

PATIENCE_S = 10.0
"""How long another DVC command is waited for; what is not removed now is removed next time."""


def orphans(root: Path, graph: Graph) -> list[str]:
    """Return the entries that dvc.lock still has and params.yaml has not."""
    ours = registry.names()
    return [
        name
        for name in fingerprint.locks(root)
        if name not in graph and "@" in name and name.split("@")[0] in ours
    ]


def prune(root: Path, graph: Graph) -> list[str]:
    """Remove orphaned outputs and lock entries; return the names of what is gone."""
    dead = orphans(root, graph)
    if not dead:
        return []
    with dvc_idle(root, PATIENCE_S) as idle:
        if not idle:
            return []
        locks = fingerprint.locks(root)
        cache = plan.cache_folder(root)
        alive = {path for name in locks if name not in dead for path in plan.outs(locks[name])}
        gone = []
        for name in dead:
            rows = {
                path: value for path, value in plan.outs(locks[name]).items() if path not in alive
            }
            if all(_removable(root / path, value, cache) for path, value in rows.items()):
                for path in rows:
                    _remove(root / path)
                gone.append(name)
        dvclock.write(root, {name: body for name, body in locks.items() if name not in gone})
        return gone


def _removable(path: Path, value: str | None, cache: Path) -> bool:
    """Return whether nothing is lost: the path is gone, a small text, or held by the cache."""
    if not path.exists() or path.is_file():
        return True
    return value is not None and plan.object_path(cache, value).exists()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
