"""The licences of what an artifact is made of, what they ask together, and where they conflict.

Every source states an SPDX expression or the reason why it may be used without one. Their terms
bind what is made of them (specification, sections 101 and 123: use restrictions travel). This is a
reading of well-known licences to warn by, not legal advice; what it does not know it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stages.core import adoption, hashes

if TYPE_CHECKING:
    from stages.core.records import Record, Records

ATTRIBUTION, SHARE_ALIKE, NON_COMMERCIAL, NO_DERIVATIVES, USE_RESTRICTED, UNKNOWN = (
    "attribution",
    "share-alike",
    "non-commercial",
    "no-derivatives",
    "use-restricted",
    "unknown",
)
PUBLIC = ("CC0-1.0", "Unlicense", "0BSD", "PDDL-1.0", "MIT-0", "LicenseRef-public-domain")
PERMISSIVE = re.compile(
    r"(MIT|Apache-|BSD-|ISC|PSF-|Python-|CC-BY-\d|ODC-By|Zlib|BSL-1|Unicode|OFL-|CDLA-Perm|ECL-|NCSA|PostgreSQL|W3C|X11)"
)
RECIPROCAL = re.compile(r"(A?GPL-|LGPL-|MPL-|EUPL-|ODbL-|CDLA-Sharing|GFDL-|OSL-|CC-BY-(NC-)?SA-)")
RESTRICTED = re.compile(r"(?i)(RAIL|llama|gemma)")
ONE_WAY = {("CC-BY-SA-4.0", "GPL-3.0"), ("MPL-2.0", "GPL-3.0"), ("LGPL-3.0", "GPL-3.0")}
"""(from, to): what is under the first may be given on under the second."""


@dataclass(frozen=True)
class Source:
    """One source of an artifact: where it came from and on what terms."""

    path: str
    licence: str | None
    reason: str | None = None
    origin: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class Terms:
    """What the licences of all sources ask together."""

    licences: tuple[str, ...]
    obligations: tuple[str, ...]
    conflicts: tuple[str, ...]

    @property
    def redistributable(self) -> bool:
        """Whether nothing stated here speaks against giving the artifact on."""
        return not self.conflicts


def terms_of(licence: str) -> set[str]:
    """Return what one licence asks; of `A OR B` what the milder choice asks."""
    if " OR " in licence:
        return min((terms_of(one) for one in licence.split(" OR ")), key=len)
    if " AND " in licence:
        return set().union(*(terms_of(one) for one in licence.split(" AND ")))
    name = licence.split(" WITH ")[0].strip()
    found: set[str] = set()
    if name in PUBLIC:
        return found
    if RESTRICTED.search(name):
        found |= {USE_RESTRICTED, ATTRIBUTION}
    if re.search(r"-NC\b", name):
        found.add(NON_COMMERCIAL)
    if re.search(r"-ND\b", name):
        found.add(NO_DERIVATIVES)
    if RECIPROCAL.match(name):
        found |= {SHARE_ALIKE, ATTRIBUTION}
    if PERMISSIVE.match(name) or name.startswith("CC-BY"):
        found.add(ATTRIBUTION)
    return found or {UNKNOWN}


def propagate(sources: Sequence[Source]) -> Terms:
    """Return the terms that bind what is made of all sources, with every conflict in words."""
    stated = sorted({one.licence for one in sources if one.licence})
    asked: dict[str, list[str]] = {}
    for licence in stated:
        for term in terms_of(licence):
            asked.setdefault(term, []).append(licence)
    conflicts = [
        f"{one.path} states no licence ({one.reason or 'and no reason'})"
        for one in sources
        if not one.licence
    ]
    conflicts += [
        f"{name} forbids derived works, and everything after acquire is one"
        for name in asked.get(NO_DERIVATIVES, [])
    ]
    conflicts += [f"what {name} asks is not known here" for name in asked.get(UNKNOWN, [])]
    conflicts += _reciprocal(asked)
    return Terms(tuple(stated), tuple(sorted(asked)), tuple(conflicts))


def _reciprocal(asked: Mapping[str, list[str]]) -> list[str]:
    """Return the pairs that cannot be kept at once: each wants the whole under itself."""
    found = []
    alike = [licence for licence in asked.get(SHARE_ALIKE, []) if " OR " not in licence]
    for place, one in enumerate(alike):
        for other in alike[place + 1 :]:
            if not _compatible(one, other):
                found.append(f"{one} and {other} each want the whole under their own terms")
    for licence in asked.get(NON_COMMERCIAL, []) + asked.get(USE_RESTRICTED, []):
        for other in alike:
            if other != licence and not re.search(r"-NC\b", other):
                found.append(f"{licence} restricts a use that {other} grants to everybody")
    return found


def _compatible(one: str, other: str) -> bool:
    names = [re.sub(r"-(only|or-later)$", "", name) for name in (one, other)]
    if names[0] == names[1]:
        return True
    if any((a, b) in ONE_WAY for a, b in (names, reversed(names))):
        return True
    later = one.endswith("-or-later") or other.endswith("-or-later")
    return later and names[0].rsplit("-", 1)[0] == names[1].rsplit("-", 1)[0]


def sources(ancestry: Sequence[Record], records: Records) -> list[Source]:
    """Return the sources of an ancestry: what `acquire` brought, and what was adopted."""
    found = []
    for record in ancestry:
        for path, md5 in record.outs.items():
            if path.startswith("data/raw/"):
                told = manifest(records, path, md5) or record.values
                found.append(source_of(path, told))
        for path, md5 in record.inputs.items():
            known = adoption.find(records.root, path)
            if known is not None and known.md5 == md5:
                brought = adoption.lineage(records.root, path)
                found += adopted_sources(asdict(known), brought)
    return list(dict.fromkeys(found))


def adopted_sources(known: Mapping[str, Any], brought: Mapping[str, Any] | None) -> list[Source]:
    """Return the sources of an adopted artifact: those of the lineage it brought, else itself."""
    if brought is not None:
        return [
            Source(
                one["path"], one["licence"], one["licence_reason"], one["origin"], one["synthetic"]
            )
            for one in brought["lineage"]["sources"]
        ]
    stated = None if known["licence"] == "unknown" else known["licence"]
    reason = None if stated else "adopted, and its makers' licence is not known"
    origin = "" if known["origin"] == "unknown" else known["origin"]
    return [Source(known["path"], stated, reason, origin)]


def row_of(source: Source) -> dict[str, Any]:
    """Return a source as a lineage tells it."""
    return {
        "path": source.path,
        "licence": source.licence,
        "licence_reason": source.reason,
        "origin": source.origin,
        "synthetic": source.synthetic,
    }


def source_of(path: str, told: Mapping[str, Any]) -> Source:
    """Return a raw source as its manifest, or else its entry's parameters, tell it."""
    generated = (told.get("source") or {}).get("kind") == "generator"
    return Source(
        path=path,
        licence=told.get("licence") or ("CC0-1.0" if generated else None),
        reason=told.get("licence_reason"),
        origin=str(told.get("origin") or ""),
        synthetic=bool(told.get("synthetic") or generated),
    )


def manifest(records: Records, path: str, md5: str) -> dict[str, Any] | None:
    """Return a raw artifact's manifest from the cache or the workspace, or None if it is gone."""
    for name, one in records.listing(md5) or []:
        if name == "manifest.json":
            stored = records.cache / "files" / "md5" / one[:2] / one[2:]
            if stored.is_file():
                return _json(stored.read_text(encoding="utf-8"))
    here = records.root / path / "manifest.json"
    if here.is_file() and hashes.Hashes(records.root).of(path) == md5:
        return _json(here.read_text(encoding="utf-8"))
    return None


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
