"""Entries of params.yaml and what they read from one another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from stages.core import adoption, registry, yamlfile
from stages.core.declare import KEY, Params, Stage
from stages.core.errors import ArtifactError, DevenoError, ParamsError, UnknownEntryError

PARAMS = "params.yaml"
SLOT = re.compile(r"\$\{([^}]+)\}")
NOTHING = ("data/none", "models/none")
"""The tracked empty folders an optional input points at when it says `none`."""


@dataclass(frozen=True)
class Entry:
    """One entry of a section: a stage, a key, its checked parameters and its resolved paths."""

    stage: Stage
    key: str
    item: Mapping[str, Any]
    params: Params
    reads: Mapping[str, str]
    writes: Mapping[str, str]
    upstream: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The entry's address, as DVC spells it."""
        return f"{self.stage.name}@{self.key}"

    @property
    def threads(self) -> int:
        """How many cores the entry declares to use."""
        return int(getattr(self.params, "threads", 1))


Graph = dict[str, Entry]
"""Entries by name, producers before consumers."""


def load(root: Path) -> Graph:
    """Return the entries of a workspace's params.yaml, checked and ordered."""
    return build(yamlfile.plain(yamlfile.read(root / PARAMS)), root)


def build(sections: Mapping[str, Any], root: Path, source: str = PARAMS) -> Graph:
    """Check every section and reference, and order the entries."""
    known = registry.names()
    for name in sections:
        if name not in known:
            raise ParamsError(f"unknown section {name!r}", source, registry.near(name, known))
    entries: Graph = {}
    for name in known:
        for key, item in section(sections, name, source).items():
            entry = _entry(registry.get(name), key, item, source)
            entries[entry.name] = entry
    return _ordered(_linked(entries, root, source), source)


def section(sections: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    """Return a section's entries by key; an absent one has none, null or a scalar is refused."""
    value = sections.get(name, {})
    if not isinstance(value, dict):
        raise ParamsError(
            f"section {name!r} holds {value!r}, not entries",
            f"{source}: {name}",
            "give it `key:` lines, or `{}` when it has no entries",
        )
    return value


def _entry(stage: Stage, key: str, item: Any, source: str) -> Entry:
    where = f"{source}: {stage.name}.{key}"
    if not KEY.fullmatch(key):
        raise ParamsError(
            f"the entry name {key!r} is not allowed", where, "use small letters, digits and hyphens"
        )
    if key == adoption.FOLDER:
        raise ParamsError(
            f"the entry name {key!r} is kept for what is adopted", where, "give it another name"
        )
    if not isinstance(item, dict):
        raise ParamsError(
            f"the entry holds {item!r}, not parameters", where, "give it `name: value` lines"
        )
    params = validated(stage, item, where)
    full = params.model_dump(mode="json")
    slots = {"key": key, "item": full}
    return Entry(
        stage=stage,
        key=key,
        item=item,
        params=params,
        reads={name: resolve(path, slots, where) for name, path in stage.reads.items()},
        writes={name: resolve(path, slots, where) for name, path in stage.writes.items()},
    )


def validated(stage: Stage, item: Mapping[str, Any], where: str) -> Params:
    """Return the entry's parameters, or a ParamsError that names file, key and value."""
    try:
        return stage.params.model_validate(dict(item))
    except ValidationError as error:
        raise _told(error.errors()[0], stage, item, where) from None
    except DevenoError as error:  # a validator's own, which knows no entry
        place = error.where.removeprefix(f"{stage.name}: ")
        raise type(error)(error.what, f"{where}.{place}", error.todo) from None


def _told(fault: Any, stage: Stage, item: Mapping[str, Any], where: str) -> ParamsError:
    """Return what pydantic found as an error that names the parameter as the file spells it."""
    parts, model = _spelled(fault["loc"], stage, item)
    path = ".".join(parts)
    place = f"{where}.{path}" if path else where
    if fault["type"] == "extra_forbidden":
        fields = sorted(getattr(model, "model_fields", {}))
        advice = registry.near(parts[-1], fields) if fields else f"`deveno show {stage.name}`"
        return ParamsError(
            f"unknown parameter {path!r} (value {fault['input']!r:.80})", place, advice
        )
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "union_tag_not_found":
        message = "its `kind` is missing"
    given = "" if fault["type"] == "missing" else f" (value {fault['input']!r:.80})"
    return ParamsError(
        f"{path or 'the entry'}: {message}{given}",
        place,
        f"`deveno show {stage.name}` tells what it may be",
    )


def _spelled(
    location: Sequence[int | str], stage: Stage, item: Mapping[str, Any]
) -> tuple[list[str], Any]:
    """Return a place without pydantic's union tags, and the model that the last part is of."""
    parts: list[str] = []
    value: Any = item
    model: Any = stage.params
    inner: Any = None
    for part in location:
        tagged = isinstance(value, Mapping) and part not in value and value.get("kind") == part
        if tagged:
            model = next((one for one in _models(inner) if _kind(one) == part), None)
            continue
        if parts and len(_models(inner)) == 1:
            model = _models(inner)[0]
        field = getattr(model, "model_fields", {}).get(part)
        inner = field.annotation if field is not None else inner
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        parts.append(str(part))
    return parts, model


def _models(annotation: Any) -> list[type[Params]]:
    """Return the parameter models that an annotation names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, Params):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _kind(model: type[Params]) -> Any:
    field = model.model_fields.get("kind")
    return next(iter(get_args(field.annotation)), None) if field is not None else None


def resolve(template: str, slots: Mapping[str, Any], where: str = PARAMS) -> str:
    """Fill `${key}` and `${item.x.y}` into a path, as DVC does."""

    def fill(match: re.Match[str]) -> str:
        value: Any = slots
        for part in match.group(1).split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise ParamsError(
                    f"{match.group(0)} has no value", where, f"add {part!r} to the entry"
                )
            value = value[part]
        return str(value)

    return SLOT.sub(fill, template)


def _linked(entries: Graph, root: Path, source: str) -> Graph:
    writers: dict[str, str] = {}
    for name, entry in entries.items():
        for path in entry.writes.values():
            if path in writers:
                raise ParamsError(
                    f"{writers[path]} and {name} would both write {path}",
                    f"{source}: {entry.stage.name}.{entry.key}",
                    "give one of them another name",
                )
            writers[path] = name
    linked = {}
    for name, entry in entries.items():
        upstream: list[str] = []
        for argument, path in entry.reads.items():
            upstream.extend(_writers(entry, argument, path, writers, root, source))
        fields = {**entry.__dict__, "upstream": tuple(sorted(set(upstream)))}
        linked[name] = Entry(**fields)
    return linked


def _writers(
    entry: Entry, argument: str, path: str, writers: Mapping[str, str], root: Path, source: str
) -> list[str]:
    """Return the entries that write what one argument reads; a dangling reference is refused."""
    if path in writers:
        return [writers[path]]
    if entry.stage.sections:
        return [name for written, name in writers.items() if written.startswith(path + "/")]
    owned = any(
        path.startswith(_folder(write))
        for stage in registry.names()
        for write in registry.get(stage).writes.values()
    )
    there = (root / path).exists() or adoption.recorded_md5(root, path) is not None
    adopted = adoption.is_place(path)
    if path in NOTHING or (there and (adopted or not owned)):
        return []
    template = entry.stage.reads[argument]
    slot = SLOT.search(template)
    field = f".{slot.group(1).removeprefix('item.')}" if slot else ""
    where = f"{source}: {entry.stage.name}.{entry.key}{field}"
    start = template.split("${")[0]
    if adopted:
        known = [one.path.removeprefix(start) for one in adoption.everything(root)]
        told = path.removeprefix(start)
        raise UnknownEntryError(
            f"{argument} is {told!r}, and nothing of that name was adopted",
            where,
            registry.near(told, known) if known else f"`deveno adopt FOLDER {Path(path).name}`",
        )
    if not owned:
        raise ArtifactError(
            f"{argument} is {path!r}, and there is no such folder",
            where,
            "make that folder, or name another",
        )
    folder = path.rsplit("/", 1)[0] + "/"
    choices = [written.removeprefix(start) for written in writers if written.startswith(start)]
    if not template.count("${"):
        choices = [written for written in writers if written.startswith(folder)]
    raise UnknownEntryError(
        f"{argument} is {path.removeprefix(start)!r}, and no entry makes {path}",
        where,
        registry.near(path.removeprefix(start), sorted(choices)),
    )


def _folder(write: str) -> str:
    return write.split("${")[0]


def _ordered(entries: Graph, source: str) -> Graph:
    ordered: Graph = {}
    left = dict(entries)
    while left:
        ready = [name for name, entry in left.items() if not set(entry.upstream) & set(left)]
        if not ready:
            circle = _circle(left)
            raise ParamsError(
                f"the entries {' -> '.join(circle)} read each other in a circle",
                f"{source}: {circle[0].replace('@', '.')}",
                "point one of them at another entry or at `none`",
            )
        for name in sorted(ready, key=_rank):
            ordered[name] = left.pop(name)
    return ordered


def _rank(name: str) -> tuple[int, str]:
    stage, key = name.split("@")
    return list(registry.stages()).index(stage), key


def _circle(entries: Graph) -> list[str]:
    seen: list[str] = []
    name = min(entries)
    while name not in seen:
        seen.append(name)
        name = min(up for up in entries[name].upstream if up in entries)
    return [*seen[seen.index(name) :], name]


def descendants(graph: Graph, names: set[str]) -> set[str]:
    """Return the named entries and everything below them."""
    found = set(names)
    for name, entry in graph.items():
        if found & set(entry.upstream):
            found.add(name)
    return found


def ancestors(graph: Graph, names: set[str]) -> set[str]:
    """Return the named entries and everything they stand on."""
    found = set(names)
    for name in reversed(list(graph)):
        if name in found:
            found |= set(graph[name].upstream)
    return found


def select(graph: Graph, targets: list[str]) -> set[str]:
    """Return the entries that targets name: `stage@key`, a stage, or a key only one entry has."""
    chosen: set[str] = set()
    for target in targets:
        if target in graph:
            chosen.add(target)
            continue
        of_stage = [name for name, entry in graph.items() if entry.stage.name == target]
        of_key = [name for name, entry in graph.items() if entry.key == target]
        if of_stage:
            chosen |= set(of_stage)
        elif target in registry.names():
            continue
        elif len(of_key) == 1:
            chosen.add(of_key[0])
        elif of_key:
            raise UnknownEntryError(
                f"{len(of_key)} entries are called {target!r}",
                f"{PARAMS}: {', '.join(sorted(of_key))}",
                f"write the stage too, such as {of_key[0]}",
            )
        else:
            known = [*graph, *registry.names(), *(entry.key for entry in graph.values())]
            raise UnknownEntryError(
                f"there is no entry {target!r}", PARAMS, registry.near(target, known)
            )
    return chosen
