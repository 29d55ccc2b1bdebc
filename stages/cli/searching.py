"""`deveno try corpus TEXT`: whether a text stands in a corpus, and where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core import references, registry
from stages.core.errors import ArtifactError, UnknownEntryError

ALL = "corpus"
"""Instead of an entry: every corpus that params name and that has been made."""
PLACE = "corpora/"
STAGE = "refine"


def is_corpus(graph: references.Graph, name: str) -> bool:
    """Return whether what is tried is a corpus: `corpus`, `corpora/eo`, `refine@eo`, a bare key.

    A key that some other stage has too means that one.
    """
    if name.startswith((PLACE, f"{STAGE}@")):
        return True
    stages = {entry.stage.name for entry in graph.values() if entry.key == name}
    return stages == {STAGE} or (name == ALL and not stages)


def folders(graph: references.Graph, name: str, root: Path) -> dict[str, Path]:
    """Return the corpus folders that a name means, by entry key; they have been made."""
    known = {
        entry.key: root / next(iter(entry.writes.values()))
        for entry in graph.values()
        if entry.stage.name == STAGE
    }
    if name == ALL and name not in known:
        made = {key: folder for key, folder in known.items() if _made(folder)}
        if not made:
            raise ArtifactError(
                "no corpus has been made yet", "data/corpora", "run `deveno run` first"
            )
        return made
    key = name.removeprefix(PLACE).removeprefix(f"{STAGE}@")
    if key not in known:
        raise UnknownEntryError(
            f"there is no corpus {key!r}",
            f"{references.PARAMS}: {STAGE}",
            registry.near(key, list(known)),
        )
    if not _made(known[key]):
        raise ArtifactError(
            f"{STAGE}@{key} has not been made yet",
            str(known[key].relative_to(root)),
            f"run `deveno run {STAGE}@{key}`",
        )
    return {key: known[key]}


def _made(folder: Path) -> bool:
    return (folder / "corpus.json").is_file()


def answer(named: dict[str, Path], texts: list[str]) -> list[Any]:
    """Return by text what each corpus holds of it."""
    from stages.lm import membership

    found = {key: membership.search(folder, texts) for key, folder in named.items()}
    return [
        {f"corpora/{key}": rows[number] for key, rows in found.items()}
        for number in range(len(texts))
    ]


VERDICTS = {
    "exact": "stands in it, byte for byte",
    "words": "stands in it, but for letter case or what stands between words",
    "part": "stands in it in part",
    "near": "stands not in it; like documents do",
    "no": "stands not in it",
}


def lines(text: str, result: dict[str, Any]) -> Iterator[str]:
    """Yield an answer for people."""
    yield text
    for corpus, row in result.items():
        yield f"  {corpus}: {VERDICTS[row['found']]}"
        for one in row["documents"]:
            yield f"    {_where(one)}"
        more = row["documents_count"] - len(row["documents"])
        if more > 0:
            yield f"    and {more} more"
        if row["passages"]:
            yield f"    {row['covered_words']} of {row['words']} words in passages:"
        for one in row["passages"]:
            yield f'    "{one["text"]}" ({one["words"]} words) {_where(one)}'
        for one in row["near"]:
            yield f"    near {_where(one)}, Jaccard about {one['estimated_jaccard']:.2f}"
        if row["found"] != "no":
            yield f"    licence: {', '.join(row['licences']) or 'not stated'}"


def _where(row: dict[str, Any]) -> str:
    place = f", byte {row['offset_bytes']}" if "offset_bytes" in row else ""
    return f"document {row['id']} ({row['split']}, from {row['source']}){place}"
