"""The planner: straight lines through two measures, bounds that are named, odd input refused."""

from __future__ import annotations

import json

import pytest

from stages.cli import command, forecasting
from stages.core import forecast
from stages.core.forecast import Machines


def cost(gigabytes, **more):
    """A stage: 2 s and 100 s/GB of which 80 for workers, 1 GB + 2 GB/GB of memory."""
    return {
        "cpu_s": 2 + 100 * gigabytes, "work_s": 80 * gigabytes, "wall_s": 0, "pieces": 1,
        "bytes_there": 3e9 * gigabytes, "bytes_back": 1e9 * gigabytes,
        "memory_bytes": 1e9 + 2e9 * gigabytes, "written_bytes": 0.5e9 * gigabytes, **more,
    }  # fmt: skip


def rates(**more):
    runs = [
        {"bytes": 1e9 * size, "documents": int(250_000 * size), "stages": {"refine": cost(size)}}
        for size in (2.0, 0.5)
    ]
    return {
        "command": "measured", "machine": {"cpu": "a CPU", "cores": 2}, "load_average_before": 0.1,
        "runs": runs, **more,
    }  # fmt: skip


def test_what_a_terabyte_costs():
    machines = Machines(10, 32, 256e9, 4e9)
    (found,) = forecast.forecast(rates(), 1e12, machines)
    assert found.core_hours == pytest.approx((2 + 100_000) / 3600)
    assert found.work_hours == pytest.approx(80_000 / 320 / 3600)
    assert found.driver_hours == pytest.approx((2 + 20_000) / 3600)
    assert found.travel_bytes == pytest.approx(4e12)
    assert found.travel_hours == pytest.approx(1000 / 3600)
    assert found.memory == pytest.approx(2001e9)
    assert found.written == pytest.approx(0.5e12)
    assert found.bound == "driver"
    assert found.least == found.driver_hours
    assert found.most == pytest.approx(found.work_hours + found.driver_hours + found.travel_hours)
    # 2000 GB that grow, in the 0.8 * 256 - 1 GB that a machine has for them.
    assert found.pieces == 10
    assert forecast.documents(rates(), 1e12) == pytest.approx(2.5e8)


def test_one_machine_sends_nothing_and_a_faster_core_takes_less():
    (one,) = forecast.forecast(rates(), 1e9, Machines(1, 1, 256e9, 4e9))
    assert (one.travel_bytes, one.travel_hours, one.pieces) == (0, 0, 1)
    (fast,) = forecast.forecast(rates(), 1e9, Machines(1, 1, 256e9, 4e9, speed=2))
    assert fast.core_hours == pytest.approx(one.core_hours / 2)


def test_a_cost_that_falls_with_the_text_is_taken_as_level():
    runs = rates()["runs"]
    runs[0]["stages"]["refine"]["memory_bytes"] = 1e8
    line = forecast.line(sorted(runs, key=lambda run: run["bytes"]), "refine", "memory_bytes")
    assert (line.fixed, line.slope) == (1e8, 0)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "measured.json").write_text(json.dumps(rates()))
    monkeypatch.setattr(forecasting.workspace, "root", lambda: tmp_path)
    monkeypatch.setattr(command, "_run_workspace_code", lambda: None)
    return tmp_path


def test_the_command_writes_its_page(project, capsys):
    given = ["forecast", "1TB", "0.1PB", "--rates", "measured.json", "--network", "32Gbit/s"]
    assert command.main(given) == 0
    shown = capsys.readouterr().out
    assert "1TB of raw text, about 2.5e+08 documents, 10 machines of 32 cores" in shown
    assert "4 GB/s network" in shown
    page = (project / "reports/forecast.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 3
    assert page.startswith("<!doctype html>")
    assert "0.1PB of raw text" in page


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["many"], "'many' is no size"),
        (["0TB"], "'0TB' is no size"),
        (["1TB", "--machines", "0"], "'0' is not a number from 1 to 1e+06"),
        (["1TB", "--cores", "nan"], "'nan' is not a number from 1 to 4096"),
        (["1TB", "--memory=-4GB"], "'-4GB' is no size"),
        (["1TB", "--rates", "none.json"], "there is no none.json"),
        (["1TB", "--rates", "other.json"], "other.json is no table of measured rates"),
    ],
)
def test_odd_input_is_refused(project, capsys, given, what):
    (project / "other.json").write_text('{"runs": [{"bytes": 1, "stages": {}}]}')
    if "--rates" not in given:
        given = [*given, "--rates", "measured.json"]
    assert command.main(["forecast", *given]) == 2
    told = capsys.readouterr().err
    assert what in told
    assert told.count("\n") == 3
