"""Shrinking by area: OpenCV's bytes, whatever the size."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.ops.images.area import shrink

sides = st.integers(1, 90)


@given(width=sides, height=sides, wide=sides, tall=sides, seed=st.integers(0, 1 << 30))
@example(width=90, height=60, wide=45, tall=30, seed=0)  # whole factors
@example(width=90, height=61, wide=45, tall=30, seed=0)  # one whole factor
@example(width=61, height=30, wide=60, tall=30, seed=0)  # one side as long as before
@example(width=50, height=40, wide=60, tall=30, seed=0)  # longer along one side
@example(width=1, height=90, wide=1, tall=7, seed=0)
@settings(max_examples=300)
def test_pixels_are_those_of_opencv(
    width: int, height: int, wide: int, tall: int, seed: int
) -> None:
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    expected = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_AREA)
    assert np.array_equal(shrink(pixels, (wide, tall)), expected)


def test_pictures_of_all_sizes_shrunk_to_256_are_those_of_opencv() -> None:
    random = np.random.RandomState(0)
    sheet = cv2.GaussianBlur(random.randint(0, 256, (1_300, 1_300, 3)).astype(np.uint8), (5, 5), 0)
    for height, width in random.randint(257, 1_300, (60, 2)):
        pixels = sheet[:height, 7 : 7 + width]  # rows that do not lie one behind the other
        scale = 256 / min(height, width)
        size = (round(width * scale), round(height * scale))
        expected = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        assert np.array_equal(shrink(pixels, size), expected), (height, width)


@pytest.mark.parametrize("value", [0, 255])
def test_one_colour_stays_that_colour(value: int) -> None:
    pixels: Any = np.full((777, 501, 3), value, np.uint8)
    assert np.array_equal(shrink(pixels, (256, 397)), np.full((397, 256, 3), value))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((50, 70), np.uint8), ((50, 70, 4), np.uint8), ((50, 70, 3), np.uint16), ((50, 70, 1), np.uint8)],
)  # fmt: skip
def test_other_pixels_are_left_to_opencv(shape: tuple[int, ...], kind: type) -> None:
    pixels: Any = np.random.RandomState(0).randint(0, 255, shape).astype(kind)
    expected = cv2.resize(pixels, (31, 20), interpolation=cv2.INTER_AREA)
    assert np.array_equal(shrink(pixels, (31, 20)), expected)
