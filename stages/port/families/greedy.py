"""Greedy continuations of a ported decoder: with and without cache, and by the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.port.checks import Verification
from stages.port.families.probes import Probe
from stages.port.families.release import Release

PROMPT_TOKENS = (3, 7, 4, 11)
NEW_TOKENS = 10
TIE = 1e-5
"""Two tokens whose logits lie this close, over the largest logit, may come in either order."""


def check(
    model: Any, release: Release, tensors: Mapping[str, Tensor], report: Verification, seed: int
) -> None:
    """Add the checks: cache on and off equal to the reference, batch and single equal."""
    prompts = _prompts(release, seed)
    new = NEW_TOKENS
    if release.max_positions is not None:
        new = max(1, min(NEW_TOKENS, release.max_positions - max(map(len, prompts))))
    wanted: list[list[int]] = []
    ties: list[int] = []
    for rows in _batches(release, prompts):
        more, settled = _reference(release, tensors, rows, new)
        wanted += more
        ties += settled
    for use_cache in (True, False):
        name = f"greedy continuations {'with' if use_cache else 'without'} cache"
        found = _generate(model, release, prompts, new, use_cache)
        wrong = [
            one
            for one, right, tie in zip(found, wanted, ties, strict=True)
            if one[:tie] != right[:tie]
        ]
        report.add(name, float(len(wrong)), 0.0, len(prompts), "other tokens" if wrong else "")


def _prompts(release: Release, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed + 1)
    longest = (release.max_positions or 1 << 30) - 1
    return [
        torch.randint(0, release.vocab_size, (min(size, longest),), generator=generator).tolist()
        for size in PROMPT_TOKENS
    ]


def _batches(release: Release, prompts: list[list[int]]) -> list[list[list[int]]]:
    """Return the prompts as one batch, or row by row for a recurrence, which takes no padding."""
    return [[row] for row in prompts] if release.kind == "rwkv" else [prompts]


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and which of them are real [B, T], padded on the left."""
    longest = max(map(len, rows))
    ids = [[0] * (longest - len(row)) + row for row in rows]
    real = [[False] * (longest - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(real)


def _reference(
    release: Release, tensors: Mapping[str, Tensor], prompts: list[list[int]], new: int
) -> tuple[list[list[int]], list[int]]:
    """Return the reference's continuations in fp32, and how many tokens no tie unsettles."""
    compute = release.reference(tensors, torch.float32, "")
    rows, settled = [list(row) for row in prompts], [new] * len(prompts)
    for step in range(new):
        ids, real = _padded(rows)
        logits = compute(Probe(ids, real, torch.zeros_like(ids)))["logits"][:, -1]
        for number, (row, one) in enumerate(zip(rows, logits, strict=True)):
            top = one.topk(2).values
            tie = float(top[0] - top[1]) <= TIE * float(one.abs().max())
            if tie and settled[number] == new:
                settled[number] = step
            row.append(int(one.argmax()))
    return [row[-new:] for row in rows], settled


@torch.inference_mode()
def _generate(
    model: Any, release: Release, prompts: list[list[int]], new: int, use_cache: bool
) -> list[list[int]]:
    """Return what `generate` continues: one padded batch, or row by row for a recurrence.

    The model's own settings are set aside: what they leave open would be filled in from them, and
    a row would end at the end of a text.
    """
    from transformers import GenerationConfig

    settings = GenerationConfig(
        max_new_tokens=new, do_sample=False, use_cache=use_cache, pad_token_id=0, eos_token_id=None
    )
    found: list[list[int]] = []
    own, model.generation_config = model.generation_config, settings
    for rows in _batches(release, prompts):
        ids, real = _padded(rows)
        given = {} if release.kind == "rwkv" else {"attention_mask": real.long()}
        out = model.generate(ids, **given)
        found += out[:, ids.shape[1] :].tolist()
    model.generation_config = own
    return found
