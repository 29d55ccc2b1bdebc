"""MD5 side by side gives what hashlib gives, at every edge of a block and of a chunk."""

from __future__ import annotations

import hashlib
import random

import pytest

SIZES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 65535, 65536, 65537, 131063, 131073, 200000, 999999)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("files"), random.Random(5)
    paths = [folder / f"{number:02d}.bin" for number in range(2 * len(SIZES))]  # more than lanes
    for path, size in zip(paths, (*SIZES, *SIZES[::-1]), strict=True):
        path.write_bytes(rng.randbytes(size))
    return paths


def plain(path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_it_is_md5(files):
    from stages.lm import lanes

    assert lanes.digests(files) == [plain(path) for path in files]
    assert lanes.digests(files[-2:]) == [plain(path) for path in files[-2:]]
    assert lanes.digests([]) == []


def test_another_constant_would_be_found(files, monkeypatch):
    from stages.lm import lanes

    monkeypatch.setattr(lanes, "START", (*lanes.START[:3], lanes.START[3] ^ 1))
    found = lanes.digests(files)
    assert not any(value == plain(path) for value, path in zip(found, files, strict=True))
