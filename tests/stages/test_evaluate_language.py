"""Language-model scores: against transformers' own forward pass, and invariances."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.evaluate.stage import EvaluateParams, evaluate
from stages.lm.decoding.settings import Greedy, Sampling
from stages.lm.metrics import parses_python
from tests.stages import evaluate_material as material

TRAIN = material.text_rows(60, seed=1)
TEST = material.text_rows(12, seed=2)
TEXTS = [row["text"] for row in TRAIN]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("language")
    (root / "none").mkdir()
    material.write_corpus(root / "corpus", "text", {"train": TRAIN, "test": TEST})
    material.write_roberta(root / "masked", TEXTS)
    material.write_gpt(root / "causal", TEXTS)
    return root


def params(**task):
    settings = {"kind": "language-modelling", "pseudo_documents": 3, "pseudo_tokens": 8, **task}
    return EvaluateParams(model="pretrained/x", data="eo", task=settings, resamples=100, samples=3)


def run(folders, out, model="masked", corpus="corpus", **task):
    log = Log()
    none = folders / "none"
    evaluate(params(**task), folders / model, folders / corpus, none, none, out, log)
    return json.loads((out / "scores.json").read_text()), log


def by_name(scores):
    return {(row["name"], row.get("baseline")): row for row in scores["scores"]}


def test_masked_model_is_scored_with_interval_signature_and_baseline(folders, tmp_path):
    scores, log = run(folders, tmp_path / "out")
    rows = by_name(scores)
    assert set(rows) == {
        ("masked_loss", None),
        ("masked_loss", "unigram"),
        ("masked_perplexity", None),
        ("pseudo_perplexity", None),
        ("pseudo_bits_per_byte", None),
    }
    loss = rows["masked_loss", None]
    # Random weights know nothing: the loss is that of a uniform guess among 300 tokens.
    assert loss["value"] == pytest.approx(math.log(300), rel=0.03)
    assert loss["interval"][0] < loss["value"] < loss["interval"][1]
    assert "mask:0.15|mix:80-10-10" in loss["signature"]
    assert rows["masked_perplexity", None]["value"] == pytest.approx(
        math.exp(loss["value"]), rel=1e-4
    )
    assert log.metrics["masked_loss_nats"] == loss["value"]
    assert "no compression rate" in scores["notes"][0]
    samples = (tmp_path / "out/samples.jsonl").read_text().splitlines()
    assert len(samples) == 3
    assert len(json.loads(samples[0])["guesses"]) == 5


def test_masks_do_not_depend_on_order_or_batch(folders):
    from stages.evaluate.masked import MaskedModel

    texts, ids = [row["text"] for row in TEST], [row["id"] for row in TEST]
    model = MaskedModel(folders / "masked", threads=1, batch_size=32)
    together = model.masked_losses(texts, ids, 0.15, seed=0)
    backwards = model.masked_losses(texts[::-1], ids[::-1], 0.15, seed=0)
    assert (together.tokens == backwards.tokens[::-1]).all()
    assert together.nats == pytest.approx(backwards.nats[::-1], abs=1e-4)
    model.batch_size = 1
    assert model.masked_losses(texts, ids, 0.15, 0).nats == pytest.approx(together.nats, abs=1e-4)
    assert (model.masked_losses(texts, ids, 0.15, 1).tokens != together.tokens).any()


def test_every_document_is_masked_at_the_declared_rate_and_mix(folders):
    from stages.evaluate.masked import MaskedModel

    model = MaskedModel(folders / "masked", threads=1, batch_size=32)
    texts = [" ".join(TEXTS)] * 40
    queries = model._masked_queries(texts, [str(place) for place in range(40)], 0.15, seed=0)
    total = sum(len(query.ids) - 2 for query in queries)
    chosen = sum(len(query.targets) for query in queries)
    assert chosen / total == pytest.approx(0.15, abs=0.005)
    pairs = [
        (query.ids[place], target)
        for query in queries
        for place, target in zip(query.places, query.targets, strict=True)
    ]
    assert np.mean([seen == model._mask for seen, _ in pairs]) == pytest.approx(0.8, abs=0.01)
    assert np.mean([seen == target for seen, target in pairs]) == pytest.approx(0.1, abs=0.01)
    assert len({tuple(query.places) for query in queries[:: len(queries) // 40]}) > 30


def test_pseudo_likelihood_is_that_of_transformers_one_mask_at_a_time(folders):
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from stages.evaluate.masked import MaskedModel

    text = TEST[0]["text"]
    found = MaskedModel(folders / "masked", threads=1, batch_size=4).pseudo_losses([text], 8)
    tokenizer = AutoTokenizer.from_pretrained(folders / "masked")
    plain = AutoModelForMaskedLM.from_pretrained(folders / "masked").eval()
    ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"][:8], 2]
    nats = 0.0
    for place in range(1, 9):
        masked = torch.tensor([[*ids[:place], 4, *ids[place + 1 :]]])
        with torch.no_grad():
            nats -= plain(masked).logits[0, place].log_softmax(-1)[ids[place]].item()
    assert found.nats[0] == pytest.approx(nats, abs=1e-4)
    assert found.tokens[0] == 8
    assert found.num_bytes[0] == len(tokenizer.decode(ids[1:9]).encode())


def test_causal_loss_is_that_of_transformers(folders):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from stages.evaluate.causal import CausalModel

    text = " ".join(TEST[0]["text"].split()[:10])
    model = CausalModel(folders / "causal", threads=1, batch_size=4)
    tokenizer = AutoTokenizer.from_pretrained(folders / "causal")
    ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert len(ids) <= model.window
    plain = AutoModelForCausalLM.from_pretrained(folders / "causal").eval()
    with torch.no_grad():
        mean = plain(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    found = model.losses([text, TEST[1]["text"]])
    assert found.nats[0] == pytest.approx(mean * (len(ids) - 1), rel=1e-5)
    assert found.tokens[0] == len(ids) - 1


@pytest.mark.parametrize("length", [1, 31, 32, 33, 48, 49, 200])
def test_windows_score_every_token_once_with_half_a_window_of_context(folders, length):
    from stages.evaluate.causal import CausalModel

    model = CausalModel(folders / "causal", threads=1, batch_size=4)
    ids = list(range(1000, 1000 + length))
    windows = model._windows(0, ids)
    scored = [token for window in windows for token in window.ids[-window.scored :]]
    assert scored == ids
    assert all(len(window.ids) <= model.window for window in windows)
    assert all(len(window.ids) - window.scored >= model.window // 2 for window in windows[1:])


def test_bits_per_byte_counts_bytes_not_characters(folders, tmp_path):
    rows = [{"id": "a", "text": "ĉĝĥĵŝŭ" * 10}]
    corpus = folders / "circumflex"
    material.write_corpus(corpus, "text", {"train": TRAIN, "test": rows})
    scores, _ = run(folders, tmp_path / "out", "causal", "circumflex")
    assert by_name(scores)["bits_per_byte", None]["n"] == 120


def test_causal_scores_are_exact_and_named_so(folders, tmp_path):
    scores, log = run(folders, tmp_path / "out", "causal")
    rows = by_name(scores)
    loss, bits = rows["loss", None], rows["bits_per_byte", None]
    size = sum(len(row["text"].encode()) for row in TEST)
    assert bits["n"] == size
    expected = loss["value"] * loss["n"] / math.log(2) / size
    assert bits["value"] == pytest.approx(expected, rel=1e-5)
    assert rows["bits_per_byte", "unigram"]["value"] < bits["value"]
    assert log.metrics["bits_per_byte"] == bits["value"]
    assert scores["notes"] == []


def test_a_rival_with_the_same_weights_differs_by_nothing(folders, tmp_path):
    settings = params().model_dump() | {"baseline": "pretrained/y"}
    out = tmp_path / "out"
    same = folders / "masked"
    evaluate(
        EvaluateParams.model_validate(settings),
        same,
        folders / "corpus",
        same,
        folders / "none",
        out,
        Log(),
    )
    scores = json.loads((out / "scores.json").read_text())
    found = {row["b"]: row for row in scores["comparisons"]}["pretrained/y"]
    assert found["difference"] == 0.0
    assert found["interval"] == [0.0, 0.0]


def test_the_same_evaluation_writes_the_same_bytes(folders, tmp_path):
    for name in ("a", "b"):
        run(folders, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


CODE = '''"""A module."""

def area(width: float,
         height: float = 1.0) -> float:
    """Return the area."""
    return width * height

def one(): return 1
'''


def test_heads_end_at_the_colon_that_opens_the_body():
    from stages.evaluate.completion import function_heads

    heads = function_heads([{"id": "a", "text": CODE}, {"id": "b", "text": "x = ("}])
    assert [row["id"] for row in heads] == ["a"]
    assert heads[0]["head"].endswith("height: float = 1.0) -> float:\n")
    assert not parses_python(heads[0]["head"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return 1\n\nclass A", "    return 1\n\n"),
        ("    return 1\n    x = (", "    return 1\n"),
        ("x = 1", ""),
        ("    return", ""),
    ],
)
def test_completions_are_cut_where_the_function_ends(text, kept):
    from stages.evaluate.completion import cut_completion

    assert cut_completion(text) == kept


@pytest.mark.parametrize(
    ("answer", "share"), [("    return 1\n", 1.0), ("    return (\n", 0.0), ("", 0.0)]
)
def test_the_parse_share_moves_with_what_is_generated(
    folders, tmp_path, monkeypatch, answer, share
):
    from stages.evaluate.causal import CausalModel

    monkeypatch.setattr(CausalModel, "complete", lambda self, heads, *rest: [answer] * len(heads))
    rows = [{"id": str(place), "text": CODE} for place in range(3)]
    material.write_corpus(tmp_path / "code", "text", {"train": rows, "test": rows})
    folders_here = folders / "causal"
    log, none = Log(), folders / "none"
    evaluate(
        params(completions=2), folders_here, tmp_path / "code", none, none, tmp_path / "out", log
    )
    assert log.metrics["parsing_completions_fraction"] == share
    first = json.loads((tmp_path / "out/samples.jsonl").read_text().splitlines()[0])
    assert first["parses"] == bool(share)


def test_greedy_completion_is_that_of_transformers(folders):
    import torch
    from transformers import AutoModelForCausalLM

    from stages.evaluate.causal import CausalModel

    model = CausalModel(folders / "causal", threads=1, batch_size=4)
    plain = AutoModelForCausalLM.from_pretrained(folders / "causal").eval()
    context = [0, *model.encoding.ids([TEST[0]["text"]])[0][:6]]
    whole = plain.generate(
        torch.tensor([context]), max_new_tokens=5, do_sample=False, pad_token_id=1
    )[0].tolist()
    text = model.encoding.tokenizer.decode(context[1:])
    assert model.encoding.ids([text])[0] == context[1:]
    wanted = [token for token in whole[len(context) :] if token != model.encoding.end]
    assert model.complete([text] * 2, Greedy(), 5) == [model.encoding.tokenizer.decode(wanted)] * 2
    before = model.losses([text]).nats
    drawn = [model.complete([text], Sampling(seed=seed), 8)[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert model.losses([text]).nats == pytest.approx(before)


def test_an_unlabelled_corpus_is_needed(folders, tmp_path):
    corpus = tmp_path / "labelled"
    material.write_corpus(corpus, "labelled", {"test": material.labelled_rows(3, 0)})
    with pytest.raises(ArtifactError) as caught:
        run(folders, tmp_path / "out", corpus=corpus)
    assert caught.value.what == "the corpus is of the kind 'labelled'"
    assert caught.value.todo == "give evaluate a corpus of the kind text"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_corpus_is_told(folders, tmp_path):
    with pytest.raises(ArtifactError, match=r"corpus\.json cannot be read"):
        run(folders, tmp_path / "out", corpus="none")


def test_an_empty_split_is_told(folders, tmp_path):
    material.write_corpus(tmp_path / "empty", "text", {"train": TRAIN, "test": []})
    with pytest.raises(ArtifactError, match="the test split of the corpus holds nothing"):
        run(folders, tmp_path / "out", corpus=tmp_path / "empty")


@pytest.mark.parametrize("model", ["none", "tagger"])
def test_a_folder_that_is_no_language_model_is_told(folders, tmp_path, model):
    if model == "tagger":
        (tmp_path / "tagger").mkdir()
        (tmp_path / "tagger/config.json").write_text(
            '{"architectures": ["BertForTokenClassification"]}'
        )
    expected = "not a language model" if model == "tagger" else r"no config\.json"
    with pytest.raises(ArtifactError, match=expected):
        run(folders, tmp_path / "out", model=tmp_path / model if model == "tagger" else "none")


def test_a_limited_sample_does_not_depend_on_the_order_of_shards(tmp_path):
    from stages.evaluate.material import open_corpus

    rows = material.text_rows(40, seed=3)
    shuffled = random.Random(0).sample(rows, 40)
    picks = []
    for name, order in (("a", rows), ("b", shuffled)):
        folder = material.write_corpus(tmp_path / name, "text", {"test": order})
        picks.append(open_corpus(folder, "text").rows("test", 7))
    assert picks[0] == picks[1]
    assert len(picks[0]) == 7
