"""The folders of dead rows: a part without any has no file there, but the first."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tests.users.runs import document, well

PARTS, ROWS = 3, 4


def _configured(folder: Path) -> Path:
    """A configuration over three parts; one row of the second has a uid that is none."""
    pool = [
        {"url": f"http://x.example/{i}.jpg", "caption": f"a red fox {i}", "key": f"{i:032x}"}
        for i in range(PARTS * ROWS)
    ]
    pool[5]["key"] = "five"
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    (folder / "list.txt").write_text("fox\n")
    path = folder / "my.yaml"
    path.write_text(
        json.dumps(
            {
                "input": {
                    "paths": str(folder / "pool.jsonl"), "max_dead_fraction": 0.5,
                    "columns": {"url": "url", "caption": "caption", "uid": "key"},
                },
                "part_rows": ROWS, "download": {"enabled": False}, "dedup": {"policy": ["url"]},
                "prepare": {"metadata": {"en": str(folder / "list.txt")}}, "balance": {"t": 1000},
            }
        )
    )  # fmt: skip
    return path


def _files(run: Path, stage: str) -> list[str]:
    return sorted(path.name for path in (run / "dead" / stage).glob("*"))


def test_folders_open_and_a_pair_beside_them_is_told_of_and_revoked(tmp_path: Path) -> None:
    configured, run = _configured(tmp_path), tmp_path / "run"
    well("run", str(configured), "--out", str(run), "--workers", "1")
    assert _files(run, "prepare") == ["part-00000.parquet", "part-00001.parquet"]
    for stage in ("dedup", "balance"):
        assert _files(run, stage) == ["part-00000.parquet"]
        none = pd.read_parquet(run / "dead" / stage)
        assert list(none.columns) == ["uid", "url", "caption", "stage", "error", "detail"]
        assert len(none) == 0
    assert pd.read_parquet(run / "dead/prepare")["error"].tolist() == ["bad_uid"]

    uid = str(pq.read_table(run / "prepare/part-00002.parquet")["uid"][1])
    assert "kept" in well("explain", str(run), uid)
    (tmp_path / "list").write_text(f"{uid}\n")
    well("revoke", str(run), "--list", str(tmp_path / "list"))
    assert document(run / "records/prepare/part-00002.json")["dropped"] == {"revoked": 1}
    assert document(run / "run.json")["stages"]["balance"]["rows"] == 10
    well("report", str(run))
    assert "damaged" not in well("run", str(configured), "--out", str(run), "--workers", "1")
