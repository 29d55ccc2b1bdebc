"""Verbs that carry artifacts out and in: adopt, bundle, verify."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.cli.inspection import Add
from stages.core import adoption, workspace
from stages.core.errors import CheckFailed


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    adopt = add("adopt", adopt_one, "take an outside artifact in, marked as not made here")
    adopt.add_argument("source", type=Path, metavar="PATH|BUNDLE")
    adopt.add_argument("name", metavar="NAME")
    adopt.add_argument("--entry", help="which artifact, of a bundle of several")
    adopt.add_argument("--licence", help="what its makers licensed it under")
    adopt.add_argument("--origin", help="where it comes from, in words")
    bundle = add("bundle", bundle_entries, "write artifacts with all they are made of, portable")
    bundle.add_argument("entries", nargs="+", metavar="ENTRY", help="an entry, a path or a hash")
    bundle.add_argument("--out", type=Path, metavar="FOLDER", help="where (bundles/<entry>)")
    bundle.add_argument(
        "--private", action="store_true", help="for yourself, though a licence forbids more"
    )
    verify = add("verify", verify_one, "prove a bundle whole, without any repository")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE")
    verify.add_argument("--digest", metavar="SHA256", help="what `deveno bundle` printed for it")


def bundle_entries(options: argparse.Namespace) -> int:
    """Write a bundle and print its digest."""
    from stages.core import bundler, bundles
    from stages.core.records import Records

    root = workspace.root()
    records = Records(root)
    found = bundler.named(records, options.entries)
    out = options.out or bundler.place_of(root, found)
    for note in bundler.write(records, found, out, options.private):
        print(f"note: {note}", file=sys.stderr)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"wrote {out}: {size / 1e6:.2f} MB, digest {bundles.digest(out)}")
    return 0


def verify_one(options: argparse.Namespace) -> int:
    """Print what is wrong with a bundle, file by file; exit 2 if anything is."""
    from stages.core import bundles

    found = bundles.problems(options.bundle)
    known = bundles.digest(options.bundle) if not found else ""
    if known and options.digest and not known.startswith(options.digest.lower()):
        found.append(f"{bundles.SUMS}: the bundle's digest is {known}, not {options.digest}")
    if found:
        print("\n".join(found))
        raise CheckFailed(
            f"{len(found)} thing(s) are wrong with the bundle",
            str(options.bundle),
            "fetch it again from where it was made, and verify it again",
        )
    lineage, _ = bundles.read(options.bundle)
    entries, sources = len(lineage["entries"]), len(lineage["sources"])
    for one in lineage["artifacts"]:
        print(f"{one['path']}: whole, made by {one['made_by']}, fingerprint {one['fingerprint']}")
    print(f"  {entries} entries back to {sources} source(s), every input accounted for")
    print(f"  licences {', '.join(lineage['licences']['licences']) or 'none stated'}")
    print(f"  digest {known}")
    return 0


def adopt_one(options: argparse.Namespace) -> int:
    """Take a folder, a file or a bundle in and say how entries read it."""
    from stages.core import bundles

    root = workspace.root()
    source, name, licence, origin = (
        options.source, options.name, options.licence, options.origin
    )  # fmt: skip
    if bundles.is_bundle(source):
        found = bundles.adopt(root, source, name, options.entry, licence, origin)
    else:
        found = adoption.adopt(root, source, name, licence, origin)
    start = next(f"{place}/" for place in ("models", "data/corpora", "data/tokens", "data/raw")
                 if found.path.startswith(f"{place}/"))  # fmt: skip
    print(f"adopted {found.path}: md5 {found.md5}, licence {found.licence}")
    print(f"  entries read it as {found.path.removeprefix(start)!r}")
    print(f"  git add {found.path}.*  # what marks it is git's, its bytes are DVC's")
    if found.licence == "unknown":
        print("  its licence is not known: what is made of it has none either (--licence)")
    return 0
