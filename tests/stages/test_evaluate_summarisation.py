"""Documents and summaries through `refine`, and ROUGE of a summariser beside lead sentences."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.evaluate import summarisation
from stages.evaluate.material import open_corpus
from stages.evaluate.stage import EvaluateParams, evaluate
from stages.lm import denotation, rouge
from stages.lm.decoding.settings import Beam, Constrained, Greedy
from stages.lm.tables import iter_rows, shard_paths
from stages.lm.writer import Writer
from tests.stages import evaluate_material, writing_material
from tests.stages.refine_material import Refined, raw_folder

READING = {"yields": "pairs", "source_text": "source", "target_text": "target"}
TEST_ONLY = {"train": 0.0, "valid": 0.0, "test": 1.0}
WIDE = {"max_words": 5000, "max_length_ratio": 1000.0, "lines": "keep"}


def raw(folder: Path, rows: list[dict]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return raw_folder(folder, {"abstracts.jsonl": text}, reading=READING)


@pytest.fixture(scope="module")
def summariser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("summariser")
    base = writing_material.roberta(root / "base")
    corpus = writing_material.corpus(root / "c", (48, 8, 8))
    params = writing_material.params({"kind": "summarisation", "warm_start": "shared"}, epochs=1)
    writing_material.run(params, base, corpus, root / "model")
    return root / "model"


def test_sentences_become_lines_and_further_targets_references(tmp_path: Path):
    rows = [
        {"source": ["One  a.", "Two\tb."], "target": ["First.", "Second  x.", "Third."]},
        {"source": "One line.", "target": "Only."},
        {"source": ["Three."], "target": ["Lone."]},
    ]
    done = Refined(raw(tmp_path / "raw", rows), tmp_path / "c", kind="parallel", pairs=WIDE,
                   split=TEST_ONLY)  # fmt: skip
    found = {row["target_text"]: row for row in open_corpus(done.folder, "parallel").rows("test")}
    assert found["First."]["source_text"] == "One a.\nTwo b."
    assert found["First."]["references"] == ["Second x.", "Third."]
    assert found["Only."]["references"] is None
    assert found["Lone."]["references"] is None
    joined = Refined(raw(tmp_path / "raw2", rows), tmp_path / "d", kind="parallel",
                     pairs={**WIDE, "lines": "join"}, split=TEST_ONLY)  # fmt: skip
    assert "One a. Two b." in {row["source_text"] for row in joined.rows.values()}


def test_a_corpus_without_references_keeps_its_columns(tmp_path: Path):
    rows = [{"source": "One.", "target": "Uno."}, {"source": ["Two."], "target": ["Dos."]}]
    done = Refined(raw(tmp_path / "raw", rows), tmp_path / "c", kind="parallel", split=TEST_ONLY)
    row = next(iter_rows(done.folder, "test"))
    assert list(row) == ["id", "source_text", "target_text", "source"]


@pytest.mark.parametrize("value", [[], [1, 2], ["a", None]])
def test_a_list_that_holds_no_texts_is_refused(tmp_path: Path, value: list):
    rows = [{"source": "One.", "target": value}]
    with pytest.raises(ArtifactError, match="not a list of texts"):
        Refined(raw(tmp_path / "raw", rows), tmp_path / "c", kind="parallel", split=TEST_ONLY)


def test_the_real_abstracts_pass_whole_and_score_as_the_reference_says(
    shared_data: Path, summariser: Path, tmp_path: Path
):
    """scitldr_a dev through `refine`: lead-1 and lead-3 equal rouge_score's own numbers."""
    with gzip.open(shared_data / "scitldr_a/dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        text = lines.read()
    folder = raw_folder(tmp_path / "raw", {"dev.jsonl": text}, reading=READING)
    done = Refined(folder, tmp_path / "c", kind="parallel", intact=True, split=TEST_ONLY)
    rows = open_corpus(done.folder, "parallel").rows("test")
    assert len(rows) == 619
    assert sum(1 + len(row["references"] or []) for row in rows) == 1453
    targets = [[row["target_text"], *(row["references"] or [])] for row in rows]
    for count, golden in ((1, 30.1093601), (3, 29.0701244)):
        said = [summarisation.lead(row["source_text"], count) for row in rows]
        counts = rouge.f_points(targets, said, "rouge1")
        assert counts[:, 0].sum() / counts[:, 1].sum() == pytest.approx(golden, abs=1e-6)


def scored(model: Path, corpus: Path, out: Path, **task) -> dict:
    none = out.parent / "none"
    none.mkdir(exist_ok=True)
    params = EvaluateParams(
        model="finetuned/x", data="x", task={"kind": "summarisation"} | task, resamples=200
    )
    evaluate(params, model, corpus, none, none, out, Log())
    return json.loads((out / "scores.json").read_text())


def test_scores_stand_beside_lead_sentences_and_count_all_targets(summariser: Path, tmp_path: Path):
    rows = [
        {
            "id": str(number),
            "source_text": "ba be bo.\nda de do.\nfa fe fo.\nga ge go.",
            "target_text": "ka ke ko",
        }
        for number in range(5)
    ]
    corpus = evaluate_material.write_corpus(tmp_path / "c", "parallel", {"test": rows})
    scores = scored(summariser, corpus, tmp_path / "out")
    named = {(row["name"], row.get("baseline")): row for row in scores["scores"]}
    assert {name for name, _ in named} == {f"{kind}_beam" for kind in rouge.KINDS}
    assert {baseline for _, baseline in named} == {None, "lead-1", "lead-3"}
    assert named["rouge1_beam", "lead-1"]["value"] == 0
    row = named["rouge1_beam", None]
    assert row["unit"] == "points"
    assert row["n"] == 5
    assert "like:rouge_score-0.1.2|stem:porter|targets:best-f|beam:4" in row["signature"]
    assert scores["mean_words"]["lead-3"] == 9
    assert scores["notes"] == []
    writer = Writer.load(summariser)
    said = writer.write([row["source_text"] for row in rows])
    mean = np.mean([rouge.best(["ka ke ko"], text, "rouge1").f for text in said])
    assert row["value"] == pytest.approx(100 * mean, abs=1e-4)


def test_documents_that_lose_their_end_are_told(summariser: Path, tmp_path: Path):
    rows = [
        {"id": "1", "source_text": "ba be bo da de do " * 20, "target_text": "ka"},
        {"id": "2", "source_text": "ba be", "target_text": "ka"},
    ]
    corpus = evaluate_material.write_corpus(tmp_path / "c", "parallel", {"test": rows})
    scores = scored(summariser, corpus, tmp_path / "out")
    (note,) = scores["notes"]
    assert note.startswith("1 of 2 texts are longer than the 32 tokens that")


def test_a_further_reference_counts(summariser: Path, tmp_path: Path):
    from stages.lm.tables import PARALLEL_SCHEMA, ShardWriter
    from stages.refine.output import REFERENCES

    rows = [{"id": "1", "source_text": "ba be bo.\nda.", "target_text": "x y", "source": "m",
             "references": ["ba be bo"]}]  # fmt: skip
    folder = evaluate_material.write_corpus(tmp_path / "c", "parallel", {"test": []})
    for path in shard_paths(folder, "test"):
        path.unlink()
    with ShardWriter(folder, "test", PARALLEL_SCHEMA.append(REFERENCES)) as shard:
        shard.add(rows[0])
    scores = scored(summariser, folder, tmp_path / "out")
    lead = next(row for row in scores["scores"] if row.get("baseline") == "lead-1")
    assert lead["value"] == 100
    assert scores["targets"] == {"least": 2, "most": 2}


def test_sentences_of_a_document_in_one_line_are_found_by_their_marks():
    text = 'We ask (e.g. this). "Why?" It is 3.5 times better! And so on.'
    assert summarisation.sentences(text) == [
        "We ask (e.g. this).", '"Why?" It is 3.5 times better!', "And so on."
    ]  # fmt: skip
    assert summarisation.lead("a b\nc d\n\ne", 2) == "a b\nc d"


def test_the_writer_decodes_by_every_rule_alike(summariser: Path):
    """Greedy, beam 1 under both rules and plain `generate` write the same."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

    writer = Writer.load(summariser)
    texts = ["ba be bo", "", "da de do fa fe fo ga"]
    greedy = writer.decoded(texts, Greedy(max_tokens=12))
    assert greedy[1] == ""
    for search in ("fairseq", "transformers"):
        beam = Beam(num_beams=1, max_tokens=12, search=search)
        assert writer.decoded(texts, beam) == greedy
    tokenizer = AutoTokenizer.from_pretrained(summariser)
    model = AutoModelForSeq2SeqLM.from_pretrained(summariser, use_safetensors=True).eval()
    plain = {"num_beams": 1, "no_repeat_ngram_size": 0, "max_length": 13}
    config = GenerationConfig(**plain, decoder_start_token_id=0, eos_token_id=2, pad_token_id=1)
    for text, wanted in zip(texts[::2], greedy[::2], strict=True):
        ids = model.generate(**tokenizer(text, return_tensors="pt"), generation_config=config)
        assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == wanted
    forced = writer.decoded(texts[:1], Constrained(phrases=["ka"], max_tokens=12))
    assert "ka" in forced[0]


def test_deveno_try_asks_it_too(summariser: Path):
    from stages.cli.trying import answerer

    assert answerer(summariser)(["ba be bo"], 0) == Writer.load(summariser).write(["ba be bo"])


def test_a_translator_of_this_kind_is_scored_by_translation(summariser: Path, tmp_path: Path):
    rows = [{"id": "1", "source_text": "ba be", "target_text": "ba be"}]
    corpus = evaluate_material.write_corpus(tmp_path / "c", "parallel", {"test": rows})
    none = tmp_path / "none"
    none.mkdir()
    params = EvaluateParams(
        model="finetuned/x", data="x", task={"kind": "translation"}, resamples=100
    )
    evaluate(params, summariser, corpus, none, none, tmp_path / "out", Log())
    names = {
        row["name"] for row in json.loads((tmp_path / "out/scores.json").read_text())["scores"]
    }
    assert {"bleu_beam", "chrf_greedy"} <= names


def test_answers_over_tables_are_right_or_wrong_as_sets(summariser: Path, tmp_path: Path):
    table = "select a where b = 1 col : a | b row 1 : ba be | 1 row 2 : do | 2"
    said = Writer.load(summariser).write([table])[0]
    golds = ["ba be", "do, ba be", said.upper(), "do"]
    rows = [
        {"id": str(number), "source_text": table, "target_text": gold}
        for number, gold in enumerate(golds)
    ]
    splits = {"train": [rows[3], rows[0], rows[3]], "test": rows}
    corpus = evaluate_material.write_corpus(tmp_path / "c", "parallel", splits)
    scores = scored(summariser, corpus, tmp_path / "out", kind="table-answering")
    named = {row.get("baseline"): row for row in scores["scores"]}
    assert named[None]["name"] == "denotation_beam"
    assert named[None]["unit"] == "fraction"
    assert named[None]["n"] == 4
    assert named[None]["value"] == pytest.approx(sum(map(denotation.equal, [said] * 4, golds)) / 4)
    assert named[None]["value"] > 0
    assert named["first-cell"]["value"] == 0.25
    assert named["most-frequent-answer"]["value"] == 0.25
    assert {row["b"] for row in scores["comparisons"]} == {"first-cell", "most-frequent-answer"}
