"""Translate texts with a ported model folder: its text pipeline, a search, its text again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from stages.core.errors import ArtifactError
from stages.lm import ensembles, phrases, weights
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.ensemble import EnsembleDecoder
from stages.lm.decoding.marks import Marks, readable
from stages.lm.decoding.outputs import Output
from stages.lm.decoding.settings import Beam, Greedy, Settings
from stages.lm.ensembles import EnsembleStepper, Members
from stages.lm.generate import (
    Hypothesis,
    Search,
    Specials,
    Stepper,
    TransformersStepper,
    beam_search,
    pad_batch,
)
from stages.lm.halving import in_batches
from stages.lm.phrases import Cut, same_tokenizer
from stages.lm.pipelines import Pipeline, load_pipeline, text_files

EXTRA_TOKENS = 2
"""transformers' max_length counts start and end token, fairseq's longest output neither."""

EXPORTED = "translator.json"
"""Marks a translator that stage `export` wrote (`lm.exported`)."""

Method = Literal["fairseq", "transformers"]


class Translator:
    """A ported translation model with its text pipeline.

    `Translator.load(folder).translate(["I see a dog."])` gives fairseq's own translations;
    `search="transformers"` decodes the same ids by plain `generate` with the model's defaults. An
    ensemble decodes together (`others` are its members behind the first), except by `generate`.
    """

    def __init__(
        self,
        model: Any,
        pipeline: Pipeline,
        specials: Specials,
        others: Sequence[Any] = (),
        cut: Cut | None = None,
        draft: Any = None,
    ) -> None:
        self.model, self.pipeline, self.specials = model, pipeline, specials
        self.others = list(others)
        self.cut, self.draft = cut, draft

    @classmethod
    def load(cls, folder: Path, members: Members = "all", draft: Path | None = None) -> Translator:
        """Load a folder that stage `port` or `export` wrote, and a draft's; nothing is executed."""
        if (folder / EXPORTED).is_file():
            from stages.lm.exported import open_translator

            return open_translator(folder, torch.get_num_threads())
        pipeline = load_pipeline(folder)
        places = ensembles.folders(folder) if members == "all" else [folder]
        model, *others = [_load_model(place) for place in places]
        config = model.config
        specials = Specials(
            pad=config.pad_token_id,
            eos=config.eos_token_id,
            unk=pipeline.source["<unk>"],
            start=config.decoder_start_token_id,
        )
        _check_start(pipeline, specials, folder)
        proposing = None
        if draft is not None:
            same_tokenizer(folder, draft, text_files(folder))
            proposing = _load_model(draft)
        cut = phrases.of_pipeline(pipeline, folder)
        return cls(model, pipeline, specials, others, cut, proposing)

    def stepper(self, *, use_cache: bool = True) -> Stepper:
        """Return what a search asks for the next token: the model, or the ensemble's members."""
        found = [
            TransformersStepper(one, use_cache=use_cache) for one in (self.model, *self.others)
        ]
        return found[0] if len(found) == 1 else EnsembleStepper(found)

    def translate(
        self,
        texts: Sequence[str],
        num_beams: int = 5,
        *,
        search: Method = "fairseq",
        batch_size: int = 32,
    ) -> list[str]:
        """Return one translation per text; a blank text stays blank."""
        rows = [index for index, text in enumerate(texts) if text.strip()]
        sources = [self.source_ids(texts[index], f"text {index + 1}") for index in rows]
        if search == "transformers":
            best = self._generate(sources, num_beams, batch_size)
        else:
            settings = self.search(num_beams)
            best = [one[0].tokens for one in self.hypotheses(sources, settings, batch_size)]
        translations = [""] * len(texts)
        for index, tokens in zip(rows, best, strict=True):
            translations[index] = self.pipeline.decode(tokens)
        return translations

    def search(self, num_beams: int) -> Search:
        """Return fairseq-generate's search with the model's own longest output."""
        longest = self.model.generation_config.max_length - EXTRA_TOKENS
        return Search(num_beams=num_beams, max_tokens=longest)

    def capped(self, tokens: int) -> int:
        """Return a length of outputs cut to what every member's positions allow, as fairseq's."""
        return min(tokens, *(readable(one) - 1 for one in (self.model, *self.others)))

    def source_ids(self, text: str, where: str = "the text") -> list[int]:
        """Return a text's ids, refused when longer than the model's positions."""
        ids = self.pipeline.encode(text)
        limits = [one.config.max_position_embeddings for one in (self.model, *self.others)]
        limit = min([*limits, self.pipeline.settings.get("model_max_length", limits[0])])
        if len(ids) > limit:
            raise ArtifactError(
                f"{len(ids)} source tokens, the model takes at most {limit}",
                f"{where}: {text[:60]}",
                "split it into sentences, one per line",
            )
        return ids

    def hypotheses(
        self,
        sources: Sequence[Sequence[int]],
        settings: Search,
        batch_size: int = 32,
        *,
        use_cache: bool = True,
    ) -> list[list[Hypothesis]]:
        """Return all finished hypotheses per source, best first, in the order given."""
        found: list[list[Hypothesis]] = [[] for _ in sources]

        def work(batch: Sequence[int]) -> None:
            ids, mask = pad_batch([sources[index] for index in batch], self.specials.pad)
            stepper = self.stepper(use_cache=use_cache)
            results = beam_search(stepper, ids, mask, settings, self.specials)
            for index, result in zip(batch, results, strict=True):
                found[index] = result

        in_batches(_by_length(sources), batch_size, work, "sentences")
        return found

    def decoded(
        self, texts: Sequence[str], settings: Settings, batch_size: int = 32, before: int = 0
    ) -> list[str]:
        """Return one translation per text under these settings; a blank text stays blank."""
        return [one[0].text for one in self.outputs(texts, settings, batch_size, before)]

    def outputs(
        self, texts: Sequence[str], settings: Settings, batch_size: int = 32, before: int = 0
    ) -> list[list[Output]]:
        """Return the translations of every text, the best (or first drawn) first.

        `before` counts the texts that went before, for what an error calls the first one and for
        what a sampler draws.
        """
        rows = [index for index, text in enumerate(texts) if text.strip()]
        sources = [self.source_ids(texts[index], f"text {before + index + 1}") for index in rows]
        beam = _one_beam(settings) if isinstance(settings, Greedy) else settings
        if isinstance(beam, Beam) and beam.search == "fairseq":
            most = self.capped(beam.max_tokens or self.search(1).max_tokens)
            search = Search(
                num_beams=beam.num_beams,
                length_penalty=beam.length_penalty,
                max_tokens=most,
                min_tokens=min(max(1, beam.min_tokens), most),
                unknown_penalty=beam.unknown_penalty,
                no_repeat_ngram_size=beam.no_repeat_ngram_size,
            )
            found = self.hypotheses(sources, search, batch_size)
            found = [one[: beam.num_return_sequences] for one in found]
        else:
            found = self._decoder().decode(sources, settings, batch_size, first_place=before)
        translations = [[Output("")] for _ in texts]
        for index, hypotheses in zip(rows, found, strict=True):
            translations[index] = [
                Output(self.pipeline.decode(one.tokens), one.score_nats, one.constraints_met)
                for one in hypotheses
            ]
        return translations

    def _decoder(self) -> Decoder:
        marks = Marks.of(self.model, self.specials.unk)
        return EnsembleDecoder(
            self.model, marks, others=self.others, cut=self.cut, draft=self.draft
        )

    def _generate(
        self, sources: Sequence[Sequence[int]], num_beams: int, batch_size: int
    ) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in sources]

        def work(batch: Sequence[int]) -> None:
            ids, mask = pad_batch([sources[index] for index in batch], self.specials.pad)
            output = self.model.generate(input_ids=ids, attention_mask=mask, num_beams=num_beams)
            for index, row in zip(batch, output.tolist(), strict=True):
                found[index] = row[1:]

        in_batches(_by_length(sources), batch_size, work, "sentences")
        return found


def _one_beam(settings: Greedy) -> Beam:
    return Beam(
        num_beams=1,
        max_tokens=settings.max_tokens,
        min_tokens=settings.min_tokens,
        no_repeat_ngram_size=settings.no_repeat_ngram_size,
    )


def _load_model(folder: Path) -> Any:
    from transformers import AutoModelForSeq2SeqLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    weights.check(folder / "model.safetensors")
    return AutoModelForSeq2SeqLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    ).eval()


def _check_start(pipeline: Pipeline, specials: Specials, folder: Path) -> None:
    """Decoding starts and ends with the id that the target vocabulary calls `</s>`."""
    for name, index in (("decoder_start_token_id", specials.start), ("eos_token_id", specials.eos)):
        if pipeline.target.get(index) != "</s>":
            raise ArtifactError(
                f"{name} = {index}, which its vocabulary calls {pipeline.target.get(index)!r}",
                f"{folder.name}/config.json",
                "port the model again; it would translate from a wrong start",
            )


def _by_length(sources: Sequence[Sequence[int]]) -> list[int]:
    """Return places so that a batch holds like lengths and little is computed on padding."""
    return sorted(range(len(sources)), key=lambda index: (len(sources[index]), index))
