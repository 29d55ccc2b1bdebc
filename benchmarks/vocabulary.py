"""Vocabulary search: the grid of a recipe on real text, with a small model on each at equal bytes.

    python -m benchmarks.vocabulary [--recipe vocabulary] [--mb 1] [--only bpe-500,bpe-1000]

Every tokenizer of the recipe is learned from the shared Esperanto text (DEVENO_TEST_DATA), its
tokens are packed and its model trained by the stages themselves, with the recipe's parameters; all
models see the same number of bytes and are measured on the same held-out text. A vocabulary is
best where no other is at once as small, as short and as good (fewer tokens in the vocabulary, more
bytes per token, fewer bits per byte). On other text: `deveno use vocabulary`, another source,
`deveno run`; the page shows the same table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import material, rounds
from stages.core import canonical, recipes, registry
from stages.core.log import Log
from stages.lm import tables
from stages.lm.frontier import unbeaten

RESULT = Path(__file__).with_suffix(".json")
SPLITS = {"test": 5, "valid": 10, "train": 100}
"""Below which of 100 the hash of a text puts it into a split."""
PIECE = 2000
"""Characters of a document at least."""
TOLERANCE = 0.02
"""Of equal bytes: a run ends with a whole batch."""


def chosen(texts: Iterable[str], megabytes: float) -> list[str]:
    """Return distinct texts in the order of their hashes, so many megabytes of them."""
    ranked = sorted({_rank(text): text for text in texts}.items())
    found, size = [], 0
    for _, text in ranked:
        size += len(text.encode("utf-8"))
        if size > megabytes * 1e6:
            break
        found.append(text)
    return found


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """Cut long documents between lines, so that held-out text is many pieces of many books."""
    for text in texts:
        held, size = [], 0
        for line in text.split("\n"):
            held.append(line)
            size += len(line)
            if size >= PIECE:
                yield "\n".join(held)
                held, size = [], 0
        if size >= PIECE // 4:
            yield "\n".join(held)


def _rank(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_corpus(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Write a corpus of the kind `text`; returns what it holds by split."""
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for text in texts:
        place = int(_rank(text)[-8:], 16) % 100
        parts[next(name for name, below in SPLITS.items() if place < below)].append(text)
    splits: dict[str, Any] = {}
    for split, given in parts.items():
        with tables.ShardWriter(folder, split, tables.TEXT_SCHEMA) as writer:
            for text in given:
                writer.add({"id": _rank(text)[:16], "text": text, "source": "shared"})
        splits[split] = {
            "documents": len(given),
            "characters": sum(map(len, given)),
            "bytes": sum(len(text.encode("utf-8")) for text in given),
            "shards": writer.shards,
        }
    canonical.write_json(folder / "corpus.json", {"kind": "text", "splits": splits})
    return splits


def call(name: str, params: dict[str, Any], root: Path, **folders: Path) -> None:
    """Run a stage; what it may read and is not given here is an empty folder."""
    stage = registry.get(name)
    none = root / "none"
    none.mkdir(exist_ok=True)
    given = {key: folders.get(key, none) for key in (*stage.reads, *stage.writes)}
    made = folders[next(iter(stage.writes))]
    log = Log(scratch=made.parent / f"{made.name}-scratch")
    stage.function(params=stage.params.model_validate(params), log=log, **given)


def row(name: str, sections: dict[str, Any], corpus: Path, root: Path) -> dict[str, Any]:
    """Learn, encode and train one cell of the grid; returns its row of the table."""
    at = root / name
    given = sections["tokenizer"][name]
    call("tokenizer", given, root, corpus=corpus, tokenizer=at / "tokenizer")
    folders = {"tokenizer": at / "tokenizer", "tokens": at / "tokens"}
    call("encode", sections["encode"][name], root, corpus=corpus, **folders)
    call("pretrain", sections["pretrain"][name], root, model=at / "model", **folders)
    report = json.loads((at / "tokenizer" / "report.json").read_text(encoding="utf-8"))
    trained = json.loads((at / "model" / "training.json").read_text(encoding="utf-8"))
    kinds = report["tokens_by_kind"]
    return {
        "name": name,
        "algorithm": given["algorithm"],
        "vocabulary_tokens": report["vocabulary_tokens"],
        "bytes_per_token": round(report["bytes_per_token"], 4),
        "tokens_per_word": round(report["tokens_per_word"], 4),
        "kept_whole_fraction": round(report["kept_whole_fraction"], 4),
        "unused_on_held_out": kinds["unused"],
        "unreachable": kinds["unreachable"],
        "parameters": trained["parameters"],
        "trained_bytes": trained["text_bytes"],
        "trained_tokens": trained["tokens"],
        "multiplications_per_byte": round(
            3 * trained["parameters"] * trained["tokens"] / trained["text_bytes"]
        ),
        "bits_per_byte": round(trained["scores"]["valid_bits_per_byte"], 4),
    }


def marked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the best marked."""
    costs = [
        (one["vocabulary_tokens"], -one["bytes_per_token"], one["bits_per_byte"]) for one in rows
    ]
    return [one | {"best": best} for one, best in zip(rows, unbeaten(costs), strict=True)]


def main(arguments: Sequence[str]) -> None:
    """Search and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", default="vocabulary")
    parser.add_argument("--mb", type=float, default=1.0)
    parser.add_argument("--only", default="")
    how = parser.parse_args(arguments)
    sections = recipes.complete(recipes.read(rounds.ROOT, how.recipe), how.recipe)
    names = [name for name in sections["tokenizer"] if not how.only or name in how.only.split(",")]
    with tempfile.TemporaryDirectory() as held:
        root = Path(held)
        splits = write_corpus(root / "corpus", chosen(pieces(material.esperanto()), how.mb))
        rows = []
        for name in names:
            rows.append(row(name, sections, root / "corpus", root))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    seen = [one["trained_bytes"] for one in rows]
    result = {
        "command": "python -m benchmarks.vocabulary",
        "grid": f"stages/recipes/{how.recipe}.yaml",
        "text": {"name": "shared Esperanto", "splits": splits},
        "rows": marked(rows),
        "equal_bytes": max(seen) <= (1 + TOLERANCE) * min(seen),
    }
    if not how.only:
        canonical.write_json(RESULT, result)
    for one in result["rows"]:
        mark = "*" if one["best"] else " "
        print(mark, one["name"], one["vocabulary_tokens"], one["bytes_per_token"],
              one["bits_per_byte"])  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
