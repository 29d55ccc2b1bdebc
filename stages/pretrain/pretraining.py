"""Pretraining from packed tokens to a model folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.core import canonical
from stages.core.errors import ArtifactError, ParamsError
from stages.core.log import Log
from stages.lm import (
    device,
    loop,
    milestones,
    models,
    objectives,
    sanity,
    spelling,
    tokenizers,
)
from stages.lm.blends import Blend
from stages.lm.classify import Filler
from stages.lm.loaders import Loader
from stages.lm.models import Pieces
from stages.lm.objectives import Task
from stages.lm.tokens import MANIFEST, Batch, Tokens
from stages.pretrain import beginning, mixture
from stages.pretrain.architecture import configuration
from stages.pretrain.stage import PretrainParams

VALID_SEED = 0x5EED
"""Seed of the masks of held-out rows, the same for every run so that losses compare."""
CHECK_PIECES = 6
CHECK_TOKENS = 24
FOLDS = 7
"""Every held-out token is masked once in 7 passes, one seventh of the text at a time."""
PROBE_GUESSES = 5


def run(
    params: PretrainParams,
    folders: Sequence[Path],
    tokenizer: Path,
    base: Path,
    model: Path,
    log: Log,
) -> None:
    """Check, train, measure and write; see `stages.pretrain.stage` for the parameters.

    `folders` are those of `tokens`, `second`, `third` and `fourth`.
    """
    device.prepare(params.threads)
    given = mixture.given(params, folders)
    tokens = given[0][1]
    train, valid = mixture.opened(params, given), Tokens(tokens, "valid")
    params = mixture.budgeted(params, train)
    order = mixture.ordered(params, train, [name for name, _ in given], log)
    words = models.open_tokenizer(tokenizer)
    check_inputs(params, train, words, tokenizer)
    if params.base_step is not None:
        base = milestones.locate(base, params.base_step)
    net = open_model(params, train, base)
    start = milestones.load(base, net) if params.base_step is not None else None
    models.check_vocabulary(net.config, words, f"pretrain of {base}")
    models.check_length(net.config, train.sequence_length, f"tokens {tokens.name}")
    make = objective(params, train)
    log.metric("parameters", models.parameter_count(net))
    ids = beginning.counted(train, params.seed) if begins_counted(params) else None
    if ids is not None:
        beginning.prepare(net, ids, train.special.all, params.seed)
    checks = check(params, net, make, train, ids)
    held_out = HeldOut(params, make, valid, byte_lengths(tokenizer, valid))
    loader = Loader(train, order, make, params.seed, params.accumulate)
    progress = loop.train(
        loop.Run(
            model=net,
            steps=params.steps,
            tasks=lambda step: loader.tasks(step, longest(params, step)),
            evaluate=lambda _: {"valid_loss_nats": held_out.loss(net)},
            evaluate_every=params.evaluate_every,
            params=params,
            identity=identity(params, *(path for _, path in given), tokenizer, base),
            publish_every=params.publish_every,
            start=start,
        ),
        log,
    )
    log.observe("data_wait_fraction", loader.wait)
    net.eval()
    scores = held_out.scores(net, progress.last("valid_loss_nats"))
    for name, value in scores.items():
        log.metric(name, value)
    for name in ("tokens", "predictions"):
        log.metric(f"train_{name}", getattr(progress, name))
    save(params, net, words, tokenizer, model)
    report = {"parameters": models.parameter_count(net), "checks": checks, "scores": scores}
    canonical.write_json(model / "training.json", report | told(params, train, progress))
    mixture.deliver(order, model)
    milestones.deliver(log.scratch, model)


def save(params: PretrainParams, net: Any, words: Any, tokenizer: Path, model: Path) -> None:
    """Write weights, tokenizer and what the model makes of the probes."""
    models.save(net, model)
    tokenizers.copy(tokenizer, model, models.longest(net.config))
    if params.probes:
        canonical.write_json(model / "probes.json", probe(net, words, params.probes))


def told(params: PretrainParams, train: Blend, progress: loop.Progress) -> dict[str, Any]:
    """Return what training.json says of how long was learned."""
    return {
        "objective": params.objective.kind,
        "steps": progress.step,
        "tokens": progress.tokens,
        "epochs": params.steps * params.batch_rows / train.rows,
        "text_bytes": round(params.steps * params.batch_rows * mixture.row_bytes(train)),
        "predictions": progress.predictions,
        "curve": [
            {"step": step, "valid_loss_nats": value}
            for name, step, value in progress.curve
            if name == "valid_loss_nats"
        ],
    }


def begins_counted(params: PretrainParams) -> bool:
    """Say whether this run begins with counted weights."""
    return params.base == "none" and params.beginning == "counted"


def check_inputs(params: PretrainParams, train: Blend, words: Any, tokenizer: Path) -> None:
    """Refuse tokens of another tokenizer or objective before anything is built."""
    where = f"tokens {params.tokens} ({MANIFEST})"
    if train.manifest["tokenizer_digest"] != tokenizers.digest(tokenizer):
        raise ArtifactError(
            f"the tokens were not encoded with the tokenizer {params.tokenizer}",
            where,
            "name the tokenizer that the encode entry names",
        )
    if train.manifest["objective"] != params.objective.kind:
        raise ParamsError(
            f"the tokens are laid out for the objective {train.manifest['objective']!r}, not"
            f" {params.objective.kind!r}",
            where,
            "choose the objective that the tokenizer was made for",
        )
    lacking = [
        text for text in params.probes if words(text)["input_ids"].count(words.mask_token_id) != 1
    ]
    if lacking:
        raise ParamsError(
            f"the probe {lacking[0]!r} does not hold exactly one {words.mask_token}",
            "pretrain: probes",
            f"write {words.mask_token} where the model shall fill in a word",
        )


def open_model(params: PretrainParams, train: Blend, base: Path) -> Any:
    """Return new weights, or those of the base."""
    head: models.Head = "mlm" if params.objective.kind == "masked" else "causal"
    if params.base != "none":
        return models.load(base, head)
    return models.create(
        configuration(params.model, train.vocab_size, train.special), head, params.seed
    )


def objective(params: PretrainParams, train: Blend) -> objectives.Objective:
    """Return what the parameters say shall be predicted."""
    if params.objective.kind == "causal":
        return objectives.Causal()
    assert train.special.mask is not None, "check_inputs refused a causal tokenizer"
    return objectives.Masked(
        train.special.mask, train.special.all, train.vocab_size, params.objective.share
    )


def identity(params: PretrainParams, *inputs: Path) -> str:
    """Return the digest that ties a checkpoint to parameters and inputs."""
    files = {
        f"{number}/{name}": canonical.file_digest(folder / name)
        for number, folder in enumerate(inputs)
        for name in (MANIFEST, "train.bin", "tokenizer.json", *milestones.FILES)
        if (folder / name).is_file()
    }
    return canonical.digest({"params": params.model_dump(mode="json"), "inputs": files})


def longest(params: PretrainParams, step: int) -> int:
    """Return how many tokens a piece has at most in a step; 0 as many as it has."""
    return params.short_length if step < params.short_share * params.steps else 0


def _pieces(batch: Batch) -> Pieces:
    return models.lay_out(batch["input_ids"], batch["segment_starts"])


def check(
    params: PretrainParams,
    net: Any,
    make: objectives.Objective,
    train: Blend,
    ids: torch.Tensor | None = None,
) -> dict[str, Any]:
    """Run every check before compute; returns what they measured.

    The loss is held against ln V before the output's bias learns the frequencies of `ids`.
    """
    rows = train.first(min(16, train.rows), params.seed)
    batch = train.gather_flat(rows)
    starts = batch["segment_starts"]
    sequences = [
        batch["input_ids"][first : min(last, first + CHECK_TOKENS)].tolist()
        for first, last in zip(starts[:-1], starts[1:], strict=True)
        if last - first > 2
    ][:CHECK_PIECES]
    if not sequences:
        raise ArtifactError(
            "the tokens hold no document of more than two tokens",
            f"tokens {params.tokens}",
            "give the corpus more text",
        )
    # Lengths that differ, down to the shortest, so that padding is at work in the check.
    sequences[1:] = [row[: max(3, len(row) - 5 * n)] for n, row in enumerate(sequences[1:])]
    pieces = models.from_lists(sequences)
    whole = make(_pieces(batch), params.seed, 0)
    found: dict[str, Any] = {}
    if params.base == "none":
        found["initial_loss_nats"] = sanity.initial_loss(net, whole, params.initial_loss_tolerance)
        found["guessing_nats"] = math.log(train.vocab_size)
    if ids is not None:
        beginning.begin_at_frequencies(net, ids)
    sanity.asymmetric(net)
    sanity.raw_logits(net, make(pieces, params.seed, 0))
    sanity.repeatable(net, make(pieces, params.seed, 0))
    found["learned_tensors"] = sanity.gradients_alive(net, whole)
    sanity.independent(net, sequences, train.special.pad)
    if params.objective.kind == "causal":
        sanity.causal(net, make, pieces)
    # Two sequences: causal ones with a common beginning and different ends cannot be learnt.
    few = make(models.from_lists(sequences[:2]), params.seed, 0)
    found["overfit_steps"] = sanity.overfits(net, few)
    return found


def byte_lengths(tokenizer: Path, held_out: Tokens) -> tuple[torch.Tensor, float]:
    """Return the bytes of text that each token spells, [V], and how much more the text has.

    Special tokens spell none. The factor is 1 for vocabularies that keep every byte; where text
    was normalised, or white space is in no token, it spreads the text's own bytes over tokens.
    """
    lengths = torch.zeros(held_out.vocab_size, dtype=torch.long)
    state = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    for number, size in spelling.byte_lengths(state).items():
        lengths[number] = size
    lengths[list(held_out.special.all)] = 0
    counts = np.bincount(held_out.stream, minlength=held_out.vocab_size)
    spelled = int(counts @ lengths.numpy())
    return lengths, held_out.ledger["bytes"] / spelled if spelled else 1.0


class HeldOut:
    """The rows of the split `valid` that a run is measured on."""

    def __init__(
        self,
        params: PretrainParams,
        make: objectives.Objective,
        valid: Tokens,
        lengths: tuple[torch.Tensor, float],
    ) -> None:
        if not valid.rows:
            raise ArtifactError(
                "the split valid is empty", str(valid.folder), "give it a share of the corpus"
            )
        rows = np.arange(min(params.evaluate_rows, valid.rows))
        self._make = make
        self._lengths, self._more = lengths
        self._pieces = [
            _pieces(valid.gather_flat(part))
            for part in np.array_split(rows, -(-len(rows) // params.batch_rows))
        ]

    def loss(self, net: Any) -> float:
        """Return the mean loss in nats per prediction."""
        tasks = (
            self._make(pieces, VALID_SEED, number) for number, pieces in enumerate(self._pieces)
        )
        nats, predictions, _ = self._sums(net, tasks)
        return nats / predictions

    def scores(self, net: Any, loss: float | None) -> dict[str, float]:
        """Return the final scores.

        For a causal model bits per byte count the text whose tokens are predicted. A masked model
        gives no probability of a text, so its pseudo bits per byte are what hidden tokens cost
        with every token hidden once, a seventh of the text at a time.
        """
        with torch.inference_mode():
            final = self.loss(net) if loss is None else loss
            found = {"valid_loss_nats": final, "valid_perplexity": math.exp(min(final, 700.0))}
            name = "valid_bits_per_byte"
            tasks: Sequence[Task] | Iterator[Task]
            if isinstance(self._make, objectives.Masked):
                name = "valid_pseudo_bits_per_byte"
                tasks = [
                    task
                    for pieces in self._pieces
                    for task in self._make.every_token_once(pieces, FOLDS)
                ]
            else:
                tasks = (self._make(pieces, 0, 0) for pieces in self._pieces)
            nats, _, size = self._sums(net, tasks)
        found[name] = nats / math.log(2) / max(1.0, size * self._more)
        return found

    def _sums(self, net: Any, tasks: Iterator[Task] | Sequence[Task]) -> tuple[float, int, int]:
        """Return nats, predictions and bytes over tasks, summed in double precision."""
        nats, predictions, size = 0.0, 0, 0
        for task in tasks:
            nats += float(objectives.nats(net, task).double().sum())
            predictions += len(task.answers)
            size += int(self._lengths[task.answers].sum())
        return nats, predictions, size


def probe(net: Any, words: Any, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the best fillings of every probe, scores rounded to four digits."""
    filler = Filler(net, words)
    return [
        {"text": text, "guesses": guesses}
        for text, guesses in zip(texts, filler.fill(texts, PROBE_GUESSES), strict=True)
    ]
