"""From the source folder to the ported one: read, convert, write, verify; of several, choose."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import canonical
from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.lm import ensembles, recordings
from stages.lm.decoding import settings
from stages.lm.decoding.settings import Beam
from stages.port import choosing
from stages.port.checks import Verification, require
from stages.port.choices import ProductSearch
from stages.port.fairseq import (
    combination,
    families,
    folder,
    layout,
    source,
    union,
    verification,
)
from stages.port.fairseq.release import checkpoints, unpacked

if TYPE_CHECKING:
    from stages.lm.translator import Translator
    from stages.port.stage import Fairseq

MEMBER_FILES = ("config.json", "generation_config.json", "model.safetensors")
"""What a further member of an ensemble has of its own; text and vocabularies are shared."""
LIMIT_MEAN = 1e-6
"""Largest error of an average in fp32 against the mean in fp64, over the largest weight."""


@dataclass
class Ported:
    """A checkpoint as it was ported: what it was read from and how the proof went."""

    release: source.Source
    accounts: list[layout.Account]
    report: Verification

    def without_memory(self) -> Ported:
        """Return the same with tensors that have a type and a shape, and no content."""
        empty = {key: tensor.to("meta") for key, tensor in self.release.tensors.items()}
        return dataclasses.replace(self, release=dataclasses.replace(self.release, tensors=empty))


@dataclass
class _Work:
    """What every step of a port needs."""

    params: Fairseq
    files: Path
    pairs: choosing.Pairs | None
    log: Log


def port_folder(
    params: Fairseq, files: Path, pairs: Path | None, model: Path, log: Log
) -> dict[str, Any]:
    """Write the ported model to `model` and return its verification, all checks passed."""
    if len(params.moses_languages) == 1:
        raise ParamsError(
            f"moses_languages = {params.moses_languages} names one language",
            "params.yaml: port.<entry>.source.moses_languages",
            "name two, source and target, such as [en, eo], or none for the model's own",
        )
    given = choosing.read_pairs(pairs, params.choice) if pairs is not None else None
    combine = {"single": _single, "best": _best, "average": _average, "ensemble": _ensemble}
    with unpacked(files) as place:
        work = _Work(params, place, given, log)
        made, found = combine[params.combine](work, model)
    found |= _defaults(work, model)
    recordings.write(model, _recorded(params, made))
    _log(log, made)
    return summary(made, params.combine) | found


def _single(work: _Work, model: Path) -> tuple[list[Ported], dict[str, Any]]:
    """Port the checkpoint asked for; not asked, the one that the recordings were made with."""
    release = source.read(work.files, work.params)
    owner = combination.owner(work.files, work.params, release, [])
    if owner not in ("", release.checkpoint) and not work.params.checkpoint:
        release = source.read(work.files, work.params, owner)
    there = checkpoints(work.files)
    if len(there) > 1 and not work.params.checkpoint:
        told = f"{release.checkpoint} of {', '.join(there)}; `checkpoint` and `combine` choose"
        work.log.text("checkpoint_chosen", told)
    if owner in ("", release.checkpoint):
        return [_port(work, release, model)], {}
    made = _port(work, dataclasses.replace(release, recorded={}), model)
    return [made], {"recorded_of": owner}


def _best(work: _Work, model: Path) -> tuple[list[Ported], dict[str, Any]]:
    """Port and score every checkpoint; the best folder stays."""
    place = work.log.scratch / "candidates"
    shutil.rmtree(place, ignore_errors=True)
    some = combination.group(work.files, work.params)
    made, rows = [], []
    for name in some.names:
        made.append(_port(work, some.read(name), place / name).without_memory())
        rows.append(_scored(work, place / name, name))
        work.log.progress(len(rows), len(some.names), "checkpoints")
    order = choosing.ranked([row[work.params.choice.metric] for row in rows])
    shutil.move(place / some.names[order[0]], model)
    shutil.rmtree(place)
    table = [rows[at] | {"chosen": rank == 0} for rank, at in enumerate(order)]
    return [made[order[0]]], {"candidates": _told(work, table)}


def _average(work: _Work, model: Path) -> tuple[list[Ported], dict[str, Any]]:
    """Port the mean of all weights."""
    some = combination.group(work.files, work.params)
    if len(some.names) == 1:
        return _single(work, model)
    release, error = combination.average(some)
    mean = Verification()
    mean.add("weights are the mean", error, LIMIT_MEAN, len(release.tensors))
    require(mean, release.checkpoint)
    made = _port(work, release, model)
    made.report.checks[:0] = mean.checks
    return [made], {"checkpoints": some.names}


def _ensemble(work: _Work, model: Path) -> tuple[list[Ported], dict[str, Any]]:
    """Port every checkpoint; the first is the folder, the others stand below it."""
    place = work.log.scratch / "members"
    shutil.rmtree(place, ignore_errors=True)
    some = combination.group(work.files, work.params)
    if len(some.names) == 1:
        return _single(work, model)
    chosen = [some.read(name) for name in some.names]
    made = []
    for number, one in enumerate(chosen, start=1):
        own = model if number == 1 else place / str(number)
        made.append(_port(work, one, own))
        if number > 1:
            member = model / ensembles.member_place(number)
            member.mkdir(parents=True)
            for name in MEMBER_FILES:
                shutil.move(own / name, member / name)
    shutil.rmtree(place, ignore_errors=True)
    ensembles.write(model, some.names)
    params = work.params
    whole = some.names == checkpoints(work.files)
    report = union.verify(
        chosen, model, params.sentences, params.batch_size, params.seed, recorded=whole
    )
    require(report, "the ensemble of " + ", ".join(some.names))
    made[0].report.checks += report.checks
    made[0].report.searches += report.searches
    return made, {"checkpoints": some.names}


def _port(work: _Work, release: source.Source, model: Path) -> Ported:
    """Write one checkpoint's folder, all its checks passed."""
    params = work.params
    current, accounts = layout.modernise(
        release.tensors,
        release.architecture,
        len(release.source_symbols),
        len(release.target_symbols),
        release.checkpoint,
    )
    weights = families.arrange(current, release.architecture)
    folder.write(model, release, weights, params)
    report = verification.verify(release, model, work.log, params)
    require(report, release.checkpoint)
    return Ported(release, accounts, report)


def _scored(work: _Work, model: Path, name: str) -> dict[str, Any]:
    assert work.pairs is not None
    beam = Beam(num_beams=work.params.choice.num_beams)
    found = choosing.score(_load(model), work.pairs, beam, work.params.batch_size)
    work.log.text(f"candidate_{name}", canonical.line(found))
    return {"checkpoint": name, **found}


def _defaults(work: _Work, model: Path) -> dict[str, Any]:
    """Store the settings a user gets without asking: fairseq's own, or a search's best."""
    beam, found = Beam(num_beams=5), {}
    wanted = work.params.search
    if isinstance(wanted, ProductSearch):
        assert work.pairs is not None
        beam, table = choosing.search(
            _load(model), work.pairs, wanted, work.params.choice, work.params.batch_size, work.log
        )
        found["decoding_search"] = {"search": wanted.search, **_told(work, table)}
        work.log.table("decoding_search", table)
        path = model / "generation_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        told = {"num_beams": beam.num_beams, "length_penalty": beam.length_penalty}
        canonical.write_json(path, {**config, **told, "early_stopping": beam.early_stopping})
    settings.store(model, beam)
    return found


def _recorded(params: Fairseq, made: Sequence[Ported]) -> list[dict[str, Any]]:
    """Return what fairseq translated, as far as it was verified."""
    rows = []
    for one in made:
        for search in one.report.searches:
            several = search["members"] > 1
            whose = one.release.recorded_ensemble if several else one.release.recorded
            recorded = whose[search["num_beams"]]
            for row in recorded[: params.sentences or len(recorded)]:
                rows.append(
                    {
                        "num_beams": search["num_beams"],
                        "members": search["members"],
                        "source": row["source"],
                        "text": row["hyps"][0]["text"],
                        "near_tie": row.get("id", row["source"]) in search["near_ties"],
                    }
                )
    return rows


def _told(work: _Work, table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    assert work.pairs is not None
    return {**choosing.told(work.pairs, work.params.choice), "rows": list(table)}


def _load(model: Path) -> Translator:
    from stages.lm.translator import Translator

    return Translator.load(model)


def summary(made: Sequence[Ported], combine: str) -> dict[str, Any]:
    """Return verification.json: what was ported, every source tensor, every check."""
    first = made[0].release
    shape = first.architecture
    dtypes = {
        str(tensor.dtype).removeprefix("torch.")
        for one in made
        for tensor in one.release.tensors.values()
    }
    several = len(made) > 1
    return {
        "passed": not any(one.report.failures for one in made),
        "combine": combine,
        "checkpoint": first.checkpoint,
        "settings_format": shape.settings_format,
        "family": shape.family,
        "codes_format": first.subwords.format,
        "moses": first.moses,
        "tying": shape.tying,
        "source_dtypes": sorted(dtypes),
        "dtype": "float32",
        "recorded": any(one.report.searches for one in made),
        "checks": [
            ({"checkpoint": one.release.checkpoint} if several else {}) | row
            for one in made
            for row in one.report.rows()
        ],
        "searches": [
            {"checkpoint": one.release.checkpoint, **row}
            for one in made
            for row in one.report.searches
        ],
        "actions": _counted("action", [row.action for one in made for row in one.accounts]),
        "reasons": _counted("reason", [row.reason for one in made for row in one.accounts]),
        "tensors": [
            ({"checkpoint": one.release.checkpoint} if several else {})
            | {
                "source": row.source,
                "action": row.action,
                "targets": [name for key in row.targets for name in families.targets(key, shape)],
            }
            | ({"reason": row.reason} if row.reason else {})
            for one in made
            for row in one.accounts
        ],
    }


def _counted(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    found = Counter(value for value in values if value)
    return [{name: value, "tensors": count} for value, count in sorted(found.items())]


def _log(log: Log, made: Sequence[Ported]) -> None:
    log.metric("checks_passed", sum(len(one.report.checks) for one in made))
    actions = Counter(row.action for one in made for row in one.accounts)
    for action, count in sorted(actions.items()):
        log.metric(f"{action}_tensors", count)
    for search in (row for one in made for row in one.report.searches):
        whose = "ensemble_" if search["members"] > 1 else ""
        name = f"{whose}beam{search['num_beams']}"
        log.metric(f"{name}_equal_sentences", search["sentences_equal"])
        log.metric(f"{name}_plain_differ_sentences", search["plain_texts_differ"])
        for score in ("bleu", "chrf"):
            if f"{score}_ported" in search:
                log.metric(f"{name}_{score}_points", search[f"{score}_ported"])
    log.table("verification", [row for one in made for row in one.report.rows()])
