"""Where two artifacts part: the first tensor, number, step, row, line or byte, and how far.

Two files with other bytes may still say the same within a tolerance, or say the same and be written
differently (the metadata of a writer). Each kind of file is compared by what it says: weights by
tensor, JSON by value, curves by step, tables by row and column, text by line, all else by byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.divergence import SHOWN, Difference, number, parted, values


def compare(recorded: Path, made: Path) -> list[Difference]:
    """Return where two files, or the files of two folders, part; [] if their bytes are equal.

    Of a file that is compared by tensor or by value every differing one is told, in the order of
    the file; of others the first place.
    """
    if not (recorded.is_dir() and made.is_dir()):
        return _files("", recorded, made)
    before, after = _listed(recorded), _listed(made)
    found = [Difference(name, "missing", "file") for name in sorted(set(before) - set(after))]
    found += [Difference(name, "extra", "file") for name in sorted(set(after) - set(before))]
    for name in sorted(set(before) & set(after)):
        found += _files(name, before[name], after[name])
    return found


def _listed(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }


def _files(name: str, recorded: Path, made: Path) -> list[Difference]:
    if _same(recorded, made):
        return []
    plain = made.name.removesuffix(".zst").removesuffix(".gz").removesuffix(".bz2")
    reader = READERS.get(Path(plain).suffix, _bytes)
    try:
        found = reader(name, recorded, made)
    except Exception:  # not what its suffix says, in one of the two: then its bytes tell
        return _bytes(name, recorded, made)
    return found or [Difference(name, "encoding", "")]


def _same(left: Path, right: Path) -> bool:
    if left.stat().st_size != right.stat().st_size:
        return False
    with left.open("rb") as one, right.open("rb") as other:
        while chunk := one.read(1 << 20):
            if chunk != other.read(len(chunk)):
                return False
    return True


def _tensors(name: str, recorded: Path, made: Path) -> list[Difference]:
    return _arrays(name, *(_weights(path) for path in (recorded, made)))


def _arrays(
    name: str, before: Mapping[str, Callable[[], Any]], after: Mapping[str, Callable[[], Any]]
) -> list[Difference]:
    found = [Difference(name, "missing", f"tensor {one}") for one in before if one not in after]
    found += [Difference(name, "extra", f"tensor {one}") for one in after if one not in before]
    for one in before:
        if one in after:
            difference = _tensor(name, one, before[one](), after[one]())
            found += [difference] if difference else []
    return found


def _tensor(file: str, name: str, recorded: Any, made: Any) -> Difference | None:
    """Compare two arrays: type and shape, then values; NaN equals NaN."""
    import numpy as np

    types = [f"{one.dtype}{list(one.shape)}" for one in (recorded, made)]
    if types[0] != types[1]:
        return Difference(file, "tensor", name, types[0], types[1])
    if recorded.dtype.kind not in "fiub":
        equal = bool((recorded == made).all())
        return None if equal else Difference(file, "tensor", name)
    left, right = recorded.astype(np.float64), made.astype(np.float64)
    if np.array_equal(left, right, equal_nan=True):
        return None
    absolute = np.abs(left - right)
    absolute[np.isnan(left) & np.isnan(right)] = 0.0
    absolute[np.isnan(absolute)] = np.inf
    worst = float(absolute.max())
    scale = float(np.nanmax(np.abs(left))) or float(np.nanmax(np.abs(right)))
    relative = worst / scale if scale and math.isfinite(worst) else math.inf
    if recorded.dtype.kind != "f":  # whole numbers are equal or they are not
        relative = math.inf
    place = np.unravel_index(int(absolute.argmax()), absolute.shape)
    shown = [f"{float(one[place]):.9g} at {list(map(int, place))}" for one in (left, right)]
    return Difference(file, "tensor", name, shown[0], shown[1], worst, relative)


def _weights(path: Path) -> dict[str, Callable[[], Any]]:
    """Return readers of the tensors of a safetensors file, in the order of the file."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    ordered = sorted(header.items(), key=lambda row: (row[1]["data_offsets"], row[0]))

    return {name: partial(_read_tensor, path, 8 + length, facts) for name, facts in ordered}


TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""Numpy's names of the types of a safetensors file; bfloat16 is widened."""


def _read_tensor(path: Path, start: int, facts: Mapping[str, Any]) -> Any:
    import numpy as np

    first, last = facts["data_offsets"]
    with path.open("rb") as stream:
        stream.seek(start + first)
        array = np.frombuffer(stream.read(last - first), dtype=TYPES[facts["dtype"]])
    if facts["dtype"] == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(facts["shape"])


def _onnx(name: str, recorded: Path, made: Path) -> list[Difference]:
    """Compare two graphs: their tensors, then the first node, then all that is left."""
    import onnx
    from onnx import numpy_helper

    models = [onnx.load(str(path)) for path in (recorded, made)]

    def arrays(model: Any) -> dict[str, Callable[[], Any]]:
        return {one.name: partial(numpy_helper.to_array, one) for one in model.graph.initializer}

    found = _arrays(name, arrays(models[0]), arrays(models[1]))
    graphs = [[" ".join(str(node).split()) for node in model.graph.node] for model in models]
    if graphs[0] != graphs[1]:
        counts = [f"{len(graph)} nodes" for graph in graphs]
        pairs = enumerate(zip(*graphs, strict=False))
        parts = next(((row, *pair) for row, pair in pairs if pair[0] != pair[1]), None)
        if parts is None:
            return [*found, Difference(name, "line", "of the graph", counts[0], counts[1])]
        row, one, other = parts
        return [*found, Difference(name, "line", f"node {row}", one[:SHOWN], other[:SHOWN])]
    for model in models:
        del model.graph.initializer[:], model.metadata_props[:]
        for field in ("producer_name", "producer_version", "doc_string"):
            model.ClearField(field)
    rest = [model.SerializeToString(deterministic=True) for model in models]
    if rest[0] != rest[1]:
        found.append(Difference(name, "line", "beside nodes and tensors"))
    return found


def _array(name: str, recorded: Path, made: Path) -> list[Difference]:
    import numpy as np

    difference = _tensor(
        name, "", np.load(recorded, allow_pickle=False), np.load(made, allow_pickle=False)
    )
    return [difference] if difference else []


def _json(name: str, recorded: Path, made: Path) -> list[Difference]:
    pair = [json.loads(_text(path)) for path in (recorded, made)]
    return list(values(name, "", *pair))


def _curves(name: str, recorded: Path, made: Path) -> list[Difference]:
    """Compare two tables of curves: per curve the first step at which they part."""
    tables = [_columns(path) for path in (recorded, made)]
    names = list(dict.fromkeys([*tables[0], *tables[1]]))
    found = []
    for curve in names:
        if curve not in tables[1]:
            found.append(Difference(name, "missing", f"column {curve}"))
            continue
        if curve not in tables[0]:
            found.append(Difference(name, "extra", f"column {curve}"))
            continue
        found += parted(name, curve, tables[0][curve], tables[1][curve])
    return found


def _columns(path: Path) -> dict[str, dict[str, Any]]:
    """Return a CSV's columns as values by step (the first column), numbers as numbers."""
    rows = [line.split(",") for line in _text(path).splitlines()]
    heads = rows[0]
    found: dict[str, dict[str, Any]] = {name: {} for name in heads[1:]}
    for row in rows[1:]:
        for name, cell in zip(heads[1:], row[1:], strict=True):
            if cell:
                found[name][row[0]] = float(cell)
    return found


def _table(name: str, recorded: Path, made: Path) -> list[Difference]:
    """Compare two parquet tables: schema, rows, then the first differing row of each column."""
    import pyarrow.parquet as parquet

    tables = [parquet.read_table(path) for path in (recorded, made)]
    fields = [[f"{one.name} {one.type}" for one in table.schema] for table in tables]
    if fields[0] != fields[1]:
        shown = [", ".join(one)[:SHOWN] for one in fields]
        return [Difference(name, "row", "of names", shown[0], shown[1])]
    found = []
    for column in tables[0].column_names:
        left, right = (table.column(column).to_pylist() for table in tables)
        if left == right:
            continue
        differing = ((n, a, b) for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
        index, one, other = next(differing, (min(len(left), len(right)), None, None))
        found.append(number(name, "row", f"{index}, column {column}", one, other))
    if tables[0].num_rows != tables[1].num_rows:
        counts = [f"{table.num_rows} rows" for table in tables]
        found.append(Difference(name, "row", "count", counts[0], counts[1]))
    return found


def _lines(name: str, recorded: Path, made: Path) -> list[Difference]:
    """Compare two texts: the first line that differs; of lines of JSON the first value in one.

    Where all lines of JSON are within the tolerance the first is told, else the first that is not.
    """
    left, right = (_text(path).split("\n") for path in (recorded, made))
    if len(left) != len(right):
        counts = [f"{len(rows)} lines" for rows in (left, right)]
        return [Difference(name, "line", "count", counts[0], counts[1])]
    near: list[Difference] = []
    for row, (one, other) in enumerate(zip(left, right, strict=True), 1):
        if one == other:
            continue
        if ".jsonl" not in made.name:
            return [Difference(name, "line", str(row), one[:SHOWN], other[:SHOWN])]
        found = list(values(name, f"line {row}", json.loads(one), json.loads(other)))
        beyond = [difference for difference in found if not difference.within]
        if beyond:
            return beyond[:1]
        near += found
    return near[:1]


def _text(path: Path) -> str:
    return _unpacked(path).decode("utf-8")


def _unpacked(path: Path) -> bytes:
    if path.suffix == ".zst":
        import zstandard

        with path.open("rb") as stream:
            return zstandard.ZstdDecompressor().stream_reader(stream).read()
    if path.suffix == ".gz":
        import gzip

        return gzip.decompress(path.read_bytes())
    return path.read_bytes()


def _bytes(name: str, recorded: Path, made: Path) -> list[Difference]:
    """Compare bytes: where the first differing one is, and the sizes."""
    sizes = [f"{path.stat().st_size} bytes" for path in (recorded, made)]
    offset = 0
    with recorded.open("rb") as one, made.open("rb") as other:
        while True:
            left, right = one.read(1 << 20), other.read(1 << 20)
            if left != right or not left:
                pairs = zip(left, right, strict=False)
                here = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
                offset += here if here is not None else min(len(left), len(right))
                return [Difference(name, "byte", str(offset), sizes[0], sizes[1])]
            offset += len(left)


Reader = Callable[[str, Path, Path], list[Difference]]
READERS: Mapping[str, Reader] = {
    ".safetensors": _tensors,
    ".onnx": _onnx,
    ".npy": _array,
    ".json": _json,
    ".csv": _curves,
    ".parquet": _table,
    **dict.fromkeys((".jsonl", ".txt", ".tsv", ".md", ".html", ".conllu", ".yaml"), _lines),
}
"""How files of a suffix are compared; others by their bytes."""
