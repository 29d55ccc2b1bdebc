"""An encoder-decoder out of pretrained parts: which tensors come from where, and which are new.

Rothe, Narayan and Severyn (2020), Leveraging pre-trained checkpoints for sequence generation tasks,
arXiv 1907.12461. The encoder takes all of its checkpoint; the decoder takes embeddings,
self-attention (now causal), feed-forward and head of its own, and gets a cross-attention that no
checkpoint has: per layer query, key, value and output with their biases and a norm, 10 tensors (8
in GPT-2, which keeps key and value in one). Random sides keep the architecture of theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.finetune.stage import WarmStart
from stages.lm import models, seq2seq, weights

ENCODERS = ("bert", "roberta")
DECODERS = ("bert", "roberta", "gpt2")
CROSS = ("crossattention", "ln_cross_attn")
"""Parts of the names of a decoder's cross-attention."""
DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob",
    "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip
OLD_NAMES = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
"""How the first BERT checkpoints call two tensors."""


@dataclass(frozen=True)
class Sides:
    """What a warm start asks for: whose weights are pretrained, and whether the sides are one."""

    encoder: bool
    decoder: bool
    tied: bool = False
    causal: bool = False
    """Whether the decoder must be a causal model's."""


STARTS: dict[WarmStart, Sides] = {
    "rnd2rnd": Sides(encoder=False, decoder=False),
    "rnd2bert": Sides(encoder=False, decoder=True),
    "bert2rnd": Sides(encoder=True, decoder=False),
    "bert2bert": Sides(encoder=True, decoder=True),
    "shared": Sides(encoder=True, decoder=True, tied=True),
    "rnd2gpt2": Sides(encoder=False, decoder=True, causal=True),
    "bert2gpt2": Sides(encoder=True, decoder=True, causal=True),
}


@dataclass(frozen=True)
class Composite:
    """A composed model, its new tensors, and those that no output depends on (the pooler's)."""

    model: Any
    new: list[str]
    unused: list[str]
    sides: Sides

    def frozen(self, embeddings: bool) -> frozenset[str]:
        """Return what does not learn: what is unused, and pretrained embeddings if asked."""
        names = set(self.unused)
        for side, pretrained in (("encoder", self.sides.encoder), ("decoder", self.sides.decoder)):
            if embeddings and pretrained:
                names |= {
                    name
                    for name, _ in self.model.named_parameters()
                    if name.startswith(side + ".")
                    and {"embeddings", "wte", "wpe"} & set(name.split("."))
                }
        return frozenset(names)


def compose(base: Path, decoder: Path, start: WarmStart, *, seed: int, dropout: float) -> Composite:
    """Return the encoder-decoder that `start` names; new weights are a function of the seed.

    `decoder` is the folder of the decoder's model, the base itself where it is the same.
    Raises ParamsError for parts that do not fit, CheckFailed where a tensor is not its source's.
    """
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    sides = STARTS[start]
    configs = _configs(base, decoder, sides, dropout)
    torch.manual_seed(seed)
    encoder, reader = _encoder(base, configs[0], sides.encoder)
    writer, new = _decoder(decoder, configs[1], sides.decoder)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, writer.config)
    model = EncoderDecoderModel(config=config, encoder=encoder, decoder=writer)
    if sides.tied:
        seq2seq.tie(model)
    new = [f"decoder.{name}" for name in new]
    unused = [f"encoder.{name}" for name, _ in encoder.named_parameters() if "pooler" in name]
    new += [f"encoder.{name}" for name in reader]
    return Composite(model, sorted(set(new) - set(unused)), sorted(unused), sides)


def _configs(base: Path, decoder: Path, sides: Sides, dropout: float) -> tuple[Any, Any]:
    """Return the two configurations, refused where they cannot be put together."""
    from transformers import AutoConfig

    reader, writer = (
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for folder in (base, decoder)
    )
    if reader.model_type not in ENCODERS:
        raise ParamsError(
            f"a model of the type {reader.model_type!r} is no encoder",
            "finetune: base",
            f"name a model of the type {' or '.join(ENCODERS)}",
        )
    wanted = DECODERS[2:] if sides.causal else DECODERS[:2]
    if writer.model_type not in wanted:
        raise ParamsError(
            f"a model of the type {writer.model_type!r} is no decoder of this warm start",
            "finetune: decoder",
            f"name a model of the type {' or '.join(wanted)}, or another warm_start",
        )
    if reader.hidden_size != writer.hidden_size:
        raise ParamsError(
            f"the encoder is {reader.hidden_size} wide and the decoder {writer.hidden_size}",
            "finetune: decoder",
            "name a decoder of the encoder's width: cross-attention reads the encoder's states",
        )
    if sides.tied and decoder != base:
        raise ParamsError(
            "encoder and decoder shall be one and are two checkpoints",
            "finetune: decoder",
            "leave decoder out: only one encoder's checkpoint can be shared with itself",
        )
    for config in (reader, writer):
        config.name_or_path = ""  # it would end in config.json, and it is a path of this machine
        for name in DROPOUTS:
            if hasattr(config, name):
                setattr(config, name, dropout)
    reader.is_decoder, reader.add_cross_attention = False, False
    writer = copy.deepcopy(writer)
    writer.is_decoder, writer.add_cross_attention, writer.use_cache = True, True, True
    return reader, writer


def _encoder(base: Path, config: Any, pretrained: bool) -> tuple[Any, list[str]]:
    """Return the encoder, and which of its tensors the checkpoint did not have."""
    from transformers import AutoModel

    fresh = AutoModel.from_config(config, attn_implementation="sdpa").float()
    if not pretrained:
        return fresh, [name for name, _ in fresh.named_parameters()]
    new = _fill(fresh, base)
    strange = [name for name in new if not name.startswith("pooler.")]
    if strange:
        raise ArtifactError(
            f"the encoder's checkpoint lacks {', '.join(strange[:5])}",
            str(base / "model.safetensors"),
            "name a whole checkpoint of an encoder",
        )
    return fresh, new


def _decoder(folder: Path, config: Any, pretrained: bool) -> tuple[Any, list[str]]:
    """Return the decoder, and which of its tensors the checkpoint did not have."""
    from transformers import AutoModelForCausalLM

    fresh = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float()
    if not pretrained:
        return fresh, [name for name, _ in fresh.named_parameters()]
    new = _fill(fresh, folder)
    head = tuple(f"{name}." for name in ("lm_head", "cls"))
    # A checkpoint of a bare encoder has no head; all else must be cross-attention, and all of it.
    cross = [name for name, _ in fresh.named_parameters() if is_cross(name)]
    strange = [name for name in new if not is_cross(name) and not name.startswith(head)]
    lost = sorted(set(cross) - set(new))
    if strange or lost:
        raise CheckFailed(
            f"new in the decoder beyond its cross-attention: {', '.join(strange[:5]) or 'nothing'};"
            f" not new of it: {', '.join(lost[:5]) or 'nothing'}",
            str(folder / "model.safetensors"),
            "name a whole checkpoint that has no cross-attention yet",
        )
    return fresh, new


def is_cross(name: str) -> bool:
    """Say whether a tensor belongs to cross-attention."""
    return any(part in name.split(".") for part in CROSS)


def _fill(fresh: Any, folder: Path) -> list[str]:
    """Put a checkpoint's tensors into a new model by name; returns the names that it lacks.

    What the checkpoint has and the model has not (a pooler, `cls.seq_relationship`) is left out.
    """
    given = read_tensors(folder)
    prefix = fresh.base_model_prefix + "."
    lacking = []
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            source = source_name(name, given, prefix)
            if source is None:
                lacking.append(name)
                continue
            if given[source].shape != parameter.shape:
                raise ArtifactError(
                    f"{source} has the shape {list(given[source].shape)}, the architecture"
                    f" wants {list(parameter.shape)}",
                    str(folder / "model.safetensors"),
                    "run the entry that makes this model again",
                )
            parameter.copy_(given[source])
    return lacking


def source_name(name: str, given: Mapping[str, Any], prefix: str) -> str | None:
    """Return how a checkpoint calls a model's tensor: with the body's prefix or without it."""
    forms = [name, prefix + name, name.removeprefix(prefix)]
    forms += [form.replace(new, old) for form in forms for old, new in OLD_NAMES]
    return next((form for form in forms if form in given), None)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, read from safetensors only."""
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        raise ArtifactError(
            "the model has no model.safetensors",
            str(folder),
            "run the entry that makes this model again",
        )
    weights.check(path)
    return load_file(path)


def check_sources(made: Composite, base: Path, decoder: Path) -> dict[str, int]:
    """Compare every pretrained tensor with its source and count: copied and new, by number.

    Raises CheckFailed where one is not its source's, or where a new one is no cross-attention.
    """
    sides = (("encoder", base, made.sides.encoder), ("decoder", decoder, made.sides.decoder))
    new = set(made.new)
    copied = 0
    for side, folder, pretrained in sides:
        if not pretrained:
            continue
        model = getattr(made.model, side)
        given = read_tensors(folder)
        prefix = model.base_model_prefix + "."
        for name, parameter in model.named_parameters(remove_duplicate=False):
            source = source_name(name, given, prefix)
            if source is None:
                if f"{side}.{name}" in new or name in model.all_tied_weights_keys:
                    continue
                if f"{side}.{name}" in made.unused:
                    continue
                raise CheckFailed(
                    f"{side}.{name} has no source and is not told to be new",
                    str(folder),
                    "look at how the parts were put together",
                )
            if not torch.equal(parameter.detach(), given[source].to(parameter.dtype)):
                raise CheckFailed(
                    f"{side}.{name} is not {source} of its checkpoint",
                    str(folder),
                    "look at how the parts were put together",
                )
            copied += 1
    return {"tensors_copied": copied, "tensors_new": len(new)}


def set_specials(model: Any, source: Any, target: Any) -> None:
    """Put the ids that decoding needs on the top configuration and the generation configuration.

    BERT has no opening and closing token by those names: without this a generation fails or never
    ends.
    """
    from transformers import GenerationConfig

    start, end = seq2seq.opening(target), seq2seq.closing(target)
    pad = target.pad_token_id if target.pad_token_id is not None else end
    config = model.config
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = start, end, pad
    config.bos_token_id = start
    config.vocab_size = config.decoder.vocab_size
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start, bos_token_id=start, eos_token_id=end, pad_token_id=pad
    )
    models.check_vocabulary(config.encoder, source, "finetune: base")
    models.check_vocabulary(config.decoder, target, "finetune: decoder")
