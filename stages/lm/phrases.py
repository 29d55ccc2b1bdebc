"""A phrase's token ids inside an output, as the model's own text side cuts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ArtifactError, ParamsError
from stages.lm.pipelines import BpePipeline, PiecePipeline, vocabulary_key

Cut = Callable[[str], list[int]]


def of_tokenizer(tokenizer: Any) -> Cut:
    """Return the cut of a decoder's tokenizer: a phrase stands after a space, without ends.

    Without the space byte-level pairs would give the ids of a word's middle.
    """

    def cut(text: str) -> list[int]:
        ids = tokenizer(f" {text.strip()}", add_special_tokens=False)["input_ids"]
        return _known(list(ids), text, tokenizer.unk_token_id, tokenizer.convert_ids_to_tokens)

    return cut


def of_pipeline(pipeline: BpePipeline | PiecePipeline, folder: Path) -> Cut:
    """Return the cut of a translation model's target side."""
    keys = {key: index for index, key in pipeline.target.items()}
    symbols = _bpe(pipeline) if isinstance(pipeline, BpePipeline) else _pieces(pipeline, folder)

    def cut(text: str) -> list[int]:
        found = symbols(text.strip())
        ids = [keys.get(one, -1) for one in found]
        return _known(ids, text, -1, lambda places: [found[ids.index(one)] for one in places])

    return cut


def _bpe(pipeline: BpePipeline) -> Callable[[str], list[str]]:
    settings: Mapping[str, Any] = pipeline.settings
    tokenizer: Any = None
    if pipeline.words.moses:
        import sacremoses

        language = (settings.get("moses_languages") or settings["langs"])[1]
        tokenizer = sacremoses.MosesTokenizer(lang=language)

    def symbols(text: str) -> list[str]:
        if tokenizer is not None:
            text = tokenizer.tokenize(
                text, aggressive_dash_splits=True, return_str=True, escape=True
            )
        pieces = [piece for word in text.split() for piece in pipeline.bpe.pieces(word)]
        return [vocabulary_key(one) for one in pieces]

    return symbols


def _pieces(pipeline: PiecePipeline, folder: Path) -> Callable[[str], list[str]]:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_proto=(folder / "target.spm").read_bytes())

    def symbols(text: str) -> list[str]:
        return list(model.encode(text, out_type=str))

    return symbols


def _known(
    ids: list[int], text: str, unknown: int | None, name: Callable[[list[int]], Sequence[str]]
) -> list[int]:
    """Return the ids, refused where a piece is none of the model's."""
    if unknown is not None and unknown in ids:
        raise ParamsError(
            f"the phrase {text!r} has a piece the model does not know: {name([unknown])[0]!r}",
            "decoding.phrases",
            "choose another phrase; the model cannot write this one",
        )
    return ids


def same_tokenizer(folder: Path, draft: Path, names: Sequence[str]) -> None:
    """Refuse a draft whose tokenizer files differ: its proposals would be other words."""
    for name in names:
        ours, theirs = (place / name for place in (folder, draft))
        if not theirs.is_file() or canonical.file_digest(ours) != canonical.file_digest(theirs):
            raise ArtifactError(
                f"the draft {draft.parent.name}/{draft.name} has another {name} than the model",
                "decoding.draft",
                "name a draft made with the same tokenizer",
            )
