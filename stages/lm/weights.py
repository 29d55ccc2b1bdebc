"""Is this a safetensors file, and nothing but one? A check of our own, before any library reads it.

The format (huggingface/safetensors, audited by Trail of Bits in 2023): a little-endian u64 N, N
bytes of JSON `{name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}`,
then the buffer. Tensors must cover the buffer without overlap and without a hole, else the file
could be something else as well (a ZIP at its end); a name twice would let two readers see two
models.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError

MAX_HEADER_BYTES = 100_000_000
METADATA = "__metadata__"
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Width of an element by the format's name of its type."""


class _Fault(ValueError):
    """What is wrong with a file."""


def check(path: Path) -> dict[str, dict[str, Any]]:
    """Return a file's tensors by name (`dtype`, `shape`, `data_offsets`), or an ArtifactError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = _length(stream.read(8), size)
            header = _header(stream.read(length))
        return _covered(header, size - 8 - length)
    except (OSError, _Fault) as fault:
        raise ArtifactError(
            f"the model cannot be opened: {path.name}: {fault}",
            str(path.parent),
            "run the entry that makes it again; a file like this is never opened",
        ) from fault


def _length(start: bytes, size: int) -> int:
    length = int.from_bytes(start, "little")
    if len(start) < 8:
        raise _Fault(f"it has {size} bytes")
    if length > size - 8:
        raise _Fault(f"its header shall have {length} bytes and {size - 8} are there")
    if length > MAX_HEADER_BYTES:
        raise _Fault(f"its header has {length} bytes, more than {MAX_HEADER_BYTES}")
    return length


def _header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _Fault("its header does not begin with {")
    try:
        found: dict[str, Any] = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
        "".join(found).encode("utf-8")  # half a character, escaped, is no name
        return found
    except (ValueError, RecursionError) as fault:
        if isinstance(fault, _Fault):
            raise
        raise _Fault("its header is no JSON") from fault


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(
            name for name, count in Counter(name for name, _ in pairs).items() if count > 1
        )
        raise _Fault(f"its header names {twice!r} twice")
    return found


def _covered(header: dict[str, Any], buffer: int) -> dict[str, dict[str, Any]]:
    """Return the tensors of a header that lie end to end over the whole buffer."""
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _Fault(f"its {METADATA} is not text by name")
    spans = sorted((_span(name, row), name) for name, row in header.items())
    at = 0
    for (begin, end), name in spans:
        if begin < at:
            raise _Fault(f"tensor {name!r} begins at {begin}, inside the one before it")
        if begin > at:
            raise _Fault(f"nothing is said of bytes {at} to {begin}")
        at = end
    if at != buffer:
        raise _Fault(f"its tensors end at {at} and its data at {buffer}")
    return header


def _span(name: str, row: Any) -> tuple[int, int]:
    try:
        bits, shape = BITS[row["dtype"]], [_whole(number) for number in row["shape"]]
        begin, end = (_whole(number) for number in row["data_offsets"])
        extra = set(row) - {"dtype", "shape", "data_offsets"}
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise _Fault(f"tensor {name!r} is described wrongly") from fault
    if extra or end - begin != math.prod(shape) * bits // 8:
        raise _Fault(f"tensor {name!r} of {row['dtype']} {shape} has {end - begin} bytes")
    return begin, end


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(number)
    return number
