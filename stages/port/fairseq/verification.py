"""Prove that a ported folder computes what the fairseq checkpoint computes.

The folder is loaded as a user loads it. Logits are compared with `reference.py`, which reads the
source tensors; the reference itself is held against fairseq's recorded token scores, and our search
against fairseq's recorded translations. When logits differ, the reference is computed again with
each mistake a port can make, and the one that explains the difference is named.

`verification.json` holds limits, counts and outcomes only: measured differences are rounding, which
belongs to the machine (they go to `log.observe`).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core.log import Log
from stages.lm import seq2seq_contract, weights
from stages.lm.generate import Specials, pad_batch
from stages.lm.translator import Translator
from stages.port.checks import Verification
from stages.port.fairseq.layout import PREFIX
from stages.port.fairseq.recording import check_recordings, token_scores
from stages.port.fairseq.reference import VARIANTS, Reference, positions
from stages.port.fairseq.source import Source

LIMIT_FP64 = 1e-9
"""Largest difference of logits over the largest logit, both sides in fp64."""
LIMIT_FP32 = 1e-5
LIMIT_RECORDED = 2e-4
"""Largest difference of a token's log2 probability; fairseq prints four decimals."""
SPECIALS = Specials()
EXPLAINED = 1e-4
"""A mistake explains a difference when the reference with it comes this close."""


def verify(
    source: Source, folder: Path, log: Log, sentences: int = 0, batch_size: int = 32, seed: int = 0
) -> Verification:
    """Return the verification of a ported folder; `sentences` limits recorded ones (0: all)."""
    report = Verification()
    model = _load(source, folder, report)
    reference = reference_of(source)
    ids, prefix = probes(len(source.source_symbols), len(source.target_symbols), seed)
    _check_positions(model, source, report)
    _check_logits(model, reference, ids, prefix, report)
    if report.failures:
        return report
    translator = Translator.load(folder)
    rows = [_trim(row) for row in ids.tolist()]
    targets = [[*_trim(row)[1:], SPECIALS.eos] for row in prefix.tolist()]
    for line in seq2seq_contract.check(model, rows, targets, SPECIALS):
        report.add(line.name, line.error, line.limit, line.n)
    recorded = {beams: found[: sentences or len(found)] for beams, found in source.recorded.items()}
    for beams, found in recorded.items():
        worst, count = token_scores([reference], source, found)
        report.add(f"reference repeats fairseq's beam-{beams} scores", worst, LIMIT_RECORDED, count)
    check_recordings(report, translator, source, recorded, folder, batch_size)
    for check in report.checks:
        if math.isfinite(check.figure):
            log.observe(f"verify/{check.name.replace(' ', '_')}", check.figure)
    return report


def probes(source_size: int, target_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return padded source ids and decoder inputs: fixed rows, then random ones."""
    generator = torch.Generator().manual_seed(seed)
    sources, prefixes = [], []
    for at, (long, short) in enumerate(((1, 1), (2, 5), (7, 3), (23, 19), (12, 31), (40, 8))):
        for fixed in (True, False):
            pair = []
            for length, size in ((long, source_size), (short, target_size)):
                drawn = torch.randint(3, size, (length,), generator=generator).tolist()
                pattern = [3 + (7 * i + 5 * at) % (size - 3) for i in range(length)]
                pair.append(pattern if fixed else drawn)
            sources.append([*pair[0], SPECIALS.eos])
            prefixes.append([SPECIALS.start, *pair[1]])
    ids, _ = pad_batch(sources, SPECIALS.pad)
    prefix, _ = pad_batch(prefixes, SPECIALS.pad)
    return ids, prefix


def _trim(row: Sequence[int]) -> list[int]:
    return [token for token in row if token != SPECIALS.pad]


def _load(source: Source, folder: Path, report: Verification) -> Any:
    from transformers import AutoModelForSeq2SeqLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    weights.check(folder / "model.safetensors")
    model, info = AutoModelForSeq2SeqLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    problems = sorted(
        f"{kind.removesuffix('_keys')} {key}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in info.get(kind, ())
    )
    count = len(model.state_dict())
    report.add("weights load", float(len(problems)), 0.0, count, ", ".join(problems[:3]))
    return model.eval()


def reference_of(
    source: Source, dtype: torch.dtype = torch.float32, variant: str = ""
) -> Reference:
    """Return plain torch over the source's tensors, under their own names."""
    shape = source.architecture
    return Reference(
        tensors=source.tensors,
        encoder_heads=shape.encoder_heads,
        decoder_heads=shape.decoder_heads,
        activation=shape.activation,
        scale_embedding=shape.scale_embedding,
        dtype=dtype,
        variant=variant,
    )


def _check_positions(model: Any, source: Source, report: Verification) -> None:
    """Both position tables are the reference's, bit for bit."""
    worst = 0.0
    for side in ("encoder", "decoder"):
        table = model.state_dict()[f"{PREFIX}{side}.embed_positions.weight"]
        wanted = positions(table.shape[0], source.architecture.width)
        worst = max(worst, float((table - wanted).abs().max()))
    report.add("position tables are fairseq's", worst, 0.0, 2, "other sinusoids or another start")


@torch.inference_mode()
def _check_logits(
    model: Any, reference: Reference, ids: Tensor, prefix: Tensor, report: Verification
) -> None:
    """Logits agree in fp32 and fp64, at every position that is not padding."""
    real = prefix.ne(SPECIALS.pad)
    mask = ids.ne(SPECIALS.pad).long()
    for name, dtype, limit in (
        ("logits in fp32", torch.float32, LIMIT_FP32),
        ("logits in fp64", torch.float64, LIMIT_FP64),
    ):
        twin = model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)
        found = _decode(twin, ids, mask, prefix)[real]
        wanted = dataclasses.replace(reference, dtype=dtype).logits(ids, prefix)[real]
        figure = _relative(found, wanted)
        hint = "" if figure <= limit else _explain(found, reference, dtype, ids, prefix)
        report.add(name, figure, limit, ids.shape[0], hint)


def _decode(model: Any, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
    """Return logits [B, T, V]; fp64 goes around FSMT's mask builder, which overflows there."""
    if model.dtype == torch.float32:
        output = model(
            input_ids=ids, attention_mask=mask, decoder_input_ids=prefix, use_cache=False
        )
        return torch.as_tensor(output.logits)
    length = prefix.shape[1]
    future = torch.full((length, length), torch.finfo(model.dtype).min, dtype=model.dtype).triu(1)
    states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    decoded = model.model.decoder(
        prefix, states, mask, prefix.eq(SPECIALS.pad), decoder_causal_mask=future, use_cache=False
    )
    return torch.as_tensor(decoded.last_hidden_state)


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def _explain(
    found: Tensor, reference: Reference, dtype: torch.dtype, ids: Tensor, prefix: Tensor
) -> str:
    """Return the known mistake under which the reference gives the same wrong logits."""
    real = prefix.ne(SPECIALS.pad)
    for variant in VARIANTS:
        wrong = dataclasses.replace(reference, dtype=dtype, variant=variant)
        if _relative(found, wrong.logits(ids, prefix)[real]) <= EXPLAINED:
            return f"exactly as if: {variant}"
    return "no known mistake explains it"
