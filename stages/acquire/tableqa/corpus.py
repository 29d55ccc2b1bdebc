"""The corpus: tables in, pairs out, and every query that was not taken counted by its reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from stages.acquire.sources import ReadingRule
from stages.acquire.tableqa import queries, tables
from stages.acquire.tableqa.execution import Disagreement, Engines
from stages.acquire.tableqa.flattening import fitted, source_text
from stages.acquire.tableqa.parameters import TableQaParams, Template
from stages.acquire.tableqa.tables import Table
from stages.core import canonical
from stages.core.errors import Resumable, SourceError
from stages.core.log import Log
from stages.lm.reading import Reading

SEPARATOR = ", "
"""Between answers."""
PATIENCE = 100
"""Tables in a row that may give nothing before the settings are said to allow nothing."""
FILES = ("files/pairs.jsonl", "files/texts.jsonl", "truth/tables.jsonl")
PAIRS = Reading(yields="pairs", source_text="source_text", target_text="target_text")
"""How pairs.jsonl is read."""
TEXTS = ReadingRule(pattern="texts.jsonl", yields="documents")
"""How texts.jsonl is read."""


def make(params: TableQaParams, folder: Path, raw: Path, log: Log) -> dict[str, Any]:
    """Write `files/pairs.jsonl`, `files/texts.jsonl` and `truth/tables.jsonl`; return the account.

    `texts` are the pairs' sides as documents, for a tokenizer and for pretraining.
    """
    lost: Counter[str] = Counter()
    found: Counter[str] = Counter()
    groups: set[str] = set()
    done = 0
    with ExitStack() as stack:
        pairs_out, texts_out, truth_out = (_opened(stack, raw / name) for name in FILES)
        for table, pairs in _pairs(params, folder, lost):
            for pair in pairs[: params.pairs - done]:
                found[pair["template"]] += 1
                text = f"{pair['source_text']} {pair['target_text']}"
                pairs_out.write(canonical.line(pair) + "\n")
                texts_out.write(canonical.line({"id": pair["id"], "text": text}) + "\n")
                done += 1
            groups.add(table.id)
            whole = {"id": table.id, "columns": table.columns, "rows": table.rows}
            truth_out.write(canonical.line(whole) + "\n")
            log.progress(done, params.pairs, "pairs")
            if log.stopping:
                raise Resumable(
                    f"stopped on request after {done} pairs", str(raw), "run the same entry again"
                )
            if done >= params.pairs:
                break
    account = {
        "pairs": done,
        "tables": len(groups),
        "templates": dict(sorted(found.items())),
        "not_taken": dict(sorted(lost.items())),
        "verified": "every answer by SQLite and DuckDB, over the table as it is written",
    }
    return {"table_qa": account}


def _opened(stack: ExitStack, path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))


def _pairs(
    params: TableQaParams, folder: Path, lost: Counter[str]
) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield tables with their pairs, until nobody asks for more."""
    files = params.tables == "files"
    source = tables.file_tables(params, folder) if files else tables.random_tables(params)
    seen: set[str] = set()
    asked: Counter[str] = Counter()
    barren = 0
    with Engines() as engines:
        for number, table in enumerate(source):
            made: list[dict[str, Any]] = []
            if table.digest in seen:
                lost["table seen before"] += 1
            else:
                seen.add(table.digest)
                draw = random.Random(f"{params.seed} queries {number}")
                made = list(_of_table(params, table, draw, engines, lost))
            barren = 0 if made else barren + 1
            if barren > PATIENCE:
                reasons = ", ".join(f"{name} ({count})" for name, count in lost.most_common(3))
                raise SourceError(
                    f"the last {PATIENCE} tables gave no pair: {reasons}",
                    "acquire: source",
                    "ask for fewer pairs, allow longer texts or more templates, or more tables",
                )
            for pair in made:  # several windows of one file are one group
                pair["id"] = f"{table.id}:{asked[table.id]}"
                asked[table.id] += 1
            if made:
                yield table, made


def _of_table(
    params: TableQaParams, table: Table, draw: random.Random, engines: Engines, lost: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield different pairs of one table, of templates in a drawn order."""
    order = list(params.templates)
    draw.shuffle(order)
    known: set[str] = set()
    for number in range(params.pairs_per_table):
        pair = _pair(params, order[number % len(order)], table, draw, engines, lost)
        if pair is None:
            continue
        if pair["source_text"] in known:
            lost["asked before"] += 1
            continue
        known.add(pair["source_text"])
        yield pair


def _pair(
    params: TableQaParams, template: Template, table: Table, draw: random.Random,
    engines: Engines, lost: Counter[str],
) -> dict[str, Any] | None:  # fmt: skip
    query = queries.drawn(template, table, draw)
    english = params.questions == "english" or (params.questions == "both" and draw.random() < 0.5)
    order = list(range(len(table.rows)))
    draw.shuffle(order)
    if query is None:
        lost["nothing to ask of this table"] += 1
        return None
    question = query.english if english else query.text
    try:
        answers = engines.lite(table, query.sql)
        if not answers or len(answers) > params.max_answers:
            lost["no answer" if not answers else "too many answers"] += 1
            return None
        if any(SEPARATOR in answer or not answer for answer in answers):
            lost["an answer holds the separator"] += 1
            return None

        def unchanged(smaller: Table) -> bool:
            return queries.sound(query, smaller) and engines.lite(smaller, query.sql) == answers

        shown = fitted(question, table, params.max_words, unchanged, order)
        if shown is None:
            lost["too long"] += 1
            return None
        if engines.both(shown, query.sql) != answers:
            raise AssertionError(f"{query.sql} changed with rows dropped")
    except Disagreement:
        lost["the engines disagree"] += 1
        return None
    return {
        "source_text": source_text(question, shown),
        "target_text": SEPARATOR.join(answers),
        "answers": answers,
        "template": template,
        "table": table.id,
        "sql": query.sql,
        "rows_dropped": len(table.rows) - len(shown.rows),
    }
