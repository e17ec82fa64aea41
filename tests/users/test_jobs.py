"""A run knows the job that makes it: it is told of, waited for or ended; one that is over is not."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from curate.engines import portable
from curate.engines.job import Job
from curate.engines.local import identity
from curate.rundir.directory import Run
from tests.users.runs import document, refused, well


def noted(run: Path, **values: str) -> None:
    """Note in run.json a job that changes the run."""
    job = Job(engine="FnApiRunner", name="j", where=socket.gethostname(), of="")
    Run.at(str(run)).update(job=asdict(job) | values)


@pytest.fixture
def another() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that stands for another command at work."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def named(process: "subprocess.Popen[bytes]") -> str:
    return identity(process.pid)[0]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_what_is_called_a_process_is_told_apart_from_a_later_one_of_its_number() -> None:
    name, host = identity()
    assert name.split()[1] == str(os.getpid())
    assert host == socket.gethostname()


def test_two_commands_on_a_run_without_locks(
    run: Path, another: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    noted(run, id=named(another))
    line = refused("run", str(run / "config.yaml"), "--set", "balance.t=2", "--force")
    assert named(another) in line
    assert f"curate cancel {run}" in line
    (tmp_path / "list.txt").write_text("0" * 32)
    assert f"curate status {run}" in refused("revoke", str(run), "--list", f"{tmp_path}/list.txt")
    assert f"{named(another)} on FnApiRunner" in well("status", str(run))
    assert "It has ended" in well("cancel", str(run))
    assert another.wait(timeout=20) != 0
    assert document(run / "run.json")["state"] == "interrupted"
    well("run", str(run / "config.yaml"), "--set", "balance.t=2", "--force")


@pytest.mark.parametrize("id_", ["process 1 of 0", "process 4194304 of 1"])
def test_a_command_that_was_killed_is_in_nobodys_way(run: Path, id_: str) -> None:
    noted(run, id=id_)
    assert "no job is going on" in well("cancel", str(run))
    well("run", str(run / "config.yaml"), "--set", "balance.t=2", "--force")
    state = document(run / "run.json")
    assert (state["state"], state["job"]) == ("complete", None)


def test_an_engine_that_is_gone_is_told_of_and_not_waited_for(run: Path) -> None:
    where = f"localhost:{free_port()}"
    noted(run, engine="PortableRunner", id="job-1", where=where)
    told = json.loads(well("status", str(run), "--json"))
    assert told["seen"] == {
        "state": "silent", "said": [], "why": f"the job server at {where} does not answer",
    }  # fmt: skip
    assert "cannot be ended from here" in refused("cancel", str(run))
    said = well("run", str(run / "config.yaml"), "--set", "balance.t=2", "--force")
    assert "job-1 on PortableRunner" in said
    assert "Its workers end when they find that this command has begun" in said


def test_the_generation_grows_with_each_command(run: Path) -> None:
    def generation() -> int:
        return int(document(run / "run.json")["generation"])

    before = generation()
    well("run", str(run / "config.yaml"))
    assert generation() == before + 1


def test_status_of_a_run_that_is_done(run: Path) -> None:
    assert "complete; no job is going on" in well("status", str(run))
    told = json.loads(well("status", str(run), "--json"))
    assert {(x["done"], x["parts"]) for x in told["steps"]} == {(3, 3)}
    assert [x["step"] for x in told["steps"]][-1] == "balance"


def test_a_local_run_cannot_be_left(run: Path) -> None:
    assert "--detach: a local run" in refused("run", str(run / "config.yaml"), "--detach")


def test_a_job_server_that_does_not_answer_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "_ANSWER", 1.0)
    with socket.socket() as closed:
        closed.bind(("localhost", 0))  # and not listening
        where = f"localhost:{closed.getsockname()[1]}"
        config, out = str(run / "config.yaml"), str(tmp_path / "other")
        beam = "--runner=PortableRunner", f"--job_endpoint={where}"
        said = refused("run", config, "--out", out, "--", *beam)
    assert f"--job_endpoint {where}: no job server answers there" in said
    assert not (tmp_path / "other/prepare").exists()
