"""Runs on a job server of Beam's: Prism, with a pool of worker processes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from curate.engines.job import State
from curate.rundir.directory import Run
from tests.engines.prism import (
    PARTS,
    PROGRAM,
    Asked,
    Command,
    Prism,
    captions,
    change_job,
    data,
    free_port,
    look,
    serving,
    until,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(2400),  # on a busy machine
    pytest.mark.skipif(not PROGRAM, reason="no prism: `make test-engines` installs it by Go"),
]
OTHER = "--set", "balance.t=20", "--set", "dedup.policy=[caption]"
"""Of another configuration, whose files differ from those of the first at dedup and balance."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captions(tmp_path_factory.mktemp("pool"), 16_000)


@pytest.fixture(scope="module")
def local(config: Path) -> dict[str, bytes]:
    """The files of a local run."""
    asked = Asked(config, config.parent / "local")
    asked.well()
    return data(asked.run)


@pytest.fixture(scope="module")
def other(config: Path) -> dict[str, bytes]:
    """Those of a local run of the other configuration."""
    asked = Asked(config, config.parent / "other")
    asked.well(*OTHER)
    return data(asked.run)


@pytest.fixture
def asked(config: Path, tmp_path: Path) -> Asked:
    return Asked(config, tmp_path / "run")


def status(asked: Asked, *options: str) -> str:
    said = asked.run.parent / "status.said"
    command = Command("status", str(asked.run), *options, said=said)
    told = command.ended()
    assert command.process.returncode == 0, told
    return told


def test_the_demo_is_that_of_a_local_run(server: Prism, tmp_path: Path) -> None:
    options = ",".join(server.options[1:])
    there = ("--set", "beam.runner=PortableRunner", "--set", f"beam.options=[{options}]")
    for name, set_ in (("here", ()), ("there", there)):
        out = str(tmp_path / name)
        command = Command("demo", "--out", out, *set_, said=tmp_path / f"{name}.said")
        said = command.ended()
        assert command.process.returncode == 0, said
    assert data(tmp_path / "there") == data(tmp_path / "here")


def test_100_000_captions_are_those_of_a_local_run(server: Prism, tmp_path: Path) -> None:
    config = captions(tmp_path, 100_000)
    here, there = Asked(config, tmp_path / "here"), Asked(config, tmp_path / "there")
    here.well()
    there.well(on=server)
    assert data(there.run) == data(here.run)
    assert there.job() is None
    assert "complete; no job is going on" in status(there)
    assert "all is done already" in there.well(on=server)


def test_a_worker_is_killed(asked: Asked, local: dict[str, bytes], tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        command = asked.start(on=server)
        until(lambda: asked.records("prepare"), "no part was prepared")
        for worker in server.workers():
            worker.kill()
        said = command.process.wait(30)
        assert said == 1
        last = command.said().strip().splitlines()[-1]
        assert last.startswith("error ")
        assert "worker" in last
        asked.well(on=server)
    assert data(asked.run) == local


def test_ctrl_c_cancels(server: Prism, asked: Asked, local: dict[str, bytes]) -> None:
    command = asked.start(on=server)
    until(lambda: asked.records("prepare"), "no part was prepared")
    job = asked.job()
    assert job
    command.interrupt()
    said = command.ended()
    assert command.process.returncode == 130, said
    assert look(job).state is State.CANCELLED
    assert "interrupted; no job is going on" in status(asked)
    asked.well(on=server)
    assert data(asked.run) == local


def test_a_job_that_is_detached(server: Prism, asked: Asked, local: dict[str, bytes]) -> None:
    submitting = asked.start("--detach", on=server)
    until(lambda: asked.records("prepare"), "no part was prepared")
    with server.held():
        assert "it goes on by itself" in submitting.ended()
        job = asked.job()
        assert job
        found = json.loads(status(asked, "--json"))
        assert found["job"]["id"] == job.id
        assert found["seen"]["state"] == "running"
        assert found["steps"][0]["done"] > 0
        assert "goes on already" in asked.well("--detach", on=server)
        watching = asked.start(on=server)
        until(lambda: f"Watching {job}" in watching.said(), "it was not taken up again")
    said = watching.ended()
    assert watching.process.returncode == 0, said
    assert data(asked.run) == local
    assert asked.job() is None
    assert (asked.run / "report/index.html").exists()


def test_a_job_that_is_done_lacks_the_report_alone(
    server: Prism, asked: Asked, local: dict[str, bytes]
) -> None:
    asked.well("--detach", on=server)
    job = asked.job()
    assert job
    until(lambda: look(job).state.ended, "the job did not end")
    assert "the report is still to be written" in status(asked)
    at = {path: path.stat().st_mtime_ns for path in asked.run.rglob("part-*")}
    asked.well(on=server)
    assert {path: path.stat().st_mtime_ns for path in asked.run.rglob("part-*")} == at
    assert data(asked.run) == local
    assert (asked.run / "report/index.html").exists()


def test_a_job_is_cancelled_by_another_command(server: Prism, asked: Asked) -> None:
    asked.well("--detach", on=server)
    job = asked.job()
    assert job
    cancel = Command("cancel", str(asked.run), said=asked.run.parent / "cancel.said")
    assert "It has ended" in cancel.ended()
    assert look(job).state is State.CANCELLED
    assert "interrupted; no job is going on" in status(asked)


MOMENTS: dict[str, Callable[[Asked], object]] = {
    "noted": lambda asked: asked.job(),
    "submitted": lambda asked: (job := asked.job()) and job.id,
    "prepares": lambda asked: asked.records("prepare"),
    "prepared": lambda asked: asked.records("prepare") == PARTS,
    "balances": lambda asked: asked.records("dedup"),
}


@pytest.mark.parametrize("moment", [*MOMENTS])
def test_its_command_is_killed_and_another_configuration_follows(
    server: Prism, asked: Asked, other: dict[str, bytes], moment: str
) -> None:
    command = asked.start(on=server)
    until(lambda: MOMENTS[moment](asked), "the moment did not come")
    command.kill()
    job = asked.job()
    asked.well(*OTHER, on=server)
    assert data(asked.run) == other
    assert job
    assert look(job).state.ended


def test_so_does_one_whose_job_is_known_by_its_name_alone(
    server: Prism, asked: Asked, other: dict[str, bytes]
) -> None:
    asked.well("--detach", on=server)
    job = asked.job()
    assert job
    change_job(Run.at(str(asked.run)), id="")
    assert f"Cancelling {job.name}" in asked.well(*OTHER, on=server)
    assert data(asked.run) == other
    assert look(job).state.ended


def test_so_does_one_whose_engine_does_not_answer(
    server: Prism, asked: Asked, other: dict[str, bytes]
) -> None:
    asked.well("--detach", on=server)
    job = asked.job()
    assert job
    change_job(Run.at(str(asked.run)), where=f"localhost:{free_port()}")
    assert "Its workers end when they find" in asked.well(*OTHER, on=server)
    assert data(asked.run) == other
    until(lambda: look(job).state.ended, "the job did not end")
    seen = look(job)
    assert seen.state is State.FAILED
    assert any("another command has begun" in said for said in seen.said)


def test_prism_is_started_by_beam(asked: Asked, local: dict[str, bytes]) -> None:
    beam = ("--runner=PrismRunner", f"--prism_location={PROGRAM}")
    command = asked.start(beam=beam)
    until(lambda: asked.records("prepare"), "no part was prepared")
    started = psutil.Process(command.process.pid).children(recursive=True)
    assert any(one.name() == "prism" for one in started)
    command.interrupt()
    said = command.ended()
    assert command.process.returncode == 130, said
    until(lambda: not any(one.is_running() for one in started), "a process is left behind")
    asked.well(beam=beam)
    assert data(asked.run) == local
