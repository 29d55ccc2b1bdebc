"""Tokens with a meaning of their own, and what a model's own files say of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.models import OFFSET_FAMILIES


@dataclass(frozen=True)
class Marks:
    """Ids with a meaning of their own; outputs end with one of `eos`."""

    pad: int
    eos: tuple[int, ...]
    start: int | None = None
    """First token of an encoder-decoder's output; None for a decoder that goes on from a prompt."""
    unk: int | None = None
    forced_eos: int | None = None
    """Closes an output of the greatest length."""
    forced_first: int | None = None
    """First token after `start`, such as a language."""
    suppressed: tuple[int, ...] = ()
    """Never chosen."""

    @classmethod
    def of(cls, model: Any, unk: int | None = None) -> Marks:
        """Return what a transformers model's generation settings say.

        A decoder without a padding token pads with its closing one.
        """
        said = model.generation_config
        eos = _several(said.eos_token_id)
        if not eos:
            raise ArtifactError(
                "the model names no eos_token_id, so no output of it can end",
                "generation_config.json: eos_token_id",
                "add the id of the closing token",
            )
        start = None
        if model.config.is_encoder_decoder:
            start = said.decoder_start_token_id
            start = said.bos_token_id if start is None else start
            if start is None:
                raise ArtifactError(
                    "the model names no decoder_start_token_id, so no output of it can begin",
                    "generation_config.json: decoder_start_token_id",
                    "add the id that decoding starts with",
                )
        banned = {one[0] for one in said.bad_words_ids or () if len(one) == 1}
        forced = _several(said.forced_eos_token_id)
        return cls(
            pad=eos[0] if said.pad_token_id is None else int(said.pad_token_id),
            eos=eos,
            start=start,
            unk=unk,
            forced_eos=forced[0] if forced else None,
            forced_first=said.forced_bos_token_id,
            suppressed=tuple(sorted({*banned, *(said.suppress_tokens or ())})),
        )


def _several(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (int(value),) if isinstance(value, int) else tuple(int(one) for one in value)


def longest(model: Any, prompt: int, asked: int = 0) -> int:
    """Return the longest output after a prompt of this many tokens, the closing one not counted.

    `asked` is what settings want (0: nothing), and the model's positions are the end of it. An
    encoder-decoder that is asked for nothing writes what its `max_length` says, in which the start
    token and the closing one are counted.
    """
    config = model.config
    positions = _positions(_side(config, "decoder"))
    if not config.is_encoder_decoder:
        room = max(0, (positions or prompt + max(asked, UNLIMITED)) - prompt)
        return min(room, asked or room)
    usual = int(model.generation_config.max_length or UNLIMITED) - 2
    wanted = asked or usual
    return max(1, min(wanted, positions - 2) if positions else wanted)


def sources(model: Any) -> int:
    """Return how many tokens an encoder reads."""
    return _positions(_side(model.config, "encoder")) or 1 << 30


def readable(model: Any) -> int:
    """Return how many tokens a decoder, or the decoder of two, reads."""
    return _positions(_side(model.config, "decoder")) or 1 << 30


def _side(config: Any, name: str) -> Any:
    """Return a side's own configuration where a model is composed of two."""
    return getattr(config, name) if config.model_type == "encoder-decoder" else config


UNLIMITED = 512
"""Longest output of a model whose positions have no end (relative or recurrent)."""


def _positions(config: Any) -> int:
    """Return a configuration's positions, 0 where they have no end."""
    names = ("max_position_embeddings", "n_positions", "context_length", "seq_length")
    found = next((int(value) for name in names if (value := getattr(config, name, None))), 0)
    offset = config.pad_token_id + 1 if config.model_type in OFFSET_FAMILIES else 0
    return found - offset if found else 0
