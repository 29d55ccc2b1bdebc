"""What a model that writes texts gives back: a text, its score, whether it holds what it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """One written text."""

    text: str
    score_nats: float = 0.0
    """Score by which outputs of one input are ordered, as their way of decoding makes it."""
    constraints_met: bool = True
    """Whether it holds every phrase that was asked for."""
