"""One tagger in several formats: what each folder holds, whether they are one, and opened ones.

Shapes: B sequences, T tokens, C labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stages.core.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS: Mapping[str, Runtime] = {"model.onnx": "onnxruntime", "model.safetensors": "torch"}
Runtime = Literal["torch", "onnxruntime"]


class Variant(Protocol):
    """An opened tagger."""

    def answers(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits [B, T, C]."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A folder that can be timed."""

    label: str
    model: str
    folder: Path
    runtime: Runtime
    size_bytes: int
    config: Mapping[str, Any]
    source: str

    def open(self, threads: int) -> Variant:
        """Open it for so many threads per call."""
        return open_variant(self.folder, self.runtime, threads)

    @property
    def labels(self) -> list[str]:
        """The tags in the order of the logits."""
        names = self.config.get("id2label") or {}
        return [str(names[number]) for number in sorted(names, key=int)]


class TorchVariant:
    """A transformers folder in torch: dense batches, scaled dot-product attention."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        from stages.lm import models

        torch.set_num_threads(threads)
        self._torch = torch
        self.model = models.load(folder, "token-classification")
        self.model.set_attn_implementation("sdpa")
        self.model.eval()

    def answers(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits [B, T, C]; arrays in and out, as with onnxruntime."""
        with self._torch.inference_mode():
            return self.model(
                input_ids=self._torch.from_numpy(input_ids),
                attention_mask=self._torch.from_numpy(attention_mask),
            ).logits.numpy()


def import_runtime(folder: Path, runtime: Runtime) -> None:
    """Import what a runtime needs before it can open a model, its architecture included."""
    if runtime == "torch":
        import transformers

        from stages.lm import models  # noqa: F401

        kind = (_read(folder / "config.json").get("architectures") or ["?"])[0]
        getattr(transformers, kind, None)
        getattr(transformers, "AutoModelForTokenClassification")  # noqa: B009 - imports on access
    else:
        import onnxruntime  # noqa: F401

        from stages.lm import onnx  # noqa: F401


def open_variant(folder: Path, runtime: Runtime, threads: int) -> Variant:
    """Open a folder; torch's thread count holds for the whole process."""
    if runtime == "torch":
        return TorchVariant(folder, threads)
    from stages.lm.onnx import OnnxModel

    return OnnxModel(folder, threads)


def candidates(folders: Iterable[tuple[str, Path]]) -> list[Candidate]:
    """Return what is to be timed, the torch baseline first, or refuse models that are not one.

    A model named twice is timed twice: how far its ratio is from 1 is the noise of the benchmark.
    """
    found: list[Candidate] = []
    for model, folder in folders:
        candidate = _candidate(model, folder, [one.label for one in found])
        if not found and candidate.runtime != "torch":
            raise ArtifactError(
                f"the baseline {model} is an export, not a model in torch",
                str(folder),
                "give `model` an entry of finetune, and the exports as `second` and `third`",
            )
        if found:
            _check_alike(found[0], candidate)
        found.append(candidate)
    return found


def _candidate(model: str, folder: Path, taken: Sequence[str]) -> Candidate:
    weights = next((name for name in WEIGHTS if (folder / name).is_file()), "")
    if not weights or not (folder / "config.json").is_file():
        lacking = "config.json" if weights else " or ".join(WEIGHTS)
        raise ArtifactError(
            f"the folder of {model} holds no {lacking}",
            str(folder),
            "name an entry of finetune or export, and run it",
        )
    config = _read(folder / "config.json")
    kind = (config.get("architectures") or ["?"])[0]
    if not kind.endswith("ForTokenClassification"):
        raise ArtifactError(
            f"{model} is a {kind}, not a tagger", str(folder), "name a tagger or its export"
        )
    label, source = "torch", model
    if WEIGHTS[weights] == "onnxruntime":
        facts = _read(folder / "export.json") if (folder / "export.json").is_file() else {}
        numbers = str((facts.get("quantize") or {}).get("kind", "none"))
        label = "onnx" if numbers == "none" else f"onnx-{numbers}"
        source = str(facts.get("source", ""))
    if label in taken:
        label = f"{label}-{len(taken) + 1}"
    size = sum(path.stat().st_size for path in sorted(folder.glob(f"{weights}*")))
    return Candidate(label, model, folder, WEIGHTS[weights], size, config, source)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ArtifactError(
            f"{path.name} is no JSON: {fault}", str(path), "run the entry that makes it again"
        ) from None
    return found if isinstance(found, dict) else {}


def _check_alike(baseline: Candidate, other: Candidate) -> None:
    """Refuse to time models against each other that do not answer the same question."""
    unlike = [
        (baseline.labels != other.labels, f"{len(baseline.labels)} and {len(other.labels)} labels"),
        (
            baseline.config.get("vocab_size") != other.config.get("vocab_size"),
            f"vocabularies of {baseline.config.get('vocab_size')} and"
            f" {other.config.get('vocab_size')} tokens",
        ),
        (
            other.runtime == "onnxruntime" and other.source not in ("", baseline.model),
            f"{other.model} was exported from {other.source}",
        ),
    ]
    for differs, how in unlike:
        if differs:
            raise ArtifactError(
                f"{baseline.model} and {other.model} are not one model: {how}",
                str(other.folder),
                f"name exports of {baseline.model}",
            )
