"""`dvc.yaml`, rendered from the declarations: a function of code only, never of parameter values.

`sync` owns the stages it declares; a user's own stages, plots, artifacts, `frozen: true` and
comments stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.core import (
    canonical,
    environment,
    hashes,
    imports,
    machine,
    origins,
    readme,
    references,
    registry,
    shapes,
    yamlfile,
)
from stages.core.declare import Stage
from stages.core.errors import DevenoError
from stages.core.references import PARAMS

DVCFILE = "dvc.yaml"
BINDING = (DVCFILE, environment.ENVIRONMENT)
"""The generated files that decide what runs; the others may wait for the next `sync`."""
HEADING = "Rendered from the declarations in stages/*/stage.py by `deveno sync`."


def command(stage: str, key: str) -> str:
    """Return the command that DVC runs for an entry."""
    return f"{shapes.OURS}{stage} {key}"


def instance(stage: Stage, closure: imports.Closure) -> dict[str, Any]:
    """Return the body of a stage's `foreach`."""
    name = stage.name
    params: list[Any] = [name + ".${key}", *stage.sections]
    if closure.packages:
        params.append({environment.ENVIRONMENT: list(closure.packages)})
    if stage.machine_bound and not stage.sections:
        params.append({machine.MACHINE: list(machine.KEYS)})
    if stage.origin is not None:
        params.append({origins.SOURCES: [stage.origin.group]})
    body: dict[str, Any] = {
        "desc": stage.doc,
        "cmd": command(name, "${key}"),
        "deps": [*closure.files, *sorted(set(stage.reads.values()))],
        "params": params,
        "outs": list(stage.writes.values()),
        "metrics": [{f"metrics/{name}/${{key}}.json": {"cache": False}}],
    }
    if stage.curves:
        plot = {"cache": False, "x": "step", "y": stage.curves[0]}
        body["plots"] = [{f"plots/{name}/${{key}}.csv": plot}]
    body["meta"] = {"version": stage.version}
    return body


def render(root: Path) -> dict[str, str]:
    """Return the text of every generated file by its name from the root."""
    graph = imports.import_graph()
    closures = {
        name: imports.closure(stage, graph, root) for name, stage in registry.stages().items()
    }
    packages = {package for found in closures.values() for package in found.packages}
    versions = environment.versions_of(packages, root)
    lines = "".join(f'{name}: "{version}"\n' for name, version in versions.items())
    texts = {readme.README: readme.render(root)} if (root / readme.README).exists() else {}
    return texts | {
        DVCFILE: _merged(root / DVCFILE, closures),
        environment.ENVIRONMENT: f"# Versions that enter fingerprints. {HEADING}\n" + lines,
        ".dvcignore": "".join(f"{pattern}\n" for pattern in hashes.IGNORED)
        + "".join(
            f"/{folder}\n" for folder in (".venv", ".deveno", "scratch", "bundles", "mlruns")
        ),
    }


def _merged(path: Path, closures: Mapping[str, imports.Closure]) -> str:
    writer = YAML(typ="rt", pure=True)
    writer.width = 4096
    existing = None
    if path.exists():
        shapes.stages(yamlfile.read(path))  # says where it is not what it should be
        existing = writer.load(path.read_text(encoding="utf-8"))
    document: Any = existing if existing is not None else {}
    defaults: dict[str, Any] = {name: {} for name in closures}
    given = document.get("vars") or []
    others = [row for row in given if not _ours(row)] if isinstance(given, list) else [given]
    document["vars"] = [defaults, *others]
    if document.get("stages") is None:
        document["stages"] = {}
    stages: Any = document["stages"]
    for name in [name for name, body in stages.items() if _declared(body) and name not in closures]:
        del stages[name]
    for name, closure in closures.items():
        body = instance(registry.get(name), closure)
        if ((stages.get(name) or {}).get("do") or {}).get("frozen"):
            body["frozen"] = True  # DVC takes it inside `do`, for all entries of a stage
        stages[name] = {"foreach": f"${{{name}}}", "do": body}
    stream = io.StringIO()
    writer.dump(document, stream)
    text = stream.getvalue()
    return text if existing is not None else f"# {HEADING}\n{text}"


def _ours(row: Any) -> bool:
    return isinstance(row, Mapping) and all(value == {} for value in row.values())


def _declared(body: Any) -> bool:
    inner = body.get("do", {}) if isinstance(body, Mapping) else {}
    return isinstance(inner, Mapping) and shapes.is_ours(inner)


def stale(root: Path) -> list[str]:
    """Return which generated files differ from what the code says."""
    return [
        name
        for name, text in render(root).items()
        if not (root / name).exists() or (root / name).read_bytes() != text.encode("utf-8")
    ]


def sync(root: Path) -> list[str]:
    """Write the generated files that differ; return their names."""
    changed = stale(root)
    texts = render(root)
    for name in changed:
        canonical.write_text(root / name, texts[name])
    return [*changed, *machine.refresh(root), *_sources(root)]


def _sources(root: Path) -> list[str]:
    """Bring sources.yaml in step with params.yaml, where that can be read."""
    try:
        return origins.refresh(root, references.load(root))
    except DevenoError:
        return []  # whoever runs something is told; `sync` renders what is of code


def instances(root: Path) -> dict[str, Mapping[str, Any]]:
    """Return the `do` body of each of our stages as dvc.yaml has it now."""
    stages = shapes.stages(yamlfile.read(root / DVCFILE))
    return {name: body["do"] for name, body in stages.items() if _declared(body)}


__all__ = ["DVCFILE", "PARAMS", "command", "instances", "render", "stale", "sync"]
