"""What is written beside a corpus about who and what was let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.lm import tables
from stages.refine import identified, listed, permitted, safety
from stages.refine.settings import RefineParams
from stages.refine.spool import Spool

PERMISSIONS = "permissions.json"


def beside(corpus: Path, params: RefineParams, spool: Spool, lists: Path) -> dict[str, Any]:
    """Write the tables of permissions and languages; return what statistics.json tells of them."""
    permissions(corpus, params, spool, lists)
    if params.identifier == "none":
        return {}
    identified.write(corpus / identified.FILE, spool.languages)
    return {"identified": identified.summary(spool.languages)}


def permissions(corpus: Path, params: RefineParams, spool: Spool, lists: Path) -> None:
    """Write permissions.json, licences.parquet and safety.parquet, where something is asked."""
    settings = params.permitted
    found: dict[str, Any] = {}
    if settings.licences or settings.opt_out:
        opt_out = permitted.OptOut(lists, settings.opt_out) if settings.opt_out else None
        found |= permitted.summary(spool.permits, opt_out)
        tables.write_rows(corpus / "licences.parquet", permitted.SCHEMA, spool.permits)
    if settings.words:
        found["words"] = safety.summary(settings, spool.safety)
        tables.write_rows(corpus / "safety.parquet", safety.schema(settings), spool.safety)
    if found:
        files = [*settings.opt_out, *(one.file for one in settings.words)]
        digests = {name: listed.path_of(lists, name)[1] for name in dict.fromkeys(files)}
        canonical.write_json(corpus / PERMISSIONS, found | {"lists": digests})
