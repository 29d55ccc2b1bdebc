"""Contrastive search equals its formula, and repeats itself less than greedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.lm.decoding import contrastive, settings
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.diagnostics import (
    degeneration,
    distinct_fraction,
    diversity_fraction,
    repeated_fraction,
)
from tests.lm.decoding import tiny


def decode(decoder: Decoder, rows: list[list[int]], **value: Any) -> list[list[int]]:
    batch = value.pop("batch_size", 32)
    block = settings.parse({"kind": "contrastive", "max_tokens": 16, **value}, "x")
    return [outputs[0].tokens for outputs in decoder.decode(rows, block, batch)]


@torch.inference_mode()
def by_formula(model: Any, row: list[int], top_k: int, alpha: float, longest: int) -> list[int]:
    """The formula for one input, every prefix read from its start."""
    seq2seq = model.config.is_encoder_decoder
    text = [model.config.decoder_start_token_id] if seq2seq else list(row)
    start = len(text)

    def read(tokens: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        given = {"input_ids": torch.tensor([row if seq2seq else tokens])}
        if seq2seq:
            given["decoder_input_ids"] = torch.tensor([tokens])
        found = model(**given, use_cache=False, output_hidden_states=True)
        states = found.decoder_hidden_states if seq2seq else found.hidden_states
        return found.logits[0, -1], states[-1][0]

    for step in range(longest + seq2seq):
        logits, states = read(text)
        if seq2seq and step == longest:
            text.append(tiny.EOS)
            break
        shares, tokens = torch.softmax(logits, dim=-1).topk(top_k)
        worth = []
        for share, token in zip(shares.tolist(), tokens.tolist(), strict=True):
            new = read([*text, token])[1][-1]
            likest = torch.cosine_similarity(new.unsqueeze(0), states, dim=1).max()
            worth.append((1 - alpha) * share - alpha * float(likest))
        text.append(int(tokens[worth.index(max(worth))]))
        if text[-1] == tiny.EOS:
            break
    return text[start:]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "fsmt"])
def test_every_model_follows_the_formula(kind: str) -> None:
    model = tiny.model(kind)
    rows = tiny.inputs(model)
    for top_k, alpha in ((4, 0.6), (6, 0.3)):
        wanted = [by_formula(model, row, top_k, alpha, 16) for row in rows]
        options = {"top_k": top_k, "penalty_alpha": alpha}
        assert decode(Decoder(model), rows, **options) == wanted
        assert decode(Decoder(model, use_cache=False), rows, **options) == wanted
        assert decode(Decoder(model), rows, batch_size=1, **options) == wanted


def test_without_weight_or_choice_it_is_greedy() -> None:
    model = tiny.model("llama")
    rows = tiny.inputs(model)
    greedy = [
        outputs[0].tokens for outputs in Decoder(model).decode(rows, settings.Greedy(max_tokens=16))
    ]
    assert decode(Decoder(model), rows, penalty_alpha=0.0) == greedy
    assert decode(Decoder(model), rows, top_k=1) == greedy
    assert decode(Decoder(model), rows) != greedy


def test_the_prompt_counts_as_context(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("gpt2")
    rows = tiny.inputs(model)
    wanted = decode(Decoder(model), rows)
    whole = contrastive._Run.__init__

    def blind(self: Any, *arguments: Any) -> None:
        whole(self, *arguments)
        self.real[:, :-1] = False

    monkeypatch.setattr(contrastive._Run, "__init__", blind)
    assert decode(Decoder(model), rows) != wanted


def test_repetition_falls_against_greedy() -> None:
    model = tiny.model("gpt2", seed=0)
    rows = tiny.inputs(model, lengths=(3, 5, 8, 4, 6, 7))
    figures = []
    for block in (settings.Greedy(max_tokens=40),
                  settings.Contrastive(max_tokens=40, top_k=6, penalty_alpha=0.6)):  # fmt: skip
        found = [outputs[0] for outputs in Decoder(model).decode(rows, block)]
        figures.append(
            degeneration([one.tokens for one in found], [one.positional_nats for one in found])
        )
    greedy, ours = figures
    assert ours.rep4_fraction < greedy.rep4_fraction
    assert ours.diversity_fraction > greedy.diversity_fraction
    assert ours.mean_nats < greedy.mean_nats
    assert set(ours.row()) >= {"rep2_fraction", "distinct1_fraction", "mean_nats"}


def test_figures_by_hand() -> None:
    texts = [[1, 2, 1, 2, 1], [3, 4, 5, 6]]
    # bigrams: 12 21 12 21 | 34 45 56: four of seven are new in their text, plus the first two
    assert repeated_fraction(texts, 2) == pytest.approx(2 / 7)
    assert distinct_fraction(texts, 1) == pytest.approx(6 / 9)
    assert distinct_fraction([[1, 2], [1, 2]], 2) == pytest.approx(1 / 2)
    assert diversity_fraction([[1, 1, 1, 1, 1]]) == pytest.approx(1 / 4 * 1 / 3 * 1 / 2)
    assert repeated_fraction([[1]], 4) == 0.0
    assert degeneration([], []).mean_nats == 0.0


def test_likeness_shows_repetition() -> None:
    states = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert contrastive.likeness(states).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
