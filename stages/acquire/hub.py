"""Data sets in the layout of the Hugging Face hub, streamed row by row into JSON lines.

Rows are kept in parts with the reader's state behind them, so a killed run reads its parts again
and goes on in the data set where the last one ended. What a data set's card says of its licence is
told beside what was declared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stages.acquire.packages import spdx
from stages.acquire.sources import HubSource
from stages.core.canonical import digest, file_digest
from stages.core.canonical import line as canonical_line
from stages.core.errors import DevenoError, Resumable, SourceError
from stages.core.log import Log
from stages.core.yamlfile import parse
from stages.lm.parts import Parts
from stages.lm.streams import LineShards
from stages.lm.writing import told_plainly

PART_ROWS = 10_000
PART_BYTES = 16 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CARD = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.S)
_CARD_BYTES = 1 << 20
_UNSAID = ("unknown", "other", "none")


def check(source: HubSource) -> None:
    """Refuse a remote repository whose revision may move."""
    if source.repo is None:
        return
    fixed = source.revision is not None and _COMMIT.fullmatch(source.revision)
    if not fixed and not source.moving_revision:
        raise SourceError(
            f"the revision {source.revision!r} is not a commit of 40 hex digits",
            f"acquire: source.revision of {source.repo}",
            "name the commit, or set `moving_revision: true` if you mean what is newest",
        )


@dataclass
class _Part:
    """Rows as JSON lines, the state of the data set behind them, and whether it ends there."""

    rows: list[bytes] = field(default_factory=list)
    state: dict[str, Any] | None = None
    last: bool = False

    def dump(self) -> bytes:
        """Return the part as bytes."""
        head = json.dumps({"state": self.state, "last": self.last}).encode()
        return b"\n".join([head, *self.rows])

    @classmethod
    def load(cls, data: bytes) -> _Part:
        """Return a part from its bytes."""
        head, *rows = data.split(b"\n")
        return cls(rows, **json.loads(head))


def stream(source: HubSource, folder: Path, target: Path, log: Log) -> int:
    """Write the splits to `<split>-00000.jsonl.zst`; return the number of rows."""
    check(source)
    rows = 0
    for split in source.splits:
        with told_plainly(target), LineShards(target, split) as shards:
            for part in _parts(source, folder, split, log):
                for row in part.rows:
                    shards.add_line(row)
                log.progress(shards.rows, source.max_rows, f"rows of {split}")
        if not shards.rows:
            raise SourceError(
                f"the split {split!r} is empty", source.repo or str(folder), "name another split"
            )
        rows += shards.rows
    return rows


def _parts(source: HubSource, folder: Path, split: str, log: Log) -> Iterator[_Part]:
    taking = _Taking(source, folder, split, log)
    fixed = source.repo is None or not source.moving_revision
    told = [source.model_dump(mode="json"), split, _held(source, folder)]
    parts = Parts(log, f"hub-{digest(told)[:16]}")
    number, part = 0, _Part()
    while not part.last:
        taking.worked = False
        work = partial(taking.next, part.state)
        part = parts.make(number, work, _Part.dump, _Part.load) if fixed else work()
        if not taking.worked:
            taking.count += len(part.rows)
            taking.rows = None
        yield part
        number += 1
    parts.close()


def _held(source: HubSource, folder: Path) -> list[list[str]]:
    """Return what tells that the data set is the same: of a folder the digests of its files."""
    if source.repo is not None:
        return []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [[path.relative_to(folder).as_posix(), file_digest(path)] for path in files]


class _Taking:
    """Reads one split as far as a part goes."""

    def __init__(self, source: HubSource, folder: Path, split: str, log: Log) -> None:
        self.source, self.folder, self.split, self.log = source, folder, split, log
        self.rows: Iterator[Mapping[str, Any]] | None = None
        self.opened: Any = None
        self.count = 0
        self.worked = False

    def next(self, state: dict[str, Any] | None) -> _Part:
        """Return the part behind a state of the data set."""
        self.worked = True
        if self.rows is None:
            self.rows = self._rows(state)
        part, size = _Part(), 0
        limit = self.source.max_rows
        while len(part.rows) < PART_ROWS and size < PART_BYTES:
            if self.log.stopping:
                raise Resumable(
                    f"stopped on request after {self.count} rows of {self.split}",
                    str(self.log.scratch),
                    "run the same entry again: it goes on from the last whole part",
                )
            row = None if limit is not None and self.count >= limit else next(self.rows, None)
            if row is None:
                part.last = True
                break
            part.rows.append(canonical_line(_plain(row, self.source)).encode("utf-8"))
            size += len(part.rows[-1])
            self.count += 1
        part.state = self.opened.state_dict()
        return part

    def _rows(self, state: dict[str, Any] | None) -> Iterator[Mapping[str, Any]]:
        """Open the split as a stream; the cache goes to scratch, and a folder needs no network."""
        place = self.source.repo or str(self.folder)
        try:
            self.opened = _opened(self.source, place, self.split, self.log)
            if state is not None:
                self.opened.load_state_dict(state)
            for row in self.opened:
                yield {str(name): value for name, value in row.items()}
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"the split {self.split!r} of the data set cannot be read: "
                f"{type(error).__name__}: {str(error):.200}",
                place,
                "check repo, revision, config and splits, and the network",
            ) from error


def _opened(source: HubSource, place: str, split: str, log: Log) -> Any:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1" if source.repo is None else "0"
    import datasets

    return datasets.load_dataset(
        place,
        source.config,
        split=split,
        revision=source.revision if source.repo else None,
        streaming=True,
        cache_dir=str(log.scratch / "hub"),
    )


def _plain(row: Mapping[str, Any], source: HubSource) -> dict[str, Any]:
    if not source.columns:
        return dict(row)
    lacking = [name for name in source.columns if name not in row]
    if lacking:
        raise SourceError(
            f"no column {', '.join(lacking)}",
            source.repo or "acquire: source.columns",
            f"name some of its columns: {', '.join(row)}",
        )
    return {name: row[name] for name in source.columns}


def card_licence(source: HubSource, folder: Path, log: Log) -> str | None:
    """Return the licence that a data set's card states, as SPDX where its name is known.

    A card that is not there, or states none, is said in the log; it stops nothing.
    """
    found = _stated(_card(source, folder))
    if found is None:
        log.text("card_licence", "the data set's card states no licence")
    return found


def _card(source: HubSource, folder: Path) -> str:
    try:
        if source.repo is None:
            return (folder / "README.md").read_bytes()[:_CARD_BYTES].decode("utf-8", "replace")
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(
            source.repo, "README.md", repo_type="dataset", revision=source.revision
        )
        return Path(path).read_bytes()[:_CARD_BYTES].decode("utf-8", "replace")
    except Exception:  # No card, or no network for it: either way it states nothing here.
        return ""


def _stated(card: str) -> str | None:
    """Return what the head of a card says under `license`, in SPDX's spelling."""
    found = _CARD.match(card)
    try:
        told = parse(found[1], "README.md").get("license") if found else None
    except DevenoError:
        return None
    names = [str(one).strip() for one in (told if isinstance(told, list) else [told]) if one]
    known = [_spelled(name) for name in names if name.lower() not in _UNSAID]
    return " AND ".join(known) or None


def _spelled(name: str) -> str:
    """Return a licence of the hub (`cc-by-sa-4.0`, `apache-2.0`, `openrail`) as SPDX spells it."""
    if name.lower().startswith(("cc-by-", "cc0-")):
        return name.upper()
    return spdx(name) or f"LicenseRef-{re.sub('[^A-Za-z0-9.-]', '-', name)}"
