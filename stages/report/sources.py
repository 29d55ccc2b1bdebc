"""What the report draws from: JSON of named entries, each value knowing the file it came from.

A value reaches the page only inside a `Node`, so that every figure can carry its file and its JSON
pointer (RFC 6901), and a test can follow each one back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError

PLACES = {
    "acquire": "data/raw",
    "refine": "data/corpora",
    "label": "data/corpora",
    "identify": "models/identifiers",
    "tokenizer": "models/tokenizers",
    "encode": "data/tokens",
    "pretrain": "models/pretrained",
    "finetune": "models/finetuned",
    "port": "models/ported",
    "export": "models/exported",
    "evaluate": "reports/evaluate",
    "benchmark": "reports/benchmark",
}
"""Where the entries of a section lie, from the root."""
FIELDS = {
    "raw": "acquire",
    "corpus": "refine",
    "data": "refine",
    "tokens": "encode",
    "tokenizer": "tokenizer",
}
"""Sections that a bare key in a parameter of this name refers to."""
COMPARED = ("reference", "held_out", "baseline", "against", "pairs", "identifier", "test")
"""Parameters that name what an entry is measured or judged by, and not made of."""


@dataclass(frozen=True)
class Node:
    """A JSON value with the file that holds it and the pointer to it."""

    value: Any
    file: str
    pointer: str = ""

    @property
    def source(self) -> str:
        """File and pointer, as the page's `data-from` holds them."""
        return f"{self.file}#{self.pointer}"

    def __getitem__(self, key: str | int) -> Node:
        try:
            found = self.value[key]
        except (KeyError, IndexError, TypeError):
            raise ArtifactError(
                f"{self.file} holds no {self._below(key)}",
                self.file,
                "run the entry that makes this file again",
            ) from None
        return Node(found, self.file, self._below(key))

    def get(self, key: str) -> Node | None:
        """Return a member, or None where it is absent or null."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return None if found is None else Node(found, self.file, self._below(key))

    def __iter__(self) -> Iterator[Node]:
        keys = range(len(self.value)) if isinstance(self.value, list) else sorted(self.value)
        return (self[key] for key in keys)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        """A node is there, whatever it holds: absent ones are None."""
        return True

    def items(self) -> Iterator[tuple[str, Node]]:
        """Yield the members of an object by name."""
        return ((key, self[key]) for key in sorted(self.value))

    def _below(self, key: str | int) -> str:
        return f"{self.pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


@dataclass(frozen=True)
class Artifact:
    """The folder of one entry."""

    section: str
    key: str
    params: Mapping[str, Any]
    folder: Path
    files: dict[str, Any]
    """Everything read so far by its name from the root, shared by all artifacts."""

    @property
    def place(self) -> str:
        """The folder from the root."""
        return f"{PLACES[self.section]}/{self.key}"

    @property
    def address(self) -> str:
        """The entry as DVC addresses it."""
        return f"{self.section}@{self.key}"

    @property
    def reference(self) -> str:
        """The entry as parameters name it: `finetuned/pos`."""
        return self.place.split("/", 1)[1]

    def json(self, name: str) -> Node:
        """Return a JSON file of the entry; a missing or damaged one is an ArtifactError."""
        found = self.find(name)
        if found is None:
            raise ArtifactError(
                f"{self.address} has no {name}",
                self.place,
                f"run `dvc repro {self.address}`, or remove the entry from params.yaml",
            )
        return found

    def find(self, name: str) -> Node | None:
        """Return a JSON (or JSON lines) file of the entry, or None where there is none."""
        label = f"{self.place}/{name}"
        path = self.folder / name
        if label not in self.files:
            if not path.is_file():
                return None
            self.files[label] = _parsed(path, label)
        return Node(self.files[label], label)


class Sources:
    """The artifacts of all named entries; nothing else that a folder happens to hold is read."""

    def __init__(
        self,
        entries: Mapping[str, Mapping[str, Mapping[str, Any]]],
        folders: Mapping[str, Path],
    ) -> None:
        self.files: dict[str, Any] = {}
        self._artifacts = {
            (section, key): Artifact(section, key, params, folders[section] / key, self.files)
            for section in PLACES
            for key, params in sorted(entries.get(section, {}).items())
        }
        for artifact in self._artifacts.values():
            if not artifact.folder.is_dir():
                raise ArtifactError(
                    f"{artifact.address} is named in params.yaml and has not been made",
                    artifact.place,
                    f"run `dvc repro {artifact.address}`, or remove the entry",
                )

    def __iter__(self) -> Iterator[Artifact]:
        return iter(self._artifacts.values())

    def of(self, section: str) -> list[Artifact]:
        """Return the entries of a section by key."""
        return [artifact for artifact in self if artifact.section == section]

    def get(self, section: str, key: str) -> Artifact | None:
        """Return one entry, or None."""
        return self._artifacts.get((section, key))

    def at(self, reference: str) -> Artifact | None:
        """Return the entry behind a reference such as `finetuned/pos`."""
        return next((one for one in self if one.reference == reference), None)

    @cached_property
    def parents(self) -> dict[str, list[str]]:
        """Addresses of the entries that each entry reads, by the references in its parameters."""
        return {artifact.address: self._parents(artifact, ()) for artifact in self}

    @cached_property
    def substance(self) -> dict[str, list[str]]:
        """Addresses of the entries that each entry is made of: `parents` less what it is beside."""
        return {artifact.address: self._parents(artifact, COMPARED) for artifact in self}

    def origins(self, artifact: Artifact) -> list[Artifact]:
        """Return everything an entry is made of, in the order of the sections."""
        return self._closure(self.substance[artifact.address])

    def synthetic(self, artifact: Artifact) -> bool:
        """Say whether generated material is among what an entry is made of or held beside."""
        read = [one for one in self if one.address in self.parents[artifact.address]]
        return any(
            _generated(origin) for one in [artifact, *read] for origin in [one, *self.origins(one)]
        )

    def _closure(self, addresses: list[str]) -> list[Artifact]:
        found, left = set(addresses), list(addresses)
        while left:
            for parent in self.substance[left.pop()]:
                if parent not in found:
                    found.add(parent)
                    left.append(parent)
        return [one for one in self if one.address in found]

    def _parents(self, artifact: Artifact, without: tuple[str, ...]) -> list[str]:
        found = []
        for field, value in artifact.params.items():
            if not isinstance(value, str) or value == "none" or field in without:
                continue
            named = self.get(FIELDS[field], value) if field in FIELDS else None
            if named is None and FIELDS.get(field) == "refine":
                named = self.get("label", value)
            named = named or (self.at(value) if "/" in value else None)
            if named is not None and named is not artifact and named.address not in found:
                found.append(named.address)
        return found


def _generated(artifact: Artifact) -> bool:
    names = {"acquire": "manifest.json", "refine": "corpus.json", "label": "corpus.json"}
    name = names.get(artifact.section)
    told = artifact.find(name) if name else None
    return told is not None and bool(told.value.get("synthetic"))


def _parsed(path: Path, label: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(row) for row in text.split("\n") if row]
        return json.loads(text)
    except (OSError, ValueError) as fault:
        raise ArtifactError(
            f"{path.name} cannot be read as JSON ({fault})",
            label,
            "run the entry that makes this file again",
        ) from fault
