"""The stored image against img2dataset's own resizer, byte for byte, and the reason of each refusal."""

import hashlib
import io
import json
import os
import struct
import zlib
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from curate.config import Download
from curate.ops.images.encoder import INTERPOLATIONS, ImageEncoder, Refusal, StoredImage
from curate.ops.images.formats import is_truncated, sniff
from curate.reasons import DropReason
from tests.ops.images.pictures import (
    SIGNATURES,
    STARTS,
    decoded,
    encoded,
    frames,
    pixels_of,
    pool,
    turned,
)

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
MODES = ["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
SPOILED = {"jpg": {"16-bit png", "16-bit alpha png"}, "webp": {"16-bit png", "16-bit alpha png"},
           "png": {"16-bit alpha png"}}  # fmt: skip
"""What img2dataset leaves white, by the stored format."""
QUALITY = {"jpg": 95, "png": 3, "webp": 80}
CONTENT_REASONS = {
    DropReason.HTML_PAGE, DropReason.NOT_AN_IMAGE, DropReason.TOO_MANY_PIXELS,
    DropReason.TRUNCATED, DropReason.UNDECODABLE, DropReason.VECTOR_IMAGE,
    DropReason.DECOMPRESSION_BOMB,
}  # fmt: skip


def reference(content: bytes, encoder: ImageEncoder, blur: Any = None) -> tuple[Any, ...]:
    """What img2dataset makes of it: bytes, width, height, original width and height, error."""
    from img2dataset.blurrer import BoundingBoxBlurrer
    from img2dataset.resizer import Resizer

    resizer = Resizer(
        encoder.image_size, encoder.resize_mode, encoder.only_if_bigger,
        encode_quality=encoder.encode_quality, encode_format=encoder.encode_format,
        upscale_interpolation=encoder.upscale_interpolation,
        downscale_interpolation=encoder.downscale_interpolation,
        skip_reencode=encoder.skip_reencode, blurrer=BoundingBoxBlurrer(),
    )  # fmt: skip
    result: tuple[Any, ...] = resizer(io.BytesIO(content), blur)
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
        if name in SPOILED[encode_format]:
            continue
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


@pytest.mark.parametrize("how", sorted(INTERPOLATIONS))
def test_interpolations_are_img2datasets(how: str) -> None:
    for only_if_bigger, size in ((True, 48), (False, 200)):
        encoder = ImageEncoder(
            image_size=size, only_if_bigger=only_if_bigger, upscale_interpolation=how,
            downscale_interpolation=how,
        )  # fmt: skip
        for name in ("jpeg", "grey jpeg", "alpha png", "small"):
            assert_as_img2dataset(pool()[name], encoder, name=f"{name} {how}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_a_file_that_needs_no_change_is_stored_itself(mode: str, encode_format: str) -> None:
    encoder = ImageEncoder(
        image_size=100, resize_mode=mode, skip_reencode=True, encode_format=encode_format,
        encode_quality=QUALITY[encode_format],
    )  # fmt: skip
    untouched = set()
    for name, content in pool().items():
        # img2dataset knows a JPEG only by a JFIF or EXIF header, which Pillow leaves out of these.
        if name not in SPOILED[encode_format] and name not in ("icc jpeg", "cmyk jpeg"):
            assert_as_img2dataset(content, encoder, name=name)
        if encoder(content).content == content:  # type: ignore[union-attr]
            untouched.add(name)
    expected = {"jpg": "grey jpeg", "png": "grey png", "webp": "webp"}[encode_format]
    assert (expected in untouched) == (mode == "no" or expected == "grey png" or
                                       mode in ("keep_ratio", "center_crop"))  # fmt: skip
    assert not {"alpha png", "alpha webp", "bmp", "avif"} & untouched


def test_a_file_with_exif_is_not_stored_itself_unless_its_tags_are_kept() -> None:
    for kind, ending in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        content = turned(1, kind)
        for keep in (False, True):
            encoder = ImageEncoder(
                skip_reencode=True, keep_exif=keep, encode_format=ending,
                encode_quality=QUALITY[ending],
            )  # fmt: skip
            image = encoder(content)
            assert isinstance(image, StoredImage)
            assert (image.content == content) == keep
            assert (b"Maker" in image.content) == keep


def test_files_are_stored_as_they_came_without_decoding() -> None:
    encoder = ImageEncoder(disable_all_reencoding=True, image_size=10)
    for name, content in pool().items():
        image = encoder(content)
        assert isinstance(image, StoredImage), name
        pixels = decoded(content)
        assert image.content == content
        assert (image.width, image.height) == (pixels.shape[1], pixels.shape[0])
        assert (image.original_width, image.original_height) == (image.width, image.height)
    assert isinstance(encoder(pool()["jpeg"][:500]), Refusal)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_on_its_side_is_stored_upright(kind: str, orientation: int) -> None:
    content = turned(orientation, kind)
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    encoder = ImageEncoder(resize_mode="no", encode_format="png", encode_quality=1)
    image = encoder(content)
    assert isinstance(image, StoredImage)
    stored = Image.open(io.BytesIO(image.content))
    assert stored.size == seen.size == (image.original_width, image.original_height)
    assert np.abs(np.asarray(stored, int) - np.asarray(seen, int)).mean() < 1
    assert not stored.getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fast_decoding_turns_pictures_too(orientation: int) -> None:
    content = turned(orientation, "JPEG")
    slow, fast = (ImageEncoder(image_size=40, fast_decode=x)(content) for x in (False, True))
    assert isinstance(slow, StoredImage)
    assert isinstance(fast, StoredImage)
    assert without_pixels(slow) == without_pixels(fast)
    assert difference(slow, fast) < 12


def without_pixels(image: StoredImage) -> StoredImage:
    """All that does not come from the pixels."""
    return replace(image, content=b"", phash=None, phash_quality=None, look=None)


def difference(one: StoredImage, other: StoredImage) -> float:
    pixels, others = decoded(one.content), decoded(other.content)
    assert pixels.shape == others.shape
    return float(np.abs(pixels.astype(int) - others).mean())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(400, 300), (1200, 401), (257, 1000), (97, 98)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fast_decoding_stores_the_same_sizes_and_nearly_the_same_pixels(
    mode: str, size: tuple[int, int], channels: int
) -> None:
    y, x, c = np.ogrid[: size[0], : size[1], :channels]
    smooth = (127 + 60 * np.sin(x / 17 + c) + 60 * np.cos(y / 23 + x / 40)).astype(np.uint8)
    content = encoded(smooth, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 92)
    for image_size in (48, 96, 100, 256):
        encoder = ImageEncoder(image_size=image_size, resize_mode=mode)
        slow, fast = encoder(content), replace(encoder, fast_decode=True)(content)
        assert isinstance(slow, StoredImage)
        assert isinstance(fast, StoredImage)
        assert without_pixels(slow) == without_pixels(fast)
        assert difference(slow, fast) < 5  # half a pixel of 38 to the side at the most


def test_fast_decoding_changes_only_what_it_shrinks() -> None:
    for name, content in pool().items():
        if "jpeg" not in name or "cmyk" in name:
            slow, fast = (
                ImageEncoder(image_size=40, fast_decode=x)(content) for x in (False, True)
            )
            assert slow == fast, name
    slow, fast = (ImageEncoder(image_size=46, fast_decode=x)(pool()["jpeg"]) for x in (False, True))
    assert slow == fast


def test_sixteen_bits_are_scaled_to_eight() -> None:
    """img2dataset cuts them off: nearly every pixel is white then."""
    eight = pixels_of(60, 70, 4)
    eight[..., 3] = 255 - eight[..., 3] // 3
    for channels in (1, 3, 4):
        wide, narrow = (
            encoded(pixels[..., :channels], ".png")
            for pixels in (eight.astype(np.uint16) * 257, eight)
        )
        one, other = ImageEncoder()(wide), ImageEncoder()(narrow)
        assert isinstance(one, StoredImage)
        assert isinstance(other, StoredImage)
        assert one.content == other.content
    grey = ImageEncoder(encode_format="png", encode_quality=1)(
        encoded(eight[..., 0].astype(np.uint16) * 257, ".png")
    )
    assert isinstance(grey, StoredImage)
    assert np.array_equal(decoded(grey.content), eight[..., 0]), (
        "a trainer sees 16 bits of grey white"
    )
    whole = ImageEncoder(encode_format="png", encode_quality=1)(wide_png())
    assert isinstance(whole, StoredImage)
    assert decoded(whole.content).dtype == np.uint16


@pytest.mark.parametrize(("bits", "step"), [(10, 4), (12, 16)])
def test_an_avif_of_ten_or_twelve_bits_is_not_black(bits: int, step: int) -> None:
    flags = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 95]
    ramp = np.tile(np.arange(0, 250, 2).astype(np.uint16)[:, np.newaxis], (60, 1, 3))
    content = encoded(ramp * step, ".avif", *flags)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    for kind in ("png", "jpg"):
        image = ImageEncoder(encode_format=kind, encode_quality=9)(content)
        assert isinstance(image, StoredImage)
        assert np.abs(decoded(image.content).astype(int) - seen).mean() < (
            1 if kind == "png" else 6
        )


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 257.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_shares_or_levels_of_eight_or_sixteen_bits(scale: float, dtype: Any) -> None:
    pixels = pixels_of(60, 70)
    wide = (pixels * scale).astype(dtype)
    wide[0, 0] = np.nan
    image = ImageEncoder(encode_format="png", encode_quality=1)(encoded(wide, ".tiff"))
    assert isinstance(image, StoredImage)
    assert np.abs(decoded(image.content).astype(int) - pixels)[1:].max() <= 1


def wide_png() -> bytes:
    return encoded(pixels_of(60, 70, depth=np.uint16), ".png")


@pytest.mark.parametrize("name", ["animated gif", "animated webp", "animated png"])
def test_of_an_animation_the_first_frame_is_stored(name: str) -> None:
    image = ImageEncoder(encode_format="png", encode_quality=1)(pool()[name])
    assert isinstance(image, StoredImage)
    near = [np.abs(decoded(image.content)[..., ::-1].astype(int) - frame).mean()
            for frame in map(np.asarray, frames())]  # fmt: skip
    assert near[0] < 12 < min(near[1:])
    assert image.image_format == name.split()[1]


def test_the_tags_are_img2datasets_column() -> None:
    import exifread

    content = turned(6, "JPEG")
    image = ImageEncoder(keep_exif=True)(content)
    assert isinstance(image, StoredImage)
    tags = exifread.process_file(io.BytesIO(content), details=False)
    assert image.exif == json.dumps({k: str(v).strip() for k, v in tags.items()})
    assert json.loads(image.exif)["Image Make"] == "Maker"
    without = ImageEncoder()(content)
    assert isinstance(without, StoredImage)
    assert without.exif is None
    assert b"Maker" not in without.content


def test_the_format_is_that_of_the_content() -> None:
    for name, content in pool().items():
        image = ImageEncoder(image_size=32)(content)
        assert isinstance(image, StoredImage)
        assert image.image_format == sniff(content)
        if name.split()[-1] in ("jpeg", "png", "gif", "webp", "avif", "bmp", "tiff"):
            assert image.image_format == name.split()[-1]


def test_defaults_are_those_of_the_configuration() -> None:
    given_by_config = Download().model_dump()
    defaults = asdict(ImageEncoder())
    assert defaults.pop("md5") is False  # it follows from what the block lists hold
    assert defaults.pop("keep") is False  # it is of images that come with the pool
    given_by_config["image_size"] = Download().stored_size
    assert defaults == {name: given_by_config[name] for name in defaults}


# Why there is no image.


def refused(content: bytes, **options: Any) -> Refusal:
    result = ImageEncoder(**options)(content)
    assert isinstance(result, Refusal), result
    return result


@pytest.mark.parametrize("content", SIGNATURES["html"])
def test_an_html_page(content: bytes) -> None:
    assert refused(content) == Refusal(DropReason.HTML_PAGE)


@pytest.mark.parametrize("content", SIGNATURES["svg"])
def test_a_drawing(content: bytes) -> None:
    assert refused(content) == Refusal(DropReason.VECTOR_IMAGE, "svg")


@pytest.mark.parametrize(("content", "detail"), [(b"", ""), (b"hello", "68656c6c")])
def test_what_is_not_decoded(content: bytes, detail: str) -> None:
    assert refused(content) == Refusal(DropReason.NOT_AN_IMAGE, detail)


def test_a_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">II", 100_000, 100_000) + b"\x08\x02\0\0\0"
    content = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + header
    assert refused(content) == Refusal(DropReason.TOO_MANY_PIXELS, "100000x100000")


def test_a_hostile_png_of_sixty_thousand_squared_is_never_decoded() -> None:
    rows = zlib.compress(bytes(60_001) * 100)
    header = struct.pack(">II", 60_000, 60_000) + b"\x08\0\0\0\0"
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    assert refused(content) == Refusal(DropReason.TOO_MANY_PIXELS, "60000x60000")
    small = {"max_pixels": 1 << 40, "max_pixels_per_byte": 1000}
    assert refused(content, **small).reason is DropReason.DECOMPRESSION_BOMB


def test_an_image_of_few_bytes_is_a_bomb_only_if_it_is_large() -> None:
    blank = [
        encoded(np.zeros(size, np.uint8), ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
        for size in ((1024, 1024, 3), (1024, 1025, 3))
    ]
    assert all(len(content) < 1024 for content in blank)
    assert isinstance(ImageEncoder()(blank[0]), StoredImage)
    expected = f"1025x1024 in {len(blank[1])} bytes"
    assert refused(blank[1]) == Refusal(DropReason.DECOMPRESSION_BOMB, expected)
    just = 1024 * 1025 / len(blank[1])
    assert isinstance(ImageEncoder(max_pixels_per_byte=just)(blank[1]), StoredImage)


@pytest.mark.parametrize("name", ["jpeg", "png", "palette gif", "webp", "bmp", "tiff", "avif"])
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
@settings(max_examples=100, deadline=None)
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
