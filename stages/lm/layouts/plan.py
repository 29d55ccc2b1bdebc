"""A plan says how the tensors of one layout become those of another, and back.

A rule makes some tensors of some others by steps that can all be undone; a plan is the rules of
one model. `plan.inverse()` leads back, to equal bytes, so `port` and `export` share one plan.

    Plan([
        copied("model.norm.weight", "norm.weight"),
        Rule(["q.weight"], ["wq.weight"], [heads((64, 64), 4, ("half", "pair"))]),
        Rule(["q", "k", "v"], ["c_attn.weight"], [Transpose(), Split((64, 64, 64))]),
    ], ignored={r"rope\\.freqs": "computed again from the settings"})

Names of tensors that the target layout has no place for, and that cannot be computed again, begin
with `KEPT`: they go to a file of their own beside the model, so that nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stages.core.errors import ArtifactError
from stages.lm.layouts.steps import Step, StepError
from stages.lm.tensors.entries import Bits, Spec
from stages.lm.tensors.nodes import Memory, Node, whole

KEPT = "kept:"
"""Begins the name of a target that is kept beside the model, not in it."""
NAMED = 5
"""How many names a message lists."""


@dataclass(frozen=True)
class Rule:
    """`targets` are made of `sources` by `steps`, each of which can be undone."""

    targets: Sequence[str]
    sources: Sequence[str]
    steps: Sequence[Step] = ()

    def inverse(self) -> Rule:
        """Return the rule that makes the sources of the targets."""
        return Rule(self.sources, self.targets, [step.inverse() for step in reversed(self.steps)])

    @property
    def action(self) -> str:
        """What is done, in words: `copy`, or the steps in order."""
        return ", ".join(str(step) for step in self.steps) or "copy"


def copied(target: str, source: str) -> Rule:
    """Return the rule of a tensor that only changes its name."""
    return Rule([target], [source])


@dataclass(frozen=True)
class Built:
    """The targets of one rule, ready to be read."""

    rule: Rule
    nodes: dict[str, Node]
    inner: list[Node] = field(default_factory=list)
    """All nodes between the sources and the targets; what they hold is released by the writer."""


@dataclass(frozen=True)
class Plan:
    """The rules of one model, and the source tensors that are left out, pattern by reason."""

    rules: Sequence[Rule]
    ignored: Mapping[str, str] = field(default_factory=dict)

    def inverse(self) -> Plan:
        """Return the plan that leads back; what was left out does not come again."""
        return Plan([rule.inverse() for rule in self.rules])

    def left_out(self, names: Sequence[str]) -> dict[str, str]:
        """Return the reason for every source name that the plan leaves out."""
        used = {name for rule in self.rules for name in rule.sources}
        return {
            name: reason
            for name in names
            for pattern, reason in self.ignored.items()
            if name not in used and re.fullmatch(pattern, name)
        }

    def check(
        self, specs: Mapping[str, Spec], where: str, other: Mapping[str, Spec] | None = None
    ) -> dict[str, Spec]:
        """Return the spec of every target; ArtifactError when a source is missing or has no place.

        `where` names the checkpoint for the message; `other` are the specs of a delta's base.
        """
        self._check_names(specs, where)
        sources = {name: _Shape(spec) for name, spec in specs.items()}
        others = {name: _Shape(spec) for name, spec in (other or {}).items()}
        found: dict[str, Spec] = {}
        for built in self.build(sources, where, others):
            found |= {name: node.spec for name, node in built.nodes.items()}
        return found

    def build(
        self, sources: Mapping[str, Node], where: str, other: Mapping[str, Node] | None = None
    ) -> list[Built]:
        """Return the targets of every rule as nodes over the sources.

        `other` are the tensors of a second model (the base of a delta), for steps that name one.
        """
        return [_built(rule, sources, where, other or {}) for rule in self.rules]

    def run(
        self,
        sources: Mapping[str, tuple[Spec, Bits]],
        other: Mapping[str, tuple[Spec, Bits]] | None = None,
    ) -> dict[str, tuple[Spec, Bits]]:
        """Run the plan on tensors in memory; bits come and go in the tensor's shape."""
        self._check_names({name: spec for name, (spec, _) in sources.items()}, "memory")
        nodes = {name: Memory(spec, bits) for name, (spec, bits) in sources.items()}
        others = {name: Memory(spec, bits) for name, (spec, bits) in (other or {}).items()}
        return {
            name: (node.spec, whole(node).reshape(node.spec.shape))
            for built in self.build(nodes, "memory", others)
            for name, node in built.nodes.items()
        }

    def _check_names(self, specs: Mapping[str, Spec], where: str) -> None:
        wanted = [name for rule in self.rules for name in rule.sources]
        missing = sorted(set(wanted) - set(specs))
        if missing:
            raise ArtifactError(
                f"{len(missing)} missing: {some(missing)}",
                where,
                "the settings promise these tensors; give the checkpoint that belongs to them",
            )
        unexpected = sorted(set(specs) - set(wanted) - set(self.left_out(list(specs))))
        if unexpected:
            raise ArtifactError(
                f"{len(unexpected)} unexpected: {some(unexpected)}",
                where,
                "the layout has no place for these tensors, so they would be lost; "
                "nothing was written",
            )
        made = [name for rule in self.rules for name in rule.targets]
        twice = sorted({name for name in made if made.count(name) > 1}) if _repeats(made) else []
        if twice:
            raise ArtifactError(
                f"made twice: {some(twice)}", where, "please report this: the plan is wrong"
            )


class _Shape:
    """A node that is asked for its spec only."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def read(self, begin: int, end: int) -> Bits:
        """Nothing is ever read of a shape."""
        raise AssertionError(f"elements {begin} to {end} of a shape were asked for")


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) != len(names)


def _built(rule: Rule, sources: Mapping[str, Node], where: str, other: Mapping[str, Node]) -> Built:
    nodes = [sources[name] for name in rule.sources]
    inner: list[Node] = []
    lookup = _looked_up(other, where)
    try:
        for step in rule.steps:
            nodes = step.nodes(nodes, lookup)
            inner += nodes
    except StepError as fault:
        given = ", ".join(f"{name} {sources[name].spec}" for name in rule.sources)
        raise ArtifactError(
            f"{given}: {fault}",
            where,
            "give the checkpoint that belongs to these settings",
        ) from fault
    if len(nodes) != len(rule.targets):
        raise ArtifactError(
            f"{rule.action} makes {len(nodes)} tensors of {some(list(rule.sources))}, "
            f"not the {len(rule.targets)} that are named",
            where,
            "please report this: the plan is wrong",
        )
    return Built(rule, dict(zip(rule.targets, nodes, strict=True)), inner)


def _looked_up(other: Mapping[str, Node], where: str) -> Callable[[str], Node]:
    def lookup(name: str) -> Node:
        if name not in other:
            raise ArtifactError(
                f"the base model has no tensor {name}",
                where,
                "name the base that the delta was made against",
            )
        return other[name]

    return lookup


def some(names: Sequence[str]) -> str:
    """Return the first names of a list for a message."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
