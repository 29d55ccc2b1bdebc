"""Dynamic int8 by onnxruntime's own quantizer, and how much of a graph it reached."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.export.graph import cleaned
from stages.export.stage import DynamicInt8


def quantized(model: Any, params: DynamicInt8, clean: Callable[[Any], Any] = cleaned) -> Any:
    """Return the model with int8 weights (signed, symmetric) and activations scaled at run time."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kinds = ["MatMul", "Gemm", "Attention", *(["Gather"] if params.embeddings else [])]
    with _quiet_root(), tempfile.TemporaryDirectory(prefix="deveno-quantize-") as folder:
        target = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model,
            target,
            weight_type=QuantType.QInt8,
            per_channel=params.per_channel,
            reduce_range=params.reduce_range,
            op_types_to_quantize=kinds,
            # Shape inference knows nothing of onnxruntime's own attention operator.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return clean(onnx.load(target))


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """Keep the quantizer's advice to preprocess, which it gives the root logger, to itself."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def coverage(model: Any) -> dict[str, Any]:
    """Return operator counts, and the bytes of weights per number format."""
    import onnx

    operators = Counter(node.op_type for node in model.graph.node)
    bytes_of: Counter[str] = Counter()
    values = 0
    for tensor in model.graph.initializer:
        count = 1
        for size in tensor.dims:
            count *= size
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        bytes_of[kind] += count * width
        values += count
    return {
        "operators": dict(sorted(operators.items())),
        "weight_bytes": dict(sorted(bytes_of.items())),
        "weights": values,
    }
