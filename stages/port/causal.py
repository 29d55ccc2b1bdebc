"""Hold a ported causal model against a plain reference: block by block, then the words it makes.

Neither side is ever in memory whole: the ported model reads its weights as they are needed
(`stages.lm.offload`), the reference takes them from a mapping that reads (`SourceTensors`). What
differs is named by the block where it begins and, if a known mistake explains it, by that mistake.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.lm.models import Head
from stages.lm.offload import Offloaded, states_of
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Node, whole
from stages.port.checks import Verification

LIMIT_FP32, LIMIT_FP64 = 1e-5, 1e-9
"""Largest difference of logits, over the largest logit (issue, section 1)."""
EXPLAINED = 1e-4
"""A variant explains wrong states when it comes this close to them."""
TIE = 1e-4
"""Logits this close, over the largest, may change places by rounding alone."""


class SourceTensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint under their own names, read when they are asked for."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    def __getitem__(self, name: str) -> Tensor:
        node = self._nodes[name]
        return tensor_of(node.spec, whole(node))

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Return rows `begin` to `end` of a matrix; nothing else of it is read."""
        node = self._nodes[name]
        rows, width = node.spec.shape
        last = min(end, rows)
        bits = node.read(begin * width, last * width)
        return tensor_of(Spec(node.spec.dtype, (last - begin, width)), bits)

    def size(self, name: str) -> int:
        """Return how many rows a matrix has."""
        return self._nodes[name].spec.shape[0]

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class Reference(Protocol):
    """A dataclass with the fields `dtype` and `variant`, one file of plain torch."""

    dtype: torch.dtype
    variant: str

    def trace(self, ids: Tensor, real: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield name and states [B, T, D] behind every block, then `logits` [B, T, V]."""
        ...

    def logits(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return logits [B, T, V]; `real` [B, T] is False where padding stands."""
        ...


def inputs(vocabulary: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ids [4, T] and which are real: fixed and random rows, two of them padded behind."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, vocabulary, (2, length), generator=generator)
    fixed = (torch.arange(length) * 7 + 1) % vocabulary
    ids = torch.stack([fixed, drawn[0], fixed.flip(0), drawn[1]])
    real = torch.ones_like(ids, dtype=torch.bool)
    real[2, max(length // 2, 1) :] = False
    real[3, max(length - 3, 1) :] = False
    return ids.masked_fill(~real, 0), real


def check_logits(
    report: Verification,
    reference: Any,
    variants: Sequence[str],
    folder: Path,
    blocks: Callable[[Any], Any],
    ids: Tensor,
    real: Tensor,
    head: Head = "causal",
) -> None:
    """Compare all block states and logits in fp32 and fp64, at every real position.

    `blocks` gives the list of blocks of a transformers model, in the order of the reference's.
    """
    for name, dtype, limit in (
        ("logits in fp32", torch.float32, LIMIT_FP32),
        ("logits in fp64", torch.float64, LIMIT_FP64),
    ):
        with Offloaded(folder, head, dtype) as offloaded:
            found = dict(_ported_states(offloaded, blocks, ids, real))
            unread, names = offloaded.unread, len(offloaded.names)
        plain = dataclasses.replace(reference, dtype=dtype)
        figure, first = 0.0, ""
        for at, wanted in plain.trace(ids, real):
            figure = _relative(found[at][real], wanted[real])
            if figure > limit:
                first = at
                break
        hint = ""
        if first:
            hint = f"from {first} on, {_explained(plain, variants, found[first], first, ids, real)}"
        report.add(name, figure, limit, int(real.sum()), hint)
        if dtype == torch.float32:
            report.add("tensors that no layer reads", len(unread), 0, names, ", ".join(unread[:3]))


@torch.inference_mode()
def _ported_states(
    offloaded: Offloaded, blocks: Callable[[Any], Any], ids: Tensor, real: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Yield the states of the ported model under the names of the reference's trace."""
    places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
    with states_of(offloaded.model, blocks(offloaded.model)) as states:
        output = offloaded.model(
            input_ids=ids, attention_mask=real.long(), position_ids=places, use_cache=False
        )
    yield from ((f"block {at}", state) for at, state in enumerate(states))
    yield "logits", output.logits


def _explained(
    reference: Any, variants: Sequence[str], found: Tensor, at: str, ids: Tensor, real: Tensor
) -> str:
    """Return the known mistake under which the reference gives the same wrong states."""
    for variant in variants:
        wrong = dataclasses.replace(reference, variant=variant)
        states = next(states for name, states in wrong.trace(ids, real) if name == at)
        if _relative(found[real], states[real]) <= EXPLAINED:
            return f"exactly as if: {variant}"
    return "no known mistake explains it"


def _relative(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max())


def opened(folder: Path) -> Any:
    """Open a ported folder with transformers, in fp32, as anybody would."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    return model.eval()


@torch.inference_mode()
def check_generation(
    report: Verification,
    reference: Any,
    model: Any,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    what: str = "",
) -> None:
    """Compare the greedy tokens of `generate`, cache on and off, with the reference's.

    A prompt whose two best tokens come within TIE ends there: either is right.
    """
    wrong, told = 0, ""
    for prompt in prompts:
        wanted = _greedy(reference, prompt, new_tokens, model.generation_config.eos_token_id)
        for cached in (True, False):
            ids = torch.tensor([list(prompt)])
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=max(len(wanted), 1),
                do_sample=False, num_beams=1, use_cache=cached, pad_token_id=0,
            )[0, len(prompt) :].tolist()  # fmt: skip
            if made[: len(wanted)] != wanted:
                wrong += 1
                told = told or f"{made[:8]} instead of {wanted[:8]}"
    report.add(f"greedy tokens{what}", wrong, 0, 2 * len(prompts), told)


def _greedy(reference: Any, prompt: Sequence[int], new_tokens: int, end: int | None) -> list[int]:
    """Return the reference's tokens up to the end of the text or a tie."""
    ids = list(prompt)
    while len(ids) < len(prompt) + new_tokens and (len(ids) == len(prompt) or ids[-1] != end):
        row = torch.tensor([ids])
        logits = reference.logits(row, torch.ones_like(row, dtype=torch.bool))[0, -1]
        best = logits.topk(2).values
        if float(best[0] - best[1]) <= TIE * float(logits.abs().max()):
            break
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]
