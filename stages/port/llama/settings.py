"""What a port of a LLaMA release may be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.core.declare import Params


class Llama(Params):
    """A release in the layout of Meta's LLaMA: params.json and `consolidated.NN` files."""

    kind: Literal["llama"]
    """Tag of this choice."""
    family: Literal["auto", "llama", "mistral", "qwen2"] = "auto"
    """The class of transformers that holds it; auto: as window and biases say."""
    begin_token: int | None = Field(1, ge=0)
    """Id that begins a text."""
    end_token: int | None = Field(2, ge=0)
    """Id that ends a text."""
    shard_mb: float = Field(5000.0, gt=0)
    """Largest size of a file of weights, in MB; a single tensor may be larger."""
    verify_tokens: int = Field(24, ge=4)
    """Tokens of each text on which both models are compared."""
    generate_below_mb: float = Field(2000.0, ge=0)
    """Models larger than this in fp32 generate on a small twin of theirs."""
    seed: int = Field(0, ge=0)
    """Seed of random inputs, and of the twin."""
