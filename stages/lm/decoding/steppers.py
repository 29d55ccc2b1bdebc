"""Read a model token by token: encoder-decoders and decoders alike, with their cache or without.

Shapes: N rows (inputs times hypotheses), S source or prompt tokens, T tokens so far, V vocabulary,
D width of the last hidden states.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.lm.models import OFFSET_FAMILIES


class Stepper(Protocol):
    """What every way of decoding needs of a model."""

    states: Tensor
    """Last hidden states [N, new, D] of the tokens read last, where they were asked for."""

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Tensor:
        """Take inputs [B, S], hold `copies` rows of each, and return the prefix [N, T] to extend.

        Prompts of a decoder are padded on the left, sources of an encoder on the right.
        """
        ...

    def read(self, prefix: Tensor, keep: int = 1) -> Tensor:
        """Return logits [N, keep, V] in fp32 after each of the prefix's last `keep` tokens."""
        ...

    def step(self, prefix: Tensor) -> Tensor:
        """Return log-probabilities [N, V] of the token after prefix [N, T]."""
        ...

    def select(self, rows: Tensor, sentences_left: bool = True) -> None:
        """Keep these rows in this order; without `sentences_left` every row keeps its sentence."""
        ...

    def crop(self, length: int) -> None:
        """Forget what was read beyond a prefix's first `length` tokens."""
        ...


class DecoderStepper:
    """Steps a decoder-only model over prompts padded on the left.

    Positions count real tokens only, so padding moves nothing.
    """

    def __init__(self, model: Any, *, use_cache: bool = True, wants_states: bool = False) -> None:
        self.model = model
        self.use_cache = use_cache
        self.wants_states = wants_states
        self.states = torch.empty(0)
        self.calls = 0
        """Forward passes so far."""
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        config = model.config
        self._offset = config.pad_token_id + 1 if config.model_type in OFFSET_FAMILIES else 0
        self._mask = torch.empty(0)
        self._cache: Any = None
        self._held = 0

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Tensor:
        """Hold the prompts; nothing is read yet."""
        self._mask = mask.repeat_interleave(copies, dim=0)
        self._cache, self._held = None, 0
        return ids.repeat_interleave(copies, dim=0)

    def read(self, prefix: Tensor, keep: int = 1) -> Tensor:
        """Read what the cache does not hold yet."""
        new = prefix.shape[1] - self._mask.shape[1]
        ones = torch.ones(len(prefix), max(0, new), dtype=self._mask.dtype)
        mask = torch.cat([self._mask, ones], dim=1)
        given: dict[str, Any] = {"attention_mask": mask}
        if self._takes_positions:
            positions = (mask.cumsum(1) - 1).clamp(min=0) + self._offset
            given["position_ids"] = positions[:, self._held :]
        if self.use_cache:
            given["past_key_values"] = self._cache
        output = self.model(
            input_ids=prefix[:, self._held :],
            use_cache=self.use_cache,
            output_hidden_states=self.wants_states,
            **given,
        )
        self.calls += 1
        self._keep(output, prefix, "hidden_states")
        return output.logits[:, -keep:].float()

    def step(self, prefix: Tensor) -> Tensor:
        """Return the next token's log-probabilities."""
        return torch.log_softmax(self.read(prefix)[:, -1], dim=-1)

    def select(self, rows: Tensor, sentences_left: bool = True) -> None:
        """Reorder the cache, and the prompts' masks when rows change their sentence."""
        if sentences_left:
            self._mask = self._mask.index_select(0, rows)
        if self._cache is not None:
            self._cache.batch_select_indices(rows)

    def crop(self, length: int) -> None:
        """Shorten the cache."""
        if self._held > length:
            self._cache.crop(length - self._held)
            self._held = length

    def _keep(self, output: Any, prefix: Tensor, states: str) -> None:
        cache = getattr(output, "past_key_values", None)
        if self.use_cache and cache is not None:  # a model without one is read from the start
            self._cache, self._held = cache, prefix.shape[1]
        if self.wants_states:
            self.states = getattr(output, states)[-1]


class EncoderDecoderStepper(DecoderStepper):
    """Steps an encoder-decoder; the encoder runs once per batch."""

    def __init__(
        self, model: Any, start: int, *, use_cache: bool = True, wants_states: bool = False
    ) -> None:
        super().__init__(model, use_cache=use_cache, wants_states=wants_states)
        self.start = start
        self.encoder_calls = 0
        self._encoded = torch.empty(0)
        self._is_fsmt = model.config.model_type == "fsmt"

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Tensor:
        """Run the encoder; outputs begin with the start token."""
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True)
        self.encoder_calls += 1
        self._encoded = encoded.last_hidden_state.repeat_interleave(copies, dim=0)
        self._mask = mask.repeat_interleave(copies, dim=0)
        self._cache, self._held = None, 0
        return torch.full((len(self._mask), 1), self.start)

    def read(self, prefix: Tensor, keep: int = 1) -> Tensor:
        """Read what the cache does not hold yet."""
        from transformers.modeling_outputs import BaseModelOutput

        new = prefix[:, self._held :]
        self.calls += 1
        if self._is_fsmt and self.use_cache and new.shape[1] > 1:
            return self._read_fsmt(prefix, new, keep)
        given: dict[str, Any] = {}
        if self._is_fsmt and not self.use_cache:
            given["input_ids"] = prefix  # FSMT masks the future only when it is given ids
        output = self.model(
            attention_mask=self._mask,
            encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded),
            decoder_input_ids=new,
            past_key_values=self._cache,
            use_cache=self.use_cache,
            output_hidden_states=self.wants_states,
            **given,
        )
        self._keep(output, prefix, "decoder_hidden_states")
        return output.logits[:, -keep:].float()

    def _read_fsmt(self, prefix: Tensor, new: Tensor, keep: int) -> Tensor:
        """Read several tokens at once into FSMT's cache, which hides no future by itself."""
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        config, count = self.model.config, new.shape[1]
        cache = self._cache or EncoderDecoderCache(
            DynamicCache(config=config), DynamicCache(config=config)
        )
        lowest = torch.finfo(self._encoded.dtype).min
        future = torch.full((count, self._held + count), lowest, dtype=self._encoded.dtype)
        output = self.model.model.decoder(
            new,
            self._encoded,
            self._mask,
            None,
            decoder_causal_mask=future.triu(1 + self._held),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=self.wants_states,
        )
        self._keep(output, prefix, "hidden_states")
        return output.last_hidden_state[:, -keep:].float()

    def select(self, rows: Tensor, sentences_left: bool = True) -> None:
        """Reorder the cache; cross-attention moves only when rows change their sentence."""
        if sentences_left:
            self._encoded = self._encoded.index_select(0, rows)
            self._mask = self._mask.index_select(0, rows)
        if self._cache is not None:
            self._cache.self_attention_cache.batch_select_indices(rows)
            if sentences_left:
                self._cache.cross_attention_cache.batch_select_indices(rows)


def pad_left(rows: Sequence[Sequence[int]], pad: int, width: int = 0) -> tuple[Tensor, Tensor]:
    """Return ids [B, S] padded on the left and the mask of real tokens; at least `width` wide."""
    width = max(width, *(len(row) for row in rows))
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask)
