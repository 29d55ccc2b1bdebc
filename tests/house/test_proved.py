"""The prove file's lines read their tracked measurements under the names these have today."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import prove_again, prove_port

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
    12: "decoding", 14: "translate",
}  # fmt: skip


@pytest.mark.parametrize("number", PORTS)
def test_a_recorded_line_about_ports_reads_its_tracked_result(number: int, tmp_path: Path):
    ports = prove_port.Ports(tmp_path, frozenset(PORTS.values()))
    command, figure, passed = getattr(ports, f"line_{number}")()
    assert command.startswith("make ")
    assert figure
    assert isinstance(passed, bool)
