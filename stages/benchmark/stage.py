"""The declaration of `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from stages.core.declare import FloatParams, stage
from stages.core.log import Log

Count = Annotated[int, Field(ge=1)]
Length = Annotated[int, Field(ge=2)]


class BenchmarkParams(FloatParams):
    """Which formats of one tagger are timed, over which grid, and how often.

    `threads` is what the untimed passes compute with (opening, memory); the timed ones follow
    `threads_grid`.
    """

    model: str
    """The tagger in torch that the others are compared with: `<folder>/<entry>` under models/."""
    second: str = "none"
    """The same tagger in another format, such as `exported/pos-onnx`; or `none`."""
    third: str = "none"
    """The same tagger in a third format, such as `exported/pos-int8`; or `none`."""
    batches: list[Count] = Field([1, 8], min_length=1)
    """Sequences per call."""
    lengths: list[Length] = Field([16, 64, 128], min_length=1)
    """Tokens per sequence, special ones included; no padding."""
    threads_grid: list[Count] = Field([1, 2], min_length=1)
    """Threads per call; counts above the usable cores are skipped and named in machine.json."""
    rounds: int = Field(30, ge=3)
    """Timed calls of every variant in every cell of the grid."""
    warmup: int = Field(5, ge=1)
    """Untimed calls of every variant before a cell is timed."""
    cell_limit_s: float = Field(3.0, gt=0)
    """Time after which a cell stops early, with at least 3 rounds; `n` of its rows says how many.
    On a busy machine two threads that wait for each other can be a hundred times slower."""
    touch_mib: int = Field(256, ge=0)
    """Memory touched before anything is timed: a page never used can cost 28 us, and the first
    variant would pay (performance page, section 0)."""
    seed: int = Field(0, ge=0)
    """Seed of the token ids and of the order in which variants take turns."""


@stage(
    version=1,
    reads={
        "model": "models/${item.model}",
        "second": "models/${item.second}",
        "third": "models/${item.third}",
    },
    writes={"latency": "reports/benchmark/${key}"},
    machine_bound="it holds times that this machine took",
)
def benchmark(
    params: BenchmarkParams, model: Path, second: Path, third: Path, latency: Path, log: Log
) -> None:
    """Time a tagger in several formats over batch, length and threads, turn by turn."""
    from stages.benchmark import grid

    folders = [(params.model, model), (params.second, second), (params.third, third)]
    grid.run(params, [named for named in folders if named[0] != "none"], latency, log)
