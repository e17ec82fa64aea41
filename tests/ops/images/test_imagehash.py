"""The perceptual hash against the reference's hashes and against what the web does to pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from curate.files import shipped
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.images.imagehash import BITS, perceptual_hash

REFERENCE = Path(__file__).parents[2] / "data" / "pdq.csv"
NAMES = [line.split(",")[0] for line in REFERENCE.read_text().split()]


def picture(name: str) -> Any:
    return cv2.imread(str(shipped("pipelines/demo/pool/images") / name))


def apart(left: str | None, right: str | None) -> int:
    """Bits between two hashes; all of them where one is missing."""
    if left is None or right is None:
        return BITS
    return (int(left, 16) ^ int(right, 16)).bit_count()


def test_it_is_the_reference_s_hash_of_the_picture_at_512_pixels() -> None:
    distances = []
    for line in REFERENCE.read_text().split():
        name, bits, quality = line.split(",")
        found = perceptual_hash(picture(name))
        assert found.quality is not None
        assert abs(found.quality - int(quality)) <= 1, name
        distances.append(apart(found.bits, bits))
    # A symmetric picture's bits are noise in the reference, and a pattern here.
    assert np.mean(np.array(distances) <= 4) > 0.85
    assert np.median(distances) == 0


def changed(pixels: Any) -> dict[str, Any]:
    """The same picture as the web hands it on."""
    height, width = pixels.shape[:2]
    files = {f"jpeg {q}": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, q]) for q in (30, 50, 70, 95)}
    files["webp"] = (".webp", [cv2.IMWRITE_WEBP_QUALITY, 75])
    found = {
        name: cv2.imdecode(cv2.imencode(kind, pixels, flags)[1], cv2.IMREAD_COLOR)
        for name, (kind, flags) in files.items()
    }
    size = (width // 2, height // 2)
    return {**found, "half": cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)}


def test_the_same_picture_is_found_and_no_other() -> None:
    pictures = {name: picture(name) for name in NAMES}
    hashes = {name: perceptual_hash(pixels).bits for name, pixels in pictures.items()}
    found: dict[str, list[bool]] = {}
    for name, pixels in pictures.items():
        for change, other in changed(pixels).items():
            near = apart(hashes[name], perceptual_hash(other).bits) <= 31
            found.setdefault(change, []).append(near)
    for change, hits in found.items():
        assert np.mean(hits) >= 0.95, (change, np.mean(hits))
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[:i]]
    together = [pair for pair in pairs if apart(hashes[pair[0]], hashes[pair[1]]) <= 31]
    assert len(together) <= len(pairs) * 0.002, together


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64), (2000, 90)])
def test_one_colour_has_no_hash_whatever_its_size(shape: tuple[int, int]) -> None:
    for value in (0, 117, 255):
        assert perceptual_hash(np.full((*shape, 3), value, np.uint8))[:2] == (None, 0)


def test_a_faint_gradient_has_no_hash() -> None:
    ramp = np.broadcast_to(np.linspace(100, 110, 300).astype(np.uint8), (200, 300))
    assert perceptual_hash(ramp).bits is None


def test_grey_colour_and_16_bits_agree() -> None:
    grey = cv2.cvtColor(picture(NAMES[0]), cv2.COLOR_BGR2GRAY)
    as_colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    assert perceptual_hash(grey) == perceptual_hash(as_colour)
    assert perceptual_hash(grey.astype(np.uint16) * 257) == perceptual_hash(grey)


def test_a_cut_or_padded_thumbnail_has_the_hash_of_the_whole_picture() -> None:
    content = (shipped("pipelines/demo/pool/images") / NAMES[1]).read_bytes()
    stored = [ImageEncoder(resize_mode=mode, image_size=96)(content) for mode in
              ("no", "keep_ratio", "center_crop", "border")]  # fmt: skip
    hashes = [image.phash for image in stored if isinstance(image, StoredImage)]
    assert len(hashes) == 4
    assert len(set(hashes) - {hashes[1]}) == 1  # all but the scaled one look at the same pixels
    assert apart(hashes[0], hashes[1]) <= 8
    off = ImageEncoder(perceptual_hash=False)(content)
    assert isinstance(off, StoredImage)
    assert (off.phash, off.phash_quality, off.look) == (None, None, None)
