"""Decode with any settings block and any model: batches, limits and the search that fits.

`Decoder(model).decode(rows, settings)` takes token ids: sources of an encoder-decoder, prompts of
a decoder. An output never depends on what else is in its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from stages.core.errors import ArtifactError, ParamsError
from stages.lm import generate
from stages.lm.decoding import beams, constrained, constraints, contrastive, sampling
from stages.lm.decoding.assisted import Assistance, Assistant, check_vocabulary
from stages.lm.decoding.marks import Marks, longest, readable, sources
from stages.lm.decoding.rules import Rules
from stages.lm.decoding.settings import (
    Assisted,
    Beam,
    Constrained,
    Contrastive,
    DiverseBeam,
    Sampling,
    Settings,
)
from stages.lm.decoding.steppers import DecoderStepper, EncoderDecoderStepper, pad_left
from stages.lm.generate import Hypothesis, pad_batch
from stages.lm.halving import in_halves
from stages.lm.models import source_pad

UNMASKED = frozenset({"rwkv"})
"""Recurrent architectures that read padding as text: only equal lengths share a batch."""


class Decoder:
    """A transformers model with what decoding needs beside it.

    `cut` gives the token ids of a constrained search's phrases, `draft` is the model that proposes
    for assisted decoding, `assistance` what it was worth so far.
    """

    def __init__(
        self,
        model: Any,
        marks: Marks | None = None,
        *,
        cut: constraints.Cut | None = None,
        draft: Any = None,
        use_cache: bool = True,
        extra_constraints: Sequence[constraints.Constraint] = (),
    ) -> None:
        self.model = model
        self.marks = marks or Marks.of(model)
        self.cut, self.draft, self.use_cache = cut, draft, use_cache
        self.extra_constraints = list(extra_constraints)
        self.assistance: Assistance | None = None
        self._assistants: dict[Any, Assistant] = {}

    @property
    def reads_sources(self) -> bool:
        """Whether inputs are an encoder's sources, not prompts to go on from."""
        return self.marks.start is not None

    @torch.inference_mode()
    def decode(
        self,
        rows: Sequence[Sequence[int]],
        settings: Settings,
        batch_size: int = 32,
        *,
        pad_to: int = 1,
        first_place: int = 0,
    ) -> list[list[Hypothesis]]:
        """Return the outputs of every input in the order given, the best (or first drawn) first.

        A batch is as wide as the next multiple of `pad_to`. `first_place` is the number of the
        first input among all of a larger set, so that parts of it draw what the whole would.
        """
        found: list[list[Hypothesis]] = [[] for _ in rows]
        self._assistants = {}

        def work(batch: Sequence[int]) -> None:
            ids, mask = self._padded([rows[index] for index in batch], pad_to)
            places = [first_place + index for index in batch]
            limit = self.limit(settings, len(rows[batch[0]]))
            results = self._batch(ids, mask, settings, limit, places)
            for index, outputs in zip(batch, results, strict=True):
                found[index] = outputs

        in_halves(self._batches(rows, settings, batch_size), work)
        return found

    def stepper(self, model: Any = None, *, wants_states: bool = False) -> DecoderStepper:
        """Return a new stepper of the model, or of another one."""
        read = self.model if model is None else model
        if self.marks.start is None:
            return DecoderStepper(read, use_cache=self.use_cache, wants_states=wants_states)
        return EncoderDecoderStepper(
            read, self.marks.start, use_cache=self.use_cache, wants_states=wants_states
        )

    def limit(self, settings: Settings, prompt: int) -> int:
        """Return the longest output after a prompt of this many tokens."""
        room = longest(self.model, 0 if self.reads_sources else prompt, settings.max_tokens)
        readable = longest(self.model, 0) if not self.reads_sources else sources(self.model)
        if room < 1 or not 0 < prompt <= readable:
            raise ArtifactError(
                f"the text has {prompt} tokens, the model reads {readable}",
                "the text",
                "shorten it" if prompt else "give at least one token, such as the first of a text",
            )
        return room

    def _batches(
        self, rows: Sequence[Sequence[int]], settings: Settings, size: int
    ) -> Iterator[list[int]]:
        """Yield indices of inputs of like lengths and equal limits."""
        limits = [self.limit(settings, len(row)) for row in rows]
        exact = self.model.config.model_type in UNMASKED
        order = sorted(range(len(rows)), key=lambda at: (limits[at], len(rows[at]), at))
        batch: list[int] = []
        for at in order:
            alike = batch and limits[at] == limits[batch[0]]
            if exact:
                alike = alike and len(rows[at]) == len(rows[batch[0]])
            if batch and (len(batch) == size or not alike):
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _padded(self, rows: list[Sequence[int]], pad_to: int) -> tuple[Tensor, Tensor]:
        width = -(-max(len(row) for row in rows) // pad_to) * pad_to
        if not self.reads_sources:
            return pad_left(rows, self.marks.pad, width)
        pad = source_pad(self.model, self.marks.pad)
        ids, mask = pad_batch(rows, pad)
        room = width - ids.shape[1]
        ids = torch.nn.functional.pad(ids, (0, room), value=pad)
        return ids, torch.nn.functional.pad(mask, (0, room))

    def _batch(
        self, ids: Tensor, mask: Tensor, settings: Settings, limit: int, places: list[int]
    ) -> list[list[Hypothesis]]:
        if isinstance(settings, Beam) and settings.search == "fairseq":
            return self._by_fairseq(ids, mask, settings, limit)
        width = 1 if self.reads_sources else ids.shape[1]
        rules = Rules(self.marks, width, limit, settings.min_tokens, settings.no_repeat_ngram_size)
        if isinstance(settings, Beam | DiverseBeam):
            rule = beams.Rule.of(settings)
            found = beams.search(self.stepper(), ids, mask, rules, rule)
            return [outputs[: settings.num_return_sequences] for outputs in found]
        if isinstance(settings, Constrained):
            return self._constrained(ids, mask, settings, rules)
        if isinstance(settings, Contrastive):
            stepper = self.stepper(wants_states=True)
            return [[one] for one in contrastive.search(stepper, ids, mask, rules, settings)]
        if isinstance(settings, Assisted):
            return self._assisted(ids, mask, settings, limit, places)
        drawn = settings if isinstance(settings, Sampling) else None
        copies = drawn.num_return_sequences if drawn else 1
        rows = [(place, copy) for place in places for copy in range(copies)]
        found_rows = sampling.follow(
            self.stepper(), ids, mask, rules, sampling.Chooser(drawn), rows, copies
        )
        return [found_rows[at : at + copies] for at in range(0, len(found_rows), copies)]

    def _by_fairseq(
        self, ids: Tensor, mask: Tensor, settings: Beam, limit: int
    ) -> list[list[Hypothesis]]:
        marks = self.marks
        if settings.unknown_penalty and marks.unk is None:
            raise ParamsError(
                f"unknown_penalty = {settings.unknown_penalty}, and the model has no <unk>",
                "decoding.unknown_penalty",
                "leave it 0",
            )
        if len(marks.eos) > 1:
            raise ParamsError(
                f"the model has {len(marks.eos)} closing tokens, fairseq's search knows one",
                "decoding.search",
                "set search: transformers",
            )
        eos = marks.eos[0]
        specials = generate.Specials(
            pad=marks.pad,
            eos=eos,
            unk=-1 if marks.unk is None else marks.unk,
            start=eos if marks.start is None else marks.start,
        )
        search = generate.Search(
            num_beams=settings.num_beams,
            length_penalty=settings.length_penalty,
            max_tokens=limit,
            min_tokens=min(max(1, settings.min_tokens), limit),  # fairseq's own --min-len is 1
            unknown_penalty=settings.unknown_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
        )
        found = generate.beam_search(self.stepper(), ids, mask, search, specials)
        return [outputs[: settings.num_return_sequences] for outputs in found]

    def _constrained(
        self, ids: Tensor, mask: Tensor, settings: Constrained, rules: Rules
    ) -> list[list[Hypothesis]]:
        def no_cut(text: str) -> list[int]:
            raise ParamsError(
                f"the phrase {text!r} is a text, and this model came without its tokenizer",
                "decoding.phrases",
                "give token ids",
            )

        never = frozenset({*self.marks.eos, *self.marks.suppressed})
        words = constraints.Words(self.model.get_output_embeddings().weight.shape[0], never)
        wanted = constraints.build(settings, self.cut or no_cut, words) + self.extra_constraints
        rule = beams.Rule.of(settings)
        found = constrained.search(self.stepper(), ids, mask, rules, rule, wanted)
        return [outputs[: settings.num_return_sequences] for outputs in found]

    def _assisted(
        self, ids: Tensor, mask: Tensor, settings: Assisted, limit: int, places: list[int]
    ) -> list[list[Hypothesis]]:
        if self.draft is None:
            raise ParamsError(
                f"the draft {settings.draft!r} was not opened",
                "decoding.draft",
                "decode where the draft's folder can be read, or set kind: greedy",
            )
        check_vocabulary(self.model, self.draft)
        found = []
        for row, real, place in zip(ids, mask.bool(), places, strict=True):
            one = row[real].unsqueeze(0)
            if self.reads_sources and one.shape[1] > sources(self.draft):
                raise ArtifactError(
                    f"the text has {one.shape[1]} tokens, the draft reads {sources(self.draft)}",
                    "decoding.draft",
                    "shorten it, or name a draft that reads as much as the model",
                )
            width = 1 if self.reads_sources else one.shape[1]
            assistant = self._assistant(settings, limit, width)
            found.append([assistant.decode(one, place)])
        return found

    def _assistant(self, settings: Assisted, limit: int, width: int) -> Assistant:
        """Return the assistant; the schedule and the record go on from input to input."""
        rules = Rules(self.marks, width, limit, settings.min_tokens, settings.no_repeat_ngram_size)
        known = next(iter(self._assistants.values()), None)
        steppers = self.stepper(), self.stepper(self.draft)
        new = Assistant(*steppers, settings, rules, rules, readable(self.draft))
        if known is not None:
            new.candidates, new.record = known.candidates, known.record
        self._assistants = {width: new}
        self.assistance = new.record
        return new
