"""From the source folder to the ported one: read, convert, write, verify."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.port.checks import Verification, require
from stages.port.fairseq import folder, layout, source, verification

if TYPE_CHECKING:
    from stages.port.stage import Fairseq


def port_folder(params: Fairseq, files: Path, model: Path, log: Log) -> dict[str, Any]:
    """Write the ported model to `model` and return its verification, all checks passed."""
    if len(params.moses_languages) == 1:
        raise ParamsError(
            f"moses_languages = {params.moses_languages} names one language",
            "params.yaml: port.<entry>.source.moses_languages",
            "name two, source and target, such as [en, eo], or none for the model's own",
        )
    release = source.read(files, params.checkpoint)
    weights, accounts = layout.convert(
        release.tensors,
        release.architecture,
        len(release.source_symbols),
        len(release.target_symbols),
        release.checkpoint,
    )
    folder.write(model, release, weights, params.moses_languages, params.punctuation_normalisation)
    report = verification.verify(
        release, model, log, params.sentences, params.batch_size, params.seed
    )
    require(report, release.checkpoint)
    _log(log, report, accounts)
    return summary(release, accounts, report)


def summary(
    release: source.Source, accounts: list[layout.Account], report: Verification
) -> dict[str, Any]:
    """Return verification.json: what was ported, every source tensor, every check."""
    shape = release.architecture
    dtypes = {str(one.dtype).removeprefix("torch.") for one in release.tensors.values()}
    return {
        "passed": not report.failures,
        "checkpoint": release.checkpoint,
        "settings_format": shape.settings_format,
        "codes_format": release.codes_format,
        "tying": shape.tying,
        "source_dtypes": sorted(dtypes),
        "recorded": bool(release.recorded),
        "checks": report.rows(),
        "searches": report.searches,
        "tensors": [
            {"source": one.source, "action": one.action, "targets": one.targets}
            | ({"reason": one.reason} if one.reason else {})
            for one in accounts
        ],
    }


def _log(log: Log, report: Verification, accounts: list[layout.Account]) -> None:
    log.metric("checks_passed", len(report.checks))
    for action, count in sorted(Counter(one.action for one in accounts).items()):
        log.metric(f"{action}_tensors", count)
    for search in report.searches:
        beams = search["num_beams"]
        log.metric(f"beam{beams}_equal_sentences", search["sentences_equal"])
        log.metric(f"beam{beams}_plain_differ_sentences", search["plain_texts_differ"])
    log.table("verification", report.rows())
