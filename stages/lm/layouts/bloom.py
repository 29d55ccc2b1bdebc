"""BLOOM: between the names of its releases and transformers' keys.

The release for transformers lacks the prefix `transformer.`; the training's own files
(Megatron-DeepSpeed: one per layer and rank) have other names for embedding and last norm, and are
spread over tensor-parallel ranks. The fused projection's rows are [H, 3, K] on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.lm.layouts.megatron import joined
from stages.lm.layouts.plan import Plan, Rule
from stages.lm.layouts.steps import Same

PARTS = (
    "input_layernorm", "self_attention.query_key_value", "self_attention.dense",
    "post_attention_layernorm", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h",
)  # fmt: skip


@dataclass(frozen=True)
class BloomLayout:
    """What the plan of a model follows from: D is `width`.

    `ranks` 0 stands for the release for transformers, whose names begin with `prefix`, and which
    may hold the tied head a second time (`head`).
    """

    layers: int
    width: int
    vocab_size: int
    ranks: int = 0
    prefix: str = ""
    head: bool = False

    def plan(self) -> Plan:
        """Return the plan from the release's tensors to transformers' keys."""
        names = ["word_embeddings.weight", *_pair("word_embeddings_layernorm"), *_pair("ln_f")]
        for layer in range(self.layers):
            names += [name for part in PARTS for name in _pair(f"h.{layer}.{part}")]
        return Plan([self._rule(name) for name in names])

    def _rule(self, name: str) -> Rule:
        target = f"transformer.{name}"
        if self.head and name == "word_embeddings.weight":
            return Rule([target], [f"{self.prefix}{name}", "lm_head.weight"], [Same(2)])
        if not self.ranks:
            return Rule([target], [f"{self.prefix}{name}"])
        sources, steps = joined(name, self.ranks, self._shape(name))
        return Rule([target], sources, steps)

    def _shape(self, name: str) -> tuple[int, ...]:
        """Return the shape [out, in] of what is cut over ranks; of the rest nothing is asked."""
        width = self.width
        shapes = {
            "word_embeddings.weight": (self.vocab_size, width),
            "query_key_value.weight": (3 * width, width),
            "query_key_value.bias": (3 * width,),
            "self_attention.dense.weight": (width, width),
            "dense_h_to_4h.weight": (4 * width, width),
            "dense_h_to_4h.bias": (4 * width,),
            "dense_4h_to_h.weight": (width, 4 * width),
        }
        return next((shape for end, shape in shapes.items() if name.endswith(end)), ())


def _pair(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]
