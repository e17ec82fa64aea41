"""Fixtures for what users do: a small finished run, made once, and copies for those who change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.report import charts
from tests.e2e.conftest import curate, process
from tests.everything import whole
from tests.users.runs import moved, small_run

__all__ = ["curate", "process", "whole"]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three parts."""
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Reports as on a machine that cannot draw: figures take ten times what the rest takes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(charts, "can_draw", lambda: False)
        yield


@pytest.fixture
def run(small: Path, tmp_path: Path) -> Path:
    """A copy of it that is at home where it is."""
    return moved(small, tmp_path / "run")
