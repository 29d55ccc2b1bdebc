"""RWKV-4: between the names of its release and transformers' keys. Nothing but names changes."""

from __future__ import annotations

from dataclasses import dataclass

from stages.lm.layouts.plan import Plan, Rule, copied

MIXES = {"k": "key", "v": "value", "r": "receptance"}
TIME = ("time_decay", "time_first", *(f"{name}.weight" for name in (*MIXES.values(), "output")))
CHANNEL = tuple(f"{name}.weight" for name in ("key", "value", "receptance"))


@dataclass(frozen=True)
class RwkvLayout:
    """What the plan of a model follows from."""

    layers: int

    def plan(self) -> Plan:
        """Return the plan from the release's names to transformers' keys."""
        rules = [
            copied("rwkv.embeddings.weight", "emb.weight"),
            copied("head.weight", "head.weight"),
            *_norm("rwkv.ln_out", "ln_out"),
            *_norm("rwkv.blocks.0.pre_ln", "blocks.0.ln0"),
        ]
        for layer in range(self.layers):
            ours, theirs = f"rwkv.blocks.{layer}", f"blocks.{layer}"
            for name in ("ln1", "ln2"):
                rules += _norm(f"{ours}.{name}", f"{theirs}.{name}")
            rules += [copied(f"{ours}.attention.{name}", f"{theirs}.att.{name}") for name in TIME]
            rules += [
                copied(f"{ours}.feed_forward.{name}", f"{theirs}.ffn.{name}") for name in CHANNEL
            ]
            for short, long in MIXES.items():
                rules.append(
                    copied(f"{ours}.attention.time_mix_{long}", f"{theirs}.att.time_mix_{short}")
                )
                if short != "v":
                    rules.append(
                        copied(
                            f"{ours}.feed_forward.time_mix_{long}",
                            f"{theirs}.ffn.time_mix_{short}",
                        )
                    )
        return Plan(rules)


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [copied(f"{ours}.{kind}", f"{theirs}.{kind}") for kind in ("weight", "bias")]
