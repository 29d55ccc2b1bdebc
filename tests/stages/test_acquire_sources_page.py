"""The page on sources is true: every entry reads files of its kind, and its queries answer."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.acquire.stage import acquire
from stages.core import recipes, registry, yamlfile
from stages.core.log import Log
from stages.lm import queries
from stages.lm.records import raw_manifest
from tests.stages.acquire_material import put
from tests.stages.extract_material import compressed
from tests.stages.test_acquire_extract import DUMP, TREE
from tests.stages.test_acquire_tables import packed
from tests.stages.test_acquire_warc import PAGE, record

TEXT = (Path(__file__).parents[2] / "docs/sources.md").read_text("utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
ENTRIES = {
    key: choices
    for block in BLOCKS
    for key, choices in yamlfile.parse(block, "docs/sources.md")["acquire"].items()
}
ROWS = pa.table({"body": ["Unu teksto.", "x"], "url": ["http://a/", None]})
FILES: dict[str, dict[str, str | bytes]] = {
    "web": {"a.warc.gz": compressed(record(1), ".gz") + compressed(record(2), ".gz")},
    "pages": {"a/b.html": PAGE.format("Paĝo")},
    "wikipedia": {"eo-pages-articles.xml.bz2": compressed(DUMP.encode(), ".bz2")},
    "oscar": {"eo.jsonl.zst": compressed(b'{"content": "Unu"}\n{"content": 1}\n', ".zst")},
    "leipzig": {"eo-sentences.txt": "1\tUnu frazo.\n"},
    "tatoeba": {"links.csv": "1\t2\n", "sentences.csv": "1\tepo\tJes.\n2\teng\tYes.\n"},
    "treebank": {"a.conllu": TREE},
    "messages": {}, "stdlib": {}, "packages": {},
    "arrow": {"a.arrow": packed(ROWS, "file")},
    "query": {"posts.arrow": packed(ROWS, "stream")},
    "hub": {"train.jsonl": '{"text": "Unu"}\n', "README.md": "---\nlicense: cc0-1.0\n---\n"},
}  # fmt: skip


def test_the_page_has_an_entry_for_every_format_and_kind():
    assert set(ENTRIES) == set(FILES)
    from stages.acquire.readers.registry import READERS

    shown = {one["source"].get("reader", {}).get("format") for one in ENTRIES.values()}
    assert shown - {None} == set(READERS)


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_of_the_page_runs(tmp_path, key):
    messages = Path("/usr/share/locale/eo/LC_MESSAGES")
    if key == "messages" and not messages.is_dir():
        pytest.skip("this machine has no catalogues of that language")
    made = recipes.complete({"acquire": {key: ENTRIES[key]}}, "docs/sources.md")
    params = registry.get("acquire").params.model_validate(made["acquire"][key])
    folder = put(tmp_path / "in", FILES[key])
    folder.mkdir(exist_ok=True)
    acquire(params, folder, tmp_path / "data/raw" / key, Log())
    told = raw_manifest(tmp_path / "data/raw" / key)
    assert sum(row["records"] for row in told["files"]) > 0
    if "extraction" in told:
        for command in re.findall(r'deveno query "(SELECT raw[^"]*)"', TEXT):
            table = queries.ask(tmp_path, command)
            assert set(table.column(0).to_pylist()) <= {key}
        assert pq.read_table(tmp_path / "data/raw" / key / "files").num_rows > 0
