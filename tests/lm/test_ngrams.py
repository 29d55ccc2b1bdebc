"""Kneser-Ney models: probabilities that sum to 1, a hand-worked case, garbage that stands out."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lm import ngrams
from stages.lm.ngrams import BEGIN, END, FIRST_WORD, UNKNOWN


def packed(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in documents])]).astype(np.int64)
    return np.array([n for one in documents for n in one], np.int64), offsets


def drawn(seed: int, documents: int, words: int) -> list[list[int]]:
    draw = np.random.RandomState(seed)
    share = 1 / np.arange(1, words + 1)
    return [
        (FIRST_WORD + draw.choice(words, draw.randint(0, 30), p=share / share.sum())).tolist()
        for _ in range(documents)
    ]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_every_context_sum_to_one(order):
    words = 12
    model = ngrams.learn(*packed(drawn(1, 60, words)), words, order)
    every = [UNKNOWN, END, *range(FIRST_WORD, FIRST_WORD + words)]
    for context in ([], [3], [3, 4], [5, 3, 3], [14, 14, 13, 3], [UNKNOWN, 3], [4, 3, 5, 3, 4]):
        total = 0.0
        for word in every:
            tokens = np.array([BEGIN, *context, word], np.int64)
            total += ngrams.probabilities(model, tokens, np.arange(len(tokens)))[-1]
        assert total == pytest.approx(1, abs=1e-12), context


def test_bigrams_worked_by_hand():
    # Documents `a b`, `a`, `b b`; a = 3, b = 4. No count of counts is complete: 0.5, 1, 1.5.
    model = ngrams.learn(*packed([[3, 4], [3], [4, 4]]), 2, 2)
    assert model.levels[0].discounts == ngrams.FALLBACK
    # Words before: of a {<s>} = 1, of b {<s>, a, b} = 3, of </s> {a, b} = 2: 6 in all.
    passed = (0.5 + 1.5 + 1.0) / 6
    lower = {3: 0.5 / 6, 4: 1.5 / 6, END: 1.0 / 6, UNKNOWN: 0.0}
    lower = {word: share + passed / 4 for word, share in lower.items()}
    # After <s>: a twice, b once; the discounts leave (1 + 0.5) / 3 to the lower order.
    found = ngrams.probabilities(model, np.array([BEGIN, 3], np.int64), np.arange(2))[-1]
    assert found == pytest.approx((2 - 1) / 3 + 0.5 * lower[3], abs=1e-15)
    # After b: b once, </s> twice.
    found = ngrams.probabilities(model, np.array([BEGIN, 4, UNKNOWN], np.int64), np.arange(3))[-1]
    assert found == pytest.approx((0.5 + 1) / 3 * lower[UNKNOWN], abs=1e-15)


def test_a_longer_context_helps_and_garbage_stands_out():
    chain = {3: [4, 5], 4: [6], 5: [7], 6: [3, 7], 7: [3]}
    draw = np.random.RandomState(2)

    def walk(size: int) -> list[int]:
        at, made = 3, []
        for _ in range(size):
            made.append(at)
            at = chain[at][draw.randint(len(chain[at]))]
        return made

    model1, model3 = (ngrams.learn(*packed([walk(40) for _ in range(80)]), 5, n) for n in (1, 3))
    texts = [walk(30) for _ in range(57)] + [(3 + draw.permutation(5)[:5]).tolist() * 6] * 3
    sizes = []
    for model in (model1, model3):
        nats, tokens = ngrams.surprise(model, *packed(texts))
        sizes.append(nats[:57].sum() / tokens[:57].sum())
        assert tokens.tolist() == [31] * 60
    assert sizes[1] < 0.6 * sizes[0]
    assert set(np.argsort(-nats)[:3].tolist()) == {57, 58, 59}


def test_empty_documents_and_none():
    nats, tokens = ngrams.surprise(ngrams.learn(*packed([[], [3]]), 1, 3), *packed([[], [3], [0]]))
    assert tokens.tolist() == [1, 2, 2]
    assert np.isfinite(nats).all()
    assert len(ngrams.surprise(ngrams.learn(*packed([[3]]), 1, 2), *packed([]))[0]) == 0


def by_back_off(lines: list[str], order: int, words: list[str]) -> float:
    """Read an ARPA model as any tool does: the longest n-gram there, else back off."""
    likely, back = {}, {}
    for line in lines:
        parts = line.split("\t")
        if len(parts) > 1:
            likely[tuple(parts[1].split())] = float(parts[0])
            back[tuple(parts[1].split())] = float(parts[2]) if len(parts) > 2 else 0.0
    weight, context = 0.0, tuple(words[-order:-1])
    while (*context, words[-1]) not in likely:
        weight += back.get(context, 0.0)
        context = context[1:]
    return weight + likely[(*context, words[-1])]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_an_arpa_file_says_what_the_model_says(order):
    names = [f"w{n}" for n in range(12)]
    model = ngrams.learn(*packed(drawn(1, 60, 12)), 12, order)
    lines = list(ngrams.arpa(model, names))
    assert lines[:2] == ["\\data\\", "ngram 1=15"]
    assert lines[-1] == "\\end\\"
    assert any(line.startswith("-99\t<s>") for line in lines)
    for line in (line for line in lines if line.startswith("ngram ")):
        length, count = line.removeprefix("ngram ").split("=")
        grams = [row.split("\t")[1].split() for row in lines if "\t" in row]
        assert sum(len(gram) == int(length) for gram in grams) == int(count)
    texts = ["<unk>", "<s>", "</s>", *names]
    draw = np.random.RandomState(3)
    for _ in range(40):
        body = draw.randint(2, 15, draw.randint(1, 7)).tolist()
        tokens = np.array([BEGIN, *body], np.int64)
        found = ngrams.probabilities(model, tokens, np.arange(len(tokens)))[-1]
        said = by_back_off(lines, order, [texts[token] for token in tokens])
        assert said == pytest.approx(np.log10(found), abs=2e-6)
