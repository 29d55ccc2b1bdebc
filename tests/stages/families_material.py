"""Releases of six model families in their original layouts, with random weights.

Each writer lays the weights of a random transformers model out by hand, so that the outcome of a
port is known from outside: the original model itself. None of the product's plans is used.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.lm.tensors import bundle
from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Memory

RELEASES = Path(__file__).parent / "releases"
VOCAB = 331
"""Tokens of the byte pairs in `releases/gpt2`."""


def shaken(model: Any, seed: int = 0) -> Any:
    """Return a model with random biases and norms too, so that mixing them up shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.2 if parameter.ndim == 1 else 0.08))
    return model.eval()


def drawn(model: Any, seed: int = 7) -> Any:
    """Return a model whose every number comes of torch's generator alone, on any machine."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(noise * 0.3 + (1.0 if norm else 0.0))
    return model.eval()


def release(name: str, folder: Path) -> Path:
    """Copy a committed release into a folder."""
    shutil.copytree(RELEASES / name, folder)
    return folder


def bert_classifier(folder: Path, classes: int) -> Path:
    """Write the committed BERT with the output layer of Google's run_classifier.py added."""
    release("bert", folder)
    prefix = folder / "bert_model.ckpt"
    generator = np.random.default_rng(0)
    with bundle.opened(bundle.read(prefix)) as checkpoint:
        more = {"output_weights": (classes, 12), "output_bias": (classes,)}
        tensors: dict[str, Any] = dict(checkpoint.nodes())
        for name, shape in more.items():
            numbers = generator.standard_normal(shape).astype(np.float32)
            tensors[name] = Memory(Spec("F32", shape), numbers.view(np.uint32))
        bundle.write(folder / "new.ckpt", tensors)
    for path in folder.glob("bert_model.ckpt.*"):
        path.unlink()
    return folder


def byte_pairs(folder: Path, vocabulary: str, merges: str) -> None:
    """Copy GPT-2's files under other names."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(RELEASES / "gpt2" / "encoder.json", folder / vocabulary)
    shutil.copy(RELEASES / "gpt2" / "vocab.bpe", folder / merges)


def gpt2_model(layers: int = 2, heads: int = 4, width: int = 16, **changes: Any) -> Any:
    """Return a random GPT-2 of transformers over the byte pairs."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {
        "vocab_size": VOCAB, "n_positions": 40, "n_embd": width, "n_layer": layers,
        "n_head": heads, "bos_token_id": VOCAB - 1, "eos_token_id": VOCAB - 1,
    }  # fmt: skip
    torch.manual_seed(1)
    return shaken(GPT2LMHeadModel(GPT2Config(**(settings | changes))))


AXES = {0: (0, 1, 2), 1: (1, 2, 0), 2: (1, 0, 2), 3: (1, 0, 2)}
"""[3, H, K] -> the rows of a version."""


def megatron(
    folder: Path,
    model: Any,
    version: int = 2,
    ranks: int = 1,
    *,
    with_args: bool = True,
    stack: str = "encoder",
    attention: str = "self_attention",
    iteration: str = "iter_0150000",
    **changes: Any,
) -> Path:
    """Write a GPT-2 as Megatron-LM saves it, its vocabulary padded to a multiple of 128."""
    config = model.config
    heads, width = config.n_head, config.n_embd
    padded = -(-VOCAB // (128 * ranks)) * 128 * ranks
    state = {name.removeprefix("transformer."): one for name, one in model.state_dict().items()}
    filler = torch.randn(padded - VOCAB, width, generator=torch.Generator().manual_seed(9))
    words = torch.cat([state["wte.weight"], filler.to(state["wte.weight"].dtype)])
    for rank in range(ranks):
        layers: dict[str, torch.Tensor] = {}
        for number in range(config.n_layer):
            ours, theirs = f"h.{number}", f"layers.{number}"
            for kind in ("weight", "bias"):
                layers[f"{theirs}.input_layernorm.{kind}"] = state[f"{ours}.ln_1.{kind}"]
                layers[f"{theirs}.post_attention_layernorm.{kind}"] = state[f"{ours}.ln_2.{kind}"]
                fused = state[f"{ours}.attn.c_attn.{kind}"]
                fused = fused.T if kind == "weight" else fused
                rest = fused.shape[1:]
                rows = fused.reshape(3, heads, width // heads, *rest)
                rows = rows.chunk(ranks, dim=1)[rank]  # heads are shared, whatever the version
                rows = rows.permute(*AXES[version], *range(3, rows.ndim)).reshape(-1, *rest)
                name = f"{theirs}.{attention}.query_key_value.{kind}"
                layers[name] = rows.clone()
                wide = state[f"{ours}.mlp.c_fc.{kind}"]
                wide = wide.T if kind == "weight" else wide
                layers[f"{theirs}.mlp.dense_h_to_4h.{kind}"] = wide.chunk(ranks)[rank].clone()
                for name, key in ((f"{attention}.dense", "attn.c_proj"),
                                  ("mlp.dense_4h_to_h", "mlp.c_proj")):  # fmt: skip
                    one = state[f"{ours}.{key}.{kind}"]
                    if kind == "weight":
                        one = one.T.chunk(ranks, dim=1)[rank].clone()
                    layers[f"{theirs}.{name}.{kind}"] = one
        for kind in ("weight", "bias"):
            layers[f"final_layernorm.{kind}"] = state[f"ln_f.{kind}"]
        args = {
            "num_layers": config.n_layer, "hidden_size": width, "num_attention_heads": heads,
            "max_position_embeddings": config.n_positions, "padded_vocab_size": padded,
            "bias_gelu_fusion": config.activation_function == "gelu_fast",
            "openai_gelu": config.activation_function == "gelu_new",
            "layernorm_epsilon": 1e-5, "tensor_model_parallel_size": ranks,
            "params_dtype": torch.float32,
        } | changes  # fmt: skip
        tree: dict[str, Any] = {
            "checkpoint_version": version,
            "iteration": 150000,
            "model": {
                "language_model": {
                    "embedding": {
                        "word_embeddings": {"weight": words.chunk(ranks)[rank].clone()},
                        "position_embeddings": {"weight": state["wpe.weight"]},
                    },
                    stack: layers,
                }
            },
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
            "rng_state": [
                {"np_rng_state": ("MT19937", b"x", 1), "torch_rng_state": torch.zeros(2)}
            ],
        }
        if with_args:
            tree["args"] = argparse.Namespace(**args)
        path = folder / iteration / f"mp_rank_{rank:02d}" / "model_optim_rng.pt"
        path.parent.mkdir(parents=True)
        torch.save(tree, path)
    byte_pairs(folder, "vocab.json", "merges.txt")
    return folder


def rwkv_model(layers: int = 3, width: int = 16, vocab_size: int = 60) -> Any:
    """Return a random RWKV of transformers."""
    from transformers import RwkvConfig, RwkvForCausalLM

    torch.manual_seed(2)
    config = RwkvConfig(
        hidden_size=width, num_hidden_layers=layers, vocab_size=vocab_size, rescale_every=0
    )
    return shaken(RwkvForCausalLM(config), 2)


def rwkv(folder: Path, model: Any, name: str = "RWKV-4-tiny-ctx64.pth", **changes: Any) -> Path:
    """Write an RWKV as its author released them: a state dict under short names."""
    renamed = {
        "rwkv.embeddings": "emb", "rwkv.": "", ".attention.": ".att.", ".feed_forward.": ".ffn.",
        ".pre_ln.": ".ln0.", "time_mix_key": "time_mix_k", "time_mix_value": "time_mix_v",
        "time_mix_receptance": "time_mix_r",
    }  # fmt: skip
    state = {}
    for key, tensor in model.state_dict().items():
        for long, short in renamed.items():
            key = key.replace(long, short)
        state[key] = tensor.clone()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state | changes, folder / name)
    return folder


def bloom_model(heads: int = 6, layers: int = 2, width: int = 24, vocab_size: int = 60) -> Any:
    """Return a random BLOOM of transformers."""
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(3)
    config = BloomConfig(
        hidden_size=width, n_layer=layers, n_head=heads, vocab_size=vocab_size, pad_token_id=3
    )
    return shaken(BloomForCausalLM(config), 3)


def bloom_settings(model: Any) -> dict[str, Any]:
    """Return config.json as the release has it."""
    config = model.config
    return {
        "model_type": "bloom", "n_layer": config.n_layer, "n_head": config.n_head,
        "n_embed": config.hidden_size, "vocab_size": config.vocab_size, "seq_length": 32,
        "layer_norm_epsilon": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
        "attention_softmax_in_fp32": True, "apply_residual_connection_post_layernorm": False,
    }  # fmt: skip


def bloom(folder: Path, model: Any) -> Path:
    """Write a BLOOM as released for transformers: no prefix, no head."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name.removeprefix("transformer."): tensor.clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(bloom_settings(model)), encoding="utf-8")
    return folder


def bloom_training(folder: Path, model: Any, ranks: int = 2) -> Path:
    """Write a BLOOM as Megatron-DeepSpeed does: a file per layer and rank."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()
    }
    layers = model.config.n_layer
    for rank in range(ranks):

        def part(name: str, rank: int = rank) -> torch.Tensor:
            tensor = state[name]
            if name.endswith(("query_key_value.weight", "query_key_value.bias",
                              "dense_h_to_4h.weight", "dense_h_to_4h.bias",
                              "word_embeddings.weight")):  # fmt: skip
                return tensor.chunk(ranks)[rank].clone()
            if name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight")):
                return tensor.chunk(ranks, dim=1)[rank].clone()
            return tensor.clone()

        files = {
            1: {
                "word_embeddings.weight": part("word_embeddings.weight"),
                "word_embeddings.norm.weight": part("word_embeddings_layernorm.weight"),
                "word_embeddings.norm.bias": part("word_embeddings_layernorm.bias"),
            },
            layers + 4: {"weight": part("ln_f.weight"), "bias": part("ln_f.bias")},
        }
        for layer in range(layers):
            begin = f"h.{layer}."
            files[layer + 3] = {
                name.removeprefix(begin): part(name) for name in state if name.startswith(begin)
            }
        for number, tensors in files.items():
            path = folder / f"layer_{number:02d}-model_{rank:02d}-model_states.pt"
            torch.save(tensors, path)
    (folder / "config.json").write_text(json.dumps(bloom_settings(model)), encoding="utf-8")
    return folder


def word_level(folder: Path, size: int) -> None:
    """Write a tokenizer.json of `size` whole words with the usual special tokens."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    words = [*specials, *(f"w{number}" for number in range(size - len(specials)))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in specials])
    tokenizer.save(str(folder / "tokenizer.json"))


def roberta_model(layers: int = 2, rows: int = VOCAB + 8) -> Any:
    """Return a random RoBERTa of transformers with fairseq's epsilon and one token type."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(4)
    config = RobertaConfig(
        vocab_size=rows, hidden_size=16, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=32, max_position_embeddings=34, type_vocab_size=1, layer_norm_eps=1e-5,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model = shaken(RobertaForMaskedLM(config), 4)
    with torch.no_grad():
        model.roberta.embeddings.token_type_embeddings.weight.zero_()
        model.roberta.embeddings.position_embeddings.weight[1].zero_()
    return model


def roberta_drawn() -> Any:
    """Return the RoBERTa that fairseq itself was asked about (`releases/recorded`)."""
    model = drawn(roberta_model())
    with torch.no_grad():
        model.roberta.embeddings.token_type_embeddings.weight.zero_()
        model.roberta.embeddings.position_embeddings.weight[1].zero_()
    return model


def roberta(
    folder: Path,
    model: Any,
    *,
    stack: str = "encoder.sentence_encoder.",
    norm: str = "layernorm_embedding",
    fused: bool = False,
    new: bool = True,
    heads: dict[str, int] | None = None,
    lines: list[str] | None = None,
    **changes: Any,
) -> Path:
    """Write a RoBERTa as fairseq saves it, with a dictionary that shuffles GPT-2's ids."""
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    body = "roberta.encoder.layer."
    found: dict[str, torch.Tensor] = {}
    for theirs, ours in (("embed_tokens", "word_embeddings"), ("embed_positions",
                         "position_embeddings")):  # fmt: skip
        found[f"{stack}{theirs}.weight"] = state[f"roberta.embeddings.{ours}.weight"].clone()
    names = {
        "self_attn.out_proj": "attention.output.dense", "fc1": "intermediate.dense",
        "fc2": "output.dense", "self_attn_layer_norm": "attention.output.LayerNorm",
        "final_layer_norm": "output.LayerNorm",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        found[f"{stack}{norm}.{kind}"] = state[f"roberta.embeddings.LayerNorm.{kind}"].clone()
        for layer in range(model.config.num_hidden_layers):
            for theirs, ours in names.items():
                found[f"{stack}layers.{layer}.{theirs}.{kind}"] = state[
                    f"{body}{layer}.{ours}.{kind}"
                ]
            three = [
                state[f"{body}{layer}.attention.self.{one}.{kind}"]
                for one in ("query", "key", "value")
            ]
            own = f"{stack}layers.{layer}.self_attn."
            if fused:
                found[f"{own}in_proj_{kind}"] = torch.cat(three)
            else:
                for short, one in zip("qkv", three, strict=True):
                    found[f"{own}{short}_proj.{kind}"] = one.clone()
        for name in ("dense", "layer_norm"):
            key = f"{stack.split('.')[0]}.lm_head.{name}.{kind}"
            found[key] = state[f"lm_head.{name}.{kind}"]
    found[f"{stack.split('.')[0]}.lm_head.weight"] = state[
        "roberta.embeddings.word_embeddings.weight"
    ]
    found[f"{stack.split('.')[0]}.lm_head.bias"] = state["lm_head.bias"]
    generator = torch.Generator().manual_seed(5)
    for head, count in (heads or {}).items():
        for part, size in (("dense", 16), ("out_proj", count)):
            for kind, shape in (("weight", (size, 16)), ("bias", (size,))):
                name = f"classification_heads.{head}.{part}.{kind}"
                found[name] = torch.randn(shape, generator=generator)
    settings = {
        "arch": "roberta", "encoder_layers": model.config.num_hidden_layers,
        "encoder_embed_dim": 16, "encoder_attention_heads": 4, "encoder_ffn_embed_dim": 32,
        "activation_fn": "gelu", "dropout": 0.1, "attention_dropout": 0.1,
    } | changes  # fmt: skip
    args = argparse.Namespace(**settings)
    tree = {"cfg": {"model": args}, "args": None} if new else {"args": args}
    torch.save({**tree, "model": found, "last_optimizer_state": None}, folder / "model.pt")
    if lines is None:
        lines = [f"{number} {number + 1}" for number in shuffled_ids()]
        lines += [f"madeupword{number:04d} 0" for number in range(3)]
    (folder / "dict.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    byte_pairs(folder, "encoder.json", "vocab.bpe")
    return folder


def shuffled_ids() -> list[int]:
    """Return GPT-2's ids in the order in which the dictionary has them."""
    return torch.randperm(VOCAB, generator=torch.Generator().manual_seed(6)).tolist()
