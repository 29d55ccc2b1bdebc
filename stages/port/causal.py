"""Hold a ported causal model against a plain reference: block by block, then the words it makes.

Neither side is ever in memory whole: the ported model reads its weights as they are needed
(`stages.lm.offload`), the reference takes them from a mapping that reads (`stages.port.sources`).
What differs is named by the block where it begins and, if a known mistake explains it, by that
mistake.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.lm.offload import Offloaded, last_scored, watched
from stages.port.checks import Verification, explanation

LIMIT_FP32, LIMIT_FP64 = 1e-5, 1e-9
"""Largest difference of logits, over the largest logit (issue, section 1)."""
LOGITS = 1 << 19
"""Logits of one comparison: 4 MiB in fp64."""
TIE = 1e-4
"""Logits this close, over the largest, may change places by rounding alone."""


class Reference(Protocol):
    """A dataclass with the fields `dtype` and `variant`, one file of plain torch."""

    dtype: torch.dtype
    variant: str

    def trace(
        self, ids: Tensor, real: Tensor, last: int | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield name and states [B, T, D] behind every block, then `logits` [B, T, V].

        `real` [B, T] is False where padding stands; `last` asks for the logits of so many last
        positions only.
        """
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
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Compare all block states and logits in fp32 and fp64, at every real position.

    `blocks` gives the list of blocks of a transformers model, in the order of the reference's. Of a
    large vocabulary the logits of the last positions are compared. The fp64 model runs inside
    `around()`.
    """
    for name, dtype, limit in (
        ("logits in fp32", torch.float32, LIMIT_FP32),
        ("logits in fp64", torch.float64, LIMIT_FP64),
    ):
        plain = dataclasses.replace(reference, dtype=dtype)
        context = around if dtype == torch.float64 else nullcontext
        with Offloaded(folder, "causal", dtype) as offloaded:
            last = max(1, min(ids.shape[1], LOGITS // (len(ids) * _vocabulary(offloaded.model))))
            run = _Compared(plain.trace(ids, real, last), real, limit)
            with context():
                run.through(offloaded.model, blocks(offloaded.model), ids, last)
            unread, names = offloaded.unread, len(offloaded.names)
        hint = ""
        if run.found is not None:
            told = explanation(_mistaken(plain, variants, run, ids, last), run.figure)
            hint = f"from {run.first} on, {told}"
        report.add(name, run.figure, limit, int(real[:, -last:].sum()), hint)
        if dtype == torch.float32:
            report.add("tensors that no layer reads", len(unread), 0, names, ", ".join(unread[:3]))


def _vocabulary(model: Any) -> int:
    return int(model.config.vocab_size)


class _Compared:
    """A model and its reference, run side by side: a block's states are forgotten when compared."""

    def __init__(self, trace: Iterator[tuple[str, Tensor]], real: Tensor, limit: float) -> None:
        self.trace, self.real, self.limit = trace, real, limit
        self.figure, self.before, self.first = 0.0, "", ""
        """The last difference, the last place that is equal, and the first that is not."""
        self.found: Tensor | None = None
        """The first states that differ."""

    @torch.inference_mode()
    def through(self, model: Any, blocks: Any, ids: Tensor, last: int) -> None:
        """Run the model on ids and compare what its blocks and its head give."""
        with watched(blocks, self._compare), last_scored(model, last):
            output = model(**_given(model, ids, self.real))
        self._compare(output.logits)

    def _compare(self, found: Tensor) -> None:
        if self.found is not None:
            return
        name, wanted = next(self.trace)
        real = self.real[:, -found.shape[1] :]
        self.figure = _relative(found, wanted, real)
        if self.figure <= self.limit:
            self.before = name
        else:
            self.found, self.first = found, name


def _given(model: Any, ids: Tensor, real: Tensor) -> dict[str, Any]:
    """Return what the model's class takes: places where it asks for them, no mask for RWKV's."""
    given: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if model.config.model_type != "rwkv":
        given["attention_mask"] = real.long()
    if "position_ids" in inspect.signature(model.forward).parameters:
        given["position_ids"] = (real.long().cumsum(dim=1) - 1).clamp(min=0)
    return given


def _mistaken(
    reference: Any, variants: Sequence[str], run: _Compared, ids: Tensor, last: int
) -> Iterator[tuple[str, float]]:
    """Yield how far the first wrong states are from those with each known mistake.

    A mistake is made everywhere, and then there alone.
    """
    assert run.found is not None
    real = run.real[:, -run.found.shape[1] :]
    for behind in ("", run.before) if run.before else ("",):
        for variant in variants:
            wrong = dataclasses.replace(reference, variant="" if behind else variant)
            try:
                for name, states in wrong.trace(ids, run.real, last):
                    if name == run.first:
                        yield variant, _relative(run.found, states, real)
                        break
                    if name == behind:  # what comes next computes with the mistake
                        object.__setattr__(wrong, "variant", variant)
            except (RuntimeError, IndexError):  # a mistake that these shapes do not allow
                continue


def _relative(found: Tensor, wanted: Tensor, real: Tensor) -> float:
    """Return the largest difference over the largest value, at real positions (NaN if none)."""
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found[real], wanted[real]
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
        *_, (_, scored) = reference.trace(row, torch.ones_like(row, dtype=torch.bool), 1)
        logits = scored[0, -1]
        best = logits.topk(2).values
        if float(best[0] - best[1]) <= TIE * float(logits.abs().max()):
            break
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]
