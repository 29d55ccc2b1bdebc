"""What a fairseq checkpoint says about its own shape, and which transformers class can hold it.

fairseq keeps its options in `args` (a Namespace) or, since 0.10, in `cfg` with sections. Only
options that change what the model computes are read; each that no class has a place for is refused
by its name, because ignoring one would give a model that translates, only differently.

| norms | positions | norm of the embedding | class |
| --- | --- | --- | --- |
| after each sublayer | sinusoids | no | FSMT |
| after | learned on a side, or none | no | Marian |
| before, and one at the end | any | no | Pegasus |
| after | any | yes | BART |
| before, and one at the end | any | yes | mBART |

Marian, Pegasus, BART and mBART keep positions as tables of the weights file, so that any table can
stand there. FSMT and Marian hold two vocabularies; the others hold one, so the smaller of two is
filled up and `final_logits_bias` makes the fillers impossible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.core.errors import ArtifactError
from stages.port import pickles

Family = Literal["fsmt", "marian", "pegasus", "bart", "mbart"]
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "tanh": "tanh",
    "linear": "linear",
    "relu_squared": "relu2",
    "gelu_accurate": "gelu_accurate",
    "gelu_fast": "gelu_accurate",
    "swish": "silu",
}
"""fairseq's activation_fn -> transformers' activation_function of the same formula; fairseq's
gelu_fast is another name of its gelu_accurate, transformers' gelu_fast is not meant."""
ABSENT: tuple[object, ...] = (None, False, 0, "", "None", [])
REFUSED = {
    "adaptive_input": "adaptive input",
    "adaptive_softmax_cutoff": "adaptive softmax",
    "no_cross_attention": "a decoder without cross-attention",
    "cross_self_attention": "joint cross- and self-attention",
    "encoder_layers_to_keep": "pruned layers",
    "decoder_layers_to_keep": "pruned layers",
    "no_decoder_final_norm": "pre-norm layers without a norm at their end",
    "char_inputs": "characters as input",
    "base_layers": "BASE layers",
    "num_experts": "experts",
    "moe_freq": "experts",
    "quant_noise_pq": "quantized layers",
    "quant_noise_scalar": "quantized layers",
    "encoder_xformers_att_config": "xFormers attention",
    "decoder_xformers_att_config": "xFormers attention",
    "scale_fc": "scaled feed-forward layers",
    "scale_attn": "scaled attention",
    "scale_heads": "scaled heads",
    "scale_resids": "scaled residuals",
    "moses_no_dash_splits": "Moses without dash splits",
    "moses_no_escape": "Moses without escaping",
}
"""Options whose being on no class or text pipeline expresses, with the words for it."""
KNOWN = {
    "task": ("translation",),
    "bpe": ("fastbpe", "subword_nmt", "sentencepiece"),
    "tokenizer": ("moses",),
    "bpe_separator": ("@@",),
}
"""Options with a choice: the values that are ported."""
FAMILIES = ("transformer", "vaswani", "bart", "mbart")
"""Beginnings of words in the names of architectures whose layers these are."""
OTHERS = {
    "lm", "monotonic", "waitk", "pointer", "simul", "modular", "unidirectional", "moe",
    "nonautoregressive", "levenshtein", "insertion", "cmlm", "nacrf", "latent", "multilingual",
    "gru", "s2t", "s2s", "s2ut", "tts", "linformer", "lightconv", "dynamicconv", "fconv", "lstm",
}  # fmt: skip
"""Words in the names of architectures that compute something else, some with like weights."""
ANOTHER = (
    "encoder_conv_type", "decoder_conv_type", "encoder_kernel_size_list", "length_loss_factor",
    "simul_type", "mass_preservation", "noise_type",
)  # fmt: skip
"""Options that only other models have: convolutions, parallel and simultaneous translation."""
DEFAULT_POSITIONS = 1024
"""fairseq's DEFAULT_MAX_SOURCE_POSITIONS, and of targets."""
WHERE = "settings inside the checkpoint (args or cfg)"


@dataclass(frozen=True)
class Architecture:
    """Shape of the model: D width, F feed-forward width, H heads, L layers per side."""

    width: int
    encoder_layers: int
    decoder_layers: int
    encoder_ffn: int
    decoder_ffn: int
    encoder_heads: int
    decoder_heads: int
    activation: str
    """fairseq's name of it."""
    pre_norm: bool
    """Norms stand before the sublayers, and one behind the last layer of each side."""
    embedding_norm: bool
    positions: bool
    encoder_learned: bool
    decoder_learned: bool
    scale_embedding: bool
    share_all: bool
    share_decoder: bool
    max_positions: int
    """Longest source in tokens, `</s>` included."""
    max_target_positions: int
    dropout: float
    attention_dropout: float
    activation_dropout: float
    encoder_layerdrop: float
    decoder_layerdrop: float
    source_language: str
    target_language: str
    bpe: str
    """The subwords that the settings name, or nothing."""
    tokenizer: str
    """The words that the settings name, or nothing."""
    settings_format: str
    """`args` or `cfg`."""

    @property
    def tying(self) -> Literal["all", "decoder", "none"]:
        """Which of the three tables share their values."""
        if self.share_all:
            return "all"
        return "decoder" if self.share_decoder else "none"

    @property
    def family(self) -> Family:
        """The transformers class that computes this, by its model_type."""
        if self.embedding_norm:
            return "mbart" if self.pre_norm else "bart"
        if self.pre_norm:
            return "pegasus"
        sinusoids = self.positions and not (self.encoder_learned or self.decoder_learned)
        return "fsmt" if sinusoids else "marian"


def read(tree: Mapping[str, Any], any_name: bool = False) -> Architecture:
    """Return the architecture of an unpickled checkpoint; refuse what no class can hold.

    `any_name` takes an architecture of an unknown name whose settings are a whole transformer's.
    """
    settings, form = _settings(tree)
    _refuse_families(settings, any_name)
    _refuse(settings)
    _refuse_pairs(settings)

    def number(name: str) -> float:
        value = settings.get(name) or 0.0
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise _unsaid(name, value, "a number from 0 to 1")
        return float(value)

    def longest(name: str) -> int:
        return DEFAULT_POSITIONS if settings.get(name) is None else _count(settings, name)

    return Architecture(
        width=_count(settings, "encoder_embed_dim"),
        encoder_layers=_count(settings, "encoder_layers"),
        decoder_layers=_count(settings, "decoder_layers"),
        encoder_ffn=_count(settings, "encoder_ffn_embed_dim"),
        decoder_ffn=_count(settings, "decoder_ffn_embed_dim"),
        encoder_heads=_heads(settings, "encoder"),
        decoder_heads=_heads(settings, "decoder"),
        activation=settings.get("activation_fn") or "relu",
        pre_norm=bool(settings.get("encoder_normalize_before")),
        embedding_norm=bool(settings.get("layernorm_embedding")),
        positions=not settings.get("no_token_positional_embeddings"),
        encoder_learned=bool(settings.get("encoder_learned_pos")),
        decoder_learned=bool(settings.get("decoder_learned_pos")),
        scale_embedding=not settings.get("no_scale_embedding"),
        share_all=bool(settings.get("share_all_embeddings")),
        share_decoder=bool(settings.get("share_decoder_input_output_embed")),
        max_positions=longest("max_source_positions"),
        max_target_positions=longest("max_target_positions"),
        dropout=number("dropout"),
        attention_dropout=number("attention_dropout"),
        activation_dropout=number("activation_dropout") or number("relu_dropout"),
        encoder_layerdrop=number("encoder_layerdrop"),
        decoder_layerdrop=number("decoder_layerdrop"),
        source_language=_language(settings, "source_lang"),
        target_language=_language(settings, "target_lang"),
        bpe=settings.get("bpe") or "",
        tokenizer=settings.get("tokenizer") or "",
        settings_format=form,
    )


def _settings(tree: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return flat settings: `args`, or the sections of `cfg` that shape model and text."""
    if tree.get("args") is not None:
        settings = pickles.plain(tree["args"])
        if not isinstance(settings, dict):
            raise _shapeless(f"args is a {type(settings).__name__}")
        return settings | {"family": settings.get("arch")}, "args"
    sections = pickles.plain(tree.get("cfg"))
    if not isinstance(sections, dict) or not isinstance(sections.get("model"), dict):
        raise _shapeless("the checkpoint holds neither args nor cfg.model")
    model = dict(sections["model"])
    for side in ("encoder", "decoder", "quant_noise"):
        if isinstance(model.get(side), dict):
            model |= {f"{side}_{name}": value for name, value in model.pop(side).items()}
    for section in ("tokenizer", "bpe", "task"):
        value = sections.get(section)
        if isinstance(value, dict):
            model |= {
                name: value[name]
                for name in ("bpe_separator", "moses_no_dash_splits", "moses_no_escape")
                if name in value
            }
            value = value.get("_name")
        model[section] = value if value is not None else model.get(section)
    found = sections.get("task")
    task = found if isinstance(found, dict) else {}
    for name in ("source_lang", "target_lang"):
        if task.get(name) is not None:
            model[name] = task[name]
    model["family"] = model.get("arch") or model.get("_name")
    return model, "cfg"


def _shapeless(what: str) -> ArtifactError:
    return ArtifactError(
        f"{what}, so its shape is unknown",
        WHERE,
        "give a checkpoint as fairseq-train saved it",
    )


def _refuse_families(settings: Mapping[str, Any], any_name: bool) -> None:
    """Raise for a model that is no transformer, by the name of it or by options of its own."""
    family = str(settings.get("family"))
    words = re.split(r"[^a-z0-9]+", family.lower())
    if OTHERS.intersection(words):
        raise _unsupported("arch", family, "another family of models")
    for name in ANOTHER:
        if settings.get(name) is not None:
            raise _unsupported(name, settings[name], "another family of models")
    if not any_name and not any(word.startswith(FAMILIES) for word in words):
        raise ArtifactError(
            f"arch = {family}: not known as a transformer",
            WHERE,
            "if code of yours registered it for fairseq's own TransformerModel, set "
            "port.<entry>.source.architecture: transformer",
        )


def _refuse(settings: Mapping[str, Any]) -> None:
    """Raise for the first option, in a fixed order, that has no place in transformers."""
    for name, told in REFUSED.items():
        if settings.get(name) not in ABSENT:
            raise _unsupported(name, settings[name], told)
    activation = settings.get("activation_fn") or "relu"
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise _unsupported("activation_fn", activation, "this activation")
    for name, known in KNOWN.items():
        if settings.get(name) is not None and settings[name] not in known:
            raise _unsupported(name, settings[name], f"anything but {' or '.join(known)}")


def _refuse_pairs(settings: Mapping[str, Any]) -> None:
    """Raise where the two sides differ in what a class has one option for."""
    before = [bool(settings.get(f"{side}_normalize_before")) for side in ("encoder", "decoder")]
    if before[0] != before[1]:
        raise _unsupported(
            "decoder_normalize_before",
            settings.get("decoder_normalize_before"),
            f"another place of the norms than encoder_normalize_before = {before[0]}",
        )
    width = settings.get("encoder_embed_dim")
    for name in ("decoder_embed_dim", "decoder_input_dim", "decoder_output_dim"):
        value = settings.get(name)
        if value not in (None, width) and not str(value).startswith("${"):
            raise _unsupported(name, value, f"a width other than the encoder's {width}")


def _unsupported(name: str, value: Any, words: str) -> ArtifactError:
    return ArtifactError(
        f"{name} = {value}: transformers cannot hold {words}",
        WHERE,
        "port a fairseq transformer for translation whose sides are built alike, or ask for this "
        "kind",
    )


def _count(settings: Mapping[str, Any], name: str) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _unsaid(name, value, "a positive int")
    return value


def _heads(settings: Mapping[str, Any], side: str) -> int:
    name = f"{side}_attention_heads"
    heads, width = _count(settings, name), _count(settings, "encoder_embed_dim")
    if width % heads:
        raise _unsaid(name, heads, f"a divisor of the width {width}")
    return heads


def _language(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    if not isinstance(value, str) or not value:
        raise _unsaid(name, value, "str")
    return value


def _unsaid(name: str, value: Any, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is {value!r}, expected {expected}",
        WHERE,
        "give a checkpoint whose settings say its shape, as fairseq-train saves them",
    )
