"""Between the bits of this package and torch tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from stages.lm.tensors.entries import Bits, Spec

TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64, "U16": torch.uint16,
    "U32": torch.uint32, "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def tensor_of(spec: Spec, bits: Bits) -> torch.Tensor:
    """Return bits as a torch tensor; writable bits are shared, not copied."""
    flat = bits.reshape(-1)
    raw = torch.from_numpy(flat.view("u1") if flat.flags.writeable else flat.view("u1").copy())
    return raw.view(TORCH_DTYPES[spec.dtype]).reshape(spec.shape)


def bits_of_tensor(tensor: torch.Tensor) -> tuple[Spec, Bits]:
    """Return a torch tensor's spec and bits."""
    packed = tensor.detach().cpu().contiguous()
    spec = Spec(NAMES[packed.dtype], tuple(packed.shape))
    raw = packed.reshape(-1).view(torch.uint8).numpy()
    return spec, raw.view(spec.carrier).reshape(spec.shape)


def tensors_of(tensors: Mapping[str, tuple[Spec, Bits]]) -> dict[str, torch.Tensor]:
    """Return a plan's result as torch tensors."""
    return {name: tensor_of(spec, bits) for name, (spec, bits) in tensors.items()}


def bits_of_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[Spec, Bits]]:
    """Return torch tensors as what a plan takes."""
    return {name: bits_of_tensor(tensor) for name, tensor in tensors.items()}
