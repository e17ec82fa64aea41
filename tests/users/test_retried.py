"""Pairs that failed are asked for again, in a run that others rest on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from curate.finished.rebalance import open_source
from tests.users.runs import document, interrupted, pairs, well


def test_pairs_are_revoked_and_failures_asked_for_again_and_the_rest_is_balanced_anew(
    run: Path, tmp_path: Path
) -> None:
    """No image came, so the tars keep their places, where the revoked images were zeros."""
    gone = pairs(run)[0]["uid"]
    (tmp_path / "list.txt").write_text(f"{gone}\n")
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    before = {path.name: path.read_bytes() for path in run.glob("download/*.tar")}
    well("rebalance", str(run), "--out", str(tmp_path / "t2"), "--t", "2")
    well("run", str(run / "config.yaml"), "--retry", "http_404,refused")
    assert {path.name: path.read_bytes() for path in run.glob("download/*.tar")} == before
    well("rebalance", str(run), "--out", str(tmp_path / "t5"), "--t", "5")
    well("report", str(tmp_path / "t2"))
    assert gone not in {row["uid"] for row in pairs(tmp_path / "t5")}
    assert document(run / "run.json")["retries"] == 0


def test_a_retry_that_is_killed_counts_once(run: Path) -> None:
    before = open_source(str(run)).digest
    again = ("run", str(run / "config.yaml"), "--retry", "http_404,refused")
    interrupted(*again, after="annotated/download/part-00001.parquet")
    interrupted(*again, after="records/annotated/download/part-00001.json")
    well(*again)
    assert document(run / "run.json")["retries"] == 0
    assert open_source(str(run)).digest == before
    with pictures() as address:
        more = ("--set", f"download.connect_to={{gone.example: {address}}}")
        interrupted(*again, *more, after="annotated/download/part-00001.parquet")
        well(*again, *more)
        assert document(run / "run.json")["retries"] == 1
    assert open_source(str(run)).digest != before


@contextmanager
def pictures() -> Iterator[str]:
    """The address of a server that has a picture of its own for every path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shade = sum(self.path.encode()) % 200
            pixels = np.full((90, 90, 3), shade, np.uint8)
            pixels[:, : 10 + shade // 3] = 255 - shade
            body = bytes(cv2.imencode(".png", pixels)[1])
            self.send_response(404 if "robots" in self.path else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
