"""A run directory for each test."""

from pathlib import Path

import pytest

from curate.rundir.directory import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(str(tmp_path / "run"))
