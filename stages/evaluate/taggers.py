"""Taggers in torch and in onnxruntime, alike to the scorer: `labels` and `tag(sentences)`.

Shapes: B sequences, T tokens, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.core.errors import ArtifactError
from stages.evaluate.encoding import chunks
from stages.lm import models
from stages.lm.classify import Tagger
from stages.lm.onnx import OnnxModel
from stages.lm.words import Encoder, Window


class TrainedTagger:
    """A fine-tuned model folder in torch."""

    def __init__(self, folder: Path, threads: int, batch_size: int) -> None:
        self._tagger = Tagger.load(folder, threads)
        self._batch_size = batch_size
        self.labels = self._tagger.labels

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        found = self._tagger.tag(sentences, self._batch_size)
        return [[tag for tag, _ in row] for row in found]


class ExportedTagger:
    """An exported model folder in onnxruntime; sentences reach it as they reach the trained one.

    A dynamically quantized model scales its activations by what else is in the batch, so batches
    are cut by length and then by order, the same on every machine.
    """

    def __init__(self, folder: Path, threads: int, batch_size: int) -> None:
        from transformers import AutoConfig

        self._model = OnnxModel(folder, threads)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = models.open_tokenizer(folder)
        self._encoder = Encoder(tokenizer, models.longest(config))
        self._pad = int(tokenizer.pad_token_id)
        self._batch_size = batch_size
        self.labels = [str(config.id2label[number]) for number in range(len(config.id2label))]

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        windows = self._encoder.encode(sentences)
        found = [[""] * len(sentence) for sentence in sentences]
        order = sorted(windows, key=lambda window: -len(window.ids))
        for batch in chunks(order, self._batch_size):
            best = self._best(batch)
            for row, window in enumerate(batch):
                for word, head in enumerate(window.heads):
                    found[window.sentence][window.first + word] = self.labels[best[row, head]]
        return found

    def _best(self, batch: Sequence[Window]) -> np.ndarray:
        """Return the best label of every token [B, T]."""
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
                "model.onnx",
                "point `model` at an export of a tagger (task token-classification)",
            )
        return logits.argmax(-1)


def open_tagger(folder: Path, threads: int, batch_size: int) -> TrainedTagger | ExportedTagger:
    """Open a tagger in torch or, where the folder holds model.onnx, in onnxruntime."""
    if (folder / "model.onnx").is_file():
        return ExportedTagger(folder, threads, batch_size)
    if not (folder / "config.json").is_file():
        raise ArtifactError(
            "the folder holds neither config.json nor model.onnx",
            str(folder),
            "point at an entry of finetune or export",
        )
    return TrainedTagger(folder, threads, batch_size)
