"""Runs on a Flink cluster of hosts without a common folder, and what goes wrong there."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.flink import Cluster, cluster, lacks
from tests.engines.hosts import (
    digests,
    is_written,
    requests,
    with_captions,
    with_pictures,
)
from tests.engines.prism import Command, until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(3600),  # on a busy machine
    pytest.mark.skipif(bool(lacks()), reason=f"a Flink cluster lacks {lacks()}"),
]
OTHER = "--set", "balance.t=2", "--set", "dedup.policy=[caption]"
MOMENTS = ["submitted", "prepare", "download", "dedup", "balance"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("flink")) as found:
        yield found


@pytest.fixture(scope="module")
def config(flink: Cluster) -> Path:
    return with_pictures(flink.hosts)


@pytest.fixture(scope="module")
def local(flink: Cluster, config: Path) -> dict[str, str]:
    """Digests of the files of a run on the launcher."""
    return of_launcher(flink, config, "local")


@pytest.fixture(scope="module")
def other(flink: Cluster, config: Path) -> dict[str, str]:
    """Those of another configuration."""
    return of_launcher(flink, config, "other", *OTHER)


def of_launcher(flink: Cluster, config: Path, name: str, *options: str) -> dict[str, str]:
    out = f"s3://bucket/{name}"
    well(flink.hosts.command(name, "run", str(config), "--out", out, *options))
    (found,) = digests(flink.hosts, name)
    return found


def well(command: Command) -> str:
    said = command.ended()
    assert command.process.returncode == 0, said
    return said


def states(flink: Cluster) -> list[str]:
    """Of all jobs that the cluster has had."""
    return [str(job["state"]) for job in flink.told("jobs/overview")["jobs"]]


def are_over(flink: Cluster) -> Callable[[], bool]:
    return lambda: {"FINISHED", "CANCELED", "FAILED"}.issuperset(states(flink))


def test_nothing_goes_wrong(flink: Cluster, config: Path, local: dict[str, str]) -> None:
    well(flink.run("calm", config))
    assert digests(flink.hosts, "calm") == [local]
    status = flink.hosts.command("status", "status", "s3://bucket/calm")
    assert "complete; no job is going on" in well(status)


def test_a_host_goes_out_and_comes_back(
    flink: Cluster, config: Path, local: dict[str, str]
) -> None:
    run = flink.run("host", config)
    until(is_written(flink.hosts, "host", "prepare"), "no part was prepared")
    flink.end_worker("tm1")
    time.sleep(8)
    flink.start_worker("tm1")
    well(run)
    assert digests(flink.hosts, "host") == [local]


def test_a_worker_is_killed(flink: Cluster, config: Path, local: dict[str, str]) -> None:
    run = flink.run("worker", config)
    until(is_written(flink.hosts, "worker", "prepare"), "no part was prepared")
    until(lambda: [*map(flink.kill_worker, ("tm1", "tm2"))].count(True), "no worker is there")
    well(run)
    assert digests(flink.hosts, "worker") == [local]


def test_the_store_is_away_for_some_seconds(
    flink: Cluster, config: Path, local: dict[str, str]
) -> None:
    run = flink.run("store", config)
    until(is_written(flink.hosts, "store", "prepare"), "no part was prepared")
    flink.hosts.cut("store")
    time.sleep(20)
    flink.hosts.mend("store")
    well(run)
    assert digests(flink.hosts, "store") == [local]


def test_ctrl_c_cancels(flink: Cluster, config: Path, local: dict[str, str]) -> None:
    run = flink.run("interrupt", config)
    until(is_written(flink.hosts, "interrupt", "prepare"), "no part was prepared")
    run.interrupt()
    said = run.ended()
    assert run.process.returncode == 130, said
    assert "CANCELED" in states(flink)
    assert "RUNNING" not in states(flink)
    well(flink.run("interrupt", config))
    assert digests(flink.hosts, "interrupt") == [local]


@pytest.mark.parametrize("moment", MOMENTS)
def test_its_command_is_killed_and_another_configuration_follows(
    flink: Cluster, config: Path, other: dict[str, str], moment: str
) -> None:
    name = f"two-{moment}"
    first = flink.run(name, config)
    if moment == "submitted":
        until(lambda: "RUNNING" in states(flink), "no job runs")
    else:
        until(is_written(flink.hosts, name, moment), f"no part is through {moment}")
    first.kill()
    well(flink.run(name, config, *OTHER))
    assert digests(flink.hosts, name) == [other]
    until(are_over(flink), "a job goes on")


def test_250_000_captions(flink: Cluster) -> None:
    """Bytes of a local run; seconds and requests beside it are printed."""
    config = with_captions(flink.hosts, 250_000)
    began = time.monotonic()
    local = of_launcher(flink, config, "captions-local")
    here, before = time.monotonic() - began, requests(flink.hosts)
    began = time.monotonic()
    well(flink.run("captions", config))
    there = time.monotonic() - began
    print(
        f"launcher {here:.0f} s, Flink {there:.0f} s, {requests(flink.hosts) - before:,} requests"
    )
    assert digests(flink.hosts, "captions") == [local]


def test_without_a_slot(tmp_path: Path) -> None:
    """It says so while it waits, and goes on once there is one."""
    with cluster(tmp_path, workers=0) as flink:
        run = flink.run("slot", with_pictures(flink.hosts))
        until(lambda: "no slot is free (0 of 0)" in run.said(), "it does not say so")
        status = flink.hosts.command("status", "status", "s3://bucket/slot")
        assert "no slot is free (0 of 0)" in well(status)
        flink.start_worker("tm1")
        well(run)
