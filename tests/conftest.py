"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real test material beside the checkout; where it is absent the test is skipped, counted."""
    folder = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("no shared test data (set DEVENO_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def shared_data(test_data: Path) -> Path:
    """The folder of corpora, treebanks, goldens and pairs."""
    return test_data / "data"
