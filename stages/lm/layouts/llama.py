"""The key layout of Meta's LLaMA release, and of Mistral's, to and from transformers.

The release holds `consolidated.NN` files, one per rank of its tensor parallelism, and params.json.
Its rotary embedding turns neighbouring pairs of a head, transformers' the two halves, so the rows
of the query and key projections are reordered; everything else changes its name only. Ranks hold
columns of `wo` and `w2` and rows of the rest; the token table was cut by columns up to LLaMA 2 and
by rows since. Names of ranks: `00:norm.weight`, and plain `norm.weight` where there is one rank.

Letters: D width, H heads, G heads of keys and values, K head size, F feed-forward width, V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stages.core.errors import ArtifactError
from stages.lm.layouts.plan import KEPT, Plan, Rule
from stages.lm.layouts.steps import Join, Same, Step, permuted_rows
from stages.lm.tensors.entries import Spec

TABLE, NORM, OUTPUT, FREQUENCIES = "tok_embeddings", "norm", "output", "rope.freqs"
INNER = "attention.inner_attention.rope.freqs"
"""What the first release holds in every layer, the same numbers again."""
Tying = Literal["none", "equal", "absent"]
"""Whether the output table is a tensor of its own, a copy of the token table, or not there."""


@dataclass(frozen=True)
class Shape:
    """All that the layout of a model depends on."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    ranks: int = 1
    table_axis: int = 0
    """Along which axis ranks share the token table."""
    tying: Tying = "none"
    biases: str = ""
    """The projections of attention that have one: ``, `qkv` or `qkvo`."""
    frequencies: bool = False
    """Whether `rope.freqs` lies in the files; it is kept beside the model."""
    layer_frequencies: bool = False
    """Whether every layer holds it, too."""

    def record(self) -> dict[str, Any]:
        """Return the shape as JSON."""
        return asdict(self)


def rank_name(rank: int, name: str, ranks: int) -> str:
    """Return the name of a tensor of one rank."""
    return f"{rank:02d}:{name}" if ranks > 1 else name


def plan(shape: Shape) -> Plan:
    """Return the plan from the release's layout to transformers'."""
    query, key = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    rows = [_table(shape)]
    if shape.tying == "none":
        rows.append(_rule(shape, "lm_head.weight", f"{OUTPUT}.weight", shape.vocabulary, 0))
    rows.append(_rule(shape, "model.norm.weight", f"{NORM}.weight"))
    for layer in range(shape.layers):
        ours, theirs = f"model.layers.{layer}.", f"layers.{layer}."
        for norm, name in (("input", "attention"), ("post_attention", "ffn")):
            rows.append(
                _rule(shape, f"{ours}{norm}_layernorm.weight", f"{theirs}{name}_norm.weight")
            )
        for part, size, heads in (
            ("q", query, shape.heads),
            ("k", key, shape.key_value_heads),
            ("v", key, 0),
        ):
            here, there = f"{ours}self_attn.{part}_proj.", f"{theirs}attention.w{part}."
            turned = _turned((size, shape.width), heads)
            rows.append(_rule(shape, f"{here}weight", f"{there}weight", size, 0, turned))
            if part in shape.biases:
                rows.append(
                    _rule(shape, f"{here}bias", f"{there}bias", size, 0, _turned((size,), heads))
                )
        here, there = f"{ours}self_attn.o_proj.", f"{theirs}attention.wo."
        rows.append(_rule(shape, f"{here}weight", f"{there}weight", query, 1))
        if "o" in shape.biases:
            rows.append(_rule(shape, f"{here}bias", f"{there}bias"))
        for part, name, axis in (("gate", "w1", 0), ("up", "w3", 0), ("down", "w2", 1)):
            here, there = f"{ours}mlp.{part}_proj.weight", f"{theirs}feed_forward.{name}.weight"
            rows.append(_rule(shape, here, there, shape.feed_forward, axis))
    kept = [FREQUENCIES] if shape.frequencies else []
    if shape.layer_frequencies:
        kept += [f"layers.{layer}.{INNER}" for layer in range(shape.layers)]
    rows += [_rule(shape, KEPT + name, name) for name in kept]
    return Plan(rows)


def _turned(shape: tuple[int, ...], heads: int) -> list[Step]:
    """Return the reordering of rows from neighbouring pairs to halves, none for 0 heads."""
    if not heads:
        return []
    return [permuted_rows(shape, (heads, shape[0] // heads // 2, 2), (0, 2, 1))]


def _rule(
    shape: Shape,
    target: str,
    source: str,
    size: int = 0,
    axis: int = 0,
    steps: list[Step] | None = None,
) -> Rule:
    """Return the rule of one tensor: ranks share `size` along `axis`, or hold equal copies."""
    names = [rank_name(rank, source, shape.ranks) for rank in range(shape.ranks)]
    first: list[Step] = []
    if shape.ranks > 1:
        part = size // shape.ranks
        first = [Join((part,) * shape.ranks, axis) if size else Same(shape.ranks)]
    return Rule([target], names, [*first, *(steps or [])])


def _table(shape: Shape) -> Rule:
    """Return the rule of the token table, and of the output table where that is its copy."""
    size = shape.width if shape.table_axis else shape.vocabulary
    rule = _rule(shape, "model.embed_tokens.weight", f"{TABLE}.weight", size, shape.table_axis)
    if shape.tying != "equal":
        return rule
    if shape.ranks > 1:
        raise ValueError("a copied output table in several ranks is a tensor of its own")
    return Rule(rule.targets, [f"{TABLE}.weight", f"{OUTPUT}.weight"], [Same(2)])


def shape_of_original(
    params: Mapping[str, Any], specs: Mapping[str, Spec], where: str, equal_tables: bool
) -> Shape:
    """Return the shape of a release from its params.json and its tensors.

    `equal_tables` says that the output table is a copy of the token table. ArtifactError when a
    tensor that tells the shape is missing.
    """
    ranks = 1 + max((int(name[:2]) for name in specs if name[2:3] == ":"), default=0)

    def spec(name: str) -> Spec:
        found = specs.get(rank_name(0, name, ranks))
        if found is None or not found.shape:
            raise ArtifactError(
                f"1 missing: {name}", where, "give all files of the release, as they were published"
            )
        return found

    width, heads = int(params["dim"]), int(params["n_heads"])
    table = spec(f"{TABLE}.weight").shape
    axis = 1 if ranks > 1 and table[-1] * ranks == width else 0
    output = rank_name(0, f"{OUTPUT}.weight", ranks)
    projections = "".join(
        part for part in "qkvo" if rank_name(0, f"layers.0.attention.w{part}.bias", ranks) in specs
    )
    tying: Tying = "none"
    if output not in specs:
        tying = "absent"
    elif equal_tables and ranks == 1:
        tying = "equal"
    return Shape(
        layers=int(params["n_layers"]),
        width=width,
        heads=heads,
        key_value_heads=int(params.get("n_kv_heads") or heads),
        head_size=int(params.get("head_dim") or width // heads),
        feed_forward=spec("layers.0.feed_forward.w1.weight").shape[0] * ranks,
        vocabulary=table[0] * (1 if axis else ranks),
        ranks=ranks,
        table_axis=axis,
        tying=tying,
        biases=projections,
        frequencies=rank_name(0, FREQUENCIES, ranks) in specs,
        layer_frequencies=rank_name(0, f"layers.0.{INNER}", ranks) in specs,
    )


def shape_of_config(
    config: Mapping[str, Any], specs: Mapping[str, Spec], ranks: int = 1, table_axis: int = 0
) -> Shape:
    """Return the shape of a transformers model from its configuration and its tensors."""
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    return Shape(
        layers=int(config["num_hidden_layers"]),
        width=width,
        heads=heads,
        key_value_heads=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or width // heads),
        feed_forward=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        ranks=ranks,
        table_axis=table_axis,
        tying="none" if "lm_head.weight" in specs else "absent",
        biases="".join(
            part for part in "qkvo" if f"model.layers.0.self_attn.{part}_proj.bias" in specs
        ),
        frequencies=KEPT + FREQUENCIES in specs,
        layer_frequencies=f"{KEPT}layers.0.{INNER}" in specs,
    )
