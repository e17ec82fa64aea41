"""Runs on Dataflow: submitted by the real client to a service on loopback, which runs their graphs."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from curate import files
from curate.commands import demo
from curate.config import file as config_file
from curate.files import shipped
from curate.rundir.directory import Run
from tests.engines.cloud import BUCKET, Dataflow, serving
from tests.engines.hosts import CHOICES
from tests.engines.prism import Command, change_job, until
from tests.users.runs import SMALL

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(2400),  # on a busy machine
    pytest.mark.skipif(
        not (find_spec("gcsfs") and find_spec("gcp_storage_emulator")),
        reason="no gcsfs or gcp-storage-emulator: `make test-engines` installs them",
    ),
]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Dataflow]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def pictures() -> Iterator[dict[str, str]]:
    with demo.serve() as found:
        yield found


@pytest.fixture(scope="module")
def local(pictures: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a local run."""
    folder = tmp_path_factory.mktemp("local")
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    (folder / "pool.jsonl").write_text("\n".join(pool[i] for i in SMALL) + "\n")
    path = configured(folder, pictures, str(folder / "run"), f"input.paths={folder}/pool.jsonl")
    command = Command("run", str(path), said=folder / "said")
    said = command.ended()
    assert command.process.returncode == 0, said
    return shards(str(folder / "run"))


@pytest.fixture
def config(
    cloud: Dataflow, local: dict[str, bytes], pictures: dict[str, str], tmp_path: Path
) -> Path:
    """A configuration of which everything is on the store."""
    pool = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    there = f"gs://{BUCKET}/{tmp_path.name}"
    files.write_bytes(f"{there}/pool.jsonl", ("\n".join(pool[i] for i in SMALL) + "\n").encode())
    files.write_bytes(f"{there}/words.txt", shipped("metadata/en-small.txt").read_bytes())
    return configured(
        tmp_path, pictures, f"{there}/run", f"input.paths={there}/pool.jsonl",
        f"prepare.metadata={{en: {there}/words.txt}}",
    )  # fmt: skip


def configured(folder: Path, pictures: dict[str, str], out: str, *overrides: str) -> Path:
    found = demo.demo_config(pictures, out=out, overrides=(*CHOICES, *overrides))
    (folder / "config.yaml").write_text(config_file.dump(found))
    return folder / "config.yaml"


def shards(run: str) -> dict[str, bytes]:
    """The shards, but for what is told of them: it has a digest of paths."""
    folder = f"{run}/shards"
    found = [name for name in files.sizes(folder) if name.endswith((".tar", ".parquet"))]
    return {name: files.read_bytes(f"{folder}/{name}") for name in found}


def run_of(config: Path) -> str:
    return str(config_file.load(str(config)).out)


def start(config: Path, cloud: Dataflow, *options: str) -> Command:
    told = config.with_name("told")
    return Command("run", str(config), *options, "--", *cloud.options, said=told)


def said(config: Path, command: str, *options: str) -> str:
    found = Command(command, run_of(config), *options, said=config.with_name(command))
    told = found.ended()
    assert found.process.returncode == 0, told
    return told


def test_shards_are_those_of_a_local_run(
    cloud: Dataflow, config: Path, local: dict[str, bytes]
) -> None:
    command = start(config, cloud)
    told = command.ended()
    assert command.process.returncode == 0, told
    assert shards(run_of(config)) == local
    assert "complete; no job is going on" in said(config, "status")


def test_ctrl_c_cancels(cloud: Dataflow, config: Path) -> None:
    command, before = start(config, cloud), len(cloud.jobs)
    until(lambda: files.sizes(f"{run_of(config)}/prepare"), "no part was prepared")
    assert cloud.jobs[before].state == "JOB_STATE_RUNNING"
    command.interrupt()
    told = command.ended()
    assert command.process.returncode == 130, told
    assert cloud.jobs[before].state == "JOB_STATE_CANCELLED"
    assert "interrupted; no job is going on" in said(config, "status")


@pytest.mark.parametrize("is_known", [True, False])
def test_a_job_that_waits_is_seen_and_cancelled(
    cloud: Dataflow, config: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr(cloud, "is_full", True)
    command = start(config, cloud, "--detach")
    assert "it goes on by itself" in command.ended()
    if not is_known:  # as where the command was killed before the service answered
        change_job(Run.at(run_of(config)), id="")
    found = json.loads(said(config, "status", "--json"))
    assert found["seen"]["state"] == "waiting"
    assert "It has ended" in said(config, "cancel")
    assert cloud.jobs[-1].state == "JOB_STATE_CANCELLED"
