"""What DVC's settings say: the workspace's own, the user's and the machine's, the nearest wins."""

from __future__ import annotations

import configparser
import contextlib
from collections.abc import Iterator
from pathlib import Path

from stages.core import freshness

DEFAULT_TYPES = ["reflink", "copy"]
"""How DVC fills a workspace from its cache where nothing is said."""


def _values(root: Path, section: str, option: str) -> Iterator[tuple[Path, str]]:
    """Yield every file that says something, the one that decides last."""
    own = [str(root / ".dvc" / name) for name in ("config", "config.local")]
    for path in [*reversed(freshness.settings()), *own]:
        parser = configparser.ConfigParser(interpolation=None)
        with contextlib.suppress(configparser.Error):
            parser.read(path, encoding="utf-8")
            value = parser.get(section, option, fallback="").strip("'\"")
            if value:
                yield Path(path), value


def value(root: Path, section: str, option: str) -> str | None:
    """Return a setting, or None where no file has it."""
    return ([None] + [value for _, value in _values(root, section, option)])[-1]


def cache_folder(root: Path) -> Path:
    """Return DVC's cache."""
    found = root / ".dvc" / "cache"
    for path, folder in _values(root, "cache", "dir"):
        found = (path.parent / folder).resolve()
    return found


def link_types(root: Path) -> list[str]:
    """Return how DVC may fill the workspace, the best way first."""
    types = value(root, "cache", "type")
    return [one.strip(" '\"") for one in types.split(",")] if types else DEFAULT_TYPES
