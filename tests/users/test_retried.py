"""Pairs that failed are asked for again, in a run that others rest on."""

import shutil
from pathlib import Path

import pytest

from tests.users.runs import document, pairs, small_run, well


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return small_run(tmp_path_factory.mktemp("retried"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, at home."""
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    (out / "config.yaml").write_text(
        (out / "config.yaml").read_text().replace(str(finished), str(out))
    )
    return out


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
