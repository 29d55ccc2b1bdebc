"""`deveno rebuild` on a toy line with real tools: verdicts with teeth, nothing of ours touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stages.core import journal, yamlfile
from tests.pipeline import naps, sprouts
from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Clone:
    """The toy line, run and committed; a test that changes it takes a copy."""
    return sprouts.make(tmp_path_factory.mktemp("toys") / "clone")


@pytest.fixture
def copy(toys, tmp_path) -> Clone:
    """A copy of the toy line with history, cache and journals."""
    shutil.copytree(toys.root, tmp_path / "copy", symlinks=True)
    return Clone(tmp_path / "copy", toys.environment)


def rebuilt(clone: Clone, *arguments: str, code: int = 0, **extra: str) -> dict:
    """Rebuild, expecting an exit code; return the result with entries by name."""
    shown = clone.deveno("rebuild", *arguments, "--json", check=False, **extra)
    assert shown.returncode == code, shown.stdout + shown.stderr
    result = json.loads(shown.stdout)
    assert result["exit_code"] == code
    result["by"] = {row["entry"]: row for row in result["entries"]}
    result["told"] = shown.stderr
    assert not (clone.root / ".deveno/rebuilds").exists()
    return result


def verdicts(result: dict) -> dict[str, str]:
    return {name: row["verdict"] for name, row in result["by"].items()}


def state(root: Path) -> dict[str, tuple[int, str]]:
    """Return time and content of every file: workspace, cache, scratch, journals, git's too."""
    return {
        path.relative_to(root).as_posix(): (
            path.stat().st_mtime_ns, hashlib.md5(path.read_bytes()).hexdigest()
        )
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "hashes.db"
    }  # fmt: skip


def test_all_is_identical_and_nothing_of_the_user_is_touched(copy):
    (copy.root / "mlflow.db").write_bytes(b"the user's")
    (copy.root / "scratch/grow/x").mkdir(parents=True)
    (copy.root / "scratch/grow/x/checkpoint").write_text("the user's")
    hook = copy.root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {copy.root}/hooked\n")
    hook.chmod(0o755)
    (copy.root / "params.yaml").write_text("# being edited\n")
    status = copy.run("git", "status", "--porcelain").stdout
    before = state(copy.root)
    result = rebuilt(copy, "reports/evaluate/a", "reports/benchmark/a")
    assert state(copy.root) == before
    assert copy.run("git", "status", "--porcelain").stdout == status
    assert verdicts(result) == {
        "seed@a": "identical", "grow@a": "identical",
        "judge@a": "identical", "clock@a": "machine-bound",
    }  # fmt: skip
    assert result["verdict"] == "identical"
    assert [row["verdict"] for row in result["targets"]] == ["identical", "machine-bound"]
    metrics = next(row for row in result["by"]["clock@a"]["outputs"] if row["path"][0] == "m")
    assert metrics["verdict"] == "identical"  # what is deterministic in it was compared


def test_a_fresh_clone_with_nothing_but_git_compares_with_the_recorded_hashes(toys, tmp_path):
    toys.run("git", "clone", "-q", str(toys.root), str(tmp_path / "fresh"))
    fresh = Clone(tmp_path / "fresh", toys.environment)
    result = rebuilt(fresh, "judge@a")
    assert set(verdicts(result).values()) == {"identical"}
    assert not list((fresh.root / "models").rglob("*.safetensors"))
    parted = rebuilt(fresh, "grow@a", code=4, TOY_NOISE="coin")["by"]["grow@a"]
    model = next(row for row in parted["outputs"] if row["path"] == "models/pretrained/a")
    assert model["verdict"] == "different"
    assert model["note"] == "its recorded bytes are gone, so only the md5 was compared"
    curve = next(row for row in parted["outputs"] if row["path"].startswith("plots/"))
    assert curve["differences"][0]["where"] == "loss from step 1"  # git has the curve


def test_a_stage_that_throws_a_coin_is_different_and_named_first(toys):
    result = rebuilt(toys, "judge@a", code=4, TOY_NOISE="coin")
    assert verdicts(result) == {
        "seed@a": "identical",
        "grow@a": "different",
        "judge@a": "different",
    }
    assert result["by"]["judge@a"]["after"] == ["grow@a"]
    assert result["by"]["grow@a"]["after"] == []
    assert result["targets"][0]["first_to_part"].startswith("grow@a: curve loss from step 1")


def test_a_tensor_within_the_tolerance_is_named_with_its_distance(toys):
    result = rebuilt(toys, "models/pretrained/a", code=3, TOY_NOISE="0.001@3")
    assert result["verdict"] == result["targets"][0]["verdict"] == "equal within tolerance"
    outputs = {row["path"]: row for row in result["by"]["grow@a"]["outputs"]}
    (tensor,) = outputs["models/pretrained/a"]["differences"]
    assert (tensor["kind"], tensor["where"]) == ("tensor", "weight")  # and not `bias`
    assert 0 < tensor["relative"] < 1e-3
    (metric,) = outputs["metrics/grow/a.json"]["differences"]
    assert metric["where"] == "loss"


def test_a_curve_that_parts_at_a_step_is_told_with_the_step(toys):
    shown = toys.deveno("rebuild", "grow@a", check=False, TOY_NOISE="50@4")
    assert shown.returncode == 4
    assert "first to part: grow@a: curve loss from step 4" in shown.stdout
    assert "tensor weight" in shown.stdout


def test_only_the_target_is_made_from_its_recorded_inputs(toys):
    result = rebuilt(toys, "judge@a", "--from", "parents", TOY_NOISE="coin")
    assert verdicts(result) == {"judge@a": "identical"}


def test_a_file_in_an_artifact_and_a_hash_are_targets_and_share_their_ancestors(toys):
    recorded = hashlib.md5((toys.root / "reports/evaluate/a/scores.json").read_bytes()).hexdigest()
    result = rebuilt(toys, "models/pretrained/a/model.safetensors", recorded)
    assert [row["entry"] for row in result["entries"]] == ["seed@a", "grow@a", "judge@a"]
    assert result["targets"][0]["path"] == "models/pretrained/a/model.safetensors"
    assert result["targets"][1]["made_md5"] == recorded


def test_another_package_version_and_another_machine_are_named_before_anything_runs(copy):
    for name in ("dvc.lock", "environment.yaml"):
        text = (copy.root / name).read_text()
        version = text.split("numpy: ")[1].split("\n")[0]
        (copy.root / name).write_text(text.replace(f"numpy: {version}", "numpy: 0.0.1"))
    copy.run("git", "commit", "-q", "-a", "-m", "an older numpy")
    shown = copy.deveno("rebuild", "grow@a")
    installed = version.strip("\"'")
    named = shown.stdout.index(f"package numpy: 0.0.1 recorded, {installed} installed")
    assert named < shown.stdout.index("seed@a in ")
    result = rebuilt(copy, "grow@a")
    assert result["packages"] == {"numpy": {"recorded": "0.0.1", "installed": installed}}


def made_on(clone: Clone, **facts: object) -> None:
    """Plant another machine in the journal of `grow@a`."""
    for path in journal.folder(clone.root).glob("grow@a/*.jsonl"):
        first, rest = path.read_text().split("\n", 1)
        start = json.loads(first)
        start["machine"] |= facts
        path.write_text(f"{json.dumps(start)}\n{rest}")


def test_another_cpu_is_said_before_judging(copy):
    made_on(copy, cpu_model="Abacus 1", cpu_flags=["avx512_bf16", "amx_int8"])
    shown = copy.deveno("rebuild", "grow@a").stdout
    assert shown.index("another CPU: Abacus 1 then, ") < shown.index("grow@a in ")


def test_each_entry_is_made_on_the_device_that_is_recorded(copy, tmp_path):
    """GPUs are hidden from what `cpu` made, and shown, whatever we see, to what they made.

    The toy is different wherever what it sees is not what the test expects.
    """
    gpu = tmp_path / "gpus/0000:01"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t Chip 9\nGPU UUID: \t GPU-99\n")
    facts = copy.root / "stages/core/machine.py"
    text = facts.read_text()
    planted = text.replace('Path("/proc/driver/nvidia/gpus")', f"Path({str(gpu.parent)!r})")
    assert planted != text
    facts.write_text(planted)
    parents = ("--from", "parents")
    for device, ours, seen in (("cpu", "0", ""), ("cuda: Chip 9", "", "GPU-99")):
        made_on(copy, device=device)
        extra = {"CUDA_VISIBLE_DEVICES": ours, "TOY_NOISE": f"seen:{seen}"}
        found = rebuilt(copy, "grow@a", *parents, **extra)
        assert verdicts(found) == {"grow@a": "identical"}
        assert (found["machine"], found["by"]["grow@a"]["notes"]) == ([], [])
    made_on(copy, device=None)  # an old journal: nothing is set, and the check above sees it
    found = rebuilt(copy, "grow@a", *parents, code=4, TOY_NOISE="seen:", CUDA_VISIBLE_DEVICES="0")
    assert verdicts(found) == {"grow@a": "different"}
    made_on(copy, device="cuda: Chip 8")
    told = "another device: cuda: Chip 8 then, cuda: Chip 9 now"
    found = rebuilt(copy, "grow@a", *parents)
    assert found["told"].index(f"{told} (grow@a)") < found["told"].index("grow@a in ")
    assert found["machine"] == [f"{told} (grow@a)"]
    assert found["by"]["grow@a"]["notes"] == [told]


def test_uncommitted_code_and_params_are_made_again_after_they_were_undone(copy):
    stage, params = copy.root / "stages/grow/stage.py", copy.root / "params.yaml"
    stage.write_text(stage.read_text().replace("FACTOR = 0.5", "FACTOR = 0.25"))
    params.write_text(params.read_text().replace("steps: 5", "steps: 3"))
    copy.run("dvc", "repro", "-q", "grow@a")
    weights = (copy.root / "models/pretrained/a/model.safetensors").read_bytes()
    copy.run("git", "checkout", "-q", "--", ".")
    copy.run("dvc", "checkout", "-q", "--force")
    assert (copy.root / "models/pretrained/a/model.safetensors").read_bytes() != weights
    result = rebuilt(copy, hashlib.md5(weights).hexdigest())
    assert verdicts(result) == {"seed@a": "identical", "grow@a": "identical"}
    assert result["targets"][0]["made_md5"] == hashlib.md5(weights).hexdigest()


def test_an_experiment_is_made_again(copy):
    copy.run("dvc", "exp", "run", "-q", "-S", "grow.a.steps=4", "grow@a")
    weights = (copy.root / "models/pretrained/a/model.safetensors").read_bytes()
    copy.run("git", "checkout", "-q", "--", ".")
    shutil.rmtree(copy.root / ".deveno/journal")  # only the run cache tells of it now
    result = rebuilt(copy, hashlib.md5(weights).hexdigest())
    assert verdicts(result)["grow@a"] == "identical"


def test_a_source_that_is_gone_is_restored_and_one_that_changed_is_compared(copy, toys):
    beside = toys.root.parent / "source.txt"
    text = beside.read_text()
    try:
        beside.write_text("not what it was")
        changed = rebuilt(copy, "grow@out", code=4)
        assert verdicts(changed) == {"seed@out": "different", "grow@out": "identical"}
        assert "its recorded bytes" in changed["by"]["seed@out"]["reason"]
        beside.unlink()
        gone = rebuilt(copy, "grow@out")
        assert verdicts(gone) == {"seed@out": "restored", "grow@out": "identical"}
        assert f"its source is gone ({beside} is gone)" in gone["by"]["seed@out"]["reason"]
        shutil.rmtree(copy.root / ".dvc/cache")
        (copy.root / "data/raw/out/text.txt").write_text("damaged")
        shown = copy.deveno("rebuild", "grow@out", check=False)
    finally:
        beside.write_text(text)
    assert shown.returncode == 2
    assert [line.split(":")[0] for line in shown.stderr.splitlines()] == ["error", "where", "do"]
    assert "grow@out in 0.0 s: not made" in shown.stdout


def test_damaged_bytes_are_never_taken_for_the_recorded_ones(copy):
    weights = copy.root / "models/pretrained/a/model.safetensors"
    facts = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as a disk would do it
    assert verdicts(rebuilt(copy, "judge@a", "--from", "parents")) == {"judge@a": "identical"}
    listed = [path for path in (copy.root / ".dvc/cache/files").rglob("*") if path.is_file()]
    good = bytes(data[:-1]) + bytes([data[-1] ^ 1])
    (held,) = [path for path in listed if path.read_bytes() == good]
    held.chmod(0o644)
    held.write_bytes(data)
    shown = copy.deveno("rebuild", "judge@a", "--from", "parents", check=False)
    assert shown.returncode == 2
    assert "models/pretrained/a is not here as judge@a read it" in shown.stderr
    assert verdicts(rebuilt(copy, "judge@a"))["grow@a"] == "identical"  # from raw all is well


def test_a_stage_that_writes_into_its_input_reaches_nothing_of_the_user(toys):
    before = state(toys.root)
    for start in ("raw", "parents"):
        shown = toys.deveno("rebuild", "grow@a", "--from", start, check=False, TOY_NOISE="scribble")
        assert shown.returncode == 2
        assert "data/raw/a changed while grow@a ran" in shown.stderr
    assert state(toys.root) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_breaking_off_leaves_no_process_and_says_what_is_done(toys, number):
    running = subprocess.Popen(
        ["python", "-m", "stages", "rebuild", "judge@a"], cwd=toys.root, text=True,
        env=toys.environment | {"TOY_NOISE": "sleep"}, stdout=subprocess.PIPE,
    )  # fmt: skip
    above = toys.root / ".deveno/rebuilds"
    deadline = time.monotonic() + 60
    while not list(above.glob("*/*/.deveno/journal/grow@a/*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(number)
    told, _ = running.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while naps.processes("", above) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not naps.processes("", above)
    if number != signal.SIGKILL:
        assert running.returncode == 130
        assert "stopped; 1 of 3 were made: seed@a identical" in told
        assert not above.exists()
    rebuilt(toys, "seed@a")  # sweeps what a killed one left


def test_what_is_kept_is_named_and_stays(copy):
    shown = copy.deveno("rebuild", "seed@a", "--keep")
    kept = copy.root / shown.stdout.split("kept in ")[1].split("\n")[0]
    assert list(kept.glob("made/*/data/raw/a/text.txt"))
    copy.deveno("rebuild", "seed@a")
    assert kept.is_dir()


def test_nothing_of_that_name_is_three_lines(toys):
    shown = toys.deveno("rebuild", "models/pretrained/nothing", check=False)
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 3


def test_code_that_no_commit_has_any_more_is_said(copy):
    lock = copy.root / "dvc.lock"
    held = hashlib.md5((copy.root / "stages/grow/stage.py").read_bytes()).hexdigest()
    lock.write_text(lock.read_text().replace(held, "f" * 32))
    shown = copy.deveno("rebuild", "grow@a", check=False)
    assert shown.returncode == 2
    assert "no commit and no snapshot has the code that made grow@a" in shown.stderr
    assert len(shown.stderr.splitlines()) == 3
    assert "seed@a in " in shown.stdout  # what stands above it was made and judged


def test_an_input_that_nobody_recorded_is_taken_as_it_is_held_and_said(copy):
    for name in (".git", ".deveno/journal", ".dvc/cache/runs"):
        shutil.rmtree(copy.root / name)
    entries = yamlfile.read(copy.root / "dvc.lock")
    del entries["stages"]["seed@a"]
    yamlfile.write(copy.root / "dvc.lock", entries)
    copy.run("git", "init", "-q", "-b", "main")
    copy.run("git", "add", "-A")
    copy.run("git", "commit", "-q", "-m", "without a past")
    result = rebuilt(copy, "grow@a")
    assert verdicts(result) == {"grow@a": "identical"}
    (note,) = result["by"]["grow@a"]["notes"]
    assert note.startswith("data/raw/a is as recorded, from the workspace")
