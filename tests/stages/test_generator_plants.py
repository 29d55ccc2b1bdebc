"""Plants stand where the truth says, and runs are deterministic and bounded in memory."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from stages.acquire.generator import foreign, plants
from stages.acquire.generator.corpus import generate
from stages.acquire.generator.parameters import GeneratorParams, PlantShares
from stages.acquire.generator.shingles import jaccard, shingles
from stages.core.errors import Resumable
from stages.core.log import Log
from tests.stages.generator_material import Corpus, lines

MANY = PlantShares(**dict.fromkeys(PlantShares.model_fields, 0.05))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    params = GeneratorParams(size_mb=1.5, seed=5, plants=MANY, annotated_share=0.1)
    return Corpus(tmp_path_factory.mktemp("plants"), params)


def test_every_kind_is_planted_and_counted(corpus: Corpus) -> None:
    kinds = {row["kind"] for row in corpus.plants}
    assert kinds == {name.replace("_", "-") for name in PlantShares.model_fields}
    for kind in kinds:
        assert len(corpus.of_kind(kind)) == corpus.statistics["counts"][f"plants_{kind}"]


def test_exact_duplicates_are_the_same_text(corpus: Corpus) -> None:
    for row in corpus.of_kind("exact-duplicate"):
        assert row["id"] > row["original"]
        assert corpus.by_id[row["id"]]["text"] == corpus.by_id[row["original"]]["text"]


def test_no_other_two_documents_are_the_same(corpus: Corpus) -> None:
    copies = {row["id"] for row in corpus.of_kind("exact-duplicate")}
    texts = [row["text"] for row in corpus.documents if row["id"] not in copies]
    assert len(texts) == len(set(texts))


def _five_grams(text: str) -> set[str]:
    """Independent of the generator's own: joined strings over a split, not tuples over a search."""
    words = [word for word in re.split(r"\W+", text) if word]
    return {" ".join(words[n : n + 5]) for n in range(max(1, len(words) - 4))}


def test_near_duplicates_have_the_stated_jaccard(corpus: Corpus) -> None:
    rows = corpus.of_kind("near-duplicate")
    for row in rows:
        one = _five_grams(corpus.by_id[row["original"]]["text"])
        two = _five_grams(corpus.by_id[row["id"]]["text"])
        assert (row["shared"], row["union"]) == (len(one & two), len(one | two))
        assert row["jaccard"] == row["shared"] / row["union"] < 1
    values = [row["jaccard"] for row in rows]
    assert min(values) < 0.6 < 0.85 < max(values)


def test_one_changed_word_would_be_seen(corpus: Corpus) -> None:
    for row in corpus.of_kind("near-duplicate"):
        one = _five_grams(corpus.by_id[row["original"]]["text"])
        two = _five_grams(corpus.by_id[row["id"]]["text"] + " Plie.")
        assert (row["shared"], row["union"]) != (len(one & two), len(one | two))


def test_shingles_by_hand() -> None:
    assert shingles("a b c d e f") == {("a", "b", "c", "d", "e"), ("b", "c", "d", "e", "f")}
    assert jaccard("a b c d e f", "a b c d e g") == (1, 3)
    assert jaccard("A b c d e", "a b c d e") == (0, 2)
    assert shingles("du vortoj.") == {("du", "vortoj")}
    assert shingles("!?") == set()


@pytest.mark.parametrize("kind", ["foreign-document", "foreign-paragraph"])
def test_foreign_text_is_in_the_stated_language_and_place(corpus: Corpus, kind: str) -> None:
    for row in corpus.of_kind(kind):
        document = corpus.by_id[row["id"]]
        planted = document["text"][row["start"] : row["end"]]
        grammar = foreign.GRAMMARS[row["language"]]
        assert any(verb in planted for verb in grammar.verbs)
        assert document["language"] == (row["language"] if kind == "foreign-document" else "eo")
        if kind == "foreign-document":
            assert planted == document["text"]
    assert len({row["language"] for row in corpus.of_kind("foreign-document")}) > 5


def test_boilerplate_lines_stand_at_their_places(corpus: Corpus) -> None:
    for row in corpus.of_kind("boilerplate"):
        text = corpus.by_id[row["id"]]["text"]
        found = [line for a, b in row["places"] for line in text[a:b].split("\n")]
        assert found == row["lines"]


def test_mojibake_can_be_undone(corpus: Corpus) -> None:
    for row in corpus.of_kind("mojibake"):
        data = bytearray()
        for letter in corpus.by_id[row["id"]]["text"]:
            raw = letter.encode("latin-1", "ignore")
            data += raw if row["codec"] == "latin-1" or raw else letter.encode("cp1252")
        assert hashlib.sha256(data).hexdigest() == row["original_sha256"]
    assert {row["codec"] for row in corpus.of_kind("mojibake")} == {"latin-1", "cp1252"}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_spelling_and_layout_can_be_undone(corpus: Corpus) -> None:
    letters = {v: chr(k) for k, v in plants.X_SYSTEM.items()}
    for row in corpus.of_kind("x-system"):
        text = corpus.by_id[row["id"]]["text"]
        assert not re.search("[ĉĝĥĵŝŭ]", text)
        back = re.sub("[cghjsuCGHJSU]x", lambda match: letters[match[0]], text)
        assert _sha(back) == row["original_sha256"]
    for row in corpus.of_kind("decomposed"):
        text = corpus.by_id[row["id"]]["text"]
        assert _sha(unicodedata.normalize("NFC", text)) == row["original_sha256"]
    for row in corpus.of_kind("line-endings"):
        text = corpus.by_id[row["id"]]["text"]
        assert _sha(text.replace("\r\n", "\n").removesuffix("\n")) == row["original_sha256"]
    for row in corpus.of_kind("byte-order-mark"):
        text = corpus.by_id[row["id"]]["text"]
        assert _sha(text.removeprefix("\ufeff")) == row["original_sha256"]
    for row in corpus.of_kind("hard-wrapped"):
        text = corpus.by_id[row["id"]]["text"]
        assert max(map(len, text.split("\n"))) <= row["columns"]
        assert _sha(re.sub("(?<!\n)\n(?!\n)", " ", text)) == row["original_sha256"]


def test_contacts_and_repetitions_stand_at_their_places(corpus: Corpus) -> None:
    for kind, shape in (("email", r"\w+@\w+\.example"), ("phone", r"[+(\d].*555.01\d\d")):
        for row in corpus.of_kind(kind):
            planted = corpus.by_id[row["id"]]["text"][row["start"] : row["end"]]
            assert planted == row["value"]
            assert re.fullmatch(shape, planted)
    for row in corpus.of_kind("repetition"):
        planted = corpus.by_id[row["id"]]["text"][row["start"] : row["end"]]
        assert planted == " ".join([row["sentence"]] * row["times"])
    for row in corpus.of_kind("markers"):
        text = corpus.by_id[row["id"]]["text"]
        assert text[: row["body_start"]].endswith(f"{plants.START}\n\n")
        assert text[row["body_end"] :].startswith(f"\n\n{plants.END}")


def test_annotated_share_is_of_documents(corpus: Corpus) -> None:
    annotated = {sentence.comments["doc_id"] for sentence in corpus.sentences}
    written = sum(row["language"] == "eo" for row in corpus.documents)
    assert 0.05 < len(annotated) / written < 0.15
    assert len(corpus.pairs) > 5 * len(corpus.sentences)


def test_nothing_is_annotated_or_planted_at_share_zero(tmp_path: Path) -> None:
    shares = PlantShares(**dict.fromkeys(PlantShares.model_fields, 0.0))
    params = GeneratorParams(size_mb=0.1, annotated_share=0.0, parallel_share=0.0, plants=shares)
    rows = generate(params, tmp_path, Log())
    assert [row["path"] for row in rows["files"]] == ["files/documents-00000.jsonl.zst"]
    assert [row["path"] for row in rows["truth"]] == ["truth/statistics.json"]


def test_shards_hold_at_most_their_size(tmp_path: Path) -> None:
    params = GeneratorParams(size_mb=2.0, shard_mb=1.0, annotated_share=0.0, parallel_share=0.0)
    rows = generate(params, tmp_path, Log())
    assert len(rows["files"]) >= 2
    ids = [line[7:17] for line in lines(tmp_path, "files/documents")]
    assert ids == sorted(set(ids))


def test_another_seed_gives_another_text(tmp_path: Path) -> None:
    digests = set()
    for seed in (1, 2):
        params = GeneratorParams(size_mb=0.1, seed=seed, annotated_share=0.0, parallel_share=0.0)
        rows = generate(params, tmp_path / str(seed), Log())
        digests.add(rows["files"][0]["sha256"])
    assert len(digests) == 2


def test_a_stop_is_told_plainly(tmp_path: Path) -> None:
    log = Log()
    log.request_stop()
    with pytest.raises(Resumable) as caught:
        generate(GeneratorParams(size_mb=1.0), tmp_path, log)
    assert "stopped on request after 0.0 MB" in caught.value.what
    assert "starts anew" in caught.value.todo


SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from stages.acquire.generator.corpus import generate
from stages.acquire.generator.parameters import GeneratorParams
from stages.core.log import Log
rows = generate(GeneratorParams(**json.loads(sys.argv[2])), Path(sys.argv[1]), Log())
digests = [row["sha256"] for part in ("files", "truth") for row in rows[part]]
print(json.dumps([digests, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def _fresh(folder: Path, params: str, hash_seed: str, root: Path) -> tuple[list[str], int]:
    import json

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), params],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=True, cwd=folder.parent,
    )  # fmt: skip
    digests, memory = json.loads(done.stdout)
    return digests, memory


def test_two_fresh_processes_give_the_same_bytes(tmp_path: Path, root: Path) -> None:
    params = '{"size_mb": 0.6, "seed": 9, "shard_mb": 0.3}'
    (tmp_path / "elsewhere").mkdir()
    one, _ = _fresh(tmp_path / "one", params, "1", root)
    two, _ = _fresh(tmp_path / "elsewhere" / "two", params, "4321", root)
    assert one == two


def test_memory_does_not_grow_with_the_size(tmp_path: Path, root: Path) -> None:
    shares = '"annotated_share": 0.05, "parallel_share": 0.05'
    _, small = _fresh(tmp_path / "small", f'{{"size_mb": 2.0, {shares}}}', "0", root)
    _, large = _fresh(tmp_path / "large", f'{{"size_mb": 20.0, {shares}}}', "0", root)
    assert large < small + 24 * 1024  # KiB: ten times the text, the same memory
