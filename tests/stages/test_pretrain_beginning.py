"""Weights to begin with: what counting gives them, and that it is what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from stages.lm import models, objectives, orders
from stages.lm.blends import Blend
from stages.lm.loaders import Loader
from stages.lm.tokens import Tokens
from stages.pretrain import beginning, pretraining
from stages.pretrain.architecture import configuration
from stages.pretrain.stage import Gpt2, PretrainParams, Roberta
from tests import training

SIZE = {"hidden_size": 64, "layers": 2, "heads": 4, "feed_forward_size": 64, "positions": 32}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(training.tokens(tmp_path_factory.mktemp("beginning"))[0], "train")


def made(train: Tokens, counted: bool = True, kind: str = "roberta"):
    chosen = Roberta(**SIZE) if kind == "roberta" else Gpt2(kind="gpt2", **SIZE)
    head: models.Head = "mlm" if kind == "roberta" else "causal"
    net = models.create(configuration(chosen, train.vocab_size, train.special), head, 3)
    if counted:
        beginning.prepare(net, beginning.counted(Blend([train]), 3), train.special.all, 3)
    return net


def test_tokens_of_like_use_begin_alike():
    """Two determiners, two nouns and two verbs in a language of three-word sentences."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 2, (3, 2000), generator=generator)
    ids = torch.stack([drawn[0], 2 + drawn[1], 4 + drawn[2]], 1).flatten()
    vectors = beginning.token_vectors(ids, 8, 8, 0)
    assert bool((vectors[6:] == 0).all()), "a token that never occurs has no vector"
    likeness = torch.nn.functional.cosine_similarity(vectors[:6, None], vectors[None, :6], dim=-1)
    for token in range(6):
        twin = token ^ 1
        others = [other for other in range(6) if other not in (token, twin)]
        assert likeness[token, twin] > 0.9
        assert max(likeness[token, other] for other in others) < 0.5
    assert vectors[:6].norm(dim=1).tolist() == pytest.approx([math.sqrt(8)] * 6)


@pytest.mark.parametrize(
    ("kind", "aims"), [("roberta", (-1, 1, -2, 2)), ("gpt2", (-1, -2, -3, None))]
)
def test_first_heads_look_at_their_neighbours(train: Tokens, kind: str, aims: tuple):
    """Read from the attention that transformers itself computes, against weights not prepared."""
    ids = torch.from_numpy(train.gather_flat(train.order(0, 1, 0))["input_ids"][:20]).long()
    shares = {}
    for counted in (True, False):
        net = made(train, counted, kind)
        net.set_attn_implementation("eager")
        with torch.inference_mode():
            found = net.eval()(input_ids=ids[None], output_attentions=True).attentions[0][0]
        shares[counted] = found
    for head, distance in enumerate(aims):
        if distance is None:
            continue
        places = [place for place in range(3, 17)]
        for counted, least, most in ((True, 0.25, 1.0), (False, 0.0, 0.15)):
            mean = torch.stack(
                [shares[counted][head, place, place + distance] for place in places]
            ).mean()
            assert least < float(mean) < most, (kind, head, counted)


def test_the_bias_is_the_frequency_of_tokens(train: Tokens):
    net = made(train)
    ids = beginning.counted(Blend([train]), 3)
    beginning.begin_at_frequencies(net, ids)
    counts = torch.bincount(ids, minlength=train.vocab_size) + 1.0
    shares = (counts / counts.sum()).double()
    assert torch.allclose(net.lm_head.bias.double().softmax(0), shares, atol=1e-6)
    rows = train.gather_flat(train.order(1, 8, 0))
    make = objectives.Masked(train.special.mask, train.special.all, train.vocab_size)
    pieces = models.lay_out(rows["input_ids"], rows["segment_starts"])
    with torch.inference_mode():
        loss = float(objectives.nats(net.eval(), make(pieces, 0, 0)).mean())
    assert loss < math.log(train.vocab_size) - 0.5, "frequencies alone beat guessing"


def test_special_tokens_and_later_layers_stay_as_transformers_draws_them(train: Tokens):
    plain, counted = (made(train, flag).state_dict() for flag in (False, True))
    changed = {name for name in plain if not torch.equal(plain[name], counted[name])}
    assert changed == {
        "roberta.embeddings.word_embeddings.weight",
        "roberta.embeddings.position_embeddings.weight",
        "roberta.encoder.layer.0.attention.self.query.weight",
        "roberta.encoder.layer.0.attention.self.key.weight",
        "lm_head.decoder.weight",
    }
    special = list(train.special.all)
    name = "roberta.embeddings.word_embeddings.weight"
    assert torch.equal(plain[name][special], counted[name][special])
    assert float(counted[name].std()) == pytest.approx(float(plain[name].std()), rel=0.2)


def test_equal_seeds_begin_equal(train: Tokens, tmp_path: Path):
    one, two = (made(train).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_model_without_positions_or_bias_takes_the_vectors_only(train: Tokens):
    net = made(train, kind="gpt2")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    beginning.begin_at_frequencies(net, beginning.counted(Blend([train]), 3))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_the_first_phase_sees_short_pieces_and_the_second_whole_ones(train: Tokens, tmp_path: Path):
    make = objectives.Masked(train.special.mask, train.special.all, train.vocab_size)
    params = PretrainParams(
        tokens="x", tokenizer="x", steps=16, batch_rows=4, short_length=8, short_share=0.5
    )
    blend = Blend([train])
    order, _ = orders.kept(
        tmp_path, blend, ["x"], steps=16, batch_rows=4, seed=params.seed, whole=False
    )
    loader = Loader(blend, order, make, params.seed)
    (short,) = loader.tasks(7, pretraining.longest(params, 7))
    lengths = short.pieces.groups[0][2], len(short.pieces.ids)
    (whole,) = loader.tasks(8, pretraining.longest(params, 8))
    assert lengths[0] == 8
    assert whole.pieces.groups[0][2] == 32
    rows = train.gather_flat(train.order(7, 4, params.seed))["input_ids"]
    assert lengths[1] == len(rows), "nothing is dropped by the cut"
