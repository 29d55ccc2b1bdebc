"""YAML 1.2 in and out, as DVC reads and writes it (PyYAML is 1.1: `no` and `1e-3` differ)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarfloat import ScalarFloat

from stages.core import canonical
from stages.core.errors import ParamsError


def read(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping; an absent file is refused, an empty one is an empty mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(
            f"{path.name} is not there",
            str(path.parent),
            "run `deveno use esperanto`, which writes it",
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{path.name} is not UTF-8 (byte {error.start})", str(path), "save it as UTF-8"
        ) from None
    return parse(text, path.name)


def parse(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in a YAML text; `name` says in errors which file it was."""
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = f"line {mark.line + 1}" if mark else "somewhere"
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ParamsError(
            f"{name} is not YAML: {problem}", f"{name}: {line}", "mend that line"
        ) from None
    except (ValueError, OverflowError, RecursionError) as error:  # 5000 digits, 3000 brackets
        reason = str(error).split("\n")[0]
        raise ParamsError(
            f"{name} holds a value that cannot be read: {reason}", name, "mend that value"
        ) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParamsError(
            f"{name} holds a {type(value).__name__}, not a mapping",
            name,
            "give it `name: value` lines",
        )
    return value


def dump(value: Any) -> str:
    """Return block-style YAML: DVC drops quotes, so flow style with a colon would break."""
    writer = YAML(typ="rt", pure=True)
    writer.default_flow_style = False
    writer.width = 4096
    writer.indent(mapping=2, sequence=2, offset=0)
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue()


def write(path: Path, value: Any, heading: str = "") -> None:
    """Write block-style YAML, whole or not at all, under a heading of comment lines."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    canonical.write_text(path, comment + dump(value))


def plain(value: Any) -> Any:
    """Return the value with ruamel's own number and mapping types made plain."""
    try:
        return _plain(value)
    except RecursionError:
        raise ParamsError(
            "a value holds itself, or more brackets than anybody can read",
            "a YAML file",
            "look for an anchor (`&name`) that stands inside itself",
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, ScalarFloat):
        return float(value)
    return value
