"""Exported translators: folders of stage `export` that translate as the ported model does.

`translator.json` says what is in the folder: its format, the ids with a meaning of their own and
the longest source and output. `Translator.load` opens such a folder by it, so that whatever takes
a translator takes an exported one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.decoding.decoder import Decoder
from stages.lm.generate import Hypothesis, Search, Specials, Stepper
from stages.lm.pipelines import Pipeline, load_pipeline
from stages.lm.translator import EXPORTED, EXTRA_TOKENS, Translator

FORMATS = ("onnx-translator", "ctranslate2", "runner")


def read_mark(folder: Path) -> dict[str, Any]:
    """Return translator.json, checked."""
    try:
        facts = json.loads((folder / EXPORTED).read_text(encoding="utf-8"))
        known = facts["format"] in FORMATS
        Specials(**facts["specials"])
        lengths = [int(facts["max_source_tokens"]), int(facts["max_target_tokens"])]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"{EXPORTED} cannot be read: {fault}", str(folder), "export the translator again"
        ) from None
    if not known or min(lengths) < 1:
        raise ArtifactError(
            f"{EXPORTED} says format {facts['format']!r} and lengths {lengths}", str(folder),
            f"export it as one of {', '.join(FORMATS)}",
        )  # fmt: skip
    return dict(facts)


def open_translator(folder: Path, threads: int = 1) -> ExportedTranslator:
    """Open an exported translator in the runtime of its format."""
    facts = read_mark(folder)
    pipeline = load_pipeline(folder)
    if facts["format"] == "onnx-translator":
        from stages.lm.onnx_translator import OnnxTranslator

        return OnnxTranslator(folder, facts, pipeline, threads)
    if facts["format"] == "ctranslate2":
        from stages.lm.ctranslate import CTranslate2Translator

        return CTranslate2Translator(folder, facts, pipeline, threads)
    from stages.lm.runner.translator import RunnerTranslator

    return RunnerTranslator(folder, facts, pipeline, threads)


class ExportedTranslator(Translator):
    """A translator without a torch model; its searches are fairseq's."""

    def __init__(self, facts: dict[str, Any], pipeline: Pipeline) -> None:
        model = SimpleNamespace(
            config=SimpleNamespace(max_position_embeddings=facts["max_source_tokens"]),
            generation_config=SimpleNamespace(max_length=facts["max_target_tokens"] + EXTRA_TOKENS),
        )
        super().__init__(model, pipeline, Specials(**facts["specials"]))
        self.facts = facts

    def stepper(self, *, use_cache: bool = True) -> Stepper:
        """Refuse: the runtime searches by itself."""
        raise self._refused(f"single steps (use_cache {use_cache})")

    def rescored(
        self, sources: Sequence[Sequence[int]], hypotheses: Sequence[Hypothesis]
    ) -> list[Hypothesis]:
        """Return one hypothesis per source with the score that the model gives it."""
        del sources
        return list(hypotheses)

    def _decoder(self) -> Decoder:
        raise self._refused("search but fairseq's")

    def _generate(
        self, sources: Sequence[Sequence[int]], num_beams: int, batch_size: int
    ) -> list[list[int]]:
        raise self._refused("search but fairseq's")

    def _refused(self, what: str) -> ParamsError:
        return ParamsError(
            f"a translator exported as {self.facts['format']} has no {what}",
            "decoding",
            "decode greedily or by a beam with `search: fairseq`, or use the ported model",
        )

    def capped(self, tokens: int) -> int:
        """Return a length of outputs cut to what the positions of the export allow."""
        return min(tokens, int(self.facts["max_target_tokens"]))

    def longest(self, settings: Search) -> int:
        """Return the longest output of a search that the positions allow."""
        return min(settings.max_tokens, int(self.facts["max_target_tokens"]))


Found = list[list[Hypothesis]]
"""Finished hypotheses per source, best first."""
