"""Exported folders of format `ctranslate2`, opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.exported import ExportedTranslator, Found
from stages.lm.generate import Hypothesis, Search
from stages.lm.pipelines import Pipeline


class CTranslate2Translator(ExportedTranslator):
    """Translates with CTranslate2; with a length penalty its search stops as fairseq's does."""

    def __init__(
        self, folder: Path, facts: dict[str, Any], pipeline: Pipeline, threads: int = 1
    ) -> None:
        import ctranslate2

        super().__init__(facts, pipeline)
        try:
            self.session = ctranslate2.Translator(
                str(folder), device="cpu", inter_threads=1, intra_threads=threads,
                compute_type=facts["compute_type"],
            )  # fmt: skip
        except (RuntimeError, ValueError, KeyError) as error:
            raise ArtifactError(
                f"the model cannot be opened: {str(error).splitlines()[0]}", str(folder),
                "export the translator again",
            ) from None  # fmt: skip
        self._symbols = {index: symbol for symbol, index in pipeline.source.items()}
        self._ids = {symbol: index for index, symbol in pipeline.target.items()}

    def hypotheses(
        self,
        sources: Sequence[Sequence[int]],
        settings: Search,
        batch_size: int = 32,
        *,
        use_cache: bool = True,
    ) -> Found:
        """Return all finished hypotheses per source, best first; single scores are not told."""
        del use_cache
        if settings.unknown_penalty or settings.length_penalty <= 0:
            raise ParamsError(
                f"CTranslate2 has no unknown_penalty = {settings.unknown_penalty} with "
                f"length_penalty = {settings.length_penalty}",
                "decoding",
                "use unknown_penalty: 0 and a positive length_penalty, or the ported model",
            )
        results = self.session.translate_batch(
            [[self._symbols[one] for one in source] for source in sources],
            max_batch_size=batch_size,
            beam_size=settings.num_beams,
            num_hypotheses=settings.num_beams,
            length_penalty=settings.length_penalty,
            # What is cut here ends without `</s>`, which fairseq forces; it is appended below.
            max_decoding_length=self.longest(settings),
            min_decoding_length=settings.min_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            return_scores=True,
        )
        return [
            [
                Hypothesis([*(self._ids[one] for one in tokens), self.specials.eos], score, [])
                for tokens, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]
