"""The report's chapter of labelling rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core import canonical
from tests.stages.report_material import Page, World, evaluation, score
from tests.stages.test_report import reached, unfaithful


def told(number: int, labelled: int, kappa: float | None) -> dict[str, Any]:
    agreement = {"sentences": 0} if kappa is None else {"sentences": 7, "fleiss_kappa": kappa}
    return {
        "round": number, "by": "entropy" if number else "random", "asked": 53, "labelled": labelled,
        "labelled_words": 10 * labelled, "missing": 3, "skipped": 1, "excluded": 2,
        "pool": {"sentences": 907, "like_test": 4, "left": 800}, "agreement": agreement,
    }  # fmt: skip


def test_rounds_have_a_table_and_a_learning_curve(tmp_path: Path) -> None:
    world = World(tmp_path).build()
    world.entries["label"] = {}
    history: list[dict[str, Any]] = []
    for number, (key, labelled) in enumerate({"r-0": 47, "r-1": 95, "alone": 44}.items()):
        before = "corpora/r-0" if key == "r-1" else "none"
        history = [] if key == "alone" else history
        history = [*history, told(number % 2, labelled, 0.7131 if key == "r-1" else None)]
        folder = tmp_path / f"data/corpora/{key}"
        canonical.write_json(folder / "rounds.json", {"test_sha256": "00", "rounds": history})
        canonical.write_json(folder / "corpus.json", {"kind": "labelled", "synthetic": False})
        world.entries["label"][key] = {
            "pool": "corpora/pos",
            "test": "corpora/pos",
            "before": before,
        }
        if key != "alone":
            scores = [score("accuracy", 0.81 + number / 10), score("accuracy", 0.4, baseline="x")]
            rows = evaluation(key, "token-classification", "finetuned/pos", key, scores)
            for name, value in rows.items():
                canonical.write_json(tmp_path / name, value)
            world.entries["evaluate"][key] = {
                "model": "finetuned/pos",
                "data": key,
                "split": "test",
            }
    folder = world.report(samples=0)
    text = (folder / "index.html").read_text("utf-8")
    page = Page(text)
    assert "rounds" in {one.get("id") for one in page.named("section")}
    assert unfaithful(page, tmp_path) == []
    assert reached(page, text) == []
    assert text.count("Rounds up to") == 2
    assert "not scored" in text
    assert "Learning curve" in text
    for figure in ("907", "95", "0.713", "91.00", "81.00"):
        assert figure in text
