"""What a port of delta weights may be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.core.declare import Params


class Delta(Params):
    """Weights that are added to those of `base`; the folder may bring delta.json, as ours do."""

    kind: Literal["delta"]
    """Tag of this choice."""
    encoding: Literal["auto", "bits", "sum"] = "auto"
    """How the difference is written; auto: as delta.json says, `sum` where there is none."""
    shard_mb: float = Field(5000.0, gt=0)
    """Largest size of a file of weights, in MB; a single tensor may be larger."""
