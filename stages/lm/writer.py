"""Write texts for texts with an encoder-decoder folder of `finetune`: translations, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lm import models, seq2seq
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.marks import Marks
from stages.lm.decoding.outputs import Output
from stages.lm.decoding.settings import Beam, Settings, stored
from stages.lm.seq2seq import Texts


class Writer:
    """A model, its text side and its own way of decoding.

    `Writer.load(folder).write(["I see a dog."])` decodes as the folder's decoding.json says.
    """

    def __init__(self, model: Any, texts: Texts, settings: Settings) -> None:
        self.model, self.texts, self.settings = model, texts, settings
        self._decoder = Decoder(model, Marks.of(model, texts.unknown), cut=texts.phrase)

    @classmethod
    def load(cls, folder: Path) -> Writer:
        """Open a folder; sources longer than what it was trained on lose their end."""
        model = seq2seq.load(folder)
        seq2seq.specials(model)
        positions = models.longest(model.encoder.config)
        limit = int(seq2seq.read_facts(folder).get("source_tokens", positions))
        return cls(model, Texts.load(folder, min(limit, positions)), stored(folder) or Beam())

    def cut(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the model reads and lose their end."""
        before = self.texts.cut
        for text in texts:
            self.texts.encode(text)
        return self.texts.cut - before

    def write(self, texts: Sequence[str], batch_size: int = 32) -> list[str]:
        """Return one text per text, by the model's own way of decoding; a blank one stays blank."""
        return self.decoded(texts, self.settings, batch_size)

    def decoded(
        self, texts: Sequence[str], settings: Settings, batch_size: int = 32, before: int = 0
    ) -> list[str]:
        """Return one text per text under these settings; a blank one stays blank."""
        return [one[0].text for one in self.outputs(texts, settings, batch_size, before)]

    def outputs(
        self, texts: Sequence[str], settings: Settings, batch_size: int = 32, before: int = 0
    ) -> list[list[Output]]:
        """Return what is written for every text, the best (or first drawn) first.

        `before` counts the texts that went before: it is part of what sampling draws from.
        """
        rows = [index for index, text in enumerate(texts) if text.strip()]
        sources = [self.texts.encode(texts[index]) for index in rows]
        found = self._decoder.decode(sources, settings, batch_size, first_place=before)
        written = [[Output("")] for _ in texts]
        for index, outputs in zip(rows, found, strict=True):
            written[index] = [
                Output(self.texts.decode(one.tokens), one.score_nats, one.constraints_met)
                for one in outputs
            ]
        return written
