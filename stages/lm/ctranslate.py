"""Exported folders of format `ctranslate2`, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
        longest = self.longest(settings)
        texts = self._texts(sources)
        results = self.session.translate_batch(
            texts,
            max_batch_size=batch_size,
            beam_size=settings.num_beams,
            num_hypotheses=settings.num_beams,
            length_penalty=settings.length_penalty,
            max_decoding_length=longest,
            min_decoding_length=settings.min_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            return_scores=True,
        )
        found = [list(zip(result.hypotheses, result.scores, strict=True)) for result in results]
        self._close(texts, found, longest, settings.length_penalty)
        return [
            [
                Hypothesis([*(self._ids[one] for one in tokens), self.specials.eos], score, [])
                for tokens, score in sorted(hypotheses, key=lambda one: -one[1])
            ]
            for hypotheses in found
        ]

    def _close(
        self,
        sources: Sequence[Sequence[str]],
        found: Sequence[list[tuple[list[str], float]]],
        longest: int,
        penalty: float,
    ) -> None:
        """Score what was cut at the longest output with the `</s>` that fairseq forces there."""
        cut = [
            (row, place)
            for row, hypotheses in enumerate(found)
            for place, (tokens, _) in enumerate(hypotheses)
            if len(tokens) == longest
        ]
        if not cut:
            return
        totals = self._totals(
            [sources[row] for row, _ in cut], [found[row][place][0] for row, place in cut]
        )
        for (row, place), total in zip(cut, totals, strict=True):
            found[row][place] = (found[row][place][0], total / (longest + 1) ** penalty)

    def rescored(
        self, sources: Sequence[Sequence[int]], hypotheses: Sequence[Hypothesis]
    ) -> list[Hypothesis]:
        """Return one hypothesis per source with its score under plain reading, length penalty 1.

        CTranslate2's search takes the probability of words that it forbids, such as `</s>` at
        first, and gives it to the others; fairseq's does not.
        """
        texts = [[self.pipeline.target[one] for one in each.tokens[:-1]] for each in hypotheses]
        totals = self._totals(self._texts(sources), texts)
        return [
            replace(one, score_nats=total / len(one.tokens))
            for one, total in zip(hypotheses, totals, strict=True)
        ]

    def _texts(self, sources: Sequence[Sequence[int]]) -> list[list[str]]:
        return [[self._symbols[one] for one in source] for source in sources]

    def _totals(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return the log-probability of every target, its `</s>` included, in nats."""
        pairs = ([list(one) for one in side] for side in (sources, targets))
        return [sum(one.log_probs) for one in self.session.score_batch(*pairs)]
