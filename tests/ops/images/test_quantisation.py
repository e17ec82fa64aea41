"""The quality of a JPEG by its tables, against the encoders that were given it and Pillow's reading."""

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.JpegPresets import presets

from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.images.quantisation import saved_quality
from tests.ops.images.test_faces import PHOTO

PICTURE = Image.open(io.BytesIO(PHOTO)).convert("RGB").resize((40, 56))


def saved(image: Image.Image = PICTURE, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def luminance(content: bytes) -> list[int]:
    """The first table as Pillow reads it."""
    with Image.open(io.BytesIO(content)) as image:
        return list(image.quantization[0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", range(1, 101))
def test_what_libjpeg_saved_at_a_quality_has_it(quality: int) -> None:
    for subsampling in ("4:4:4", "4:2:0"):
        assert saved_quality(saved(quality=quality, subsampling=subsampling)) == quality
    assert saved_quality(saved(PICTURE.convert("L"), quality=quality)) == quality
    assert saved_quality(saved(PICTURE.convert("CMYK"), quality=quality)) == quality
    assert saved_quality(saved(quality=quality, progressive=True, exif=b"Exif\0\0x")) == quality
    pixels = np.asarray(PICTURE)
    content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert saved_quality(content) == quality


def nearest(table: list[int]) -> int:
    """The definition, over the tables that libjpeg itself writes at each quality."""

    def apart(quality: int) -> float:
        own = luminance(saved(quality=quality))
        return sum(abs(math.log(a / min(b, 255))) for a, b in zip(own, table, strict=True))

    return min(range(1, 101), key=apart)


@pytest.mark.parametrize("name", ["web_low", "web_high", "web_maximum", "low", "maximum"])
def test_tables_of_others_have_the_quality_whose_table_is_nearest(name: str) -> None:
    content = saved(qtables=presets[name]["quantization"])
    assert saved_quality(content) == nearest(luminance(content))


def test_the_luminance_decides_and_the_last_table_of_a_number_counts() -> None:
    with Image.open(io.BytesIO(saved(quality=30))) as image:
        coarse = list(image.quantization[1])  # type: ignore[attr-defined]
    fine = luminance(saved(quality=90))
    assert saved_quality(saved(qtables=[fine, coarse])) == 90
    first, second = saved(quality=30), saved(quality=80)
    assert saved_quality(second[:2] + tables_of(first) + second[2:]) == 80


def tables_of(content: bytes) -> bytes:
    """The segments of tables of a file, one after the other."""
    found, at = b"", 2
    while content[at + 1] != 0xDA:
        size = int.from_bytes(content[at + 2 : at + 4], "big") + 2
        found += content[at : at + size] if content[at + 1] == 0xDB else b""
        at += size
    return found


def test_tables_of_sixteen_bits_are_read_to_the_limit_of_a_baseline_file() -> None:
    """What cjpeg writes below a quality of 25, where no limit is asked for: 16 * 20 = 320."""
    content = saved(PICTURE.convert("L"), quality=5)
    wide = [round(value * 10) for value in luminance(saved(PICTURE.convert("L"), quality=50))]
    order = np.argsort([int(x) for x in ZIGZAG.split()])
    values = np.array(wide)[order].astype(">u2").tobytes()
    segment = b"\xff\xdb" + (3 + len(values)).to_bytes(2, "big") + b"\x10" + values
    plain = tables_of(content)
    assert max(wide) > 255
    assert saved_quality(content.replace(plain, segment)) == 5


ZIGZAG = """0 1 5 6 14 15 27 28 2 4 7 13 16 26 29 42 3 8 12 17 25 30 41 43 9 11 18 24 31 40 44 53
10 19 23 32 39 45 52 54 20 22 33 38 46 51 55 60 21 34 37 47 50 56 59 61 35 36 48 49 57 58 62 63"""


def test_what_states_no_table_has_none() -> None:
    content = saved(quality=75)
    assert saved_quality(content.replace(tables_of(content), b"")) is None
    assert saved_quality(saved(form="PNG")) is None
    assert saved_quality(saved(form="WEBP")) is None
    assert saved_quality(b"") is None
    for end in range(len(content)):
        assert saved_quality(content[:end]) in (75, None)
    at = content.index(tables_of(content))
    nulls = content[: at + 5] + bytes(64) + content[at + 69 :]
    assert saved_quality(nulls) is None


@pytest.mark.parametrize(
    "settings", [{}, {"keep": True}, {"disable_all_reencoding": True}, {"encode_format": "webp"}]
)
def test_what_is_stored_tells_of_the_file_that_came(settings: dict[str, bool]) -> None:
    for content, wanted in ((saved(quality=33), 33), (saved(form="PNG"), None)):
        image = ImageEncoder(image_size=24, jpeg_quality=True, **settings)(content)  # type: ignore[arg-type]
        assert isinstance(image, StoredImage)
        assert image.jpeg_quality == wanted
        plain = ImageEncoder(image_size=24, **settings)(content)  # type: ignore[arg-type]
        assert isinstance(plain, StoredImage)
        assert (plain.jpeg_quality, plain.content) == (None, image.content)
