"""A run against nginx itself, whose kept-alive connections, chunks and errors are those of the web."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.bench._server import NGINX, serve
from tests.e2e.conftest import Command

pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: apt install nginx-light"
)


def test_every_picture_that_nginx_serves_is_stored_and_the_others_are_named(
    curate: Command, tmp_path: Path
) -> None:
    images = shipped("pipelines/demo/pool/images")
    names = sorted(path.name for path in images.iterdir())[:80]
    pool = [{"url": f"http://pictures.example/{x}", "caption": f"Picture {x}"} for x in names]
    pool += [
        {"url": f"http://pictures.example/no-{x}", "caption": f"None of {x}"} for x in names[:9]
    ]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    with serve(images) as address:
        document = {
            "input": {"paths": str(tmp_path / "pool.jsonl")},
            "download": {
                "connect_to": {"pictures.example": address},
                "resize_mode": "no",
                "retries": 0,
            },
            "dedup": {"enabled": False},
        }
        (tmp_path / "c.yaml").write_text(json.dumps(document))  # JSON is YAML
        done = curate("run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    ledger = pq.read_table(tmp_path / "run/dropped/download").to_pylist()
    assert {row["url"].rpartition("/")[2] for row in ledger} == {f"no-{x}" for x in names[:9]}
    assert {row["reason"] for row in ledger} == {"http_404"}
    stored = pq.read_table(tmp_path / "run/download/part-00000.parquet").to_pylist()
    assert [row["url"].rpartition("/")[2] for row in stored] == names
    for row, name in zip(stored, names, strict=True):
        assert row["sha256"] == hashlib.sha256((images / name).read_bytes()).hexdigest()
