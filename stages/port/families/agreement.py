"""Prove that a ported folder computes what the original checkpoint computes.

The folder is loaded as a user loads it, by an Auto class. Its outputs are compared with the
family's reference, which reads the source tensors; when they differ, the reference is computed
again with each mistake a port can make, and the one that explains the difference is named.
Measured differences are rounding and belong to the machine: they go to `log.observe`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core.log import Log
from stages.port.checks import Verification, explanation
from stages.port.families import greedy, recurrence, texts
from stages.port.families.probes import Probe, padded
from stages.port.families.release import Outputs, Release
from stages.port.families.widening import Widened

LIMIT_FP64 = 1e-9
"""Largest difference over the largest value, both sides in fp64."""
LIMIT_FP32 = 1e-5
AUTO = {
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "Model": "AutoModel",
}
"""Which Auto class opens a class, by how its name ends; the first that fits counts."""


def verify(
    release: Release, tensors: Mapping[str, Tensor], folder: Path, log: Log, seed: int
) -> Verification:
    """Return the verification of a ported folder; `tensors` are the source's by their names."""
    report = Verification()
    model = load(folder, release, report)
    if report.failures:
        return report
    causal = is_causal(release)
    probe = padded(
        release.vocab_size,
        release.max_positions,
        seed,
        left=causal and release.kind != "rwkv",
        pad=int(release.config.get("pad_token_id") or 0),
        first=int(release.facts.get("first_probe_id", 0)),
    )
    check_outputs(model, release, tensors, probe, report)
    if not report.failures and causal:
        greedy.check(model, release, tensors, report, seed)
    if not report.failures and release.kind == "rwkv":
        several = recurrence.check(release, tensors, model, report, seed)
        report.facts["plain_generate_takes_several_rows"] = several
    if not report.failures:  # in place and last: two copies of a large model need not fit
        check_outputs(model.to(torch.float64), release, tensors, probe, report)
    if not report.failures and release.texts is not None:
        texts.check(folder, release, report, seed)
    observe(report, log)
    return report


def observe(report: Verification, log: Log) -> None:
    """Log how far every check was from its limit: rounding, which belongs to the machine."""
    for check in report.checks:
        if math.isfinite(check.figure):
            log.observe(f"verify/{check.name.replace(' ', '_')}", check.figure)


def is_causal(release: Release) -> bool:
    """Tell whether the ported model generates."""
    return auto_class(release) == "AutoModelForCausalLM"


def auto_class(release: Release) -> str:
    """Return the Auto class that opens the ported folder."""
    name = release.config["architectures"][0]
    return next(auto for ending, auto in AUTO.items() if name.endswith(ending))


def load(folder: Path, release: Release, report: Verification) -> Any:
    """Return the ported model in fp32 and report whether every weight found its place."""
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model, info = getattr(transformers, auto_class(release)).from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are told below, by name
        dtype=torch.float32,
    )
    problems = sorted(
        f"{kind.removesuffix('_keys')} {key if isinstance(key, str) else key[0]}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in info.get(kind, ())
    )
    count = len(model.state_dict())
    report.add("weights load", float(len(problems)), 0.0, count, ", ".join(problems[:3]))
    return model.eval()


@torch.inference_mode()
def check_outputs(
    model: Any,
    release: Release,
    tensors: Mapping[str, Tensor],
    probe: Probe,
    report: Verification,
) -> None:
    """Every output agrees in the model's type, at every position that is not padding."""
    wide = model.dtype == torch.float64
    told, limit = ("fp64", LIMIT_FP64) if wide else ("fp32", LIMIT_FP32)
    found = outputs(model, release, probe)
    if release.extra and "logits" in found and found["logits"].ndim == 3:
        found["logits"] = _without_extra(found["logits"], release, probe, told, report)
    for name, right in release.reference(tensors, model.dtype, "")(probe).items():
        figure = difference(found[name], right, probe)
        hint = ""
        if not figure <= limit:
            hint = explain(found, release, tensors, probe, model.dtype, figure)
        report.add(f"{name} in {told}", figure, limit, len(probe.ids), hint)


def _without_extra(
    logits: Tensor, release: Release, probe: Probe, told: str, report: Verification
) -> Tensor:
    """Return the logits of the vocabulary's own rows; those behind must never be the best."""
    own, more = logits[..., : release.vocab_size], logits[..., release.vocab_size :]
    best = more.max(dim=-1).values >= own.max(dim=-1).values
    count = int(best[probe.real].sum())
    report.add(f"absent tokens are never written in {told}", count, 0.0, more.shape[-1])
    return own


def outputs(model: Any, release: Release, probe: Probe) -> Outputs:
    """Return what the model computes for a batch, in its own type throughout."""
    given: dict[str, Any] = {"input_ids": probe.ids}
    if release.kind != "rwkv":  # whose class takes no mask
        given["attention_mask"] = probe.real.long()
    if release.config["model_type"] == "bert":
        given["token_type_ids"] = probe.types
    if release.config["model_type"] == "gpt2":
        given["position_ids"] = probe.positions
    if model.dtype == torch.float32:
        return dict(model(**given))
    with Widened():
        return dict(model(**given))


def difference(found: Tensor, wanted: Tensor, probe: Probe) -> float:
    """Return the largest difference over the largest value, where no padding stands."""
    if found.shape != wanted.shape:
        return math.inf
    if found.shape[:2] == probe.real.shape and found.ndim == 3:
        found, wanted = found[probe.real], wanted[probe.real]
    return float((found - wanted).abs().max() / wanted.abs().max())


def explain(
    found: Outputs,
    release: Release,
    tensors: Mapping[str, Tensor],
    probe: Probe,
    dtype: torch.dtype,
    figure: float,
) -> str:
    """Return the known mistake under which the reference gives the same wrong outputs."""

    def mistaken() -> Iterator[tuple[str, float]]:
        for variant in release.variants:
            try:
                wrong = release.reference(tensors, dtype, variant)(probe)
            except (RuntimeError, IndexError):  # a mistake that these shapes do not allow
                continue
            yield variant, max(difference(found[name], one, probe) for name, one in wrong.items())

    return explanation(mistaken(), figure)
