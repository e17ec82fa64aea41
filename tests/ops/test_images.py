"""The stored image against img2dataset's own resizer, byte for byte, and the reason of each refusal."""

import hashlib
import io
import os
import struct
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.config import Download
from curate.ops.images import (
    ImageEncoder,
    Refusal,
    StoredImage,
    header_size,
    is_truncated,
    sniff,
)
from curate.reasons import DropReason

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
MODES = ["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
QUALITY = {"jpg": 95, "png": 3, "webp": 80}
CONTENT_REASONS = {
    DropReason.HTML_PAGE, DropReason.NOT_AN_IMAGE, DropReason.TOO_MANY_PIXELS,
    DropReason.TRUNCATED, DropReason.UNDECODABLE,
}  # fmt: skip


def pixels_of(height: int, width: int, channels: int = 3, *, depth: type = np.uint8) -> Any:
    """A smooth picture with an edge: gradients compress, the edge shows where a crop begins."""
    y, x, c = np.ogrid[:height, :width, :channels]
    ramp = (7 * x + 3 * y + 60 * c) % 251 + (x > y) * 4
    scale = np.iinfo(depth).max // 255
    return (ramp * scale).astype(depth)


def encoded(pixels: NDArray[Any], ending: str, *flags: int) -> bytes:
    done, content = cv2.imencode(ending, pixels, flags)
    assert done
    return bytes(content.tobytes())


@lru_cache
def pool() -> dict[str, bytes]:
    """Images of many formats and shapes, against an image size of 48."""
    colour = pixels_of(90, 130)
    return {
        "jpeg": encoded(colour, ".jpg"),
        "progressive jpeg": encoded(colour, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "grey jpeg": encoded(pixels_of(130, 90, 1), ".jpg"),
        "png": encoded(colour, ".png"),
        "grey png": encoded(pixels_of(50, 47, 1), ".png"),
        "alpha png": encoded(pixels_of(70, 60, 4), ".png"),
        "small alpha png": encoded(pixels_of(20, 31, 4), ".png"),
        "16-bit png": encoded(pixels_of(60, 70, depth=np.uint16), ".png"),
        "16-bit alpha png": encoded(pixels_of(60, 70, 4, depth=np.uint16), ".png"),
        "1-bit png": encoded(
            (pixels_of(60, 50, 1) > 99).astype(np.uint8) * 255, ".png", cv2.IMWRITE_PNG_BILEVEL, 1
        ),
        "webp": encoded(colour, ".webp", cv2.IMWRITE_WEBP_QUALITY, 70),
        "lossless webp": encoded(colour, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
        "alpha webp": encoded(pixels_of(70, 60, 4), ".webp", cv2.IMWRITE_WEBP_QUALITY, 70),
        "bmp": encoded(colour, ".bmp"),
        "tiff": encoded(colour, ".tiff"),
        "float tiff": encoded(pixels_of(60, 70).astype(np.float32), ".tiff"),
        "one pixel": encoded(pixels_of(1, 1), ".png"),
        "exact": encoded(pixels_of(48, 48), ".png"),
        "exact height": encoded(pixels_of(48, 49), ".png"),
        "one below": encoded(pixels_of(47, 47), ".png"),
        "small": encoded(pixels_of(10, 13), ".png"),
        "wide": encoded(pixels_of(3, 300), ".png"),
        "tall": encoded(pixels_of(300, 3), ".png"),
        "line": encoded(pixels_of(1, 900), ".png"),
        "upright line": encoded(pixels_of(900, 1), ".png"),
    }


def decoded(content: bytes) -> NDArray[Any]:
    pixels: NDArray[Any] | None = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert pixels is not None
    return pixels


def reference(content: bytes, encoder: ImageEncoder) -> tuple[Any, ...]:
    """What img2dataset makes of it: bytes, width, height, original width and height, error."""
    from img2dataset.resizer import Resizer

    resizer = Resizer(
        encoder.image_size, encoder.resize_mode, encoder.only_if_bigger,
        encode_quality=encoder.encode_quality, encode_format=encoder.encode_format,
    )  # fmt: skip
    result: tuple[Any, ...] = resizer(io.BytesIO(content))
    return result


def assert_as_img2dataset(content: bytes, encoder: ImageEncoder, *, name: str) -> None:
    expected, width, height, original_width, original_height, error = reference(content, encoder)
    assert error is None, (name, error)
    stored = encoder(content)
    assert isinstance(stored, StoredImage), (name, stored)
    assert (stored.width, stored.height) == (width, height), name
    assert (stored.original_width, stored.original_height) == (original_width, original_height)
    assert stored.content == expected, name


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
@pytest.mark.parametrize("only_if_bigger", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_stores_what_img2dataset_stores(
    mode: str, only_if_bigger: bool, encode_format: str
) -> None:
    encoder = ImageEncoder(
        image_size=48, resize_mode=mode, only_if_bigger=only_if_bigger,
        encode_format=encode_format, encode_quality=QUALITY[encode_format],
    )  # fmt: skip
    for name, content in pool().items():
        if "line" in name and (mode, only_if_bigger, encode_format) == (
            "keep_ratio",
            False,
            "webp",
        ):
            assert reference(content, encoder)[-1], "a side of 43,200 pixels fits into no webp"
            assert isinstance(encoder(content), Refusal)
        else:
            assert_as_img2dataset(content, encoder, name=name)


@given(
    height=st.integers(1, 80), width=st.integers(1, 80), size=st.integers(1, 64),
    mode=st.sampled_from(MODES), only_if_bigger=st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_geometry_of_any_size_is_img2datasets(
    height: int, width: int, size: int, mode: str, only_if_bigger: bool
) -> None:
    encoder = ImageEncoder(
        image_size=size, resize_mode=mode, only_if_bigger=only_if_bigger, encode_format="png",
        encode_quality=0,
    )  # fmt: skip
    content = encoded(pixels_of(height, width), ".bmp")
    assert_as_img2dataset(content, encoder, name=f"{width}x{height} to {size}")


@pytest.mark.parametrize(
    ("mode", "original", "stored"),
    [
        ("no", (300, 200), (300, 200)),
        ("keep_ratio", (300, 200), (150, 100)),
        ("keep_ratio", (200, 300), (100, 150)),
        ("keep_ratio_largest", (300, 200), (100, 67)),
        ("center_crop", (300, 200), (100, 100)),
        ("border", (300, 200), (100, 100)),
        ("keep_ratio", (99, 99), (99, 99)),
        ("border", (99, 40), (99, 40)),
        ("keep_ratio_largest", (101, 1), (100, 1)),
    ],
)
def test_sizes(mode: str, original: tuple[int, int], stored: tuple[int, int]) -> None:
    content = encoded(pixels_of(original[1], original[0]), ".png")
    image = ImageEncoder(image_size=100, resize_mode=mode)(content)
    assert isinstance(image, StoredImage)
    assert (image.width, image.height) == stored
    assert (image.original_width, image.original_height) == original
    pixels = decoded(image.content)
    assert pixels.shape[:2] == stored[::-1]


def test_small_images_grow_unless_told_otherwise() -> None:
    content = encoded(pixels_of(20, 10), ".png")
    for only_if_bigger, size in ((True, (10, 20)), (False, (50, 100))):
        image = ImageEncoder(image_size=50, only_if_bigger=only_if_bigger)(content)
        assert isinstance(image, StoredImage)
        assert (image.width, image.height) == size


def test_transparent_pixels_become_white_and_opaque_ones_stay() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., :3] = (10, 20, 30)
    pixels[0, :, 3] = (0, 255)
    pixels[1, :, 3] = (51, 204)
    encoder = ImageEncoder(encode_format="png", encode_quality=0)
    image = encoder(encoded(pixels, ".png"))
    assert isinstance(image, StoredImage)
    pixels = decoded(image.content)
    assert pixels.tolist() == [
        [[255, 255, 255], [10, 20, 30]],
        [[206, 208, 210], [59, 67, 75]],
    ]


def test_a_border_is_white_and_centred() -> None:
    encoder = ImageEncoder(
        image_size=8, resize_mode="border", only_if_bigger=False, encode_format="png",
        encode_quality=0,
    )  # fmt: skip
    image = encoder(encoded(np.zeros((3, 8, 3), np.uint8), ".png"))
    assert isinstance(image, StoredImage)
    pixels = decoded(image.content)
    assert pixels[:, 0, 0].tolist() == [255, 255, 0, 0, 0, 255, 255, 255]


def test_the_hash_and_the_size_are_those_of_the_original_file() -> None:
    content = pool()["jpeg"]
    image = ImageEncoder()(content)
    assert isinstance(image, StoredImage)
    assert image.image_bytes == len(content)
    assert image.sha256 == hashlib.sha256(content).hexdigest()


def test_the_same_file_gives_the_same_bytes() -> None:
    for content in pool().values():
        assert ImageEncoder(image_size=33)(content) == ImageEncoder(image_size=33)(content)


def test_defaults_are_those_of_the_configuration() -> None:
    given_by_config = Download().model_dump()
    defaults = asdict(ImageEncoder())
    assert defaults == {name: given_by_config[name] for name in defaults}


# What a file is.

SIGNATURES = {
    "jpeg": [b"\xff\xd8\xff\xe0rest", b"\xff\xd8\xff\xdb"],
    "png": [b"\x89PNG\r\n\x1a\nrest"],
    "gif": [b"GIF87a...", b"GIF89a..."],
    "webp": [b"RIFF\x10\0\0\0WEBPVP8 "],
    "bmp": [b"BM\0\0"],
    "tiff": [b"II*\0rest", b"MM\0*rest"],
    "avif": [b"\0\0\0\x20ftypavif....", b"\0\0\0\x20ftypavis...."],
    "svg": [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\n <SVG/>",
        b"<?xml version='1.0'?>\n<!-- drawn by hand -->\n<svg/>",
    ],
    "html": [
        b"<!DOCTYPE html><p>", b"<!doctype HTML>", b" \n<html lang=en>", b"<HEAD>", b"<body>",
        b"\xef\xbb\xbf<html>", b"<?xml version='1.0'?><html xmlns='x'>",
    ],
    "": [b"", b"\xff\xd8", b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"hello", b"{}", b"GIF88a", b"\0" * 99],
}  # fmt: skip


STARTS = [start for some in SIGNATURES.values() for start in some]


@pytest.mark.parametrize(
    ("content", "kind"), [(content, kind) for kind, some in SIGNATURES.items() for content in some]
)
def test_sniff(content: bytes, kind: str) -> None:
    assert sniff(content) == kind


@pytest.mark.parametrize("name", [name for name in pool() if "pixel" not in name])
def test_header_size_is_the_decoded_size(name: str) -> None:
    content = pool()[name]
    pixels = decoded(content)
    expected = None if "tiff" in name else (pixels.shape[1], pixels.shape[0])
    assert header_size(content, sniff(content)) == expected


@given(width=st.integers(1, 300), height=st.integers(1, 300), kind=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_header_size_of_any_size(width: int, height: int, kind: int) -> None:
    ending, channels, *flags = (
        (".jpg", 3), (".png", 3), (".bmp", 3), (".webp", 3, cv2.IMWRITE_WEBP_QUALITY, 50),
        (".webp", 3, cv2.IMWRITE_WEBP_QUALITY, 101), (".webp", 4, cv2.IMWRITE_WEBP_QUALITY, 50),
    )[kind]  # fmt: skip
    content = encoded(np.zeros((height, width, channels), np.uint8), ending, *flags)
    assert header_size(content, sniff(content)) == (width, height)


def test_the_webp_pool_has_all_three_kinds_of_header() -> None:
    kinds = [pool()[name][12:16] for name in ("webp", "lossless webp", "alpha webp")]
    assert kinds == [b"VP8 ", b"VP8L", b"VP8X"]


def test_header_size_skips_the_thumbnail_and_fill_bytes_of_a_jpeg() -> None:
    jpeg, thumbnail = pool()["jpeg"], encoded(pixels_of(5, 6), ".jpg")
    exif = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = jpeg[:2] + exif + b"\xff\xff\xff" + jpeg[2:]
    assert header_size(content, "jpeg") == (130, 90)


def test_a_bitmap_that_stands_on_its_head() -> None:
    content = bytearray(pool()["bmp"])
    content[22:26] = struct.pack("<i", -90)
    assert header_size(bytes(content), "bmp") == (130, 90)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp"])
def test_header_size_of_a_stump_is_unknown(name: str) -> None:
    assert header_size(pool()[name][:14], sniff(pool()[name])) in (None, (0, 0))


# Why there is no image.


def refused(content: bytes, **options: Any) -> Refusal:
    result = ImageEncoder(**options)(content)
    assert isinstance(result, Refusal), result
    return result


@pytest.mark.parametrize("content", SIGNATURES["html"])
def test_an_html_page(content: bytes) -> None:
    assert refused(content) == Refusal(DropReason.HTML_PAGE)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        *((content, kind) for kind in ("gif", "avif", "svg") for content in SIGNATURES[kind]),
        (b"", ""),
        (b"hello", "68656c6c"),
    ],
)
def test_what_is_not_decoded(content: bytes, detail: str) -> None:
    assert refused(content) == Refusal(DropReason.NOT_AN_IMAGE, detail)


def test_a_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">II", 100_000, 100_000) + b"\x08\x02\0\0\0"
    content = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + header
    assert refused(content) == Refusal(DropReason.TOO_MANY_PIXELS, "100000x100000")


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "tiff"])
def test_max_pixels_is_inclusive_in_every_format(name: str) -> None:
    content, pixels = pool()[name], 90 * 130
    assert isinstance(ImageEncoder(max_pixels=pixels)(content), StoredImage)
    expected = Refusal(DropReason.TOO_MANY_PIXELS, "130x90")
    assert refused(content, max_pixels=pixels - 1) == expected


@pytest.mark.parametrize(
    "name", ["jpeg", "progressive jpeg", "png", "webp", "lossless webp", "alpha webp"]
)
def test_every_cut_of_a_file_is_truncated(name: str) -> None:
    content = pool()[name]
    kind = sniff(content)
    assert not is_truncated(content, kind)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        cut = content[: int(len(content) * share)]
        assert is_truncated(cut, kind), share
        assert refused(cut) == Refusal(DropReason.TRUNCATED, f"{kind}, {len(cut)} bytes")
    assert refused(content[:-13] if kind == "png" else content[:-2]).reason is DropReason.TRUNCATED


@pytest.mark.parametrize("name", ["bmp", "tiff"])
def test_half_a_file_of_the_other_formats_is_undecodable(name: str) -> None:
    content = pool()[name]
    assert refused(content[: len(content) // 2]) == Refusal(DropReason.UNDECODABLE, name)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("more", [b"\xff\xda and more", b"IEN", b"\0" * 100, b"\xff\xd8\xff\xda"])
def test_bytes_after_the_end_of_a_file_do_not_matter(name: str, more: bytes) -> None:
    content = pool()[name]
    one, other = ImageEncoder()(content), ImageEncoder()(content + more)
    assert isinstance(one, StoredImage)
    assert isinstance(other, StoredImage), other
    assert one.content == other.content


def test_a_jpeg_cut_after_its_whole_thumbnail_is_truncated() -> None:
    jpeg, thumbnail = pool()["jpeg"], encoded(pixels_of(5, 6), ".jpg")
    exif = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert is_truncated(jpeg[:2] + exif + jpeg[2:-500], "jpeg")
    assert is_truncated(jpeg[:2] + exif + jpeg[2:40], "jpeg")
    assert not is_truncated(jpeg[:2] + exif + jpeg[2:], "jpeg")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0\0\x04zz\xff\xd9", "jpeg"),
        (b"BM, so it begins", "bmp"),
        (b"II*\0\x08\0\0\0", "tiff"),
        (b"RIFF\x04\0\0\0WEBP", "webp"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", "png"),
    ],
)
def test_what_looks_like_an_image_and_is_none(content: bytes, kind: str) -> None:
    assert refused(content) == Refusal(DropReason.UNDECODABLE, kind)


@pytest.mark.parametrize(("encode_format", "side"), [("jpg", 66_000), ("webp", 17_000)])
def test_an_image_that_the_format_has_no_room_for(encode_format: str, side: int) -> None:
    content = encoded(np.zeros((1, side, 3), np.uint8), ".png")
    expected = Refusal(DropReason.UNDECODABLE, f"{side}x1 is no {encode_format}")
    assert refused(content, encode_format=encode_format) == expected


@given(
    content=st.binary(max_size=200),
    magic=st.sampled_from(STARTS),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_for_a_reason(content: bytes, magic: bytes) -> None:
    assert refused(magic + content).reason in CONTENT_REASONS


@given(
    name=st.sampled_from(sorted(pool())),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_stored_whole_or_refused(
    name: str, places: list[tuple[float, int]]
) -> None:
    damaged = bytearray(pool()[name])
    for share, byte in places:
        damaged[int(share * len(damaged))] = byte
    result = ImageEncoder(image_size=32, max_pixels=1_000_000)(bytes(damaged))
    if isinstance(result, Refusal):
        assert result.reason in CONTENT_REASONS
    else:
        pixels = decoded(result.content)
        assert pixels.shape[:2] == (result.height, result.width)
        assert result.original_width * result.original_height <= 1_000_000
