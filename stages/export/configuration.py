"""config.json of the model that is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError


def configuration(folder: Path) -> dict[str, Any]:
    """Return config.json of a model folder; ArtifactError where there is none to read."""
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError(
            "the model folder holds no config.json", str(folder), "point `model` at a model"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except (ValueError, RecursionError) as fault:
        raise ArtifactError(
            f"config.json is no JSON object: {fault}", str(folder), "make the model again"
        ) from None
    return found
