"""Encoder-decoders made of a pretrained encoder and a decoder, alone or tied to one another.

A folder is what `transformers.EncoderDecoderModel` writes, so `AutoModelForSeq2SeqLM` opens it with
nothing of ours. Tying encoder and decoder (BERTShare and RoBERTaShare, Rothe et al. 2020, arXiv
1907.12461), which transformers removed in version 5, is done here: every decoder tensor that has a
twin in the encoder is the same parameter while the model learns and is written twice, with equal
bytes; `seq2seq.json` says `tied: true`, and `load` makes the twins one again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm import models, tokenizers
from stages.lm.generate import Search, Specials, TransformersStepper, beam_search, pad_batch

FILE = "seq2seq.json"
"""What we know of the folder that its config.json cannot say."""
TARGET_TOKENIZER = "target_tokenizer"
"""Folder of the decoder's tokenizer, where it is another than the encoder's."""
MODEL_TYPE = "encoder-decoder"


def is_composite(folder: Path) -> bool:
    """Say whether a model folder holds an encoder-decoder of this kind."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def twins(model: Any) -> list[str]:
    """Return the names of the encoder's parameters that the decoder's body has too, sorted."""
    body = dict(model.decoder.base_model.named_parameters(remove_duplicate=False))
    return sorted(
        name
        for name, tensor in model.encoder.named_parameters(remove_duplicate=False)
        if name in body and body[name].shape == tensor.shape
    )


def tie(model: Any) -> Any:
    """Make every decoder tensor that has a twin in the encoder the same parameter."""
    encoder = dict(model.encoder.named_parameters(remove_duplicate=False))
    for name in twins(model):
        _set(model.decoder.base_model, name, encoder[name])
    model.decoder.tie_weights()
    return model


def untie(model: Any) -> Any:
    """Give the decoder its own copies of the tensors that it shares with the encoder."""
    body = dict(model.decoder.base_model.named_parameters(remove_duplicate=False))
    for name in twins(model):
        copied = nn.Parameter(body[name].detach().clone(), body[name].requires_grad)
        _set(model.decoder.base_model, name, copied)
    model.decoder.tie_weights()
    return model


def is_tied(model: Any) -> bool:
    """Say whether encoder and decoder share all their twins."""
    encoder = dict(model.encoder.named_parameters(remove_duplicate=False))
    body = dict(model.decoder.base_model.named_parameters(remove_duplicate=False))
    names = twins(model)
    return bool(names) and all(encoder[name] is body[name] for name in names)


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, parameter)


def save(model: Any, folder: Path, facts: dict[str, Any]) -> None:
    """Write config, generation config and weights (twins twice), and `seq2seq.json` with `facts`.

    `parameters` counts what the model learns, `parameters_untied` what a plain loader counts.
    """
    tied = is_tied(model)
    plain = untie(copy.deepcopy(model)) if tied else model
    models.save(plain, folder)
    canonical.write_json(
        folder / FILE,
        {
            **facts,
            "tied": tied,
            "parameters": models.parameter_count(model),
            "parameters_untied": models.parameter_count(plain),
        },
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """Return seq2seq.json; a folder that is not ours has none and is not tied."""
    path = folder / FILE
    if not path.is_file():
        return {"tied": False}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts["tied"], bool):
            raise ValueError(f"tied is {facts['tied']!r}")
    except (ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"{FILE} cannot be read: {fault}", str(path), "run the entry that makes this model"
        ) from fault
    return dict(facts)


def load(folder: Path) -> Any:
    """Open a folder in evaluation mode, tied again where it was tied.

    A damaged folder, or copies that should be equal and are not, is an ArtifactError.
    """
    from transformers import AutoModelForSeq2SeqLM

    model = models.opened(AutoModelForSeq2SeqLM, folder)
    facts = read_facts(folder)
    if facts["tied"]:
        _check_copies(model, folder)
        tie(model)
    return model.eval()


def _check_copies(model: Any, folder: Path) -> None:
    encoder = dict(model.encoder.named_parameters(remove_duplicate=False))
    body = dict(model.decoder.base_model.named_parameters(remove_duplicate=False))
    apart = [name for name in twins(model) if not torch.equal(encoder[name], body[name])]
    if apart or not twins(model):
        raise ArtifactError(
            f"{FILE} says tied, and encoder and decoder differ in"
            f" {', '.join(apart[:3]) or 'all of their tensors'}",
            str(folder / "model.safetensors"),
            "run the entry that makes this model again, or set tied to false",
        )


def specials(model: Any, unknown: int | None = None) -> Specials:
    """Return the ids that decoding needs, from the model's top configuration."""
    config = model.config
    names = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
    ids = [getattr(config, name, None) for name in names]
    if any(not isinstance(one, int) for one in ids):
        raise ArtifactError(
            f"pad, eos and decoder_start are {ids[0]}, {ids[1]} and {ids[2]}",
            f"config.json: {', '.join(names)}",
            "set all three; without them generation fails or never stops",
        )
    pad, end, start = (int(str(one)) for one in ids)
    return Specials(pad=pad, eos=end, unk=end if unknown is None else unknown, start=start)


class Texts:
    """The text side of a folder: source ids of a text, cut to what the model reads, and back.

    `cut` counts the texts that were longer.
    """

    def __init__(self, source: Any, target: Any, limit: int) -> None:
        self._source, self._target, self.limit = source, target, limit
        self.cut = 0

    @classmethod
    def load(cls, folder: Path, limit: int) -> Texts:
        """Open a folder's tokenizers."""
        source = models.open_tokenizer(folder)
        other = folder / TARGET_TOKENIZER
        return cls(source, models.open_tokenizer(other) if other.is_dir() else source, limit)

    @property
    def unknown(self) -> int | None:
        """The target's token for what it has no token for."""
        found = self._target.unk_token_id
        return None if found is None else int(found)

    def encode(self, text: str) -> list[int]:
        """Return source ids between the encoder's opening and closing token."""
        ids = encode_sources(self._source, [text])[0]
        if len(ids) > self.limit:
            self.cut += 1
            ids = [*ids[: self.limit - 1], ids[-1]]
        return ids

    def phrase(self, text: str) -> list[int]:
        """Return the target ids of words that shall occur in an output."""
        return _plain_ids(self._target, [text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of target ids without special tokens."""
        return str(self._target.decode(list(ids), skip_special_tokens=True)).strip()


def encode_sources(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return whole texts as the encoder was trained to see them: opening token, text, closing."""
    begin, end = opening(tokenizer), closing(tokenizer)
    return [[begin, *ids, end] for ids in _plain_ids(tokenizer, texts)]


def encode_targets(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return labels: text and closing token, with no opening token.

    The decoder's input is the labels shifted right behind its start token, and so begins with
    exactly one. (BERT's labels of the post begin with [CLS], so its decoder reads [CLS][CLS] and
    first learns to repeat it: one step of every output spent on nothing.)
    """
    end = closing(tokenizer)
    return [[*ids, end] for ids in _plain_ids(tokenizer, texts)]


def _plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of whole texts; one that spells `</s>` gets no closing token from it."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return tokenizers.encode_texts(backend, texts)


def closing(tokenizer: Any) -> int:
    """Return the token after a text: [SEP], `</s>`, or what a causal model has instead."""
    return _first_id(tokenizer, "sep_token_id", "eos_token_id")


def opening(tokenizer: Any) -> int:
    """Return the token before a text: [CLS], `<s>`, or what a causal model has instead."""
    return _first_id(tokenizer, "cls_token_id", "bos_token_id", "eos_token_id")


def _first_id(tokenizer: Any, *names: str) -> int:
    found = [getattr(tokenizer, name) for name in names]
    known = [token for token in found if token is not None]
    if not known:
        raise ArtifactError(
            f"the tokenizer has no {', no '.join(name.removesuffix('_id') for name in names)}",
            tokenizers.CONFIG,
            "give it special tokens around a text; decoding would never start or stop",
        )
    return int(known[0])


@torch.inference_mode()
def greedy(
    model: Any,
    sources: Sequence[Sequence[int]],
    special: Specials,
    max_tokens: int,
    batch_size: int = 32,
) -> list[list[int]]:
    """Return the most probable next token over and over, per source, in the order given."""
    found: list[list[int]] = [[] for _ in sources]
    settings = Search(num_beams=1, max_tokens=max_tokens, min_tokens=0)
    order = sorted(range(len(sources)), key=lambda number: (len(sources[number]), number))
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        ids, mask = pad_batch(
            [sources[number] for number in batch], models.source_pad(model, special.pad)
        )
        best = beam_search(TransformersStepper(model), ids, mask, settings, special)
        for number, hypotheses in zip(batch, best, strict=True):
            found[number] = hypotheses[0].tokens
    return found
