"""Blurred boxes against img2dataset's own blurrer, pixel for pixel."""

import os
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.images.blur import blur_boxes
from curate.ops.images.encoder import ImageEncoder, StoredImage
from tests.ops.images.pictures import decoded, pixels_of, pool
from tests.ops.images.test_encoder import MODES, reference

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
FACES = [[0.1, 0.2, 0.4, 0.5], [0.6, 0.5, 0.95, 1.0]]


def expected(pixels: Any, boxes: list[list[float]]) -> Any:
    from img2dataset.blurrer import BoundingBoxBlurrer

    return BoundingBoxBlurrer()(pixels, boxes)


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), channels=st.sampled_from([0, 3]),
    boxes=st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), max_size=3),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_boxes_of_any_image(
    height: int, width: int, channels: int, boxes: list[list[float]]
) -> None:
    pixels = pixels_of(height, width, channels or 1)
    pixels = pixels if channels else pixels[..., 0]
    for some in (boxes, [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]):
        assert np.array_equal(blur_boxes(pixels, some), expected(pixels, some))


def test_a_box_hides_what_is_in_it_and_leaves_the_rest() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[::2, ::2] = 255
    blurred = blur_boxes(pixels, [[0.3, 0.3, 0.6, 0.6]])
    assert blurred[35:55, 35:55].std() < 10 < pixels[35:55, 35:55].std()
    assert np.abs(blurred[:15].astype(int) - pixels[:15]).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_boxes_are_blurred_between_resizing_and_cropping(mode: str) -> None:
    for size in (48, 500):
        encoder = ImageEncoder(image_size=size, resize_mode=mode)
        for name in ("jpeg", "alpha png", "grey jpeg"):
            content = pool()[name]
            stored = encoder(content, blur=FACES)
            assert isinstance(stored, StoredImage)
            assert stored.content == reference(content, encoder, FACES)[0], name


def test_a_blurred_file_is_never_stored_as_it_came() -> None:
    stored = ImageEncoder(skip_reencode=True)(pool()["jpeg"], blur=FACES)
    assert isinstance(stored, StoredImage)
    kept = cv2.cvtColor(decoded(stored.content), cv2.COLOR_BGR2GRAY)
    came = cv2.cvtColor(decoded(pool()["jpeg"]), cv2.COLOR_BGR2GRAY)
    assert np.abs(kept.astype(int) - came)[30:40, 20:50].mean() > 3
