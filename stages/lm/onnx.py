"""An exported model in onnxruntime: nothing of ours is in the folder it opens.

Shapes: B sequences, T tokens, C labels, V vocabulary, D hidden size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError

FILE = "model.onnx"


class OnnxModel:
    """A graph of `input_ids` and `attention_mask` [B, T] that answers [B, T, C|V|D]."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = folder / FILE
        if not path.is_file():
            raise ArtifactError(
                f"the folder holds no {FILE}", str(folder), "export the model first"
            )
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own binding
            first = str(error).split("\n")[0]
            raise ArtifactError(
                f"{FILE} cannot be opened: {first}", str(folder), "export the model again"
            ) from None

    def answers(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the graph's first output for a padded batch."""
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.session.run(None, feed)[0]

    logits = answers
