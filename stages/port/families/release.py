"""A release of a model in its original layout: what every family's reader returns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from stages.core.errors import ArtifactError
from stages.lm.layouts.plan import Plan
from stages.lm.tensors.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

    from stages.port.families.probes import Probe


TWIN_LAYERS, TWIN_HEAD, TWIN_VOCABULARY, TWIN_POSITIONS = 2, 8, 101, 64
"""The largest sizes of a small model of the same kind; heads are as many as the original has."""

NO_MARKS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
"""Settings of a small model: none of its few tokens has a meaning of its own."""


class Layout(Protocol):
    """What a plan follows from; a dataclass of plain values, so that it can be stored."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def plan(self) -> Plan:
        """Return the plan from the original layout to transformers' keys."""
        ...


class Decoder(Protocol):
    """A reference of a causal model, a dataclass: its states block by block, then its logits."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def trace(
        self, ids: torch.Tensor, real: torch.Tensor, last: int | None = None
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and states behind every block, then `logits` of the last positions."""
        ...


Tensors = Mapping[str, "torch.Tensor"]
Outputs = dict[str, "torch.Tensor"]
"""What a model computes, by the name that transformers gives it (`logits`, ...)."""
Reference = Callable[["Probe"], Outputs]


@dataclass(frozen=True)
class Causal:
    """What a decoder of the family is proved by, layer by layer."""

    layout: Layout
    config: Mapping[str, Any]
    decoder: Callable[[Tensors], Decoder]
    """Gives the reference in fp32 over tensors by their source names."""
    blocks: str = ""
    """Where transformers' model keeps its list of blocks."""
    smaller: Callable[[], Causal] | None = None
    """Gives a small model of the same kind: layout, settings and reference."""

    def reference(self, tensors: Tensors, dtype: torch.dtype, variant: str) -> Reference:
        """Return what computes logits."""
        plain: Any = self.decoder(tensors)
        model = replace(plain, dtype=dtype, variant=variant)

        def logits(probe: Probe) -> Outputs:
            *_, (_, found) = model.trace(probe.ids, probe.real)
            return {"logits": found}

        return logits


@dataclass(frozen=True)
class Release:
    """Everything that a port of a family starts from.

    `reference` gives, for tensors by their source names, a type and a planted mistake (empty:
    none), what computes the outputs; `texts` gives the ids of a text by the original's rules,
    without special tokens, or is None where no tokenizer came with the files.
    """

    kind: str
    where: str
    checkpoint: Checkpoint
    layout: Layout
    config: Mapping[str, Any]
    files: Mapping[str, bytes]
    """Further files of the ported folder: tokenizer files, as they came."""
    reference: Callable[[Mapping[str, torch.Tensor], torch.dtype, str], Reference]
    variants: Sequence[str]
    vocab_size: int
    max_positions: int | None
    causal: Causal | None = None
    """Set for decoders, whose model may be larger than memory."""
    texts: Callable[[str], list[int]] | None = None
    extra: int = 0
    """Rows behind the vocabulary's that stand for an unknown token and are never written."""
    unknown: int = 0
    """Id of that unknown token."""
    samples: Sequence[str] = ()
    """Texts of the family that exercise its tokenizer, beside the usual ones."""
    generation: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What verification.json says of the release: versions, ranks, tying."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The release's own settings files by name, which the way back writes again."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What the checkpoint holds beside tensors, by name, and why it is not ported."""


Files = dict[str, Path]


def listed(folder: Path) -> Files:
    """Return the files below a folder by their relative names."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def named(files: Files, *endings: str) -> Path | None:
    """Return the first file whose name is, or else ends with, one of the endings."""
    for ending in endings:
        for name, path in files.items():
            if Path(name).name == ending:
                return path
    for ending in endings:
        for name, path in files.items():
            if Path(name).name.endswith(ending):
                return path
    return None


def wanted(files: Files, kind: str, todo: str, *endings: str) -> Path:
    """Return the file, or raise the error that names what is missing and what is there."""
    found = named(files, *endings)
    if found is None:
        raise ArtifactError(
            f"{' or '.join(endings)} is missing",
            f"files of the raw entry for kind {kind}: {', '.join(list(files)[:12]) or 'none'}",
            todo,
        )
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as fault:
        raise ArtifactError(
            f"{path.name} is no JSON object: {fault}", path.name, "fetch the file again"
        ) from None
    return found


def whole_number(settings: Mapping[str, Any], name: str, where: str) -> int:
    """Return a count of a release's settings."""
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArtifactError(
            f"{name} is {value!r}, not a positive whole number",
            where,
            "give the settings that belong to the checkpoint",
        )
    return value


def heads_of(settings: Mapping[str, Any], name: str, width: int, where: str) -> int:
    """Return how many heads share a width equally, as a release's settings say."""
    heads = whole_number(settings, name, where)
    if width % heads:
        raise ArtifactError(
            f"{heads} heads do not share a width of {width} equally",
            f"{where}: {name}",
            "give the settings that belong to the checkpoint",
        )
    return heads


def number(settings: Mapping[str, Any], name: str, usual: float, where: str) -> float:
    """Return a finite number of a release's settings; null is as if absent."""
    value = settings.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArtifactError(
            f"{name} is {value!r}, not a number",
            where,
            "give the settings that belong to the checkpoint",
        )
    return float(value)


def agree(what: str, told: Any, found: Any, where: str) -> None:
    """Raise ArtifactError when the settings tell something else than the files show."""
    if told != found:
        raise ArtifactError(
            f"{what} is {told} in the settings and {found} in the checkpoint",
            where,
            "give the settings, the vocabulary and the checkpoint that belong together",
        )


def layers_of(names: Sequence[str], prefix: str, where: str) -> int:
    """Return how many numbered layers there are, having checked that none is missing."""
    numbers = set()
    for name in names:
        if name.startswith(prefix):
            number = name.removeprefix(prefix).split(".")[0].split("/")[0]
            if number.isdigit():
                numbers.add(int(number))
    if not numbers or numbers != set(range(len(numbers))):
        missing = sorted(set(range(max(numbers, default=-1) + 1)) - numbers)
        raise ArtifactError(
            f"layer {missing[0]} of {max(numbers) + 1} is missing"
            if missing
            else f"no tensor is called {prefix}0",
            where,
            "give the whole checkpoint",
        )
    return len(numbers)
