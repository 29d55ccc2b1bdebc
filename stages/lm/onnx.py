"""An exported model in onnxruntime: nothing of ours is in the folder it opens.

Shapes: B sequences, T tokens, C labels, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError
from stages.lm.words import Encoder, Window

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


class OnnxTagger:
    """An exported tagger; sentences reach it as they reach the trained one.

    A dynamically quantized model scales its activations by what else is in the batch, so batches
    are cut by length and then by order, the same on every machine.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from transformers import AutoConfig

        from stages.lm import models

        self._model = OnnxModel(folder, threads)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = models.open_tokenizer(folder)
        self._encoder = Encoder(tokenizer, models.longest(config))
        self._pad = int(tokenizer.pad_token_id)
        self.labels = [str(config.id2label[number]) for number in range(len(config.id2label))]

    def tag(
        self, sentences: Sequence[Sequence[str]], batch_size: int = 1
    ) -> list[list[tuple[str, float]]]:
        """Return (tag, probability) for every word of every sentence."""
        windows = self._encoder.encode(sentences)
        found = [[("", 0.0)] * len(sentence) for sentence in sentences]
        order = sorted(windows, key=lambda window: -len(window.ids))
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            shares = self._shares(batch)
            best = shares.argmax(-1)
            for row, window in enumerate(batch):
                for word, head in enumerate(window.heads):
                    label = int(best[row, head])
                    said = self.labels[label], float(shares[row, head, label])
                    found[window.sentence][window.first + word] = said
        return found

    def _shares(self, batch: Sequence[Window]) -> NDArray[np.float32]:
        """Return the probability of every label of every token [B, T, C]."""
        width = max(len(window.ids) for window in batch)
        ids = np.full((len(batch), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=np.int64)
        for row, window in enumerate(batch):
            ids[row, : len(window.ids)] = window.ids
            mask[row, : len(window.ids)] = 1
        logits = self._model.logits(ids, mask)
        if logits.ndim != 3 or logits.shape[-1] != len(self.labels):
            raise ArtifactError(
                f"the graph answers {list(logits.shape)}, not a score for each of"
                f" {len(self.labels)} labels",
                FILE,
                "point `model` at an export of a tagger (task token-classification)",
            )
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
