"""What each family of foreign checkpoints must be told: the choices of `port.<entry>.source`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.core.declare import Params


class Family(Params):
    """What all families share."""

    seed: int = Field(0, ge=0)
    """Seed of the random inputs of the verification."""
    compare_below_mb: float = Field(2000.0, ge=0)
    """Models up to this size in fp32 are verified loaded whole, larger ones layer by layer; those
    generate on a small twin of theirs."""


class Bert(Family):
    """Google's BERT: bert_config.json, vocab.txt, bert_model.ckpt.index and .data-*."""

    kind: Literal["bert"] = "bert"
    """Tag of this choice."""
    checkpoint: str = ""
    """What the checkpoint's file names begin with, such as `bert_model.ckpt`; empty: the only one.
    """
    lower_case: bool | None = None
    """Whether texts are lower-cased and lose their accents; null: as the vocabulary tells, which
    has no capital letters then."""
    activation: Literal["", "gelu", "gelu_new", "relu"] = ""
    """Activation instead of the configuration's; Google's later code computes `gelu` by tanh, which
    is `gelu_new`, and every port in use reads it as the error function."""


class Gpt2(Family):
    """OpenAI's GPT-2: hparams.json, encoder.json, vocab.bpe, model.ckpt.index and .data-*."""

    kind: Literal["gpt2"] = "gpt2"
    """Tag of this choice."""
    checkpoint: str = ""
    """What the checkpoint's file names begin with, such as `model.ckpt-1000`; empty: the only one.
    """


class Roberta(Family):
    """fairseq's RoBERTa: model.pt, dict.txt, encoder.json, vocab.bpe."""

    kind: Literal["roberta"] = "roberta"
    """Tag of this choice."""
    checkpoint: str = ""
    """File name of the checkpoint to port; empty: the only one."""
    classification_head: str = ""
    """Classification head to port in the place of the masked-language head."""


class MegatronGpt2(Family):
    """Megatron-LM's GPT-2: iter_*/mp_rank_*/model_optim_rng.pt with vocab.json and merges.txt."""

    kind: Literal["megatron-gpt2"] = "megatron-gpt2"
    """Tag of this choice."""
    checkpoint: str = ""
    """Folder of the iteration to port, such as `iter_0150000`; empty: the only or latest one."""
    vocab_size: int = Field(0, ge=0)
    """Words of a checkpoint that comes without vocab.json and merges.txt, rows behind them being
    padding; 0: all its rows. The files decide where they are given."""
    heads: int = Field(0, ge=0)
    """Attention heads of a checkpoint that holds no arguments; 0: as its arguments say."""


class Rwkv(Family):
    """RWKV-4: one .pth with the weights, and the tokenizer.json of its vocabulary."""

    kind: Literal["rwkv"] = "rwkv"
    """Tag of this choice."""
    checkpoint: str = ""
    """File name of the checkpoint to port; empty: the only one."""
    size: Literal["", "169M", "430M", "1B5", "3B", "7B", "14B"] = ""
    """Size that the weights must have; empty: as the file name says, and any where it does not."""
    context_length: int = Field(0, ge=0)
    """Tokens that it was trained on at once; 0: as the file name says (`ctx8192`), or 1024."""


class Bloom(Family):
    """BLOOM: config.json with the released weights, or the training's layer_*-model_*.pt files."""

    kind: Literal["bloom"] = "bloom"
    """Tag of this choice."""


FamilySource = Bert | Gpt2 | Roberta | MegatronGpt2 | Rwkv | Bloom
