"""What a file is by its bytes: against what wrote it and what decodes it."""

import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.ops.images.formats import RASTER, read_header, sniff
from tests.ops.images.pictures import SIGNATURES, STARTS, decoded, encoded, pixels_of, pool, turned


def sized(content: bytes) -> tuple[int, int] | None:
    header = read_header(content, sniff(content))
    return (header.width, header.height) if header else None


@pytest.mark.parametrize(
    ("content", "kind"), [(content, kind) for kind, some in SIGNATURES.items() for content in some]
)
def test_sniff(content: bytes, kind: str) -> None:
    assert sniff(content) == kind


@pytest.mark.parametrize("name", [name for name in pool() if "pixel" not in name])
def test_header_size_is_the_decoded_size(name: str) -> None:
    content = pool()[name]
    pixels = decoded(content)
    assert sized(content) == (pixels.shape[1], pixels.shape[0])


@given(width=st.integers(1, 300), height=st.integers(1, 300), kind=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_header_size_of_any_size(width: int, height: int, kind: int) -> None:
    ending, channels, *flags = (
        (".jpg", 3), (".png", 3), (".bmp", 3), (".webp", 3, cv2.IMWRITE_WEBP_QUALITY, 50),
        (".webp", 3, cv2.IMWRITE_WEBP_QUALITY, 101), (".webp", 4, cv2.IMWRITE_WEBP_QUALITY, 50),
    )[kind]  # fmt: skip
    content = encoded(np.zeros((height, width, channels), np.uint8), ending, *flags)
    assert sized(content) == (width, height)


def test_the_webp_pool_has_all_three_kinds_of_header() -> None:
    kinds = [pool()[name][12:16] for name in ("webp", "lossless webp", "alpha webp")]
    assert kinds == [b"VP8 ", b"VP8L", b"VP8X"]


def test_header_size_skips_the_thumbnail_and_fill_bytes_of_a_jpeg() -> None:
    jpeg, thumbnail = pool()["jpeg"], encoded(pixels_of(5, 6), ".jpg")
    exif = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = jpeg[:2] + exif + b"\xff\xff\xff" + jpeg[2:]
    assert sized(content) == (130, 90)


def test_a_bitmap_that_stands_on_its_head() -> None:
    content = bytearray(pool()["bmp"])
    content[22:26] = struct.pack("<i", -90)
    assert sized(bytes(content)) == (130, 90)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "tiff", "avif", "palette gif"])
def test_the_header_of_a_stump_is_unknown(name: str) -> None:
    content = pool()[name]
    sizes = {sized(content[:cut]) for cut in range(4, 30)}
    assert sizes <= {None, sized(content)}
    assert None in sizes


def test_a_bitmap_of_os2() -> None:
    header = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 13, 7, 1, 24)
    assert sized(header) == (13, 7)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_a_tiff_of_either_byte_order_and_number(order: str, kind: int) -> None:
    number = "HH" if kind == 3 else "I"
    tags = [(256, 70_000 if kind == 4 else 7), (257, 5), (274, 6)]
    entries = b"".join(
        struct.pack(f"{order}HHI{number}", tag, kind, 1, value, *([0] if kind == 3 else []))
        for tag, value in tags
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    content = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries
    assert sized(content) == (5, tags[0][1])  # the decoder turns it


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_pillow_wrote(kind: str, orientation: int) -> None:
    content = turned(orientation, kind)
    header = read_header(content, kind.lower())
    assert header is not None
    assert (header.width, header.height) == (130, 90)
    assert header.orientation == Image.open(io.BytesIO(content)).getexif().get(0x0112, 1)
    assert header.orientation == orientation
    assert header.has_exif


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "alpha webp", "avif", "bmp"])
def test_no_exif(name: str) -> None:
    header = read_header(pool()[name], sniff(pool()[name]))
    assert header is not None
    assert (header.orientation, header.has_exif) == (1, False)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    header = read_header(turned(value, "JPEG"), "jpeg")
    assert header is not None
    assert header.orientation == 1


def test_the_channels_of_a_jpeg() -> None:
    for name, channels in (("jpeg", 3), ("grey jpeg", 1), ("cmyk jpeg", 4)):
        header = read_header(pool()[name], "jpeg")
        assert header is not None
        assert header.channels == channels


def test_the_largest_picture_of_an_avif_counts() -> None:
    """A small one before it (a thumbnail, a tile) must not hide a bomb."""

    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + name + body

    sizes = [box(b"ispe", struct.pack(">III", 0, *size)) for size in ((9, 9), (60_000, 50_000))]
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", b"".join(sizes))))
    elsewhere = box(b"mdat", box(b"ispe", struct.pack(">III", 0, 70_000, 70_000)))
    assert sized(box(b"ftyp", b"avif" + bytes(4)) + meta + elsewhere) == (60_000, 50_000)


@given(content=st.binary(max_size=300), start=st.sampled_from(STARTS))
@settings(max_examples=300, deadline=None)
def test_any_bytes_have_a_header_or_none(content: bytes, start: bytes) -> None:
    whole = start + content
    header = read_header(whole, sniff(whole))
    assert header is None or (header.width > 0 and header.height > 0)
    assert header is None or sniff(whole) in RASTER


@given(
    name=st.sampled_from(sorted(pool())),
    places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_header_is_read_or_not(name: str, places: list[tuple[int, int]]) -> None:
    damaged = bytearray(pool()[name])
    for at, byte in places:
        damaged[at % len(damaged)] = byte
    header = read_header(bytes(damaged), sniff(pool()[name]))
    assert header is None or header.orientation in range(1, 9)
