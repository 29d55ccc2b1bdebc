"""Verbs that carry artifacts out and in: adopt, bundle, verify."""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.cli.inspection import Add
from stages.core import adoption, workspace


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    adopt = add("adopt", adopt_one, "take an outside artifact in, marked as not made here")
    adopt.add_argument("source", type=Path, metavar="PATH|BUNDLE")
    adopt.add_argument("name", metavar="NAME")
    adopt.add_argument("--licence", help="what its makers licensed it under")
    adopt.add_argument("--origin", help="where it comes from, in words")


def adopt_one(options: argparse.Namespace) -> int:
    """Take a folder, a file or a bundle in and say how entries read it."""
    root = workspace.root()
    found = adoption.adopt(root, options.source, options.name, options.licence, options.origin)
    start = next(f"{place}/" for place in ("models", "data/corpora", "data/tokens", "data/raw")
                 if found.path.startswith(f"{place}/"))  # fmt: skip
    print(f"adopted {found.path}: md5 {found.md5}, licence {found.licence}")
    print(f"  entries read it as {found.path.removeprefix(start)!r}")
    print(f"  git add {found.path}.*  # what marks it is git's, its bytes are DVC's")
    if found.licence == "unknown":
        print("  its licence is not known: what is made of it has none either (--licence)")
    return 0
