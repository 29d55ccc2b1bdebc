"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# What a test runs in a project of its own need not compile the kernels once more.
os.environ.setdefault("DEVENO_KERNELS", str(ROOT / ".deveno" / "kernels"))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script: what the tests start could not be interrupted either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
