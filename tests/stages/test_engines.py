"""Ray: two workers give the bytes that this process gives, or they are refused."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import CheckFailed, DevenoError, MachineError
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import engines
from stages.refine import shingled
from stages.tokenizer import training
from stages.tokenizer.stage import TokenizerParams
from tests.stages.refine_material import Refined, jsonl, raw_folder

LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for the machine's address in the network."""
WORDS = ["la", "suno", "brilas", "kaj", "ĉiu", "bela", "hundo", "vidas", "malgrandan", "katon"]


def material(folder):
    draw = np.random.Generator(np.random.PCG64(3))
    texts = {f"d{n}": " ".join(draw.choice(WORDS, 60)) + "." for n in range(120)}
    texts |= {f"copy{n}": texts[f"d{n}"].replace("suno", "luno", 1) for n in range(0, 40, 2)}
    return raw_folder(folder, {"a.jsonl": jsonl(texts)})


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def where(number):
    time.sleep(0.2)
    return number, os.getpid()


def fails(value):
    raise CheckFailed(f"value {value}", "there", "take another")


def dies_once(mark):
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two nodes with one core each, as somebody else started it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 1, "node_ip_address": LOOPBACK, "object_store_memory": engines.STORE_BYTES,
    }  # fmt: skip
    made = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    made.add_node(**node)
    yield made.address
    made.shutdown()


def both(folder, monkeypatch, engine):
    """Refine and encode by this process and by an engine; return both trees and what was told."""
    raw, trees, told = material(folder / "raw"), [], []
    monkeypatch.setattr(shingled, "SIGN_DOCUMENTS", 16)
    for name in ("local", engine):
        monkeypatch.setenv(engines.ENGINE, name)
        place = folder / name.partition(":")[0]
        made = Refined(raw, place / "corpus", split={"train": 0.6, "valid": 0.2, "test": 0.2})
        settings = TokenizerParams(corpus="made", vocab_size=300)
        training.save(training.train(settings, made.folder)[0], settings, place / "tokenizer")
        log = Log()
        encode(
            EncodeParams(corpus="made", tokenizer="made", sequence_length=32), made.folder,
            place / "tokenizer", folder / "none", place / "tokens", log,
        )  # fmt: skip
        trees.append(contents(place))
        told.append((made.log.texts.get("engine"), log.texts.get("engine")))
    return trees, told


def test_an_engine_that_is_there_gives_the_same_bytes(tmp_path, monkeypatch, cluster):
    (own, theirs), told = both(tmp_path, monkeypatch, f"ray:{cluster}")
    assert told == [(None, None), ("ray, 2 workers on 2 machines",) * 2]
    assert len(own) > 20
    assert own.keys() == theirs.keys()
    assert [name for name in own if own[name] != theirs[name]] == []
    rules = [line for line in own["corpus/ledger.json"].split(b"\n") if b"near_duplicate" in line]
    assert rules


def test_workers_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv(engines.ENGINE, "ray")
    monkeypatch.setenv(engines.WORKERS, "2")
    with engines.engine(Log()) as engine:
        found = list(engine.map(where, ((number,) for number in range(12))))
        assert [number for number, _ in found] == list(range(12))
        others = {process for _, process in found}
        assert len(others) == 2
        assert os.getpid() not in others
        with pytest.raises(CheckFailed) as caught:
            list(engine.map(fails, [(7,)]))
        assert caught.value.lines() == ["error: value 7", "where: there", "do: take another"]
        assert engine.submit(dies_once, str(tmp_path / "mark"))() == "done"
        shared = engine.share(np.arange(5))
        assert list(engine.map(np.sum, [(shared,), (shared,)])) == [10, 10]


def test_other_versions_are_refused(monkeypatch, cluster):
    monkeypatch.setenv(engines.ENGINE, f"ray:{cluster}")
    own = engines._versions()
    monkeypatch.setattr(engines, "DECIDING", ("numpy",))
    planted = own | {"numpy": "1.0.planted"}
    ours = iter([planted])
    monkeypatch.setattr(engines, "_own_versions", lambda: next(ours))
    told = r"a worker has numpy .* and this process 1\.0\.planted"
    with pytest.raises(MachineError, match=told), engines.engine(Log()):
        pass


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({engines.ENGINE: "spark"}, "there is no engine 'spark'"),
        ({engines.ENGINE: "ray", engines.WORKERS: "many"}, "'many' is no number of workers"),
        ({engines.ENGINE: "ray:127.0.0.1:9"}, "no Ray answers"),
    ],
)
def test_what_cannot_be_is_said(monkeypatch, variables, what):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DevenoError, match=what) as caught, engines.engine(Log()):
        pass
    assert len(caught.value.lines()) == 3
