"""Does the exported translator say what the model says? Proved on texts, greedy and with a beam.

A float export must give the tokens and scores of the model under torch; where it does not, both
hypotheses are scored by the model, and only a difference of rounding (`TIE_NATS` per token) passes,
listed as a tie. A quantized one must keep its chrF on held-out pairs, or, without a corpus, stay
near the float translations. Sentences come alone and in padded batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.export.stage import DynamicInt8, ExportParams, LexicalShortlist
from stages.lm import corpora
from stages.lm.exported import open_translator
from stages.lm.generate import Hypothesis, Search, score
from stages.lm.metrics import CorpusScore
from stages.lm.tables import iter_rows
from stages.lm.translator import Translator

BEAMS = (1, 5)
TIE_NATS = 1e-5
SCORE_NATS = 1e-4
"""Largest difference of a hypothesis' score per token; rounding makes 1e-6."""
OTHERWISE = 0.1
"""Largest share of sentences in which CTranslate2's beam may keep others than fairseq's would. It
takes the probability of words that it forbids (padding, `</s>` at first), where fairseq only never
chooses them, which moves the scores of models that are hardly trained."""
BATCH = 16
PAIRS = 200
"""Held-out pairs scored at most."""
SENTENCES = (
    "I see a dog.",
    "Where is the nearest station?",
    "My sister, who lives by the sea, writes a long letter every week.",
    "No.",
    "They had already left when we arrived at 8:30, so we took the next train instead.",
    "\"Is this yours?\" asked the old man; nobody answered.",
    "Prices rose by 3.5% in 2019 & fell again a year later.",
    "If it rains tomorrow, the children will stay at home and read the books you gave them.",
    "He doesn't know what he wants, but he wants it now!",
    "The well-known author's newest novel has been translated into twenty-two languages.",
)  # fmt: skip
"""Texts of every proof; pieces of words that a vocabulary lacks become <unk>."""


@dataclass(frozen=True)
class Material:
    """What is translated: fixed sentences, random tokens, and pairs of a corpus if there is one."""

    corpus: Path | None
    random: list[list[int]]

    @classmethod
    def read(
        cls, params: ExportParams, corpus: Path, config: Mapping[str, Any], words: int
    ) -> Material:
        """Return the material of an export; `words` is the size of the source's vocabulary."""
        generator = np.random.Generator(np.random.PCG64(params.seed))
        longest = min(40, int(config["max_position_embeddings"]) - 1)
        lengths = [1, 2, longest, *generator.integers(1, longest + 1, 5).tolist()]
        first = int(config["pad_token_id"]) + 3
        end = int(config["eos_token_id"])
        random = [[*generator.integers(first, words, one).tolist(), end] for one in lengths]
        if params.corpus == "none":
            return cls(None, random)
        corpora.read_corpus(corpus, ["parallel"], "export")
        return cls(corpus, random)

    def pairs(self) -> list[tuple[str, str]]:
        """Return held-out pairs."""
        return list(islice(self._rows("valid"), PAIRS))

    def train(self, count: int) -> list[str]:
        """Return source texts to learn from."""
        return [source for source, _ in islice(self._rows("train"), count)]

    def _rows(self, split: str) -> Iterator[tuple[str, str]]:
        if self.corpus is not None:
            for row in iter_rows(self.corpus, split, ("source_text", "target_text")):
                if row["source_text"].strip():
                    yield row["source_text"], row["target_text"]


@dataclass(frozen=True)
class _Limits:
    """What a float export is compared under."""

    beams: int
    tokens: int
    """Longest hypothesis that is compared."""
    forbids: bool
    """Whether the export gives padding no probability and a beam may keep others than fairseq's
    (OTHERWISE), if the model scores what it found as the export does."""


def prove(
    params: ExportParams, model: Path, exported: Path, material: Material, log: Log
) -> list[dict[str, Any]]:
    """Return one row per search; the first that fails stops the export."""
    reference, translator = Translator.load(model), open_translator(exported)
    pairs = material.pairs()
    texts = [*SENTENCES, *(source for source, _ in pairs)]
    limit = translator.facts["max_source_tokens"]
    encoded = [reference.pipeline.encode(text) for text in texts]
    fitting = [place for place, ids in enumerate(encoded) if len(ids) <= limit]
    sources = [encoded[place] for place in fitting] + material.random
    wanted = [pairs[place - len(SENTENCES)][1] for place in fitting if place >= len(SENTENCES)]
    exact = not isinstance(params.quantize, DynamicInt8)
    exact = exact and not isinstance(params.shortlist, LexicalShortlist)
    rows = []
    for beams in BEAMS:
        longest = min(60, int(translator.facts["max_target_tokens"]))
        search = Search(num_beams=beams, max_tokens=longest)
        expected = reference.hypotheses(sources, search)
        found = [one[0] for one in translator.hypotheses(sources, search, 8)]
        alone = [translator.hypotheses([source], search, 1)[0][0] for source in sources[:4]]
        row: dict[str, Any] = {
            "case": f"beam {beams}" if beams > 1 else "greedy",
            "num_beams": beams,
            "sentences": len(sources),
            "positions": sum(len(found[0].tokens) for found in expected),
        }
        if exact:
            # CTranslate2 chooses beams that are cut at the limit without the `</s>` they lack.
            forbids = params.format == "ctranslate2"
            compared = longest if forbids and beams > 1 else longest + 1
            limits = _Limits(beams, compared, forbids)
            told = translator.rescored(sources, found)
            row |= _equal(reference, sources, expected, told, limits)
            told = translator.rescored(sources[:4], alone)
            _equal(reference, sources[:4], expected[:4], told, limits)
        else:
            count = len(sources) - len(material.random)
            said = [
                [reference.pipeline.decode(one.tokens) for one in part[:count]]
                for part in ([one[0] for one in expected], found)
            ]
            row |= _close(params, said[0], said[1], wanted, beams, log)
        rows.append({**row, "pass": True})
    return rows


def _equal(
    reference: Translator,
    sources: Sequence[Sequence[int]],
    expected: Sequence[Sequence[Hypothesis]],
    found: Sequence[Hypothesis],
    limits: _Limits,
) -> dict[str, Any]:
    """Return counts of equal sentences, ties and sentences too long to compare; others fail.

    Whatever the export says, the model must give it the same score.
    """
    special, ties, cut, otherwise = reference.specials, 0, 0, 0
    own = _scores(reference, sources, found, special.pad if limits.forbids else None)
    # Equal words prove little where a model says the same to everybody; scores differ then.
    apart = [abs(nats - one.score_nats) for nats, one in zip(own, found, strict=True)]
    for source, (one, *rest), other in zip(sources, expected, found, strict=True):
        if any(len(each.tokens) > limits.tokens for each in (one, *rest)):
            cut += 1
            continue
        if one.tokens == other.tokens:
            continue
        nats = _scores(reference, [source, source], [one, other])
        if abs(nats[0] - nats[1]) <= TIE_NATS:
            ties += 1
            continue
        otherwise += 1
        share = OTHERWISE if limits.forbids and limits.beams > 1 else 0.0
        if otherwise > math.ceil(share * len(sources)):
            raise CheckFailed(
                f"{limits.beams} beams: the export says {other.tokens[:12]} ({nats[1]:.6f} nats "
                f"per token) where the model says {one.tokens[:12]} ({nats[0]:.6f})",
                "export: parity",
                "the export is not the model; report this",
            )
    if not max(apart) <= SCORE_NATS:
        raise CheckFailed(
            f"{limits.beams} beams: the export scores its translations {max(apart):.6f} nats per "
            "token from where the model does",
            "export: parity",
            "the export is not the model; report this",
        )
    equal = len(sources) - ties - cut - otherwise
    return {"equal": equal, "ties": ties, "cut": cut, "otherwise": otherwise}


def _scores(
    reference: Translator,
    sources: Sequence[Sequence[int]],
    hypotheses: Sequence[Hypothesis],
    without: int | None = None,
) -> list[float]:
    """Return the model's score of one hypothesis per source, in nats per token."""
    found: list[float] = []
    models = [reference.model, *reference.others]
    for start in range(0, len(sources), BATCH):
        part = slice(start, start + BATCH)
        targets = [one.tokens for one in hypotheses[part]]
        members = [
            score(one, sources[part], targets, reference.specials, without=without)
            for one in models
        ]
        for rows in zip(*members, strict=True):
            nats = np.logaddexp.reduce(np.array(rows), axis=0) - math.log(len(models))
            found.append(float(nats.mean()))
    return found


def _close(
    params: ExportParams,
    expected: list[str],
    found: list[str],
    wanted: list[str],
    beams: int,
    log: Log,
) -> dict[str, Any]:
    """Return the limit that held: points of chrF lost on pairs, or likeness to the float model."""
    if wanted:
        floats, small = (_chrf(part[-len(wanted) :], wanted) for part in (expected, found))
        log.observe(f"parity_chrf_loss_points_beam{beams}", floats - small)
        if not floats - small <= params.parity_points:
            raise CheckFailed(
                f"{beams} beams: chrF falls from {floats:.2f} to {small:.2f} on {len(wanted)} "
                f"pairs, by more than {params.parity_points}",
                "export: parity",
                "quantize less, give the shortlist more words (`each`, `common`), or raise "
                "`parity_points` with a reason",
            )
        return {"pairs": len(wanted), "points_limit": params.parity_points}
    # Texts without a letter, which models hardly trained give, have no chrF even where equal.
    likeness = 1.0 if found == expected else _chrf(found, expected) / 100
    log.observe(f"parity_likeness_fraction_beam{beams}", likeness)
    if not likeness >= params.parity_likeness:
        raise CheckFailed(
            f"{beams} beams: translations are like the float model's to {likeness:.3f} (chrF), "
            f"less than {params.parity_likeness}",
            "export: parity",
            "quantize less, or name a `corpus` to be scored on",
        )
    return {"agreement_limit": params.parity_likeness}


def _chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    metric = CorpusScore("chrf")
    table = metric.statistics(texts, references)
    return float(metric(table.sum(axis=0, keepdims=True))[0])
