"""Two workers share two devices, fakes that compute on the CPU; one device's process is killed."""

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


def serving() -> set[int]:
    """The processes that run a model for others."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"scores.served import" in path.read_bytes():
                found.add(int(path.parent.name))
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


def test_a_device_is_lost_and_the_same_command_goes_on(config: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "curate.cli", "run", config, "--workers", str(WORKERS)]
    many, one = tmp_path / "many", tmp_path / "one"
    first = subprocess.Popen(
        [*command, "--out", str(many)], env={**os.environ, FAKE: str(DEVICES)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(many.glob("records/annotated/score/part-*.json")) and first.poll() is None:
        time.sleep(0.02)
    assert first.poll() is None, first.communicate()
    lost = min(serving())
    os.kill(lost, signal.SIGKILL)
    _, error = first.communicate(timeout=600)
    assert first.returncode == 1, error
    assert error.count("\n") == 1
    assert f"(process {lost}) ended" in error
    assert GO_ON in error
    assert not serving()

    seen: set[int] = set()
    second = subprocess.Popen(
        [*command, "--out", str(many)], env={**os.environ, FAKE: str(DEVICES)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while second.poll() is None:
        seen |= serving()
        time.sleep(0.05)
    assert second.returncode == 0, second.communicate()
    assert len(seen) == DEVICES
    assert not serving()
    assert len(used(many)) == DEVICES

    well("run", config, "--out", str(one))
    assert not used(one)
    for kind in ("annotated/score/*.parquet", "annotated/score/*.npz", "shards/*.tar"):
        names = sorted(x.relative_to(one) for x in one.glob(kind))
        assert names
        for name in names:
            assert (many / name).read_bytes() == (one / name).read_bytes(), name
