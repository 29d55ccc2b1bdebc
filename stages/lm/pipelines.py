"""The text side of a translation model: text to source ids, target ids to text, as fairseq does it.

Two kinds, told apart by `tokenizer_class` of tokenizer_config.json:

- `FSMTTokenizer`: fairseq's `--tokenizer moses --bpe fastbpe` (or subword-nmt): sacremoses with
  aggressive dash splits and escaping, BPE by rank of merges;
- `MarianTokenizer`: fairseq's `--bpe sentencepiece`, one model for both sides or one a side.

`</s>` goes at the end and nothing in front. `transformers`' own FSMT tokenizer always normalises
punctuation first; here that is a recorded choice (`punctuation_normalisation`), because the ids
must be fairseq's; so are `moses` (whether texts go through Moses at all) and its languages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from stages.core.errors import ArtifactError

FINAL = "</w>"
"""Ends the last piece of a word in merges and vocabularies of the transformers layout."""
CONTINUED = "@@"
"""Ends every other piece in fairseq's dictionaries."""
SPACE = "\u2581"
"""Stands for a space in sentencepiece's pieces."""
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""Ids 0 to 3 of every fairseq dictionary."""
BPE_FILES = ("vocab-src.json", "vocab-tgt.json", "merges.txt")
PIECE_FILES = ("vocab.json", "target_vocab.json", "source.spm", "target.spm")


class Pipeline(Protocol):
    """Text to source ids and target ids to text."""

    @property
    def source(self) -> Mapping[str, int]:
        """Key of the source vocabulary -> id."""
        ...

    @property
    def target(self) -> Mapping[int, str]:
        """Id -> key of the target vocabulary."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The content of tokenizer_config.json."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return source ids with the final `</s>`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids: special tokens but `<unk>` dropped, detokenised."""
        ...


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


class Words:
    """Text to words and back: lower case, punctuation and Moses, each only if settings say so."""

    def __init__(self, settings: Mapping[str, Any], moses: bool) -> None:
        self.settings, self.moses = settings, moses
        normalised = settings.get("punctuation_normalisation", False)
        if not (moses or normalised):
            return
        import sacremoses

        source, target = settings.get("moses_languages") or settings["langs"]
        self._tokenizer = sacremoses.MosesTokenizer(lang=source)
        self._detokenizer = sacremoses.MosesDetokenizer(lang=target)
        self._normalizer = sacremoses.MosesPunctNormalizer(lang=settings["langs"][0])

    def split(self, text: str) -> str:
        """Return the words of a text, a space between."""
        if self.settings.get("do_lower_case", False):
            text = text.lower()
        if self.settings.get("punctuation_normalisation", False):
            from transformers.models.fsmt import tokenization_fsmt as fsmt

            text = self._normalizer.normalize(fsmt.replace_unicode_punct(text))
            text = fsmt.remove_non_printing_char(text)
        if self.moses:
            text = self._tokenizer.tokenize(
                text, aggressive_dash_splits=True, return_str=True, escape=True
            )
        return text

    def join(self, words: Sequence[str]) -> str:
        """Return the text of words."""
        if not self.moses:
            return " ".join(words)
        return str(self._detokenizer.detokenize(list(words)))


class BpePipeline:
    """Moses (or spaces) and byte pairs; keys are the transformers layout's (`</w>`)."""

    def __init__(
        self,
        source: Mapping[str, int],
        target: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        settings: Mapping[str, Any],
    ) -> None:
        self.source: Mapping[str, int] = source
        self.target: Mapping[int, str] = {index: key for key, index in target.items()}
        self.bpe = Bpe(merges)
        self.settings: Mapping[str, Any] = settings
        self.words = Words(settings, settings.get("moses", True))

    def symbols(self, text: str) -> list[str]:
        """Return the text's fairseq symbols (`@@` pieces), known to the dictionary or not."""
        return [piece for word in self.words.split(text).split() for piece in self.bpe.pieces(word)]

    def encode(self, text: str) -> list[int]:
        """Return source ids with the final `</s>`."""
        unknown = self.source["<unk>"]
        ids = [self.source.get(vocabulary_key(one), unknown) for one in self.symbols(text)]
        return [*ids, self.source["</s>"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids: special tokens but `<unk>` dropped, detokenised."""
        joined = []
        for index in ids:
            key = self.target[index].rstrip(" ")  # spaces part the keys of one overwritten symbol
            if key in SPECIALS:
                joined.append("<unk> " if key == "<unk>" else "")
            else:
                joined.append(key.removesuffix(FINAL) + " " if key.endswith(FINAL) else key)
        return self.words.join("".join(joined).split())


class PiecePipeline:
    """sentencepiece; keys are the pieces, which stand in the dictionary under ids of their own."""

    def __init__(
        self,
        source: Mapping[str, int],
        target: Mapping[str, int],
        model: bytes,
        settings: Mapping[str, Any],
    ) -> None:
        import sentencepiece

        self.source: Mapping[str, int] = source
        self.target: Mapping[int, str] = {index: key for key, index in target.items()}
        self.settings: Mapping[str, Any] = settings
        self.words = Words(settings, settings.get("moses", False))
        self._model = sentencepiece.SentencePieceProcessor(model_proto=model)

    def symbols(self, text: str) -> list[str]:
        """Return the text's pieces, known to the dictionary or not."""
        return list(self._model.encode(self.words.split(text), out_type=str))

    def encode(self, text: str) -> list[int]:
        """Return source ids with the final `</s>`."""
        unknown = self.source["<unk>"]
        return [*(self.source.get(one, unknown) for one in self.symbols(text)), self.source["</s>"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids, joined as fairseq joins pieces (bytes stay `<0x..>`)."""
        dropped = set(SPECIALS) - {"<unk>"}
        keys = [
            key for key in (self.target[index].rstrip(" ") for index in ids) if key not in dropped
        ]
        text = "".join(keys).replace(" ", "").replace(SPACE, " ").strip()
        return self.words.join(text.split()) if self.words.moses else text


def text_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that say how a folder's model cuts texts."""
    return PIECE_FILES if (folder / PIECE_FILES[0]).is_file() else BPE_FILES


def load_pipeline(folder: Path) -> BpePipeline | PiecePipeline:
    """Load the text side of a ported folder (no torch)."""
    pieces = (folder / PIECE_FILES[0]).is_file()
    wanted = ("config.json", *text_files(folder), "tokenizer_config.json")
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(
            f"no {', '.join(missing)}: this is no ported translation model",
            f"{folder.name}",
            "give the output folder of stage port, such as models/ported/en-eo",
        )
    names = PIECE_FILES[:2] if pieces else BPE_FILES[:2]
    source, target, settings = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in (*names, "tokenizer_config.json")
    )
    if pieces:
        model = (folder / "source.spm").read_bytes()
        return PiecePipeline(source, target, model, settings)
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines if line)]
    return BpePipeline(source, target, merges, settings)
