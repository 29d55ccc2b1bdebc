"""An exported folder: the graph, the tokenizer and config beside it, and what was proved of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch

from stages.core import canonical
from stages.core.log import Log
from stages.export import graph, parity, quantization
from stages.export.configuration import configuration
from stages.export.stage import DynamicInt8, ExportParams
from stages.lm.device import prepare
from stages.lm.models import longest
from stages.lm.onnx import OnnxModel

COPIED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


def export_folder(params: ExportParams, model: Path, exported: Path, log: Log) -> dict[str, Any]:
    """Fill `exported` and return the facts of export.json."""
    prepare(params.threads)
    config = configuration(model)
    task = graph.task_of(config, params.task, model)
    source = graph.load(model, task)
    pad = int(config.get("pad_token_id") or 0)
    onnx_model = graph.trace(source, params.opset, pad)
    plain_bytes = len(onnx_model.SerializeToString(deterministic=True))
    if isinstance(params.quantize, DynamicInt8):
        onnx_model = quantization.quantized(onnx_model, params.quantize)
    exported.mkdir(parents=True)
    graph.save(onnx_model, exported / "model.onnx")
    for name in COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, exported / name)
    if task != graph.task_of(config, "auto", model):
        changed = config | {"architectures": [type(source.model).__name__]}
        canonical.write_json(exported / "config.json", changed)
    rows = _parity(params, source, exported, config, pad, log)
    size = (exported / "model.onnx").stat().st_size
    log.metric("size_bytes", size)
    log.metric("size_ratio_to_fp32", round(size / plain_bytes, 6))
    return {
        "format": params.format,
        "quantize": params.quantize.model_dump(mode="json"),
        "task": task,
        "output": source.output,
        "opset": params.opset,
        "source": params.model,
        "parameters": sum(weight.numel() for weight in source.parameters()),
        "size_bytes": size,
        "fp32_size_bytes": plain_bytes,
        "parity": rows,
        **quantization.coverage(onnx_model),
    }


def _parity(
    params: ExportParams,
    source: graph.Answering,
    exported: Path,
    config: dict[str, Any],
    pad: int,
    log: Log,
) -> list[dict[str, Any]]:
    started = time.perf_counter()
    session = OnnxModel(exported, params.threads)
    log.observe("load_ms", 1000 * (time.perf_counter() - started))
    sizes = (int(config["vocab_size"]), pad, longest(source.model.config))
    with torch.no_grad():
        rows = parity.compare(source, session.answers, sizes, params.seed)
    relative = None if isinstance(params.quantize, DynamicInt8) else params.parity_relative
    agreement = params.parity_agreement if relative is None else 0.0
    return parity.judged(rows, relative, agreement, log)
