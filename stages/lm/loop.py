"""The one training loop: pretraining and fine-tuning differ only in the tasks they hand it.

A run is a function of its parameters and data: a step's batch, masks and dropout follow from the
seed and the step's number, so a resumed run repeats an uninterrupted one bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stages.core.errors import CheckFailed, Resumable
from stages.core.log import Log
from stages.lm import checkpoint, device, milestones, objectives
from stages.lm.checkpoint import State
from stages.lm.objectives import Question
from stages.lm.optimisation import OptimisationParams, learning_rate

Curve = list[tuple[str, int, float]]
Tasks = Callable[[int], Sequence[Question]]
Evaluate = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Run:
    """What is trained: a model, its tasks step by step, and how it is judged on the way.

    `tasks(step)` gives the parts of a step's batch, whose losses are summed and divided by all
    their predictions; `evaluate(step)` runs every `evaluate_every` steps and at the end, and its
    numbers become points of curves. With `best` the weights where that number was highest are kept
    (the earliest of equals), else the last, and with `patience` the run ends where so many numbers
    in a row were no better. `identity` names the run for its checkpoints. Every
    `publish_every` steps a milestone is gathered; `start` is one that the run goes on from.
    """

    model: Any
    steps: int
    tasks: Tasks
    evaluate: Evaluate
    evaluate_every: int
    params: OptimisationParams
    identity: str
    best: str | None = None
    frozen: frozenset[str] = frozenset()
    publish_every: int | None = None
    start: State | None = None
    patience: int = 0


@dataclass
class Progress:
    """What a run has to say for itself; all of it deterministic."""

    step: int = 0
    tokens: int = 0
    predictions: int = 0
    curve: Curve = field(default_factory=list)
    best_value: float | None = None
    best_step: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the tensors; `step` is its name."""
        return {
            "tokens": self.tokens,
            "predictions": self.predictions,
            "curve": [list(point) for point in self.curve],
            "best_value": self.best_value,
            "best_step": self.best_step,
        }

    @classmethod
    def of(cls, state: State) -> Progress:
        """Return where a checkpoint stands."""
        facts = state.facts
        curve = [(str(name), int(step), float(value)) for name, step, value in facts["curve"]]
        return cls(
            state.step,
            int(facts["tokens"]),
            int(facts["predictions"]),
            curve,
            facts["best_value"],
            int(facts["best_step"]),
        )

    def last(self, name: str) -> float | None:
        """Return the newest point of a curve."""
        return next((value for key, _, value in reversed(self.curve) if key == name), None)


def train(run: Run, log: Log) -> Progress:
    """Train to the end, resuming from the newest checkpoint; leaves the chosen weights in place.

    Raises CheckFailed where the loss is not a number and Resumable when asked to stop.
    """
    optimizer = make_optimizer(run.model, run.params, run.frozen)
    progress, best = _resume(run, optimizer, log)
    started, first, tokens = time.process_time(), progress.step, progress.tokens
    while progress.step < run.steps and not _patience_gone(run, progress):
        _step(run, optimizer, progress, log)
        if progress.step % run.evaluate_every == 0 or progress.step == run.steps:
            best = _judge(run, progress, best, log)
        if run.publish_every and progress.step % run.publish_every == 0:
            facts = progress.as_json()
            milestones.publish(log.scratch, run.model, optimizer, progress.step, facts)
        if log.stopping and progress.step < run.steps:
            _checkpoint(run, optimizer, progress, best, log)
            raise Resumable(
                f"stopped after step {progress.step} of {run.steps}, with a checkpoint",
                str(log.scratch),
                "run the same entry again to go on from there",
            )
        if progress.step % run.params.checkpoint_every == 0 and progress.step < run.steps:
            _checkpoint(run, optimizer, progress, best, log)
        log.progress(progress.step, run.steps)
    spent = time.process_time() - started
    if progress.step > first and spent > 0:
        log.observe("tokens_per_cpu_second", (progress.tokens - tokens) / spent)
    device.observe_memory(log)
    if best:
        run.model.load_state_dict(best)
    return progress


def make_optimizer(
    model: nn.Module, params: OptimisationParams, frozen: frozenset[str] = frozenset()
) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices and never vectors, chosen by shape and not by name.

    (A list of names misses norms that a family names otherwise; CodeParrot decayed GPT-2's.)
    """
    learned = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
        if name not in frozen:
            learned.append(parameter)
    groups = [
        {"params": [p for p in learned if p.ndim >= 2], "weight_decay": params.weight_decay},
        {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=params.learning_rate,
        betas=(params.beta1, params.beta2),
        eps=params.epsilon,
        fused=True,
    )


def accumulate(model: Any, tasks: Sequence[Question]) -> tuple[Tensor, int]:
    """Add the gradient of the mean loss over all tasks; returns that mean in nats and its count."""
    count = sum(len(task.places) for task in tasks)
    total = torch.zeros(())
    for task in tasks:
        loss = objectives.summed_nats(model, task) / count
        loss.backward()
        total += loss.detach()
    return total, count


def _step(run: Run, optimizer: torch.optim.Optimizer, progress: Progress, log: Log) -> None:
    """Do one update."""
    step = progress.step
    run.model.train()
    device.seed_step(run.params.seed, step)
    rate = learning_rate(run.params, step, run.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    tasks = run.tasks(step)
    loss, count = accumulate(run.model, tasks)
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.params.clip_norm)
    if not (math.isfinite(float(loss)) and math.isfinite(float(norm))):
        raise CheckFailed(
            f"the loss of step {step + 1} is {float(loss)} (gradient norm {float(norm)})",
            f"learning rate {rate:.3g}",
            "lower learning_rate, or lengthen warmup_share",
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    progress.step += 1
    progress.tokens += sum(task.tokens for task in tasks)
    progress.predictions += count
    _point(progress, log, "loss_nats", float(loss))
    _point(progress, log, "gradient_norm", float(norm))
    _point(progress, log, "learning_rate", rate)


def _patience_gone(run: Run, progress: Progress) -> bool:
    """Tell whether the newest numbers brought nothing better: said by the curve alone, so that a
    resumed run stops where an uninterrupted one does."""
    if not run.patience or run.best is None or progress.step % run.evaluate_every:
        return False
    behind = [step for name, step, _ in progress.curve if name == run.best]
    return sum(step > progress.best_step for step in behind) >= run.patience


def _point(progress: Progress, log: Log, name: str, value: float) -> None:
    progress.curve.append((name, progress.step, value))
    log.metric(name, value, step=progress.step)


def _judge(run: Run, progress: Progress, best: dict[str, Tensor], log: Log) -> dict[str, Tensor]:
    """Evaluate, and keep a copy of the weights where they are the best so far."""
    run.model.eval()
    with torch.inference_mode():
        found = run.evaluate(progress.step)
    for name, value in found.items():
        _point(progress, log, name, value)
    if run.best is None:
        return best
    value = found[run.best]
    if progress.best_value is not None and value <= progress.best_value:
        return best
    progress.best_value, progress.best_step = value, progress.step
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def _checkpoint(
    run: Run,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor],
    log: Log,
) -> None:
    tensors = {f"model/{name}": value for name, value in _own(run.model).items()}
    tensors |= {f"best/{name}": value.clone() for name, value in best.items()}
    tensors |= checkpoint.optimizer_tensors(run.model, optimizer)
    state = State(progress.step, tensors, progress.as_json())
    log.flush()
    checkpoint.save(log.scratch, run.identity, state)


def _resume(
    run: Run, optimizer: torch.optim.Optimizer, log: Log
) -> tuple[Progress, dict[str, Tensor]]:
    """Put the newest checkpoint back, else the milestone that the run starts from, if any."""
    names = {f"model/{name}" for name in _own(run.model)}
    needed = names | checkpoint.optimizer_names(run.model)
    state = checkpoint.latest(log.scratch, run.identity, log, needed)
    if state is None and run.start is not None:
        # The model was opened with the milestone's weights; its optimizer is all there is to add.
        checkpoint.restore_optimizer(run.model, optimizer, run.start.tensors)
        progress = Progress.of(run.start)
        log.resumed(progress.step, curve=progress.curve)
        return progress, {}
    if state is None:
        return Progress(), {}
    weights = {name.removeprefix("model/"): state.tensors[name] for name in names}
    run.model.load_state_dict(weights, strict=False)
    checkpoint.restore_optimizer(run.model, optimizer, state.tensors)
    progress = Progress.of(state)
    log.resumed(progress.step, curve=progress.curve)
    log.observe("resumed_at_step", progress.step)
    best = {
        name.removeprefix("best/"): value
        for name, value in state.tensors.items()
        if name.startswith("best/")
    }
    return progress, best


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and saved buffers once each: tied weights under their first name only."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found
