"""Megatron-LM: its ways to lay out fused projections and to spread a model over ranks.

The rows of `query_key_value` are [3, H, K] in checkpoints of version 0, [H, K, 3] in version 1
and [H, 3, K] from version 2 on; each rank has its share of H, so that ranks joined by rows are
[R, 3, H / R, K] in version 0. With R tensor-parallel ranks the embedding, `query_key_value` and
`dense_h_to_4h` are cut by rows, `dense` and `dense_4h_to_h` by columns; the rest is repeated.
GPT-2 of transformers wants [3, H, K], then [in, out]; BLOOM wants what version 2 has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.lm.layouts.plan import KEPT, Plan, Rule, copied
from stages.lm.layouts.steps import Join, Permute, Same, Split, Step, Transpose

BY_ROWS = ("query_key_value.weight", "query_key_value.bias", "dense_h_to_4h.weight",
           "dense_h_to_4h.bias", "word_embeddings.weight")  # fmt: skip
BY_COLUMNS = ("self_attention.dense.weight", "attention.dense.weight", "dense_4h_to_h.weight")
AXES = {0: (0, 1, 2), 1: (2, 0, 1), 2: (1, 0, 2), 3: (1, 0, 2)}
"""By version of the checkpoint: where [3, H, K] lie in the stored axes."""


def rank_name(rank: int, name: str) -> str:
    """Return how a plan names a tensor of one rank."""
    return f"{rank}:{name}"


def joined(name: str, ranks: int, shape: Sequence[int]) -> tuple[list[str], list[Step]]:
    """Return the sources of a tensor over ranks, and the steps that make the whole of them.

    `shape` is that of the whole tensor.
    """
    sources = [rank_name(rank, name) for rank in range(ranks)]
    if ranks == 1:
        return sources, []
    if name.endswith(BY_ROWS):
        return sources, [Join((shape[0] // ranks,) * ranks, 0)]
    if name.endswith(BY_COLUMNS):
        return sources, [Join((shape[1] // ranks,) * ranks, 1)]
    return sources, [Same(ranks)]


def regrouped(
    version: int, heads: int, width: int, columns: Sequence[int], ranks: int = 1
) -> list[Step]:
    """Return the step from a version's rows to [3, H, K]; `columns` is the rest of the shape."""
    if version == 0 and ranks == 1:
        return []
    size, axes = width // heads, AXES[version]
    dims = {1: (heads, size, 3), 2: (heads, 3, size), 3: (heads, 3, size)}.get(version)
    if dims is None:  # every rank has its own query, key and value
        dims, axes = (ranks, 3, width // ranks), (1, 0, 2)
    shape = (3 * width, *columns)
    rest = tuple(range(3, 3 + len(columns)))
    return [Permute(shape, (*dims, *columns), (*axes, *rest), shape)]


@dataclass(frozen=True)
class MegatronLayout:
    """What the plan of a GPT-2 follows from: H is `heads`, D is `width`.

    `stack` is `encoder` or `transformer`, `attention` how its layers call it; `padded` rows of
    the embedding are stored for the `vocab_size` that are words.
    """

    layers: int
    heads: int
    width: int
    inner: int
    version: int
    ranks: int
    vocab_size: int
    padded: int
    stack: str
    attention: str

    def plan(self) -> Plan:
        """Return the plan from Megatron's tensors (`rank:name`) to transformers' keys."""
        rules = [*self._words()]
        positions = "embedding/position_embeddings.weight"
        rules.append(self._rule("transformer.wpe.weight", positions, ()))
        rules += self._pair("transformer.ln_f", "final_layernorm", ())
        for layer in range(self.layers):
            ours, theirs = f"transformer.h.{layer}", f"layers.{layer}"
            rules += self._pair(f"{ours}.ln_1", f"{theirs}.input_layernorm", ())
            rules += self._pair(f"{ours}.ln_2", f"{theirs}.post_attention_layernorm", ())
            for name, source, shape in self._matrices(theirs):
                rules += self._pair(f"{ours}.{name}", source, shape)
        return Plan(rules)

    def _matrices(self, theirs: str) -> list[tuple[str, str, tuple[int, int]]]:
        """Return the matrices of a layer: our name, theirs, and the shape [out, in]."""
        width, inner = self.width, self.inner
        attention = f"{theirs}.{self.attention}"
        return [
            ("attn.c_attn", f"{attention}.query_key_value", (3 * width, width)),
            ("attn.c_proj", f"{attention}.dense", (width, width)),
            ("mlp.c_fc", f"{theirs}.mlp.dense_h_to_4h", (inner, width)),
            ("mlp.c_proj", f"{theirs}.mlp.dense_4h_to_h", (width, inner)),
        ]

    def _words(self) -> list[Rule]:
        name = "embedding/word_embeddings.weight"
        sources, steps = joined(name, self.ranks, (self.padded, self.width))
        words, rest = "transformer.wte.weight", f"{KEPT}padding of transformer.wte.weight"
        if self.padded == self.vocab_size:
            return [Rule([words], sources, steps)]
        cut = Split((self.vocab_size, self.padded - self.vocab_size))
        return [Rule([words, rest], sources, [*steps, cut])]

    def _rule(self, target: str, name: str, shape: tuple[int, ...]) -> Rule:
        stored = name if name.startswith("embedding/") else f"{self.stack}/{name}"
        sources, steps = joined(stored, self.ranks, shape)
        if name.endswith(("query_key_value.weight", "query_key_value.bias")):
            steps = [*steps, *self._regrouped(shape[1:])]
        if len(shape) == 2:
            steps = [*steps, Transpose()]
        return Rule([target], sources, steps) if steps else copied(target, sources[0])

    def _regrouped(self, columns: Sequence[int]) -> list[Step]:
        return regrouped(self.version, self.heads, self.width, columns, self.ranks)

    def _pair(self, target: str, name: str, shape: tuple[int, ...]) -> list[Rule]:
        return [
            self._rule(f"{target}.weight", f"{name}.weight", shape),
            self._rule(f"{target}.bias", f"{name}.bias", shape[:1]),
        ]
