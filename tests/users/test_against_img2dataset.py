"""Where a stored image is not the one that img2dataset stores: the exceptions that the docs name."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from curate.ops.images.encoder import ImageEncoder, StoredImage
from tests.ops.images.pictures import encoded, pixels_of, pool, turned
from tests.ops.images.test_encoder import QUALITY, reference


def odd() -> dict[str, bytes]:
    """Pictures of which the docs say that they are stored otherwise, by what they say."""
    wide, grey = (pixels_of(60, 70, n, depth=np.uint16) for n in (3, 1))
    share = (pixels_of(60, 70) / 255).astype(np.float32)
    return {
        **{f"on its side {k}": turned(k, "JPEG") for k in range(2, 9)},
        "16 bits of colour": encoded(wide, ".png"),
        "16 bits of colour, tiff": encoded(wide, ".tiff"),
        "16 bits, grey": encoded(grey, ".png"),
        "16 bits, grey tiff": encoded(grey, ".tiff"),
        "16 bits, alpha": encoded(pixels_of(60, 70, 4, depth=np.uint16), ".png"),
        "floats up to 1": encoded(share, ".tiff"),
        "floats over 255": encoded(share * np.float32(65535), ".tiff"),
        "10 bits": encoded(pixels_of(60, 70).astype(np.uint16) * 4, ".avif",
                           cv2.IMWRITE_AVIF_DEPTH, 10),
    }  # fmt: skip


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_only_what_the_docs_name_differs(encode_format: Any) -> None:
    encoder = ImageEncoder(
        image_size=48, encode_format=encode_format, encode_quality=QUALITY[encode_format]
    )
    same = set()
    pictures = {name: x for name, x in pool().items() if not name.startswith("16-bit")} | odd()
    for name, content in pictures.items():
        stored = encoder(content)
        assert isinstance(stored, StoredImage), name
        if stored.content == reference(content, encoder)[0]:
            same.add(name)
    kept = {"16 bits of colour", "16 bits of colour, tiff"} if encode_format == "png" else set()
    assert pictures.keys() - same == odd().keys() - kept


def test_what_differs_is_what_a_person_sees() -> None:
    """Each is near what Pillow, told of the EXIF block, or of the bits, shows."""
    encoder = ImageEncoder(resize_mode="no", encode_format="png", encode_quality=1)
    plain = pixels_of(60, 70)[..., ::-1].astype(int)
    for name, content in odd().items():
        if name.startswith(("16 bits of", "floats")):
            stored = encoder(content)
            assert isinstance(stored, StoredImage)
            seen = np.asarray(Image.open(io.BytesIO(stored.content)).convert("RGB")).astype(int)
            assert np.abs(seen - plain).mean() < 4, name


def test_the_docs_name_them() -> None:
    text = Path("docs/coming-from.md").read_text()
    for word in ("EXIF", "16 bits", "floats", "AVIF of 10", "cut-off", "bombs", "SVG"):
        assert word in text
