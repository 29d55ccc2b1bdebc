"""Exported folders of format `onnx-translator`, opened in onnxruntime.

    encoder.onnx  input_ids, attention_mask [B, S] -> cross_key_i, cross_value_i [B, H, S, E]
    decoder.onnx  input_ids [N, 1], position [1], rows [N], attention_mask [B, S],
                  past_key_i, past_value_i [N', H, P, E], cross_* -> logits [N, V], present_*

`rows` says which rows of the past the new ones continue, so beams are reordered inside the graph;
N is B times a number of beams that share one sentence's cross-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.lm.exported import ExportedTranslator
from stages.lm.generate import Stepper
from stages.lm.pipelines import Pipeline

Array = NDArray[Any]


class OnnxTranslator(ExportedTranslator):
    """Translates with two graphs; the search is ours."""

    def __init__(
        self, folder: Path, facts: dict[str, Any], pipeline: Pipeline, threads: int = 1
    ) -> None:
        super().__init__(facts, pipeline)
        self.encoder, self.decoder = (
            _session(folder / name, threads) for name in ("encoder.onnx", "decoder.onnx")
        )

    def stepper(self, *, use_cache: bool = True) -> Stepper:
        """Return what a search asks for the next token; the cache is part of the graph."""
        del use_cache
        return OnnxStepper(self.encoder, self.decoder)


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise ArtifactError(f"the folder holds no {path.name}", str(path.parent), "export it again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own binding
        first = str(error).split("\n")[0]
        raise ArtifactError(
            f"{path.name} cannot be opened: {first}", str(path.parent), "export it again"
        ) from None


class OnnxStepper:
    """Steps the two graphs for a search."""

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self.encoder, self.decoder = encoder, decoder
        self._outputs = [one.name for one in decoder.get_outputs()]
        self._past = [one for one in decoder.get_inputs() if one.name.startswith("past_")]
        self._copies = 1
        self._mask: Array = np.zeros((0, 0), np.int64)
        self._cross: dict[str, Array] = {}
        self._cache: dict[str, Array] = {}
        self._rows: Array = np.zeros(0, np.int64)

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> None:
        """Run the encoder once; beams share its keys and values."""
        self._copies, self._mask = copies, mask.numpy()
        names = [one.name for one in self.encoder.get_outputs()]
        found = self.encoder.run(None, {"input_ids": ids.numpy(), "attention_mask": self._mask})
        self._cross = dict(zip(names, found, strict=True))
        rows = len(ids) * copies
        self._rows = np.arange(rows)
        self._cache = {
            one.name: np.zeros((rows, one.shape[1], 0, one.shape[3]), np.float32)
            for one in self._past
        }

    def step(self, prefix: Tensor) -> Tensor:
        """Return log-probabilities [N, V] of the token after prefix [N, T]."""
        feed = {
            "input_ids": prefix[:, -1:].numpy(),
            "position": np.array([prefix.shape[1] - 1], np.int64),
            "rows": self._rows,
            "attention_mask": self._mask,
            **self._cross,
            **self._cache,
        }
        logits, *present = self.decoder.run(None, feed)
        names = (name.replace("present_", "past_") for name in self._outputs[1:])
        self._cache = dict(zip(names, present, strict=True))
        self._rows = np.arange(len(prefix))
        return torch.log_softmax(torch.from_numpy(logits), dim=-1)

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        """Keep these rows; whole sentences leave the cross-attention."""
        self._rows = rows.numpy()
        if sentences_left:
            kept: Sequence[int] = (self._rows[:: self._copies] // self._copies).tolist()
            self._mask = self._mask[kept]
            self._cross = {name: one[kept] for name, one in self._cross.items()}
