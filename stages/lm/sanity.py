"""Checks before compute: cheap proofs that what was built is what was meant.

A model with a bug still trains and still gives decent numbers (post 013), so each property is
tested on one small batch before a run may spend anything. Every check raises CheckFailed with what
it measured, and is shown to fail on a model with that very fault planted (tests/lm/test_sanity.py).

Shapes: B sequences padded to T tokens, N tokens of pieces, M predictions, V vocabulary or labels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stages.core.errors import CheckFailed
from stages.lm import device, models, objectives
from stages.lm.models import Pieces
from stages.lm.objectives import Question, Task

TOLERANCE = 1e-4
"""Largest difference of hidden states that float32 rounding may cause (they are of order 1)."""
OVERFIT_LOSS = 0.1
"""Loss in nats under which a batch counts as learnt by heart."""
OVERFIT_STEPS = 300
OVERFIT_RATE = 3e-3

Make = Callable[[Pieces, int, int], Task]


def initial_loss(model: Any, task: Question, tolerance: float) -> float:
    """Return the loss of new weights, which must be the random guesser's ln V within a share.

    A higher one means a bad scale, a lower one that answers leak or that weights are not new.
    """
    with torch.inference_mode():
        model.eval()
        scores = objectives.logits(model, task)
        loss = float(nn.functional.cross_entropy(scores, task.answers))
    expected = math.log(scores.shape[-1])
    if not abs(loss - expected) <= tolerance * expected:
        raise CheckFailed(
            f"the loss of new weights is {loss:.4f} nats, and guessing gives ln"
            f" {scores.shape[-1]} = {expected:.4f}",
            "initial loss",
            "look for answers in the input, a wrong vocabulary size or a wrong scale of weights",
        )
    return loss


def raw_logits(model: Any, task: Question) -> None:
    """Refuse a head that returns probabilities: the loss would take a softmax of a softmax."""
    with torch.inference_mode():
        model.eval()
        scores = objectives.logits(model, task)
    sums = scores.sum(-1)
    if bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise CheckFailed(
            "the head returns probabilities (every row sums to 1)",
            "logits",
            "give the loss the scores before the softmax",
        )


def gradients_alive(model: Any, task: Question, frozen: frozenset[str] = frozenset()) -> int:
    """Return how many learned tensors there are; each must get a gradient that is not zero."""
    model.zero_grad(set_to_none=True)
    model.train()
    device.seed_step(0, 0)
    learned = [(n, p) for n, p in model.named_parameters() if n not in frozen and p.requires_grad]
    if learned:
        objectives.summed_nats(model, task).backward()
    dead = [n for n, p in learned if p.grad is None or not bool((p.grad != 0).any())]
    model.zero_grad(set_to_none=True)
    if dead or not learned:
        raise CheckFailed(
            f"no gradient reaches {', '.join(dead[:5]) or 'any weight'}",
            "gradients",
            "look for layers that the forward pass never calls, or that are detached or frozen",
        )
    return len(learned)


def asymmetric(model: Any) -> None:
    """Refuse weight matrices whose rows are equal: such units learn the same for ever."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or parameter.shape[0] < 2 or parameter.shape[1] < 2:
            continue
        rows = parameter.detach().flatten(1)
        if bool((rows == rows[-1:]).all()):
            raise CheckFailed(
                f"all rows of {name} are equal",
                "initialisation",
                "draw the weights from a distribution: units that start equal stay equal",
            )


def repeatable(model: Any, task: Question) -> None:
    """Refuse a model whose evaluation differs from itself (dropout that stays on)."""
    model.eval()
    with torch.inference_mode():
        first, second = (objectives.logits(model, task) for _ in range(2))
    if not torch.equal(first, second):
        raise CheckFailed(
            "two evaluations of one batch differ",
            "evaluation mode",
            "look for dropout or noise that model.eval() does not switch off",
        )


def independent(model: Any, sequences: Sequence[Sequence[int]], pad: int) -> float:
    """Return the largest difference that company and padding make to a sequence's hidden states.

    Each sequence is run alone, with the others as pieces, and with the others as the padded batch
    of transformers' own attention; all three must agree (post 004).
    """
    model.eval()
    with torch.inference_mode():
        together = in_order(models.from_lists(sequences), model)
        worst, start = 0.0, 0
        padded = _padded_states(model, sequences, pad)
        for number, row in enumerate(sequences):
            alone = models.hidden_states(model, models.from_lists([row]))
            for other in (together[start : start + len(row)], padded[number, : len(row)]):
                worst = max(worst, float((alone - other).abs().max()))
            start += len(row)
    if not worst <= TOLERANCE:
        raise CheckFailed(
            f"company or padding changes a sequence's hidden states by {worst:.2e}",
            "independence of the batch",
            "look for attention that crosses sequences, a missing mask or a wrong axis",
        )
    return worst


def causal(model: Any, make: Make, pieces: Pieces) -> None:
    """Refuse a causal task where a prediction sees its own answer or anything after it."""
    task = make(pieces, 0, 0)
    model.eval()
    at = int(pieces.groups[0][2] // 2)
    changed = pieces.ids.clone()
    changed[at] = torch.where(changed[at] == changed.max(), changed.min(), changed.max())
    with torch.inference_mode():
        before = objectives.logits(model, task)
        after = objectives.logits(
            model, Task(task.pieces.replaced(changed), task.places, task.answers, task.origins)
        )
    if not torch.equal(task.answers, pieces.ids[task.origins]) or bool(
        (task.origins <= task.places).any()
    ):
        raise CheckFailed(
            "an answer is not a token after the place that predicts it",
            "causality",
            "shift the labels by one: place i predicts token i + 1",
        )
    blind = task.origins == at
    first = pieces.groups[0][2]
    blind |= (task.places < at) & (task.places < first)
    if not bool(blind.any()) or not torch.allclose(before[blind], after[blind], atol=TOLERANCE):
        raise CheckFailed(
            f"changing token {at} changes what is predicted at or before it",
            "causality",
            "look for a missing causal mask",
        )


def overfits(model: Any, task: Question, rate: float = OVERFIT_RATE) -> int:
    """Return the steps in which a copy of the model learns one batch by heart.

    A model that cannot do that cannot learn: wrong labels, a dead path, a wrong loss.
    """
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    twin.train()
    twin.requires_grad_(True)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=rate, weight_decay=0.0)
    loss = float("nan")
    for step in range(1, OVERFIT_STEPS + 1):
        mean = objectives.summed_nats(twin, task) / len(task.answers)
        loss = float(mean.detach())
        if loss < OVERFIT_LOSS:
            return step
        mean.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    raise CheckFailed(
        f"one batch of {len(task.answers)} predictions is not learnt in {OVERFIT_STEPS} steps"
        f" (loss {loss:.3f} nats)",
        "overfitting one batch",
        "look for wrong labels, a detached part of the model or a wrong loss",
    )


def in_order(pieces: Pieces, model: Any) -> Tensor:
    """Return hidden states [N, D] in the order in which the sequences were given."""
    states = models.hidden_states(model, pieces)
    ordered = torch.empty_like(states)
    ordered[pieces.sources] = states
    return ordered


def _padded_states(model: Any, sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Run sequences as the padded batch [B, T] that any user of transformers would run."""
    longest = max(len(row) for row in sequences)
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in sequences])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in sequences])
    model.set_attn_implementation("sdpa")
    try:
        return model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    finally:
        models.without_padding(model)
