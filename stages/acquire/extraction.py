"""Records out of containers into Parquet shards, in parts that survive a kill.

    files/records-00000.parquet   id, texts, source, licence and the format's own columns
    losses/losses-00000.parquet   id, source, reason, detail of every record that is not kept

The manifest counts, per input and in all, what was read, what was kept and what was lost by reason;
read = kept + lost, or the stage fails. A part holds some thousands of records and the place behind
them; a killed run reads its parts again and goes on at the last one's place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.acquire.readers.batches import (
    END,
    Batch,
    Input,
    Loss,
    Place,
    batched,
    schema_of,
)
from stages.acquire.readers.registry import READERS
from stages.acquire.sources import ExtractSource
from stages.core.canonical import digest, file_digest
from stages.core.errors import Resumable, SourceError
from stages.core.log import Log
from stages.lm.parts import Parts
from stages.lm.reading import Reading
from stages.lm.tables import ShardWriter
from stages.lm.writing import told_plainly

PART_BYTES = 24 << 20
PART_RECORDS = 20_000
UNKNOWN = "unknown"
"""What the column `licence` holds where neither the source nor the document states one."""
LOSSES = pa.schema([(name, pa.string()) for name in ("id", "source", "reason", "detail")])
READINGS: dict[str, dict[str, str]] = {
    "documents": {},
    "labelled": {},
    "pairs": {"source_text": "source_text", "target_text": "target_text"},
}


@dataclass
class Tally:
    """What became of an input's records."""

    kept: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def row(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        lost = dict(sorted(self.lost.items()))
        return {"records": self.kept + sum(lost.values()), "kept": self.kept, "lost": lost}

    def add(self, kept: int, lost: Counter[str]) -> None:
        """Add what a part took."""
        self.kept += kept
        self.lost += lost


@dataclass
class Part:
    """Some records of one or more inputs, and where reading goes on (behind the last: the end)."""

    input: int
    place: Place
    rows: list[tuple[int, pa.RecordBatch]] = field(default_factory=list)
    losses: list[tuple[int, Loss]] = field(default_factory=list)

    def dump(self) -> bytes:
        """Return the part as bytes."""
        head = {
            "input": self.input,
            "place": self.place,
            "of": [number for number, _ in self.rows],
            "losses": self.losses,
        }
        sink = pa.BufferOutputStream()
        if self.rows:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_stream(sink, self.rows[0][1].schema, options=options) as writer:
                for _, batch in self.rows:
                    writer.write_batch(batch)
        return json.dumps(head).encode() + b"\n" + sink.getvalue().to_pybytes()

    @classmethod
    def load(cls, data: bytes) -> Part:
        """Return a part from its bytes."""
        end = data.index(b"\n")
        head = json.loads(data[:end])
        losses = [(number, Loss(*loss)) for number, loss in head["losses"]]
        part = cls(head["input"], Place(*head["place"]), [], losses)
        if head["of"]:
            batches = pa.ipc.open_stream(pa.py_buffer(data)[end + 1 :])
            part.rows = list(zip(head["of"], batches, strict=True))
        return part


def extract(
    source: ExtractSource, inputs: list[Input], raw: Path, log: Log
) -> tuple[dict[str, Any], Reading]:
    """Write shards and losses; return the manifest's account and how the shards are read."""
    reader = READERS[source.reader.format]
    kind = reader.kind(source.reader)
    schema = schema_of(reader, source.reader)
    told = _all_told(source, inputs)
    about = [source.reader.model_dump(mode="json"), source.max_record_bytes, source.max_ratio, told]
    licences: Counter[str] = Counter()
    tallies = [Tally() for _ in inputs]
    parts = Parts(log, f"extract-{digest([about, [one.licence for one in inputs]])[:16]}")
    shards = ShardWriter(raw / "files", "records", schema)
    losses = ShardWriter(raw / "losses", "losses", LOSSES)
    with told_plainly(raw), shards, losses:
        for part in _parts(parts, _Taking(source, inputs, schema, kind, log)):
            for number, batch in part.rows:
                shards.add_table(batch)
                tallies[number].kept += batch.num_rows
                for one in pc.value_counts(batch.column("licence")).to_pylist():
                    licences[one["values"] or UNKNOWN] += one["counts"]
            for number, loss in part.losses:
                tallies[number].lost[loss.reason] += 1
                row = {"source": inputs[number].name, **loss._asdict()}
                losses.add(row)
            log.progress(part.input, len(inputs), "files")
    parts.close()
    whole = _whole(tallies, inputs, source)
    account = {
        "extraction": {**whole, "format": source.reader.format},
        "licences": dict(sorted(licences.items())),
        "inputs": [row | tally.row() for row, tally in zip(told, tallies, strict=True)],
        "losses": [
            {"path": f"losses/{name}", "sha256": file_digest(raw / "losses" / name)}
            for name in losses.shards
        ],
    }
    _say(account, log)
    reading = Reading(format="parquet", yields=kind, **READINGS[kind])  # type: ignore[arg-type]
    return account, reading


def _all_told(source: ExtractSource, inputs: list[Input]) -> list[dict[str, Any]]:
    told = [_told(one, source) for one in inputs]
    there = {row["path"] for row in told}
    there |= {other["path"] for row in told for other in row.get("beside", [])}
    absent = sorted(set(source.sha256) - there)
    if absent:
        raise SourceError(
            f"no file {absent[0]!r}, whose digest is declared",
            "acquire: source.sha256",
            f"name one of: {', '.join(sorted(there)[:10])}",
        )
    return told


def _told(one: Input, source: ExtractSource) -> dict[str, Any]:
    """Return what an input is and what is read with it, and see that it is what was declared."""
    row = _held(one.path, one.name, source)
    folder = PurePosixPath(one.name).parent
    others = [
        _held(path, (folder / path.name).as_posix(), source)
        for path in READERS[source.reader.format].beside(one, source.reader)
        if path.is_file()
    ]
    return row | ({"beside": others} if others else {})


def _held(path: Path, name: str, source: ExtractSource) -> dict[str, Any]:
    found = file_digest(path)
    declared = source.sha256.get(name)
    if declared is not None and declared != found:
        raise SourceError(
            f"the SHA-256 is {found}, declared is {declared}",
            str(path),
            "find out why the file changed; if it may, declare the new digest",
        )
    row = {"path": name, "sha256": found, "size_bytes": path.stat().st_size}
    return row | ({"declared": True} if declared else {})


def _parts(parts: Parts, taking: _Taking) -> Iterator[Part]:
    number, part = 0, Part(0, Place())
    while part.input < len(taking.inputs):
        at = part
        taking.worked = False
        part = parts.make(number, partial(taking.next, at), Part.dump, Part.load)
        if not taking.worked:  # It was kept: an open reader would stand elsewhere.
            taking.stream = None
        yield part
        number += 1


class _Taking:
    """Reads inputs one after the other, as far as a part goes."""

    def __init__(
        self, source: ExtractSource, inputs: list[Input], schema: pa.Schema, kind: str, log: Log
    ) -> None:
        self.source, self.inputs, self.schema, self.kind, self.log = (
            source,
            inputs,
            schema,
            kind,
            log,
        )
        self.stream: Iterator[Batch] | None = None
        self.worked = False

    def next(self, at: Part) -> Part:
        """Return the part behind another one."""
        self.worked = True
        part = Part(at.input, at.place)
        size = records = 0
        while part.input < len(self.inputs) and size < PART_BYTES and records < PART_RECORDS:
            if self.log.stopping:
                raise Resumable(
                    f"stopped on request in {self.inputs[part.input].name}",
                    str(self.log.scratch),
                    "run the same entry again: it goes on from the last whole part",
                )
            batch = self._batch(part)
            if batch is None:
                self.stream, part.input, part.place = None, part.input + 1, Place()
                records += 1  # Files without a record count too, or none would ever end a part.
                continue
            size += batch.rows.nbytes
            records += batch.rows.num_rows + len(batch.losses)
            part.place = batch.place
            if batch.rows.num_rows:
                part.rows.append((part.input, batch.rows))
            part.losses += [(part.input, loss) for loss in batch.losses]
        return part

    def _batch(self, part: Part) -> Batch | None:
        """Return the next batch of the input that is at work; its end, good or bad, is None."""
        one = self.inputs[part.input]
        if self.stream is None and part.place.offset == END:
            return None
        if self.stream is None:
            reader = READERS[self.source.reader.format]
            items = reader.read(one, self.source.reader, part.place)
            self.stream = batched(items, self.schema, one, self.kind, part.place)
        return next(self.stream, None)


def _whole(tallies: list[Tally], inputs: list[Input], source: ExtractSource) -> dict[str, Any]:
    whole = Tally()
    for tally in tallies:
        whole.add(tally.kept, tally.lost)
    if not whole.kept:
        lost = ", ".join(f"{count} {reason}" for reason, count in whole.lost.most_common())
        raise SourceError(
            f"the source is empty: no record is left ({lost or 'its files hold none'})",
            f"{inputs[0].path.parent} read as {source.reader.format}",
            "check what the files hold, and how `reader` reads them",
        )
    return whole.row()


def _say(account: dict[str, Any], log: Log) -> None:
    whole = account["extraction"]
    for name, value in (("records_read", whole["records"]), ("records_kept", whole["kept"])):
        log.metric(name, value)
    for reason, count in whole["lost"].items():
        log.metric(f"lost_{reason}", count)
    if whole["lost"]:
        log.text("lost", ", ".join(f"{count} {name}" for name, count in whole["lost"].items()))
    if unknown := account["licences"].get(UNKNOWN):
        log.text("unknown_licence", f"{unknown} records state no licence that is known")
