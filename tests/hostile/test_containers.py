"""Hostile containers: each record is kept or lost with its reason, none twice, none nowhere."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import SourceError
from stages.core.log import Log
from tests.hostile.containers import containers
from tests.hostile.documents import prose


def tables(raw):
    return {
        name: [row for one in sorted((raw / name).glob("*.parquet"))
               for row in pq.read_table(one).to_pylist()]
        for name in ("files", "losses")
    }  # fmt: skip


@pytest.mark.parametrize("case", containers(), ids=lambda case: case.name)
def test_every_record_is_kept_or_lost_for_its_reason(case, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / case.file).write_bytes(case.data)
    source = {"kind": "extract", "reader": case.reader, **case.source}
    params = AcquireParams.model_validate({"licence": "CC0-1.0", "source": source})
    if not case.kept and case.name != "jsonl_gz_cut":
        # Where nothing is left the entry is refused, and says what took it.
        with pytest.raises(SourceError, match=case.lost[0][1]):
            acquire(params, tmp_path / "in", tmp_path / "raw", Log())
        return
    acquire(params, tmp_path / "in", tmp_path / "raw", Log())
    found = tables(tmp_path / "raw")
    kept = [row["text"] for row in found["files"]]
    lost = [(int(row["id"].rpartition(":")[2]), row["reason"]) for row in found["losses"]]
    if case.name == "jsonl_gz_cut":
        assert kept == [prose(n, 9) for n in range(len(kept))]
        assert 50 < len(kept) < 400
        assert [reason for _, reason in lost] == ["truncated"]
    else:
        assert kept == case.kept
        assert lost == case.lost
    told = json.loads((tmp_path / "raw" / "manifest.json").read_text())["extraction"]
    assert (told["kept"], sum(told["lost"].values())) == (len(kept), len(lost))
