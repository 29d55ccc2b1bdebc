"""What a gigabyte costs each data stage: here, in workers, in memory, on the way between machines.

    python -m benchmarks.rates [--sizes 32,96]

Runs acquire (the generator), refine, tokenizer and encode on generated text of two sizes, each in
a process of its own, and writes benchmarks/rates.json, which `deveno forecast` reads. The engine
is one that works in this process and counts: CPU seconds of work that could be handed out, and the
bytes of what would travel there and back. What grows with the text is told by the difference of the
sizes, what does not by the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stages.core import canonical, machine
from stages.core.log import Log
from stages.lm import engines

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "rates.json"
STAGES = ("acquire", "refine", "tokenizer", "encode")

WARM_MB = 4.0
STOP_WORDS = ["la", "kaj", "de", "en", "al", "estas", "ne", "por", "kun", "sed"]


class Counting(engines.Engine):
    """Works here; counts what another engine's workers would do and be sent."""

    name = "counting"

    def __init__(self) -> None:
        self.work_s, self.pieces, self.there, self.back = 0.0, 0, 0, 0
        self._shared: list[Any] = []

    def share(self, value: Any) -> Any:
        """Count a value once: every machine fetches it once."""
        self._shared.append(value)
        self.there += _size(value)
        return value

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        """Hand out work as a local engine does."""
        return partial(self._counted, work, arguments)

    def _counted(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        own = [one for one in arguments if not any(one is shared for shared in self._shared)]
        self.there += _size(own)
        before = time.process_time()
        found = work(*arguments)
        self.work_s += time.process_time() - before
        self.back += _size(found)
        self.pieces += 1
        return found


def _size(value: Any) -> int:
    """Return how many bytes a value holds: what is sent of it, without the form it is sent in."""
    if isinstance(value, (bytes, str)):
        return len(value)
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(_size(one) for pair in value.items() for one in pair)
    if isinstance(value, (list, tuple, set)):
        return sum(_size(one) for one in value)
    if dataclasses.is_dataclass(value):
        return sum(_size(getattr(value, one.name)) for one in dataclasses.fields(value))
    return 8


class Memory:
    """Watches the anonymous and shared memory of this process (page cache apart)."""

    def __init__(self) -> None:
        self.first = self.most = self._now()
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, self._now())

    def stop(self) -> int:
        """Return the most it was."""
        self._done.set()
        self._watch.join()
        return max(self.most, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        named = dict(line.split(":", 1) for line in lines)
        return sum(1024 * int(named[name].split()[0]) for name in ("RssAnon", "RssShmem"))


def child(stage: str, size_mb: float, folder: Path) -> dict[str, Any]:
    """Run one stage and return what it cost."""
    counting = Counting()

    @contextlib.contextmanager
    def engine(log: Log) -> Iterator[engines.Engine]:
        yield counting

    engines.engine = engine
    run = globals()[f"_{stage}"]
    log = Log(scratch=folder / "scratch" / stage)
    log.scratch.mkdir(parents=True, exist_ok=True)
    memory, before, begun = Memory(), time.process_time(), time.perf_counter()
    run(size_mb, folder, log)
    return {
        "cpu_s": round(time.process_time() - before, 3),
        "wall_s": round(time.perf_counter() - begun, 3),
        "work_s": round(counting.work_s, 3),
        "pieces": counting.pieces,
        "bytes_there": counting.there,
        "bytes_back": counting.back,
        "memory_bytes": memory.stop(),
        "written_bytes": _weight(folder / stage),
    }


def _acquire(size_mb: float, folder: Path, log: Log) -> None:
    from stages.acquire.stage import AcquireParams, acquire

    params = AcquireParams.model_validate(
        {"source": {"kind": "generator", "size_mb": size_mb, "annotated_share": 0.01}}
    )
    acquire(params, folder / "none", folder / "acquire", log)


def _refine(size_mb: float, folder: Path, log: Log) -> None:
    from stages.refine.corpus import make_corpus
    from stages.refine.settings import RefineParams

    sets = ["gopher-quality", "gopher-repetition", "c4", "fineweb"]
    # The generator's documents are short, and Esperanto: rules count everything, few drop.
    filters = {"rule_sets": sets, "counting": {"stop_words": STOP_WORDS}}
    params = RefineParams.model_validate({"raw": "made", "filters": filters})
    none = folder / "none"
    make_corpus(params, [folder / "acquire"], [], None, none, none, folder / "refine", log)


def _tokenizer(size_mb: float, folder: Path, log: Log) -> None:
    from stages.tokenizer.stage import TokenizerParams, tokenizer

    params = TokenizerParams.model_validate({"corpus": "made", "vocab_size": 2000})
    tokenizer(params, folder / "refine", folder / "none", folder / "tokenizer", log)


def _encode(size_mb: float, folder: Path, log: Log) -> None:
    from stages.encode.stage import EncodeParams, encode

    params = EncodeParams.model_validate(
        {"corpus": "made", "tokenizer": "made", "sequence_length": 1024}
    )
    encode(params, folder / "refine", folder / "tokenizer", folder / "none", folder / "encode", log)


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(size_mb: float, place: Path) -> dict[str, Any]:
    """Return what every stage cost at one size, and how much text that was."""
    folder = place / f"{size_mb:g}"
    found: dict[str, Any] = {}
    for stage in STAGES:
        command = [sys.executable, "-m", "benchmarks.rates", "--child", stage, str(size_mb)]
        shown = subprocess.run(
            [*command, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if shown.returncode:
            raise SystemExit(shown.stderr)
        found[stage] = json.loads(shown.stdout.splitlines()[-1])
        print(f"{size_mb:g} MB {stage}: {found[stage]}", flush=True)
    read = json.loads((folder / "refine" / "ledger.json").read_text(encoding="utf-8"))["rules"][0]
    kept = json.loads((folder / "refine" / "corpus.json").read_text(encoding="utf-8"))["splits"]
    shutil.rmtree(folder)
    return {
        "documents": read["documents_in"],
        "characters": read["characters_in"],
        "bytes": round(size_mb * 1e6),
        "kept_bytes": sum(split["bytes"] for split in kept.values()),
        "stages": found,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="32,96", help="two sizes in MB")
    parser.add_argument("--child", nargs=3, metavar=("STAGE", "MB", "FOLDER"))
    options = parser.parse_args()
    if options.child:
        stage, size_mb, folder = options.child
        print(json.dumps(child(stage, float(size_mb), Path(folder))))
        return
    sizes = [float(text) for text in options.sizes.split(",")]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rates-") as place:
        measured(WARM_MB, Path(place))  # compiles kernels, and fills the page cache with code
        runs = [measured(size_mb, Path(place)) for size_mb in sorted(sizes)]
    facts = machine.facts()
    canonical.write_json(
        RESULT,
        {
            "command": f"python -m benchmarks.rates --sizes {options.sizes}",
            "machine": {"cpu": facts["cpu_model"], "cores": facts["cores"]},
            "load_average_before": round(load, 2),
            "runs": runs,
        },
    )
    print(f"wrote {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
