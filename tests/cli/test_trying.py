"""`deveno try`: every kind of model, texts from everywhere, answers written whole or not at all."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest

from stages.cli import command, trying
from stages.core import canonical, yamlfile
from tests import training
from tests.pipeline import bad_material
from tests.pipeline.bad_material import holds, three_lines

MODEL = {"kind": "roberta", "hidden_size": 32, "layers": 1, "heads": 2, "feed_forward_size": 64}
ENTRIES = {
    "acquire": {"eo": {}},
    "refine": {"eo": {"raw": "eo"}, "pos": {"raw": "eo", "kind": "labelled"}},
    "tokenizer": {"eo": {"corpus": "eo"}},
    "encode": {"eo": {"corpus": "eo", "tokenizer": "eo"}},
    "pretrain": {
        name: {"tokens": "eo", "tokenizer": "eo", "model": MODEL} for name in ("lm", "code", "odd")
    },
    "finetune": {"pos": {"base": "pretrained/lm", "data": "pos"}},
    "export": {"encoder": {"model": "pretrained/lm"}},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A workspace with a tagger, a masked and a causal model, all new and small."""
    from transformers import GPT2Config

    from stages.lm import models

    root = tmp_path_factory.mktemp("try")
    (root / "stages").mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    yamlfile.write(root / "params.yaml", ENTRIES)
    _, tokenizer = training.tokens(root / "made", documents=60, held_out=8)
    for name, head in (("pretrained/lm", "mlm"), ("finetuned/pos", "token-classification")):
        bad_material.tiny_model(root / "models" / name, tokenizer, head)
    _, causal = training.tokens(root / "causal", "causal", documents=60, held_out=8)
    shutil.copytree(causal, root / "models/pretrained/code")
    config = GPT2Config(
        vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=32, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    models.save(models.create(config, "causal", seed=1), root / "models/pretrained/code")
    canonical.write_json(root / "models/pretrained/odd/config.json", {"architectures": ["Odd"]})
    shutil.copytree(root / "models/pretrained/lm", root / "models/exported/encoder")
    (root / "models/exported/encoder/model.onnx").write_bytes(b"graph")
    return root


@pytest.fixture
def tried(place, monkeypatch, capsys):
    """Run the verb in the workspace; return (code, out, err)."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(trying.kernels, "pin", lambda threads: None)

    def run(*words, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = command.main(["try", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_a_tagger_gives_a_word_a_line_and_parts_texts(tried):
    code, out, _ = tried("pos", "La hundo kuras.", "Mi vidas.")
    assert code == 0
    blocks = [block.splitlines() for block in out.rstrip("\n").split("\n\n")]
    assert [[row.split()[0] for row in block] for block in blocks] == [
        ["La", "hundo", "kuras", "."],
        ["Mi", "vidas", "."],
    ]
    tags = {"ADJ", "ADV", "DET", "NOUN", "PUNCT", "VERB"}
    assert {row.split()[1] for block in blocks for row in block} <= tags
    assert all(0 <= float(row.split()[2]) <= 1 for block in blocks for row in block)


def test_a_masked_model_fills_in(tried):
    code, out, _ = tried("lm", "La suno <mask>.")
    first, *rest = out.splitlines()
    assert (code, first, len(rest)) == (0, "La suno <mask>.", 5)
    filled = [json.loads(row) for row in rest]
    scores = [row["score"] for row in filled]
    assert scores == sorted(scores, reverse=True)
    assert all("<mask>" not in row["text"] for row in filled)


def test_a_causal_model_goes_on(tried):
    code, out, _ = tried("pretrain@code", "la suno")
    assert code == 0
    assert out.startswith("la suno")


def test_outputs_are_chosen_as_decoding_says(tried, place):
    plain = tried("pretrain@code", "la suno")[1]
    assert tried("pretrain@code", "la suno", "--decoding", "{kind: greedy, max_tokens: 40}") == (
        0, plain, "",
    )  # fmt: skip
    block = "{kind: sampling, seed: 3, temperature: 2, num_return_sequences: 2, max_tokens: 9}"
    code, drawn, _ = tried("pretrain@code", "la suno", "la suno", "--decoding", block)
    assert code == 0
    first, second = (rows.splitlines() for rows in drawn.rstrip("\n").split("\n\n"))
    assert (len(first), first[0]) == (3, "la suno")
    assert len({*first[1:], *second[1:]}) == 4
    assert tried("pretrain@code", "la suno", "la suno", "--decoding", block)[1] == drawn
    one = "{kind: constrained, phrases: [hundo], num_beams: 2, max_tokens: 9}"
    code, held, _ = tried("pretrain@code", "la suno", "--decoding", one)
    assert (code, " hundo" in held) == (0, True)
    draft = "{kind: assisted, draft: pretrained/code, max_tokens: 40}"
    assert tried("pretrain@code", "la suno", "--decoding", draft) == (0, plain, "")
    stored = place / "models/pretrained/code/decoding.json"
    stored.write_text('{"kind": "constrained", "phrases": ["hundo"], "max_tokens": 9}')
    try:
        assert " hundo" in tried("pretrain@code", "la suno")[1]
    finally:
        stored.unlink()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["code", "bim"], ("kind: 'bim' is no way to decode", "--decoding", "greedy, beam")),
        (["code", "{kind: beam"], ("--decoding is not YAML", "--decoding: line", "mend")),
        (["code", "{kind: beam, num_beams: 0}"], ("num_beams", "--decoding.num_beams", "kept")),
        (["code", "{kind: assisted, draft: pretrained/no}"],
         ("the draft models/pretrained/no has not been made", "decoding.draft", "name a model")),
        (["code", "{kind: assisted, draft: pretrained/lm}"],
         ("another tokenizer.json than the model", "decoding.draft", "the same tokenizer")),
        (["code", "{kind: constrained, phrases: [x y z a b], max_tokens: 2}"],
         ("an output 2 at most", "decoding.max_tokens", "raise max_tokens")),
        (["pos", "greedy"], ("writes no text", "--decoding", "leave --decoding out")),
    ],
)  # fmt: skip
def test_a_decoding_that_cannot_be_is_told(tried, words, parts):
    entry, block = words
    code, out, err = tried("pretrain@code" if entry == "code" else entry, "x", "--decoding", block)
    assert (code, out) == (2, "")
    holds(three_lines(err), *parts)


def test_a_translation_is_shown_as_it_is():
    assert trying._shown("The dog.", "La hundo.") == "La hundo."


def test_texts_come_from_a_file_with_a_mark_and_other_separators(tried, tmp_path):
    data = "\ufeffLa hundo\u2028kuras.\r\n\n  \nMi vidas.".encode()
    (tmp_path / "in.txt").write_bytes(data)
    code, out, _ = tried("pos", "--file", f"{tmp_path}/in.txt", "--out", f"{tmp_path}/out.jsonl")
    assert (code, out) == (0, f"wrote 2 answers to {tmp_path}/out.jsonl\n")
    rows = [json.loads(row) for row in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["text"] for row in rows] == ["La hundo\u2028kuras.", "Mi vidas."]
    assert [one["word"] for one in rows[1]["result"]] == ["Mi", "vidas", "."]


def test_a_file_of_many_batches_keeps_its_order(tried, tmp_path):
    texts = [f"la {word}." for words, _ in training.sentences(200, seed=3) for word in words[:1]]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    tried("pos", "--file", f"{tmp_path}/in.txt", "--out", f"{tmp_path}/out.jsonl")
    rows = [json.loads(row) for row in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(texts) > 3 * trying.BATCH
    assert [row["text"] for row in rows] == texts


def test_texts_come_from_the_standard_input(tried):
    code, out, _ = tried("pos", stdin=b"Mi vidas.\n")
    assert code == 0
    assert out.splitlines()[0].startswith("Mi")


def test_texts_may_follow_an_option(tried, tmp_path):
    code, _, _ = tried("pos", "--out", f"{tmp_path}/out.jsonl", "Mi vidas.", "Vi vidas.")
    assert code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("earlier", [None, "answers of yesterday\n"])
def test_a_failure_after_a_batch_leaves_no_half_answers(tried, tmp_path, earlier):
    texts = ["La suno <mask>."] * (trying.BATCH + 3) + ["no mask at all"]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    if earlier is not None:
        (tmp_path / "out.jsonl").write_text(earlier)
    code, out, err = tried("lm", "--file", f"{tmp_path}/in.txt", "--out", f"{tmp_path}/out.jsonl")
    assert (code, out) == (2, "")
    place = f"in.txt:{trying.BATCH + 4}"
    holds(three_lines(err), "'no mask at all' does not hold exactly one <mask>", place, "<mask>")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["in.txt"] + (["out.jsonl"] if earlier else [])
    if earlier is not None:
        assert (tmp_path / "out.jsonl").read_text() == earlier


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["encoder", "x"], ("exported RobertaForMaskedLM", "exported/encoder", "exported from")),
        (["odd", "x"], ("a model of kind 'Odd'", "odd/config.json", "a translator")),
        (["pos", "x", "--out", "models"], ("models is a folder", "--out", "a file to write")),
        (["encode@eo", "x"], ("encode@eo make no model", "data/tokens/eo", "did you mean")),
        (["refine@pos", "x"], ("refine@pos has not been made", "data/corpora/pos", "deveno run")),
        (["pos", "--file", "models"], ("models is a folder", "--file", "a text file")),
    ],
)
def test_what_cannot_be_tried_is_told_before_a_model_is_opened(tried, monkeypatch, words, parts):
    from stages.lm import models

    monkeypatch.setattr(models, "load", None)
    code, out, err = tried(*words)
    assert (code, out) == (2, "")
    holds(three_lines(err), *parts)


def test_a_config_that_is_no_json_is_told(tried, place):
    path = place / "models/pretrained/odd/config.json"
    before = path.read_bytes()
    path.write_bytes(b"{")
    try:
        code, _, err = tried("odd", "x")
    finally:
        path.write_bytes(before)
    assert code == 2
    holds(three_lines(err), "config.json cannot be read", "odd/config.json", "run the entry")
