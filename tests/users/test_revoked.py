"""A pair is taken out of a run that was stopped, damaged or set up anew: nothing of it stays."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.users.runs import SMALL, document, interrupted, pairs, well


def texts(path: Path) -> str:
    """All that can be read in a file of a run, tables and arrays as text."""
    raw = path.read_bytes()
    if raw[:4] == b"PAR1":
        return json.dumps(
            pq.read_table(io.BytesIO(raw)).to_pylist(), default=str, ensure_ascii=False
        )
    if raw[:2] == b"PK":
        return "".join(str(array.tolist()) for array in np.load(io.BytesIO(raw)).values())
    return raw.decode("latin-1")


def check_gone(run: Path, pair: dict[str, Any], image: bytes) -> None:
    """Neither caption, URL nor image is in any file; the uid is where it says that it was revoked."""
    for path in run.rglob("*"):
        if not path.is_file():
            continue
        assert not path.name.endswith(".tmp"), path
        assert image not in path.read_bytes(), path
        told = texts(path)
        for name in ("url", "caption"):
            assert pair[name] not in told, (path, name)
        if path.parent.name not in ("prepare", "input", "report", run.name):
            assert pair["uid"] not in told, path


def chosen(run: Path) -> tuple[dict[str, Any], bytes]:
    """A pair with a URL and a caption of its own, in the middle of the set, and its stored image."""
    found = pairs(run)
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    pool = "".join(lines[i] for i in SMALL)
    row = next(
        row
        for row in found[5:]
        if pool.count(row["caption"]) == pool.count(row["url"]) == 1 and len(row["caption"]) > 12
    )
    with tarfile.open(run / "shards" / f"{row['key'][:5]}.tar") as tar:
        image = tar.extractfile(f"{row['key']}.jpg")
        assert image is not None
        return row, image.read()


def revoke(run: Path, pair: dict[str, Any], *, by: str = "url") -> str:
    (run.parent / "list.txt").write_text(f"{by}:{pair[by]}\n")
    return well("revoke", str(run), "--list", str(run.parent / "list.txt"))


AGAIN = ("--force", "--set", "dedup.threshold=0.7")
STOPS: list[tuple[str, tuple[str, ...]]] = [
    (
        "dropped/prepare/part-00001",
        ("--force", "--set", "select=[{column: caption_chars, min: 6}]"),
    ),
    (
        "records/prepare/part-00001",
        ("--force", "--set", "select=[{column: caption_chars, min: 6}]"),
    ),
    ("clusters/part-00001", AGAIN),
    ("records/dedup/clusters.json", AGAIN),
    ("balance/part-00001.parquet", AGAIN),
    ("shards/00001.tar", AGAIN),
    ("manifest.json", ("--force", "--set", "shards.rows=25")),
]


@pytest.mark.parametrize(("after", "options"), STOPS, ids=[after for after, _ in STOPS])
def test_a_changed_run_is_stopped_and_a_pair_revoked(
    after: str, options: tuple[str, ...], run: Path
) -> None:
    pair, image = chosen(run)
    again = ("run", str(run / "config.yaml"), *options)
    interrupted(*again, after=after)
    said = revoke(run, pair)
    assert "revoked 1 by url" in said
    check_gone(run, pair, image)
    well(*again)
    check_gone(run, pair, image)
    assert pair["uid"] not in {row["uid"] for row in pairs(run)}
    checks = document(run / "report/report.json")["checks"]
    assert all(check["holds"] for check in checks)


def lose_statistics(run: Path) -> None:
    (run / "shards/00002_stats.json").unlink()


def lose_table(run: Path) -> None:
    for path in run.glob("shards/*.parquet"):
        path.unlink()


def cut_tar(run: Path) -> None:
    path = run / "shards/00000.tar"
    path.write_bytes(path.read_bytes()[:2000])


def older_set(run: Path) -> None:
    for path in sorted(run.glob("shards/0000*")):
        shutil.copy(path, path.with_name(path.name.replace("0000", "0009")))


def left_over(run: Path) -> None:
    """What killed steps and writes leave."""
    row = chosen(run)[0]
    held = pa.table({"uid": [row["uid"]], "url": [row["url"]], "caption": [row["caption"]]})
    for name in ("annotated/score/semantic_duplicate/work", "keys/url", "shards"):
        (run / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(held, run / "shards/.00007.parquet.0a1b2c3d.tmp")
    pq.write_table(held, run / "keys/url/part-00001.keys")
    uids = np.array([row["uid"]])
    np.savez(run / "annotated/score/semantic_duplicate/work/part-00000.npz", uid=uids)


DAMAGES = [lose_statistics, lose_table, cut_tar, older_set, left_over]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pair_is_revoked_from_a_set_that_is_not_whole(
    damage: Callable[[Path], None], run: Path
) -> None:
    pair, image = chosen(run)
    n = len(pairs(run))
    damage(run)
    assert "revoked 1 by uid" in revoke(run, pair, by="uid")
    check_gone(run, pair, image)
    if damage is not cut_tar:
        assert document(run / "shards/manifest.json")["pairs"] == n - 1
    shutil.rmtree(run / "annotated/score", ignore_errors=True)
    well("run", str(run / "config.yaml"))
    check_gone(run, pair, image)
    manifest = document(run / "shards/manifest.json")
    assert sum(document(run / "shards/sizes.json").values()) == manifest["pairs"] == n - 1
    names = [shard["name"] for shard in manifest["shards"]]
    held = [pq.read_table(run / "shards" / f"{name}.parquet")["uid"].to_pylist() for name in names]
    assert len({uid for uids in held for uid in uids}) == n - 1
