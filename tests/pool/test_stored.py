"""Shards that bring their images: which members make a sample, and where the bytes lie."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.pool.rows import PoolFormat
from curate.pool.samples import ENDINGS
from curate.pool.stored import Place, read_places
from curate.pool.tables import read_batches

SHARD = PoolFormat(format="webdataset", url="url", caption="caption", uid="uid")
IMG2DATASET = PoolFormat(format="img2dataset", url="url", caption="caption")
Members = list[tuple[str, bytes]]


def tar(path: Path, members: Members, form: int = tarfile.GNU_FORMAT) -> str:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def rows(path: str, *, pool: PoolFormat = SHARD, name: str = "") -> list[dict[str, Any]]:
    return [row for table in read_batches(path, pool=pool, name=name) for row in table.to_pylist()]


def images(found: list[dict[str, Any]]) -> list[bytes]:
    places = [Place(row["file"], row["offset"], row["size"]) for row in found if row["file"]]
    return [content for _, content in read_places(enumerate(places))]


def test_a_sample_is_its_image_with_the_caption_and_url_that_are_told(tmp_path: Path) -> None:
    whole = {"caption": "of the json", "url": "http://x.example/b.png", "uid": "f" * 32, "width": 7}
    members = [
        ("./a/000.jpg", b"image 0"), ("./a/000.txt", "é txt".encode()),
        ("b.txt", b"of the txt"), ("b.json", json.dumps(whole).encode()), ("b.png", b"image b"),
        ("c.json", b'{"url": 7, "caption": null}'), ("c.WEBP", b""), ("c.cls", b"5"),
        ("README", b"no sample"), ("d.seg.png", b"a mask"), ("d.jpeg", b"image d"),
    ]  # fmt: skip
    path = tar(tmp_path / "00000.tar", members)
    found = rows(path, name="train/00000.tar")
    assert [(row["url"], row["caption"], row["uid"], row["error"]) for row in found] == [
        ("file:///train/00000.tar/./a/000", "é txt", None, None),
        ("http://x.example/b.png", "of the json", "f" * 32, None),
        ("file:///train/00000.tar/c", None, None, None),
        ("file:///train/00000.tar/d", None, None, None),
    ]
    assert images(found) == [b"image 0", b"image b", b"", b"image d"]


def test_a_broken_sample_is_a_bad_row(tmp_path: Path) -> None:
    members = [
        ("a.txt", b"no image"), ("b.jpg", b"i"), ("b.json", b"{"), ("c.jpg", b"i"), ("c.json", b"[]"),
        ("d.jpg", b"i"), ("d.txt", b"\xff"), ("e.jpg", b"i"), ("e.json", b'{"caption": "\\ud800"}'),
        ("f.jpg", b"i"), ("f.txt", b"good"),
    ]  # fmt: skip
    path = tar(tmp_path / "s.tar", members)
    found = rows(path)
    assert [row["caption"] for row in found if row["error"] is None] == ["good"]
    details = [row["detail"].removeprefix(f"{path}: row ")[:29] for row in found if row["error"]]
    assert details == [
        "1: a sample without an image:", "2: Expecting property name en",
        "3: its .json is not an object", "4: its .txt: line 1 is not UT",
        "5: 'utf-8' codec can't encode",
    ]  # fmt: skip


names = st.builds(
    "{}{}.{}".format, st.sampled_from(["", "a/", "./", "a.b/"]), st.sampled_from(["0", "1", "x y"]),
    st.sampled_from(["jpg", "txt", "json", "seg.png", "PNG", "cls"]),
)  # fmt: skip


@given(st.lists(names, unique=True, max_size=12), st.sampled_from([tarfile.USTAR_FORMAT,
                                                                   tarfile.PAX_FORMAT]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_samples_are_those_of_the_webdataset_library(
    tmp_path_factory: pytest.TempPathFactory, members: list[str], form: int
) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    content = [(name, b"{}" if name.endswith("json") else name.encode()) for name in members]
    path = tar(tmp_path_factory.mktemp("shard") / "s.tar", content, form)
    # The library puts no sample twice into a group; here the second one is a sample of its own.
    keys = [name[: name.index(".", name.rfind("/") + 1)] for name in members]
    runs = [key for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key]
    if len(set(runs)) < len(runs):
        return
    with open(path, "rb") as file:
        expected = [
            (sample["__key__"], next((v for k, v in sample.items() if k in ENDINGS), None))
            for sample in group_by_keys(
                {**member, "__url__": path} for member in tar_file_iterator(file)
            )
        ]
    found = rows(path, name="s.tar")
    good = [row for row in found if row["error"] is None]
    urls = [row["url"].removeprefix("file:///s.tar/") for row in good]
    assert list(zip(urls, images(found), strict=True)) == [one for one in expected if one[1]]
    assert len(found) == len(expected)


def test_a_tar_that_is_cut_off_or_broken_gives_what_stands_before(tmp_path: Path) -> None:
    path = tar(tmp_path / "s.tar", [(f"{i}.jpg", bytes([i]) * 600) for i in range(1, 9)])
    whole = Path(path).read_bytes()
    header = 6 * (512 + 1024)
    broken = whole[:header] + b"x" * 512 + whole[header + 512 :]
    # The last sample before the break may lack members, so it is not among them.
    for content, last in ((whole[: header + 700], 6), (broken, 5)):
        Path(path).write_bytes(content)
        found: list[dict[str, Any]] = []
        tables = read_batches(path, pool=SHARD)
        with pytest.raises(CurateError, match=r"s\.tar: cannot be read as webdataset: "):
            found.extend(row for table in tables for row in table.to_pylist())
        assert [row["url"][-1] for row in found] == list("123456"[:last])
        assert images(found) == [bytes([i]) * 600 for i in range(1, last + 1)]


def test_an_image_that_has_gone_since_is_named(tmp_path: Path) -> None:
    path = tar(tmp_path / "s.tar", [("a.jpg", b"12345678" * 1000)])
    place = rows(path)[0]
    Path(path).write_bytes(Path(path).read_bytes()[:4000])
    with pytest.raises(
        CurateError, match=r"s\.tar: ends before its image of 8000 bytes at offset 512"
    ):
        images([place])


@pytest.mark.parametrize("form", ["tar", "folder", "neither"])
def test_rows_of_img2dataset_lie_in_its_tar_or_folder(tmp_path: Path, form: str) -> None:
    status = ["success", "failed_to_download", "success", "success"]
    keys = [f"00000{i:04d}" for i in range(4)]
    table = pa.table({"url": list("abcd"), "caption": list("ABCD"), "key": keys, "status": status})
    pq.write_table(table, tmp_path / "00000.parquet")
    members = [
        (f"{keys[i]}.{x}", f"{x} {i}".encode()) for i in (0, 2) for x in ("jpg", "json", "txt")
    ]
    if form == "tar":
        tar(tmp_path / "00000.tar", members)
    elif form == "folder":
        (tmp_path / "00000").mkdir()
        for name, content in members:
            (tmp_path / "00000" / name).write_bytes(content)
    found = rows(str(tmp_path / "00000.parquet"), pool=IMG2DATASET)
    assert [row["url"] for row in found] == list("abcd")
    stored = form != "neither"
    assert [row["size"] is not None for row in found] == [stored, False, stored, False]
    assert images(found) == [b"jpg 0", b"jpg 2"] * stored


def test_a_parquet_that_is_not_of_img2dataset(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"], "caption": ["A"]}), tmp_path / "p.parquet")
    with pytest.raises(CurateError, match=r"no column 'key': this is not a shard of img2dataset"):
        rows(str(tmp_path / "p.parquet"), pool=IMG2DATASET)
