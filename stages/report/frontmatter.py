"""The YAML header of a card, written so that YAML 1.1 and 1.2 readers see the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INDENT = "  "


def frontmatter(values: Mapping[str, Any]) -> str:
    """Return the header with its fences; members keep their order, None and empty ones go."""
    held = {key: value for key, value in values.items() if value not in (None, "", [], {})}
    return "\n".join(["---", *_mapping(held, ""), "---", ""])


def _mapping(values: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if _nested(value):
            lines += [f"{indent}{_key(key)}:", *_block(value, indent)]
        else:
            lines.append(f"{indent}{_key(key)}: {_scalar(value)}")
    return lines


def _block(value: Any, indent: str) -> list[str]:
    """Return a nested value's lines: a mapping goes deeper, a sequence stays at its key's depth."""
    if isinstance(value, Mapping):
        return _mapping(value, indent + INDENT)
    lines = []
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, indent + INDENT)
            lines += [f"{indent}- {first[len(indent) + len(INDENT) :]}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 0


def _key(key: str) -> str:
    return (
        key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _quoted(key)
    )


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping | list | tuple):
        if not value:
            return "{}" if isinstance(value, Mapping) else "[]"
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return _quoted(str(value))


def _float(value: float) -> str:
    """YAML 1.1 takes `1e-05` for text: a number needs its point."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0{mark}{exponent}" if mark and "." not in mantissa else text


def _quoted(text: str) -> str:
    """Return a double-quoted scalar: never a boolean, a date or the end of the header."""
    return '"' + "".join(_escaped(one) for one in text) + '"'


def _escaped(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    if one == " " or one.isprintable():
        return one
    return f"\\U{ord(one):08x}"
