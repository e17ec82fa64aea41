"""Where a set comes from, as the report of a real run tells it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.config import file as config_file
from tests.users.runs import document, well

pytestmark = pytest.mark.usefixtures("undrawn")


def told(run: Path) -> Any:
    return document(run / "report/report.json")


def test_the_report_of_a_run_names_its_sites(small: Path) -> None:
    facts = told(small)
    assert facts["domains"]["total"]["asked"] == facts["hosts"]["pairs"]
    assert facts["domains"]["total"]["kept"] == facts["kept"]
    assert (
        "pictures.example" in pq.read_table(small / "report/domains.parquet")["domain"].to_pylist()
    )
    text = (small / "report/training_summary.md").read_text()
    assert f"- Images: {facts['kept']} (less than 1 million)" in text


def test_another_last_stage_is_counted(run: Path) -> None:
    """Balancing is taken out: the stage before stands, and no worker has counted what it keeps."""
    asked = config_file.load(str(run / "config.yaml"))
    assert asked.balance is not None
    other = run.parent / "other.yaml"
    other.write_bytes(config_file.dump(asked.model_copy(update={"balance": None})).encode())
    before = told(run)["kept"]
    well("run", str(other), "--out", str(run), "--force")
    facts = told(run)
    assert facts["kept"] > before
    assert facts["domains"]["total"]["kept"] == facts["kept"]


def test_a_revoked_pair_is_counted_no_more(run: Path) -> None:
    shown = told(run)["examples"][0]
    (run.parent / "list.txt").write_text(shown["uid"])
    before = told(run)["domains"]["total"]["kept"]
    well("revoke", str(run), "--list", str(run.parent / "list.txt"))
    assert told(run)["domains"]["total"]["kept"] == before - 1
