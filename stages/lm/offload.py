"""Run a model that does not fit in memory: weights stay in files and pass through as needed.

    with Offloaded(folder, "causal", torch.float64) as offloaded:
        logits = offloaded.model(input_ids=ids).logits
        offloaded.unread                 # tensors of the files that nothing asked for

The model is built without weights (meta device). Every module that owns tensors reads them when it
is called and forgets them when it returns; a token table reads the rows it is asked for, and a
projection larger than `CHUNK_BYTES` is applied in pieces of its rows. The arithmetic is
transformers' own, in any float type: tensors are cast when they are read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.core.errors import ArtifactError
from stages.lm.models import Head, auto_class
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.checkpoint import open_safetensors
from stages.lm.tensors.nodes import Node

CHUNK_BYTES = 8 << 20
"""Weights of a projection that are in memory at once, if it is larger."""
KERNEL = "Conv1D"
"""transformers' module of a matrix [in, out], which GPT-2 is made of."""
PLAIN = {"rwkv": {"rescale_every": 0}}
"""Settings by model type without which a model would change its weights in place: RWKV halves some
of them for the range of fp16."""
MMAP_THRESHOLD, BLOCK_BYTES = -3, 1 << 17
"""glibc's name for a malloc option (malloc.h), and its value here."""


class Offloaded:
    """A transformers model whose weights stay on disk."""

    def __init__(self, folder: Path, head: Head | type, dtype: torch.dtype = torch.float32) -> None:
        """Open a model folder by its head or an Auto class.

        ArtifactError when its files and its configuration disagree.
        """
        _give_back_large_blocks()
        self._checkpoint = open_safetensors(folder)
        self._dtype = dtype
        self._asked: set[str] = set()
        self.model = _without_weights(folder, head, dtype)
        self._names = _file_names(self.model, set(self._checkpoint.entries), folder)
        self._check_shapes(folder)
        for path, module in self.model.named_modules():
            self._attach(module, f"{path}." if path else "")

    @property
    def unread(self) -> list[str]:
        """Tensors of the files that nothing asked for so far."""
        return sorted(set(self._checkpoint.entries) - self._asked)

    @property
    def names(self) -> set[str]:
        """Tensors of the files."""
        return set(self._checkpoint.entries)

    def close(self) -> None:
        """Close the files."""
        self._checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_shapes(self, folder: Path) -> None:
        held = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        specs = self._checkpoint.specs
        for name, tensor in held.items():
            stored = self._names.get(name)
            if stored is not None and specs[stored].shape != tuple(tensor.shape):
                raise ArtifactError(
                    f"{stored} has shape {list(specs[stored].shape)}, config.json says "
                    f"{list(tensor.shape)}",
                    str(folder),
                    "run the entry that makes this model again",
                )

    def _node(self, name: str) -> Node:
        self._asked.add(self._names[name])
        return self._checkpoint.node(self._names[name])

    def _read(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return rows `begin` to `end` of a tensor in the type of the computation."""
        node = self._node(name)
        spec = node.spec
        row = spec.count // spec.shape[0] if spec.shape and spec.shape[0] else 1
        rows = spec.shape[0] if spec.shape else 1
        last = rows if end is None else end
        bits = node.read(begin * row, last * row)
        shape = (last - begin, *spec.shape[1:]) if spec.shape else ()
        tensor = tensor_of(type(spec)(spec.dtype, shape), bits)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _attach(self, module: nn.Module, start: str) -> None:
        own = [name for name, _ in module.named_parameters(recurse=False)]
        own += [name for name, _ in module.named_buffers(recurse=False)]
        stored = [name for name in own if start + name in self._names]
        if not stored:
            return
        if type(module) is nn.Embedding:
            module.forward = lambda ids: self._rows(f"{start}weight", ids)
            return
        if type(module) is nn.Linear and self._is_large(module):
            module.forward = lambda x: self._projected(start, module, x)
            return
        if type(module).__name__ == KERNEL and self._is_large(module):
            module.forward = lambda x: self._multiplied(start, module, x)
            return

        def load(*_: Any) -> None:
            for name in stored:
                _set(module, name, self._read(start + name))

        def forget(*_: Any) -> None:
            for name in stored:
                _set(module, name, getattr(module, name).to("meta"))

        module.register_forward_pre_hook(load)
        module.register_forward_hook(forget)

    def _is_large(self, module: Any) -> bool:
        return bool(module.weight.numel() * self._dtype.itemsize > CHUNK_BYTES)

    def _rows(self, name: str, ids: Tensor) -> Tensor:
        """Return the rows of a table that `ids` name, each read once."""
        wanted, places = torch.unique(ids, return_inverse=True)
        rows = torch.cat([self._read(name, at, at + 1) for at in wanted.tolist()])
        return rows[places]

    def _projected(self, start: str, module: nn.Linear, x: Tensor) -> Tensor:
        """Return a large projection of x [..., D], some rows of its weight at a time."""
        step = max(CHUNK_BYTES // (module.in_features * self._dtype.itemsize), 1)
        bias = self._read(f"{start}bias") if module.bias is not None else None
        parts = []
        for at in range(0, module.out_features, step):
            end = min(at + step, module.out_features)
            piece = bias[at:end] if bias is not None else None
            parts.append(functional.linear(x, self._read(f"{start}weight", at, end), piece))
        return torch.cat(parts, dim=-1)

    def _multiplied(self, start: str, module: Any, x: Tensor) -> Tensor:
        """Return x [..., N] times a large matrix [N, M], some of its rows at a time."""
        rows, width = module.weight.shape
        step = max(CHUNK_BYTES // (width * self._dtype.itemsize), 1)
        found = self._read(f"{start}bias").expand(*x.shape[:-1], width).clone()
        for at in range(0, rows, step):
            end = min(at + step, rows)
            found += x[..., at:end] @ self._read(f"{start}weight", at, end)
        return found


@contextmanager
def watched(blocks: Iterable[nn.Module], seen: Callable[[Tensor], None]) -> Iterator[None]:
    """Give `seen` what every block returns, in order, while the model runs; nothing is kept."""

    def tell(_: nn.Module, __: Any, output: Any) -> None:
        seen(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(tell) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def last_scored(model: Any, last: int) -> Iterator[None]:
    """Let a causal model give the logits of its `last` positions only."""

    def cut(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0][:, -last:], *given[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def _give_back_large_blocks() -> None:
    """Make the C library return a freed tensor to the system at once.

    glibc raises the size from which it does so to that of the largest block ever freed, up to
    32 MiB; what passes through below that stays with the process, as much as the whole model.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, BLOCK_BYTES)


def _without_weights(folder: Path, head: Head | type, dtype: torch.dtype) -> Any:
    """Return the model that config.json describes: weights on the meta device, buffers computed."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for name, value in PLAIN.get(config.model_type, {}).items():
            setattr(config, name, value)
        with torch.device("meta"):
            auto: Any = auto_class(head) if isinstance(head, str) else head
            model = auto.from_config(config)  # sdpa, where the class has it
    except (OSError, ValueError, KeyError) as fault:
        raise ArtifactError(
            f"the model cannot be opened: {fault}", str(folder), "run the entry that makes it again"
        ) from fault
    model = model.to(dtype).eval()
    for module in model.modules():
        lacking = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for name in lacking:
            buffer = getattr(module, name)
            kind = torch.float32 if buffer.is_floating_point() else buffer.dtype
            module._buffers[name] = torch.empty_like(buffer, device="cpu", dtype=kind)
        if lacking:
            model._init_weights(module)
    return model


def _file_names(model: Any, stored: set[str], folder: Path) -> dict[str, str]:
    """Return, for every tensor of the model, its name in the files: tied ones share one."""
    by_identity: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_identity.setdefault(id(parameter), []).append(name)
    found: dict[str, str] = {}
    for names in by_identity.values():
        there = next((name for name in names if name in stored), None)
        if there is None:
            raise ArtifactError(
                f"1 missing: {names[0]}", str(folder), "run the entry that makes this model again"
            )
        found |= dict.fromkeys(names, there)
    buffers = {name for name, _ in model.named_buffers() if name in stored}
    return found | {name: name for name in buffers}


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in a module's place for it, without copying."""
    if name in module._buffers:
        module._buffers[name] = tensor
    else:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
