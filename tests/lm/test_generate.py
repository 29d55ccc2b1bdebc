"""The search follows fairseq's rules, shown on a model small enough to search by hand."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.lm import generate
from stages.lm.generate import Hypothesis, Search, Specials
from stages.lm.pipelines import Bpe, BpePipeline, load_pipeline, vocabulary_key
from stages.lm.translator import Translator

SPECIALS = Specials()


class Chain:
    """A model whose next token depends on the last one and on the step, by a table."""

    def __init__(self, nats: Tensor) -> None:
        self.nats = torch.log_softmax(nats, dim=-1)
        self.rows = torch.empty(0)
        self.encoded = 0

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> None:
        """Remember each row's first source token, which shifts its table."""
        self.encoded += 1
        self.rows = ids[:, 0].repeat_interleave(copies)

    def step(self, prefix: Tensor) -> Tensor:
        """Return the table's row of the last token, rolled by the source token."""
        assert len(prefix) == len(self.rows)
        return self.table(prefix.shape[1] - 1, prefix[:, -1], self.rows)

    def table(self, step: int, last: Tensor, first: Tensor) -> Tensor:
        """Return log-probabilities [N, V]."""
        return self.nats[step, (last + first) % self.nats.shape[1]].clone()

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        """Follow the rows."""
        self.rows = self.rows[rows]


@pytest.fixture
def chain() -> Chain:
    """Eight tokens of random preferences."""
    return Chain(torch.randn(201, 8, 8, generator=torch.Generator().manual_seed(3)) * 2)


def search(model: Chain, firsts: list[int], **settings: float) -> list[list[Hypothesis]]:
    """Search one batch of sources that are told apart by their first token."""
    ids = torch.tensor([[first, 2] for first in firsts])
    return generate.beam_search(
        model,
        ids,
        torch.ones_like(ids),
        Search(**settings),
        SPECIALS,  # type: ignore[arg-type]
    )


def by_hand(model: Chain, first: int, beams: int, longest: int) -> list[tuple[list[int], float]]:
    """The same search in plain lists, straight from the rules in the module's docstring."""
    running, final = [([], 0.0)], []
    for step in range(longest + 1):
        options = []
        for rank, (tokens, total) in enumerate(running):
            last = torch.tensor([tokens[-1] if tokens else SPECIALS.start])
            row = model.table(step, last, torch.tensor([first]))[0].tolist()
            for token, nats in enumerate(row):
                barred = token == 1 or (token == 2 and step < 1) or (token != 2 and step >= longest)
                if not barred:
                    options.append((total + nats, rank, token, tokens))
        options = sorted(options, key=lambda one: -one[0])[: 2 * beams]
        for place, (total, _, token, tokens) in enumerate(options):
            if token == 2 and place < beams and len(final) < beams:
                final.append(([*tokens, 2], total / (step + 1)))
        if len(final) == beams:
            break
        running = [([*d, c], a) for a, _, c, d in options if c != 2][:beams]
    return sorted(final, key=lambda one: -one[1])


@pytest.mark.parametrize(("beams", "longest"), list(itertools.product([1, 2, 3, 5], [1, 4, 9])))
def test_search_equals_the_rules_by_hand(chain: Chain, beams: int, longest: int) -> None:
    firsts = [0, 3, 5, 6]
    found = search(chain, firsts, num_beams=beams, max_tokens=longest)
    for first, hypotheses in zip(firsts, found, strict=True):
        wanted = by_hand(chain, first, beams, longest)
        assert [one.tokens for one in hypotheses] == [tokens for tokens, _ in wanted]
        for one, (_, score) in zip(hypotheses, wanted, strict=True):
            assert one.score_nats == pytest.approx(score, abs=1e-5)
            assert sum(one.positional_nats) / len(one.tokens) == pytest.approx(score, abs=1e-5)


def test_batch_mates_do_not_matter_and_the_encoder_runs_once(chain: Chain) -> None:
    together = search(chain, [0, 1, 2, 3, 4], num_beams=3)
    assert chain.encoded == 1
    for first, wanted in enumerate(together):
        (alone,) = search(chain, [first], num_beams=3)
        assert [one.tokens for one in alone] == [one.tokens for one in wanted]


def test_output_ends_at_the_longest_length(chain: Chain) -> None:
    chain.nats[..., 2] = -20.0
    for hypotheses in search(chain, [0, 4], num_beams=2, max_tokens=6):
        assert all(len(one.tokens) <= 7 and one.tokens[-1] == 2 for one in hypotheses)
        assert len(hypotheses[0].tokens) == 7


def test_padding_and_early_ends_are_never_chosen(chain: Chain) -> None:
    chain.nats[..., 1] = -1e-3
    chain.nats[..., 2] = -2e-3
    for hypotheses in search(chain, [0, 4], num_beams=2, min_tokens=3):
        for one in hypotheses:
            assert 1 not in one.tokens
            assert len(one.tokens) >= 4


def test_unknown_penalty_and_length_penalty_change_scores(chain: Chain) -> None:
    chain.nats[..., 3] = -0.1
    (plain,) = search(chain, [0], num_beams=1, max_tokens=5)
    assert 3 in plain[0].tokens
    (shy,) = search(chain, [0], num_beams=1, max_tokens=5, unknown_penalty=50.0)
    assert 3 not in shy[0].tokens
    (flat,) = search(chain, [0], num_beams=1, max_tokens=5, length_penalty=0.0)
    assert flat[0].score_nats == pytest.approx(sum(plain[0].positional_nats), abs=1e-5)


def test_a_broken_rule_is_seen_by_the_comparison(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., tuple[Tensor, Tensor]] = torch.topk

    def half(values: Tensor, count: int, **more: bool) -> tuple[Tensor, Tensor]:
        return whole(values, count if "dim" in more else max(2, count // 2), **more)

    monkeypatch.setattr(torch, "topk", half)
    found = [
        [one.tokens for one in search(chain, [first], num_beams=3, max_tokens=9)[0]]
        for first in range(8)
    ]
    wanted = [[tokens for tokens, _ in by_hand(chain, first, 3, 9)] for first in range(8)]
    assert found != wanted


def test_vocabulary_keys_follow_the_documented_example() -> None:
    # system 006 D: {'le@@': 5, 'tt@@': 6, 'er': 7} -> {'le': 5, 'tt': 6, 'er</w>': 7}
    assert [vocabulary_key(one) for one in ("le@@", "tt@@", "er")] == ["le", "tt", "er</w>"]
    assert vocabulary_key("</s>") == "</s>"


def test_bpe_merges_the_lowest_rank_everywhere_first() -> None:
    bpe = Bpe([("a", "b"), ("b", "a"), ("ab", "ab"), ("a", "b</w>")])
    assert bpe.pieces("abababx") == ("abab@@", "ab@@", "x")
    assert bpe.pieces("ab") == ("ab",)
    assert bpe.pieces("bab") == ("ba@@", "b")
    assert bpe.pieces("z") == ("z",)


@pytest.fixture
def pipeline() -> BpePipeline:
    """A pipeline over single characters."""
    letters = [*"abcdefghijklmnopqrstuvwxyzT", ".", "&apos;", "@-@", "&lt;", "&amp;", "'"]
    symbols = [*letters, *(f"{letter}@@" for letter in letters)]
    known = {one: index for index, one in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    keys = known | {vocabulary_key(one): 4 + at for at, one in enumerate(symbols)}
    return BpePipeline(keys, keys, [], {"langs": ["en", "eo"]})


def test_text_is_escaped_and_dashes_split(pipeline: BpePipeline) -> None:
    words = "".join(pipeline.symbols("It's a test-case <b> & c")).replace("@@", "")
    assert words == "It&apos;satest@-@case&lt;b&gt;&amp;c"


def test_ids_end_with_eos_and_unknown_pieces_are_unk(pipeline: BpePipeline) -> None:
    ids = pipeline.encode("Té a")
    assert ids[-1] == 2
    assert ids[1] == 3
    assert 0 not in ids


def test_decoding_joins_pieces_and_detokenises(pipeline: BpePipeline) -> None:
    ids = [pipeline.source[key] for key in ("T", "a</w>", "b</w>", "<unk>", "c</w>", ".</w>")]
    assert pipeline.decode([0, *ids, 2, 1]) == "Ta b <unk> c."


def test_punctuation_is_normalised_only_when_recorded(pipeline: BpePipeline) -> None:
    text = "„a”"
    plain = pipeline.symbols(text)
    changed = BpePipeline(
        pipeline.source,
        pipeline.source,
        [],
        {"langs": ["en", "eo"], "punctuation_normalisation": True},
    )
    assert "„" in plain
    assert "„" not in "".join(changed.symbols(text))


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError) as caught:
        load_pipeline(tmp_path)
    assert "no vocab-src.json, vocab-tgt.json, merges.txt" in caught.value.what


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """A ported random model."""
    from stages.core.log import Log
    from stages.port.stage import PortParams, port
    from tests.stages import fairseq_material

    folder = tmp_path_factory.mktemp("tiny")
    raw = fairseq_material.release(folder / "raw")
    port(PortParams(raw="x"), raw, raw, raw, folder / "model", Log())
    return Translator.load(folder / "model")


def test_blank_texts_stay_blank_and_order_is_kept(
    tiny: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.pipeline, "decode", str)
    texts = ["ab ca bc a b c", " ", "ab", "", "bc ca"]
    found = tiny.translate(texts, num_beams=2, batch_size=2)
    assert [bool(one) for one in found] == [True, False, True, False, True]
    assert found[2] == tiny.translate(["ab"], num_beams=2)[0]
    assert tiny.translate([]) == []


def test_another_start_than_the_vocabularys_is_refused(tiny: Translator, tmp_path: Path) -> None:
    shutil.copytree(tiny.model.config.name_or_path, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "decoder_start_token_id": 0}), encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        Translator.load(tmp_path / "model")
    assert "decoder_start_token_id = 0, which its vocabulary calls '<s>'" in caught.value.what


def test_transformers_search_is_plain_generate(tiny: Translator) -> None:
    text = "ab ca"
    ids = torch.tensor([tiny.source_ids(text)])
    plain = tiny.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), num_beams=3)
    wanted = tiny.pipeline.decode(plain[0, 1:].tolist())
    assert tiny.translate([text], num_beams=3, search="transformers") == [wanted]


def test_a_text_longer_than_the_model_is_refused(tiny: Translator) -> None:
    with pytest.raises(ArtifactError) as caught:
        tiny.translate(["a", "a " * 70])
    assert "71 source tokens, the model takes at most 64" in caught.value.what
    assert "text 2" in caught.value.where


def test_scores_of_the_search_are_teacher_forced_scores(tiny: Translator) -> None:
    sources = [tiny.source_ids(text) for text in ("ab ca bc", "c")]
    found = [one[0] for one in tiny.hypotheses(sources, Search(num_beams=4))]
    forced = generate.score(tiny.model, sources, [one.tokens for one in found], tiny.specials)
    for one, nats in zip(found, forced, strict=True):
        assert one.positional_nats == pytest.approx(nats, abs=1e-4)
        assert math.isclose(one.score_nats, sum(nats) / len(nats), abs_tol=1e-4)


def test_real_text_pipeline_gives_fairseqs_ids(tmp_path: Path, test_data: Path) -> None:
    from stages.port.fairseq import folder, source
    from stages.port.stage import Fairseq

    options = Fairseq(checkpoint="model1.pt", moses_languages=["en", "en"])
    release = source.read(test_data / "checkpoints" / "fairseq-en-eo", options)
    folder.write(tmp_path / "model", release, {}, options)
    ours = load_pipeline(tmp_path / "model")
    path = test_data / "checkpoints" / "fairseq-en-eo" / "fairseq-beam1.jsonl"
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        known = release.source_symbols
        assert ours.encode(row["source"]) == [
            *(known.get(one, 3) for one in row["source_bpe"].split()),
            2,
        ]
