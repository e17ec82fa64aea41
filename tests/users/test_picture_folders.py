"""A folder of pictures with a text beside each, and no table: it is a pool as it stands."""

import json
import shutil
from pathlib import Path

import fsspec
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
    return found[:4]


def run(curate: Command, folder: Path, *paths: str, **keys: object) -> tuple[int, str]:
    document = {"input": {"paths": paths, **keys}, "dedup": {"enabled": False}, "part_rows": 3}
    (folder / "c.yaml").write_text(yaml.safe_dump(document))
    done = curate("run", "c.yaml", "--out", "run", cwd=folder)
    return done.returncode, done.stdout + done.stderr


def table(folder: Path, stage: str) -> pa.Table:
    parts = sorted((folder / f"run/{stage}").glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(x) for x in parts], promote_options="default")


def write_pool(pool: Path, pictures: list[Path]) -> None:
    (pool / "sub/.hidden").mkdir(parents=True)
    shutil.copy(pictures[0], pool / "IMG.2021.01.JPG")
    (pool / "IMG.2021.01.txt").write_text("the first picture\n")
    shutil.copy(pictures[1], pool / "b.jpg")
    note = {"text": "the second picture", "link": "http://x.example/b.jpg", "stars": 4}
    (pool / "b.json").write_text(json.dumps(note, indent=1))
    shutil.copy(pictures[2], pool / "sub/b.jpg")
    (pool / "sub/b.txt").write_text("not this one")
    (pool / "sub/b.json").write_text(json.dumps({"text": "the third picture", "stars": 5}))
    shutil.copy(pictures[3], pool / "sub/.hidden/d.jpg")
    (pool / "sub/.hidden/d.txt").write_text("hidden")
    shutil.copy(pictures[3], pool / "alone.jpg")
    (pool / "lonely.txt").write_text("a caption without a picture")
    shutil.copy(pictures[3], pool / "broken.jpg")
    (pool / "broken.json").write_text("{")
    (pool / "LICENSE").write_text("free")


COLUMNS = {"url": "link", "caption": "text", "keep": ["stars"]}


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, curate: Command, pictures: list[Path]
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("pictures")
    write_pool(folder / "my_pictures", pictures)
    rc, said = run(curate, folder, "my_pictures/", columns=COLUMNS, max_dead_fraction=0.6)
    assert rc == 0, said
    return folder, said


def test_pictures_and_their_texts_are_pairs(made: tuple[Path, str], pictures: list[Path]) -> None:
    folder, said = made
    kept = table(folder, "download")
    assert kept.select(["url", "caption", "stars"]).to_pylist() == [
        {"url": "file:///my_pictures/IMG.2021.01", "caption": "the first picture", "stars": None},
        {"url": "http://x.example/b.jpg", "caption": "the second picture", "stars": 4},
        {"url": "file:///my_pictures/sub/b", "caption": "the third picture", "stars": 5},
    ]
    assert kept["image_bytes"].to_pylist() == [x.stat().st_size for x in pictures[:3]]
    assert "left out 1 file of no known format (LICENSE)" in said


def test_what_lacks_its_other_half_is_a_bad_row_that_says_so(made: tuple[Path, str]) -> None:
    dead = table(made[0], "dead/prepare")
    told = "\n".join(dead["detail"].to_pylist())
    assert len(dead) == 3
    assert "alone.jpg: a picture without a caption: neither alone.txt nor alone.json" in told
    assert "lonely.txt: a caption without a picture" in told
    assert "broken.jpg: " in told


def test_no_path_of_this_machine_is_in_what_is_handed_on(made: tuple[Path, str]) -> None:
    folder, _ = made
    for path in (folder / "run/shards").iterdir():
        assert str(folder).encode() not in path.read_bytes(), path


def test_a_second_run_has_nothing_to_do_and_a_changed_folder_is_another_input(
    made: tuple[Path, str], tmp_path: Path, curate: Command
) -> None:
    shutil.copytree(made[0], tmp_path / "copy")
    folder = tmp_path / "copy"
    keys = {"columns": COLUMNS, "max_dead_fraction": 0.6}
    rc, said = run(curate, folder, "my_pictures", **keys)
    assert rc == 0, said
    (folder / "my_pictures/lonely.txt").unlink()
    rc, said = run(curate, folder, "my_pictures", **keys)
    assert rc
    assert "input" in said


def test_too_many_halves_end_the_run(tmp_path: Path, curate: Command, pictures: list[Path]) -> None:
    write_pool(tmp_path / "pool", pictures)
    rc, said = run(curate, tmp_path, "pool", columns=COLUMNS, max_dead_fraction=0.1)
    assert rc
    assert "alone.jpg: a picture without a caption" in said


def test_a_folder_of_pictures_is_read_in_a_store_too(
    tmp_path: Path, curate: Command, pictures: list[Path]
) -> None:
    store = fsspec.filesystem("memory")
    for k, picture in enumerate(pictures):
        store.pipe_file(f"/holiday/day{k % 2}/{k}.jpg", picture.read_bytes())
        store.pipe_file(f"/holiday/day{k % 2}/{k}.txt", f"picture {k}".encode())
    try:
        rc, said = run(curate, tmp_path, "memory://holiday", format="images")
    finally:
        store.rm("/holiday", recursive=True)
    assert rc == 0, said
    assert table(tmp_path, "download")["url"].to_pylist() == [
        f"file:///holiday/day{k % 2}/{k}" for k in (0, 2, 1, 3)
    ]


def test_where_a_table_is_there_pictures_are_no_pairs_of_their_own(
    tmp_path: Path, curate: Command, pictures: list[Path]
) -> None:
    (tmp_path / "pool").mkdir()
    shutil.copy(pictures[0], tmp_path / "pool/0.jpg")
    (tmp_path / "pool/0.json").write_text('{"caption": "not this one"}')
    row = {"image": "0.jpg", "caption": "this one"}
    (tmp_path / "pool/metadata.jsonl").write_text(json.dumps(row))
    columns = {"image": "image"}
    rc, said = run(curate, tmp_path, "pool", columns=columns)
    assert rc == 0, said
    assert table(tmp_path, "download")["caption"].to_pylist() == ["this one"]
    assert "left out 2 files of no known format" in said


def test_pictures_without_any_text_are_told_as_before(
    tmp_path: Path, curate: Command, pictures: list[Path]
) -> None:
    (tmp_path / "pool").mkdir()
    shutil.copy(pictures[0], tmp_path / "pool/0.jpg")
    rc, said = run(curate, tmp_path, "pool")
    assert rc
    assert "1 file of no known format (0.jpg)" in said
    rc, said = run(curate, tmp_path, "pool", format="images")
    assert rc
    assert "0.jpg: a picture without a caption" in said


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("url", ["0.jpg", "file:///pictures/0"])
def test_paths_where_urls_should_be_are_told_with_the_key_that_reads_them(
    tmp_path: Path, curate: Command, form: str, url: str
) -> None:
    rows = pa.table({"url": [url, None, url], "caption": ["a", "b", "c"]})
    path = tmp_path / f"pairs.{form}"
    if form == "parquet":
        pq.write_table(rows, path)
    elif form == "csv":
        rows.to_pandas().to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    rc, said = run(curate, tmp_path, path.name)
    assert rc
    assert f"column 'url' holds paths, such as '{url}', and no URLs" in said
    assert "input.columns: {image: url, caption: caption}" in said


def test_the_key_that_is_told_reads_them(
    tmp_path: Path, curate: Command, pictures: list[Path]
) -> None:
    shutil.copy(pictures[0], tmp_path / "0.jpg")
    (tmp_path / "pairs.csv").write_text("url,caption\n0.jpg,a picture\n")
    columns = {"image": "url", "caption": "caption"}
    rc, said = run(curate, tmp_path, "pairs.csv", columns=columns)
    assert rc == 0, said
    assert table(tmp_path, "download")["url"].to_pylist()[0].endswith("/0.jpg")


def test_a_revoked_picture_is_gone_from_the_runs_own_copy_of_its_pool(
    made: tuple[Path, str], tmp_path: Path, curate: Command
) -> None:
    shutil.copytree(made[0] / "run", tmp_path / "run")
    uid = table(tmp_path, "download")["uid"].to_pylist()[0]
    (tmp_path / "uids.txt").write_text(f"{uid}\n")
    done = curate("revoke", "run", "--list", "uids.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    urls = table(tmp_path, "download")["url"].to_pylist()
    assert len(urls) == 2
    copies = (tmp_path / "run/input").glob("*.parquet")
    held = [row for x in copies for row in pq.read_table(x)["url"].to_pylist() if row]
    assert "file:///my_pictures/IMG.2021.01" not in held
