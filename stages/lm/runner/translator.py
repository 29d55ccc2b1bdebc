"""Exported folders of format `runner`, opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lm.exported import ExportedTranslator, Found
from stages.lm.generate import Hypothesis, Search, Specials
from stages.lm.pipelines import Pipeline
from stages.lm.runner import storage
from stages.lm.runner.engine import Answers, Runner, Settings
from stages.lm.runner.search import Rules


class RunnerTranslator(ExportedTranslator):
    """Translates with one compiled instance per thread."""

    def __init__(
        self, folder: Path, facts: dict[str, Any], pipeline: Pipeline, threads: int = 1
    ) -> None:
        super().__init__(facts, pipeline)
        packed, shortlist = storage.read(folder)
        self.runner = Runner(packed, Settings(threads=threads), shortlist)

    def hypotheses(
        self,
        sources: Sequence[Sequence[int]],
        settings: Search,
        batch_size: int = 32,
        *,
        use_cache: bool = True,
    ) -> Found:
        """Return all finished hypotheses per source; batches are the runner's own affair."""
        del batch_size, use_cache
        if settings.no_repeat_ngram_size:
            raise self._refused(f"no_repeat_ngram_size = {settings.no_repeat_ngram_size}")
        rules = rules_of(settings, self.specials, self.longest(settings))
        return hypotheses_of(self.runner.translate(sources, rules))


def rules_of(settings: Search, special: Specials, longest: int) -> Rules:
    """Return a search as compiled code takes it."""
    return Rules(
        settings.num_beams, float(settings.length_penalty), longest, settings.min_tokens,
        float(settings.unknown_penalty), special.pad, special.eos, special.unk, special.start,
    )  # fmt: skip


def hypotheses_of(answers: Answers) -> Found:
    """Return finished hypotheses of every source, best first."""
    found = answers.found
    result: Found = []
    for row, count in enumerate(found.count.tolist()):
        own = []
        for one in range(count):
            length = int(found.lengths[row, one])
            totals = found.totals[row, one, :length].tolist()
            parts = [now - before for now, before in zip(totals, [0.0, *totals], strict=False)]
            tokens = found.tokens[row, one, :length].tolist()
            own.append(Hypothesis(tokens, float(found.scores[row, one]), parts))
        result.append(sorted(own, key=lambda one: -one.score_nats))
    return result
