"""Pairs that failed are asked for again, in a run that others rest on."""

from pathlib import Path

import pytest

from curate.demo import serve
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


def test_a_retry_that_is_killed_counts_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_source(str(run)).digest
    again = ("run", str(run / "config.yaml"), "--retry", "http_404,refused")
    interrupted(*again, after="download/annotated/part-00001.parquet")
    interrupted(*again, after="download/annotated/part-00002.parquet")
    well(*again)
    assert document(run / "run.json")["retries"] == 0
    assert open_source(str(run)).digest == before
    with serve() as addresses:  # of which one host is the other's by now: its images come
        host = addresses["pictures.example"]
        more = ("--set", f"download.connect_to={{pictures.example: {host}, gone.example: {host}}}")
        interrupted(*again, *more, after="download/annotated/part-00001.parquet")
        well(*again, *more)
        assert document(run / "run.json")["retries"] == 1
