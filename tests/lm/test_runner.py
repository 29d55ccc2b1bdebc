"""The runner finds what `lm.generate` finds, whatever the shape, batch, cores or instructions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.errors import DevenoError
from stages.lm import blueprint
from stages.lm.ensembles import EnsembleStepper
from stages.lm.generate import Search, Specials, TransformersStepper, beam_search, pad_batch
from stages.lm.runner import layouts, packing
from stages.lm.runner.engine import Answers, Runner, Settings
from stages.lm.runner.search import Rules
from stages.lm.runner.vectors import instructions

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {
    "langs": ["en", "eo"], "src_vocab_size": 61, "tgt_vocab_size": 83, "d_model": 40,
    "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 5,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 50, "decoder_ffn_dim": 72,
    "max_position_embeddings": 64, "scale_embedding": True,
}  # fmt: skip
"""No size is a multiple of a vector's."""


def model(
    activation: str = "relu", family: str = "fsmt", *, scaled: bool = True, tied: bool = False
) -> torch.nn.Module:
    """Return a random translator whose answers differ from sentence to sentence."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(3)
    shape = {**SHAPE, "scale_embedding": scaled, "activation_function": activation}
    special = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    # Marian's separate vocabularies leave its target a size of its own.
    sizes = {"vocab_size": 83, "decoder_vocab_size": 83, "forced_eos_token_id": None}
    config = AutoConfig.for_model(
        family, **shape, **(special | sizes if family != "fsmt" else {}), tie_word_embeddings=tied,
        **({"share_encoder_decoder_embeddings": tied} if family == "marian" else {}),
    )  # fmt: skip
    found = AutoModelForSeq2SeqLM.from_config(config).eval()
    with torch.no_grad():
        for weight in found.parameters():
            weight.add_(torch.randn_like(weight) * 0.15)
        if family != "fsmt":
            found.final_logits_bias[:, 7::9] = -torch.inf
            found.final_logits_bias[:, 5::9] = 0.5
    return found


def packed(found: torch.nn.Module, *, quantize: bool) -> packing.Packed:
    """Return the model in the runner's memory."""
    config = found.config.to_dict()
    tensors = {name: one.detach().numpy() for name, one in found.state_dict().items()}
    made = layouts.layout(blueprint.of(config, tensors))
    return packing.pack(made, quantize=quantize)


def sources(count: int = 13) -> list[list[int]]:
    """Return sentences of 1 to 40 tokens."""
    generator = np.random.Generator(np.random.PCG64(5))
    lengths = [1, 2, 16, 17, 40, *generator.integers(3, 33, count - 5).tolist()]
    return [[*generator.integers(4, 61, size - 1).tolist(), 2] for size in lengths]


def rules(search: Search) -> Rules:
    """Return a search as the runner takes it."""
    return Rules(
        search.num_beams, search.length_penalty, search.max_tokens, search.min_tokens,
        search.unknown_penalty, pad=1, eos=2, unk=3, start=2,
    )  # fmt: skip


def texts(answers: Answers) -> list[list[list[int]]]:
    """Return every sentence's hypotheses, best first."""
    found = answers.found
    return [
        [
            found.tokens[row, one, : found.lengths[row, one]].tolist()
            for one in sorted(range(count), key=lambda one: -found.scores[row, one])
        ]
        for row, count in enumerate(found.count.tolist())
    ]


@pytest.mark.parametrize(
    "search",
    [
        Search(num_beams=1, max_tokens=12),
        Search(num_beams=5, max_tokens=15),
        Search(num_beams=3, max_tokens=9, length_penalty=0.4, min_tokens=4, unknown_penalty=2.0),
    ],
)
def test_floats_find_every_hypothesis_of_our_search(search: Search) -> None:
    found = model("gelu" if search.num_beams == 3 else "relu")
    ids, mask = pad_batch(sources(), 1)
    expected = beam_search(TransformersStepper(found), ids, mask, search, Specials())
    answers = Runner(packed(found, quantize=False)).translate(sources(), rules(search))
    assert texts(answers) == [[one.tokens for one in row] for row in expected]
    for row, hypotheses in enumerate(expected):
        scores = sorted(answers.found.scores[row, : len(hypotheses)], reverse=True)
        assert scores == pytest.approx([one.score_nats for one in hypotheses], abs=2e-5)
    assert max(len(row[0]) for row in texts(answers)) > 3


@pytest.mark.parametrize(
    ("family", "activation", "scaled", "tied"),
    [
        ("marian", "silu", True, True),
        ("marian", "tanh", False, False),
        ("pegasus", "relu2", True, False),
        ("pegasus", "gelu_accurate", False, True),
        ("bart", "gelu", True, True),
        ("mbart", "linear", True, False),
    ],
)
def test_every_class_is_searched_as_by_torch(
    family: str, activation: str, scaled: bool, tied: bool
) -> None:
    found = model(activation, family, scaled=scaled, tied=tied)
    search = Search(num_beams=3, max_tokens=11)
    ids, mask = pad_batch(sources(9), 1)
    expected = beam_search(TransformersStepper(found), ids, mask, search, Specials())
    answers = Runner(packed(found, quantize=False)).translate(sources(9), rules(search))
    assert texts(answers) == [[one.tokens for one in row] for row in expected]
    for row, hypotheses in enumerate(expected):
        scores = sorted(answers.found.scores[row, : len(hypotheses)], reverse=True)
        assert scores == pytest.approx([one.score_nats for one in hypotheses], abs=2e-5)
    assert len({max(row).round(3) for row in answers.found.scores}) == 9  # not the same to all
    small = Runner(packed(found, quantize=True)).translate(sources(9), rules(search))
    firsts = zip(texts(answers), texts(small), strict=True)
    assert sum(floats[0][0] == rounded[0][0] for floats, rounded in firsts) >= 6


def test_an_ensemble_is_searched_by_mean_probabilities() -> None:
    """Members of three classes and shapes; excluded words stay excluded."""
    members = [
        model("relu", "pegasus"), model("gelu", "mbart", scaled=False), model("silu", "bart")
    ]  # fmt: skip
    search = Search(num_beams=3, max_tokens=11)
    ids, mask = pad_batch(sources(9), 1)
    stepper = EnsembleStepper([TransformersStepper(one) for one in members])
    expected = beam_search(stepper, ids, mask, search, Specials())
    runner = Runner([packed(one, quantize=False) for one in members], Settings(slots=4))
    answers = runner.translate(sources(9), rules(search))
    assert texts(answers) == [[one.tokens for one in row] for row in expected]
    for row, hypotheses in enumerate(expected):
        scores = sorted(answers.found.scores[row, : len(hypotheses)], reverse=True)
        assert scores == pytest.approx([one.score_nats for one in hypotheses], abs=2e-5)
    alone = Runner(packed(members[0], quantize=False)).translate(sources(9), rules(search))
    assert texts(alone) != texts(answers)


def test_more_than_the_positions_is_refused() -> None:
    runner = Runner(packed(model(), quantize=False))
    for row, tokens in (([5] * 65, 9), ([5, 2], 64)):
        with pytest.raises(DevenoError, match="the positions that the model has"):
            runner.translate([row], rules(Search(num_beams=1, max_tokens=tokens)))


@pytest.mark.parametrize("quantize", [False, True])
def test_neither_batch_nor_cores_change_a_bit(quantize: bool) -> None:
    weights = packed(model(), quantize=quantize)
    search = rules(Search(num_beams=4, max_tokens=12))
    usual = Runner(weights).translate(sources(), search).found
    for settings in (Settings(slots=1), Settings(slots=3, refill=2), Settings(threads=2)):
        again = Runner(weights, settings).translate(sources(), search).found
        for one, other in zip(usual, again, strict=True):
            assert np.array_equal(one, other), settings


def test_bytes_stay_near_floats() -> None:
    found = model()
    search = rules(Search(num_beams=1, max_tokens=12))
    floats, small = (
        Runner(packed(found, quantize=one)).translate(sources(), search) for one in (False, True)
    )
    first = [[row[0][0] for row in texts(one)] for one in (floats, small)]
    assert sum(one == other for one, other in zip(*first, strict=True)) >= 11


PROGRAM = """
import numpy as np
from stages.lm.runner import vectors
vectors.instructions = lambda: {kind!r}
from stages.lm.runner import packing, tiles
assert tiles.instructions() == {kind!r}
generator = np.random.Generator(np.random.PCG64(1))
rows, inputs, outputs = 23, 64, 96
numbers = generator.integers(-127, 128, (rows, inputs))
numbers[0], weights = 127, generator.integers(-127, 128, (outputs, inputs)).astype(np.int8)
weights[0], weights[1] = 127, -127
shift = 128 if {kind!r} == "vnni" else 0
a = packing.aligned((rows, inputs), np.uint8)
a[:] = (numbers + shift).astype(np.uint8)
ones, panels = packing.aligned((outputs,), np.float32), packing.byte_panels(weights)
ones[:] = 1
corrections = (shift * weights.sum(axis=1, dtype=np.int32)).astype(np.int32)
biases = packing.aligned((outputs,), np.float32)
found = packing.aligned((rows, outputs), np.float32)
at = [one.ctypes.data for one in (a, ones, panels, corrections, biases, found)]
tiles.byte_product(
    at[0], inputs, at[1], rows, inputs, at[2], outputs, at[1], at[3], at[4], at[5], 4 * outputs, 0
)
assert np.array_equal(found.astype(np.int64), numbers @ weights.T.astype(np.int64))
"""


KINDS = ("vnni", "avx2", "plain")


@pytest.mark.parametrize("kind", KINDS[KINDS.index(instructions()) :])
def test_every_cpu_multiplies_the_same_integers(kind: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(kind=kind)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
