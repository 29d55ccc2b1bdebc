"""What may be done to a text before it is cut into tokens, and how `tokenizers` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from stages.core.declare import Params
from stages.core.errors import ParamsError


class Form(Params):
    """A normal form of Unicode (UAX 15)."""

    kind: Literal["nfc", "nfd", "nfkc", "nfkd"]
    """NFC composes and NFD decomposes; NFKC and NFKD also replace what only looks different."""


class Lowercase(Params):
    """Lower case."""

    kind: Literal["lowercase"]
    """Tag of this choice."""


class StripAccents(Params):
    """Letters without their accents: decomposed, all marks (M) taken away, composed again; where
    marks are vowels, as in Devanagari, these go too."""

    kind: Literal["strip-accents"]
    """Tag of this choice."""


class WhiteSpace(Params):
    """What becomes of white space."""

    kind: Literal["white-space"]
    """Tag of this choice."""
    runs: Literal["keep", "collapse", "collapse-blanks"] = "collapse"
    """`collapse` makes every run one space; `collapse-blanks` leaves the ends of lines as they are
    and makes runs of spaces and tabs one space."""
    ends: Literal["keep", "left", "right", "both"] = "keep"
    """Where white space is cut off a text (or a part of it between domain tokens)."""


class Replace(Params):
    """A pattern replaced wherever it stands."""

    kind: Literal["replace"]
    """Tag of this choice."""
    pattern: str = Field(min_length=1)
    """The text that is replaced."""
    by: str
    """What stands there instead."""
    expression: bool = False
    """Whether the pattern is a regular expression (Oniguruma's)."""


Step = Form | Lowercase | StripAccents | WhiteSpace | Replace
"""A step of `normalise`."""


def rendered(steps: Sequence[Step]) -> Any:
    """Return the normaliser of `tokenizers` that does these steps, None where there are none."""
    from tokenizers import normalizers

    made = [one for number, step in enumerate(steps) for one in _rendered(step, number)]
    return normalizers.Sequence(made) if made else None


def _rendered(step: Step, number: int) -> list[Any]:
    """Return the normalisers of one step."""
    from tokenizers import Regex, normalizers

    if isinstance(step, Form):
        return [getattr(normalizers, step.kind.upper())()]
    if isinstance(step, Lowercase):
        return [normalizers.Lowercase()]
    if isinstance(step, StripAccents):
        return [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]
    if isinstance(step, Replace):
        pattern = _expression(step.pattern, number) if step.expression else step.pattern
        return [normalizers.Replace(pattern, step.by)]
    runs = {"collapse": r"\s+", "collapse-blanks": r"[ \t]+"}
    made: list[Any] = []
    if step.runs in runs:
        made.append(normalizers.Replace(Regex(runs[step.runs]), " "))
    if step.ends != "keep":
        left, right = step.ends in ("left", "both"), step.ends in ("right", "both")
        made.append(normalizers.Strip(left=left, right=right))
    return made


def _expression(pattern: str, number: int) -> Any:
    from tokenizers import Regex

    try:
        return Regex(pattern)
    except Exception as fault:  # the Rust side raises bare Exception
        raise ParamsError(
            f"the pattern {pattern!r} is no regular expression: {fault}",
            f"tokenizer: normalise[{number}].pattern",
            "mend the expression, or set `expression` to false to replace the text as it stands",
        ) from None
