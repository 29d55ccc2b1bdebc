"""Every check before compute passes a sound model and fails the one with its fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from stages.core.errors import CheckFailed
from stages.lm import models, objectives, sanity
from stages.lm.objectives import Causal, Masked, Task
from tests.lm.test_models import GPT2, LLAMA, ROBERTA, VOCAB, rows

MASKED = Masked(mask=4, special=(0, 1, 2, 3, 4), vocab_size=VOCAB)
LENGTHS = (12, 5, 9, 3)


def sequences() -> list[list[int]]:
    return [[0, *row, 2] for row in rows(*LENGTHS)]


def masked_task() -> Task:
    return MASKED(models.from_lists(sequences()), 0, 0)


def roberta() -> Any:
    return models.create(ROBERTA, "mlm", seed=1)


def gpt2() -> Any:
    return models.create(GPT2, "causal", seed=1)


def check_all(model: Any) -> None:
    """The checks of pretraining with the objective masked, as the stage runs them."""
    task = masked_task()
    sanity.initial_loss(model, task, 0.05)
    sanity.asymmetric(model)
    sanity.raw_logits(model, task)
    sanity.repeatable(model, task)
    sanity.gradients_alive(model, task)
    sanity.independent(model, sequences(), 1)
    sanity.overfits(model, MASKED(models.from_lists(sequences()[:2]), 0, 0))


def test_a_sound_masked_model_passes_everything():
    check_all(roberta())


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_sound_causal_model_passes_everything(config):
    model = models.create(config, "causal", seed=1)
    pieces = models.from_lists(sequences())
    task = Causal()(pieces)
    sanity.initial_loss(model, task, 0.05)
    sanity.asymmetric(model)
    sanity.raw_logits(model, task)
    sanity.repeatable(model, task)
    sanity.gradients_alive(model, task)
    sanity.independent(model, sequences(), 1)
    sanity.causal(model, Causal(), pieces)
    sanity.overfits(model, Causal()(models.from_lists(sequences()[:2])))


def test_the_checks_leave_the_weights_as_they_were():
    model = roberta()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_all(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


# --- planted faults: each mutates a sound model; the check named beside it must fail ------------


def softmax_before_loss(model: Any) -> None:
    head = model.lm_head.forward
    model.lm_head.forward = lambda states: head(states).softmax(-1)


def unused_layer(model: Any) -> None:
    model.roberta.encoder.layer[1].forward = lambda states, *_, **__: states


def detached_embeddings(model: Any) -> None:
    model.roberta.embeddings.register_forward_hook(lambda _, __, out: out.detach())


def frozen_everything(model: Any) -> None:
    model.requires_grad_(False)


def constant_weights(model: Any) -> None:
    nn.init.constant_(model.roberta.encoder.layer[0].intermediate.dense.weight, 0.02)


def zero_weights(model: Any) -> None:
    nn.init.zeros_(model.roberta.encoder.layer[1].attention.self.query.weight)


def huge_weights(model: Any) -> None:
    model.roberta.embeddings.word_embeddings.weight.data.mul_(60)


def dropout_stays_on(model: Any) -> None:
    body = model.roberta.encoder.layer[0].output.dropout
    body.forward = lambda states: nn.functional.dropout(states, 0.3, training=True)


def batch_statistics(model: Any) -> None:
    norm = model.roberta.encoder.layer[0].output.LayerNorm
    norm.register_forward_hook(lambda _, __, out: out - out.mean(dim=1, keepdim=True))


def wrong_axis(model: Any) -> None:
    layer = model.roberta.encoder.layer[1]
    layer.register_forward_hook(lambda _, __, out: out + 0.1 * out.roll(1, dims=1))


def positions_from_the_batch(model: Any) -> None:
    embed = model.roberta.embeddings
    plain = embed.forward

    def running(**given: Any) -> Any:
        count = given["input_ids"].shape[1]
        given["position_ids"] = (torch.arange(count) % 30 + 2).unsqueeze(0)
        return plain(**given)

    embed.forward = running


FAULTS: list[tuple[Callable[[Any], None], Callable[[Any], object], str]] = [
    (softmax_before_loss, lambda m: sanity.raw_logits(m, masked_task()), "probabilities"),
    (unused_layer, lambda m: sanity.gradients_alive(m, masked_task()), r"layer\.1\."),
    (detached_embeddings, lambda m: sanity.gradients_alive(m, masked_task()), "position_embed"),
    (frozen_everything, lambda m: sanity.gradients_alive(m, masked_task()), "any weight"),
    (constant_weights, sanity.asymmetric, r"intermediate\.dense\.weight are equal"),
    (zero_weights, sanity.asymmetric, r"query\.weight are equal"),
    (huge_weights, lambda m: sanity.initial_loss(m, masked_task(), 0.05), "guessing gives ln 90"),
    (dropout_stays_on, lambda m: sanity.repeatable(m, masked_task()), "two evaluations"),
    (batch_statistics, lambda m: sanity.independent(m, sequences(), 1), "company or padding"),
    (wrong_axis, lambda m: sanity.independent(m, sequences(), 1), "company or padding"),
    (positions_from_the_batch, lambda m: sanity.independent(m, sequences(), 1), "company or"),
]


@pytest.mark.parametrize(
    ("plant", "check", "said"), FAULTS, ids=[plant.__name__ for plant, _, _ in FAULTS]
)
def test_a_planted_fault_is_caught(plant, check, said):
    model = roberta()
    check(model)
    plant(model)
    with pytest.raises(CheckFailed, match=said) as caught:
        check(model)
    assert len(caught.value.lines()) == 3


def test_attention_across_documents_is_caught(monkeypatch):
    def crossing(module, query, key, value, *_, scaling=None, **__):
        out = nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
        return out.transpose(1, 2), None

    monkeypatch.setattr(models, "_attend", crossing)
    with pytest.raises(CheckFailed, match="company or padding"):
        sanity.independent(roberta(), sequences(), 1)


def test_a_missing_causal_mask_is_caught():
    model = gpt2()
    pieces = models.from_lists(sequences())
    sanity.causal(model, Causal(), pieces)
    for block in model.transformer.h:
        block.attn.is_causal = False
    with pytest.raises(CheckFailed, match="changes what is predicted at or before"):
        sanity.causal(model, Causal(), pieces)


def test_labels_that_are_not_shifted_are_caught():
    def unshifted(pieces, seed, step):
        right = Causal()(pieces)
        return Task(pieces, right.places, pieces.ids[right.places], right.places)

    with pytest.raises(CheckFailed, match="not a token after the place"):
        sanity.causal(gpt2(), unshifted, models.from_lists(sequences()))


def test_labels_shifted_twice_are_caught():
    def shifted_wrongly(pieces, seed, step):
        right = Causal()(pieces)
        return Task(pieces, right.places, right.answers.roll(1), right.origins)

    with pytest.raises(CheckFailed, match="not a token after the place"):
        sanity.causal(gpt2(), shifted_wrongly, models.from_lists(sequences()))


def test_labels_that_mean_nothing_are_not_learnt_by_heart():
    """The same input asked for different answers cannot be learnt: shuffled labels."""
    row = sequences()[0]
    pieces = models.from_lists([row] * 6)
    task = MASKED(pieces, 0, 0)
    places = torch.arange(1, len(pieces.ids), len(row))
    task = Task(pieces, places, torch.arange(10, 10 + len(places)), places)
    with pytest.raises(CheckFailed, match="not learnt in"):
        sanity.overfits(roberta(), task)


def test_a_trained_model_is_not_new():
    """A loss far under ln V says that answers leak or that the weights are not new."""
    model = roberta()
    task = MASKED(models.from_lists(sequences()[:2]), 0, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(20):
        loss = objectives.summed_nats(model, task) / len(task.answers)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with pytest.raises(CheckFailed, match="the loss of new weights is"):
        sanity.initial_loss(model, task, 0.05)
