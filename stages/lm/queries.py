"""SQL over what the stages wrote, read in place: tables by what they hold, not by file.

DuckDB reads Parquet and JSON where they lie. It gets one SELECT, no network, no extension, no file
outside of the folders that stages write, and no leave to change any of that. Token streams are
memory-mapped arrays that it scans without a copy.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from stages.core.errors import ParamsError

READABLE = ("data", "metrics", "models", "plots", "reports", "benchmarks")
"""Folders below the project that a query may read."""
CORPUS_TABLES = (
    "dropped", "duplicates", "related", "words", "associations", "languages", "licences", "safety",
)  # fmt: skip
SHARD = re.compile(r"([a-z]+)-\d+\.parquet")
Build = Callable[[Any, Path], bool]


def ask(root: Path, sql: str) -> pa.Table:
    """Return what one SELECT gives; raises ParamsError for anything else and for its mistakes.

    Paths in it are from the project's root, which is the current folder meanwhile.
    """
    with contextlib.chdir(root), duckdb.connect(":memory:") as base:
        statement = one_select(base, sql)
        close(base, [root / name for name in READABLE])
        known = build(base, root, sql)
        lock(base)
        try:
            return base.sql(statement).to_arrow_table()
        except duckdb.Error as error:
            raise refused(error, sql, known) from error


def described(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the tables that there are, with the names and types of their columns."""
    with duckdb.connect(":memory:") as base:
        close(base, [root / name for name in READABLE])
        found = {}
        for name in build(base, root, None):
            rows = base.execute(f'DESCRIBE "{name}"').fetchall()
            found[name] = [(str(row[0]), str(row[1])) for row in rows]
        return found


def build(base: Any, root: Path, sql: str | None) -> list[str]:
    """Make the tables that a query names (all without one); returns those that there are."""
    found = []
    for name, make in tables().items():
        if (sql is None or re.search(rf"\b{name}\b", sql, re.I)) and make(base, root):
            found.append(name)
    return found


def tables() -> Mapping[str, Build]:
    """Return every table's name and what makes it; that tells whether there is anything to hold."""
    made: dict[str, Build] = {"corpora": _corpora}
    for name in CORPUS_TABLES:
        made[name] = _beside(name)
    made |= {
        "ledgers": _rows(_ledgers),
        "metrics": _rows(_metrics),
        "figures": _rows(_figures),
        "tokens": _tokens,
        "token_ids": _token_ids,
        "records": _raw("records", "files"),
        "losses": _raw("losses", "losses"),
    }
    return made


def one_select(base: Any, sql: str) -> str:
    """Return the one SELECT of a query; raises ParamsError where it is anything else."""
    try:
        found = base.extract_statements(sql)
    except duckdb.Error as error:
        raise refused(error, sql) from error
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(one.type.name for one in found) or "nothing"
        raise ParamsError(
            f"a query is one SELECT, this is {kinds}",
            _short(sql),
            "ask for rows; outputs of stages are changed by running them",
        )
    return str(found[0].query)


def close(base: Any, places: Sequence[Path]) -> None:
    """Shut a database in: no network, no extension, no file outside of some folders."""
    listed = ", ".join(_quoted(f"{place}/") for place in places)
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        f"allowed_directories = [{listed}]",
        "enable_external_access = false",
    ):
        base.execute(f"SET {setting}")


def lock(base: Any) -> None:
    """Let nothing change a database's settings any more."""
    base.execute("SET lock_configuration = true")


def _corpora(base: Any, root: Path) -> bool:
    parts: list[str] = []
    for folder in _folders(root / "data/corpora"):
        splits: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if named := SHARD.fullmatch(path.name):
                splits.setdefault(named[1], []).append(path)
        parts += [
            f"SELECT {_quoted(folder.name)} AS corpus, {_quoted(split)} AS split, * "
            f"FROM {_parquet(paths)}"
            for split, paths in splits.items()
        ]
    return _view(base, "corpora", parts)


def _beside(name: str) -> Build:
    def make(base: Any, root: Path) -> bool:
        return _view(
            base,
            name,
            [
                f"SELECT {_quoted(folder.name)} AS corpus, * FROM {_parquet([path])}"
                for folder in _folders(root / "data/corpora")
                if (path := folder / f"{name}.parquet").is_file()
            ],
        )

    return make


def _raw(name: str, place: str) -> Build:
    """Make a table of what `acquire` took out of containers, or of what it could not."""

    def make(base: Any, root: Path) -> bool:
        shards = {
            folder.name: sorted((folder / place).glob(f"{name}-*.parquet"))
            for folder in _folders(root / "data/raw")
        }
        return _view(
            base,
            name,
            [
                f"SELECT {_quoted(key)} AS raw, * FROM {_parquet(paths)}"
                for key, paths in shards.items()
                if paths
            ],
        )

    return make


def _view(base: Any, name: str, parts: list[str]) -> bool:
    if parts:
        base.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")
    return bool(parts)


def _rows(rows: Callable[[Path], Iterator[dict[str, Any]]]) -> Build:
    def make(base: Any, root: Path) -> bool:
        found = list(rows(root))
        if found:
            name = rows.__name__.removeprefix("_")
            names = list(dict.fromkeys(key for row in found for key in row))
            columns = {key: [row.get(key) for row in found] for key in names}
            base.register(name, pa.table(columns))
        return bool(found)

    return make


def _ledgers(root: Path) -> Iterator[dict[str, Any]]:
    for folder in _folders(root / "data/corpora"):
        told = _json(folder / "ledger.json")
        for place, row in enumerate(told.get("rules", []) if isinstance(told, dict) else []):
            yield {"corpus": folder.name, "place": place, **row}


def _metrics(root: Path) -> Iterator[dict[str, Any]]:
    for folder in _folders(root / "metrics"):
        for path in sorted(folder.glob("*.json")):
            for name, value in _leaves(_json(path)):
                if isinstance(value, bool | int | float):
                    yield {"stage": folder.name, "entry": path.stem, "name": name,
                           "value": float(value)}  # fmt: skip


def _figures(root: Path) -> Iterator[dict[str, Any]]:
    """Yield every value of every JSON file that stages wrote, numbers apart from texts."""
    for top in ("data", "models", "reports"):
        for kind in _folders(root / top):
            for folder in _folders(kind):
                for path in sorted(folder.glob("*.json")):
                    for name, value in _leaves(_json(path)):
                        number = isinstance(value, bool | int | float)
                        yield {
                            "artifact": f"{kind.name}/{folder.name}",
                            "file": path.name,
                            "name": name,
                            "number": float(value) if number else None,
                            "text": None if number or value is None else str(value),
                        }


def _tokens(base: Any, root: Path) -> bool:
    parts: list[str] = []
    for folder in _folders(root / "data/tokens"):
        for path in sorted(folder.glob("*-documents.npy")):
            split = path.name.removesuffix("-documents.npy")
            starts = np.load(path, mmap_mode="r", allow_pickle=False)
            sizes = np.load(folder / f"{split}-bytes.npy", mmap_mode="r", allow_pickle=False)
            columns = {
                "document": np.arange(len(sizes)),
                "first_token": starts[:-1],
                "tokens": np.diff(starts),
                "text_bytes": sizes,
            }
            name = f"_documents_{len(parts)}"
            base.register(name, pa.table({key: pa.array(row) for key, row in columns.items()}))
            parts.append(
                f"SELECT {_quoted(folder.name)} AS artifact, {_quoted(split)} AS split, * "
                f"FROM {name}"
            )
    return _view(base, "tokens", parts)


def _token_ids(base: Any, root: Path) -> bool:
    parts: list[str] = []
    for folder in _folders(root / "data/tokens"):
        told = _json(folder / "tokens.json")
        for path in sorted(folder.glob("*.bin")):
            if path.stat().st_size == 0 or not isinstance(told, dict):
                continue
            held = np.memmap(path, dtype=np.dtype(told["dtype"]).newbyteorder("<"), mode="r")
            name = f"_ids_{len(parts)}"
            base.register(name, pa.table({"id": pa.array(held)}))
            parts.append(
                f"SELECT {_quoted(folder.name)} AS artifact, {_quoted(path.stem)} AS split, id "
                f"FROM {name}"
            )
    return _view(base, "token_ids", parts)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a JSON document by their dotted names; lists by place."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _folders(place: Path) -> list[Path]:
    return sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else []


def _parquet(paths: list[Path]) -> str:
    return f"read_parquet([{', '.join(_quoted(str(path)) for path in paths)}], union_by_name=true)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= 120 else line[:117] + "..."


def refused(error: Exception, sql: str, known: list[str] | None = None) -> ParamsError:
    """Return what DuckDB says of a query as an error of three lines."""
    text = str(error).strip()
    lines = [line for line in text.splitlines() if line.strip()]
    told = " ".join(line for line in lines[:3] if not line.startswith("LINE")).rstrip(" ^")
    if "disabled by configuration" in text:
        todo = f"queries read files below {', '.join(READABLE)} alone; there is no network"
    else:
        there = f" (here: {', '.join(known)})" if known else ""
        todo = f"`deveno query` lists tables and columns{there}"
    return ParamsError(f"the query fails: {told}", _short(sql), todo)
