"""The lock on a run directory: who is kept out, for how long, and what is left of it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.errors import CurateError
from curate.rundir.lock import NAME, locked

HOLDING = """
import os, subprocess, sys, time
from curate.rundir.lock import locked
with locked(sys.argv[1]):
    subprocess.Popen(["sleep", "60"], close_fds=False)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_in_a_line_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(str(folder)):
        for shared in (False, True):
            with pytest.raises(CurateError) as caught, locked(str(folder), shared=shared):
                pass
            told = str(caught.value)
            assert told.startswith(f"another curate command is at work in {folder}; wait until")
            assert "\n" not in told
        (folder / "kept").touch()
    assert os.listdir(folder) == ["kept"]
    with locked(str(folder)):
        pass
    assert os.listdir(folder) == ["kept"]


def test_readers_share_and_keep_writers_out(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(locked(folder, shared=True))
        second.enter_context(locked(folder, shared=True))
        first.close()
        assert os.listdir(folder) == [NAME]
        with pytest.raises(CurateError, match="another curate command"), locked(folder):
            pass
    assert os.listdir(folder) == []


def test_of_a_folder_that_was_made_for_it_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="refused"), locked(str(tmp_path / "a" / "b")):
        raise CurateError("refused")
    assert os.listdir(tmp_path) == []


def test_a_killed_process_is_no_obstacle_though_its_children_live(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert holder.stdout is not None
    try:
        child = int(holder.stdout.readline())
        with pytest.raises(CurateError, match="another curate command"), locked(str(tmp_path)):
            pass
        holder.kill()
        holder.wait(10)
        os.kill(child, 0)  # it lives
        deadline = time.monotonic() + 5
        while not _free(tmp_path):
            assert time.monotonic() < deadline
        assert os.listdir(tmp_path) == []
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def _free(folder: Path) -> bool:
    try:
        with locked(str(folder)):
            return True
    except CurateError:
        return False


def test_a_folder_elsewhere_is_not_locked(tmp_path: Path) -> None:
    with locked("memory://locked-run"), locked("memory://locked-run"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_may_not_be_written_is_read_without_a_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with locked(str(tmp_path), shared=True):
        assert os.listdir(tmp_path) == []
    with pytest.raises(CurateError, match="cannot write there: Permission"), locked(str(tmp_path)):
        pass


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CurateError, match="file: cannot write there"), locked(str(file)):
        pass


@pytest.mark.parametrize(
    ("arguments", "at_work_in"),
    [
        ("run CONFIG --out RUN", "RUN"),
        ("run CONFIG --out RUN --retry-failed", "RUN"),
        ("revoke RUN --list LIST", "RUN"),
        ("score RUN --model ViT-B-32", "RUN"),
        ("report RUN", "RUN"),
        ("report RUN", "RUN/report"),
        ("report DERIVED", "RUN"),
        ("sweep RUN", "RUN"),
        ("sweep RUN --t 5", "RUN/report"),
        ("sweep DERIVED", "RUN"),
        ("rebalance RUN --out OTHER --t 5", "RUN"),
        ("rebalance RUN --out OTHER --t 5", "OTHER"),
    ],
)
def test_every_command_that_writes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, at_work_in: str
) -> None:
    monkeypatch.setenv("CURATE_DEBUG", "1")
    (tmp_path / "CONFIG").write_text("input: {paths: pool.jsonl}\n")
    states = {"RUN": None, "OTHER": None, "DERIVED": str(tmp_path / "RUN")}
    for name, source in states.items():
        state = {"state": "complete", "source": source}
        files.write_json(str(tmp_path / name / "run.json"), state)
    words = [str(tmp_path / x) if x.isupper() else x for x in arguments.split()]
    with locked(str(tmp_path / at_work_in)):
        found = CliRunner().invoke(app, ["--debug", *words])
    assert isinstance(found.exception, CurateError)
    assert f"at work in {tmp_path / at_work_in};" in str(found.exception)
    assert not [*tmp_path.glob(f"**/{NAME}")]


@pytest.mark.parametrize("command", ["report", "sweep"])
def test_a_report_is_written_beside_readers_and_what_changes_the_run_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As beside a rebalance of the same run; what it would interfere with is kept out meanwhile."""
    root = str(tmp_path / "run")
    files.write_json(files.join(root, "run.json"), {"state": "complete", "parts": 0})
    refused = []

    def load(url: str) -> None:
        for folder in (root, files.join(root, "report")):
            with pytest.raises(CurateError, match="another curate command"), locked(folder):
                pass
            refused.append(folder)
        raise CurateError(f"{url}: read under the lock")

    monkeypatch.setattr("curate.config.file.load", load)
    with locked(root, shared=True):
        found = CliRunner().invoke(app, ["--debug", command, root])
    assert "config.yaml: read under the lock" in str(found.exception)
    assert len(refused) == 2
    assert sorted(os.listdir(root)) == ["run.json"]
