"""Two workers share two devices, fakes that compute on the CPU, whose processes are killed once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from curate.ops.scores.devices import FAKE
from tests.users.runs import well
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


def started(config: str, out: Path) -> "subprocess.Popen[str]":
    """The command, on a machine with fake devices."""
    return subprocess.Popen(
        [sys.executable, "-m", "curate.cli", "run", config, "--out", str(out),
         "--workers", str(WORKERS)], env={**os.environ, FAKE: str(DEVICES), MARK: str(out)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


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


def test_devices_are_lost_and_the_same_command_goes_on(config: str, tmp_path: Path) -> None:
    many, one = tmp_path / "many", tmp_path / "one"
    first = started(config, many)
    while not list(many.glob("records/annotated/score/part-*.json")) and first.poll() is None:
        time.sleep(0.02)
    assert first.poll() is None, first.communicate()
    lost = serving(many)  # one of them may still be loading: that is only begun again
    for pid in lost:
        os.kill(pid, signal.SIGKILL)
    _, error = first.communicate(timeout=600)
    assert first.returncode == 1, error
    assert error.count("\n") == 1, error
    assert any(f"(process {pid}) ended" in error for pid in lost)
    assert GO_ON in error
    assert not serving(many)

    seen: set[int] = set()
    second = started(config, many)
    while second.poll() is None:
        seen |= serving(many)
        time.sleep(0.05)
    assert second.returncode == 0, second.communicate()
    assert len(seen) == DEVICES
    assert not serving(many)
    assert len(used(many)) == DEVICES

    well("run", config, "--out", str(one))
    assert not used(one)
    for kind in ("annotated/score/*.parquet", "annotated/score/*.npz", "shards/*.tar"):
        names = sorted(x.relative_to(one) for x in one.glob(kind))
        assert names
        for name in names:
            assert (many / name).read_bytes() == (one / name).read_bytes(), name


def test_plan_says_which_devices_there_are(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAKE, "3")
    said = " ".join(well("plan", config, "--out", str(tmp_path / "run")).split())
    assert (
        f"models: {MODEL}, on fake device 0, fake device 1, fake device 2, in 3 processes" in said
    )
