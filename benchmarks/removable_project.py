"""The project in which MLflow dies: two trainings that may be held at half, and a score."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.pipeline import naps
from tests.pipeline.conftest import Clone

LEARN = '''
    """A stage that trains; at half of it, it waits for a file, if it is told to."""

    import json
    import os
    import time
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class LearnParams(Params):
        """How long."""

        after: str = "none"
        """The model before, such as `learnt/a`."""
        steps: int
        """Updates."""


    @stage(
        version=1,
        reads={"before": "models/${item.after}"},
        writes={"model": "models/learnt/${key}"},
        curves=("loss_nats",),
    )
    def learn(params: LearnParams, before: Path, model: Path, log: Log) -> None:
        """Halve a loss."""
        losses = []
        gate = os.environ.get("DEVENO_TOY_GATE", "")
        for step in range(params.steps):
            while gate and step == params.steps // 2 and not Path(gate).exists():
                time.sleep(0.05)
            losses.append(1 / (step + 1))
            log.metric("loss_nats", losses[-1], step=step)
        model.mkdir()
        (model / "weights.json").write_text(json.dumps(losses))
        log.metric("best_nats", min(losses))
'''
JUDGE = '''
    """A stage that scores a model."""

    import json
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class JudgeParams(Params):
        """Which."""

        model: str
        """The model, such as `learnt/a`."""


    @stage(
        version=1,
        reads={"model": "models/${item.model}"},
        writes={"scores": "reports/judge/${key}"},
    )
    def judge(params: JudgeParams, model: Path, scores: Path, log: Log) -> None:
        """Judge."""
        losses = json.loads((model / "weights.json").read_text())
        scores.mkdir()
        (scores / "scores.json").write_text(json.dumps({"mean": sum(losses) / len(losses)}))
        log.metric("mean_nats", sum(losses) / len(losses))
        log.metric("best_nats", min(losses))
'''
RECIPE = """
    # Two trainings and a score.
    learn:
      a: {steps: 60}
      b: {after: learnt/a, steps: 20}
    judge:
      a: {model: learnt/a}
"""


def make(folder: Path) -> Clone:
    """Make the project."""
    clone = naps.make(folder)
    for name, text in (("learn", LEARN), ("judge", JUDGE)):
        place = folder / "stages" / name
        place.mkdir()
        (place / "__init__.py").write_text('"""A stage."""\n', encoding="utf-8")
        (place / "stage.py").write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    recipe = textwrap.dedent(RECIPE).lstrip("\n")
    (folder / "stages/recipes/learning.yaml").write_text(recipe, encoding="utf-8")
    clone.deveno("sync")
    clone.deveno("use", "learning", "--force")
    clone.environment |= {"DEVENO_PREFECT": "off"}
    return clone
