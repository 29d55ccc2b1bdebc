"""Greedy decoding in static shapes, so that one compiled graph serves every step.

Prompts are padded on the left to a multiple of `bucket`, keys and values live in tensors of a fixed
length, and the batch is filled up to a fixed size. So a forward pass has few shapes: one for each
width of a prompt and one for a single token; each is traced once, and nothing grows inside. Without
buckets every new prompt length would be traced, which costs seconds.

Tracing and compiling need a C++ compiler where `backend` is `inductor`; `eager` traces alone, and
`none` runs the same static shapes without tracing.

Shapes: B rows, Q tokens read at once, C capacity of the cache, V vocabulary.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from stages.core.errors import ArtifactError, MachineError
from stages.lm.decoding.marks import Marks
from stages.lm.decoding.steppers import pad_left

Backend = Literal["inductor", "eager", "none"]
TRACES = 256
"""Shapes that may be traced before torch gives up and runs without tracing."""


class StaticDecoder:
    """Greedy outputs of a decoder-only model, equal to those of `kind: greedy`."""

    def __init__(
        self,
        model: Any,
        *,
        capacity: int,
        batch_size: int = 1,
        bucket: int = 16,
        backend: Backend = "inductor",
    ) -> None:
        """`capacity` is the longest prompt, padded, and its output together, in tokens."""
        from transformers import StaticCache

        if model.config.is_encoder_decoder:
            raise ArtifactError(
                f"{type(model).__name__} is an encoder-decoder, whose sources have no static cache",
                "the model",
                "decode it without compiling",
            )
        self.model, self.marks = model.eval(), Marks.of(model)
        self.capacity, self.batch_size, self.bucket = capacity, batch_size, bucket
        self.traces = 0
        """Graphs made so far."""
        self._cache = StaticCache(config=model.config, max_cache_len=capacity)
        self._make_room()
        self._forward: Any = self._read
        if backend != "none":
            self._forward = self._traced(backend)

    def _make_room(self) -> None:
        """Make the cache's tensors before anything is traced: else the first shape counts twice."""
        config = self.model.config
        heads = int(config.num_attention_heads)
        self._cache.early_initialization(
            self.batch_size,
            int(getattr(config, "num_key_value_heads", None) or heads),
            int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            self.model.dtype,
            torch.device("cpu"),
        )

    @torch.inference_mode()
    def decode(self, rows: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
        """Return the output of every prompt, its closing token included, in the order given."""
        found: list[list[int]] = []
        for at in range(0, len(rows), self.batch_size):
            batch = list(rows[at : at + self.batch_size])
            filled = batch + [batch[0]] * (self.batch_size - len(batch))
            found += self._batch(filled, max_tokens)[: len(batch)]
        return found

    def _batch(self, rows: list[Sequence[int]], max_tokens: int) -> list[list[int]]:
        width = -(-max(len(row) for row in rows) // self.bucket) * self.bucket
        if width + max_tokens - 1 > self.capacity:
            raise ArtifactError(
                f"a prompt of {width} tokens, padded, and {max_tokens} more are over the capacity "
                f"of {self.capacity}",
                "the prompt",
                "make the capacity larger, or the output shorter",
            )
        ids, mask = pad_left(rows, self.marks.pad, width)
        real = torch.zeros(len(rows), self.capacity, dtype=torch.bool)
        real[:, :width] = mask.bool()
        real[:, width:] = True
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        self._cache.reset()
        eos = torch.tensor(self.marks.eos)
        outputs = torch.full((len(rows), max_tokens), self.marks.eos[0])
        done = torch.zeros(len(rows), dtype=torch.bool)
        for step in range(max_tokens):
            tokens = self._call(ids, positions, self._mask(real, width, step))
            outputs[:, step] = torch.where(done, outputs[:, step], tokens)
            done |= torch.isin(tokens, eos)
            if bool(done.all()):
                break
            ids, positions = tokens.unsqueeze(1), positions[:, -1:] + 1
        return [self._cut(row) for row in outputs.tolist()]

    def _mask(self, real: Tensor, width: int, step: int) -> Tensor:
        """Return which keys each query sees [B, 1, Q, C]; padding sees itself, lest it be NaN."""
        last = width + step
        queries = torch.arange(last - 1, last) if step else torch.arange(width)
        keys = torch.arange(self.capacity)
        causal = keys.unsqueeze(0) <= queries.unsqueeze(1)
        own = keys.unsqueeze(0) == queries.unsqueeze(1)
        return (causal & real.unsqueeze(1) | own).unsqueeze(1)

    def _cut(self, row: list[int]) -> list[int]:
        ends = [at for at, token in enumerate(row) if token in self.marks.eos]
        return row[: ends[0] + 1] if ends else row

    def _read(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the most probable next token [B]."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        return output.logits[:, -1].float().argmax(dim=-1)

    def _call(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        return self._forward(ids, positions, mask)

    def _traced(self, backend: Backend) -> Any:
        """Return the forward pass that is compiled for every new shape."""
        if backend == "inductor":
            require_compiler()
        import torch._dynamo
        from torch._dynamo import lookup_backend

        make = lookup_backend(backend)

        def counted(graph: Any, examples: Any, **options: Any) -> Any:
            self.traces += 1
            return make(graph, examples, **options)

        compiled = torch.compile(self._read, backend=counted, dynamic=False, fullgraph=True)

        def forward(ids: Tensor, positions: Tensor, mask: Tensor) -> Any:
            with torch._dynamo.config.patch(recompile_limit=TRACES, cache_size_limit=TRACES):
                return compiled(ids, positions, mask)

        return forward


def require_compiler() -> None:
    """Refuse to compile where no C++ compiler is: torch would fail in the midst of it."""
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(name and shutil.which(name) for name in names):
        raise MachineError(
            "there is no C++ compiler, and torch.compile makes C++ at run time",
            "PATH",
            "install g++ or clang++, or decode without compiling",
        )
