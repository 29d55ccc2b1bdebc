"""Which installed package a file of this machine belongs to, and under which licence that is.

Python's distributions say it in their metadata (`License-Expression`, `License`, classifiers), and
Debian's packages in a machine-readable `copyright`. What they do not say plainly is `unknown`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from stages.acquire.readers.batches import Bounds, Input
from stages.acquire.sources import ExtractSource

UNKNOWN = "unknown"
DPKG_LISTS = Path("/var/lib/dpkg/info")
DPKG_COPYRIGHT = Path("/usr/share/doc")
PYTHON_LICENCE = "PSF-2.0"
"""Of the standard library."""
OF_MACHINE = ("gettext", "python", "html")
"""Formats whose files may be those of an installed package."""

_SPDX = {
    "mit": "MIT", "mit license": "MIT", "the mit license": "MIT", "expat": "MIT",
    "the mit license (mit)": "MIT", "mit license (mit)": "MIT",
    "apache-2.0": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0", "apache license version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause", "new bsd license": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause", "bsd 2-clause license": "BSD-2-Clause", "0bsd": "0BSD",
    "simplified bsd": "BSD-2-Clause", "bsd-4-clause": "BSD-4-Clause",
    "isc": "ISC", "isc license": "ISC", "isc license (iscl)": "ISC", "zlib": "Zlib",
    "psf-2.0": "PSF-2.0", "python software foundation license": "PSF-2.0", "psf": "PSF-2.0",
    "mpl-2.0": "MPL-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-1.1": "MPL-1.1", "zpl-2.1": "ZPL-2.1", "epl-2.0": "EPL-2.0", "bsl-1.0": "BSL-1.0",
    "unlicense": "Unlicense", "the unlicense (unlicense)": "Unlicense", "cc0-1.0": "CC0-1.0",
    "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0", "x11": "X11",
    "public-domain": "LicenseRef-public-domain", "public domain": "LicenseRef-public-domain",
    "bsd": "LicenseRef-BSD", "bsd license": "LicenseRef-BSD",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "artistic": "Artistic-1.0-Perl", "artistic-2.0": "Artistic-2.0", "curl": "curl",
    "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-3.0": "CC-BY-SA-3.0", "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "apache software license": "Apache-2.0", "mit-0": "MIT-0", "fsfap": "FSFAP",
}  # fmt: skip
_GNU = re.compile(r"(agpl|lgpl|gpl|gfdl)-?v?([123])(?:\.(\d))?(\+|-or-later|-only)?", re.I)
_OR, _AND = re.compile(r"[ _,]+or[ _]+", re.I), re.compile(r",?[ _]+and[ _]+", re.I)


def inputs(
    source: ExtractSource, places: list[tuple[str, Path]], licence: str | None
) -> list[Input]:
    """Return the inputs of a source, each with its package and licence where they are known."""
    bounds = Bounds(source.max_record_bytes, source.max_ratio)
    refuse = source.damage == "refuse"
    owners = _owners(source, [path for _, path in places])
    made = []
    for name, path in places:
        package, own = owners.get(path, (None, None))
        made.append(Input(path, plain(name), bounds, own or licence or UNKNOWN, package, refuse))
    return made


def plain(name: str) -> str:
    """Return a file's name as a text that has bytes: names of files may hold any."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _owners(source: ExtractSource, paths: list[Path]) -> dict[Path, tuple[str, str | None]]:
    """Return package and licence of files; of files that belong to none nothing."""
    if source.reader.format not in OF_MACHINE or source.addresses is not None:
        return {}
    if source.root == "python":
        owner = (f"CPython {platform.python_version()}", PYTHON_LICENCE)
        return dict.fromkeys(paths, owner)
    wanted = set(paths)
    return _debian(wanted) | _python(wanted)


def _python(wanted: set[Path]) -> dict[Path, tuple[str, str | None]]:
    """Return the owners among Python's distributions, in whichever folders of packages are."""
    folders = {
        parent
        for path in wanted
        for parent in path.parents
        if parent.name in ("site-packages", "dist-packages")
    }
    found: dict[Path, tuple[str, str | None]] = {}
    texts = {str(path): path for path in wanted}
    for folder in sorted(folders):
        for one in distributions(path=[str(folder)]):
            mine = _recorded(one, str(folder), texts)
            if mine:
                owner = (f"{one.metadata['Name']} {one.version}", of_distribution(one))
                found |= dict.fromkeys(mine, owner)
    return found


def _recorded(one: Distribution, folder: str, texts: dict[str, Path]) -> list[Path]:
    """Return the wanted files that a distribution's `RECORD` lists (`path,digest,size`)."""
    names = (
        line.rsplit(",", 2)[0].strip('"') for line in (one.read_text("RECORD") or "").splitlines()
    )
    return [path for name in names if (path := texts.get(f"{folder}/{name}")) is not None]


def of_distribution(one: Distribution) -> str | None:
    """Return the SPDX expression of a distribution by its metadata, or None."""
    told = one.metadata
    if expression := told.get_all("License-Expression"):
        return str(expression[0])
    stated = str((told.get_all("License") or [""])[0]).strip()
    first = " ".join(stated.split("\n")[0].split())
    for text in (stated, first, first.partition(" Copyright")[0]):
        if (found := spdx(text)) and found != "LicenseRef-BSD":
            return found
    kinds = [str(one).split("::")[-1].strip() for one in told.get_all("Classifier") or ()]
    known = {found for kind in kinds if (found := _SPDX.get(kind.lower()))}
    return known.pop() if len(known) == 1 else (spdx(first) if not known else None)


def spdx(text: str) -> str | None:
    """Return the SPDX expression of a licence's short name (`GPL-2+ or Artistic`), or None."""
    for word, split in (("OR", _OR), ("AND", _AND)):
        parts = split.split(text.strip())
        if len(parts) > 1:
            known = [spdx(part) for part in parts]
            if None in known:
                return None
            return f" {word} ".join(str(one) for one in known)
    name = text.strip().lower()
    if name in _SPDX:
        return _SPDX[name]
    found = _GNU.fullmatch(name)
    if found is None:
        return None
    later = "or-later" if (found[4] or "").startswith(("+", "-or")) else "only"
    return f"{found[1].upper()}-{found[2]}.{found[3] or 0}-{later}"


def _debian(wanted: set[Path]) -> dict[Path, tuple[str, str | None]]:
    """Return the owners among the packages of Debian and its kin."""
    texts = {str(path): path for path in wanted}
    roots = sorted({"/".join(text.split("/")[:4]) + "/" for text in texts})
    found: dict[Path, tuple[str, str | None]] = {}
    for listed in sorted(DPKG_LISTS.glob("*.list")) if DPKG_LISTS.is_dir() else ():
        held = listed.read_text("utf-8", "replace")
        if not any(root in held for root in roots):
            continue
        package = listed.name.removesuffix(".list").partition(":")[0]
        mine = [texts[line] for line in held.split("\n") if line in texts]
        if mine:
            found |= dict.fromkeys(mine, (package, _of_copyright(package)))
    return found


def _of_copyright(package: str) -> str | None:
    """Return the licence of a package's files at large (`Files: *`), if told machine-readably."""
    try:
        text = (DPKG_COPYRIGHT / package / "copyright").read_text("utf-8", "replace")
    except OSError:
        return None
    paragraphs = re.split(r"\n[ \t]*\n", text)
    for files in ("*", None):
        for one in paragraphs:
            fields = dict(_fields(one.split("\n")))
            if fields.get("files") == files and fields.get("license"):
                return spdx(fields["license"])
    return None


def _fields(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and not line[:1].isspace():
            yield name.strip().lower(), value.strip()
