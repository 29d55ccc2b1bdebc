"""How a model's output is chosen: one typed block, stored with the model and with every score.

`decoding.json` in a model folder holds the block as canonical JSON; `generation_config.json` beside
it says the same to plain `transformers` as far as that library can be told. Nothing heavy is
imported here, so that stages can declare a field of type `Decoding`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stages.core import canonical
from stages.core.declare import Params
from stages.core.errors import ArtifactError, ParamsError

FILE = "decoding.json"
"""The settings of a model folder."""

Phrase = str | list[int]
"""Words as text, cut by the model's own pipeline, or as token ids."""


class Lengths(Params):
    """What every way of decoding shares."""

    model_config = ConfigDict(allow_inf_nan=False)

    kind: str
    """Which way of decoding this is."""
    max_tokens: int = Field(0, ge=0)
    """Longest output in tokens, the closing token not counted; 0: as long as the model can."""
    min_tokens: int = Field(0, ge=0)
    """Shortest output in tokens, the closing token not counted; under fairseq's rule at least 1."""
    no_repeat_ngram_size: int = Field(0, ge=0)
    """No n-gram of this size occurs twice in an output; 0 allows all."""

    @model_validator(mode="after")
    def _lengths(self) -> Lengths:
        if self.max_tokens and self.min_tokens > self.max_tokens:
            raise _refused(
                f"min_tokens = {self.min_tokens} is more than max_tokens = {self.max_tokens}",
                "min_tokens",
                "lower min_tokens, or raise max_tokens",
            )
        return self


class Greedy(Lengths):
    """The most probable token, every time."""

    kind: Literal["greedy"] = "greedy"


class Beam(Lengths):
    """Beam search under fairseq's rule or under that of transformers.

    fairseq stops a sentence as soon as `num_beams` outputs have ended and divides a score by
    length ** length_penalty with the closing token counted; transformers goes on while a running
    beam may still win, as `early_stopping` says.
    """

    kind: Literal["beam"] = "beam"
    num_beams: int = Field(5, ge=1)
    """Hypotheses kept for a sentence."""
    length_penalty: float = 1.0
    """Power of the length that a sum of log-probabilities is divided by."""
    early_stopping: bool | Literal["never"] = False
    """transformers' rule: true stops at `num_beams` ends, false guesses, `never` stays exact."""
    num_return_sequences: int = Field(1, ge=1)
    """Outputs per input, best first."""
    search: Literal["fairseq", "transformers"] = "fairseq"
    """Whose stop rule and normalisation the search follows, token by token."""
    unknown_penalty: float = 0.0
    """Nats taken from the log-probability of `<unk>` (fairseq's rule)."""

    @model_validator(mode="after")
    def _beams(self) -> Beam:
        _check_returned(self.num_return_sequences, self.num_beams)
        if self.search == "fairseq" and self.early_stopping == "never":
            raise _refused(
                "early_stopping = 'never' under fairseq's rule, which always stops early",
                "early_stopping",
                "leave early_stopping out, or set search: transformers",
            )
        if self.search == "transformers" and self.unknown_penalty:
            raise _refused(
                f"unknown_penalty = {self.unknown_penalty} under transformers' rule has no meaning",
                "unknown_penalty",
                "leave it 0, or set search: fairseq",
            )
        return self


class DiverseBeam(Lengths):
    """Beam search in groups; a token costs more the more groups before chose it at this step."""

    kind: Literal["diverse-beam"] = "diverse-beam"
    num_beams: int = Field(4, ge=2)
    """Hypotheses kept for a sentence, over all groups."""
    groups: int = Field(2, ge=2)
    """Groups the beams are divided into; a divisor of num_beams."""
    diversity_penalty: float = Field(0.5, gt=0)
    """Nats taken from a token for each time an earlier group chose it at the same step."""
    length_penalty: float = 1.0
    """Power of the length that a sum of log-probabilities is divided by."""
    early_stopping: bool | Literal["never"] = False
    """As for `beam` under transformers' rule, in every group."""
    num_return_sequences: int = Field(1, ge=1)
    """Outputs per input, best first over all groups."""

    @model_validator(mode="after")
    def _groups(self) -> DiverseBeam:
        _check_returned(self.num_return_sequences, self.num_beams)
        if self.num_beams % self.groups:
            raise _refused(
                f"num_beams = {self.num_beams} cannot be divided into {self.groups} groups",
                "groups",
                "make num_beams a multiple of groups",
            )
        return self


class Sampling(Lengths):
    """Tokens drawn from the model's distribution: temperature, then top_k, then top_p."""

    kind: Literal["sampling"] = "sampling"
    temperature: float = Field(1.0, ge=0)
    """Divides the logits; 0 is greedy."""
    top_k: int = Field(0, ge=0)
    """Only this many of the most probable tokens can be drawn; 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the fewest tokens that hold this share of the probability can be drawn."""
    seed: int = Field(42, ge=0)
    """Seed; with an input's place it decides its draws, whatever else is in the batch."""
    num_return_sequences: int = Field(1, ge=1)
    """Outputs per input, in the order drawn."""


class Contrastive(Lengths):
    """Contrastive search: probable, but unlike what was already written (arXiv 2202.06417)."""

    kind: Literal["contrastive"] = "contrastive"
    top_k: int = Field(4, ge=1)
    """Most probable tokens weighed at each step; 1 is greedy."""
    penalty_alpha: float = Field(0.6, ge=0, le=1)
    """Weight of the likeness to earlier tokens; 0 is greedy."""


class Constrained(Lengths):
    """Beam search whose outputs hold the given phrases (arXiv 1804.06609, in banks)."""

    kind: Literal["constrained"] = "constrained"
    phrases: list[Phrase | list[Phrase]] = Field(default_factory=list)
    """Each must occur; a list of phrases means at least one of them. Ids stand for a phrase too."""
    ordered: bool = False
    """Whether the phrases must come in the order given, with any gap."""
    template: list[str | int | list[int]] = Field(default_factory=list)
    """A stretch that must occur: texts or ids in turn with numbers of free tokens between them."""
    num_beams: int = Field(10, ge=1)
    """Hypotheses kept for a sentence."""
    length_penalty: float = 1.0
    """Power of the length that a sum of log-probabilities is divided by."""
    early_stopping: bool | Literal["never"] = False
    """As for `beam` under transformers' rule."""
    num_return_sequences: int = Field(1, ge=1)
    """Outputs per input: those with all constraints met first, then best first."""

    @model_validator(mode="after")
    def _phrases(self) -> Constrained:
        _check_returned(self.num_return_sequences, self.num_beams)
        for place, one in enumerate(self.phrases):
            empty = not one or (isinstance(one, list) and any(part in ("", []) for part in one))
            blank = isinstance(one, str) and not one.strip()
            if empty or blank:
                raise _refused(
                    f"phrase {place + 1} is {one!r}, which asks for nothing",
                    f"phrases.{place}",
                    "give a text, token ids, or a list of such alternatives",
                )
        if self.template and (
            not any(isinstance(part, str | list) for part in self.template)
            or any(part in ("", []) for part in self.template)
            or any(isinstance(part, int) and part < 1 for part in self.template)
        ):
            raise _refused(
                f"template = {self.template} has an empty part or no fixed one",
                "template",
                "give texts or ids with numbers of free tokens between them: [the, 2, School]",
            )
        return self


class Assisted(Lengths):
    """A small draft model proposes, the model itself checks: the same output in fewer passes."""

    kind: Literal["assisted"] = "assisted"
    draft: str
    """The draft: `<folder>/<entry>` under models/, of the same vocabulary."""
    candidates: int = Field(5, ge=1)
    """Tokens the draft proposes at first."""
    schedule: Literal["heuristic", "constant"] = "heuristic"
    """heuristic: two more after a full match, else one fewer, at least one."""
    temperature: float = Field(0.0, ge=0)
    """0 gives greedy's output; else that of `sampling` with the same seed, top_k and top_p."""
    top_k: int = Field(0, ge=0)
    """As for `sampling`."""
    top_p: float = Field(1.0, gt=0, le=1)
    """As for `sampling`."""
    seed: int = Field(42, ge=0)
    """As for `sampling`."""


Settings = Greedy | Beam | DiverseBeam | Sampling | Contrastive | Constrained | Assisted
"""Any of the blocks."""
Decoding = Annotated[Settings, Field(discriminator="kind")]
"""The type of a field that holds one of them, told apart by `kind`."""
KINDS: dict[str, type[Lengths]] = {
    "greedy": Greedy,
    "beam": Beam,
    "diverse-beam": DiverseBeam,
    "sampling": Sampling,
    "contrastive": Contrastive,
    "constrained": Constrained,
    "assisted": Assisted,
}
_ADAPTER: TypeAdapter[Settings] = TypeAdapter(Decoding)


def _refused(what: str, field: str, todo: str) -> PydanticCustomError:
    """Return a fault that pydantic places, wherever the block stands; `parse` takes it apart."""
    facts = {"what": what, "field": field, "todo": todo}
    return PydanticCustomError("settings", "{what}; {todo}", facts)


def _check_returned(returned: int, beams: int) -> None:
    if returned > beams:
        raise _refused(
            f"num_return_sequences = {returned} is more than num_beams = {beams}",
            "num_return_sequences",
            "raise num_beams, or ask for fewer",
        )


def parse(value: Any, where: str) -> Settings:
    """Return checked settings; `where` is named in the ParamsError that a fault becomes."""
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        raise _told(error.errors()[0], value, where) from None


def _told(fault: Any, value: Any, where: str) -> ParamsError:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    model = KINDS.get(str(kind))
    if model is None:
        given = f"kind: {kind!r}" if kind is not None else repr(value)[:80]
        return ParamsError(
            f"{given} is no way to decode", where, f"name a kind: {', '.join(KINDS)}"
        )
    if fault["type"] == "settings":
        facts = fault["ctx"]
        return ParamsError(facts["what"], f"{where}.{facts['field']}", facts["todo"])
    parts = [str(part) for part in fault["loc"][1:]]
    field = str(parts[0]) if parts else "kind"
    if fault["type"] == "extra_forbidden":
        return ParamsError(
            f"kind {kind} has no {field!r} (value {fault['input']!r:.80})",
            f"{where}.{field}",
            f"it takes {', '.join(name for name in model.model_fields if name != 'kind')}",
        )
    message = str(fault["msg"]).removeprefix("Value error, ")
    given = "" if fault["type"] == "missing" else f" (value {fault['input']!r:.80})"
    described = model.model_fields[field].description if field in model.model_fields else ""
    return ParamsError(
        f"{field}: {message}{given}", f"{where}.{field}", str(described or "change this field")
    )


def block(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values, complete, in a fixed order."""
    return settings.model_dump(mode="json")


def trait(settings: Settings) -> str:
    """Return the settings as one value of a score's signature: `beam(num_beams=5,...)`.

    Phrases and templates, which may hold any text, stand as the digest of their JSON.
    """
    fields = block(settings)
    kind = fields.pop("kind")
    shown = ",".join(f"{name}={_short(fields[name])}" for name in sorted(fields))
    return f"{kind}({shown})"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return canonical.digest(value)[:12] if value else "none"
    return canonical.line(value).strip('"')


def store(folder: Path, settings: Settings) -> None:
    """Write a model folder's settings."""
    canonical.write_json(folder / FILE, block(settings))


def stored(folder: Path) -> Settings | None:
    """Return a model folder's settings, None where it has none."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(
            f"{FILE} cannot be read: {error}", str(path), "run the entry that makes this model"
        ) from None
    return parse(value, str(path))


def generation_config(settings: Settings) -> dict[str, Any]:
    """Return what plain `generate` must be told for these settings, as far as it can be.

    What transformers removed (diverse, contrastive and constrained search) becomes its nearest:
    beam search of the same width, or greedy.
    """
    found: dict[str, Any] = {}
    if settings.max_tokens:
        found["max_new_tokens"] = settings.max_tokens
    if settings.min_tokens:
        found["min_new_tokens"] = settings.min_tokens
    if settings.no_repeat_ngram_size:
        found["no_repeat_ngram_size"] = settings.no_repeat_ngram_size
    if isinstance(settings, Sampling) and settings.temperature > 0:
        found |= {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "num_return_sequences": settings.num_return_sequences,
        }
    elif isinstance(settings, Beam | DiverseBeam | Constrained):
        found |= {
            "do_sample": False,
            "num_beams": settings.num_beams,
            "length_penalty": settings.length_penalty,
            "early_stopping": settings.early_stopping,
            "num_return_sequences": settings.num_return_sequences,
        }
    else:
        found |= {"do_sample": False, "num_beams": 1}
    return found
