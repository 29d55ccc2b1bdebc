"""One declaration per stage: what it reads, what it writes, and a function with that signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stages.core.errors import DeclarationError

KEY = re.compile(r"[a-z][a-z0-9-]*")
"""What an entry may be called: dots and `@` break DVC's addressing, it drops digits first."""

F = TypeVar("F", bound=Callable[..., None])


class Params(BaseModel):
    """Base of every stage's parameters: frozen, strict, unknown keys refused.

    Types, bounds, units and a docstring per field live in the subclass; values live in params.yaml.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class FloatParams(Params):
    """Base of the parameters of an entry that computes in float.

    How a sum is split over threads and processes decides its last bits, so both counts belong to
    what an artifact is made from.
    """

    threads: int = Field(1, ge=1)
    """Threads that compute; another count gives other bits."""
    world_size: int = Field(1, ge=1)
    """Processes that compute together; another count gives other bits."""

    @field_validator("world_size")
    @classmethod
    def _alone(cls, value: int) -> int:
        if value > 1:
            raise ValueError("no stage computes in more than one process yet; set it to 1")
        return value


@dataclass(frozen=True)
class Origin:
    """How a stage tells what its material outside the repository is (`stages.core.origins`).

    `digest` goes from an entry's parameters and a remembering hash of files to a text, to `none`
    for material inside, to None for what is out of reach. `group` is a parameter that every entry
    has (DVC's own `${item.x}`), `groups` all its values: DVC fails on a name that is missing, so
    the digests are tracked by group, not by entry.
    """

    digest: Callable[..., str | None]
    group: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """A declared stage.

    `reads` and `writes` map argument names to paths from the root, with DVC's own `${item.x}` and
    `${key}`. `sections` names the sections of params.yaml whose entries the stage lists (`report`).
    `assets` are data files beside the code (from the root) that count as code. `curves` names the
    stepped metrics written to plots/<stage>/<key>.csv, the first being the one `dvc plots` draws.
    `machine_bound` says why outputs differ between machines and runs (they hold times), if they do.
    `origin` gives the digest of material outside the repository (`stages.core.origins`).
    """

    name: str
    version: int
    reads: Mapping[str, str]
    writes: Mapping[str, str]
    function: Callable[..., None]
    params: type[Params]
    sections: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    machine_bound: str = ""
    origin: Origin | None = None
    module: str = ""
    doc: str = field(default="", compare=False)


def stage(
    *,
    version: int,
    reads: Mapping[str, str],
    writes: Mapping[str, str],
    sections: tuple[str, ...] = (),
    assets: tuple[str, ...] = (),
    curves: tuple[str, ...] = (),
    machine_bound: str = "",
    origin: Origin | None = None,
) -> Callable[[F], F]:
    """Declare the decorated function as the stage of its folder's name.

    The signature must be `params`, then `entries` if `sections` is given, the reads in order, the
    writes in order, `log`; anything else is a DeclarationError at import.
    """

    def declare(function: F) -> F:
        module = function.__module__
        name = module.split(".")[-2] if module.endswith(".stage") else function.__name__
        found = list(inspect.signature(function).parameters)
        expected = ["params", *(["entries"] if sections else []), *reads, *writes, "log"]
        if found != expected:
            raise DeclarationError(
                f"the function of stage {name} takes ({', '.join(found)})",
                f"{module}.{function.__name__}",
                f"give it exactly ({', '.join(expected)}), as its declaration says",
            )
        function.declaration = Stage(  # type: ignore[attr-defined]
            name=name,
            version=version,
            reads=dict(reads),
            writes=dict(writes),
            function=function,
            params=_params_type(function, name),
            sections=sections,
            assets=assets,
            curves=curves,
            machine_bound=machine_bound,
            origin=origin,
            module=module,
            doc=(inspect.getdoc(function) or "").split("\n")[0],
        )
        return function

    return declare


def _params_type(function: Callable[..., Any], name: str) -> type[Params]:
    annotation = inspect.get_annotations(function, eval_str=True).get("params")
    if not (isinstance(annotation, type) and issubclass(annotation, Params)):
        raise DeclarationError(
            f"the params of stage {name} are annotated {annotation!r}",
            f"{function.__module__}.{function.__name__}",
            "annotate them with a subclass of stages.core.declare.Params",
        )
    return annotation


def call(
    declared: Stage, params: Params, paths: Mapping[str, Path], log: Any, entries: Any = None
) -> None:
    """Call the stage's function with paths by argument name."""
    extra = {"entries": entries} if declared.sections else {}
    declared.function(params=params, **extra, **paths, log=log)
