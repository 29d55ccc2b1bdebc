"""What a port of a transformers folder may be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.core.declare import Params


class Transformers(Params):
    """A folder of transformers: config.json, and safetensors or PyTorch files, whole or sharded."""

    kind: Literal["transformers"]
    """Tag of this choice."""
    shard_mb: float = Field(5000.0, gt=0)
    """Largest size of a file of weights, in MB; a single tensor may be larger."""
    verify_tokens: int = Field(24, ge=4)
    """Tokens of each text that the model reads in the verification."""
    compare_below_mb: float = Field(2000.0, ge=0)
    """Models up to this size in fp32 are also loaded whole, for equal logits."""
    seed: int = Field(0, ge=0)
    """Seed of random inputs."""
