"""The demo, run once through the command line; tests that change it work on copies."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def curate() -> Command:
    """Run `curate ARGUMENTS` in a process of its own."""

    def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "curate.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "160"},
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def demo_run(curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a whole demo, which the test processes share: the first makes it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out = shared / "demo" / "run"
    words = out.parent / "stdout"
    with FileLock(shared / "demo.lock"):
        if not words.exists():
            out.parent.mkdir()
            done = curate("demo", "--out", str(out))
            assert done.returncode == 0, done.stderr
            words.write_text(done.stdout)
    return out


@pytest.fixture
def copied(demo_run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of the demo's finished run."""

    def copy(name: str) -> Path:
        out = tmp_path / name
        shutil.copytree(demo_run, out)
        return out

    return copy


@pytest.fixture
def downloaded(copied: Callable[[str], Path]) -> Callable[[str], Path]:
    """Copies of the demo's run with everything after the download taken away."""

    def copy(name: str) -> Path:
        out = copied(name)
        for stage in ("dedup", "score", "balance", "shards", "report"):
            shutil.rmtree(out / stage)
        return out

    return copy


def read_json(path: Path) -> Any:
    """The JSON document at `path`."""
    return json.loads(path.read_text())


def output_bytes(run: Path) -> dict[str, bytes]:
    """The files whose bytes a run promises: the shards and the entries."""
    found = [*(run / "shards").iterdir(), run / "balance" / "entries.parquet"]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}
