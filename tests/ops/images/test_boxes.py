"""Boxes that come with a pool: read in every format, and turned with their picture."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from curate.ops.images.boxes import read_boxes, turned
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.pool.rows import PoolFormat, UnreadableError
from curate.pool.tables import read_batches
from curate.schema import BOXES, POOL
from tests.ops.images.pictures import decoded, saved

POOL_FORMAT = PoolFormat("auto", "url", "caption", blur_boxes="face_bboxes")
FACES = [[0.1, 0.2, 0.4, 0.5], [0.6, 0.5, 0.95, 1.0]]
GOOD: list[Any] = [FACES, [], None, [[-0.02, 0, 1.03, 1]], [[0.5, 0.5, 0.5, 0.5]]]
BAD: list[Any] = [
    [[12, 40, 90, 130]], [[0.5, 0.2, 0.4, 0.3]], [[0.1, 0.9, 0.2, 0.3]], [[0.1, 0.2, 0.3]],
    [FACES[0], [0.1, 0.2, 0.3, 0.4, 0.9]], [[0.1, 0.2, 0.3, None]], [None],
]  # fmt: skip


def is_good(boxes: Any) -> bool:
    """The definition, box by box."""
    for box in boxes or ():
        if box is None or len(box) != 4 or None in box:
            return False
        left, top, right, bottom = box
        if not all(-1 <= x <= 2 for x in box) or left > right or top > bottom:
            return False
    return True


numbers = st.one_of(st.none(), st.floats(-1.5, 2.5), st.sampled_from([0.0, 0.5, 1.0, np.nan]))
rows = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.lists(numbers, max_size=5)), max_size=3)),
    max_size=6,
)


@given(rows)
@settings(max_examples=150, deadline=None)
def test_which_boxes_are_boxes(values: list[Any]) -> None:
    column = pa.chunked_array([pa.array(values, BOXES), pa.array([FACES], BOXES)])
    found, bad = read_boxes(column)
    assert found.type == BOXES
    assert bad.tolist() == [not is_good(boxes) for boxes in values] + [False]
    assert found.to_pylist() == [x if is_good(x) else None for x in values] + [FACES]


def files_of(folder: Path, values: list[Any]) -> dict[str, str]:
    """A pool with these boxes in every format that can hold them."""
    urls = [f"http://x.example/{k}.jpg" for k in range(len(values))]
    table = pa.table({"url": urls, "caption": urls, "face_bboxes": pa.array(values, BOXES)})
    pq.write_table(table, folder / "a.parquet")
    fixed = pa.list_(pa.list_(pa.float32()))
    pq.write_table(
        table.set_column(2, "face_bboxes", pa.array(values, fixed)), folder / "b.parquet"
    )
    documents = [
        {"url": url, "caption": url, "face_bboxes": x} for url, x in zip(urls, values, strict=True)
    ]
    (folder / "c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    lines = [
        f"{u}\t{u}\t{'' if x is None else json.dumps(x)}" for u, x in zip(urls, values, strict=True)
    ]
    (folder / "d.tsv").write_text("\n".join(["url\tcaption\tface_bboxes", *lines]) + "\n")
    with tarfile.open(folder / "e.tar", "w") as archive:
        for k, document in enumerate(documents):
            for ending, content in (("json", json.dumps(document).encode()), ("jpg", b"image")):
                member = tarfile.TarInfo(f"{k:03d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return {path.name: str(path) for path in sorted(folder.iterdir())}


def test_every_format_gives_the_same_boxes(tmp_path: Path) -> None:
    for name, path in files_of(tmp_path, GOOD).items():
        tables = list(read_batches(path, pool=POOL_FORMAT))
        assert all(table.schema == POOL for table in tables)
        found = [row for table in tables for row in table.to_pylist()]
        assert [row["error"] for row in found] == [None] * len(GOOD), name
        assert [row["blur_boxes"] for row in found] == [
            None if x is None else [pytest.approx(box) for box in x] for x in GOOD
        ], name


def test_what_is_no_box_is_a_bad_row_in_every_format_and_not_an_image_without_boxes(
    tmp_path: Path,
) -> None:
    for name, path in files_of(tmp_path, [FACES, *BAD]).items():
        found = [row for table in read_batches(path, pool=POOL_FORMAT) for row in table.to_pylist()]
        good = [row for row in found if row["error"] is None]
        assert [row["blur_boxes"] for row in good] == [[pytest.approx(x) for x in FACES]], name
        bad = [row for row in found if row["error"]]
        assert len(bad) == len(BAD), name
        assert {row["error"] for row in bad} == {"bad_row"}
        expected = (
            "face_bboxes: not a list of [left, top, right, bottom], as shares of width and height"
        )
        assert all(row["detail"].endswith(expected) for row in bad), (name, bad[0]["detail"])


@pytest.mark.parametrize("text", ['["a"]', "[[0.1, 0.2", "3", '{"x": 1}', '[["a", 0, 1, 1]]'])
def test_text_that_is_no_list_of_boxes_is_a_bad_row(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pool.jsonl"
    line = '{"url": "http://x.example/a.jpg", "caption": "a fox", "face_bboxes": BOXES}\n'
    path.write_text(line.replace("BOXES", json.dumps(text)) + line.replace("BOXES", "[]"))
    for table in read_batches(str(path), pool=POOL_FORMAT):
        assert table["error"].to_pylist() == ["bad_row", None]
        assert table["blur_boxes"].to_pylist() == [None, []]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"face_bboxes": pa.array([{"x": 1}])}, "face_bboxes is struct<x: int64>, not a list of"),
        ({"face_bboxes": pa.array([0.5])}, "face_bboxes is double, not a list of"),
        ({"boxes": pa.array([FACES], BOXES)}, "no column 'face_bboxes' among url, caption, boxes"),
    ],
)  # fmt: skip
def test_a_column_that_can_hold_no_boxes_ends_the_reading(
    tmp_path: Path, column: dict[str, Any], said: str
) -> None:
    path = str(tmp_path / "pool.parquet")
    pq.write_table(pa.table({"url": ["http://x.example/a"], "caption": ["a fox"], **column}), path)
    with pytest.raises(UnreadableError) as caught:
        list(read_batches(path, pool=POOL_FORMAT))
    assert said in str(caught.value)
    assert "input.columns.blur_boxes" in str(caught.value)


def marked(orientation: int, box: list[float]) -> tuple[Image.Image, bytes]:
    """A black picture that is white in the box, and as a file that says how it lies."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    left, top, right, bottom = (round(x * y) for x, y in zip(box, (60, 40) * 2, strict=True))
    pixels[top:bottom, left:right] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(pixels), kind="JPEG", exif=exif, quality=95)
    return Image.open(io.BytesIO(file)), file


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_picture(orientation: int) -> None:
    box = [0.1, 0.25, 0.3, 0.5]
    picture, file = marked(orientation, box)
    upright = np.asarray(ImageOps.exif_transpose(picture).convert("L")) > 128
    height, width = upright.shape
    ((left, top, right, bottom),) = turned([box], orientation)
    rows, columns = np.flatnonzero(upright.any(axis=1)), np.flatnonzero(upright.any(axis=0))
    assert [left * width, right * width] == pytest.approx([columns[0], columns[-1] + 1])
    assert [top * height, bottom * height] == pytest.approx([rows[0], rows[-1] + 1])

    stored = ImageEncoder(resize_mode="no", encode_format="png", encode_quality=1)(file, blur=[box])
    assert isinstance(stored, StoredImage)
    whole = cv2.cvtColor(decoded(stored.content), cv2.COLOR_BGR2GRAY)
    sharp = np.asarray(ImageOps.exif_transpose(picture).convert("L"))
    changed = np.abs(whole.astype(int) - sharp) > 30
    assert changed.any()
    away = np.ones_like(changed)
    away[max(rows[0] - 6, 0) : rows[-1] + 7, max(columns[0] - 6, 0) : columns[-1] + 7] = False
    assert not changed[away].any(), "only the white box and its surroundings are blurred"


def test_a_deep_picture_is_blurred_in_eight_bits() -> None:
    deep = np.full((40, 60, 3), 200 * 257, np.uint16)
    content = bytes(cv2.imencode(".png", deep)[1].tobytes())
    encoder = ImageEncoder(resize_mode="no", encode_format="png", encode_quality=1)
    stored = encoder(content, blur=[[0.2, 0.2, 0.8, 0.8]])
    assert isinstance(stored, StoredImage)
    assert np.abs(decoded(stored.content).astype(int) - 200).max() <= 1


def test_the_perceptual_hash_is_of_what_was_there_before() -> None:
    from tests.ops.images.pictures import pool

    for mode in ("keep_ratio", "center_crop"):
        encoder = ImageEncoder(image_size=64, resize_mode=mode)
        plain, blurred = (encoder(pool()["jpeg"], blur=blur) for blur in ((), [[0, 0, 1, 1]]))
        assert isinstance(plain, StoredImage)
        assert isinstance(blurred, StoredImage)
        assert plain.content != blurred.content
        assert plain.phash == blurred.phash is not None
