"""RWKV's two forms: the sum over all positions and the recurrence, the sequence and the step."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.port.checks import Verification
from stages.port.families.release import Release
from stages.port.references.rwkv import Reference

LIMIT_FORMS = 1e-12
"""Largest difference of the two forms in fp64, over the largest logit."""
LIMIT_STEPS = 1e-5
TOKENS = 24


@torch.inference_mode()
def check(
    release: Release,
    tensors: Mapping[str, Tensor],
    model: Any,
    report: Verification,
    seed: int,
) -> bool:
    """Add the checks of an opened model in fp32: sum and recurrence, token by token, state kept.

    Returns whether the class of transformers also goes token by token with several rows at once
    (in 5.23 it adds [B, 1, D] and [B, D] and does not).
    """
    generator = torch.Generator().manual_seed(seed + 3)
    ids = torch.randint(0, release.vocab_size, (1, TOKENS), generator=generator)
    layers = int(release.config["num_hidden_layers"])
    summed = Reference(tensors, layers, torch.float64, summed=True).logits(ids)
    stepped = Reference(tensors, layers, torch.float64).logits(ids)
    figure = _relative(stepped, summed)
    report.add("recurrence is the sum in fp64", figure, LIMIT_FORMS, TOKENS)
    at_once = model(input_ids=ids, use_cache=True)
    figure = _relative(at_once.logits, summed)
    report.add("a whole sequence is the sum in fp32", figure, LIMIT_STEPS, TOKENS)
    found, state = _one_by_one(model, ids, None)
    figure = _relative(found, at_once.logits)
    report.add("token by token is the whole sequence", figure, LIMIT_STEPS, TOKENS)
    figure = max(_relative(one, other) for one, other in zip(state, at_once.state, strict=True))
    report.add("the state is the whole sequence's", figure, LIMIT_STEPS, len(state))
    half = TOKENS // 2
    _, state = _one_by_one(model, ids[:, :half], None)
    second, _ = _one_by_one(model, ids[:, half:], _kept(state))
    figure = float((second - found[:, half:]).abs().max())
    report.add("a state that was saved goes on the same", figure, 0.0, TOKENS - half)
    both, _ = _one_by_one(model, torch.cat([ids, ids.flip(1)])[:, :half], None)
    rows = (2, half, release.vocab_size)
    return both.shape == rows and _relative(both[:1], found[:, :half]) <= LIMIT_STEPS


def _one_by_one(model: Any, ids: Tensor, state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    logits = []
    for at in range(ids.shape[1]):
        out = model(input_ids=ids[:, at : at + 1], state=state, use_cache=True)
        state = out.state
        logits.append(out.logits)
    assert state is not None
    return torch.cat(logits, dim=1), state


def _kept(state: list[Tensor]) -> list[Tensor]:
    """Return a state after it went through a file."""
    from safetensors.torch import load, save

    stream = io.BytesIO(save({str(number): one.contiguous() for number, one in enumerate(state)}))
    back = load(stream.getvalue())
    return [back[str(number)] for number in range(len(state))]


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())
