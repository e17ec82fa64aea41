"""A set grows: new files of its pool are curated against what is there, as if all had come at once."""

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.files import shipped
from tests.users.runs import document, well

Row = dict[str, Any]


def captions() -> list[Row]:
    """Pairs of the demo's pool and near copies of some of their captions, in no order."""
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()[:400]
    found = [{"url": f"http://a.example/{k}.jpg", "caption": json.loads(x)["caption"] or ""}
             for k, x in enumerate(lines)]  # fmt: skip
    found += [{"url": f"http://b.example/{k}.jpg", "caption": f"{x['caption']}!" * (1 + k % 2)}
              for k, x in enumerate(found[:80])]  # fmt: skip
    found += [{"url": x["url"].upper().replace("HTTP", "http"), "caption": f"{x['caption']} of old"}
              for x in found[40:120]]  # fmt: skip
    random.Random(1).shuffle(found)
    return found


def write(path: Path, rows: Sequence[Row], **more: int) -> None:
    """A file of a pool."""
    path.parent.mkdir(exist_ok=True, parents=True)
    rows = [{**row, **more} for row in rows]
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


TEXT: dict[str, Any] = {
    "prepare": {"metadata": {"en": str(shipped("metadata/en-small.txt"))}},
    "download": {"enabled": False}, "dedup": {"policy": ["url", "caption"]},
    "balance": {"t": 2}, "part_rows": 50,
}  # fmt: skip


def configuration(folder: Path, document: dict[str, Any], **changed: Any) -> str:
    """A configuration of the pool `folder`/pool, in a file."""
    path = folder / "c.yaml"
    settings = {**document, "input": {"paths": str(folder / "pool")}, **changed}
    path.write_text(json.dumps(settings))
    return str(path)


def kept(run: Path, stage: str = "balance") -> list[str]:
    """The uids that a stage of a run keeps, in order."""
    paths = sorted((run / stage).glob("*.parquet"))
    return [uid for path in paths for uid in pq.read_table(path)["uid"].to_pylist()]


def cut(rows: Sequence[Row], n: int) -> list[list[Row]]:
    """Rows in `n` pieces of different lengths."""
    ends = [round(len(rows) * (k / n) ** 1.2) for k in range(n + 1)]
    return [list(rows[a:b]) for a, b in pairwise(ends)]


def union(folder: Path, pieces: Sequence[Sequence[Row]], **changed: Any) -> Path:
    """One run over all pieces, which prefers the pairs of earlier ones."""
    for k, rows in enumerate(pieces):
        write(folder / f"pool/{k:02d}.parquet", rows, wave=k)
    dedup = {**TEXT["dedup"], "prefer": ["-wave"]}
    inputs = {"paths": str(folder / "pool"), "columns": {"keep": ["wave"]}}
    path = configuration(folder, {**TEXT, "dedup": dedup, **changed}, input=inputs)
    well("run", path, "--out", str(folder / "run"))
    return folder / "run"


def grow(folder: Path, pieces: Sequence[Sequence[Row]], **changed: Any) -> list[str]:
    """A run to which the pieces are added one after another; what was said of each."""
    said = []
    for k, rows in enumerate(pieces):
        write(folder / f"pool/{9 - k % 3}/{k:02d}.{('parquet', 'jsonl')[k % 2]}", rows)
        said.append(
            well("run", configuration(folder, {**TEXT, **changed}), "--out", str(folder / "run"))
        )
    return said


@pytest.mark.parametrize("n", [2, 3, 10])
def test_additions_are_the_union(n: int, tmp_path: Path, undrawn: None) -> None:
    pieces = cut(captions(), n)
    said = grow(tmp_path / "grown", pieces)
    print(said[-1])
    run, whole = tmp_path / "grown/run", union(tmp_path / "union", pieces)
    assert kept(run) == kept(whole)
    assert kept(run, "dedup") == kept(whole, "dedup")
    assert [one.get("wave", 0) for one in document(run / "run.json")["inputs"]] == list(range(n))
