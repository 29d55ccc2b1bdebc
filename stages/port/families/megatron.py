"""Read Megatron-LM's GPT-2: iter_*/mp_rank_*/model_optim_rng.pt with vocab.json and merges.txt.

The tree of a file: `args` (a Namespace), `checkpoint_version`, `iteration`, `model` with
`language_model` below it: `embedding` and `transformer` or `encoder`; optimizer and random states
are left out. Tensors of rank r are named `r:embedding/...`, `r:encoder/...` here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.megatron import AXES, MegatronLayout, rank_name
from stages.lm.tensors.checkpoint import Checkpoint
from stages.lm.tensors.entries import Entry
from stages.port import archives, pickles
from stages.port.families import gpt2, kinds
from stages.port.families.bytepairs import END, BytePairs
from stages.port.families.release import (
    TWIN_HEAD,
    TWIN_LAYERS,
    TWIN_POSITIONS,
    TWIN_VOCABULARY,
    Causal,
    Files,
    Release,
    agree,
    layers_of,
    listed,
    named,
    number,
    wanted,
    whole_number,
)
from stages.port.handles import Handle
from stages.port.references import megatron as reference

if TYPE_CHECKING:
    import torch

    from stages.port.families.choices import MegatronGpt2

REMEDY = "give iter_*/mp_rank_00/model_optim_rng.pt (all ranks), vocab.json and merges.txt"
FILES = ("model_optim_rng.pt", "model_rng.pt")
RANK = re.compile(r"mp_rank_(\d+)(?:_(\d+))?")
LATEST = "latest_checkpointed_iteration.txt"
WORDS = "embedding/word_embeddings.weight"
OTHERS = {
    "apply_residual_connection_post_layernorm": (False, None),
    "add_position_embedding": (True, None),
    "position_embedding_type": ("learned_absolute", None),
    "use_rotary_position_embeddings": (False, None),
    "normalization": ("LayerNorm", None),
    "apply_layernorm_1p": (False, None),
    "swiglu": (False, None),
    "squared_relu": (False, None),
    "untie_embeddings_and_output_weights": (False, None),
    "group_query_attention": (False, None),
    "num_experts": (1, None),
    "add_bias_linear": (True, None),
}
"""Arguments that GPT-2 of transformers can hold at these values only."""


@dataclass(frozen=True)
class _Rank:
    """One file: its arguments, version, and tensors by their names below `language_model`."""

    args: dict[str, Any]
    version: int
    tensors: dict[str, Handle]


def read(folder: Path, options: MegatronGpt2) -> Release:
    """Return the release in `folder`."""
    files = listed(folder)
    kinds.check_files("megatron-gpt2", files)
    where, paths = _ranks(files, options.checkpoint)
    ranks = [_rank(path, where) for path in paths]
    args = ranks[0].args
    stated = args.get("tensor_model_parallel_size", args.get("model_parallel_size"))
    if stated is not None:
        agree("tensor_model_parallel_size", stated, len(ranks), where)
    _refuse_others(args, where)
    pairs = _pairs(files)
    layout = _layout(ranks, options, len(pairs.ids) if pairs else options.vocab_size, where)
    activation = _activation(args)
    epsilon = number(args, "layernorm_epsilon", number(args, "norm_epsilon", 1e-5, where), where)
    positions = _shape(ranks[0], "embedding/position_embeddings.weight", where)[0]
    if args.get("max_position_embeddings") is not None:
        agree("max_position_embeddings", args["max_position_embeddings"], positions, where)
    end = pairs.ids.get(END) if pairs else None
    checkpoint = Checkpoint(_entries(ranks))
    causal = _causal(layout, positions, activation, epsilon, end, _dtype(checkpoint))
    return Release(
        kind="megatron-gpt2",
        where=where,
        checkpoint=checkpoint,
        layout=layout,
        config=causal.config,
        files=pairs.files(positions) if pairs else {},
        reference=causal.reference,
        variants=reference.VARIANTS,
        vocab_size=layout.vocab_size,
        max_positions=positions,
        causal=causal,
        texts=pairs.encode if pairs else None,
        generation=gpt2.generation(end),
        facts={
            "checkpoint_version": layout.version,
            "ranks": layout.ranks,
            "padded_rows_cut": layout.padded - layout.vocab_size,
            "activation": activation,
            "tokenizer_given": pairs is not None,
        },
        left_out={
            "optimizer, lr_scheduler, rng_state": "state of the training run",
            "args, iteration, checkpoint_version": "settings, read into config.json",
        },
    )


def _pairs(files: Files) -> BytePairs | None:
    """Return the byte pairs, which no checkpoint of Megatron holds, or None: both files or none."""
    vocabulary = ("vocab.json", "encoder.json", "-vocab.json")
    merges = ("merges.txt", "vocab.bpe", "-merges.txt")
    if named(files, *vocabulary) is None and named(files, *merges) is None:
        return None
    return BytePairs.read(
        wanted(files, "megatron-gpt2", REMEDY, *vocabulary),
        wanted(files, "megatron-gpt2", REMEDY, *merges),
    )


def _entries(ranks: list[_Rank]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for at, rank in enumerate(ranks):
        archives.check_storages(rank.tensors.values())
        entries |= {rank_name(at, name): handle.entry() for name, handle in rank.tensors.items()}
    return entries


def _causal(
    layout: MegatronLayout,
    positions: int,
    activation: str,
    epsilon: float,
    end: int | None,
    dtype: str,
) -> Causal:
    """Return settings and reference of a layout."""
    counts = {
        "n_vocab": layout.vocab_size,
        "n_ctx": positions,
        "n_embd": layout.width,
        "n_layer": layout.layers,
        "n_head": layout.heads,
        "n_inner": layout.inner,
    }

    def decoder(tensors: Mapping[str, torch.Tensor]) -> reference.Reference:
        return reference.Reference(
            reference.whole(tensors, layout.ranks, layout.version),
            layout.layers,
            layout.heads,
            layout.version,
            "gelu" if activation == "gelu" else "tanh",
            epsilon,
            layout.vocab_size,
        )

    def smaller() -> Causal:
        width = layout.heads * min(layout.width // layout.heads, TWIN_HEAD)
        rows = -(-TWIN_VOCABULARY // layout.ranks) * layout.ranks
        small = replace(
            layout, layers=min(layout.layers, TWIN_LAYERS), width=width, inner=4 * width,
            vocab_size=rows, padded=rows,
        )  # fmt: skip
        return _causal(small, min(positions, TWIN_POSITIONS), activation, epsilon, None, "float32")

    config = gpt2.configuration(counts, activation, epsilon, end) | {"dtype": dtype}
    return Causal(layout, config, decoder, gpt2.BLOCKS, smaller)


def _ranks(files: Files, wanted_folder: str) -> tuple[str, list[Path]]:
    """Return the name of an iteration and the files of its ranks in order."""
    iterations: dict[str, dict[int, Path]] = {}
    for name, path in files.items():
        match = RANK.fullmatch(path.parent.name)
        if path.name not in FILES or match is None:
            continue
        if int(match[2] or 0) > 0:
            raise ArtifactError(
                f"{path.parent.name} is a stage of a pipeline-parallel checkpoint",
                name,
                "merge the stages with Megatron's own tool first, then port the result",
            )
        iterations.setdefault(path.parent.parent.name, {})[int(match[1])] = path
    if not iterations:
        wanted(files, "megatron-gpt2", REMEDY, *FILES)
        raise ArtifactError("no folder is called mp_rank_00", "files of the raw entry", REMEDY)
    chosen = wanted_folder or _latest(files, iterations)
    if chosen not in iterations:
        raise ArtifactError(
            f"there is no iteration {chosen}",
            f"files of the raw entry: {', '.join(sorted(iterations))}",
            f"name one of these, such as checkpoint: {sorted(iterations)[-1]}",
        )
    ranks = iterations[chosen]
    lacking = sorted(set(range(max(ranks) + 1)) - set(ranks))
    if lacking:
        raise ArtifactError(
            f"mp_rank_{lacking[0]:02d} is missing", f"files of the raw entry: {chosen}", REMEDY
        )
    return chosen, [ranks[at] for at in sorted(ranks)]


def _latest(files: Files, iterations: Mapping[str, Any]) -> str:
    if len(iterations) == 1:
        return next(iter(iterations))
    told = next((path for path in files.values() if path.name == LATEST), None)
    if told is None:
        names = ", ".join(sorted(iterations))
        raise ArtifactError(
            f"{len(iterations)} iterations: {names}",
            "files of the raw entry",
            f"say which one to port, such as `checkpoint: {sorted(iterations)[-1]}`",
        )
    text = told.read_text(encoding="utf-8", errors="replace").strip()
    return f"iter_{int(text):07d}" if text.isdigit() else text


def _rank(path: Path, where: str) -> _Rank:
    place = f"{where}/{path.parent.name}/{path.name}"
    tree = pickles.read(path)
    model = tree.get("model") if isinstance(tree, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("language_model"), dict):
        if isinstance(tree, dict):
            inner = model if isinstance(model, dict) else tree
            kinds.check_tensors("megatron-gpt2", [str(name) for name in inner])
        raise ArtifactError(
            "the file holds no `model` with a `language_model` below it",
            place,
            "give a checkpoint of Megatron-LM's GPT as pretrain_gpt.py saved it (not the `core` "
            "distributed format)",
        )
    version = tree.get("checkpoint_version", 0)
    if isinstance(version, bool) or version not in AXES:
        raise ArtifactError(
            f"checkpoint_version is {version!r}",
            place,
            f"the known ones are {', '.join(map(str, AXES))}; a layout that nobody told is not "
            "guessed",
        )
    tensors: dict[str, Handle] = {}
    for group, held in model["language_model"].items():
        _flatten(held, f"{group}/", tensors, place)
    for name in model:
        if name != "language_model":
            _flatten(model[name], f"{name}/", tensors, place)
    return _Rank(pickles.plain(tree.get("args") or {}), int(version), tensors)


def _flatten(held: Any, name: str, tensors: dict[str, Handle], place: str) -> None:
    if isinstance(held, Handle):
        tensors[name.rstrip("./")] = held
    elif isinstance(held, dict):
        for key, value in held.items():
            end = "." if isinstance(value, dict) else ""
            _flatten(value, f"{name}{key}{end}", tensors, place)
    elif held is not None:
        raise ArtifactError(
            f"{name} is a {type(held).__name__}, not a tensor", place, "give the file as it was"
        )


def _layout(
    ranks: list[_Rank], options: MegatronGpt2, vocab_size: int, where: str
) -> MegatronLayout:
    first, args = ranks[0], ranks[0].args
    names = list(first.tensors)
    stack = "encoder" if any(name.startswith("encoder/") for name in names) else "transformer"
    layers = layers_of(names, f"{stack}/layers.", where)
    if args.get("num_layers") is not None:
        agree("num_layers", args["num_layers"], layers, where)
    rows, width = _shape(first, WORDS, where)
    if args.get("hidden_size") is not None:
        agree("hidden_size", args["hidden_size"], width, where)
    padded = rows * len(ranks)
    if args.get("padded_vocab_size") is not None:
        agree("padded_vocab_size", args["padded_vocab_size"], padded, where)
    vocab_size = vocab_size or padded
    if vocab_size > padded:
        raise ArtifactError(
            f"the vocabulary holds {vocab_size} tokens and the embedding {padded} rows",
            where,
            "give the vocabulary that the checkpoint was trained with",
        )
    heads = options.heads
    if not heads:
        if "num_attention_heads" not in args:
            raise ArtifactError(
                "the checkpoint holds no arguments, so its number of heads is unknown",
                where,
                "set port.<entry>.source.heads (16 for the released model of 345M)",
            )
        heads = whole_number(args, "num_attention_heads", where)
    if width % heads or args.get("kv_channels") not in (None, width // heads):
        raise ArtifactError(
            f"{heads} heads of {args.get('kv_channels', width / heads)} do not make {width}",
            where,
            "GPT-2 of transformers holds heads that share the width equally",
        )
    named = f"{stack}/layers.0.self_attention."
    attention = "self_attention" if any(name.startswith(named) for name in names) else "attention"
    inner = _shape(first, f"{stack}/layers.0.mlp.dense_h_to_4h.weight", where)[0] * len(ranks)
    return MegatronLayout(
        layers=layers,
        heads=heads,
        width=width,
        inner=inner,
        version=first.version,
        ranks=len(ranks),
        vocab_size=vocab_size,
        padded=padded,
        stack=stack,
        attention=attention,
    )


def _shape(rank: _Rank, name: str, where: str) -> tuple[int, ...]:
    if name not in rank.tensors:
        raise ArtifactError(f"1 missing: {name}", where, REMEDY)
    return rank.tensors[name].shape


def _activation(args: Mapping[str, Any]) -> str:
    """Return transformers' name of what the flags say; the first files, of tanh, hold none."""
    if args.get("bias_gelu_fusion"):
        return "gelu_fast"
    return "gelu_new" if args.get("openai_gelu") or not args else "gelu"


def _dtype(checkpoint: Checkpoint) -> str:
    names = {"F16": "float16", "BF16": "bfloat16"}
    found = {spec.dtype for spec in checkpoint.specs.values()}
    return names.get(found.pop(), "float32") if len(found) == 1 else "float32"


def _refuse_others(args: Mapping[str, Any], where: str) -> None:
    for name, allowed in OTHERS.items():
        if args.get(name) not in (*allowed, None):
            raise ArtifactError(
                f"{name} is {args[name]!r}",
                where,
                f"GPT-2 of transformers holds {name} {allowed[0]!r} only; this is another model",
            )
