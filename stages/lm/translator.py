"""Translate texts with a ported model folder: Moses pipeline, BPE, search, detokenisation.

The text pipeline is that of fairseq with `--tokenizer moses --bpe fastbpe`: sacremoses with
aggressive dash splits and escaping, BPE by rank of merges, `</s>` at the end and nothing in front.
`transformers`' own FSMT tokenizer always normalises punctuation first; here that is a recorded
choice (`punctuation_normalisation` in tokenizer_config.json), because the ids must be fairseq's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from stages.core.errors import ArtifactError
from stages.lm import ensembles, weights
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

FILES = ("config.json", "vocab-src.json", "vocab-tgt.json", "merges.txt", "tokenizer_config.json")
FINAL = "</w>"
"""Ends the last piece of a word in merges and vocabularies of the transformers layout."""
CONTINUED = "@@"
"""Ends every other piece in fairseq's dictionaries."""
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""Ids 0 to 3 of every fairseq dictionary."""

EXTRA_TOKENS = 2
"""transformers' max_length counts start and end token, fairseq's longest output neither."""

Method = Literal["fairseq", "transformers"]


def vocabulary_key(symbol: str) -> str:
    """Return the key of a fairseq symbol in vocab-*.json: `le@@` is `le`, `er` is `er</w>`."""
    if symbol in SPECIALS:
        return symbol
    return symbol.removesuffix(CONTINUED) if symbol.endswith(CONTINUED) else symbol + FINAL


class Bpe:
    """Byte-pair encoding by rank of merges, as fastBPE and subword-nmt apply it."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.pieces = lru_cache(maxsize=1 << 16)(self._pieces)

    def _pieces(self, word: str) -> tuple[str, ...]:
        """Return the fairseq symbols of a word: all but the last end in `@@`."""
        parts = [*word[:-1], word[-1] + FINAL]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:], strict=False))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            parts = _merge(parts, best)
        return (*(part + CONTINUED for part in parts[:-1]), parts[-1].removesuffix(FINAL))


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    at = 0
    while at < len(parts):
        if at + 1 < len(parts) and (parts[at], parts[at + 1]) == pair:
            merged.append(parts[at] + parts[at + 1])
            at += 2
        else:
            merged.append(parts[at])
            at += 1
    return merged


class Pipeline:
    """Text to source ids and target ids to text, equal to fairseq's."""

    def __init__(
        self,
        source: dict[str, int],
        target: dict[str, int],
        merges: Sequence[tuple[str, str]],
        settings: dict[str, Any],
    ) -> None:
        import sacremoses

        self.source, self.target = source, {index: key for key, index in target.items()}
        self.bpe = Bpe(merges)
        self.settings = settings
        languages = settings.get("moses_languages") or settings["langs"]
        self._tokenizer = sacremoses.MosesTokenizer(lang=languages[0])
        self._detokenizer = sacremoses.MosesDetokenizer(lang=languages[1])
        self._normalizer = (
            sacremoses.MosesPunctNormalizer(lang=settings["langs"][0])
            if settings.get("punctuation_normalisation", False)
            else None
        )

    def symbols(self, text: str) -> list[str]:
        """Return the text's fairseq symbols (`@@` pieces), known to the dictionary or not."""
        if self.settings.get("do_lower_case", False):
            text = text.lower()
        if self._normalizer is not None:
            from transformers.models.fsmt import tokenization_fsmt as fsmt

            text = self._normalizer.normalize(fsmt.replace_unicode_punct(text))
            text = fsmt.remove_non_printing_char(text)
        moses = self._tokenizer.tokenize(
            text, aggressive_dash_splits=True, return_str=True, escape=True
        )
        return [piece for word in moses.split() for piece in self.bpe.pieces(word)]

    def encode(self, text: str) -> list[int]:
        """Return source ids with the final `</s>`."""
        unknown = self.source["<unk>"]
        ids = [self.source.get(vocabulary_key(one), unknown) for one in self.symbols(text)]
        return [*ids, self.source["</s>"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids: special tokens but `<unk>` dropped, detokenised."""
        joined = []
        for key in (self.target[index] for index in ids):
            if key in SPECIALS:
                joined.append("<unk> " if key == "<unk>" else "")
            else:
                joined.append(key.removesuffix(FINAL) + " " if key.endswith(FINAL) else key)
        return str(self._detokenizer.detokenize("".join(joined).split()))


class Translator:
    """A ported translation model with its text pipeline.

    `Translator.load(folder).translate(["I see a dog."])` gives fairseq's own translations;
    `search="transformers"` decodes the same ids by plain `generate` with the model's defaults. An
    ensemble decodes together (`others` are its members behind the first), except by `generate`.
    """

    def __init__(
        self, model: Any, pipeline: Pipeline, specials: Specials, others: Sequence[Any] = ()
    ) -> None:
        self.model, self.pipeline, self.specials = model, pipeline, specials
        self.others = list(others)

    @classmethod
    def load(cls, folder: Path, members: Members = "all") -> Translator:
        """Load a folder that stage `port` wrote; nothing in it is executed."""
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
        return cls(model, pipeline, specials, others)

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

    def source_ids(self, text: str, where: str = "the text") -> list[int]:
        """Return a text's ids, refused when longer than the model's positions."""
        ids = self.pipeline.encode(text)
        limit = min(one.config.max_position_embeddings for one in (self.model, *self.others))
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
        for batch in _batches(sources, batch_size):
            ids, mask = pad_batch([sources[index] for index in batch], self.specials.pad)
            stepper = self.stepper(use_cache=use_cache)
            results = beam_search(stepper, ids, mask, settings, self.specials)
            for index, result in zip(batch, results, strict=True):
                found[index] = result
        return found

    def _generate(
        self, sources: Sequence[Sequence[int]], num_beams: int, batch_size: int
    ) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in sources]
        for batch in _batches(sources, batch_size):
            ids, mask = pad_batch([sources[index] for index in batch], self.specials.pad)
            output = self.model.generate(input_ids=ids, attention_mask=mask, num_beams=num_beams)
            for index, row in zip(batch, output.tolist(), strict=True):
                found[index] = row[1:]
        return found


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
                f"{name} = {index}, which vocab-tgt.json calls {pipeline.target.get(index)!r}",
                f"{folder.name}/config.json",
                "port the model again; it would translate from a wrong start",
            )


def _batches(sources: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Return indices in batches of like lengths, so that little is computed on padding."""
    order = sorted(range(len(sources)), key=lambda index: (len(sources[index]), index))
    return [order[at : at + size] for at in range(0, len(order), size)]


def load_pipeline(folder: Path) -> Pipeline:
    """Load the text side of a ported folder (no torch)."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(
            f"no {', '.join(missing)}: this is no ported translation model",
            f"{folder.name}",
            "give the output folder of stage port, such as models/ported/en-eo",
        )
    source, target, settings = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("vocab-src.json", "vocab-tgt.json", "tokenizer_config.json")
    )
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines if line)]
    return Pipeline(source, target, merges, settings)
