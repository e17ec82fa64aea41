"""A job of an earlier generation changes nothing: it finds out before a file appears or goes."""

import pickle
from pathlib import Path

import pytest

from curate import files
from curate.errors import CurateError
from curate.files import guards
from curate.rundir import generation
from curate.rundir.directory import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of generation 2, as a worker has it: nothing is trusted for longer than it takes."""
    monkeypatch.setattr(generation, "FRESH", 0.0)
    monkeypatch.setattr(guards, "_checks", {})
    Run.to(str(tmp_path / "run")).update(state="running", generation=2)
    found: Run = pickle.loads(pickle.dumps(Run(str(tmp_path / "run"), generation=2)))
    return found


def test_a_worker_writes_while_its_generation_is_the_runs(run: Run) -> None:
    files.write_bytes(run.path("prepare/part-00000.parquet"), b"x")
    files.remove(run.path("prepare"))


def test_a_late_worker_neither_writes_nor_removes(run: Run) -> None:
    url = run.path("prepare/part-00000.parquet")
    files.write_bytes(url, b"new")
    guards._checks.clear()  # as in another process
    Run.to(run.root).update(generation=3)
    pickle.loads(pickle.dumps(run))
    with pytest.raises(CurateError, match="generation 3, this job is of 2"):
        files.write_bytes(url, b"late")
    for remove in (files.remove, files.remove_file):
        with pytest.raises(CurateError, match="changes nothing more"):
            remove(url)
    assert files.read_bytes(url) == b"new"
    assert files.names(run.path("prepare")) == ["part-00000.parquet"]  # no temporary file


def test_what_stands_beside_the_run_is_free(run: Run) -> None:
    files.write_bytes(f"{run.root}-beside/x", b"x")


def test_a_run_that_lost_its_document_is_not_guarded(run: Run) -> None:
    (Path(run.root) / "run.json").unlink()
    files.write_bytes(run.path("prepare/part-00000.parquet"), b"x")
