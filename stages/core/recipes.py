"""Recipes: short YAML files of choices, and the complete params.yaml that one becomes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core import canonical, references, registry, yamlfile
from stages.core.errors import MachineError, UnknownEntryError
from stages.core.references import PARAMS

MAX_LINES = 40
HEADING = "The values in force. `deveno use RECIPE` writes this file; change it, or use `-S`."


def folder(root: Path) -> Path:
    """Return the folder of recipes."""
    return root / "stages" / "recipes"


def names(root: Path) -> list[str]:
    """Return the recipes that exist."""
    return sorted(path.stem for path in folder(root).glob("*.yaml"))


def read(root: Path, name: str) -> dict[str, Any]:
    """Return a recipe's choices by section and entry."""
    path = folder(root) / f"{name}.yaml"
    if not path.exists():
        known = names(root)
        raise UnknownEntryError(
            f"there is no recipe {name!r}", "stages/recipes/", registry.near(name, known)
        )
    return yamlfile.plain(yamlfile.read(path))


def description(root: Path, name: str) -> str:
    """Return a recipe's first comment line."""
    first = (folder(root) / f"{name}.yaml").read_text(encoding="utf-8").split("\n")[0]
    return first.removeprefix("#").strip()


def complete(choices: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return every section with every value: the choices, and defaults where they say nothing."""
    sections: dict[str, Any] = {}
    for name, stage in registry.stages().items():
        entries = references.section(choices, name, source)
        sections[name] = {
            key: references.validated(stage, item, f"{source}: {name}.{key}").model_dump(
                mode="json"
            )
            for key, item in entries.items()
        }
    for name in choices:
        if name not in sections:
            references.build(choices, Path(), source)  # says which names there are
    return sections


def use(root: Path, name: str, force: bool = False) -> Path | None:
    """Write the recipe's params.yaml; return the copy of a changed one that `force` kept."""
    sections = complete(read(root, name), f"stages/recipes/{name}.yaml")
    references.build(sections, root, f"stages/recipes/{name}.yaml")
    path = root / PARAMS
    text = f"# Recipe: {name}\n# {HEADING}\n" + yamlfile.dump(sections)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return None
    kept = None
    if path.exists() and not _is_ours(root, path):
        if not force:
            raise MachineError(
                f"{PARAMS} has changes that are not committed",
                PARAMS,
                "commit them, or add `--force`, which keeps a copy beside it",
            )
        kept = _free(root)
        canonical.write_text(kept, path.read_text(encoding="utf-8"))
    canonical.write_text(path, text)
    return kept


def _is_ours(root: Path, path: Path) -> bool:
    """Return whether params.yaml is kept elsewhere: in git, by a recipe or an experiment."""
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{PARAMS}"], cwd=root, capture_output=True, check=False
    )
    now = path.read_bytes()
    if (shown.returncode == 0 and shown.stdout == now) or experiment(root):
        return True
    try:
        current = yamlfile.plain(yamlfile.read(path))
        return any(complete(read(root, name), name) == current for name in names(root))
    except Exception:  # a recipe or file that does not parse is no proof that nothing is lost
        return False


def experiment(root: Path) -> str | None:
    """Return the DVC experiment that holds params.yaml as it is now, or None.

    `dvc exp run -S` leaves its values in the workspace; `dvc exp apply NAME` brings them back.
    """
    if not (root / PARAMS).exists():
        return None
    now = (root / PARAMS).read_bytes()
    listed = subprocess.run(
        ["git", "for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/exps"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    for reference in listed.stdout.split():
        if reference.startswith("refs/exps/exec/"):
            continue  # what DVC is at, not what it keeps
        shown = subprocess.run(
            ["git", "show", f"{reference}:./{PARAMS}"], cwd=root, capture_output=True, check=False
        )
        if shown.returncode == 0 and shown.stdout == now:
            return reference.rsplit("/", 1)[-1]
    return None


def active(root: Path) -> str | None:
    """Return the recipe that params.yaml says it came from, or None."""
    path = root / PARAMS
    if not path.exists():
        return None
    first = path.read_text(encoding="utf-8", errors="replace").split("\n")[0]
    return first.removeprefix("# Recipe:").strip() if first.startswith("# Recipe:") else None


def _free(root: Path) -> Path:
    number = 1
    while (root / f"params.{number}.yaml.kept").exists():
        number += 1
    return root / f"params.{number}.yaml.kept"
