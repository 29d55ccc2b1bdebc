"""The prove file's lines read their tracked measurements under the names these have today."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import prove_again, prove_corpus, prove_port

MEASURED = {
    1: "lineage", 3: "rebuild_all", 7: "resume", 9: "chaos", 11: "full_disk",
    15: "nightly_power", 17: "truth", 22: "removable",
}  # fmt: skip


@pytest.mark.parametrize("number", MEASURED)
def test_a_recorded_line_reads_its_tracked_result(number: int, tmp_path: Path):
    again = prove_again.Again(tmp_path, frozenset(MEASURED.values()))
    command, figure, passed = getattr(again, f"line_{number}")()
    assert command
    assert figure
    assert isinstance(passed, bool)


PORTS = {
    1: "fairseq_release", 2: "fairseq_shapes", 7: "port_stream", 10: "warm_starts",
    12: "decoding", 14: "translate", 16: "port_layers",
}  # fmt: skip


@pytest.mark.parametrize("number", PORTS)
def test_a_recorded_line_about_ports_reads_its_tracked_result(number: int, tmp_path: Path):
    ports = prove_port.Ports(tmp_path, frozenset(PORTS.values()))
    command, figure, passed = getattr(ports, f"line_{number}")()
    assert command.startswith("make ")
    assert figure
    assert isinstance(passed, bool)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_line_about_the_corpus_reads_its_row_or_says_that_there_is_none(
    number: int, tmp_path: Path
):
    corpora = prove_corpus.Corpora(tmp_path, frozenset())
    command, figure, passed = getattr(corpora, f"line_{number}")()
    row = command.removeprefix("make bench-corpus (").removesuffix(")")
    path = prove_again.ROOT / "benchmarks" / "corpus" / f"{row}.json"
    assert path.is_file() or (figure, passed) == ("not measured", False)


def test_one_missed_goal_fails_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "benchmarks" / "corpus"
    folder.mkdir(parents=True)
    monkeypatch.setattr(prove_corpus, "ROOT", tmp_path)
    monkeypatch.setattr(prove_corpus, "committed", lambda path: "0" * 40)
    for told, passed in ((True, True), (False, False)):
        passes = f'{{"a": {{"ratio": 12.5, "pass": true}}, "b": {str(told).lower()}}}'
        (folder / "rules.json").write_text(f'{{"passes": {passes}}}')
        _, figure, good = prove_corpus.Corpora(tmp_path, frozenset()).row("rules")
        assert figure == f"a ratio: 12.5; a pass: True; b: {told}"
        assert good is passed
