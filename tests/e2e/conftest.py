"""The demo, run once through the command line; tests that change it work on copies.

A command takes seconds to import what it needs, so most tests run theirs in this process. What a
process of its own has beside that (its exit status, its two streams, Ctrl-C, SIGKILL) has tests of
its own, and the demo's run is made by one.
"""

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

from curate import files
from curate.files import shipped
from curate.rundir.directory import Run
from curate.schema import Stage
from tests.users import runs

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Copied = Callable[[str], Path]

SOME = (*range(60), 83, 103, 176, 228, 255, 277, 317, 330, 350, 375, *range(412, 509))
"""Of the demo's pool: the bad neighbours, the duplicates, and pairs that nothing is wrong with."""


@pytest.fixture(scope="session")
def process() -> Command:
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
def curate() -> Command:
    """Run `curate ARGUMENTS` in this process."""
    return runs.curate


def made_once(shared: Path, name: str, curate: Command, *options: str) -> Path:
    """The run directory of a demo: the first process makes it. What it said stands beside it."""
    out = shared / name / "run"
    words = out.parent / "stdout"
    with FileLock(shared / f"{name}.lock"):
        if not words.exists():
            done = curate("demo", "--out", str(out), *options)
            assert done.returncode == 0, done.stderr
            words.write_text(done.stdout)
    return out


@pytest.fixture(scope="session")
def demo_run(process: Command, shared: Path) -> Path:
    """The run directory of a whole demo."""
    return made_once(shared, "demo", process)


@pytest.fixture(scope="session")
def some_pairs(shared: Path) -> tuple[str, ...]:
    """Options of a demo over a third of its pool, in six parts."""
    path = shared / "some.jsonl"
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    with FileLock(shared / "pool.lock"):
        if not path.exists():
            path.write_text("\n".join(pool[i] for i in SOME) + "\n")
    return "--set", f"input.paths={path}", "--set", "part_rows=28"


@pytest.fixture(scope="session")
def some_run(curate: Command, shared: Path, some_pairs: tuple[str, ...]) -> Path:
    """The run directory of a demo over a third of its pool."""
    return made_once(shared, "some", curate, *some_pairs)


@pytest.fixture
def copied(demo_run: Path, tmp_path: Path) -> Copied:
    """Copies of the demo's finished run."""
    return lambda name: Path(shutil.copytree(demo_run, tmp_path / name))


@pytest.fixture
def some_copied(some_run: Path, tmp_path: Path) -> Copied:
    """Copies of the smaller run."""
    return lambda name: Path(shutil.copytree(some_run, tmp_path / name))


@pytest.fixture
def downloaded(some_copied: Copied) -> Copied:
    """Copies of the smaller run with everything after the download taken away."""

    def copy(name: str) -> Path:
        out = some_copied(name)
        run = Run.at(str(out))
        for stage in (Stage.DEDUP, Stage.SCORE, Stage.BALANCE, Stage.SHARDS, Stage.REPORT):
            for folder in run.folders(stage):
                files.remove(folder)
        return out

    return copy


def read_json(path: Path) -> Any:
    """The JSON document at `path`."""
    return json.loads(path.read_text())


def output_bytes(run: Path) -> dict[str, bytes]:
    """The files whose bytes a run promises: the shards and the entries; the data card has its name."""
    shards = (path for path in (run / "shards").iterdir() if path.name != "README.md")
    found = [*shards, run / "entries" / "entries.parquet"]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}
