"""Raw folders for the tests of `refine`, and its outputs read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.core import canonical
from stages.core.log import Log
from stages.refine.settings import RefineParams
from stages.refine.stage import refine


def raw_folder(
    folder: Path,
    files: dict[str, str | bytes],
    *,
    formats: dict[str, str | None] | None = None,
    **more: Any,
) -> Path:
    """Write a raw folder as `acquire` does; `more` goes into every file's manifest row."""
    rows = []
    for name, content in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        known = {"jsonl": "jsonl", "conllu": "conllu", "tsv": "tsv"}
        kind = known.get(name.rsplit(".", 1)[-1], "text")
        if formats is not None:
            kind = formats[name]
        rows.append({"path": f"files/{name}", "format": kind, **more})
    manifest = {"files": rows, "licence": "CC0-1.0", "synthetic": False, "origin": "test"}
    canonical.write_json(folder / "manifest.json", manifest)
    return folder


def jsonl(texts: dict[str, str]) -> str:
    """Return documents as JSON lines."""
    return "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items())


class Refined:
    """What one run of the stage wrote."""

    def __init__(
        self, raw: Path, corpus: Path, held_out: Path | None = None,
        against: Path | None = None, further: Path | None = None,
        identifier: Path | None = None, lists: Path | None = None, **params: Any,
    ) -> None:  # fmt: skip
        self.folder, self.log = corpus, Log()
        self.params = RefineParams(
            raw="raw", held_out="raw/held-out" if held_out else "none",
            held_out_third="corpora/further" if further else "none",
            against="corpora/other" if against else "none",
            identifier="identifiers/all" if identifier else "none",
            lists="raw/lists" if lists else "none", **params,
        )  # fmt: skip
        none = raw.parent / "none"
        refine(
            self.params, raw, none, none, held_out or none, none, further or none, none,
            against or none, identifier or none, lists or none, corpus, self.log,
        )  # fmt: skip
        self.manifest = self.json("corpus.json")
        self.ledger = {row["rule"]: row for row in self.json("ledger.json")["rules"]}
        self.statistics = self.json("statistics.json")
        self.rows: dict[str, dict[str, Any]] = {}
        self.split: dict[str, str] = {}
        for split, entry in self.manifest["splits"].items():
            for shard in entry["shards"]:
                for row in self.table(shard):
                    self.rows[row["id"]] = row
                    self.split[row["id"]] = split
        self.dropped = {row["id"]: (row["rule"], row["detail"]) for row in self.table("dropped")}
        self.duplicates = {row["id"]: row for row in self.table("duplicates")}

    def json(self, name: str) -> Any:
        """Read one JSON output."""
        return json.loads((self.folder / name).read_text("utf-8"))

    def table(self, name: str) -> list[dict[str, Any]]:
        """Read one table."""
        path = self.folder / (name if name.endswith(".parquet") else f"{name}.parquet")
        return pq.read_table(path).to_pylist()

    def texts(self) -> dict[str, str]:
        """Return the kept texts by id."""
        return {name: row["text"] for name, row in self.rows.items()}

    def reasons(self) -> dict[str, str]:
        """Return the rule that dropped each lost document."""
        return {name: rule for name, (rule, _) in self.dropped.items()}

    def check_accounts(self) -> None:
        """Assert that the ledger adds up and agrees with every other output."""
        rows = self.json("ledger.json")["rules"]
        losses = Counter(row["rule"] for row in self.table("dropped"))
        for before, after in zip(rows, rows[1:], strict=False):
            for unit in ("documents", "characters", "tokens"):
                assert before[f"{unit}_out"] == after[f"{unit}_in"], (before["rule"], unit)
        for row in rows:
            if row["rule"] not in ("paragraphs", "lines"):
                assert row["documents_in"] - row["documents_out"] == losses[row["rule"]]
        kept = sum(entry["documents"] for entry in self.manifest["splits"].values())
        assert kept == rows[-1]["documents_out"] == len(self.rows)
        if self.manifest["kind"] == "text":
            characters = sum(entry["characters"] for entry in self.manifest["splits"].values())
            assert characters == rows[-1]["characters_out"]
            assert characters == sum(len(row["text"]) for row in self.rows.values())
