"""What files that people and tools edit must look like, told before anything is made of them.

YAML and JSON say nothing of what a value is: a merge, a script or a slip leaves a word where rows
should be. Here is what our readers of dvc.lock, dvc.yaml and the journals take for granted; what is
more (other keys, a user's own stages) is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stages.core.errors import ParamsError

OURS = "python -m stages execute "
"""How the command of each of our stages begins; all others are a user's own."""
_MEND_LOCK = "`git checkout dvc.lock` brings back the committed one; `deveno run` makes the rest"
_MEND_YAML = "mend it, or `git checkout dvc.yaml`; `deveno sync` renders our stages anew"
_TEXTS = ("commit", "snapshot", "fingerprint", "resumes", "dvc_exp_name", "stage", "key", "outcome")
_LISTS = ("reasons", "changed", "error")
_NUMBERS = ("energy_wh_estimated", "co2_g_estimated", "package_energy_wh")


def lock(stages: Any) -> dict[str, Any]:
    """Return the entries of a dvc.lock by name; raise a ParamsError that names the first slip."""
    if stages is None:
        return {}
    for name, body in _mapping(stages, "stages", "dvc.lock", _MEND_LOCK).items():
        lock_entry(body, f"dvc.lock: {name}")
    return {str(name): body for name, body in stages.items()}


def lock_entry(body: Any, where: str) -> None:
    """Raise a ParamsError if an entry is not as DVC writes it: cmd, deps, params, outs."""
    _mapping(body, "the entry", where, _MEND_LOCK)
    _command(body.get("cmd"), where, _MEND_LOCK)
    for kind in ("deps", "outs"):
        for row in _rows(body, kind, where, _MEND_LOCK):
            named = isinstance(row, Mapping) and isinstance(row.get("path"), str)
            if not named or not isinstance(row.get("md5", ""), str):
                raise _wrong(f"a row of {kind}", row, "path and md5", where, _MEND_LOCK)
    values = _mapping(body.get("params", {}), "params", where, _MEND_LOCK)
    for file, given in values.items():
        _mapping(given, f"params of {file}", where, _MEND_LOCK)


def stages(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stages of a dvc.yaml by name; raise a ParamsError that names the first slip.

    Of a user's own stage only what we look at is checked: it may be anything that DVC takes.
    """
    found = document.get("stages")
    if found is None:
        return {}
    for name, body in _mapping(found, "stages", "dvc.yaml", _MEND_YAML).items():
        where = f"dvc.yaml: {name}"
        inner = _mapping(body, "the stage", where, _MEND_YAML)
        if "do" in inner:
            inner = _mapping(inner["do"], "`do`", where, _MEND_YAML)
        if is_ours(inner):
            _ours(inner, where)
    return {str(name): body for name, body in found.items()}


def command(value: Any) -> Any:
    """Return a command as one text: a user's own stage may have several, one after another."""
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def is_ours(body: Mapping[str, Any]) -> bool:
    """Return whether the body of a stage, or an entry of dvc.lock, runs one of our stages."""
    return str(body.get("cmd", "")).startswith(OURS)


def _ours(body: Mapping[str, Any], where: str) -> None:
    for name in _rows(body, "deps", where, _MEND_YAML):
        if not isinstance(name, str):
            raise _wrong("a row of deps", name, "a path", where, _MEND_YAML)
    for kind in ("outs", "metrics", "plots"):
        for row in _rows(body, kind, where, _MEND_YAML):
            path = next(iter(row), None) if isinstance(row, Mapping) else row
            if not isinstance(path, str):
                raise _wrong(f"a row of {kind}", row, "a path", where, _MEND_YAML)
    for row in _rows(body, "params", where, _MEND_YAML):
        listed = list(row.values()) if isinstance(row, Mapping) else [[row]]
        for names in listed:
            if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
                raise _wrong("a row of params", row, "names", where, _MEND_YAML)


def _command(value: Any, where: str, todo: str) -> None:
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, str) for row in rows):
        raise _wrong("cmd", value, "a command", where, todo)


def _mapping(value: Any, what: str, where: str, todo: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(what, value, "names and values", where, todo)
    return value


def _rows(body: Mapping[str, Any], kind: str, where: str, todo: str) -> list[Any]:
    value = body.get(kind, [])
    if not isinstance(value, list):
        raise _wrong(kind, value, "a list", where, todo)
    return value


def _wrong(what: str, value: Any, wanted: str, where: str, todo: str) -> ParamsError:
    return ParamsError(f"{what} holds {value!r:.80}, not {wanted}", where, todo)


def event(told: dict[str, Any]) -> dict[str, Any]:
    """Return a journal's `start` or `end` event with what is not of its kind left out.

    A journal is a record that nobody mends: one damaged value must not hide the rest of it.
    """
    if not _number(told.get("time", 0.0)):
        told["time"] = 0.0
    for name in _TEXTS:
        if name in told and not isinstance(told[name], str):
            told[name] = None
    for name in _LISTS:
        if name in told:
            rows = told[name] if isinstance(told[name], list) else []
            told[name] = [str(row) for row in rows]
    if "outputs" in told:
        rows = told["outputs"] if isinstance(told["outputs"], list) else []
        told["outputs"] = [row for row in rows if _output(row)]
    if "durations" in told:
        spent = told["durations"] if isinstance(told["durations"], dict) else {}
        told["durations"] = {name: value for name, value in spent.items() if _number(value)}
    used = told.get("energy")
    if isinstance(used, dict):
        whole = _number(used.get("energy_wh_estimated")) and "energy_formula" in used
        kept = {n: v for n, v in used.items() if n not in _NUMBERS or _number(v)}
        told["energy"] = kept if whole else {}
    return told


def _output(row: Any) -> bool:
    """Return whether a row of outputs is one: path, md5, size."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("path"), str)
        and isinstance(row.get("md5") or "", str)
        and _number(row.get("size_bytes", 0))
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
