"""Taggers in torch and in onnxruntime, alike to the scorer: `labels` and `tag(sentences)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.classify import Tagger
from stages.lm.onnx import OnnxTagger


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
    """An exported model folder in onnxruntime."""

    def __init__(self, folder: Path, threads: int, batch_size: int) -> None:
        self._tagger = OnnxTagger(folder, threads)
        self._batch_size = batch_size
        self.labels = self._tagger.labels

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        found = self._tagger.tag(sentences, self._batch_size)
        return [[tag for tag, _ in row] for row in found]


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
