"""The fields of a raw record by name: texts, lists of texts, and what is said without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.reading import PROVENANCE


def _missing(row: Mapping[str, Any], field: str, place: str) -> ArtifactError:
    return ArtifactError(
        f"no field {field!r}; the record has {', '.join(map(str, row)) or 'none'}",
        place,
        "name the right fields in `reading` (text, source_text, target_text, tokens, tags)",
    )


def string(row: Mapping[str, Any], field: str, place: str) -> str:
    """Return a field's text; one that is absent, null or no text is an ArtifactError."""
    head, _, rest = field.partition(".")
    value = row.get(field)
    if value is None and rest and isinstance(row.get(head), Mapping):
        value = row[head].get(rest)  # `translation.eo`: the layout of parallel sets on the hub.
    if value is None and field in row:
        raise ArtifactError(
            f"the field {field!r} is null", place, "leave the record out, or give it a text"
        )
    if value is None:
        raise _missing(row, field, place)
    if not isinstance(value, str):
        raise ArtifactError(
            f"the field {field!r} holds {value!r:.60}, not a text", place, "name a field of texts"
        )
    return whole(value, field, place)


def side(row: Mapping[str, Any], field: str, place: str) -> list[str]:
    """Return the text of a pair's side, or its texts where the field holds a list of them."""
    value = row.get(field)
    if not isinstance(value, list):
        return [string(row, field, place)]
    if not value or not all(isinstance(one, str) for one in value):
        raise ArtifactError(
            f"the field {field!r} holds {value!r:.60}, not a list of texts",
            place,
            "name a field of texts, or of lists of at least one text",
        )
    return [whole(one, field, place) for one in value]


def whole(value: str, field: str, place: str) -> str:
    """Return a text that has bytes; JSON may spell half of a surrogate pair, which has none."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ArtifactError(
            f"the field {field!r} holds half of a surrogate pair", place, "repair the record"
        ) from error
    return value


def perhaps(row: Mapping[str, Any], field: str, place: str) -> str | None:
    """Return a field's text, or None where it is absent or null; a number is told as it is."""
    value = row.get(field)
    if isinstance(value, int | float):
        value = str(value)
    return None if value is None else string({field: value}, field, place)


def strings(row: Mapping[str, Any], field: str, place: str) -> list[str]:
    """Return a field's list as texts; one that is absent or no list is an ArtifactError."""
    value = row.get(field)
    if value is None:
        raise _missing(row, field, place)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ArtifactError(
            f"the field {field!r} holds {value!r:.60}, not a list", place, "name a field of lists"
        )
    found = [str(item) for item in value]
    whole("".join(found), field, place)
    return found


def provenance(
    row: Mapping[str, Any],
) -> tuple[tuple[str, str | tuple[str, ...] | None], ...]:
    """Return the fields of `PROVENANCE` that a record has, in that order; null where one is."""
    found: list[tuple[str, str | tuple[str, ...] | None]] = []
    for name in PROVENANCE:
        if name in row:
            value = row[name]
            if isinstance(value, list):
                found.append((name, tuple(one for one in value if isinstance(one, str))))
            else:
                found.append((name, value if isinstance(value, str) else None))
    return tuple(found)
