"""Two workers share two devices, fakes that compute on the CPU, whose processes are killed once."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from curate.ops.scores.devices import FAKE
from tests.users.runs import curate, well
from tests.users.test_workers import GO_ON, lives

SCORER = shipped("pipelines/demo/scorer")
MODEL, WEIGHTS = SCORER / "curate-mini.json", SCORER / "curate-mini.safetensors"
DEVICES = WORKERS = 2
MARK = "MARK_OF_TEST"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A configuration of twelve parts, each of four batches."""
    folder = tmp_path_factory.mktemp("devices")
    pictures = sorted(shipped("pipelines/demo/pool/images").glob("*.jpg"))[:12]
    for picture in pictures:
        shutil.copy(picture, folder / picture.name)
    rows = [(x.name, f"{n} pictures of {x.stem}") for n in range(8) for x in pictures]
    pool = pa.table({"file_name": [x for x, _ in rows], "text": [x for _, x in rows]})
    pq.write_table(pool, folder / "pool.parquet")
    document = {
        "input": {"paths": str(folder / "pool.parquet"), "max_dead_fraction": 1,
                  "columns": {"image": "file_name", "caption": "text"}}, "part_rows": 8,
        "dedup": {"enabled": False},
        "score": {"model": str(MODEL), "pretrained": str(WEIGHTS), "batch_size": 2,
                  "embeddings": True},
    }  # fmt: skip
    (folder / "c.yaml").write_text(json.dumps(document))
    return str(folder / "c.yaml")


def ran(
    config: str, out: Path, watch: Callable[[threading.Event], None]
) -> "subprocess.CompletedProcess[str]":
    """The command, on a machine with fake devices; `watch` is told in its thread when it ends."""
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(ended,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAKE, str(DEVICES))
        patch.setenv(MARK, str(out))
        watcher.start()
        done = curate("run", config, "--out", str(out), "--workers", str(WORKERS))
    ended.set()
    watcher.join()
    return done


def serving(out: Path) -> set[int]:
    """The processes that run a model for the workers of the run at `out`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_one = b"scores.served import" in (folder / "cmdline").read_bytes()
            if is_one and f"{MARK}={out}".encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return {pid for pid in found if lives(pid)}


def used(run: Path) -> dict[str, float]:
    """Rows that each device scored, by its number."""
    records = [json.loads(x.read_text()) for x in run.glob("records/annotated/score/part-*.json")]
    found: dict[str, float] = {}
    for record in records:
        for name, n in record["figures"].items():
            if name.startswith("on_device_"):
                found[name] = found.get(name, 0) + n
    return found


@pytest.fixture(scope="module")
def lost(config: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int], str]:
    """A run that ended as the devices' processes were killed, these, and what it said."""
    out = tmp_path_factory.mktemp("many") / "run"
    killed: set[int] = set()

    def kill(ended: threading.Event) -> None:
        while not list(out.glob("records/annotated/score/part-*.json")) and not ended.wait(0.02):
            pass
        killed.update(serving(out))  # one may still be loading: that is only begun again
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    done = ran(config, out, kill)
    assert done.returncode == 1, done.stderr
    return out, killed, done.stderr


@pytest.fixture(scope="module")
def many(config: str, lost: tuple[Path, set[int], str]) -> tuple[Path, set[int]]:
    """That run, gone on with to its end, and the processes that it had the model in."""
    seen: set[int] = set()

    def see(ended: threading.Event) -> None:
        while not ended.wait(0.05):
            seen.update(serving(lost[0]))

    done = ran(config, lost[0], see)
    assert done.returncode == 0, done.stderr
    return lost[0], seen


def test_the_loss_of_a_device_is_told_in_one_line(lost: tuple[Path, set[int], str]) -> None:
    out, killed, error = lost
    assert error.count("\n") == 1, error
    assert any(f"(process {pid}) ended" in error for pid in killed)
    assert GO_ON in error
    assert not serving(out)


def test_each_device_is_used_by_one_process(many: tuple[Path, set[int]]) -> None:
    run, seen = many
    assert len(seen) == DEVICES
    assert len(used(run)) == DEVICES
    assert not serving(run)


def test_the_bytes_are_those_of_one_worker_without_devices(
    config: str, many: tuple[Path, set[int]], tmp_path: Path
) -> None:
    one = tmp_path / "one"
    well("run", config, "--out", str(one))
    assert not used(one)
    for kind in ("annotated/score/*.parquet", "annotated/score/*.npz", "shards/*.tar"):
        names = sorted(x.relative_to(one) for x in one.glob(kind))
        assert names
        for name in names:
            assert (many[0] / name).read_bytes() == (one / name).read_bytes(), name


def test_plan_says_which_devices_there_are(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAKE, "3")
    said = " ".join(well("plan", config, "--out", str(tmp_path / "run")).split())
    assert (
        f"models: {MODEL}, on fake device 0, fake device 1, fake device 2, in 3 processes" in said
    )
