"""BERT: between the variables of Google's TensorFlow checkpoint and transformers' keys.

TensorFlow's kernels are [in, out], transformers' weights [out, in]; `gamma` scales and `beta`
shifts. The masked-language head reads the word embeddings, so only its bias is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.lm.layouts.gpt2 import TRAINING
from stages.lm.layouts.plan import KEPT, Plan, Rule, copied
from stages.lm.layouts.steps import Transpose

PARTS = {
    "attention.self.query": "attention/self/query",
    "attention.self.key": "attention/self/key",
    "attention.self.value": "attention/self/value",
    "attention.output.dense": "attention/output/dense",
    "intermediate.dense": "intermediate/dense",
    "output.dense": "output/dense",
}
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
MASKED, NEXT, CLASSES = "masked-language", "next-sentence", "classes"


@dataclass(frozen=True)
class BertLayout:
    """What the plan of a model follows from: its layers, its heads, and whether it has a pooler."""

    layers: int
    heads: tuple[str, ...]
    pooler: bool = True

    @property
    def architecture(self) -> str:
        """The class of transformers that holds these heads."""
        if CLASSES in self.heads:
            return "BertForSequenceClassification"
        if MASKED in self.heads:
            return "BertForPreTraining" if NEXT in self.heads else "BertForMaskedLM"
        return "BertModel"

    def plan(self) -> Plan:
        """Return the plan from Google's variables to transformers' keys."""
        bare = self.architecture == "BertModel"
        model = "" if bare else "bert."
        rules = [
            copied(f"{model}embeddings.{name}.weight", f"bert/embeddings/{name}")
            for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
        ]
        rules += _norm(f"{model}embeddings.LayerNorm", "bert/embeddings/LayerNorm")
        for layer in range(self.layers):
            ours, theirs = f"{model}encoder.layer.{layer}", f"bert/encoder/layer_{layer}"
            for name, source in PARTS.items():
                rules += _linear(f"{ours}.{name}", f"{theirs}/{source}")
            for name in NORMS:
                rules += _norm(f"{ours}.{name}", f"{theirs}/{name.replace('.', '/')}")
        if self.pooler:
            kept = KEPT if self.architecture == "BertForMaskedLM" else ""
            rules += _linear(f"{kept}{model}pooler.dense", "bert/pooler/dense")
        return Plan(rules + self._head_rules(), TRAINING)

    def _head_rules(self) -> list[Rule]:
        rules: list[Rule] = []
        if MASKED in self.heads:
            kept = KEPT if CLASSES in self.heads else ""
            theirs = "cls/predictions/transform"
            rules += _linear(f"{kept}cls.predictions.transform.dense", f"{theirs}/dense")
            rules += _norm(f"{kept}cls.predictions.transform.LayerNorm", f"{theirs}/LayerNorm")
            rules.append(copied(f"{kept}cls.predictions.bias", "cls/predictions/output_bias"))
        if NEXT in self.heads:
            kept = "" if self.architecture == "BertForPreTraining" else KEPT
            theirs = "cls/seq_relationship/output"
            rules.append(copied(f"{kept}cls.seq_relationship.weight", f"{theirs}_weights"))
            rules.append(copied(f"{kept}cls.seq_relationship.bias", f"{theirs}_bias"))
        if CLASSES in self.heads:
            rules.append(copied("classifier.weight", "output_weights"))
            rules.append(copied("classifier.bias", "output_bias"))
        return rules


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [copied(f"{ours}.weight", f"{theirs}/gamma"), copied(f"{ours}.bias", f"{theirs}/beta")]


def _linear(ours: str, theirs: str) -> list[Rule]:
    return [
        Rule([f"{ours}.weight"], [f"{theirs}/kernel"], [Transpose()]),
        copied(f"{ours}.bias", f"{theirs}/bias"),
    ]
