"""Token classification: from labelled sentences to a tagger's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.core import canonical
from stages.core.log import Log
from stages.finetune import sentences
from stages.finetune.sentences import Sentences
from stages.finetune.stage import FinetuneParams
from stages.lm import device, loop, models, objectives, sanity, tokenizers
from stages.lm.classify import Tagger, places
from stages.lm.objectives import Task
from stages.lm.packing import shuffled
from stages.lm.words import Encoder, Window

CHECK_SENTENCES = 8
INITIAL_TOLERANCE = 0.25
"""How far the first loss may be from ln C: a pretrained body gives a new head larger inputs."""
IGNORED = -100


def run(params: FinetuneParams, base: Path, corpus: Path, model: Path, log: Log) -> None:
    """Check, train, choose by validation and write; the split `test` is never opened."""
    device.prepare(params.threads)
    words = models.open_tokenizer(base)
    train = sentences.read(corpus, "train", params.max_sentences, str(params.seed))
    valid = sentences.read(corpus, "valid", params.max_valid_sentences, "valid")
    labels = sentences.known_labels(train, corpus)
    net = open_model(params, base, labels)
    models.check_vocabulary(net.config, words, f"base {params.base}")
    limit = params.max_length or models.longest(net.config)
    models.check_length(net.config, limit, "finetune: max_length")
    batches = Batches(params, train, Encoder(words, limit), labels)
    report_gaps(sentences.unseen(valid, labels), valid, log)
    frozen = embeddings(net) if params.freeze_embeddings else frozenset()
    checks = check(net, batches, frozen, words.pad_token_id)
    tagger = Tagger(net, words)
    progress = loop.train(
        loop.Run(
            model=net,
            steps=params.epochs * batches.per_epoch,
            tasks=batches.tasks,
            evaluate=lambda _: {"valid_accuracy_fraction": accuracy(tagger, valid)},
            evaluate_every=batches.per_epoch,
            params=params,
            identity=identity(params, base, corpus),
            best="valid_accuracy_fraction",
            patience=params.patience,
            frozen=frozen,
        ),
        log,
    )
    net.eval()
    assert progress.best_value is not None, "a run evaluates at its end"
    log.metric("valid_accuracy_fraction", progress.best_value)
    log.metric("train_sentences", len(train))
    log.metric("train_words", train.words)
    log.metric("sentences_split", batches.encoder.split_sentences)
    log.metric("words_cut", batches.encoder.cut_words)
    models.save(net, model)
    tokenizers.copy(base, model, models.longest(net.config))
    report = told(params, (train, valid), batches, progress, checks)
    canonical.write_json(model / "training.json", report)


def told(
    params: FinetuneParams,
    used: tuple[Sentences, Sentences],
    batches: Batches,
    progress: loop.Progress,
    checks: dict[str, float | int],
) -> dict[str, Any]:
    """Return training.json: what was learned from, and how the weights were chosen."""
    train, valid = used
    return {
        "task": params.task.kind,
        "initial": params.initial,
        "labels": train.labels,
        "train_sentences": len(train),
        "train_words": train.words,
        "valid_sentences": len(valid),
        "valid_words": valid.words,
        "valid_unseen_labels": sentences.unseen(valid, train.labels),
        "sentences_split": batches.encoder.split_sentences,
        "words_cut": batches.encoder.cut_words,
        "steps": progress.step,
        "tokens": progress.tokens,
        "checks": checks,
        "selection": {
            "metric": "valid_accuracy_fraction",
            "step": progress.best_step,
            "value": progress.best_value,
            "curve": [
                {"step": step, "value": value}
                for name, step, value in progress.curve
                if name == "valid_accuracy_fraction"
            ],
        },
    }


def open_model(params: FinetuneParams, base: Path, labels: list[str]) -> Any:
    """Return the base with a new head, or its architecture with new weights all through."""
    net = models.load(base, "token-classification", labels, params.seed)
    config = net.config
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if hasattr(config, name):
            setattr(config, name, params.dropout)
    fresh = models.create(config, "token-classification", params.seed)
    if params.initial == "pretrained":
        fresh.load_state_dict(net.state_dict())
    return fresh


def embeddings(net: Any) -> frozenset[str]:
    """Return the names of the parameters of the base's embeddings."""
    return frozenset(name for name, _ in net.named_parameters() if "embeddings" in name.split("."))


def identity(params: FinetuneParams, base: Path, corpus: Path) -> str:
    """Return the digest that ties a checkpoint to parameters and inputs."""
    files = [base / "model.safetensors", base / "tokenizer.json"]
    files += sorted(corpus.glob("train-*.parquet")) + sorted(corpus.glob("valid-*.parquet"))
    inputs = {path.name: canonical.file_digest(path) for path in files}
    return canonical.digest({"params": params.model_dump(mode="json"), "inputs": inputs})


def report_gaps(gaps: dict[str, int], valid: Sentences, log: Log) -> None:
    """Say which labels of validation cannot be learned: they are not in the training sentences."""
    log.metric("valid_words_unseen_label", sum(gaps.values()))
    if gaps:
        log.text(
            "unseen_labels",
            f"{sum(gaps.values())} of {valid.words} validation words bear labels that training"
            f" does not show ({', '.join(gaps)}); they count as errors",
        )


class Batches:
    """Training windows with their labels, in a new order every epoch."""

    def __init__(
        self, params: FinetuneParams, train: Sentences, encoder: Encoder, labels: list[str]
    ) -> None:
        self._params, self.encoder = params, encoder
        self._windows = encoder.encode(train.tokens)
        number = {label: place for place, label in enumerate(labels)}
        self._answers = [
            [
                number[tag]
                for tag in train.tags[window.sentence][window.first :][: len(window.heads)]
            ]
            for window in self._windows
        ]
        self.per_epoch = -(-len(self._windows) // params.batch_sentences)

    def tasks(self, step: int) -> list[Task]:
        """Return the parts of a step's batch; the last batch of an epoch may be smaller."""
        epoch, place = divmod(step, self.per_epoch)
        size = self._params.batch_sentences
        positions = np.arange(place * size, min((place + 1) * size, len(self._windows)))
        order = shuffled(positions, len(self._windows), self._params.seed, epoch)
        parts = np.array_split(order, min(self._params.accumulate, len(order)))
        return [self.task(part.tolist()) for part in parts]

    def task(self, numbers: list[int]) -> Task:
        """Return the task of labelling some windows: the first token of each word, no other."""
        chosen = [(self._windows[number], self._answers[number]) for number in numbers]
        pieces = models.from_lists([window.ids for window, _ in chosen])
        labels = torch.full((len(pieces.ids),), IGNORED)
        start = 0
        where = places(pieces)
        for window, answers in chosen:
            labels[where[start + torch.tensor(window.heads)]] = torch.tensor(answers)
            start += len(window.ids)
        return objectives.labelled(pieces, labels)

    def sample(self, count: int) -> tuple[Task, list[Window]]:
        """Return the task of the first windows of the first epoch, and the windows."""
        order = shuffled(np.arange(min(count, len(self._windows))), len(self._windows), 0, 0)
        numbers = order.tolist()
        return self.task(numbers), [self._windows[number] for number in numbers]


def check(
    net: Any, batches: Batches, frozen: frozenset[str], pad: int | None
) -> dict[str, float | int]:
    """Run every check before compute; returns what they measured."""
    task, windows = batches.sample(CHECK_SENTENCES)
    sequences = [window.ids for window in windows]
    found: dict[str, float | int] = {
        "initial_loss_nats": sanity.initial_loss(net, task, INITIAL_TOLERANCE)
    }
    sanity.asymmetric(net)
    sanity.raw_logits(net, task)
    sanity.repeatable(net, task)
    found["learned_tensors"] = sanity.gradients_alive(net, task, frozen)
    sanity.independent(net, sequences, pad or 0)
    found["overfit_steps"] = sanity.overfits(net, task)
    return found


def accuracy(tagger: Tagger, gold: Sentences) -> float:
    """Return the share of words tagged right; a label that training never showed is an error."""
    said = tagger.tag(gold.tokens)
    right = sum(
        tag == guess
        for tags, row in zip(gold.tags, said, strict=True)
        for tag, (guess, _) in zip(tags, row, strict=True)
    )
    return right / gold.words
