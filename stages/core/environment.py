"""Which package versions a stage's code reaches: `environment.yaml`, made of code and lock."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from stages.core import yamlfile
from stages.core.errors import DeclarationError, MachineError

LOCK = "requirements.lock"
ENVIRONMENT = "environment.yaml"
OWN = "deveno"
DRIVERS = ("nvidia-", "cuda-", "triton")
"""Libraries that torch's builds for GPUs bring along: not locked, for the CPU build has none."""

EXECUTION = frozenset({"ray"})
"""Packages that say where work is done and may change no byte of it (`stages.lm.engines`)."""


def normalised(name: str) -> str:
    """Return a package name as PEP 503 spells it (a dot in a key reads as missing to DVC)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def public(version: str) -> str:
    """Return a version without its local suffix: 2.13.0+cpu and 2.13.0 are the same release."""
    return version.split("+")[0]


def locked(root: Path) -> dict[str, str]:
    """Return the versions that the lock file names."""
    found = {}
    for row in (root / LOCK).read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9][\w.-]*)==([^\s;]+)", row)
        if match:
            found[normalised(match[1])] = public(match[2])
    return found


def recorded(root: Path) -> dict[str, str]:
    """Return environment.yaml: versions by package name."""
    return {str(name): str(version) for name, version in yamlfile.read(root / ENVIRONMENT).items()}


def check(root: Path, packages: list[str], who: str) -> None:
    """Refuse to compute with another version than the one that enters the fingerprint."""
    versions = recorded(root)
    for name in packages:
        try:
            installed = public(metadata.version(name))
        except metadata.PackageNotFoundError:
            installed = "not installed"
        if installed != versions.get(name):
            raise MachineError(
                f"{name} is {installed}, and the lock file says {versions.get(name)}",
                f"{who} needs it ({ENVIRONMENT})",
                "run `make setup`, or `deveno sync` after changing the lock file",
            )


def full_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions with their local suffix (`2.13.0+cpu`): facts of a machine."""
    found = {}
    for name in sorted(packages):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def differences(root: Path, packages: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (locked, installed) of each package that is not installed as the lock says.

    `""` stands for a package that one of the two does not have.
    """
    wanted, found = locked(root), full_versions(packages)
    pairs = {name: (wanted.get(name, ""), public(found.get(name, ""))) for name in packages}
    return {name: pair for name, pair in sorted(pairs.items()) if pair[0] != pair[1]}


@functools.cache
def distributions() -> dict[str, list[str]]:
    """Return which distributions provide each top-level import name."""
    return {
        module: sorted({normalised(name) for name in names})
        for module, names in metadata.packages_distributions().items()
    }


def closure(modules: set[str]) -> set[str]:
    """Return the distributions that imported modules come from and all that these require."""
    found: set[str] = set()
    left = [name for module in modules for name in distributions().get(module, [])]
    while left:
        name = left.pop()
        if name not in found and name != OWN and name not in EXECUTION:
            found.add(name)
            left.extend(_requirements(name))
    return found


@functools.cache
def _requirements(name: str) -> tuple[str, ...]:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        declared = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return ()
    needed = []
    for text in declared:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            child = normalised(requirement.name)
            if child.startswith(DRIVERS):
                continue
            try:
                metadata.version(child)
            except metadata.PackageNotFoundError:
                continue
            needed.append(child)
    return tuple(needed)


def versions_of(packages: set[str], root: Path) -> dict[str, str]:
    """Return the locked version of each package; one that the lock does not name is our mistake."""
    versions = locked(root)
    missing = sorted(packages - set(versions))
    if missing:
        raise DeclarationError(
            f"the lock file does not name {', '.join(missing)}", LOCK, "run `make lock`"
        )
    return {name: versions[name] for name in sorted(packages)}
