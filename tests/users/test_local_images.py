"""A table names pictures that lie beside it; nothing is fetched, and nothing else can be read."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.files import shipped
from tests.e2e.conftest import Command


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    folder = shipped("pipelines/demo/pool")
    found = [x for x in sorted(folder.rglob("*")) if x.suffix in (".jpg", ".jpeg") and x.is_file()]
    return found[:3]


def run(curate: Command, folder: Path, pool: str, **keys: object) -> tuple[int, str]:
    columns = {"image": "file_name", "caption": "text"}
    document = {"input": {"paths": pool, "columns": columns, "max_dead_fraction": 1, **keys},
                "dedup": {"enabled": False}}  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["metadata.jsonl", "metadata.csv", "metadata.parquet"])
def test_an_image_folder_of_the_hub(
    tmp_path: Path, curate: Command, pictures: list[Path], form: str
) -> None:
    pool = tmp_path / "pool/train"
    (pool / "sub").mkdir(parents=True)
    names = ["0.jpg", "sub/1.jpg", str(pool / "2.jpg")]
    for name, picture in zip(names, pictures, strict=True):
        shutil.copy(picture, pool / name)
    names[2] = f"file://{names[2]}"
    rows = [{"file_name": x, "text": f"a picture of number {k}"} for k, x in enumerate(names)]
    table = pa.Table.from_pylist(rows)
    if form.endswith("jsonl"):
        (pool / form).write_text("\n".join(map(json.dumps, rows)))
    elif form.endswith("csv"):
        table.to_pandas().to_csv(pool / form, index=False)
    else:
        pq.write_table(table, pool / form)
    rc, said = run(curate, tmp_path, "pool")
    assert rc == 0, said
    assert "left out 3 files of no known format" in said
    kept = pq.read_table(tmp_path / "run/download/part-00000.parquet")
    assert kept["image_bytes"].to_pylist() == [x.stat().st_size for x in pictures]
    assert kept["url"].to_pylist()[:2] == ["file:///train/0.jpg", "file:///train/sub/1.jpg"]


def test_no_path_and_no_link_leads_out_of_the_pools_folder_unless_allowed(
    tmp_path: Path, curate: Command, pictures: list[Path]
) -> None:
    pool, outside = tmp_path / "pool", tmp_path / "outside"
    pool.mkdir()
    outside.mkdir()
    shutil.copy(pictures[0], pool / "in.jpg")
    shutil.copy(pictures[1], outside / "out.jpg")
    (pool / "link.jpg").symlink_to("../outside/out.jpg")
    (pool / "folder").symlink_to("../outside")
    names = ["in.jpg", "../outside/out.jpg", str(outside / "out.jpg"), f"file://{outside}/out.jpg",
             "link.jpg", "folder/out.jpg", "file:///etc/passwd", "gone.jpg"]  # fmt: skip
    rows = [{"file_name": x, "text": f"a picture of number {k}"} for k, x in enumerate(names)]
    (pool / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rc, said = run(curate, tmp_path, "pool/metadata.jsonl")
    assert rc == 0, said
    assert pq.read_table(tmp_path / "run/prepare/part-00000.parquet").num_rows == 1
    dead = pq.read_table(tmp_path / "run/dead/prepare/part-00000.parquet")["detail"].to_pylist()
    assert sum("allow its folder in input.image_folders" in x for x in dead) == 6
    assert sum("gone.jpg: no such file" in x for x in dead) == 1
    shutil.rmtree(tmp_path / "run")
    rc, said = run(curate, tmp_path, "pool/metadata.jsonl", image_folders=["outside"])
    assert rc == 0, said
    assert pq.read_table(tmp_path / "run/prepare/part-00000.parquet").num_rows == 6
