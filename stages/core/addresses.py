"""Where a DVC remote is: its settings as DVC's own configuration has them.

Addresses and credentials are what `dvc remote` configured (config, config.local, the user's and the
system's file) or the environment gives; nothing is stored here or in git.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.core import workspace
from stages.core.errors import ParamsError


@dataclass(frozen=True)
class Settings:
    """A remote as DVC's configuration has it."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)


def configured(root: Path, name: str | None = None) -> Settings | None:
    """Return a remote's settings: the named one, or the default; None where no default is set."""
    home = workspace.home(root)
    merged: dict[str, dict[str, str]] = {}
    for path in _files(home):
        for section, values in _sections(path).items():
            if "url" in values:
                values["url"] = _anchored(values["url"], path.parent)
            merged.setdefault(section, {}).update(values)
    name = name or merged.get("core", {}).get("remote")
    if not name:
        return None
    found = merged.get(f'remote "{name}"', {})
    if "url" not in found:
        known = sorted(one[8:-1] for one in merged if one.startswith('remote "'))
        raise ParamsError(
            f"there is no DVC remote {name!r}",
            f".dvc/config: {', '.join(known) or 'no remote at all'}",
            f"`dvc remote add {name} URL`",
        )
    return Settings(name, found.pop("url"), found)


def _files(home: Path) -> list[Path]:
    """Return DVC's configuration files, the weakest first."""
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    everybody = Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR", "/etc/xdg/dvc"))
    user = Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR", f"{config}/dvc"))
    own = home / ".dvc"
    return [everybody / "config", user / "config", own / "config", own / "config.local"]


def _sections(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ParamsError(f"{path.name} cannot be read: {reason}", ".dvc", "mend it") from None
    return {
        section.strip("'"): {name: value.strip().strip("'\"") for name, value in rows.items()}
        for section, rows in parser.items()
    }


def _anchored(url: str, folder: Path) -> str:
    """Return an address with a relative folder made absolute, as DVC reads it."""
    if "://" in url:
        return url.removeprefix("file://")
    return str((folder / Path(url).expanduser()).resolve())
