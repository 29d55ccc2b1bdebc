"""What a stage reads, writes and takes: every parameter with its type, bounds and sense."""

from __future__ import annotations

import json
from typing import Any

from stages.core.declare import Stage

Schema = dict[str, Any]
_BOUNDS = (
    ("minimum", ">="),
    ("exclusiveMinimum", ">"),
    ("maximum", "<="),
    ("exclusiveMaximum", "<"),
)


def describe(stage: Stage) -> str:
    """Return a stage's reads, writes and parameters as text."""
    rows = [f"{stage.name} (version {stage.version}): {stage.doc}"]
    rows += [f"  reads   {name}: {path}" for name, path in stage.reads.items()]
    rows += [f"  writes  {name}: {path}" for name, path in stage.writes.items()]
    rows.append("  parameters:")
    schema = stage.params.model_json_schema()
    rows += [f"    {line}" for line in _fields(schema, schema.get("$defs", {}), 0)]
    return "\n".join(rows)


def _fields(node: Schema, known: dict[str, Schema], depth: int) -> list[str]:
    """Return one line per parameter; those of a nested model are indented below theirs."""
    lines = []
    for name, field in node.get("properties", {}).items():
        nested = [known[found] for found in _models(field)]
        default = ""
        if "default" in field and not (nested and isinstance(field["default"], dict)):
            default = f", default {json.dumps(field['default'], ensure_ascii=False)}"
        text = " ".join(str(field.get("description", "")).split())
        head = f"{'  ' * depth}{name}: {kind(field, known)}{default}"
        lines.append(f"{head}  {text}".rstrip())
        for model in nested:
            inner, deeper = model, depth + 1
            if len(nested) > 1:  # a choice by `kind` or the like: which fields belong to which
                named = next(key for key, one in model["properties"].items() if "const" in one)
                constant = model["properties"][named]["const"]
                lines.append(f"{'  ' * deeper}with {named}: {constant}")
                rest = {key: one for key, one in model["properties"].items() if key != named}
                inner, deeper = {"properties": rest}, deeper + 1
            lines += _fields(inner, known, deeper)
    return lines


def _models(field: Schema) -> list[str]:
    """Return the names of the models that a field's schema refers to."""
    rows = [field, field.get("items", {}), *field.get("anyOf", []), *field.get("oneOf", [])]
    return [row["$ref"].removeprefix("#/$defs/") for row in rows if "$ref" in row]


def kind(field: Schema, known: dict[str, Schema]) -> str:
    """Return in words what a value may be: its type, its choices and its bounds."""
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(kind(one, known) for one in choices))
    if "$ref" in field:
        return "mapping"
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " | ".join(json.dumps(value) for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {kind(field.get('items', {}), known)}"
    name = {"string": "text", "object": "mapping"}.get(field.get("type", ""), field.get("type"))
    bounds = [f"{sign} {field[word]:g}" for word, sign in _BOUNDS if word in field]
    return " ".join([str(name or "any value"), *bounds])
