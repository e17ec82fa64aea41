"""Somebody's tars and shards: which members make a pair, and what is said of those that make none."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.errors import CurateError
from curate.pool.rows import PoolFormat
from curate.pool.stored import Place, read_places
from curate.pool.tables import read_batches
from tests.e2e.conftest import Command

Members = list[tuple[str, bytes]]
CONFIG = "input: {paths: %s}\ndownload: {robots: false}\ndedup: {enabled: false}\n"
AUTO = PoolFormat("auto", "url", "caption")


def picture(shade: int) -> bytes:
    """A JPEG that is as bright as `shade` says."""
    pixels = np.full((90, 120, 3), shade, np.uint8)
    pixels[20:50, 30:90] = 128
    return bytes(cv2.imencode(".jpg", pixels)[1])


def tar(path: Path, members: Members) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def pair(key: str, shade: int) -> Members:
    return [(f"{key}.jpg", picture(shade)), (f"{key}.txt", f"a wall of shade {shade}".encode())]


def rows(path: Path, pool: PoolFormat = AUTO) -> list[dict[str, Any]]:
    return [row for table in read_batches(str(path), pool=pool) for row in table.to_pylist()]


def stored(run: Path) -> dict[str, int]:
    """The brightness of the image that a run has stored, by the caption that it has it under."""
    found = {}
    for part in sorted((run / "download").glob("part-?????.parquet")):
        content = part.with_suffix(".tar").read_bytes()
        for row in pq.read_table(part).to_pylist():
            image = content[row["tar_offset"] : row["tar_offset"] + row["tar_size"]]
            pixels: Any = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            found[row["caption"]] = int(pixels[0, 0, 0])
    return found


def test_names_that_come_twice_are_pairs_of_their_own(tmp_path: Path, curate: Command) -> None:
    tar(tmp_path / "pool/next.tar", pair("0001", 250) + pair("0001", 5))
    tar(tmp_path / "pool/far.tar", pair("x/1", 200) + pair("./y/1", 30) + pair("x/1", 60))
    joined = tar(tmp_path / "pool/joined.tar", pair("2", 100))  # cat a.tar b.tar > joined.tar
    joined += tar(tmp_path / "pool/joined.tar", pair("2", 150))
    (tmp_path / "pool/joined.tar").write_bytes(joined)
    (tmp_path / "c.yaml").write_text(CONFIG % (tmp_path / "pool"))
    run = tmp_path / "run"
    done = curate("run", str(tmp_path / "c.yaml"), "--out", str(run))
    assert done.returncode == 0, done.stderr
    shades = (250, 5, 200, 30, 60, 100, 150)
    found = stored(run)
    assert set(found) == {f"a wall of shade {shade}" for shade in shades}
    assert all(abs(found[f"a wall of shade {shade}"] - shade) < 4 for shade in shades)
    table = pa.concat_tables(
        pq.read_table(part) for part in (run / "prepare").glob("part-?????.parquet")
    )
    assert len(set(table["url"].to_pylist())) == len(set(table["uid"].to_pylist())) == 7


def test_equal_pairs_under_one_name_have_urls_of_their_own(tmp_path: Path) -> None:
    tar(tmp_path / "s.tar", pair("1", 9) * 3)
    assert [row["url"][-7:] for row in rows(tmp_path / "s.tar")] == [
        "s.tar/1",
        "tar/1.2",
        "tar/1.3",
    ]


def test_members_that_stand_apart_are_named(tmp_path: Path) -> None:
    images, texts = zip(*(pair(str(i), 10 * i) for i in range(3)), strict=True)
    tar(tmp_path / "s.tar", [*images, *texts])
    details = [row["detail"] for row in rows(tmp_path / "s.tar") if row["error"]]
    assert len(details) == 3
    assert "row 4: a sample without an image: its files end in .txt (from" in details[0]
    assert "its key, 0, has come before: the members of a sample must be neighbours" in details[0]


def test_other_entries_do_not_split_a_sample(tmp_path: Path) -> None:
    [image, text] = pair("1", 9)
    folder = ("._1.jpg", b"resource fork"), ("README", b"about"), (".hidden", b"")
    tar(tmp_path / "s.tar", [image, *folder, text])
    [row] = rows(tmp_path / "s.tar")
    assert (row["caption"], row["error"]) == ("a wall of shade 9", None)


def test_what_cannot_be_read_of_a_sample_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for i, kind in enumerate([tarfile.LNKTYPE, tarfile.SYMTYPE]):
            link = tarfile.TarInfo(f"{i}.jpg")
            link.type, link.linkname = kind, "other.jpg"
            archive.addfile(link)
        text = tarfile.TarInfo("2.txt")
        text.size = 17 << 20
        archive.addfile(text, io.BytesIO(bytes(text.size)))
    details = [row["detail"].partition(": row ")[2] for row in rows(path)]
    assert [x[:31] for x in details[:2]] == [
        f"{i + 1}: {i}.jpg is a link to other.jpg" for i in (0, 1)
    ]
    assert details[2] == "3: its .txt has over 16 MB"


@pytest.mark.parametrize(
    ("name", "there"),
    [("s_1.rgb.jpg", ".rgb.jpg"), ("1 Track 2.0 (x).jpg", ".0 (x).jpg"), ("1.caption", ".caption")],
)
def test_a_sample_without_an_image_says_what_is_there_and_what_is_read(
    tmp_path: Path, name: str, there: str
) -> None:
    tar(tmp_path / "s.tar", [(name, b"i")])
    [row] = rows(tmp_path / "s.tar")
    assert f"its files end in {there} (from the first dot); read are .txt" in row["detail"]
    assert ".jpeg, .jpg, .png," in row["detail"]


def test_a_tar_without_any_sample_says_so(tmp_path: Path) -> None:
    tar(tmp_path / "s.tar", [("0001", b"i"), ("README", b"i")])
    with pytest.raises(CurateError, match="none of its 2 files is called KEY"):
        rows(tmp_path / "s.tar")


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("s.tar.gz", gzip.compress), ("s.tgz", gzip.compress), ("s.tar.bz2", bz2.compress),
        ("s.txz", lzma.compress), ("s.tar.zst", zstandard.compress), ("s.tar", gzip.compress),
    ],
)  # fmt: skip
def test_a_packed_tar_says_that_tars_are_read_unpacked(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / name).write_bytes(pack(tar(tmp_path / "plain.tar", pair("1", 9))))
    with pytest.raises(CurateError, match=f"{name}: it is packed .*; tars are read unpacked"):
        rows(tmp_path / name)


def shard(folder: Path, keys: list[str], members: Members, *, form: str) -> list[dict[str, Any]]:
    """The rows of an img2dataset shard whose images are these."""
    table = {"url": [f"http://x.example/{i}" for i in range(len(keys))], "key": keys}
    table |= {
        "caption": [f"caption {i}" for i in range(len(keys))],
        "status": ["success"] * len(keys),
    }
    pq.write_table(pa.table(table), folder / "00000.parquet")
    if form == "tar":
        tar(folder / "00000.tar", members)
    else:
        (folder / "00000").mkdir()
        for name, content in members:
            (folder / "00000" / name.rpartition("/")[2]).write_bytes(content)
    return rows(folder / "00000.parquet", PoolFormat("img2dataset", "url", "caption"))


def of_rows(found: list[dict[str, Any]]) -> list[bytes | None]:
    images: list[bytes | None] = []
    for row in found:
        place = Place(row["file"], row["offset"], row["size"])
        images += [x for _, x in read_places([(0, place)])] if row["file"] else [None]
    return images


@pytest.mark.parametrize("form", ["tar", "folder"])
@pytest.mark.parametrize("folder", ["", "./", "00000/"])
def test_a_shard_of_img2dataset_that_was_packed_again(
    tmp_path: Path, form: str, folder: str
) -> None:
    members = [(f"{folder}{key}.{x}", key.encode()) for key in "ab" for x in ("jpg", "txt", "json")]
    assert of_rows(shard(tmp_path, ["a", "b"], members, form=form)) == [b"a", b"b"]


def test_a_key_that_comes_twice_in_a_shard_of_img2dataset(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")]
    assert of_rows(shard(tmp_path, ["a", "b", "a"], members, form="tar")) == [b"1", b"2", b"3"]


def test_images_and_rows_of_a_shard_that_do_not_agree(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3"), ("c.jpg", b"4")]
    *found, told = shard(tmp_path, ["a", "b"], members, form="tar")
    assert of_rows(found) == [None, b"2"]  # the first is fetched: whose image it is cannot be told
    assert told["detail"].endswith(
        "row 3: 3 images beside it are left out: their keys have not as many rows with status success;"
        " the first is a: 2 in the images, 1 in the rows"
    )
