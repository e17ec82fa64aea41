"""A model that cannot be used is told before anything is fetched for it."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.files import shipped
from tests.e2e import conftest as e2e
from tests.e2e.conftest import Command

curate = e2e.curate
SCORER = shipped("pipelines/demo/scorer")
MODEL, WEIGHTS = SCORER / "curate-mini.json", SCORER / "curate-mini.safetensors"
PICTURE = Path("tests/data/astronaut.jpg").read_bytes()


@pytest.fixture
def asked() -> Iterator[tuple[int, list[str]]]:
    """A port that serves one picture under every path, and the paths that were asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, paths
    server.shutdown()
    server.server_close()


def write(folder: Path, port: int, **keys: Any) -> None:
    urls = [f"http://pictures.example/{k}.jpg" for k in range(3)]
    captions = [f"a portrait of an astronaut, number {k}" for k in range(3)]
    pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "p.parquet")
    document = {
        "input": {"paths": "p.parquet"}, "dedup": {"enabled": False},
        "download": {"connect_to": {"pictures.example": f"127.0.0.1:{port}"}, "robots": False},
        **keys,
    }  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(document))


def other_weights(path: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(3)}, path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut.safetensors": (lambda path: path.write_bytes(WEIGHTS.read_bytes()[:99_999]), "damaged"),
    "page.pt": (lambda path: path.write_text("<html>404</html>"), "damaged"),
    "empty.pt": (lambda path: path.write_bytes(b""), "damaged"),
    "other.pt": (other_weights, "another architecture"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_checkpoint_that_cannot_be_used_costs_no_request(
    curate: Command, asked: tuple[int, list[str]], tmp_path: Path, name: str
) -> None:
    make, told = BROKEN[name]
    make(tmp_path / name)
    write(tmp_path, asked[0], score={"model": str(MODEL), "pretrained": name})
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
    assert name in done.stderr
    assert asked[1] == []


def test_a_head_and_a_target_set_of_another_width_cost_no_request(
    curate: Command, asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    np.save(tmp_path / "target.npy", np.ones((3, 7), np.float32))
    model = {"model": str(MODEL), "pretrained": str(WEIGHTS), "embeddings": True}
    write(tmp_path, asked[0], score=model | {"norm_sim": {"target": "target.npy"}})
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode != 0
    assert "score.norm_sim.target: target.npy: its embeddings are 7 wide" in done.stderr
    assert asked[1] == []


def test_without_a_hub_the_message_says_what_to_do(
    asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    write(tmp_path, asked[0], score={"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"})
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-m", "curate.cli", "run", "c.yaml", "--out", "run"], cwd=tmp_path,
        env={**os.environ, **offline}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K cannot be had from its hub" in told
    assert "HF_HOME" in told
    assert "score.pretrained" in told
    assert "Traceback" not in done.stderr
    assert asked[1] == []


def test_a_model_whose_scores_stand_is_not_loaded_again(
    curate: Command, asked: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, asked[0], score={"model": str(MODEL), "pretrained": str(WEIGHTS)})
    done = curate("run", "c.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(asked[1]) == 3
    from curate.ops.scores.clip import ClipModel

    def loaded(_: ClipModel) -> int:
        raise AssertionError("loaded")

    monkeypatch.setattr(ClipModel, "try_out", loaded)
    done = curate(
        "run", "c.yaml", "--out", "run", "--set", "shards.rows=2", "--force", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
