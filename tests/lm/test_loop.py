"""The training loop: schedule, decay, accumulation, choice of the best, stopping and going on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from stages.core.errors import ArtifactError, CheckFailed, Resumable
from stages.core.log import Log
from stages.lm import device, loop, models
from stages.lm.objectives import Masked, Task
from stages.lm.optimisation import OptimisationParams, learning_rate
from tests.lm.test_models import GPT2, ROBERTA, VOCAB, rows

MASKED = Masked(mask=4, special=(0, 1, 2, 3, 4), vocab_size=VOCAB)


def tasks(step: int, parts: int = 1) -> list[Task]:
    given = [[0, *row, 2] for row in rows(8, 8, 5, 11, seed=step)]
    cut = [given[part::parts] for part in range(parts)]
    return [MASKED(models.from_lists(part), 7, step * parts + n) for n, part in enumerate(cut)]


def make_run(steps: int = 12, dropout: float = 0.0, **changes) -> loop.Run:
    config = ROBERTA.__class__(**ROBERTA.to_dict())
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    params = OptimisationParams(
        learning_rate=3e-3, checkpoint_every=5, seed=3, **changes.pop("params", {})
    )
    given = {
        "model": models.create(config, "mlm", seed=3),
        "steps": steps,
        "tasks": tasks,
        "evaluate": lambda step: {"valid_loss_nats": 1.0 / step},
        "evaluate_every": 4,
        "params": params,
        "identity": "run",
    }
    return loop.Run(**(given | changes))


def weights(run: loop.Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


class StopAt(Log):
    """A log that asks to stop once so many steps are done, as SIGTERM does."""

    def __init__(self, step: int, scratch: Path) -> None:
        super().__init__(scratch=scratch)
        self.step = step

    def metric(self, name: str, value: float, *, step: int | None = None) -> None:
        super().metric(name, value, step=step)
        if step == self.step:
            self.request_stop()


@pytest.fixture(autouse=True)
def _prepared():
    device.prepare(1)


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, stop: int):
    whole = make_run(dropout=0.2)
    straight = Log(scratch=tmp_path / "a")
    loop.train(whole, straight)
    first = make_run(dropout=0.2)
    with pytest.raises(Resumable, match=f"stopped after step {stop} of 12") as caught:
        loop.train(first, StopAt(stop, tmp_path / "b"))
    assert caught.value.exit_code == 75
    second, log = make_run(dropout=0.2), Log(scratch=tmp_path / "b")
    progress = loop.train(second, log)
    assert log.observed["resumed_at_step"] == stop
    assert same(weights(whole), weights(second))
    assert log.curves == straight.curves, "the whole curve is told, not only the second half"
    assert progress.step == 12


def test_a_killed_run_goes_on_from_the_last_interval(tmp_path: Path):
    whole = make_run()
    loop.train(whole, Log(scratch=tmp_path / "a"))

    class Killed(Exception):
        pass

    def dying(step: int) -> list[Task]:
        if step == 9:
            raise Killed
        return tasks(step)

    with pytest.raises(Killed):
        loop.train(make_run(tasks=dying), Log(scratch=tmp_path / "b"))
    second, log = make_run(), Log(scratch=tmp_path / "b")
    loop.train(second, log)
    assert log.observed["resumed_at_step"] == 5
    assert same(weights(whole), weights(second))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path):
    with pytest.raises(Resumable):
        loop.train(make_run(), StopAt(3, tmp_path))
    with pytest.raises(ArtifactError, match="belongs to another run"):
        loop.train(make_run(identity="other"), Log(scratch=tmp_path))


def test_the_best_weights_survive_a_stop(tmp_path: Path):
    """The best is at step 4, before the stop at 6; it must be what is left at the end."""
    values = {4: 0.9, 8: 0.5, 12: 0.7}

    def run() -> loop.Run:
        return make_run(evaluate=lambda step: {"score": values[step]}, best="score")

    whole = run()
    progress = loop.train(whole, Log(scratch=tmp_path / "a"))
    assert (progress.best_step, progress.best_value) == (4, 0.9)
    short = make_run(steps=12, evaluate=lambda step: {"score": values[step]}, best=None)
    loop.train(short, Log(scratch=tmp_path / "c"))
    assert not same(weights(short), weights(whole)), "without `best` the last weights are left"
    with pytest.raises(Resumable):
        loop.train(run(), StopAt(6, tmp_path / "b"))
    second = run()
    again = loop.train(second, Log(scratch=tmp_path / "b"))
    assert (again.best_step, again.best_value) == (4, 0.9)
    assert same(weights(whole), weights(second))


@pytest.mark.parametrize(("patience", "steps"), [(0, 16), (1, 8), (2, 16), (3, 16)])
def test_patience_ends_a_run_where_nothing_got_better(tmp_path: Path, patience: int, steps: int):
    """Scores at steps 4, 8, 12, 16; a stop and a resumption change nothing."""
    values = {4: 0.5, 8: 0.4, 12: 0.6, 16: 0.1}

    def run() -> loop.Run:
        judge = {"evaluate": lambda step: {"score": values[step]}, "best": "score"}
        return make_run(steps=16, patience=patience, **judge)

    assert loop.train(run(), Log(scratch=tmp_path / "a")).step == steps
    with pytest.raises(Resumable):
        loop.train(run(), StopAt(6, tmp_path / "b"))
    assert loop.train(run(), Log(scratch=tmp_path / "b")).step == steps


def test_of_equal_scores_the_earliest_is_kept(tmp_path: Path):
    run = make_run(evaluate=lambda step: {"score": 0.5}, best="score")
    assert loop.train(run, Log(scratch=tmp_path)).best_step == 4


def test_parts_of_a_batch_give_the_gradient_of_the_batch():
    """The parts have other numbers of predictions, so a mean of their means would be wrong."""
    model = models.create(ROBERTA, "mlm", seed=1).eval()
    given = [[0, *row, 2] for row in rows(20, 20, 3, 3)]
    whole = MASKED(models.from_lists(given), 7, 0)
    parts = []
    for first, last in ((0, 1), (1, 4)):
        bounds = whole.pieces.bounds()[first:last]
        inside = range(bounds[0][0], bounds[-1][1])
        pieces = models.from_lists([whole.pieces.ids[a:b].tolist() for a, b in bounds])
        chosen = [n for n, place in enumerate(whole.places.tolist()) if place in inside]
        places = whole.places[chosen] - inside.start
        parts.append(Task(pieces, places, whole.answers[chosen], places))
    assert len(parts[0].places) != len(parts[1].places)
    found = []
    for given_tasks in ([whole], parts):
        model.zero_grad()
        loss, count = loop.accumulate(model, given_tasks)
        assert count == len(whole.places)
        found.append((float(loss), [p.grad.clone() for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    for left, right in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(left, right, atol=1e-6)


@pytest.mark.parametrize(("config", "head"), [(ROBERTA, "mlm"), (GPT2, "causal")])
def test_matrices_decay_and_vectors_never(config, head):
    """CodeParrot's list of names missed `ln_1`, `ln_2`, `ln_f` and decayed GPT-2's norms."""
    model = models.create(config, head, seed=1)
    optimizer = loop.make_optimizer(model, OptimisationParams(weight_decay=0.1))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        vector = name.endswith("bias") or "norm" in name.lower() or ".ln_" in name
        assert decay[id(parameter)] == (0.0 if vector else 0.1), name


def test_frozen_parameters_do_not_move(tmp_path: Path):
    name = "roberta.embeddings.word_embeddings.weight"
    run = make_run(frozen=frozenset({name}))
    before = weights(run)
    loop.train(run, Log(scratch=tmp_path))
    after = weights(run)
    assert torch.equal(before[name], after[name])
    other = "roberta.encoder.layer.0.output.dense.weight"
    assert not torch.equal(before[other], after[other])


def test_the_loss_falls_and_the_numbers_are_told(tmp_path: Path):
    log = Log(scratch=tmp_path)
    progress = loop.train(make_run(steps=40, tasks=lambda _: tasks(0)), log)
    losses = [value for _, value in log.curves["loss_nats"]]
    assert losses[0] == pytest.approx(math.log(VOCAB), rel=0.06)
    assert losses[-1] < 0.6 * losses[0]
    assert [step for step, _ in log.curves["loss_nats"]] == list(range(1, 41))
    assert [step for step, _ in log.curves["valid_loss_nats"]] == list(range(4, 41, 4))
    assert progress.tokens == 40 * (8 + 8 + 5 + 11 + 8)
    assert log.observed["tokens_per_cpu_second"] > 0
    assert log.observed["memory_peak_bytes"] > 1e8


def test_a_loss_that_is_not_a_number_names_its_step(tmp_path: Path):
    run = make_run()
    calls = []

    def poisoned(step: int) -> list[Task]:
        calls.append(step)
        if step == 6:
            run.model.get_parameter("lm_head.dense.weight").data[0, 0] = float("nan")
        return tasks(step)

    with pytest.raises(CheckFailed, match="the loss of step 7 is nan") as caught:
        loop.train(loop.Run(**{**vars(run), "tasks": poisoned}), Log(scratch=tmp_path))
    assert "learning_rate" in caught.value.todo
    assert calls[-1] == 6


@pytest.mark.parametrize("value", [0, 0.0, -1e-3, float("nan"), 400.0])
def test_a_learning_rate_of_nothing_or_of_nonsense_is_refused(value):
    with pytest.raises(ValidationError, match="learning_rate"):
        OptimisationParams(learning_rate=value)


def test_the_schedule_by_hand():
    params = OptimisationParams(learning_rate=1.0, warmup_share=0.2, final_share=0.1)
    rates = [learning_rate(params, step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    # Half-way down (step 6 of 2..10): the mean of the highest and the final rate.
    assert rates[6] == pytest.approx(0.55)
    assert rates[9] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    linear = params.model_copy(update={"schedule": "linear"})
    assert learning_rate(linear, 4, 10) == pytest.approx(0.1 + 0.9 * 0.75)
    constant = params.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 9, 10) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_no_step_has_a_learning_rate_of_zero(schedule, steps):
    params = OptimisationParams(schedule=schedule, final_share=0.0)
    for step in range(steps):
        assert 0 < learning_rate(params, step, steps) <= params.learning_rate


def test_the_learning_rate_is_used_and_told(tmp_path: Path):
    run, log = make_run(), Log(scratch=tmp_path)
    loop.train(run, log)
    told = [value for _, value in log.curves["learning_rate"]]
    assert told == [learning_rate(run.params, step, 12) for step in range(12)]
