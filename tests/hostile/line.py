"""Hostile material through acquire, refine, tokenizer and encode, and the accounts of all of it.

The accounts are taken from outside: what came in is what the cases say, what became of it is what
the written files hold. No number that a stage tells of itself is believed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from stages.acquire.stage import AcquireParams, acquire
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import tokenizers
from stages.lm.tokens import Tokens
from stages.refine.settings import RefineParams
from stages.refine.stage import refine
from stages.tokenizer.stage import TokenizerParams, tokenizer
from tests.hostile.documents import KEPT, MENDED, Document

Given = Mapping[str, tuple[str, str]]
"""What comes in, by id: the text and its fate."""


class Out(NamedTuple):
    """What a corpus folder holds: (id, text) kept by split, and (id, rule, detail) lost."""

    kept: dict[str, list[tuple[str, str]]]
    lost: list[tuple[str, str, str]]
    ledger: list[dict[str, Any]]


def write_lines(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines under their names."""
    rows = [json.dumps({"id": one.name, "text": one.text}) for one in documents]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def acquired(folder: Path, raw: Path, log: Log | None = None, **source: Any) -> Path:
    """Run acquire over a folder."""
    params = {"licence": "CC0-1.0", "source": {"kind": "files", **source}}
    acquire(AcquireParams.model_validate(params), folder, raw, log or Log())
    return raw


def refined(
    raw: Path, corpus: Path, others: Mapping[str, Path] | None = None, **params: Any
) -> Path:
    """Run refine over a raw folder; `others` are its further inputs by name."""
    given = {name: raw.parent / "none" for name in inspect.signature(refine).parameters}
    given |= {"params": RefineParams(raw="raw", **params), "raw": raw, "corpus": corpus}
    refine(**given | {"log": Log()} | dict(others or {}))
    return corpus


def packed(corpus: Path, folder: Path, threads: int = 1) -> tuple[Path, Path]:
    """Learn a tokenizer from a corpus and encode it; returns both folders."""
    learned, tokens, none = folder / "tokenizer", folder / "tokens", folder / "none"
    given: dict[str, Any] = {"corpus": "c", "vocab_size": 300, "threads": threads}
    tokenizer(TokenizerParams(**given), corpus, none, learned, Log())
    encode(EncodeParams(corpus="c", tokenizer="t"), corpus, learned, none, tokens, Log())
    return learned, tokens


def read(corpus: Path) -> Out:
    """Read what refine wrote."""
    manifest = json.loads((corpus / "corpus.json").read_text("utf-8"))
    kept = {}
    for split, entry in manifest["splits"].items():
        rows = [row for name in entry["shards"] for row in pq.read_table(corpus / name).to_pylist()]
        kept[split] = [(row["id"], row["text"]) for row in rows]
    lost = [tuple(row.values()) for row in pq.read_table(corpus / "dropped.parquet").to_pylist()]
    ledger = json.loads((corpus / "ledger.json").read_text("utf-8"))["rules"]
    return Out(kept, lost, ledger)


def account(given: Given, out: Out) -> list[str]:
    """Return what is wrong: nothing where every document is kept or lost for its reason, once."""
    wrong = []
    kept = [row for rows in out.kept.values() for row in rows]
    became = Counter(identity for identity, _ in kept)
    became.update(identity for identity, _, _ in out.lost)
    came = Counter(given.keys())
    wrong += [f"{name}: came and is nowhere" for name in sorted((came - became).elements())]
    wrong += [f"{name}: came from nowhere" for name in sorted((became - came).elements())]
    for identity, text in kept:
        before, fate = given.get(identity, ("", ""))
        found = KEPT if text == before else MENDED
        if found != fate:
            wrong.append(f"{identity}: {found} and should be {fate}: {text[:60]!r}")
    for identity, rule, detail in out.lost:
        if rule != given.get(identity, ("", ""))[1]:
            wrong.append(f"{identity}: lost by {rule} ({detail[:60]})")
        if not detail:
            wrong.append(f"{identity}: lost by {rule} and nothing says why")
    return wrong + _sums(given, out, kept)


def _sums(given: Given, out: Out, kept: list[tuple[str, str]]) -> list[str]:
    """Hold the ledger's numbers against the counts."""
    first, last = out.ledger[0], out.ledger[-1]
    losses = Counter(rule for _, rule, _ in out.lost)
    told = {row["rule"]: row["documents_in"] - row["documents_out"] for row in out.ledger}
    pairs = {
        "documents that entered": (first["documents_in"], len(given)),
        "characters that entered": (first["characters_in"], sum(len(t) for t, _ in given.values())),
        "documents that left": (last["documents_out"], len(kept)),
        "characters that left": (last["characters_out"], sum(len(text) for _, text in kept)),
        "documents lost by rule": ({k: v for k, v in told.items() if v}, dict(losses)),
    }
    return [
        f"{name}: {told} told, {true} true" for name, (told, true) in pairs.items() if told != true
    ]


def unpacked(tokens: Path, learned: Path, split: str) -> list[str]:
    """Return the texts of encoded documents, decoded from their ids."""
    backend, opened = tokenizers.load(learned), Tokens(tokens, split)
    found = []
    for number in range(opened.ledger["documents"]):
        ids = opened.document(number).tolist()
        found.append(backend.decode(ids[1:-1], skip_special_tokens=False))
    return found


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
