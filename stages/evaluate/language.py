"""Language models on held-out text: masked or causal, as the model's own config says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ArtifactError
from stages.evaluate.material import Corpus, open_corpus, rows_digest
from stages.evaluate.scoreboard import Measure, Scoreboard, Systems
from stages.evaluate.stage import LanguageModelling
from stages.lm.resample import Counts, as_millionths, ratio, significant
from stages.lm.statistics import bits_ratio, exp_ratio

BASELINE_DOCUMENTS = 2000
"""Training documents that the unigram baseline counts: more change its loss in the third digit."""


@dataclass(frozen=True)
class Losses:
    """Summed loss by document: the sufficient statistics of every score here."""

    nats: Counts
    tokens: Counts
    num_bytes: Counts

    def per_token(self) -> Counts:
        """Return [D, 2] for the loss per token: millionths of nats, tokens in millionths."""
        return np.stack([as_millionths(self.nats), self.tokens * 1e6], axis=1)

    def per_byte(self) -> Counts:
        """Return [D, 2] for the loss per byte."""
        return np.stack([as_millionths(self.nats), self.num_bytes * 1e6], axis=1)


def score(task: LanguageModelling, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a language model on held-out documents."""
    material = open_corpus(corpus, "text")
    rows = material.rows(board.params.split, task.max_documents)
    rows = [row for row in rows if row["text"].strip()]
    kind = model_kind(systems.model)
    if kind == "masked":
        _score_masked(task, systems, material, rows, board)
    else:
        _score_causal(task, systems, material, rows, board)


def model_kind(folder: Path) -> str:
    """Return `masked` or `causal` from the architecture that the model's config names."""
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError(
            "the folder holds no config.json", str(folder), "point `model` at an entry of pretrain"
        )
    named = json.loads(path.read_text(encoding="utf-8")).get("architectures") or ["nothing"]
    for ending, kind in (
        ("ForMaskedLM", "masked"),
        ("ForCausalLM", "causal"),
        ("LMHeadModel", "causal"),
    ):
        if str(named[0]).endswith(ending):
            return kind
    raise ArtifactError(
        f"the model is a {named[0]}, not a language model",
        str(path),
        "point `model` at a masked or causal language model",
    )


def _score_masked(
    task: LanguageModelling,
    systems: Systems,
    material: Corpus,
    rows: list[dict[str, Any]],
    board: Scoreboard,
) -> None:
    from stages.evaluate.masked import MaskedModel

    params = board.params
    open_model = partial(MaskedModel, threads=params.threads, batch_size=params.batch_size)
    model = open_model(systems.model)
    texts, ids = [row["text"] for row in rows], [row["id"] for row in rows]
    board.log.progress(0, len(rows), "documents")
    found = model.masked_losses(texts, ids, task.mask_fraction, params.seed)
    board.log.progress(len(rows), len(rows), "documents")
    digest = rows_digest(rows)
    traits = {
        "token": "masked",
        "mask": task.mask_fraction,
        "mix": "80-10-10",
        "window": model.window,
        "tokenizer": model.tokenizer_digest,
        "data": digest,
    }
    _add_loss("masked_loss", "masked_perplexity", found, traits, board)
    counts = model.token_counts(row["text"] for row in _head(material))
    unigram = model.unigram_losses(texts, ids, task.mask_fraction, params.seed, counts)
    _add_rival("masked_loss", found, "unigram", unigram, traits, board)
    for name, folder in systems.rivals():
        other = open_model(folder)
        theirs = other.masked_losses(texts, ids, task.mask_fraction, params.seed)
        if other.tokenizer_digest == model.tokenizer_digest:
            _add_rival("masked_loss", found, name, theirs, traits, board)
        else:
            board.note(f"{name} has another tokenizer: losses per token do not compare.")
    if task.pseudo_documents:
        few = min(task.pseudo_documents, len(rows))
        pseudo = model.pseudo_losses(texts[:few], task.pseudo_tokens)
        _add_pseudo(task, pseudo, {**traits, "token": "each", "mask": 1, "mix": "mask"}, board)
    board.keep([{"id": row["id"], **model.example(row["text"])} for row in rows[: params.samples]])


def _score_causal(
    task: LanguageModelling,
    systems: Systems,
    material: Corpus,
    rows: list[dict[str, Any]],
    board: Scoreboard,
) -> None:
    from stages.evaluate.causal import CausalModel
    from stages.evaluate.completion import score_completions

    params = board.params
    model = CausalModel(systems.model, params.threads, params.batch_size)
    texts = [row["text"] for row in rows]
    found = model.losses(texts)
    traits = {
        "token": "every",
        "end": "no",
        "window": model.window,
        "stride": model.stride,
        "tokenizer": model.tokenizer_digest,
        "data": rows_digest(rows),
    }
    _add_loss("loss", "perplexity", found, traits, board)
    bytewise = _bits_measure("bits_per_byte", {**traits, "token": "byte"})
    board.score(bytewise, found.per_byte(), int(found.num_bytes.sum()))
    unigram = model.unigram_losses(
        texts, model.token_counts(row["text"] for row in _head(material))
    )
    _add_rival("loss", found, "unigram", unigram, traits, board)
    board.score(bytewise, unigram.per_byte(), int(unigram.num_bytes.sum()), baseline="unigram")
    for name, folder in systems.rivals():
        theirs = CausalModel(folder, params.threads, params.batch_size).losses(texts)
        n = int(found.num_bytes.sum())
        board.score(bytewise, theirs.per_byte(), n, baseline=name)
        board.compare(bytewise, (params.model, found.per_byte()), (name, theirs.per_byte()), n)
    board.keep(_hardest(rows, found))
    if task.completions:
        score_completions(task, model, rows, board)


def _hardest(rows: list[dict[str, Any]], found: Losses) -> list[dict[str, Any]]:
    """Return the heads of the documents that cost most bits per byte, hardest first."""
    bits = bits_ratio(found.per_byte())
    order = sorted(range(len(rows)), key=lambda place: (-bits[place], rows[place]["id"]))
    return [
        {
            "id": rows[place]["id"],
            "head": rows[place]["text"][:200],
            "bits_per_byte": significant(float(bits[place]), 5),
        }
        for place in order
    ]


def _head(material: Corpus) -> list[dict[str, Any]]:
    return material.rows("train", BASELINE_DOCUMENTS)


def _add_loss(
    loss: str, perplexity: str, found: Losses, traits: dict[str, Any], board: Scoreboard
) -> None:
    n = int(found.tokens.sum())
    board.score(Measure(loss, "nats", ratio, "document", traits), found.per_token(), n)
    measure = Measure(perplexity, "perplexity", exp_ratio, "document", traits)
    board.score(measure, found.per_token(), n)


def _add_rival(
    loss: str, ours: Losses, name: str, theirs: Losses, traits: dict[str, Any], board: Scoreboard
) -> None:
    measure = Measure(loss, "nats", ratio, "document", traits)
    n = int(ours.tokens.sum())
    board.score(measure, theirs.per_token(), n, baseline=name)
    model = board.params.model
    board.compare(measure, (model, ours.per_token()), (name, theirs.per_token()), n)


def _add_pseudo(
    task: LanguageModelling, found: Losses, traits: dict[str, Any], board: Scoreboard
) -> None:
    """Add pseudo-perplexity (Salazar et al. 2020) and its bits per byte, named for what they are.

    Every token is predicted from both sides, so the sum of log-probabilities is no probability of
    the text and its bits per byte no rate at which the text could be compressed.
    """
    traits = {**traits, "first": f"{task.pseudo_tokens}tokens"}
    n = int(found.tokens.sum())
    measure = Measure("pseudo_perplexity", "perplexity", exp_ratio, "document", traits)
    board.score(measure, found.per_token(), n)
    board.score(_bits_measure("pseudo_bits_per_byte", traits), found.per_byte(), n)
    board.note(
        "pseudo_bits_per_byte predicts every token from both sides: it compares masked models "
        "with one another, and is no compression rate."
    )


def _bits_measure(name: str, traits: dict[str, Any]) -> Measure:
    return Measure(name, "bits/byte", bits_ratio, "document", traits)
