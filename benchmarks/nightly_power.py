"""How often a night cries wolf, and whether it sees 5 %: real A/A nights, planted regressions.

Sides are copies of the code in folders of their own, with the model that `exported/pos-int8` holds
now (run the recipe first). Really measured, two nights at a time, each on a core of its own:

- A/A nights: two equal copies;
- `code`: the candidate's tagging burns 5 % more CPU time in its inference path;
- `model`: the candidate's model has a wider feed-forward part, exported anew by the stage itself;
  its width is chosen by a trial so that tagging takes about 5 % longer.

Then nights are simulated from the recorded lives, drawn whole with replacement, so that stretches
of a life keep hanging together; for nights of one artifact and of three. Writes
benchmarks/nightly_power.json: verdicts, every log-ratio, and the minutes that a night took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ARTIFACT, SOURCE = "exported/pos-int8", "finetuned/pos"
FOLDER = f"models/{ARTIFACT}"
KINDS = ("same", "code", "model")
EFFECT = 0.05
SIMULATED = 1000
BURNT = '''
    def tag(
        self, sentences: Sequence[Sequence[str]], batch_size: int = 1
    ) -> list[list[tuple[str, float]]]:
        """Tag, and burn five per cent of the CPU time that it took."""
        import time

        began = time.process_time_ns()
        found = self._tag(sentences, batch_size)
        ends = began + 1.05 * (time.process_time_ns() - began)
        while time.process_time_ns() < ends:
            pass
        return found

    def _tag('''


def main() -> int:
    """Measure, simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same", type=int, default=20, help="real A/A nights")
    parser.add_argument("--planted", type=int, default=4, help="real nights of each regression")
    parser.add_argument("--night", nargs=3, metavar=("KIND", "SEED", "FOLDER"), help="(one night)")
    options = parser.parse_args()
    if options.night:
        one_night(options.night[0], int(options.night[1]), Path(options.night[2]))
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="deveno-nights-") as place:
        folder = Path(place)
        width = prepare(folder)
        nights = measured(folder, options.same, options.planted)
    result = summary(nights) | {
        "artifact": ARTIFACT,
        "model_intermediate_size": width,
        "wall_minutes": round((time.monotonic() - began) / 60, 1),
    }
    from stages.core import canonical

    canonical.write_json(ROOT / "benchmarks" / "nightly_power.json", result)
    print(canonical.dumps({name: value for name, value in result.items() if name != "nights"}))
    return 0 if result["pass"] else 1


def side(folder: Path, kind: str) -> Any:
    """Return a copy of the code as a side."""
    from flows import measuring

    name = measuring.BASELINE if kind == "baseline" else measuring.CANDIDATE
    return measuring.Side(name, folder / kind, sys.executable)


def prepare(folder: Path) -> dict[str, int]:
    """Make the sides; return the width of the feed-forward part before and after planting."""
    for kind in ("baseline", *KINDS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "stages", folder / kind / "stages", ignore=ignored)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, folder / kind / name)
        shutil.copytree(ROOT / FOLDER, folder / kind / FOLDER)
    code = folder / "code/stages/lm/onnx.py"
    text = code.read_text(encoding="utf-8")
    assert text.count("\n    def tag(") == 1
    code.write_text(text.replace("\n    def tag(", BURNT), encoding="utf-8")
    return plant_model(folder)


def plant_model(folder: Path) -> dict[str, int]:
    """Widen the candidate's feed-forward part until tagging takes about 5 % longer."""
    from flows import measuring
    from stages.benchmark.measurer import METRICS

    config = json.loads((ROOT / "models" / SOURCE / "config.json").read_text(encoding="utf-8"))
    own = int(config["intermediate_size"])
    trial = 2 * own
    export_wider(folder, trial)
    sides = side(folder, "baseline"), side(folder, "model")
    given = measuring.words(sides[0], FOLDER, 0)
    rows = [measuring.life(*sides, FOLDER, given, 0, number) for number in range(2)]
    found = math.expm1(statistics.median(measuring.log_ratios(rows, METRICS[0])))
    chosen = own + 16 * max(1, round((trial - own) * EFFECT / found / 16))
    print(f"width {trial}: {found:+.1%}; chosen {chosen}", flush=True)
    export_wider(folder, chosen)
    return {"baseline": own, "candidate": chosen}


def export_wider(folder: Path, width: int) -> None:
    """Export the tagger with more feed-forward units; the new ones weigh nothing."""
    import torch
    from safetensors.torch import load_file, save_file

    from stages.core import registry, yamlfile
    from stages.core.log import Log

    wide = folder / "wide"
    shutil.rmtree(wide, ignore_errors=True)
    shutil.copytree(ROOT / "models" / SOURCE, wide)
    config = json.loads((wide / "config.json").read_text(encoding="utf-8"))
    extra = width - int(config["intermediate_size"])
    (wide / "config.json").write_text(json.dumps({**config, "intermediate_size": width}))
    tensors = load_file(wide / "model.safetensors")
    for name, value in tensors.items():
        if "intermediate.dense" in name:
            more = torch.randn(extra, *value.shape[1:]) * 0.02
            tensors[name] = torch.cat([value, more])
        elif name.endswith("output.dense.weight") and "attention" not in name:
            tensors[name] = torch.cat([value, torch.zeros(len(value), extra)], dim=1)
    save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(folder / "model" / FOLDER)
    given = yamlfile.plain(yamlfile.read(ROOT / "params.yaml"))["export"]["pos-int8"]
    stage = registry.get("export")
    stage.function(stage.params(**given), wide, folder / "model" / FOLDER, Log())


def measured(folder: Path, same: int, planted: int) -> list[dict[str, Any]]:
    """Measure all nights, two at a time where there are two cores; kinds are mixed in time."""
    waiting = ["same"] * same + ["code"] * planted + ["model"] * planted
    random.Random(0).shuffle(waiting)
    cores = sorted(os.sched_getaffinity(0))
    running: dict[int, tuple[str, int, subprocess.Popen[str]]] = {}
    nights: list[dict[str, Any]] = []
    total = len(waiting)
    while waiting or running:
        for core in cores:
            if core not in running and waiting:
                kind, seed = waiting.pop(), total - len(waiting)
                command = [sys.executable, __file__, "--night", kind, str(seed), str(folder)]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                os.sched_setaffinity(process.pid, {core})
                running[core] = kind, seed, process
        time.sleep(0.2)
        for core in [core for core, row in running.items() if row[2].poll() is not None]:
            kind, seed, process = running.pop(core)
            night = json.loads(process.communicate()[0].splitlines()[-1])
            nights.append({"kind": kind, "seed": seed, **night})
            told = {name: one["verdict"] for name, one in night["verdicts"].items()}
            print(f"{len(nights)}/{total} {kind}: {night['verdict']} {told}", flush=True)
    return nights


def one_night(kind: str, seed: int, folder: Path) -> None:
    """Measure one night and print it."""
    from flows import measuring
    from stages.benchmark.measurer import METRICS
    from stages.lm import verdicts

    lives: list[dict[str, Any]] = []
    began, cpu = time.monotonic(), os.times()
    sides = side(folder, "baseline"), side(folder, kind)
    found = measuring.night(*sides, {ARTIFACT: FOLDER}, METRICS, seed, lives.append)
    after = os.times()
    tested = [metric for metric in METRICS if metric["of"] != "open"]
    row = {
        "verdict": verdicts.of_night(found),
        "verdicts": {
            name.partition(": ")[2]: {
                "verdict": one.verdict,
                **{part: round(getattr(one, part), 5) for part in ("ratio", "low", "high")},
            }
            for name, one in found.items()
        },
        "minutes": round((time.monotonic() - began) / 60, 2),
        "cpu_s": round(sum(after[:4]) - sum(cpu[:4]), 1),
        "load_average": [round(life["load_average"], 1) for life in lives],
        "log_ratios": {
            metric["name"]: [
                [round(value, 6) for value in measuring.log_ratios([life], metric)]
                for life in lives
            ]
            for metric in tested
        },
    }
    print(json.dumps(row))


def simulated(
    nights: Sequence[Mapping[str, Any]], artifacts: int, seed: int, shift: float = 0.0
) -> dict[str, Any]:
    """Judge nights made of recorded lives, each drawn whole; a blind night gets more of them.

    `shift` is added to the log-ratios of the first artifact's primary metric.
    """
    from flows import measuring
    from stages.benchmark.measurer import METRICS
    from stages.lm import verdicts

    tested = [metric for metric in METRICS if metric["of"] != "open"]
    lives = [
        {metric["name"]: night["log_ratios"][metric["name"]][k] for metric in tested}
        for night in nights
        for k in range(len(night["load_average"]))
    ]
    drawn = random.Random(seed)
    counts = dict.fromkeys((verdicts.FASTER, verdicts.SAME, verdicts.SLOWER, "caught"), 0)
    for _ in range(SIMULATED):
        chosen: list[list[Any]] = [[] for _ in range(artifacts)]
        for number in range(measuring.MOST_LIVES):
            for one in chosen:
                one.append(drawn.choice(lives))
            if number + 1 < measuring.LIVES:
                continue
            primaries, rest = grouped(chosen, tested, shift)
            found = verdicts.judge(primaries, rest)
            if not any(found[name].blind for name in primaries):
                break
        counts[verdicts.of_night(found)] += 1
        counts["caught"] += found[next(iter(primaries))].verdict == verdicts.SLOWER
    return {"nights": SIMULATED, "lives": len(lives), **counts}


def grouped(
    chosen: Sequence[Sequence[Mapping[str, Any]]], tested: Iterable[Mapping[str, Any]], shift: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the log-ratios of primary metrics and of the rest, by artifact and metric."""
    primaries: dict[str, list[float]] = {}
    rest: dict[str, list[float]] = {}
    for metric in tested:
        for number, lives in enumerate(chosen):
            values = [value for life in lives for value in life[metric["name"]]]
            if metric["primary"] and not number:
                values = [value + shift for value in values]
            (primaries if metric["primary"] else rest)[f"{number}: {metric['name']}"] = values
    return primaries, rest


def summary(nights: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return false alarms and power, real and simulated, and the minutes of a night."""
    from stages.lm import verdicts

    by_kind = {kind: [night for night in nights if night["kind"] == kind] for kind in KINDS}
    primary = "tag_cpu_ms"
    alarms = [night for night in by_kind["same"] if night["verdict"] == verdicts.SLOWER]
    real = {
        "nights": len(by_kind["same"]),
        "false_alarms": len(alarms),
        "false_faster": sum(night["verdict"] == verdicts.FASTER for night in by_kind["same"]),
    }
    found: dict[str, Any] = {"real_same": real, "simulated_same": {}, "planted": {}}
    for artifacts in (1, 3):
        row = simulated(by_kind["same"], artifacts, artifacts)
        row["false_alarm_rate"] = row[verdicts.SLOWER] / row["nights"]
        row["power_at_5_percent"] = (
            simulated(by_kind["same"], artifacts, 10 + artifacts, math.log1p(EFFECT))["caught"]
            / row["nights"]
        )
        found["simulated_same"][f"artifacts_{artifacts}"] = row
    for kind in ("code", "model"):
        rows = by_kind[kind]
        ratios = [night["verdicts"][primary]["ratio"] for night in rows]
        found["planted"][kind] = {
            "nights": len(rows),
            "caught": sum(row["verdicts"][primary]["verdict"] == verdicts.SLOWER for row in rows),
            "ratio_median": round(statistics.median(ratios), 5),
            "ratios": ratios,
            "power_simulated": {
                f"artifacts_{artifacts}": simulated(rows, artifacts, 20 + artifacts)["caught"]
                / SIMULATED
                for artifacts in (1, 3)
            },
        }
    minutes = [night["minutes"] for night in nights]
    found["minutes_per_night"] = {
        "median": statistics.median(minutes), "least": min(minutes), "most": max(minutes)
    }  # fmt: skip
    found["cpu_s_per_night"] = statistics.median(night["cpu_s"] for night in nights)
    found["pass"] = passed(found)
    return found | {"rule": rule(), "nights": list(nights)}


def passed(found: Mapping[str, Any]) -> bool:
    """Return whether the figures are those that the night promises."""
    same = found["simulated_same"].values()
    planted = found["planted"].values()
    return bool(
        found["real_same"]["nights"] >= 20
        and found["real_same"]["false_alarms"] == 0
        and all(row["false_alarm_rate"] <= 0.01 for row in same)
        and all(row["power_at_5_percent"] >= 0.9 for row in same)
        and all(row["caught"] >= 0.9 * row["nights"] for row in planted)
        and all(power >= 0.9 for row in planted for power in row["power_simulated"].values())
    )


def rule() -> dict[str, Any]:
    """Return the numbers of the decision rule."""
    from flows import measuring
    from stages.lm import verdicts

    return {
        "alpha": verdicts.ALPHA,
        "margin": verdicts.MARGIN,
        "lives": measuring.LIVES,
        "most_lives": measuring.MOST_LIVES,
        "stretches": measuring.STRETCHES,
        "together": measuring.TOGETHER,
        "in_turn": measuring.IN_TURN,
        "slice_ms": measuring.SLICE_MS,
    }


if __name__ == "__main__":
    raise SystemExit(main())
