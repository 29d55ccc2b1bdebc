"""Delta weights: a model published as its difference from a base that the reader has already.

    make(target, base, folder, encoding)      writes the delta and delta.json
    plan_of(delta, base)                      the plan that leads back, for `port`

Two encodings. `bits` is ours: the bits of target and base combined by exclusive or, which leads
back to equal bits in every type, always. `sum` is how Vicuna and others published: target minus
base in the tensors' own type. A rounded difference plus the base need not be the target again
(where signs differ, or one is more than twice the other, bits are lost), so delta.json says of
every tensor how many elements come back otherwise, and `port` of a `sum` says what it gives.

A base of another vocabulary or tokenizer, or with other weights than the delta was made against,
is refused before anything is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed
from stages.lm.layouts import conversion
from stages.lm.layouts.plan import Plan, Rule, some
from stages.lm.layouts.steps import Add, Exclusive, Step, floats
from stages.lm.tensors import writer
from stages.lm.tensors.checkpoint import Checkpoint, open_safetensors
from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Node, cast, checksum_of, ranges

RECORD = "delta.json"
Encoding = Literal["bits", "sum"]
VOCABULARY = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How the names of token tables end: their rows are the vocabulary."""
IGNORED = {r".*rotary_emb\.inv_freq": "rotary frequencies, computed again from the settings"}
"""What published deltas hold beside weights."""


def make(
    target: Path,
    base: Path,
    folder: Path,
    encoding: Encoding,
    shard_bytes: int = writer.SHARD_BYTES,
) -> dict[str, Any]:
    """Write the delta of two model folders and delta.json; return what delta.json says."""
    with open_safetensors(target) as tuned, open_safetensors(base) as old:
        check_vocabularies(tuned.specs, old.specs, str(target), str(base))
        apart = sorted(set(tuned.specs) ^ set(old.specs))
        if apart:
            raise _other(f"only one of both models has {some(apart)}", target)
        for name, spec in tuned.specs.items():
            if name in old.specs and old.specs[name] != spec:
                raise _other(f"{name} is {spec} and the base has {old.specs[name]}", target)
        plan = Plan([Rule([name], [name], [_step(name, encoding, -1)]) for name in tuned.specs])
        _check_floats(tuned.specs, encoding, target)
        rows = conversion.convert(plan, tuned, folder, target.name, shard_bytes, old.nodes())
        facts: dict[str, Any] = {
            "encoding": encoding,
            "checksum": "xxh3_128 of a tensor's elements in C order",
            "base": {name: checksum_of(old.node(name)) for name in tuned.specs},
            "base_tokenizer_sha256": tokenizer_hash(base),
            "target": {name: value for row in rows for name, value in row.sources.items()},
            "tokenizer_sha256": tokenizer_hash(target),
        }
    lost = differing(folder, base, target, encoding)
    if encoding == "sum":
        facts["elements_that_differ"] = lost
    elif lost:
        raise CheckFailed(
            f"{some(sorted(lost))} do not come back", str(target), "please report this model"
        )
    canonical.write_json(folder / RECORD, facts)
    return facts


def _step(name: str, encoding: Encoding, sign: int) -> Step:
    return Exclusive(name) if encoding == "bits" else Add(name, sign)


def _check_floats(specs: Mapping[str, Spec], encoding: Encoding, where: Path) -> None:
    whole = sorted(name for name, spec in specs.items() if not floats(spec.dtype))
    if encoding == "sum" and whole:
        raise ArtifactError(
            f"a sum of {specs[whole[0]].dtype} tensors has no meaning: {some(whole)}",
            str(where),
            "use the encoding bits",
        )


def differing(delta: Path, base: Path, target: Path, encoding: Encoding) -> dict[str, int]:
    """Return, for every tensor, how many elements do not come back; those with any."""
    found: dict[str, int] = {}
    with (
        open_safetensors(delta) as change,
        open_safetensors(base) as old,
        open_safetensors(target) as tuned,
    ):
        plan = Plan([Rule([name], [name], [_step(name, encoding, 1)]) for name in tuned.specs])
        for built in plan.build(change.nodes(), delta.name, old.nodes()):
            for name, node in built.nodes.items():
                wanted = tuned.node(name)
                count = sum(
                    int(np.count_nonzero(node.read(low, high) != wanted.read(low, high)))
                    for low, high in ranges(node.spec)
                )
                if count:
                    found[name] = count
    return found


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return delta.json of a folder, None where there is none: a delta published by others."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if facts["encoding"] not in ("bits", "sum"):
            raise ValueError(f"encoding {facts['encoding']!r} is unknown")
        tables = (facts["base"], facts["target"], facts.get("elements_that_differ", {}))
        if not all(isinstance(table, dict) for table in tables):
            raise ValueError("base, target or elements_that_differ say nothing by name")
    except (ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"it is no record of a delta: {fault}",
            RECORD,
            "give the delta.json that was made with these weights",
        ) from fault
    return facts


def plan_of(delta: Checkpoint, base: Checkpoint, encoding: Encoding, where: str) -> Plan:
    """Return the plan from a delta to its target; ArtifactError when the base does not fit."""
    plan = Plan([], IGNORED)
    extra = plan.left_out(list(delta.entries))
    wanted = {name: spec for name, spec in delta.specs.items() if name not in extra}
    check_vocabularies(wanted, base.specs, where, "the base")
    missing = sorted(set(wanted) - set(base.specs))
    lost = sorted(set(base.specs) - set(wanted) - set(plan.left_out(list(base.entries))))
    if missing or lost:
        told = f"the base lacks {some(missing)}" if missing else f"the delta lacks {some(lost)}"
        raise ArtifactError(told, where, "name the base that the delta was made against")
    for name, spec in wanted.items():
        theirs = base.specs[name]
        if spec.shape != theirs.shape or (encoding == "bits" and spec.dtype != theirs.dtype):
            raise ArtifactError(
                f"{name} is {spec} and the base has {theirs}",
                where,
                "name the base that the delta was made against",
            )
    return Plan([Rule([name], [name], [_step(name, encoding, 1)]) for name in wanted], IGNORED)


def base_nodes(base: Checkpoint, specs: Mapping[str, Spec]) -> dict[str, Node]:
    """Return the base's tensors in the types of the delta's (a published delta has 16 bits)."""
    found: dict[str, Node] = {}
    for name, node in base.nodes().items():
        wanted = specs.get(name, node.spec)
        found[name] = node if wanted.dtype == node.spec.dtype else cast(node, wanted.dtype)
    return found


def check_vocabularies(
    delta: Mapping[str, Spec], base: Mapping[str, Spec], where: str, base_where: str
) -> None:
    """Refuse a base of another vocabulary, naming both sizes."""
    for name, spec in delta.items():
        theirs = base.get(name)
        if not name.endswith(VOCABULARY) or theirs is None or spec.shape == theirs.shape:
            continue
        raise ArtifactError(
            f"the vocabulary of the delta's model has {spec.shape[0]} tokens and the base's "
            f"{theirs.shape[0]} ({name})",
            f"{where} and {base_where}",
            "name the base that the delta was made against; other vocabularies cannot be added",
        )


def check_base(facts: Mapping[str, Any], base: Checkpoint, folder: Path, where: str) -> None:
    """Refuse a base with another tokenizer or other weights than the delta's record says."""
    tokenizer = tokenizer_hash(folder)
    if facts.get("base_tokenizer_sha256") != tokenizer:
        raise ArtifactError(
            f"the base's tokenizer has sha256 {tokenizer or 'none'}, the delta was made against "
            f"{facts.get('base_tokenizer_sha256') or 'none'}",
            where,
            "name the base that the delta was made against",
        )
    for name, wanted in facts["base"].items():
        if name in base.entries and checksum_of(base.node(name)) != wanted:
            raise ArtifactError(
                f"{name} of the base is not the tensor that the delta was made against",
                where,
                "name the base that the delta was made against, in the same number format",
            )


def tokenizer_hash(folder: Path) -> str | None:
    """Return the sha256 of a model's tokenizer.json, None where it has none."""
    path = folder / "tokenizer.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _other(what: str, where: Path) -> ArtifactError:
    return ArtifactError(
        what, str(where), "name two models of one architecture and one number format"
    )
