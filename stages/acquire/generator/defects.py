"""Defects that published rules look for, planted on request: by default none is.

Rows of truth (see `plants`), further keys by kind:

- `private`: `items`, each with `type`, `form`, `decoy` (it only looks like the type), `value` and
  its place
- `symbols`: `signs` added; `listing`, `repeated-lines`, `figures`, `code`: `lines` added
- `glued`: `words` that were made one with their neighbours
"""

from __future__ import annotations

import random
from collections.abc import Callable

from stages.acquire.generator import secrets
from stages.acquire.generator.plants import Truth, pick

ITEMS = 6
"""Values and decoys of a document with private data."""
MARKS = ("#", "…", "...")
BULLETS = ("•", "-", "*")
FRAMES = ("Jen ĝi: {}", "Notu {} hodiaŭ.", "Ŝi skribis {} sur la paperon.", "Vidu ({}).", "{}")
NOTES = ("Vidu ankaŭ ĉi tiun paĝon", "Legu la sekvan parton", "La tabelo sekvas sube")


def private(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add paragraphs that each hold one value of a type, or a decoy."""
    items = []
    for _ in range(ITEMS):
        kind = pick(rng, tuple(secrets.FORMS))
        decoy = rng.random() < 0.5
        drawers = secrets.DECOYS[kind] if decoy else secrets.FORMS[kind] | secrets.LATER[kind]
        form = pick(rng, tuple(drawers))
        value, frame = drawers[form](rng), pick(rng, FRAMES)
        start = len(text) + 2 + frame.index("{}")
        text = f"{text}\n\n{frame.format(value)}"
        row = {"type": kind, "form": form, "decoy": decoy, "value": value}
        items.append({**row, "start": start, "end": start + len(value)})
    return text, {"items": items}


def symbols(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Put a sign behind a quarter to a half of the words."""
    share, mark = 0.25 + 0.25 * rng.random(), pick(rng, MARKS)
    signs = 0
    paragraphs = []
    for part in text.split("\n\n"):
        words = part.split(" ")
        for place in range(len(words)):
            if rng.random() < share:
                words[place] += f" {mark}"
                signs += 1
        paragraphs.append(" ".join(words))
    return "\n\n".join(paragraphs), {"mark": mark, "signs": signs}


def listing(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Make every word or two a line with a bullet: a menu or an index."""
    bullet = pick(rng, BULLETS)
    words = text.split()
    lines = []
    while words:
        size = 1 + int(rng.random() * 2)
        lines.append(f"{bullet} {' '.join(words[:size]).rstrip('.!?;,:')}")
        words = words[size:]
    return "\n".join(lines), {"bullet": bullet, "lines": len(lines)}


def repeated_lines(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a line again and again, as many times as the text has words by eight."""
    line = pick(rng, NOTES)
    times = 8 + len(text.split()) // 8
    return text + f"\n{line}" * times, {"line": line, "lines": times}


def glued(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Leave out four of five blanks between words, as broken extraction does."""
    paragraphs, gone = [], 0
    for part in text.split("\n\n"):
        words = part.split(" ")
        made = words[0]
        for word in words[1:]:
            apart = rng.random() < 0.2
            gone += not apart
            made += f" {word}" if apart else word
        paragraphs.append(made)
    return "\n\n".join(paragraphs), {"words": gone}


def figures(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a table of numbers longer than the text."""
    lines: list[str] = []
    size = 0
    while size < 3 * len(text):
        lines.append(" ".join(str(int(rng.random() * 10_000)) for _ in range(8)))
        size += len(lines[-1])
    return f"{text}\n\n" + "\n".join(lines), {"lines": len(lines)}


def code(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a script that a page was shown with, and a sentence of a template that was not filled."""
    number = int(rng.random() * 1000)
    lines = [
        f"function f{number}(x) {{",
        f"  if (x > {number}) {{ return x; }}",
        "  return null;",
        "}",
        "Saluton {{nomo}}, bonvenon al nia paĝo pri ĉio.",
    ]
    return f"{text}\n\n" + "\n".join(lines), {"lines": len(lines)}


DEFECTS: dict[str, Callable[[str, str, random.Random], tuple[str, Truth]]] = {
    "private": private, "symbols": symbols, "listing": listing, "repeated_lines": repeated_lines,
    "glued": glued, "figures": figures, "code": code,
}  # fmt: skip
"""Kinds by their name in `PlantShares`; they are drawn after all others, so none moves."""
