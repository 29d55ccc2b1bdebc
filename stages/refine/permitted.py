"""Documents before licences and opt-out lists, with what was found kept as columns.

A document's licence is that of its record (`licence`, `license`; of a list `licenses` all count),
else of its raw folder. Its maker is told by `repository`, `repo_name`, `author`, `host`, or by the
`url` it came from; whoever owns a repository counts as its author (Li et al. 2023, arXiv
2305.06161, sections 3.1 and 4: allow-list and opt-out before every build).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from stages.core.errors import ArtifactError
from stages.lm.reading import Document
from stages.lm.records import raw_manifest
from stages.refine import listed, spdx
from stages.refine.ledger import Ledger, Rule, Size
from stages.refine.permissions import Permitted

if TYPE_CHECKING:
    from stages.refine.spool import Spool
    from stages.refine.takings import Takings

NOT_ALLOWED, NOT_STATED, OPTED_OUT = "licence_not_allowed", "licence_not_stated", "opted_out"
FORGES = ("github.com", "gitlab.com", "codeberg.org", "bitbucket.org")
KINDS = ("repository", "author", "host", "id")
NAMES = {
    "repository": ("repository", "repo_name", "repo"),
    "author": ("author", "user"),
    "host": ("host",),
}
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "licence", *KINDS[:3], "reason", "entry")]
)
"""A row per document read: what is known of it, and why it went (`entry` of an opt-out list)."""
About = dict[str, Any]


class OptOut:
    """Entries of opt-out lists, found by what a document says of itself."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.entries: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for name in files:
            rows = listed.lines(folder, name)
            if not rows:
                raise listed.empty(folder, name)
            for number, line in rows:
                kind, _, value = line.partition(":")
                value = value.strip()
                if kind not in KINDS or not value or (kind == "repository" and "/" not in value):
                    raise ArtifactError(
                        f"{line[:60]!r} is no entry of an opt-out list",
                        f"{folder}/files/{name}:{number}",
                        "write repository:owner/name, author:name, host:name or id:name",
                    )
                self.entries[kind].add(value if kind == "id" else value.lower())

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

    def entry(self, identities: Sequence[str], made: dict[str, str]) -> str:
        """Return the entry that a document falls under, or nothing."""
        for identity in identities:
            if identity in self.entries["id"]:
                return f"id:{identity}"
        for kind, asked in (
            ("repository", _repositories(made["repository"])),
            ("author", _authors(made)),
            ("host", _hosts(made["host"])),
        ):
            for one in asked:
                if one in self.entries[kind]:
                    return f"{kind}:{one}"
        return ""


def _repositories(name: str) -> list[str]:
    return [name, name.split("/")[0] + "/*"] if "/" in name else []


def _authors(made: dict[str, str]) -> list[str]:
    owner = made["repository"].split("/")[0] if "/" in made["repository"] else ""
    return [one for one in (made["author"], owner) if one]


def _hosts(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[place:]) for place in range(len(parts))] if name else []


def maker(about: About) -> dict[str, str]:
    """Return repository, author and host of a document in lower case, empty where not known."""
    found = {
        kind: next((str(about[name]) for name in names if about.get(name)), "")
        for kind, names in NAMES.items()
    }
    try:
        address = urlsplit(str(about.get("url") or ""))
        host = address.hostname or ""
    except ValueError:  # such as an unclosed bracket of an IPv6 address
        host = ""
    found["host"] = found["host"] or host
    if not found["repository"] and host.removeprefix("www.") in FORGES:
        parts = [part for part in address.path.split("/") if part]
        if len(parts) >= 2:
            found["repository"] = f"{parts[0]}/{parts[1].removesuffix('.git')}"
    lowered = {kind: value.strip().lower() for kind, value in found.items()}
    lowered["host"] = lowered["host"].rstrip(".")
    return lowered


def licences(about: About, folder: str) -> list[str]:
    """Return a document's licence expressions; a record that has the field speaks for itself."""
    for name in ("licence", "license", "licenses"):
        if name in about:
            value = about[name]
            several = value if isinstance(value, tuple) else (value or "",)
            return [one for one in several if spdx.states(one)]
    return [folder] if spdx.states(folder) else []


class Permits:
    """Allow-list and opt-out lists of an entry, as rules."""

    def __init__(self, settings: Permitted, lists: Path, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._allowed = {one.lower() for one in settings.licences}
        self._rules: dict[str, Rule] = {}
        if settings.licences:
            self._rules |= {name: ledger.rule(name) for name in (NOT_STATED, NOT_ALLOWED)}
        self._opt_out: OptOut | None = None
        if settings.opt_out:
            self._opt_out = OptOut(lists, settings.opt_out)
            self._rules[OPTED_OUT] = ledger.rule(OPTED_OUT)
        self._folders: dict[Path, str] = {}

    @classmethod
    def of(cls, settings: Permitted, lists: Path, ledger: Ledger) -> Permits | None:
        """Return the rules, or None where nothing is asked."""
        return cls(settings, lists, ledger) if settings.licences or settings.opt_out else None

    def allow(
        self, record: Document, identity: str, folder: Path, size: Size, spool: Spool | Takings
    ) -> bool:
        """Enter one document in ledger and columns; say whether it may be used."""
        if folder not in self._folders:
            self._folders[folder] = str(raw_manifest(folder).get("licence") or "")
        about = dict(record.about)
        found, made = licences(about, self._folders[folder]), maker(about)
        reason, detail = self._reason(found)
        entry = ""
        if not reason and self._opt_out is not None:
            entry = self._opt_out.entry((record.id, identity), made)
            reason, detail = (OPTED_OUT, entry) if entry else ("", "")
        told = " AND ".join(found) or None
        makers = [made[kind] or None for kind in KINDS[:3]]
        spool.permits.append([identity, told, *makers, reason or None, entry or None])
        for name, rule in self._rules.items():
            if name == reason:
                self._ledger.drop(rule, identity, size, detail)
                return False
            rule.pass_on(size, size)
        return True

    def _reason(self, found: Sequence[str]) -> tuple[str, str]:
        """Return why licences speak against a document, and which; nothing where none does."""
        if not self._settings.licences:
            return "", ""
        if not found:
            dropped = self._settings.unstated == "drop"
            return (NOT_STATED, "no licence is stated") if dropped else ("", "")
        for one in found:
            try:
                if not spdx.allowed(one, self._allowed):
                    return NOT_ALLOWED, one[:120]
            except spdx.Unreadable:
                return NOT_ALLOWED, f"no SPDX expression: {one[:100]}"
        return "", ""


def summary(rows: Collection[Sequence[Any]], opt_out: OptOut | None) -> dict[str, Any]:
    """Return documents per licence, per reason and per entry, and what could not be asked."""
    table: dict[str, Counter[str]] = {}
    for _, licence, *_, reason, _ in rows:
        counts = table.setdefault(licence or "not stated", Counter())
        counts["documents"] += 1
        counts[reason or "kept"] += 1
    found: dict[str, Any] = {
        "documents": len(rows),
        "licences": [{"licence": name, **counts} for name, counts in sorted(table.items())],
        "reasons": dict(sorted(Counter(row[5] for row in rows if row[5]).items())),
    }
    if opt_out is not None:
        hits = Counter(row[6] for row in rows if row[6])
        found["opted_out"] = {
            "entries": len(opt_out),
            "entries_met": len(hits),
            "met": [{"entry": one, "documents": count} for one, count in sorted(hits.items())],
            # A list of hosts removes nothing where no document says where it came from.
            "documents_that_do_not_say": {
                kind: sum(row[place] is None for row in rows)
                for place, kind in enumerate(KINDS[:3], start=2)
            },
        }
    return found
