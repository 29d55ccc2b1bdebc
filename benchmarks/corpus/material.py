"""The texts that every row reads: the shared Esperanto set, generated text, Python source.

Each is an Arrow file (IPC, one column `text` of large strings), written once under
`.deveno/bench/` of the checkout and reused: contestants open it by path.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import zstandard

from benchmarks.corpus.rounds import ROOT

KEPT = ROOT / ".deveno" / "bench"
SHARED = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared")) / "data"


def save(path: Path, texts: Sequence[str]) -> Path:
    """Write texts as an Arrow file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    with pa.OSFile(str(path) + ".part", "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    Path(str(path) + ".part").replace(path)
    return path


def load(path: Path) -> pa.ChunkedArray:
    """Return the column of an Arrow file, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()["text"]


def esperanto() -> list[str]:
    """Return the shared Esperanto texts: books cut at blank lines into documents of some kB."""
    made: list[str] = []
    for path in sorted(SHARED.glob("eo_*/**/*")):
        if path.name.endswith((".txt", ".txt.gz")):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(
                "utf-8", "replace"
            )
            made += documents(text)
    return made


def documents(text: str, least: int = 2000) -> Iterator[str]:
    """Cut a text at blank lines into documents of at least so many characters."""
    held: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        held.append(paragraph)
        size += len(paragraph)
        if size >= least:
            yield "\n\n".join(held)
            held, size = [], 0
    if size:
        yield "\n\n".join(held)


def python_source(size_mb: float) -> list[str]:
    """Return files of the standard library and of this environment's packages, up to a size."""
    folders = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib")]
    made, total = [], 0
    for path in sorted(set().union(*(folder.rglob("*.py") for folder in folders))):
        text = path.read_bytes().decode("utf-8", "replace")
        if text.strip():
            made.append(text)
            total += len(text)
        if total >= size_mb * 1e6:
            break
    return made


def generated(size_mb: float) -> Path:
    """Return an Arrow file of about so much text of the embedded generator (10 MB per CPU second).

    It holds what the generator planted: near-duplicates, boilerplate, noise.
    """
    path = KEPT / f"generated-{size_mb:g}.arrow"
    if not path.exists():
        folder = KEPT / f"generated-{size_mb:g}"
        shutil.rmtree(folder, ignore_errors=True)
        code = (
            "import sys; from pathlib import Path; from stages.core.log import Log\n"
            "from stages.acquire.generator.corpus import generate\n"
            "from stages.acquire.generator.parameters import GeneratorParams\n"
            "generate(GeneratorParams(size_mb=float(sys.argv[2])), Path(sys.argv[1]), Log())"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", code, str(folder), str(size_mb)], env=environment, check=True
        )
        save(path, list(_texts(folder)))
        shutil.rmtree(folder)
    return path


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "files").glob("documents-*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def plant(
    texts: Sequence[str], count: int, similarities: Iterable[float], ngram: int = 5, seed: int = 1
) -> tuple[list[str], list[dict[str, float]]]:
    """Return the texts with altered copies among them, and what was planted.

    A copy has single words replaced, far apart, so that of H shingles k words take 5 k away and the
    similarity is (H - 5 k) / (H + 5 k); the truth is what an exact comparison says of the pair
    afterwards. A copy stands behind its original.
    """
    draw = random.Random(seed)
    wanted = list(similarities)
    long = [place for place, text in enumerate(texts) if 80 <= text.count(" ") <= 2000]
    made, truth = list(texts), []
    for number, place in enumerate(draw.sample(long, min(count, len(long)))):
        words = texts[place].split(" ")
        similarity = wanted[number % len(wanted)]
        changes = round((len(words) - ngram + 1) * (1 - similarity) / (ngram * (1 + similarity)))
        step = len(words) / max(1, changes)
        for change in range(changes):
            words[int(step * (change + draw.random() * 0.5))] = f"nova{draw.randrange(10**6)}"
        made.append(" ".join(words))
        truth.append({"original": place, "copy": len(made) - 1, "aimed": similarity})
    return made, truth
