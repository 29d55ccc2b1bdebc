"""RoBERTa: between fairseq's tensors and transformers' keys, which are BERT's.

fairseq has called the encoder `decoder.sentence_encoder`, `encoder.sentence_encoder` and
`encoder`, the norm after the embeddings `emb_layer_norm` and `layernorm_embedding`, and has kept
the projections of attention fused and apart; a layout says which.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.lm.layouts.moves import Blank, Extend
from stages.lm.layouts.plan import KEPT, Plan, Rule, copied
from stages.lm.layouts.steps import Repeat, Same, Split, Step

PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "output.LayerNorm": "final_layer_norm",
}
PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
UNKNOWN = 3
"""Row of `<unk>` in fairseq's dictionaries."""
NEVER = {"F32": 0xC61C4000, "F16": 0xF0E2, "BF16": 0xC61C}
"""Bits of about -10,000: the bias of a token that is never written."""
LEFT_OUT = {
    r".*\.(version|_float_tensor)": "a mark of fairseq, no weight",
}


@dataclass(frozen=True)
class RobertaLayout:
    """What the plan of a model follows from: D is `width`.

    `stack` begins the encoder's names and `head` those of the masked-language head; `classes` names
    a classification head to port instead of it; `others` are further classification heads. Behind
    the `rows` of the dictionary come `extra` ones for tokens that it lacks: read as `<unk>`, whose
    row they copy, and never written, their bias being NEVER.
    """

    layers: int
    width: int
    dtype: str
    stack: str
    head: str
    embedding_norm: str
    fused: bool = False
    tied: bool = True
    masked: bool = True
    classes: str = ""
    others: tuple[str, ...] = ()
    rows: int = 0
    extra: int = 0

    @property
    def architecture(self) -> str:
        """The class of transformers that holds the chosen head."""
        if self.classes:
            return "RobertaForSequenceClassification"
        return "RobertaForMaskedLM" if self.masked else "RobertaModel"

    def plan(self) -> Plan:
        """Return the plan from fairseq's tensors to transformers' keys."""
        model = "" if self.architecture == "RobertaModel" else "roberta."
        ours, stack = f"{model}embeddings", self.stack
        rules = [
            copied(f"{ours}.position_embeddings.weight", f"{stack}embed_positions.weight"),
            Rule(
                [f"{ours}.token_type_embeddings.weight"], [], [Blank(self.dtype, (1, self.width))]
            ),
            *_pair(f"{ours}.LayerNorm", f"{stack}{self.embedding_norm}"),
        ]
        for layer in range(self.layers):
            target, source = f"{model}encoder.layer.{layer}", f"{stack}layers.{layer}"
            for name, theirs in PARTS.items():
                rules += _pair(f"{target}.{name}", f"{source}.{theirs}")
            rules += self._projections(f"{target}.attention.self", f"{source}.self_attn")
        return Plan(rules + self._head_rules(f"{ours}.word_embeddings.weight"), LEFT_OUT)

    def _projections(self, target: str, source: str) -> list[Rule]:
        if not self.fused:
            return [
                rule
                for name, theirs in PROJECTIONS.items()
                for rule in _pair(f"{target}.{name}", f"{source}.{theirs}")
            ]
        parts = Split((self.width,) * 3)
        return [
            Rule(
                [f"{target}.{name}.{kind}" for name in PROJECTIONS],
                [f"{source}.in_proj_{kind}"],
                [parts],
            )
            for kind in ("weight", "bias")
        ]

    def _head_rules(self, words: str) -> list[Rule]:
        table = f"{self.stack}embed_tokens.weight"
        rules: list[Rule] = []
        more: list[Step] = [Extend(self.rows, self.extra, UNKNOWN)] if self.extra else []
        never: list[Step] = []
        if self.extra:
            never = [Extend(self.rows, self.extra, UNKNOWN, NEVER[self.dtype])]
        if self.masked and self.tied:
            rules.append(Rule([words], [table, f"{self.head}weight"], [Same(2), *more]))
        else:
            rules.append(Rule([words], [table], more))
        kept = KEPT if self.classes else ""
        if self.masked:
            if not self.tied:
                decoder = f"{kept}lm_head.decoder.weight"
                rules.append(Rule([decoder], [f"{self.head}weight"], more))
            biases = [f"{kept}lm_head.bias"]
            if not self.tied:  # transformers ties its two biases only with the matrices
                biases.append(f"{kept}lm_head.decoder.bias")
                never = [*never, Repeat(2)]
            rules.append(Rule(biases, [f"{self.head}bias"], never))
            for name in ("dense", "layer_norm"):
                rules += _pair(f"{kept}lm_head.{name}", f"{self.head}{name}")
        for name in (*self.others, *((self.classes,) if self.classes else ())):
            ours = "classifier" if name == self.classes else f"{KEPT}classification_heads.{name}"
            for part in ("dense", "out_proj"):
                rules += _pair(f"{ours}.{part}", f"classification_heads.{name}.{part}")
        return rules


def _pair(ours: str, theirs: str) -> list[Rule]:
    return [copied(f"{ours}.{kind}", f"{theirs}.{kind}") for kind in ("weight", "bias")]
