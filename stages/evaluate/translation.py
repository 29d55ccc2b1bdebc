"""Translation scores: BLEU and chrF by sacrebleu, under chosen ways of decoding."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from stages.evaluate.material import open_corpus, rows_digest
from stages.evaluate.scoreboard import EXACT_DIGITS, Measure, Scoreboard, Systems
from stages.evaluate.stage import Stored, Summarisation, TableAnswering, Translation
from stages.lm.decoding.settings import Beam, Constrained, Settings, block, stored, trait
from stages.lm.ensembles import Members
from stages.lm.metrics import CorpusScore
from stages.lm.parts import Parts
from stages.lm.recordings import Recordings
from stages.lm.seq2seq import is_composite
from stages.lm.translator import Translator
from stages.lm.writer import Writer

METRICS = ("bleu", "chrf")
CHUNK = 64
"""Sentences translated between two reports of progress."""
COPIED = "copied-source"
RECORDED = "recorded-original"
"""What the software that a model was ported from translated itself."""


@dataclass(frozen=True)
class Way:
    """A way of decoding and what its scores are called."""

    label: str
    settings: Settings

    @property
    def traits(self) -> dict[str, Any]:
        """Return what a signature must say of it."""
        fields = block(self.settings)
        beams = {"beam": fields["num_beams"]} if "num_beams" in fields else {}
        return {**beams, "decoding": trait(self.settings)}


def score(task: Translation, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a translator on detokenised text, beside the copied source and its rivals."""
    params = board.params
    material = open_corpus(corpus, "parallel")
    pairs = material.rows(params.split, task.max_sentences)
    columns = ("target_text", "source_text") if task.reverse else ("source_text", "target_text")
    sources, references = ([row[column] for row in pairs] for column in columns)
    ways = ways_of(task, systems.model)
    ours = written(systems.model, ways, sources, board, task.members)
    others: dict[str, Sequence[str]] = {COPIED: sources}
    for name, folder in systems.rivals():
        others[name] = written(folder, ways[:1], sources, board, task.members)[ways[0].label]
    digest = rows_digest({"s": a, "r": b} for a, b in zip(sources, references, strict=True))
    recorded = _recorded(systems.model, ways, task, sources, ours, board)
    for metric in METRICS:
        _score_metric(metric, ways, ours, others, recorded, references, digest, board)
    board.extra["direction"] = "reverse" if task.reverse else "forward"
    board.extra["decoding"] = {way.label: block(way.settings) for way in ways}
    board.extra["members"] = task.members
    texts = [dict(zip(ours, each, strict=True)) for each in zip(*ours.values(), strict=True)]
    board.keep(
        [
            {"id": row["id"], "source": source, "reference": reference, **said}
            for row, source, reference, said in zip(pairs, sources, references, texts, strict=True)
        ]
    )


def ways_of(task: Translation | Summarisation | TableAnswering, model: Path) -> list[Way]:
    """Return the ways of decoding, the chosen one first, each once and under a name of its own."""
    chosen = task.decoding
    first = (stored(model) or Beam()) if isinstance(chosen, Stored) else chosen
    found: list[Way] = []
    for settings in [first, *task.beside]:
        if any(settings == way.settings for way in found):
            continue
        found.append(Way(_label(settings, [way.label for way in found]), settings))
    return found


def _label(settings: Settings, taken: Sequence[str]) -> str:
    """Return a new name: the kind, the kind with its beams, or that with a letter."""
    name = settings.kind.replace("-", "_")
    wide = f"{name}{block(settings).get('num_beams', '')}"
    lettered = (f"{wide}_{letter}" for letter in string.ascii_lowercase)
    return next(one for one in chain((name, wide), lettered) if one not in taken)


def written(
    folder: Path,
    ways: Sequence[Way],
    sources: Sequence[str],
    board: Scoreboard,
    members: Members = "all",
) -> dict[str, list[str]]:
    """Return what a model writes for texts, by the name of the way it was made."""
    from stages.lm.device import prepare

    prepare(board.params.threads)
    composite = is_composite(folder)
    translator = Writer.load(folder) if composite else Translator.load(folder, members)
    if isinstance(translator, Writer) and (cut := translator.cut(sources)):
        board.note(
            f"{cut} of {len(sources)} texts are longer than the {translator.texts.limit} tokens"
            f" that {folder.parent.name}/{folder.name} reads, and lost their end."
        )
    found: dict[str, list[str]] = {way.label: [] for way in ways}
    for way in ways:

        def work(first: int, way: Way = way) -> list[tuple[str, bool]]:
            part = sources[first : first + CHUNK]
            outputs = translator.outputs(part, way.settings, board.params.batch_size, first)
            return [(one[0].text, one[0].constraints_met) for one in outputs]

        rows: list[tuple[str, bool]] = []
        parts = Parts(board.log, f"{folder.parent.name} {folder.name} {way.label}")
        for number, start in enumerate(range(0, len(sources), CHUNK)):
            rows += parts.make(number, partial(work, start), _packed, json.loads)
            board.log.progress(len(rows), len(sources), f"sentences, {way.label}")
        parts.close()
        found[way.label] = [text for text, _ in rows]
        if isinstance(way.settings, Constrained):
            _tell_constraints(f"{way.label}:{folder.parent.name}/{folder.name}", rows, board)
    return found


def _tell_constraints(name: str, rows: Sequence[tuple[str, bool]], board: Scoreboard) -> None:
    """Say how many outputs hold every phrase that was asked for."""
    met = sum(held for _, held in rows)
    told = board.extra.setdefault("constraints", {})
    told[name] = {"met": met, "sentences": len(rows)}
    if met < len(rows):
        board.note(f"{len(rows) - met} of {len(rows)} outputs of {name} miss a phrase.")


def _packed(rows: Iterable[tuple[str, bool]]) -> bytes:
    return json.dumps(list(rows)).encode("ascii")


def _recorded(
    model: Path,
    ways: Sequence[Way],
    task: Translation,
    sources: Sequence[str],
    ours: Mapping[str, list[str]],
    board: Scoreboard,
) -> dict[str, list[str]]:
    """Compare with what the original software translated, where the model's port kept it.

    Returns its translations by way of decoding, where it has one for every sentence.
    """
    recordings = Recordings.load(model)
    whole: dict[str, list[str]] = {}
    rows = []
    for way in ways:
        known = recordings.of(way.settings, task.members)
        met = [place for place, source in enumerate(sources) if source in known]
        if not met:
            continue
        differ = [
            {
                "source": sources[place],
                "original": known[sources[place]].text,
                "ours": ours[way.label][place],
                "near_tie": known[sources[place]].near_tie,
            }
            for place in met
            if known[sources[place]].text != ours[way.label][place]
        ]
        rows.append(
            {
                "decoding": way.label,
                "sentences": len(met),
                "equal": len(met) - len(differ),
                "differ": differ,
            }
        )
        board.log.metric(f"{way.label}_as_recorded_sentences", len(met) - len(differ))
        apart = [row for row in differ if not row["near_tie"]]
        if apart:
            board.note(
                f"{len(apart)} of {len(met)} {way.label} translations are not those that the "
                "original software recorded, and its scores of them are no near ties."
            )
        if len(met) == len(sources):
            whole[way.label] = [known[source].text for source in sources]
    if rows:
        board.extra["recorded"] = rows
    return whole


def _score_metric(
    name: str,
    ways: Sequence[Way],
    ours: Mapping[str, list[str]],
    others: Mapping[str, Sequence[str]],
    recorded: Mapping[str, list[str]],
    references: Sequence[str],
    digest: str,
    board: Scoreboard,
) -> None:
    metric, model, n = CorpusScore(name), board.params.model, len(references)
    tables = {way.label: metric.statistics(ours[way.label], references) for way in ways}
    signature = dict(part.split(":", 1) for part in metric.signature.split("|"))

    def measure(way: Way) -> Measure:
        traits = {**signature, **way.traits, "data": digest}
        label = f"{name}_{way.label}"
        return Measure(label, "points", metric, "sentence", traits, EXACT_DIGITS)

    for way in reversed(ways):
        board.score(measure(way), tables[way.label], n)
    chosen = ways[0]
    best, own = measure(chosen), (f"{chosen.label}:{model}", tables[chosen.label])
    for way in ways[1:]:
        board.compare(best, own, (f"{way.label}:{model}", tables[way.label]), n)
    for system, texts in others.items():
        table = metric.statistics(texts, references)
        board.score(best, table, n, baseline=system)
        board.compare(best, own, (system, table), n)
    for way in ways:
        if way.label in recorded:
            table = metric.statistics(recorded[way.label], references)
            board.score(measure(way), table, n, baseline=RECORDED)
            mine = (f"{way.label}:{model}", tables[way.label])
            board.compare(measure(way), mine, (RECORDED, table), n)
