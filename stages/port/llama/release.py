"""A LLaMA release on disk: params.json, `consolidated.NN` files, perhaps a tokenizer.

params.json                       dim, n_layers, n_heads, norm_eps, vocab_size, ...
consolidated.00.pth ...           one per rank; `.safetensors` too, as Mistral publishes
tokenizer.json, ...               optional, copied beside the model
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ArtifactError
from stages.lm.layouts import llama
from stages.lm.tensors.checkpoint import Checkpoint, safetensors_entries
from stages.lm.tensors.entries import Entry
from stages.lm.tensors.nodes import Joined, Node, ranges
from stages.port import archives

FILE = re.compile(r"consolidated(?:\.(\d\d))?\.(?:pth|pt|safetensors)")
NUMBERS = {
    "dim": int, "n_layers": int, "n_heads": int, "n_kv_heads": int, "head_dim": int,
    "hidden_dim": int, "norm_eps": float, "vocab_size": int, "rope_theta": float,
    "max_seq_len": int, "max_position_embeddings": int, "sliding_window": int,
    "rope_scaling_factor": float,
}  # fmt: skip
"""What we read of params.json; null is as if absent."""
IGNORED = {"multiple_of", "ffn_dim_multiplier", "max_batch_size", "use_scaled_rope"}
"""The first two only led to the feed-forward width, which the tensors tell; the last is a flag."""
NEEDED = ("dim", "n_layers", "n_heads")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Release:
    """What a port starts from."""

    params: dict[str, Any]
    """Contents of params.json."""
    files: list[str]
    checkpoint: Checkpoint
    shape: llama.Shape
    tokenizer: list[Path]

    def settings(self, name: str, default: float) -> float:
        """Return a number of params.json, or what the release's code takes without it."""
        value = self.params.get(name)
        return default if value is None else float(value)


def read(folder: Path) -> Release:
    """Open the release in `folder` (searched with its subfolders); ArtifactError if it is none."""
    files = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    params = _params(files)
    ranks = _ranks(files)
    checkpoint = Checkpoint(_entries(ranks))
    equal = len(ranks) == 1 and _equal(
        checkpoint, f"{llama.TABLE}.weight", f"{llama.OUTPUT}.weight"
    )
    where = ", ".join(path.name for path in ranks)
    shape = llama.shape_of_original(params, checkpoint.specs, where, equal)
    _check_sizes(params, shape)
    _check_frequencies(checkpoint, shape)
    return Release(
        params=params,
        files=[path.name for path in ranks],
        checkpoint=checkpoint,
        shape=shape,
        tokenizer=[files[name] for name in TOKENIZER if name in files],
    )


def _params(files: Mapping[str, Path]) -> dict[str, Any]:
    if "params.json" not in files:
        raise ArtifactError(
            "no params.json",
            f"files of the raw entry: {', '.join(sorted(files)[:12]) or 'none'}",
            "give the release with its params.json, which tells heads and norm",
        )
    try:
        params = json.loads(files["params.json"].read_text(encoding="utf-8"))
        if not isinstance(params, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError) as fault:
        raise _wrong(f"it is no JSON: {fault}") from fault
    unknown = sorted(set(params) - set(NUMBERS) - IGNORED)
    if unknown:
        raise _wrong(f"{unknown[0]} = {str(params[unknown[0]])[:80]} is a setting we do not know")
    for name in NEEDED:
        if params.get(name) is None:
            raise _wrong(f"{name} is missing")
    for name, kind in NUMBERS.items():
        value = params.get(name)
        if value is None:
            continue
        whole = isinstance(value, int) or (
            isinstance(value, float) and kind is float and math.isfinite(value)
        )
        if not whole or isinstance(value, bool) or (value <= 0 and name != "vocab_size"):
            raise _wrong(f"{name} = {value!r} is no number that it could be")
    _check_heads(params)
    return params


def _check_heads(params: Mapping[str, Any]) -> None:
    if params["n_heads"] % (params.get("n_kv_heads") or params["n_heads"]):
        raise _wrong(f"{params['n_heads']} heads do not share {params['n_kv_heads']} of keys")
    if params.get("head_dim") is None and params["dim"] % params["n_heads"]:
        raise _wrong(f"dim {params['dim']} is no multiple of {params['n_heads']} heads")
    size = params.get("head_dim") or params["dim"] // params["n_heads"]
    if size % 2:
        raise _wrong(f"heads of {size} are odd, and rotary positions turn pairs")


def _wrong(what: str) -> ArtifactError:
    return ArtifactError(
        what, "params.json", "give the params.json of this release, as it was published"
    )


def _ranks(files: Mapping[str, Path]) -> list[Path]:
    """Return the files of all ranks in their order."""
    found = {int(match[1] or 0): files[name] for name in files if (match := FILE.fullmatch(name))}
    if not found:
        raise ArtifactError(
            "no weights: looked for consolidated.00.pth, consolidated.safetensors",
            f"files of the raw entry: {', '.join(sorted(files)[:12])}",
            "give a release with its consolidated files",
        )
    if sorted(found) != list(range(len(found))):
        lacking = next(rank for rank in range(max(found)) if rank not in found)
        raise ArtifactError(
            f"rank {lacking:02d} of {max(found) + 1} is missing",
            f"files of the raw entry: {', '.join(path.name for path in found.values())}",
            "give the files of all ranks",
        )
    return [found[rank] for rank in sorted(found)]


def _entries(ranks: list[Path]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for rank, path in enumerate(ranks):
        reader = safetensors_entries if path.suffix == ".safetensors" else archives.archive_entries
        for name, entry in reader(path).items():
            entries[llama.rank_name(rank, name, len(ranks))] = entry
    return entries


def _equal(checkpoint: Checkpoint, one: str, other: str) -> bool:
    """Tell whether two tensors are there and hold the same bits; stops where they differ."""
    specs = checkpoint.specs
    if one not in specs or specs[one] != specs.get(other):
        return False
    first, second = checkpoint.node(one), checkpoint.node(other)
    return all(
        np.array_equal(first.read(begin, end), second.read(begin, end))
        for begin, end in ranges(specs[one])
    )


def _check_sizes(params: Mapping[str, Any], shape: llama.Shape) -> None:
    vocabulary = params.get("vocab_size")
    if vocabulary is not None and vocabulary > 0 and vocabulary != shape.vocabulary:
        raise _wrong(f"vocab_size is {vocabulary} and {llama.TABLE} has {shape.vocabulary} rows")
    hidden = params.get("hidden_dim")
    if hidden is not None and hidden != shape.feed_forward:
        raise _wrong(f"hidden_dim is {hidden} and w1 has {shape.feed_forward} rows")
    if shape.biases not in ("", "qkv", "qkvo"):
        raise _wrong(f"only {' and '.join(shape.biases)} of attention have biases")


def _check_frequencies(checkpoint: Checkpoint, shape: llama.Shape) -> None:
    """Compare the size of heads with `rope.freqs`, which has one number for every pair."""
    held = checkpoint.specs.get(llama.rank_name(0, llama.FREQUENCIES, shape.ranks))
    if held is not None and held.count != shape.head_size // 2:
        raise _wrong(
            f"{shape.heads} heads have {shape.head_size} each, and {llama.FREQUENCIES} is for "
            f"{2 * held.count}"
        )


def rank_nodes(release: Release) -> dict[str, Node]:
    """Return every tensor of the release under its own name, the ranks put together.

    Written apart from the layout, for the reference: rows of the projections, columns of `wo` and
    `w2`, equal copies of the rest; the token table by what its width says.
    """
    nodes = release.checkpoint.nodes()
    count = release.shape.ranks
    if count == 1:
        return dict(nodes)
    width = int(release.params["dim"])
    found: dict[str, Node] = {}
    for name in sorted({name[3:] for name in nodes}):
        parts: list[Node] = [nodes[f"{rank:02d}:{name}"] for rank in range(count)]
        stem = name.removesuffix(".weight").removesuffix(".bias").split(".")[-1]
        if stem in ("wo", "w2"):
            found[name] = Joined(parts, 1) if name.endswith(".weight") else parts[0]
        elif stem in ("wq", "wk", "wv", "w1", "w3", "output"):
            found[name] = Joined(parts, 0)
        elif stem == "tok_embeddings":
            found[name] = Joined(parts, 0 if parts[0].spec.shape[1] == width else 1)
        else:
            found[name] = parts[0]
    return found
