"""A model as its difference from a base that its readers have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.export.original import task_of
from stages.lm.layouts import delta

if TYPE_CHECKING:
    from stages.export.stage import ExportParams

COPIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.json", "merges.txt",
)  # fmt: skip


def export_folder(
    params: ExportParams, model: Path, base: Path, exported: Path, log: Log
) -> dict[str, Any]:
    """Fill `exported` with the delta and return the facts of export.json."""
    if params.base == "none":
        raise ParamsError(
            "format = delta, and base = none",
            "params.yaml: export.<entry>.base",
            "name the model that the difference is taken from, such as pretrained/eo",
        )
    exported.mkdir(parents=True)
    facts = delta.make(model, base, exported, params.encoding)
    for name in COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, exported / name)
    size = sum(path.stat().st_size for path in exported.glob("*.safetensors"))
    log.metric("size_bytes", size)
    log.metric("elements_that_differ", sum(facts.get("elements_that_differ", {}).values()))
    lost = facts.get("elements_that_differ", {})
    return {
        "format": params.format,
        "task": task_of(model),
        "quantize": {"kind": "none"},
        "parity": [
            {
                "case": "tensors that come back to the last bit",
                "positions": len(facts["target"]) - len(lost),
                "pass": params.encoding == "sum" or not lost,
            }
        ],
        "encoding": params.encoding,
        "source": params.model,
        "base": params.base,
        "size_bytes": size,
        "tensors": len(facts["target"]),
        "elements_that_differ": sum(facts.get("elements_that_differ", {}).values()),
    }
