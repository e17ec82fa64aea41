"""Fixtures for what users do: a small finished run, made once, and copies for those who change it."""

from pathlib import Path

import pytest

from tests.e2e.conftest import curate, process, shared
from tests.users.runs import moved, small_run

__all__ = ["curate", "process", "shared"]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three parts."""
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture
def run(small: Path, tmp_path: Path) -> Path:
    """A copy of it that is at home where it is."""
    return moved(small, tmp_path / "run")
