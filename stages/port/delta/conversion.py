"""From a delta and its base to the model: tensors stream, and torch adds them a second time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.core import canonical
from stages.core.errors import ArtifactError, ParamsError
from stages.core.log import Log
from stages.lm.layouts import conversion, delta
from stages.lm.layouts.delta import Encoding
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.checkpoint import INDEX, SINGLE, Checkpoint, open_safetensors
from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Node, ranges
from stages.port import archives
from stages.port.checks import Verification, require
from stages.port.resaved.conversion import task_of

if TYPE_CHECKING:
    from stages.port.delta.settings import Delta

SETTINGS = ("config.json", "generation_config.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt", "tokenizer.model", "added_tokens.json",
)  # fmt: skip

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def port_folder(params: Delta, files: Path, base: Path, model: Path, log: Log) -> dict[str, Any]:
    """Write base plus delta to `model` and return its verification, all checks passed."""
    if not any(base.glob("*.safetensors")):
        raise ParamsError(
            f"base has no weights: {base.name}",
            "params.yaml: port.<entry>.base",
            "name the model that the delta was made against, such as pretrained/eo",
        )
    folder = _folder(files)
    facts = delta.read_record(folder)
    encoding = _encoding(params, facts)
    with archives.open_folder(folder) as change, open_safetensors(base) as old:
        if facts is not None:
            delta.check_base(facts, old, base, "port.<entry>.base")
        plan = delta.plan_of(change, old, encoding, folder.name)
        model.mkdir(parents=True)
        rows = conversion.convert(
            plan, change, model, "the delta", int(params.shard_mb * 1_000_000),
            delta.base_nodes(old, change.specs),
        )  # fmt: skip
        canonical.write_json(model / conversion.RECORD, conversion.record(rows))
        _copy(folder, base, model)
        report = Verification()
        _check(report, change, old, model, rows, encoding)
    if facts is not None:
        _check_recorded(report, facts, rows)
    require(report, "the delta")
    log.metric("source_tensors", len(rows))
    return {
        "task": task_of(model),
        "encoding": encoding,
        "recorded": facts is not None,
        **conversion.actions(rows),
        "checks": report.rows(),
    }


def _folder(files: Path) -> Path:
    """Return the folder below the raw files that holds the weights."""
    for name in (INDEX, SINGLE, archives.BIN_INDEX, archives.BIN):
        found = sorted(files.rglob(name))
        if found:
            return found[0].parent
    return files


def _encoding(params: Delta, facts: dict[str, Any] | None) -> Encoding:
    told: Encoding | None = None if facts is None else facts["encoding"]
    if params.encoding == "auto":
        return told or "sum"
    if told is not None and told != params.encoding:
        raise ParamsError(
            f"encoding = {params.encoding}, and {delta.RECORD} says {told}",
            "params.yaml: port.<entry>.source.encoding",
            "use auto",
        )
    return params.encoding


def _copy(folder: Path, base: Path, model: Path) -> None:
    """Take settings and tokenizer from the delta, where it brings them, else from the base."""
    # A tokenizer may be any of the files that hold a vocabulary; its settings alone are none.
    for names, told_by in ((SETTINGS, SETTINGS[:1]), (TOKENIZER, VOCABULARIES)):
        source = next(
            (one for one in (folder, base) if any((one / name).is_file() for name in told_by)), base
        )
        for name in names:
            if (source / name).is_file():
                shutil.copyfile(source / name, model / name)
    if not (model / "config.json").is_file():
        raise ArtifactError(
            "neither the delta nor the base has a config.json",
            "files of the raw entry",
            "give the delta with the configuration of its model",
        )


def _check(
    report: Verification,
    change: Checkpoint,
    base: Checkpoint,
    model: Path,
    rows: list[conversion.Converted],
    encoding: Encoding,
) -> None:
    """Every tensor is what torch makes of base and delta, and nothing is left over."""
    sums = {name: value for row in rows for name, value in row.sources.items()}
    lost = sorted(set(change.entries) - set(sums))
    report.add("source tensors without account", len(lost), 0, len(change.entries), str(lost[:3]))
    wrong = []
    with open_safetensors(model) as written:
        for name in written.entries:
            nodes = (base.node(name), change.node(name), written.node(name))
            for low, high in ranges(nodes[2].spec):
                old, moved, new = (_piece(node, low, high) for node in nodes)
                if not _equal(old, moved, new, encoding):
                    wrong.append(name)
                    break
        count = len(written.entries)
    told = ", ".join(wrong[:3])
    report.add("tensors that torch makes otherwise", len(wrong), 0, count, told)


def _piece(node: Node, begin: int, end: int) -> torch.Tensor:
    return tensor_of(Spec(node.spec.dtype, (end - begin,)), node.read(begin, end))


def _equal(
    base: torch.Tensor, change: torch.Tensor, found: torch.Tensor, encoding: Encoding
) -> bool:
    if encoding == "sum":
        wanted = base.to(change.dtype) + change
        return bool(((found == wanted) | (found.isnan() & wanted.isnan())).all())
    pieces = [one.view(torch.uint8) for one in (found, base, change)]
    return torch.equal(pieces[0], pieces[1] ^ pieces[2])


def _check_recorded(
    report: Verification, facts: dict[str, Any], rows: list[conversion.Converted]
) -> None:
    """The result is the model that the delta was made of, but for what a sum is known to lose."""
    made = {name: value for row in rows for name, value in row.targets.items()}
    known = set(facts.get("elements_that_differ", {}))
    recorded = facts["target"]
    wrong = sorted(one for one in {*made, *recorded} if made.get(one) != recorded.get(one))
    strange = [name for name in wrong if name not in known]
    told = ", ".join(strange[:3])
    report.add("tensors that are not the recorded ones", len(strange), 0, len(made), told)
