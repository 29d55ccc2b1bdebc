"""Choose among checkpoints and decoding settings by their scores on pairs of the valid split.

BLEU and chrF are sacrebleu's on detokenised text, to the last digit. Tables are sorted by the score
that decides; of equals the cheaper comes first, so that one run gives one winner.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.lm.corpora import read_corpus
from stages.lm.decoding.settings import Beam
from stages.lm.metrics import CorpusScore
from stages.lm.parts import Parts
from stages.lm.tables import iter_rows
from stages.lm.translator import Translator
from stages.port.choices import Choice, ProductSearch

SPLIT = "valid"
METRICS = ("bleu", "chrf")


@dataclass(frozen=True)
class Pairs:
    """What choices are made by: texts and their reference translations."""

    sources: list[str]
    references: list[str]

    @property
    def digest(self) -> str:
        """12 hex digits of the pairs in their order."""
        state = hashlib.sha256()
        for one, other in zip(self.sources, self.references, strict=True):
            state.update(canonical.line({"s": one, "r": other}).encode("utf-8") + b"\n")
        return state.hexdigest()[:12]


def read_pairs(folder: Path, choice: Choice) -> Pairs:
    """Return the valid split of a parallel corpus, in its order or drawn by a hash of the ids."""
    read_corpus(folder, ["parallel"], "port")
    rows = list(iter_rows(folder, SPLIT, ("id", "source_text", "target_text")))
    if not rows:
        raise ArtifactError(
            f"the {SPLIT} split of the corpus holds nothing to choose by",
            str(folder),
            f"give `split` of that refine entry a share for {SPLIT}; test pairs are never used",
        )
    if choice.max_sentences and len(rows) > choice.max_sentences:
        rows = sorted(rows, key=_place)[: choice.max_sentences]
    sides = [[str(row[column]) for row in rows] for column in ("source_text", "target_text")]
    sources, references = reversed(sides) if choice.reverse else sides
    return Pairs(sources, references)


def _place(row: Any) -> tuple[str, str]:
    return hashlib.sha256(str(row["id"]).encode("utf-8")).hexdigest(), str(row["id"])


def score(translator: Translator, pairs: Pairs, beam: Beam, batch_size: int) -> dict[str, float]:
    """Return BLEU and chrF of the translations under these settings."""
    texts = translator.decoded(pairs.sources, beam, batch_size)
    found = {}
    for name in METRICS:
        metric = CorpusScore(name)
        sums = metric.statistics(texts, pairs.references).sum(axis=0, keepdims=True)
        found[name] = float(metric(sums)[0])
    return found


def signatures(pairs: Pairs) -> dict[str, str]:
    """Return sacrebleu's signatures of the scores."""
    found = {}
    for name in METRICS:
        metric = CorpusScore(name)
        metric.statistics(pairs.references[:1], pairs.references[:1])
        found[name] = metric.signature
    return found


def told(pairs: Pairs, choice: Choice) -> dict[str, Any]:
    """Return what a table of choices rests on."""
    return {
        "metric": choice.metric,
        "split": SPLIT,
        "n": len(pairs.sources),
        "data": pairs.digest,
        "signatures": signatures(pairs),
    }


def grid(wanted: ProductSearch) -> list[Beam]:
    """Return every combination, cheap ones first, each once."""
    found: list[Beam] = []
    for beams, penalty, stop in itertools.product(
        sorted(set(wanted.num_beams)),
        sorted(set(wanted.length_penalty)),
        sorted(set(wanted.early_stopping), key=str, reverse=True),
    ):
        found.append(
            Beam(
                num_beams=beams,
                length_penalty=penalty,
                early_stopping=stop,
                search=wanted.search,
            )
        )
    return found


def search(
    translator: Translator,
    pairs: Pairs,
    wanted: ProductSearch,
    choice: Choice,
    batch_size: int,
    log: Log,
) -> tuple[Beam, list[dict[str, Any]]]:
    """Return the best settings and the table of all, best first."""
    parts = Parts(log, "decoding search")
    settings = grid(wanted)
    scored = []
    for number, beam in enumerate(settings):
        work = partial(score, translator, pairs, beam, batch_size)
        found = parts.make(number, work, _packed, json.loads)
        scored.append((beam, found))
        log.progress(number + 1, len(settings), "settings")
    parts.close()
    order = ranked([found[choice.metric] for _, found in scored])
    table = [
        {
            "num_beams": scored[place][0].num_beams,
            "length_penalty": scored[place][0].length_penalty,
            "early_stopping": scored[place][0].early_stopping,
            **scored[place][1],
            "chosen": rank == 0,
        }
        for rank, place in enumerate(order)
    ]
    return scored[order[0]][0], table


def ranked(values: Sequence[float]) -> list[int]:
    """Return places from the highest value down; of equals the earlier comes first."""
    return sorted(range(len(values)), key=lambda place: (-values[place], place))


def _packed(found: dict[str, float]) -> bytes:
    return canonical.dumps(found).encode("ascii")
