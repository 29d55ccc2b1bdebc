"""Transformers models, made, opened and saved, and run on batches that hold no padding.

A batch is one sequence of pieces laid end to end, longest first. All linear layers see exactly the
real tokens; attention takes the pieces of one length together as a small dense batch, so nothing
is masked and nothing is wasted. Any transformers model with pluggable attention runs this way.

Shapes: N tokens of a batch, D hidden size, H heads, K head size, V vocabulary or labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.tensors import checkpoint

ATTENTION = "deveno-pieces"
"""Name under which the attention of this module is known to transformers."""
Head = Literal["mlm", "causal", "token-classification"]
OFFSET_FAMILIES = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm"}
)
"""Architectures whose positions begin at the padding id + 1 (inherited from fairseq)."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of text without padding: `ids` and `positions` [N], pieces in falling length.

    `groups` lists (first token, pieces, length) per distinct length; `sources` [N] is where each
    token stood in the order that the pieces were given (empty where nobody asks, as for causal
    models in training).
    """

    ids: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int, int], ...]
    sources: Tensor

    def replaced(self, ids: Tensor) -> Pieces:
        """Return the same pieces with other tokens."""
        return Pieces(ids, self.positions, self.groups, self.sources)

    def bounds(self) -> list[tuple[int, int]]:
        """Return (first, last + 1) of every piece."""
        return [
            (first + number * length, first + (number + 1) * length)
            for first, count, length in self.groups
            for number in range(count)
        ]


def lay_out(ids: NDArray[np.int64], starts: Sequence[int] | NDArray[np.int64]) -> Pieces:
    """Lay pieces `ids[starts[i]:starts[i + 1]]` end to end, longest first, ties in given order."""
    edges = np.asarray(starts, dtype=np.int64)
    sizes = np.diff(edges)
    order = np.argsort(-sizes, kind="stable")
    sizes, firsts = sizes[order], edges[:-1][order]
    lengths, counts = np.unique(sizes[sizes > 0], return_counts=True)
    groups, at = [], 0
    for length, count in zip(lengths[::-1].tolist(), counts[::-1].tolist(), strict=True):
        groups.append((at, count, length))
        at += count * length
    within = np.arange(at, dtype=np.int64) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    sources = np.repeat(firsts, sizes) + within
    return Pieces(
        torch.from_numpy(np.ascontiguousarray(ids[sources])),
        torch.from_numpy(within),
        tuple(groups),
        torch.from_numpy(sources),
    )


def from_lists(sequences: Iterable[Sequence[int]]) -> Pieces:
    """Lay out whole sequences of token ids."""
    rows = [np.asarray(row, dtype=np.int64) for row in sequences]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return lay_out(np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64), starts)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    groups: tuple[tuple[int, int, int], ...] = (),
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each piece; query, key and value are [1, H, N, K], the result [1, N, H, K]."""
    causal = bool(getattr(module, "is_causal", False))
    grouped = query.shape[1] != key.shape[1]
    parts = []
    for first, count, length in groups:
        q, k, v = (
            states[0, :, first : first + count * length]
            .unflatten(1, (count, length))
            .transpose(0, 1)
            for states in (query, key, value)
        )
        out = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=causal, enable_gqa=grouped
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).unsqueeze(0), None


def hidden_states(model: Any, pieces: Pieces, ids: Tensor | None = None) -> Tensor:
    """Run the model's body on pieces: returns the last hidden states [N, D].

    `ids` are other tokens for the same pieces (masked ones).
    """
    config = model.config
    offset = config.pad_token_id + 1 if config.model_type in OFFSET_FAMILIES else 0
    output = model.base_model(
        input_ids=(pieces.ids if ids is None else ids).unsqueeze(0),
        position_ids=(pieces.positions + offset).unsqueeze(0),
        groups=pieces.groups,
        **({"use_cache": False} if getattr(config, "use_cache", None) is not None else {}),
    )
    return output.last_hidden_state[0]


def head_logits(model: Any, states: Tensor) -> Tensor:
    """Run the model's head on chosen hidden states [M, D]: returns logits [M, V]."""
    for name in ("lm_head", "cls", "generator_lm_head"):
        head = getattr(model, name, None)
        if head is not None:
            return head(states)
    return model.classifier(model.dropout(states))


def longest(config: Any) -> int:
    """Return how many tokens fit the model's positions."""
    positions = int(getattr(config, "max_position_embeddings", 0) or config.n_positions)
    return positions - (config.pad_token_id + 1 if config.model_type in OFFSET_FAMILIES else 0)


def source_pad(model: Any, default: int) -> int:
    """Return what fills a batch of sources: an encoder's own padding token, where it has one.

    The decoder's may lie outside the encoder's vocabulary, or count as a text's token there.
    """
    own = getattr(getattr(model.config, "encoder", None), "pad_token_id", None)
    return default if own is None else int(own)


def without_padding(model: Any) -> Any:
    """Switch a model to the attention of this module, so that `hidden_states` runs it."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    model.set_attn_implementation(ATTENTION)
    return model


def create(config: Any, head: Head, seed: int) -> Any:
    """Return a model with new weights, a function of its configuration and the seed."""
    torch.manual_seed(seed)
    model = auto_class(head).from_config(config, attn_implementation="sdpa")
    return without_padding(model.float())


def load(folder: Path, head: Head, labels: Sequence[str] | None = None, seed: int = 0) -> Any:
    """Open a model folder; a head that it lacks is new, made from the seed.

    Only safetensors are read. A damaged, foreign or incomplete folder is an ArtifactError.
    """
    extra: dict[str, Any] = {}
    if labels is not None:
        extra = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
        }
    torch.manual_seed(seed)
    return without_padding(opened(auto_class(head), folder, labels is not None, **extra))


def opened(auto: Any, folder: Path, new_head: bool = False, **extra: Any) -> Any:
    """Open a folder by an Auto class, whole and validated, in fp32."""
    held = checkpoint.INDEX if (folder / checkpoint.INDEX).is_file() else checkpoint.SINGLE
    for name in ("config.json", held):
        if not (folder / name).is_file():
            raise ArtifactError(
                f"the model has no {name}", str(folder), "run the entry that makes this model again"
            )
    checkpoint.open_safetensors(folder).close()  # every file is validated, and the index
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            model, info = auto.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
                dtype=torch.float32,
                output_loading_info=True,
                **extra,
            )
    except Exception as fault:
        raise ArtifactError(
            f"the model cannot be opened: {fault}", str(folder), "run the entry that makes it again"
        ) from fault
    check_loaded(info, folder, new_head)
    return model


def check_loaded(info: dict[str, Any], folder: Path, new_head: bool = False) -> None:
    """Refuse weights that are missing outside a new classification head, or of another shape."""
    lacking = sorted(
        str(name)
        for name in info["missing_keys"]
        if not (new_head and str(name).startswith("classifier"))
    )
    wrong = sorted(str(row[0]) for row in info["mismatched_keys"])
    if lacking or wrong:
        raise ArtifactError(
            f"weights are missing or of another shape: {', '.join([*lacking, *wrong][:5])}",
            str(folder / "model.safetensors"),
            "name a model of this kind, or run the entry that makes it again",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' report of new and unused weights out of the user's terminal."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def auto_class(head: Head) -> Any:
    """Return the class of transformers that opens models with this head."""
    import transformers

    return {
        "mlm": transformers.AutoModelForMaskedLM,
        "causal": transformers.AutoModelForCausalLM,
        "token-classification": transformers.AutoModelForTokenClassification,
    }[head]


def save(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors, which transformers opens with nothing of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(folder)


def open_tokenizer(folder: Path) -> Any:
    """Open a tokenizer folder with AutoTokenizer; a damaged one is an ArtifactError."""
    from transformers import AutoTokenizer

    try:
        if not (folder / "tokenizer.json").is_file():
            raise OSError("there is no tokenizer.json")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as fault:
        raise ArtifactError(
            f"the tokenizer cannot be opened: {fault}",
            str(folder),
            "run the tokenizer entry that makes it again",
        ) from fault


def check_vocabulary(config: Any, tokenizer: Any, where: str) -> None:
    """Refuse a model whose vocabulary is not the tokenizer's."""
    if config.vocab_size != len(tokenizer):
        raise ArtifactError(
            f"the model has {config.vocab_size} tokens and the tokenizer {len(tokenizer)}",
            where,
            "name the tokenizer that the model was trained with",
        )


def check_length(config: Any, length: int, where: str) -> None:
    """Refuse sequences that are longer than the model's positions."""
    if length > longest(config):
        raise ParamsError(
            f"sequences of {length} tokens do not fit a model of {longest(config)} positions",
            where,
            f"use a sequence length of at most {longest(config)}, or give the model more positions",
        )


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers the model learns (tied ones once)."""
    return sum(parameter.numel() for parameter in model.parameters())
