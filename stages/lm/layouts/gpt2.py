"""GPT-2: between OpenAI's TensorFlow variables and transformers' keys.

Both keep matrices as [in, out]; OpenAI's have a leading axis of one (a convolution of width 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.lm.layouts.moves import Reshape
from stages.lm.layouts.plan import Plan, Rule, copied

TRAINING = {
    r"(.*/)?(global_step|beta[12]_power)": "state of the training run",
    r".*/(Adam|Adam_1|adam_m|adam_v|Momentum)": "state of the optimizer",
}
"""Variables of a TensorFlow checkpoint that are no weights."""


@dataclass(frozen=True)
class Gpt2Layout:
    """What the plan of a model follows from: D is `width`."""

    layers: int
    width: int

    def plan(self) -> Plan:
        """Return the plan from OpenAI's variables to transformers' keys."""
        rules = [
            copied("transformer.wte.weight", "model/wte"),
            copied("transformer.wpe.weight", "model/wpe"),
            *_norm("transformer.ln_f", "model/ln_f"),
        ]
        width = self.width
        for layer in range(self.layers):
            ours, theirs = f"transformer.h.{layer}", f"model/h{layer}"
            rules += _norm(f"{ours}.ln_1", f"{theirs}/ln_1")
            rules += _norm(f"{ours}.ln_2", f"{theirs}/ln_2")
            rules += _linear(f"{ours}.attn.c_attn", f"{theirs}/attn/c_attn", width, 3 * width)
            rules += _linear(f"{ours}.attn.c_proj", f"{theirs}/attn/c_proj", width, width)
            rules += _linear(f"{ours}.mlp.c_fc", f"{theirs}/mlp/c_fc", width, 4 * width)
            rules += _linear(f"{ours}.mlp.c_proj", f"{theirs}/mlp/c_proj", 4 * width, width)
        return Plan(rules, TRAINING)


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [copied(f"{ours}.weight", f"{theirs}/g"), copied(f"{ours}.bias", f"{theirs}/b")]


def _linear(ours: str, theirs: str, inner: int, outer: int) -> list[Rule]:
    squeeze = Reshape((1, inner, outer), (inner, outer))
    return [
        Rule([f"{ours}.weight"], [f"{theirs}/w"], [squeeze]),
        copied(f"{ours}.bias", f"{theirs}/b"),
    ]
