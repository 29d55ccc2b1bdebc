"""Prove that an ensemble's folder decodes as fairseq decodes with all its checkpoints.

Every member has passed its own verification before. Here the step they share is held against the
members' references (plain torch over the source tensors), those against the token scores that
fairseq's ensemble recorded, and our search against its translations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.lm.generate import pad_batch
from stages.lm.translator import Translator
from stages.port.checks import EXPLAINED, Verification
from stages.port.fairseq.recording import check_recordings, token_scores
from stages.port.fairseq.source import Source
from stages.port.fairseq.verification import (
    LIMIT_FP32,
    LIMIT_RECORDED,
    SPECIALS,
    probes,
    reference_of,
)

STEPS = 4
"""Tokens that the shared step is compared at, with the cache between them."""
Combine = Callable[[Tensor], Tensor]
MISTAKES: Mapping[str, Combine] = {
    "the first member alone": lambda nats: nats[0],
    "the last member alone": lambda nats: nats[-1],
    "the mean of log-probabilities": lambda nats: nats.mean(dim=0),
    "their mean made a distribution again": lambda nats: nats.mean(dim=0).log_softmax(dim=-1),
    "the sum of probabilities": lambda nats: nats.exp().sum(dim=0).log(),
}
"""Other ways of joining log-probabilities [M, N, V], to name the one that was taken."""


def verify(
    releases: Sequence[Source],
    folder: Path,
    sentences: int,
    batch_size: int,
    seed: int,
    *,
    recorded: bool = True,
) -> Verification:
    """Return the verification of an ensemble's folder; `sentences` limits recorded ones.

    `recorded` says that these are the checkpoints which fairseq's recording was made with.
    """
    report = Verification()
    translator = Translator.load(folder)
    first = releases[0]
    count = 1 + len(translator.others)
    report.add("members of the ensemble", abs(count - len(releases)), 0.0, len(releases))
    _check_step(translator, releases, seed, report)
    wanted = {
        beams: rows[: sentences or len(rows)]
        for beams, rows in first.recorded_ensemble.items()
        if recorded
    }
    references = [reference_of(one) for one in releases]
    for beams, rows in wanted.items():
        worst, tokens = token_scores(references, first, rows)
        name = f"references repeat fairseq's ensemble beam-{beams} scores"
        report.add(name, worst, LIMIT_RECORDED, tokens)
    check_recordings(report, translator, first, wanted, folder, batch_size)
    return report


@torch.inference_mode()
def _check_step(
    translator: Translator, releases: Sequence[Source], seed: int, report: Verification
) -> None:
    """The ensemble's step is the mean of the references' probabilities, token after token."""
    first = releases[0]
    ids, prefix = probes(first, seed)
    prefix = prefix[:, :STEPS]
    rows = [[token for token in row if token != SPECIALS.pad] for row in ids.tolist()]
    padded, mask = pad_batch(rows, SPECIALS.pad)
    stepper = translator.stepper()
    stepper.encode(padded, mask, 1)
    found, wanted = [], []
    for length in range(1, prefix.shape[1] + 1):
        real = prefix[:, length - 1].ne(SPECIALS.pad)
        part = prefix[:, :length]
        found.append(stepper.step(part)[real])
        each = [reference_of(one).logits(padded, part)[:, -1] for one in releases]
        wanted.append(torch.stack(each).log_softmax(dim=-1)[:, real])
    theirs = torch.cat(wanted, dim=1)
    ours = torch.cat(found)[:, : theirs.shape[2]]  # what fills a vocabulary up is never chosen
    figure = _apart(ours, theirs.exp().mean(dim=0).log())
    hint = "" if figure <= LIMIT_FP32 else _explain(ours, theirs)
    report.add("ensemble step is the mean of probabilities", figure, LIMIT_FP32, len(ours), hint)


def _explain(found: Tensor, nats: Tensor) -> str:
    for name, combine in MISTAKES.items():
        if _apart(found, combine(nats)) <= EXPLAINED:
            return f"exactly as if: {name}"
    return "no known mistake explains it"


def _apart(found: Tensor, wanted: Tensor) -> float:
    worst = float((found - wanted).abs().max() / wanted.abs().max())
    return worst if math.isfinite(worst) else math.inf
