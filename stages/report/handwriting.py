"""What people write for a card: its uses and limits, kept apart from what is generated.

`docs/cards/<task>.md` serves every model of a task. A section of the same heading in
`docs/cards/<folder>/<entry>.md` (as in `docs/cards/finetuned/pos.md`) takes its place for one
model, and further sections there are added. Generation reads these files and never writes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ArtifactError

REQUIRED = ("Direct use", "Downstream use", "Out-of-scope use", "Limitations")
"""Headings that no card goes without."""
PLACE = "docs/cards"
HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Handwriting:
    """Sections by heading, and the files they came from."""

    sections: dict[str, str]
    files: tuple[str, ...]

    @property
    def further(self) -> dict[str, str]:
        """Sections beyond the required ones, in the order of the files."""
        return {head: text for head, text in self.sections.items() if head not in REQUIRED}


def handwriting(texts: Path, task: str, reference: str) -> Handwriting:
    """Return the written sections of a model's card; one that is missing or empty is refused."""
    sections: dict[str, str] = {}
    files = []
    for name in (f"{task}.md", f"{reference}.md"):
        path = texts / name
        if path.is_file():
            sections |= _sections(path)
            files.append(f"{PLACE}/{name}")
    for heading in REQUIRED:
        if not sections.get(heading):
            raise ArtifactError(
                f"the card of models/{reference} has no text under {heading!r}",
                f"{PLACE}/{task}.md, or {PLACE}/{reference}.md for this model alone",
                f"write a few sentences under the heading `## {heading}`",
            )
    return Handwriting(sections, tuple(files))


def _sections(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise ArtifactError(
            f"{path.name} is not UTF-8 (byte {fault.start})", PLACE, "save it as UTF-8"
        ) from None
    _, *parts = HEADING.split(text)
    return {head: body.strip() for head, body in zip(parts[::2], parts[1::2], strict=True)}
