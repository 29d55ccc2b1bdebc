"""English text for rules that were written for English: the shared sets, and Python source.

Encyclopedia sentences are grouped into documents of 1 to 40, so that many lie near the thresholds
of length, one sentence a line or all in one line; read-aloud sentences likewise; abstracts are one
document each. Some documents get what rules look for: an item's bullet, a repeated line, a notice
of cookies, a citation, a bracket, an address.
"""

from __future__ import annotations

import bz2
import gzip
import json
import random
from collections.abc import Iterator, Sequence

from benchmarks.corpus import material

ADDED = (
    "We use cookies to improve this page.", "Please enable JavaScript to see it.",
    "- an item of a list", "• another item", "and so on...", "Read more…", "[1]", "#tag #other",
    "a = {1: 2}", "See http://www.example.org/a/b?c=d for more.", "Don't e-mail me@example.org.",
    "12.5km in 1990s, e.g. the U.S. and p.m. hours", "Terms of use", "", "* * *", "2 + 2 = 4",
)  # fmt: skip


def _groups(sentences: Sequence[str], draw: random.Random) -> Iterator[str]:
    at = 0
    while at < len(sentences):
        size = draw.choice((1, 2, 3, 4, 5, 6, 8, 12, 20, 40))
        held = list(sentences[at : at + size])
        at += size
        for _ in range(draw.choice((0, 0, 0, 1, 2, size))):
            held.insert(draw.randrange(len(held) + 1), draw.choice((*ADDED, draw.choice(held))))
        yield draw.choice(("\n", "\n", " ", "\n\n")).join(held)


def texts(size_mb: float, code_mb: float = 1.0, seed: int = 7) -> list[str]:
    """Return English documents up to a size, and behind them files of Python up to another."""
    draw = random.Random(seed)
    folder = material.SHARED
    crawl = bz2.decompress((folder / "wikipedia_sentences/enwiki.crp.txt.bz2").read_bytes())
    encyclopedia = [line.split("\t", 1)[-1].strip() for line in crawl.decode().split("\n")]
    spoken: list[str] = []
    for path in sorted((folder / "multilingual_raw_commonvoice").glob("**/en*/**/*.txt*")):
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        spoken += [line for line in text.split("\n") if line.strip()]
    abstracts = []
    for path in sorted((folder / "scitldr_a").glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            source = json.loads(line)["source"]
            abstracts.append(draw.choice(("\n", " ")).join(source))
    made = [*_groups(encyclopedia, draw), *_groups(spoken, draw), *abstracts]
    draw.shuffle(made)
    kept, total = [], 0.0
    for text in made:
        if total >= size_mb * 1e6:
            break
        kept.append(text)
        total += len(text)
    return kept + material.python_source(code_mb)
