"""A throw-away project of four toy stages that compute real tensors: what rebuilding is tried on.

`TOY_NOISE=<what>` in the environment makes the `grow` stage misbehave, undeclared as a real fault
would be: `coin` draws from the system's entropy, `<number>@<step>` adds that number from that step,
`scribble` writes into its input, `sleep` never ends, `seen:<text>` adds one unless that text is
what says which GPUs it sees.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path

from tests.pipeline.conftest import BIN, ROOT, Clone

COPIED = (
    "stages/__init__.py", "stages/__main__.py", "stages/core", "stages/cli", "stages/lm", "flows",
    "pyproject.toml", "requirements.lock", ".gitignore", ".dvcignore", ".dvc/config",
    ".dvc/.gitignore", "data/none/.keep", "models/none/.keep",
)  # fmt: skip
STAGES = {
    "seed": '''
        """A stage that brings text in."""

        from pathlib import Path

        from stages.core.declare import Params, stage
        from stages.core.errors import SourceError
        from stages.core.log import Log


        class SeedParams(Params):
            """From where."""

            folder: str = "data/none"
            """The folder of own files."""
            source: str = ""
            """A file outside the repository."""
            text: str = "abc"
            """Text where there is no file."""


        @stage(version=1, reads={"given": "${item.folder}"}, writes={"raw": "data/raw/${key}"})
        def seed(params: SeedParams, given: Path, raw: Path, log: Log) -> None:
            """Bring text in."""
            if params.source and not Path(params.source).exists():
                raise SourceError(f"{params.source} is gone", "seed: source", "bring it back")
            own = "".join(path.read_text() for path in sorted(given.glob("*.txt")))
            text = Path(params.source).read_text() if params.source else params.text
            raw.mkdir()
            (raw / "text.txt").write_text(own + text)
            log.metric("characters_count", len(own + text))
    ''',
    "grow": '''
        """A stage that trains, in its way."""

        import os
        import time
        from pathlib import Path

        import numpy as np
        from safetensors.numpy import save_file

        from stages.core.declare import Params, stage
        from stages.core.log import Log

        FACTOR = 0.5


        class GrowParams(Params):
            """How long."""

            raw: str
            """The text."""
            steps: int = 5
            """Steps."""


        @stage(
            version=1,
            reads={"raw": "data/raw/${item.raw}"},
            writes={"model": "models/pretrained/${key}"},
            curves=("loss",),
        )
        def grow(params: GrowParams, raw: Path, model: Path, log: Log) -> None:
            """Train."""
            noise = os.environ.get("TOY_NOISE", "")
            text = (raw / "text.txt").read_bytes()
            if noise == "scribble":
                (raw / "text.txt").write_bytes(text + b"!")
            if noise == "sleep":
                time.sleep(600)
            weight = np.frombuffer(text * 64, np.uint8)[:64].astype(np.float32)
            for step in range(1, params.steps + 1):
                weight = weight * np.float32(FACTOR)
                if noise == "coin":
                    weight[0] += os.urandom(1)[0] + 1
                elif noise[:5] == "seen:":
                    weight[0] += noise[5:] != os.environ.get("CUDA_VISIBLE_DEVICES")
                elif "@" in noise and step >= int(noise.split("@")[1]):
                    weight[0] += np.float32(noise.split("@")[0])
                log.metric("loss", float(weight.sum()), step=step)
            model.mkdir()
            tensors = {"bias": np.ones(2, np.float32), "weight": weight}
            save_file(tensors, model / "model.safetensors")
    ''',
    "judge": '''
        """A stage that judges."""

        from pathlib import Path

        import numpy as np
        from safetensors.numpy import load_file

        from stages.core.canonical import write_json
        from stages.core.declare import Params, stage
        from stages.core.log import Log


        class JudgeParams(Params):
            """What."""

            model: str
            """The model."""


        @stage(
            version=1,
            reads={"model": "models/pretrained/${item.model}"},
            writes={"scores": "reports/evaluate/${key}"},
        )
        def judge(params: JudgeParams, model: Path, scores: Path, log: Log) -> None:
            """Judge."""
            weight = load_file(model / "model.safetensors")["weight"]
            write_json(scores / "scores.json", {"mean": float(np.mean(weight)), "count": 64})
            log.metric("mean", float(np.mean(weight)))
    ''',
    "clock": '''
        """A stage that measures."""

        import time
        from pathlib import Path

        from stages.core.canonical import write_json
        from stages.core.declare import Params, stage
        from stages.core.log import Log


        class ClockParams(Params):
            """What."""

            model: str
            """The model."""


        @stage(
            version=1,
            reads={"model": "models/pretrained/${item.model}"},
            writes={"timing": "reports/benchmark/${key}"},
            machine_bound="it holds times",
        )
        def clock(params: ClockParams, model: Path, timing: Path, log: Log) -> None:
            """Measure."""
            write_json(timing / "latency.json", {"time_s": time.time()})
    ''',
}  # fmt: skip
RECIPE = """
    # Four toys.
    seed:
      a: {text: "abcdefgh"}
      out: {source: "SOURCE"}
    grow:
      a: {raw: a}
      out: {raw: out, steps: 2}
    judge:
      a: {model: a}
    clock:
      a: {model: a}
"""


def make(folder: Path) -> Clone:
    """Make the project, run it by plain DVC, and commit what ran; its source lies beside it."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    beside = folder.parent / "source.txt"
    beside.write_text("from elsewhere", encoding="utf-8")
    texts = {f"stages/{name}/stage.py": text for name, text in STAGES.items()}
    texts |= {f"stages/{name}/__init__.py": f'"""{name}."""\n' for name in STAGES}
    texts["stages/recipes/toys.yaml"] = RECIPE.replace("SOURCE", str(beside))
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    user = folder.parent / f"{folder.name}-user"
    user.mkdir()
    clone = Clone(folder, environment(user))
    clone.run("git", "init", "-q", "-b", "main")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    clone.deveno("sync")
    clone.deveno("use", "toys", "--force")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "start")
    clone.run("dvc", "repro", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "made")
    return clone


def environment(user: Path) -> dict[str, str]:
    """Return the variables of a user whose home is that folder."""
    return {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(user),
        "DEVENO_TRACKING": "off",
        "DEVENO_KERNELS": os.environ["DEVENO_KERNELS"],  # compiled once for all
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@localhost",
    }  # fmt: skip
