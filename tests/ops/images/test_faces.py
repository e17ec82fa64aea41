"""Faces of a real photograph, wherever they are and however large; and their blur by img2dataset."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from curate.ops.images import faces
from curate.ops.images.boxes import Box
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.images.faces import find_faces
from tests.ops.images.pictures import decoded, encoded, pool, saved
from tests.ops.images.test_encoder import MODES, reference

PHOTO = (Path(__file__).parents[2] / "data" / "astronaut.jpg").read_bytes()
FACE = (138, 55, 211, 132)
"""Left, top, right and bottom of the face in the photograph, by eye, pixels: brow to chin."""


@lru_cache
def photo() -> Any:
    return cv2.imdecode(np.frombuffer(PHOTO, np.uint8), cv2.IMREAD_COLOR)


def detail(image: StoredImage) -> float:
    """How strong the edges inside the face are."""
    left, top, right, bottom = (round(side * image.width / 400) for side in FACE)
    edges = cv2.Laplacian(cv2.cvtColor(decoded(image.content), cv2.COLOR_BGR2GRAY), cv2.CV_64F)
    return float(edges[top:bottom, left:right].var())


def overlap(box: Box, wanted: tuple[float, ...], width: int, height: int) -> float:
    """Intersection over union of a box, in shares, and one in pixels."""
    found = [share * side for share, side in zip(box, (width, height) * 2, strict=True)]
    both = [max(a, b) for a, b in zip(found[:2], wanted[:2], strict=True)]
    both += [min(a, b) for a, b in zip(found[2:], wanted[2:], strict=True)]

    def area(left: float, top: float, right: float, bottom: float) -> float:
        return max(right - left, 0) * max(bottom - top, 0)

    return area(*both) / (area(*found) + area(*wanted) - area(*both))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (900, 30), (400, 700)])
@pytest.mark.parametrize("scale", [0.45, 1.0, 2.0])
def test_a_face_is_found_wherever_it_is(x: int, y: int, scale: float) -> None:
    scene = np.full((y + 850, x + 850, 3), 110, np.uint8)
    size = round(400 * scale)
    scene[y : y + size, x : x + size] = cv2.resize(photo(), (size, size))
    boxes = find_faces(scene)
    wanted = tuple(side * scale + shift for side, shift in zip(FACE, (x, y) * 2, strict=True))
    found = [box for box in boxes if overlap(box, wanted, x + 850, y + 850) > 0.5]
    assert len(found) == 1
    assert boxes[0] == found[0], "the surest one first"


def test_two_faces_are_two_and_things_are_none() -> None:
    both = np.hstack([photo(), photo()[:, ::-1]])
    assert len(find_faces(both)) == 2
    assert find_faces(photo()[200:, :200]) == []
    assert find_faces(np.full((1, 1), 7, np.uint8)) == []
    for name, content in pool().items():
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is None or find_faces(pixels[..., :3]) == [], name


@pytest.fixture
def unsure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever the network has a twentieth of a doubt about is a face."""
    monkeypatch.setattr(faces, "_CONFIDENCE", 0.05)
    faces._detector.cache_clear()
    yield
    faces._detector.cache_clear()


@pytest.mark.usefixtures("unsure")
@pytest.mark.parametrize("shape", [(3, 300), (300, 3), (1, 1), (31, 31), (32, 320)])
def test_what_was_looked_at_before_changes_nothing(shape: tuple[int, int]) -> None:
    """OpenCV's network answers what was left in its memory where a layer is of a single pixel."""
    pixels = (np.indices((*shape, 3)).sum(0) * 7 % 256).astype(np.uint8)
    random = np.random.default_rng(0)
    seen = []
    for _ in range(20):
        find_faces(random.integers(0, 255, (*random.integers(1, 640, 2), 3), dtype=np.uint8))
        seen.append(find_faces(pixels))
    assert seen == seen[:1] * 20


def test_a_face_that_fills_the_picture_is_found() -> None:
    left, top, right, bottom = FACE
    for side in (64, 640, 2000):
        assert len(find_faces(cv2.resize(photo()[top - 20 : bottom + 15, left - 10 : right + 10],
                                         (side, side)))) == 1  # fmt: skip


def test_grey_and_deep_pictures_have_the_same_faces() -> None:
    (box,) = find_faces(photo())
    for pixels in (cv2.cvtColor(photo(), cv2.COLOR_BGR2GRAY), photo().astype(np.uint16) * 257,
                   photo().astype(np.float32)):  # fmt: skip
        (found,) = find_faces(pixels)
        assert found == pytest.approx(box, abs=0.02)


def test_what_was_looked_at_before_makes_no_difference() -> None:
    alone = {size: find_faces(cv2.resize(photo(), size)) for size in ((400, 400), (90, 333))}
    for size in ((1200, 700), (33, 20), (400, 400), (2, 900), (90, 333), (400, 400)):
        boxes = find_faces(cv2.resize(photo(), size))
        assert boxes == alone.get(size, boxes)


@pytest.mark.parametrize("mode", MODES)
def test_a_face_is_blurred_as_img2dataset_blurs_the_box_that_is_written_down(mode: str) -> None:
    settings = {"image_size": 128, "resize_mode": mode}
    found = ImageEncoder(**settings, faces="find")(PHOTO)  # type: ignore[arg-type]
    blurred = ImageEncoder(**settings, faces="blur")(PHOTO)  # type: ignore[arg-type]
    plain = ImageEncoder(**settings)(PHOTO)  # type: ignore[arg-type]
    assert isinstance(found, StoredImage)
    assert isinstance(blurred, StoredImage)
    assert isinstance(plain, StoredImage)
    assert (plain.faces, plain.face_boxes) == (None, None)
    assert found.content == plain.content
    assert (blurred.faces, blurred.face_boxes) == (found.faces, found.face_boxes)
    assert found.faces == 1
    assert blurred.content == reference(PHOTO, ImageEncoder(**settings), found.face_boxes)[0]  # type: ignore[arg-type]
    assert blurred.content != plain.content


def test_no_feature_is_left_of_a_face_that_is_stored() -> None:
    for size in (128, 256, 400):
        plain, blurred = (
            ImageEncoder(image_size=size, faces=faces, skip_reencode=True)(PHOTO)
            for faces in ("find", "blur")
        )
        assert isinstance(plain, StoredImage)
        assert isinstance(blurred, StoredImage)
        assert detail(blurred) < detail(plain) / 20
    kept = ImageEncoder(image_size=400, faces="find", skip_reencode=True)(PHOTO)
    assert isinstance(kept, StoredImage)
    assert kept.content == PHOTO


def test_faces_of_a_picture_on_its_side_are_those_of_the_upright_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = cv2.rotate(photo(), cv2.ROTATE_90_COUNTERCLOCKWISE)[..., ::-1]
    stored = ImageEncoder(image_size=400, faces="find")(
        saved(Image.fromarray(np.ascontiguousarray(lying)), kind="JPEG", exif=exif, quality=95)
    )
    upright = ImageEncoder(image_size=400, faces="find")(encoded(photo(), ".png"))
    assert isinstance(stored, StoredImage)
    assert isinstance(upright, StoredImage)
    assert stored.face_boxes
    assert upright.face_boxes
    assert stored.face_boxes[0] == pytest.approx(upright.face_boxes[0], abs=0.02)


def test_boxes_of_the_pool_are_blurred_beside_the_faces() -> None:
    given = [[0.6, 0.6, 0.9, 0.9]]
    settings: dict[str, Any] = {"image_size": 128}
    both = ImageEncoder(**settings, faces="blur")(PHOTO, blur=given)
    assert isinstance(both, StoredImage)
    assert both.face_boxes
    every = [*given, *both.face_boxes]
    assert both.content == reference(PHOTO, ImageEncoder(**settings), every)[0]
    assert both.faces == 1
