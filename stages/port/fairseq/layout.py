"""State dict of fairseq, old or new -> one of today's keys, with an account of every tensor.

Old files carry q, k and v fused (`in_proj_weight` [3D, D], rows in the order q, k, v) and numbered
norms (`layer_norms.0`); fairseq rewrites both while loading, so this does too. fairseq 0.12.2 adds
a second copy of every encoder layer for its fast path (`encoder.layers.0.in_proj_weight`, without
`self_attn`), which training never touches: it is left out.

`families.py` brings these keys to those of a transformers class.

Letters: D width, F feed-forward width, Vs and Vt vocabulary sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from stages.core.errors import ArtifactError
from stages.port.fairseq.architecture import Architecture

FAST_PATH = re.compile(
    r"encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2|norm1|norm2)_(weight|bias)"
)
IGNORED = (
    (re.compile(r"(encoder|decoder)\.version"), "format number, no weight"),
    (re.compile(r"(encoder|decoder)\.embed_positions\._float_tensor"), "marks a type, no weight"),
    (re.compile(r"(encoder|decoder)\.embed_positions\.weights"), "sinusoids, computed again"),
    (FAST_PATH, "copy for fairseq's encoder fast path, which training does not touch"),
)
OLD_NORMS = {
    "encoder": {"0": "self_attn_layer_norm", "1": "final_layer_norm"},
    "decoder": {
        "0": "self_attn_layer_norm",
        "1": "encoder_attn_layer_norm",
        "2": "final_layer_norm",
    },
}
NORM = re.compile(r"(encoder|decoder)(\.layers\.\d+\.)layer_norms\.(\d)\.(weight|bias)")
FUSED = re.compile(r"(.*_attn\.)in_proj_(weight|bias)")
ENCODER_TABLE = "encoder.embed_tokens.weight"
DECODER_TABLE = "decoder.embed_tokens.weight"
PAD = 1
"""fairseq's padding id; learned position tables begin at row PAD + 1."""
OUTPUT_TABLE = "decoder.output_projection.weight"
OLD_OUTPUT_TABLE = "decoder.embed_out"
FINAL_NORMS = {"encoder.layer_norm": 2, "decoder.layer_norm": 3}
"""Norm behind a side's last layer -> the format number from which fairseq applies it."""


@dataclass(frozen=True)
class Account:
    """What became of one source tensor; `targets` are fairseq's keys of today."""

    source: str
    action: str
    """`copied`, `split`, `renamed` or `ignored`."""
    targets: list[str]
    reason: str = ""


def expected_shapes(
    shape: Architecture, source_size: int, target_size: int
) -> dict[str, list[int]]:
    """Return key -> shape of every weight that a model of this architecture has."""
    width = shape.width
    shapes = {
        ENCODER_TABLE: [source_size, width],
        DECODER_TABLE: [target_size, width],
        OUTPUT_TABLE: [target_size, width],
    }
    sides = (
        ("encoder", shape.encoder_layers, shape.encoder_ffn, ("self_attn",)),
        ("decoder", shape.decoder_layers, shape.decoder_ffn, ("self_attn", "encoder_attn")),
    )
    for side, layers, ffn, attentions in sides:
        for layer in range(layers):
            start = f"{side}.layers.{layer}."
            for attention in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    shapes[f"{start}{attention}.{part}.weight"] = [width, width]
                    shapes[f"{start}{attention}.{part}.bias"] = [width]
            for norm in (*(f"{name}_layer_norm" for name in attentions), "final_layer_norm"):
                shapes[f"{start}{norm}.weight"] = [width]
                shapes[f"{start}{norm}.bias"] = [width]
            shapes |= {
                f"{start}fc1.weight": [ffn, width],
                f"{start}fc1.bias": [ffn],
                f"{start}fc2.weight": [width, ffn],
                f"{start}fc2.bias": [width],
            }
    return shapes | _outer_shapes(shape)


def _outer_shapes(shape: Architecture) -> dict[str, list[int]]:
    """Return the weights around the layers: learned positions and norms."""
    shapes = {}
    learned = {"encoder": shape.encoder_learned, "decoder": shape.decoder_learned}
    longest = {"encoder": shape.max_positions, "decoder": shape.max_target_positions}
    for side in ("encoder", "decoder"):
        if shape.positions and learned[side]:
            rows = longest[side] + PAD + 1
            shapes[f"{side}.embed_positions.weight"] = [rows, shape.width]
        norms = ["layernorm_embedding"] * shape.embedding_norm + ["layer_norm"] * shape.pre_norm
        for norm in norms:
            shapes[f"{side}.{norm}.weight"] = [shape.width]
            shapes[f"{side}.{norm}.bias"] = [shape.width]
    return shapes


def modernise(
    tensors: Mapping[str, torch.Tensor],
    shape: Architecture,
    source_size: int,
    target_size: int,
    where: str,
) -> tuple[dict[str, torch.Tensor], list[Account]]:
    """Return every weight under its key of today, checked, and the account of source tensors.

    fp16 and bf16 become fp32 without loss, as fairseq itself loads them; fp64 is rounded to fp32,
    as fairseq does too.
    """
    current, accounts = checked(tensors, shape, source_size, target_size, where)
    return {key: tensor.to(torch.float32) for key, tensor in sorted(current.items())}, accounts


def checked(
    tensors: Mapping[str, torch.Tensor],
    shape: Architecture,
    source_size: int,
    target_size: int,
    where: str,
) -> tuple[dict[str, torch.Tensor], list[Account]]:
    """Return what `modernise` does, every tensor in the type it was saved in."""
    current, accounts = _modern(tensors)
    _restore_output(current, accounts, shape)
    expected = expected_shapes(shape, source_size, target_size)
    _check_keys(current, expected, where)
    _check_shapes(current, expected, where)
    _check_finite(current, where)
    _check_tying(current, shape, where)
    if shape.pre_norm:
        _check_versions(tensors, where)
    return current, accounts


def _modern(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[Account]]:
    """Bring an old state dict to today's keys, as fairseq does while loading."""
    current: dict[str, torch.Tensor] = {}
    accounts: list[Account] = []
    for key in sorted(tensors):
        reason = next((words for pattern, words in IGNORED if pattern.fullmatch(key)), "")
        if reason:
            accounts.append(Account(key, "ignored", [], reason))
            continue
        parts = _modern_keys(key, tensors[key])
        accounts.append(Account(key, _action(key, parts), list(parts)))
        current.update(parts)
    return current, accounts


def _action(key: str, parts: Mapping[str, torch.Tensor]) -> str:
    if len(parts) > 1:
        return "split"
    return "copied" if key in parts else "renamed"


def _modern_keys(key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    norm = NORM.fullmatch(key)
    if norm is not None:
        side, layer, number, kind = norm.groups()
        name = OLD_NORMS[side].get(number)
        return {f"{side}{layer}{name}.{kind}" if name else key: tensor}
    fused = FUSED.fullmatch(key)
    if fused is not None and tensor.dim() and tensor.shape[0] % 3 == 0:
        start, kind = fused.groups()
        names = (f"{start}{part}_proj.{kind}" for part in "qkv")
        return dict(zip(names, tensor.chunk(3, dim=0), strict=True))
    return {OUTPUT_TABLE if key == OLD_OUTPUT_TABLE else key: tensor}


def _restore_output(
    current: dict[str, torch.Tensor], accounts: list[Account], shape: Architecture
) -> None:
    """Old files leave a shared table out: it is the decoder's or the encoder's."""
    if shape.share_all and DECODER_TABLE not in current and ENCODER_TABLE in current:
        current[DECODER_TABLE] = current[ENCODER_TABLE]
        _extend(accounts, ENCODER_TABLE, DECODER_TABLE)
    if shape.tying != "none" and OUTPUT_TABLE not in current and DECODER_TABLE in current:
        current[OUTPUT_TABLE] = current[DECODER_TABLE]
        _extend(accounts, DECODER_TABLE, OUTPUT_TABLE)


def _extend(accounts: list[Account], source: str, target: str) -> None:
    for account in accounts:
        if account.source == source:
            account.targets.append(target)


def _check_keys(
    current: Mapping[str, torch.Tensor], expected: Mapping[str, object], where: str
) -> None:
    missing = sorted(set(expected) - set(current))
    if missing:
        raise ArtifactError(
            f"{len(missing)} missing: {_some(missing)}",
            f"{where}: model",
            "the settings promise these weights; give the checkpoint that belongs to them",
        )
    unexpected = sorted(set(current) - set(expected))
    if unexpected:
        raise ArtifactError(
            f"{len(unexpected)} unexpected: {_some(unexpected)}",
            f"{where}: model",
            "the settings do not name what these weights are for, so the port would lose them; "
            "nothing was written",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _check_shapes(
    current: Mapping[str, torch.Tensor], expected: Mapping[str, list[int]], where: str
) -> None:
    for key, wanted in expected.items():
        found = list(current[key].shape)
        if found == wanted:
            continue
        if key in (ENCODER_TABLE, DECODER_TABLE, OUTPUT_TABLE) and found[1:] == wanted[1:]:
            side = "source" if key == ENCODER_TABLE else "target"
            raise ArtifactError(
                f"{key} has {found[0]} rows, the {side} dictionary has {wanted[0]} symbols "
                "(4 special ones included)",
                f"{where}: model, and dict.*.txt",
                "give the dictionary the model was trained with, its madeupword lines included",
            )
        raise ArtifactError(
            f"{key} has shape {found}, the settings say {wanted}",
            f"{where}: model",
            "give the checkpoint that belongs to these settings",
        )


def _check_finite(current: Mapping[str, torch.Tensor], where: str) -> None:
    for key, tensor in current.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(
                f"{key} holds NaN or infinity",
                f"{where}: model",
                "give a checkpoint of a run that did not diverge",
            )


def _check_tying(current: Mapping[str, torch.Tensor], shape: Architecture, where: str) -> None:
    pairs = {
        "none": [],
        "decoder": [(DECODER_TABLE, OUTPUT_TABLE)],
        "all": [(ENCODER_TABLE, DECODER_TABLE), (DECODER_TABLE, OUTPUT_TABLE)],
    }[shape.tying]
    for one, other in pairs:
        if not torch.equal(current[one], current[other]):
            raise ArtifactError(
                f"{one} and {other} differ, the settings say that they are shared",
                f"{where}: model",
                "give a checkpoint whose settings and weights agree",
            )


def _check_versions(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Below these format numbers fairseq drops the last norms, which no class can do without."""
    for norm, needed in FINAL_NORMS.items():
        key = f"{norm.split('.')[0]}.version"
        found = tensors.get(key)
        number = float(found.flatten()[0]) if found is not None and found.numel() else 1.0
        if number < needed:
            raise ArtifactError(
                f"{key} = {number:g}: fairseq applies {norm} from format {needed} on only",
                f"{where}: model",
                "transformers' pre-norm classes always apply it, so this checkpoint cannot be "
                "ported; train it on with a fairseq of today",
            )
