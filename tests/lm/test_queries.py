"""SQL over outputs: the same aggregates as by pyarrow and Python, and nothing but reading."""

from __future__ import annotations

import argparse
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stages.core import canonical
from stages.core.errors import ParamsError
from stages.lm import queries, tables


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for key, rows in (("eo", 90), ("o'k", 7)):
        folder = root / "data/corpora" / key
        for split in ("train", "valid"):
            for shard in range(1 + (key == "eo")):
                made = [
                    {"id": f"{split}{n}", "text": "ĉe " * (n % 13), "source": f"s{n % 3}"}
                    for n in range(shard, rows)
                ]
                table = pa.Table.from_pylist(made, schema=tables.TEXT_SCHEMA)
                tables.write_table(folder / f"{split}-{shard:05d}.parquet", table)
        canonical.write_json(folder / "ledger.json", {"rules": [
            {"rule": "read", "documents_in": rows, "documents_out": rows},
            {"rule": "empty", "documents_in": rows, "documents_out": rows - 1},
        ]})  # fmt: skip
    canonical.write_json(root / "metrics/refine/eo.json", {"documents_kept": 90, "by": {"a": 0.5}})
    canonical.write_json(
        root / "reports/evaluate/pos/scores.json", {"rows": [{"f1": 0.9, "n": "x"}]}
    )
    (root / "secret.json").write_text("{}")
    folder = root / "data/tokens/eo"
    canonical.write_json(folder / "tokens.json", {"dtype": "uint16"})
    sizes = np.random.RandomState(0).randint(0, 50, 40)
    np.save(folder / "train-documents.npy", np.concatenate([[0], np.cumsum(sizes)]))
    np.save(folder / "train-bytes.npy", 3 * sizes)
    np.arange(sizes.sum()).astype("<u2").tofile(folder / "train.bin")
    return root


def test_sql_arrow_and_python_agree(root):
    sql = ("SELECT corpus, split, source, count(*) AS n, sum(length(text)) AS letters "
           "FROM corpora GROUP BY ALL ORDER BY ALL")  # fmt: skip
    found = queries.ask(root, sql).to_pylist()
    wanted: dict[tuple, Counter] = {}
    for key in ("eo", "o'k"):
        for split in ("train", "valid"):
            paths = tables.shard_paths(root / "data/corpora" / key, split)
            assert len(paths) == 1 + (key == "eo")
            table = pa.concat_tables([tables.read_table(path) for path in paths])
            for row in table.to_pylist():
                one = wanted.setdefault((key, split, row["source"]), Counter())
                one.update(n=1, letters=len(row["text"]))
            by_arrow = pc.sum(pc.utf8_length(table["text"])).as_py()
            assert by_arrow == sum(
                row["letters"] for row in found if (row["corpus"], row["split"]) == (key, split)
            )
    assert found == [
        {"corpus": a, "split": b, "source": c, "n": v["n"], "letters": v["letters"]}
        for (a, b, c), v in sorted(wanted.items())
    ]


def test_tokens_ledgers_metrics_and_figures(root):
    bounds = np.load(root / "data/tokens/eo/train-documents.npy")
    (row,) = queries.ask(
        root, "SELECT count(*) AS n, max(tokens) AS most FROM tokens WHERE split = 'train'"
    ).to_pylist()
    assert row == {"n": len(bounds) - 1, "most": int(np.diff(bounds).max())}
    ids = np.fromfile(root / "data/tokens/eo/train.bin", "<u2")
    (row,) = queries.ask(
        root, "SELECT sum(id) AS s, count(*) AS n FROM token_ids WHERE split = 'train'"
    ).to_pylist()
    assert row == {"s": int(ids.sum()), "n": len(ids)}
    lost = ("SELECT rule, documents_in - documents_out AS lost FROM ledgers "
            "WHERE corpus = 'eo' ORDER BY place")  # fmt: skip
    assert queries.ask(root, lost).to_pylist() == [
        {"rule": "read", "lost": 0}, {"rule": "empty", "lost": 1},
    ]  # fmt: skip
    assert queries.ask(root, "FROM metrics WHERE name = 'by.a'").to_pylist() == [
        {"stage": "refine", "entry": "eo", "name": "by.a", "value": 0.5}
    ]
    figures = "SELECT name, number, text FROM Figures WHERE artifact = 'evaluate/pos' ORDER BY name"
    assert queries.ask(root, figures).to_pylist() == [
        {"name": "rows.0.f1", "number": 0.9, "text": None},
        {"name": "rows.0.n", "number": None, "text": "x"},
    ]
    joined = ("SELECT count(*) AS n FROM corpora JOIN ledgers USING (corpus) "
              "WHERE rule = 'read' AND corpus = 'o''k'")  # fmt: skip
    assert queries.ask(root, joined).to_pylist() == [{"n": 14}]
    assert {"corpora", "ledgers", "metrics", "figures", "tokens", "token_ids"} == set(
        queries.described(root)
    )


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("COPY (SELECT 1) TO 'data/x.csv'", "this is COPY"),
        ("SELECT 1; DROP VIEW corpora", "this is SELECT, DROP"),
        ("CREATE TABLE x AS SELECT 1", "this is CREATE"),
        ("ATTACH 'data/x.db'", "this is ATTACH"),
        ("INSTALL httpfs", "one SELECT"),
        ("SET enable_external_access = true", "this is SET"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'data/x.csv'", "this is EXPLAIN"),
        ("", "this is nothing"),
        ("SELECT * FROM read_text('/etc/hostname')", "Cannot access file"),
        ("SELECT * FROM read_text('secret.json')", "Cannot access file"),
        ("SELECT * FROM read_json('data/../secret.json')", "Cannot access file"),
        ("SELECT * FROM read_csv('http://127.0.0.1:9/a.csv')", "Cannot access file"),
        ("SELECT * FROM root", "root does not exist"),
        ("SELECT wrong FROM corpora", 'column "wrong" not found'),
        ("SELEC 1", "syntax error"),
    ],
)
def test_nothing_but_reading_below_the_project(root, sql, told):
    before = sorted(root.rglob("*"))
    with pytest.raises(ParamsError) as caught:
        queries.ask(root, sql)
    assert told in caught.value.what
    assert len(caught.value.lines()) == 3
    assert sorted(root.rglob("*")) == before


def test_files_of_the_project_by_their_paths(root):
    sql = "SELECT documents_kept FROM read_json('metrics/refine/*.json')"
    assert queries.ask(root, sql).to_pylist() == [{"documents_kept": 90}]


def test_the_verb_prints_rows_json_csv_and_what_there_is(root, monkeypatch, capsys):
    from stages.cli import querying

    monkeypatch.setattr(querying.workspace, "root", lambda: root)
    sql = (
        "SELECT id, text FROM corpora WHERE corpus = 'o''k' AND split = 'valid' ORDER BY id LIMIT 2"
    )

    def printed(sql: str | None, **form: bool) -> str:
        given = {"json": False, "csv": False} | form
        assert querying.query_outputs(argparse.Namespace(sql=sql, **given)) == 0
        return capsys.readouterr().out

    assert printed(sql) == "id      text\nvalid0\nvalid1  ĉe\n"
    assert printed(sql, csv=True) == "id,text\nvalid0,\nvalid1,ĉe \n"
    assert [json.loads(line) for line in printed(sql, json=True).splitlines()] == [
        {"id": "valid0", "text": ""}, {"id": "valid1", "text": "ĉe "},
    ]  # fmt: skip
    many = printed("SELECT id FROM corpora")
    assert len(many.splitlines()) == 1 + querying.SHOWN_ROWS + 1
    assert "more rows" in many
    assert "ledgers  corpus VARCHAR, place BIGINT" in printed(None)
    assert json.loads(printed("  ", json=True))["metrics"][0] == ["stage", "VARCHAR"]
