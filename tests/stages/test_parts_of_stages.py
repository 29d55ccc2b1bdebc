"""Long CPU stages killed by SIGKILL: equal bytes, and at most the part at work done again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core import canonical
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import tables
from stages.lm.parts import Parts
from stages.refine import intake, shingled
from stages.refine.stage import RefineParams, refine
from tests import training
from tests.stages.refine_material import jsonl, raw_folder


def dying(job: Callable[[Log], None], scratch: Path, kills: list[int]) -> Log:
    """Run a job in processes that are killed while they make that many-th part, then to the end."""
    settle = Parts._settle

    for kill in kills:
        pid = os.fork()
        if not pid:
            left = [kill]

            def counting(self, number, kept, work, dump, load, left=left):
                def counted():
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return work()

                return settle(self, number, kept, counted, dump, load)

            Parts._settle = counting
            job(Log(scratch=scratch))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    log = Log(scratch=scratch)
    job(log)
    return log


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): canonical.file_digest(path) for path in files}


def counted(log: Log) -> tuple[int, int]:
    made = sum(v for name, v in log.observed.items() if name.startswith("parts_made/"))
    reused = sum(v for name, v in log.observed.items() if name.startswith("parts_reused/"))
    return int(made), int(reused)


def test_refine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = {
        f"d{n}": " ".join(training.text(row) for row in training.sentences(6, n % 50))
        for n in range(60)
    }
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    none = tmp_path / "none"
    params = RefineParams(raw="raw", filters={"languages": []})

    def job(out: Path) -> Callable[[Log], None]:
        return lambda log: refine(params, raw, *[none] * 9, out, log)

    job(tmp_path / "whole")(Log(scratch=tmp_path / "w"))
    monkeypatch.setattr(intake, "BATCH_RECORDS", 10)
    monkeypatch.setattr(shingled, "SIGN_DOCUMENTS", 10)
    straight = Log(scratch=tmp_path / "s")
    job(tmp_path / "parts")(straight)
    total, _ = counted(straight)
    assert total == 6 + 5  # 60 records; 50 documents differ
    log = dying(job(tmp_path / "again"), tmp_path / "k", [2, 3, 3])
    assert counted(log) == (total - 8, 8)
    assert tree(tmp_path / "again") == tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert log.metrics == straight.metrics


def test_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "GROUP_ROWS", 50)
    tokens, tokenizer = training.tokens(tmp_path / "made", documents=200)
    params = EncodeParams(corpus="x", tokenizer="x", sequence_length=32)

    def job(log: Log) -> None:
        encode(params, tmp_path / "made/corpus", tokenizer, tmp_path, tmp_path / "again", log)

    log = dying(job, tmp_path / "k", [1, 2])
    assert counted(log) == (6 - 3, 3)  # four groups of train, one of valid, one of test
    assert tree(tmp_path / "again") == tree(tokens)
