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
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stages.core.log import Log
from stages.lm import seq2seq_contract, weights
from stages.lm.generate import Specials, pad_batch
from stages.lm.translator import Translator
from stages.port.checks import Verification, explanation
from stages.port.fairseq.families import KINDS, PREFIX
from stages.port.fairseq.folder import tokenizer_files
from stages.port.fairseq.recording import check_recordings, token_scores
from stages.port.fairseq.reference import VARIANTS, Reference
from stages.port.fairseq.source import Source

if TYPE_CHECKING:
    from stages.port.stage import Fairseq

LIMIT_FP64 = 1e-9
"""Largest difference of logits over the largest logit, both sides in fp64."""
LIMIT_FP32 = 1e-5
LIMIT_RECORDED = 2e-4
"""Largest difference of a token's log2 probability; fairseq prints four decimals."""
SPECIALS = Specials()
FELT = 1e-7
"""Least share by which a state must move when a word does: equal inputs give equal bits, and an
encoder that trained for minutes hardly looks at far words."""


def verify(source: Source, folder: Path, log: Log, options: Fairseq) -> Verification:
    """Return the verification of a ported folder; options.sentences limits recorded ones."""
    report = Verification()
    model = _load(folder, report)
    reference = reference_of(source)
    sizes = len(source.source_symbols), len(source.target_symbols)
    ids, prefix = probes(source, options.seed)
    _check_texts(source, folder, report)
    _check_tables(model, reference, sizes, report)
    _check_positions(model, reference, source, report)
    _check_logits(model, reference, ids, prefix, report)
    if report.failures:
        return report
    translator = Translator.load(folder, "first")
    rows = [_trim(row) for row in ids.tolist()]
    targets = [[*_trim(row)[1:], SPECIALS.eos] for row in prefix.tolist()]
    for line in seq2seq_contract.check(model, rows, targets, SPECIALS, FELT):
        report.add(line.name, line.error, line.limit, line.n)
    limit = options.sentences
    recorded = {beams: found[: limit or len(found)] for beams, found in source.recorded.items()}
    for beams, found in recorded.items():
        worst, count = token_scores([reference], source, found)
        report.add(f"reference repeats fairseq's beam-{beams} scores", worst, LIMIT_RECORDED, count)
    check_recordings(report, translator, source, recorded, folder, options.batch_size)
    for check in report.checks:
        if math.isfinite(check.figure):
            log.observe(f"verify/{check.name.replace(' ', '_')}", check.figure)
    return report


def probes(source: Source, seed: int) -> tuple[Tensor, Tensor]:
    """Return padded source ids and decoder inputs: fixed rows, then random ones."""
    shape = source.architecture
    longest = min(shape.max_positions, shape.max_target_positions) - 1
    sizes = len(source.source_symbols), len(source.target_symbols)
    generator = torch.Generator().manual_seed(seed)
    sources, prefixes = [], []
    for at, lengths in enumerate(((1, 1), (2, 5), (7, 3), (23, 19), (12, 31), (40, 8))):
        for fixed in (True, False):
            pair = []
            for length, size in zip(lengths, sizes, strict=True):
                count = max(1, min(length, longest))
                drawn = torch.randint(3, size, (count,), generator=generator).tolist()
                pattern = [3 + (7 * i + 5 * at) % (size - 3) for i in range(count)]
                pair.append(pattern if fixed else drawn)
            sources.append([*pair[0], SPECIALS.eos])
            prefixes.append([SPECIALS.start, *pair[1]])
    ids, _ = pad_batch(sources, SPECIALS.pad)
    prefix, _ = pad_batch(prefixes, SPECIALS.pad)
    return ids, prefix


def _trim(row: Sequence[int]) -> list[int]:
    return [token for token in row if token != SPECIALS.pad]


def _load(folder: Path, report: Verification) -> Any:
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


def reference_of(source: Source) -> Reference:
    """Return the other side of the comparison, over the source's own tensors."""
    shape = source.architecture
    return Reference(
        tensors=source.tensors,
        encoder_heads=shape.encoder_heads,
        decoder_heads=shape.decoder_heads,
        activation=shape.activation,
        scale_embedding=shape.scale_embedding,
        pre_norm=shape.pre_norm,
        positions=shape.positions,
    )


def _check_texts(source: Source, folder: Path, report: Verification) -> None:
    """Vocabularies and subwords in the folder are those of the release, entry by entry."""
    for name, wanted in tokenizer_files(source).items():
        data = (folder / name).read_bytes()
        if isinstance(wanted, bytes):
            report.add(f"{name} is the release's", float(data != wanted), 0.0, len(wanted))
            continue
        found = json.loads(data)
        wrong = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        hint = f"first: {wrong[0]!r}" if wrong else ""
        report.add(f"{name} is the dictionary's", float(len(wrong)), 0.0, len(wanted), hint)


def _check_tables(
    model: Any, reference: Reference, sizes: tuple[int, int], report: Verification
) -> None:
    """Every row of the token tables and of the output projection is the source's, bit for bit."""
    inner, output = model.get_encoder(), model.get_decoder()
    head = model.model.decoder.output_projection if _is_fsmt(model) else model.lm_head
    wrong = 0
    for found, wanted in (
        (inner.embed_tokens.weight, reference.table("encoder")),
        (output.embed_tokens.weight, reference.table("decoder")),
        (head.weight, reference.table("output")),
    ):
        size = wanted.shape[0]
        wrong += int((found[:size] != wanted).any(dim=1).sum()) + int(found[size:].any())
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None:
        real = bias[0, : sizes[1]], bias[0, sizes[1] :]
        wrong += int(real[0].ne(0).sum()) + int(real[1].ne(-math.inf).sum())
    report.add("token tables are the source's", wrong, 0.0, sum(sizes) + sizes[1])


def _is_fsmt(model: Any) -> bool:
    return bool(model.config.model_type == "fsmt")


def _check_positions(
    model: Any, reference: Reference, source: Source, report: Verification
) -> None:
    """Both position tables are the reference's, bit for bit, from the first token's row on."""
    shape = source.architecture
    offset = KINDS[shape.family].offset
    worst = 0.0
    for side, longest in (
        ("encoder", shape.max_positions),
        ("decoder", shape.max_target_positions),
    ):
        table = model.state_dict()[f"{PREFIX}{side}.embed_positions.weight"]
        count = min(longest, table.shape[0] - offset)
        wanted = reference.position_rows(side, count)
        found = table[offset : offset + wanted.shape[0]]
        short = wanted.shape[0] < longest and shape.family != "fsmt"
        worst = max(worst, math.inf if short else float((found - wanted).abs().max()))
    report.add("position tables are fairseq's", worst, 0.0, 2, "other rows or another start")


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
        wanted = dataclasses.replace(reference, dtype=dtype).logits(ids, prefix)[real]
        found = _decode(twin, ids, mask, prefix)[real][:, : wanted.shape[1]]
        figure = _relative(found, wanted)
        hint = "" if figure <= limit else _explain(found, reference, dtype, ids, prefix, figure)
        report.add(name, figure, limit, ids.shape[0], hint)


def _decode(model: Any, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
    """Return logits [B, T, V]; fp64 goes around FSMT's mask builder, which overflows there."""
    if model.dtype == torch.float32 or not _is_fsmt(model):
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
    found: Tensor,
    reference: Reference,
    dtype: torch.dtype,
    ids: Tensor,
    prefix: Tensor,
    figure: float,
) -> str:
    """Return the known mistake under which the reference gives the same wrong logits."""
    real = prefix.ne(SPECIALS.pad)
    wrong = (
        (variant, dataclasses.replace(reference, dtype=dtype, variant=variant))
        for variant in VARIANTS
    )
    return explanation(
        ((name, _relative(found, one.logits(ids, prefix)[real])) for name, one in wrong), figure
    )
