"""The project that `make chaos` kills: three entries, one of which trains with real checkpoints.

Its stage files are ordinary ones. Where DEVENO_TOY_SLOW_S is set, the file layer below them (the
checkpoint's writer, the exchange of folders) is that slow, so that a kill may be aimed into it;
DEVENO_TOY_FAULT plants what the checks must catch.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path

from tests.pipeline import naps
from tests.pipeline.conftest import Clone

MAKERS = {
    "data/words/raw": "words",
    "models/toys/tiny": "train",
    "data/trails/tiny": "train",
    "reports/measures/tiny": "measure",
}
"""The stage that makes each output."""
OUTPUTS = tuple(MAKERS)
TEXTS = ("metrics/train/tiny.json", "plots/train/tiny.csv", "metrics/words/raw.json")
LAYER = '''
    """A slow file layer, a record of lives, and planted faults."""

    import ctypes
    import fcntl
    import json
    import os
    import shutil
    import time
    from pathlib import Path

    from stages.core import publication, run

    SLOW_S = float(os.environ.get("DEVENO_TOY_SLOW_S", "0"))
    FAULT = os.environ.get("DEVENO_TOY_FAULT", "")
    LIVES = Path("lives")
    exchange = publication._exchange


    def slow_exchange(source, target, place, undo):
        time.sleep(SLOW_S)
        if FAULT == "copy" and source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for file in sorted(source.iterdir()):
                shutil.copy(file, target)
                time.sleep(SLOW_S)
        else:
            exchange(source, target, place, undo)
        time.sleep(SLOW_S)


    publication._exchange = slow_exchange
    if FAULT == "lock":
        run._lock = lambda stream, name: None
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)


    def slow_checkpoints(checkpoint):
        """Let a checkpoint's tensors come in two halves with a pause between them."""
        save_file = checkpoint.save_file

        def slowly(tensors, path, metadata=None):
            save_file(tensors, path, metadata=metadata)
            data = path.read_bytes()
            with path.open("wb") as stream:
                stream.write(data[: len(data) // 2])
                stream.flush()
                time.sleep(SLOW_S)
                stream.write(data[len(data) // 2 :])

        checkpoint.save_file = slowly


    def live(entry):
        """Say that this process writes the entry now, and note whoever else does."""
        LIVES.mkdir(exist_ok=True)
        mine = LIVES / f"{entry}.{os.getpid()}"
        mine.write_text(str(time.time()))
        look(entry)


    def look(entry):
        """Note a second living writer; one that is just leaving has half a second for it."""
        for other in LIVES.glob(f"{entry}.*"):
            pid = int(other.suffix[1:])
            if pid == os.getpid():
                continue
            for _ in range(5):
                if not writes(pid):
                    other.unlink(missing_ok=True)
                    break
                time.sleep(0.1)
            else:
                with open("violations.txt", "a") as stream:
                    stream.write(f"two writers of {entry}: {os.getpid()} beside {pid}\\n")


    def writes(pid):
        try:
            return b"execute" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
'''
WORDS = '''
    """Words to train on."""

    from pathlib import Path

    from stages.core import canonical
    from stages.core.declare import Params, stage
    from stages.core.log import Log
    from stages.words import layer


    class WordsParams(Params):
        """Which words."""

        seed: int
        """Where they begin."""


    @stage(version=1, reads={}, writes={"words": "data/words/${key}"})
    def words(params: WordsParams, words: Path, log: Log) -> None:
        """Write three files of numbers."""
        layer.live("words")
        words.mkdir()
        for part in range(3):
            rows = [(params.seed * 7919 + part * 101 + row * row) % 997 for row in range(400)]
            canonical.write_json(words / f"part-{part}.json", rows)
        log.metric("words_count", 1200)
'''
TRAIN = '''
    """A training of a dozen steps that keeps real checkpoints."""

    import json
    import time
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.errors import Resumable
    from stages.core.log import Log
    from stages.words import layer


    class TrainParams(Params):
        """How long."""

        words: str
        """The words."""
        steps: int
        """Updates."""


    @stage(
        version=1,
        reads={"words": "data/words/${item.words}"},
        writes={"model": "models/toys/${key}", "trail": "data/trails/${key}"},
        curves=("loss",),
    )
    def train(params: TrainParams, words: Path, model: Path, trail: Path, log: Log) -> None:
        """Fit a vector to the words, one file a step."""
        import torch
        from safetensors.torch import save_file

        from stages.lm import checkpoint

        layer.live("train")
        layer.slow_checkpoints(checkpoint)
        parts = [json.loads(path.read_text()) for path in sorted(words.iterdir())]
        state = checkpoint.latest(log.scratch, "tiny", log)
        first = state.step if state else 0
        weights = state.tensors["weights"] if state else torch.zeros(400)
        curve = state.facts["curve"] if state else []
        for step, loss in curve:
            log.metric("loss", loss, step=step)
        for step in range(first, params.steps):
            wanted = torch.tensor(parts[step % 3], dtype=torch.float32)
            weights = weights + (wanted - weights) / (step + 2)
            loss = float((wanted - weights).square().mean())
            log.metric("loss", loss, step=step)
            curve.append([step, loss])
            time.sleep(0.1)
            layer.look("train")
            stopping = log.stopping
            if stopping or step % 4 == 3:
                found = checkpoint.State(step + 1, {"weights": weights}, {"curve": curve})
                checkpoint.save(log.scratch, "tiny", found)
            if stopping:
                raise Resumable("training was stopped", f"step {step + 1}", "run it again")
        for folder in (model, trail):
            folder.mkdir()
        save_file({"weights": weights}, model / "model.safetensors")
        (model / "config.json").write_text(json.dumps({"steps": params.steps}))
        for number in range(3):
            (trail / f"trail-{number}.json").write_text(json.dumps(curve[number::3]))
'''
MEASURE = '''
    """What the training came to."""

    from pathlib import Path

    from stages.core import canonical
    from stages.core.declare import Params, stage
    from stages.core.log import Log
    from stages.words import layer


    class MeasureParams(Params):
        """Of what."""

        model: str
        """The model."""


    @stage(
        version=1,
        reads={"model": "models/toys/${item.model}"},
        writes={"measure": "reports/measures/${key}"},
    )
    def measure(params: MeasureParams, model: Path, measure: Path, log: Log) -> None:
        """Digest the model."""
        layer.live("measure")
        measure.mkdir()
        digests = {path.name: canonical.file_digest(path) for path in sorted(model.iterdir())}
        canonical.write_json(measure / "digests.json", digests)
'''
RECIPE = """
    # What is killed.
    words:
      raw: {seed: 0}
    train:
      tiny: {words: raw, steps: 12}
    measure:
      tiny: {model: tiny}
"""


def make(folder: Path, slow_s: float, fault: str = "") -> Clone:
    """Make the project with its recipe in force."""
    clone = naps.make(folder)
    texts = {"words/layer.py": LAYER}
    for name, text in (("words", WORDS), ("train", TRAIN), ("measure", MEASURE)):
        texts |= {f"{name}/__init__.py": '"""A stage."""\n', f"{name}/stage.py": text}
    for name in ("__init__.py", "checkpoint.py"):
        texts[f"lm/{name}"] = (naps.ROOT / "stages/lm" / name).read_text(encoding="utf-8")
    texts["recipes/chaos.yaml"] = RECIPE
    for name, text in texts.items():
        path = folder / "stages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    clone.environment |= {"DEVENO_TOY_SLOW_S": str(slow_s), "DEVENO_TOY_FAULT": fault}
    clone.environment |= {
        "DEVENO_GRACE_S": "8",
        "DEVENO_PREFECT": os.environ.get("DEVENO_PREFECT", "on"),
    }
    clone.deveno("sync")
    clone.deveno("use", "chaos", "--force")
    return clone


def turn(clone: Clone, seed: int) -> None:
    """Ask for other words, so that all is to be made again; nothing cached may serve."""
    path = clone.root / "params.yaml"
    rows = path.read_text(encoding="utf-8").splitlines()
    rows = [f"    seed: {seed}" if row.strip().startswith("seed:") else row for row in rows]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    shutil.rmtree(clone.root / ".dvc" / "cache", ignore_errors=True)
