"""What a fairseq checkpoint says about its own shape, and what FSMT cannot hold of it.

fairseq keeps its options in `args` (a Namespace) or, since 0.10, in `cfg` with sections. Only
options that change what the model computes are read; each that FSMT lacks is refused by its name,
because ignoring one would give a model that translates, only differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.port import pickles

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "tanh": "tanh"}
"""fairseq's activation_fn -> transformers' activation_function of the same formula."""
ABSENT: tuple[object, ...] = (None, False, 0, "", "None", [])
REFUSED = {
    "encoder_normalize_before": "pre-norm layers",
    "decoder_normalize_before": "pre-norm layers",
    "encoder_learned_pos": "learned positions",
    "decoder_learned_pos": "learned positions",
    "no_token_positional_embeddings": "no positions",
    "layernorm_embedding": "a norm after the embedding",
    "adaptive_input": "adaptive input",
    "adaptive_softmax_cutoff": "adaptive softmax",
    "no_cross_attention": "a decoder without cross-attention",
    "cross_self_attention": "joint cross- and self-attention",
    "encoder_layers_to_keep": "pruned layers",
    "decoder_layers_to_keep": "pruned layers",
    "base_layers": "BASE layers",
    "num_experts": "experts",
    "moe_freq": "experts",
    "scale_fc": "scaled feed-forward layers",
    "scale_attn": "scaled attention",
    "scale_heads": "scaled heads",
    "scale_resids": "scaled residuals",
}
"""Options whose being on FSMT cannot express, with the words for it."""
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
    settings_format: str
    """`args` or `cfg`."""

    @property
    def tying(self) -> str:
        """Which of the three tables share their values."""
        if self.share_all:
            return "all"
        return "decoder" if self.share_decoder else "none"


def read(tree: Mapping[str, Any]) -> Architecture:
    """Return the architecture of an unpickled checkpoint; refuse what FSMT cannot hold."""
    settings, form = _settings(tree)
    _refuse(settings)
    width = _required(settings, "encoder_embed_dim")
    return Architecture(
        width=width,
        encoder_layers=_required(settings, "encoder_layers"),
        decoder_layers=_required(settings, "decoder_layers"),
        encoder_ffn=_required(settings, "encoder_ffn_embed_dim"),
        decoder_ffn=_required(settings, "decoder_ffn_embed_dim"),
        encoder_heads=_required(settings, "encoder_attention_heads"),
        decoder_heads=_required(settings, "decoder_attention_heads"),
        activation=ACTIVATIONS[settings.get("activation_fn") or "relu"],
        scale_embedding=not settings.get("no_scale_embedding"),
        share_all=bool(settings.get("share_all_embeddings")),
        share_decoder=bool(settings.get("share_decoder_input_output_embed")),
        max_positions=int(settings.get("max_source_positions") or 1024),
        max_target_positions=int(settings.get("max_target_positions") or 1024),
        dropout=float(settings.get("dropout") or 0.0),
        attention_dropout=float(settings.get("attention_dropout") or 0.0),
        activation_dropout=float(
            settings.get("activation_dropout") or settings.get("relu_dropout") or 0.0
        ),
        encoder_layerdrop=float(settings.get("encoder_layerdrop") or 0.0),
        decoder_layerdrop=float(settings.get("decoder_layerdrop") or 0.0),
        source_language=str(_required(settings, "source_lang", str)),
        target_language=str(_required(settings, "target_lang", str)),
        settings_format=form,
    )


def _settings(tree: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return flat settings: `args`, or the sections of `cfg` that shape model and text."""
    if tree.get("args") is not None:
        settings = pickles.plain(tree["args"])
        settings["family"] = settings.get("arch")
        return settings, "args"
    sections = pickles.plain(tree.get("cfg"))
    if not isinstance(sections, dict) or not isinstance(sections.get("model"), dict):
        raise ArtifactError(
            "the checkpoint holds neither args nor cfg.model, so its shape is unknown",
            WHERE,
            "give a checkpoint as fairseq-train saved it",
        )
    model = dict(sections["model"])
    for section in ("tokenizer", "bpe", "task"):
        value = sections.get(section)
        name = value.get("_name") if isinstance(value, dict) else value
        model[section] = name if name is not None else model.get(section)
    found = sections.get("task")
    task = found if isinstance(found, dict) else {}
    for name in ("source_lang", "target_lang"):
        if task.get(name) is not None:
            model[name] = task[name]
    model["family"] = model.get("arch") or model.get("_name")
    return model, "cfg"


def _refuse(settings: Mapping[str, Any]) -> None:
    """Raise for the first option, in a fixed order, that FSMT cannot hold."""
    family = settings.get("family")
    if not str(family).startswith("transformer") or "lm" in str(family).split("_"):
        raise _unsupported("arch", family, "another family of models")
    for name, words in REFUSED.items():
        if settings.get(name) not in ABSENT:
            raise _unsupported(name, settings[name], words)
    activation = settings.get("activation_fn") or "relu"
    if activation not in ACTIVATIONS:
        raise _unsupported("activation_fn", activation, "this activation")
    width = settings.get("encoder_embed_dim")
    for name in ("decoder_embed_dim", "decoder_input_dim", "decoder_output_dim"):
        if settings.get(name) not in (None, width):
            raise _unsupported(name, settings[name], f"a width other than the encoder's {width}")
    expected = {
        "task": ("translation", "translation_from_pretrained_bart"),
        "bpe": ("fastbpe", "subword_nmt"),
        "tokenizer": ("moses",),
    }
    for name, known in expected.items():
        if settings.get(name) is not None and settings[name] not in known:
            raise _unsupported(name, settings[name], f"anything but {' or '.join(known)}")


def _unsupported(name: str, value: Any, words: str) -> ArtifactError:
    return ArtifactError(
        f"{name} = {value}: FSMT cannot hold {words}",
        WHERE,
        "port a post-norm fairseq transformer with sinusoidal positions, or ask for this kind",
    )


def _required(settings: Mapping[str, Any], name: str, kind: type = int) -> Any:
    value = settings.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ArtifactError(
            f"{name} is {value!r}, expected {kind.__name__}",
            WHERE,
            "give a checkpoint whose settings say its shape, as fairseq-train saves them",
        )
    return value
