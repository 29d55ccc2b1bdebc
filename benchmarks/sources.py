"""Containers through `acquire`: killed twice by SIGKILL, the same bytes; memory, and what it costs.

    python -m benchmarks.sources [--megabytes 64] [--folder FOLDER]

Material of each format is made from one seed (text of words drawn from a fixed list), packed as it
is found in the world, and read in a process of its own: once whole, once killed when a third and
two thirds of the parts are kept. `rows_as_batches` is the specification's section 208: a query's
rows as Arrow batches straight into shards, beside a Parquet file written, read and written again.
The result is written to `sources.json`: CPU seconds, MB of text a CPU second, anonymous and shared
memory at its peak. Times are this machine's; the verdicts are about bytes, parts and memory.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.process_tree import Watch

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "sources.json"
MEMORY_MIB = 700
"""What any reader may hold, the interpreter and its libraries (some 200) among it."""
CHILD = """
import json, sys
from pathlib import Path
from stages.acquire.stage import AcquireParams, acquire
from stages.acquire import extraction
from stages.core.log import Log
extraction.PART_BYTES = 4 << 20  # As many kills as in a file six times as large.
source, folder, raw, scratch = json.loads(sys.argv[1]), *map(Path, sys.argv[2:5])
log = Log(scratch=scratch)
acquire(AcquireParams.model_validate({"licence": "CC0-1.0", "source": source}), folder, raw, log)
print(json.dumps(log.observed))
"""
ROUND_TRIP = """
import json, sys
from pathlib import Path
import pyarrow as pa, pyarrow.compute, pyarrow.parquet as pq
source, folder, raw = json.loads(sys.argv[1]), *map(Path, sys.argv[2:4])
table = pa.ipc.open_stream(pa.memory_map(str(folder / "rows.arrow"))).read_all()
raw.mkdir(parents=True)
pq.write_table(table, raw / "between.parquet", compression="zstd")
held = pq.read_table(raw / "between.parquet").filter(pa.compute.field("number") >= 0)
pq.write_table(held, raw / "rows-00000.parquet", compression="zstd")
print("{}")
"""


def texts(megabytes: float) -> Iterator[str]:
    """Yield documents of some kB, from one seed."""
    chance = random.Random(20260)
    words = ["".join(chance.choices("aeioukrtslnmp", k=chance.randint(2, 9))) for _ in range(5000)]
    left = int(megabytes * 1e6)
    while left > 0:
        lines = [" ".join(chance.choices(words, k=chance.randint(6, 16))) for _ in range(30)]
        text = ".\n".join(lines) + "."
        left -= len(text)
        yield text


def warc(path: Path, megabytes: float) -> None:
    """Write an archive of pages, each record packed by itself."""
    with path.open("wb") as out:
        for number, text in enumerate(texts(megabytes)):
            menu = "".join(f"<li><a href=/{n}>ligilo {n}</a></li>" for n in range(20))
            rows = "".join(f"<p>{line}</p>" for line in text.split("\n"))
            page = f"<html><body><nav><ul>{menu}</ul></nav><main>{rows}</main></body></html>"
            data = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{page}".encode()
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:{number}>\r\n"
                f"WARC-Target-URI: http://a.b/{number}\r\nContent-Type: application/http\r\n"
                f"Content-Length: {len(data)}\r\n\r\n"
            )
            out.write(gzip.compress(head.encode() + data + b"\r\n\r\n", 1, mtime=0))


def mediawiki(path: Path, megabytes: float) -> None:
    """Write a dump of pages with templates, links and references, packed as a whole."""
    with bz2.open(path, "wb", 1) as out:
        out.write(b"<mediawiki>\n")
        for number, text in enumerate(texts(megabytes)):
            words = text.replace(" ka", " [[ka|la ka]]").replace("\n", "{{x|{{y}}}}\n\n")
            redirect = "<redirect/>" if number % 10 == 0 else ""
            out.write(
                f"<page><title>T{number}</title><ns>0</ns><id>{number}</id>{redirect}<revision>"
                f"<id>{number}</id><text>{words}&lt;ref&gt;z&lt;/ref&gt;</text></revision></page>\n"
                .encode()
            )  # fmt: skip
        out.write(b"</mediawiki>\n")


def jsonl(path: Path, megabytes: float) -> None:
    """Write JSON lines packed as a whole, one in a hundred broken."""
    with path.open("wb") as raw, zstandard.ZstdCompressor(1).stream_writer(raw) as out:
        for number, text in enumerate(texts(megabytes)):
            line = json.dumps({"text": text, "url": f"http://a.b/{number}"})
            out.write((line if number % 100 else line[:-1]).encode() + b"\n")


def arrow(path: Path, megabytes: float) -> None:
    """Write an Arrow stream of many batches."""
    schema = pa.schema([("text", pa.string()), ("number", pa.int64())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as out:
        held: list[str] = []
        for number, text in enumerate(texts(megabytes)):
            held.append(text)
            if len(held) == 2000:
                out.write_batch(pa.record_batch([held, [number] * 2000], schema=schema))
                held = []
        out.write_batch(pa.record_batch([held, [0] * len(held)], schema=schema))


def extract(format: str, **more: Any) -> dict[str, Any]:
    """Return the source that reads a format."""
    return {"kind": "extract", "reader": {"format": format, **more}}


MADE: dict[str, tuple[str, Callable[[Path, float], None], dict[str, Any]]] = {
    "warc": ("a.warc.gz", warc, extract("warc")),
    "mediawiki": ("eo.xml.bz2", mediawiki, extract("mediawiki")),
    "jsonl": ("a.jsonl.zst", jsonl, extract("jsonl", columns={"url": "url"})),
    "arrow": ("a.arrow", arrow, extract("arrow", columns={"number": "number"})),
}


def run(code: str, source: dict[str, Any], *places: Path, kill_at: int = 0) -> dict[str, Any]:
    """Run a child; with `kill_at` kill it as soon as its scratch folder holds so many parts."""
    command = [sys.executable, "-c", code, json.dumps(source), *map(str, places)]
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    watch = Watch(child.pid)
    while kill_at and child.poll() is None:
        if len(list(places[-1].rglob("*.part"))) >= kill_at:
            child.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    out, _ = child.communicate()
    watch.stop()
    return {
        "code": child.returncode,
        "wall_s": round(time.monotonic() - start, 2),
        "cpu_s": round(watch.cpu_s(), 2),
        "peak_mib": round(watch.peak_kb / 1024),
        "told": json.loads(out.strip().splitlines()[-1]) if child.returncode == 0 else {},
    }


def held(raw: Path) -> dict[str, bytes]:
    """Return every file of a raw folder."""
    return {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*.*")}


def format_row(name: str, megabytes: float, folder: Path) -> dict[str, Any]:
    """Read a format whole, then killed twice; return what came of it."""
    file, make, source = MADE[name]
    place = folder / name
    (place / "in").mkdir(parents=True)
    make(place / "in" / file, megabytes)
    once = run(CHILD, source, place / "in", place / "whole", place / "scratch-whole")
    assert once["code"] == 0, once
    (count,) = (value for key, value in once["told"].items() if key.startswith("parts_made"))
    scratch, killed = place / "scratch", []
    for third in (1, 2):
        raw = place / f"killed-{third}"
        kill_at = max(1, int(count) * third // 3)
        again = run(CHILD, source, place / "in", raw, scratch, kill_at=kill_at)
        killed.append(again["code"] == -signal.SIGKILL)
    last = run(CHILD, source, place / "in", place / "again", scratch)
    reused = sum(v for key, v in last["told"].items() if key.startswith("parts_reused"))
    told = json.loads((place / "whole/manifest.json").read_text())["extraction"]
    row = {
        "records": told["records"],
        "lost": told["lost"],
        "cpu_s": once["cpu_s"],
        "text_mb_per_cpu_s": round(megabytes / once["cpu_s"], 1),
        "peak_mib": max(once["peak_mib"], last["peak_mib"]),
        "parts": int(count),
        "parts_reused_after_the_last_kill": int(reused),
        "passes": {
            "killed_twice": killed == [True, True],
            "same_bytes": held(place / "whole") == held(place / "again"),
            "went_on": reused >= int(count) * 2 // 3,
            "memory": max(once["peak_mib"], last["peak_mib"]) <= MEMORY_MIB,
        },
    }
    shutil.rmtree(place)
    return row


def batches_row(megabytes: float, folder: Path) -> dict[str, Any]:
    """A query's rows straight into shards, beside a Parquet file between: section 208."""
    (folder / "sql").mkdir(parents=True)
    arrow(folder / "sql/rows.arrow", megabytes)
    source = {"kind": "sql", "query": "SELECT * FROM rows WHERE number >= 0"}
    ours, theirs = [], []
    for turn in range(3):
        ours.append(run(CHILD, source, folder / "sql", folder / f"o{turn}", folder / "s"))
        theirs.append(run(ROUND_TRIP, source, folder / "sql", folder / f"t{turn}"))
    rows = [
        pq.read_table(place) for place in (folder / "o0/files", folder / "t0/rows-00000.parquet")
    ]
    written = [
        sum(path.stat().st_size for path in place.rglob("*.parquet"))
        for place in (folder / "o0", folder / "t0")
    ]
    peaks = [max(one["peak_mib"] for one in turns) for turns in (ours, theirs)]
    row = {
        "rows": rows[0].num_rows,
        "cpu_s": [sorted(one["cpu_s"] for one in turns)[1] for turns in (ours, theirs)],
        "peak_mib": peaks,
        "bytes_written": written,
        "passes": {
            "same_rows": rows[0].equals(rows[1].replace_schema_metadata(None)),
            "fewer_bytes": written[0] < written[1],
            "memory_of_a_batch": peaks[0] < peaks[1] and peaks[0] <= MEMORY_MIB,
        },
    }
    shutil.rmtree(folder / "sql")
    return row


def main() -> None:
    """Measure every format, and the batches of a query."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=24.0)
    parser.add_argument("--folder", type=Path, default=ROOT / ".deveno/bench/sources")
    chosen = parser.parse_args()
    shutil.rmtree(chosen.folder, ignore_errors=True)
    found: dict[str, Any] = {"megabytes": chosen.megabytes, "memory_mib": MEMORY_MIB, "formats": {}}
    for name in MADE:
        found["formats"][name] = format_row(name, chosen.megabytes, chosen.folder)
        print(name, json.dumps(found["formats"][name]), flush=True)
    found["rows_as_batches"] = batches_row(2 * chosen.megabytes, chosen.folder)
    print("batches", json.dumps(found["rows_as_batches"]), flush=True)
    shutil.rmtree(chosen.folder, ignore_errors=True)
    rows = [*found["formats"].values(), found["rows_as_batches"]]
    found["passes"] = all(all(row["passes"].values()) for row in rows)
    RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print("passes" if found["passes"] else "FAILS")


if __name__ == "__main__":
    main()
