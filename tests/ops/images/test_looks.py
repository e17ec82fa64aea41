"""Looks against NumPy's means over the same picture, and against what the web does to pictures."""

from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.ndimage import convolve, maximum_filter, minimum_filter

from curate.files import shipped
from curate.ops.images.imagehash import perceptual_hash
from curate.ops.images.looks import COLOURS, GREYS, SIZE, alike, looks_of, spelled
from tests.ops.images.test_imagehash import NAMES, apart, changed, picture

OTHERS = [
    ("0017.jpg", "0388.jpg"), ("0191.jpg", "0214.jpg"), ("0176.jpg", "0294.jpg"),
    ("0104.jpg", "0288.jpg"), ("0249.jpg", "0300.jpg"), ("0023.jpg", "0078.jpg"),
    ("0294.jpg", "0383.jpg"), ("0176.jpg", "0383.jpg"), ("0078.jpg", "0385.jpg"),
    ("0004.jpg", "0057.jpg"), ("0136.jpg", "0239.jpg"), ("0023.jpg", "0385.jpg"),
]  # fmt: skip
"""Pictures of the demo with nearly the same hash: another colour, lines on a page, a skirt."""


def look_of(pixels: Any) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = looks_of(pa.array([perceptual_hash(pixels).look]))[0]
    return found


def test_it_holds_the_means_of_luminance_and_chrominance() -> None:
    """Of a picture that needs no scaling, whose blocks the tent filter does not blur."""
    draw = np.random.RandomState(0)
    blocks = draw.randint(0, 256, (COLOURS, COLOURS, 3)).astype(np.uint8)
    pixels = blocks.repeat(64, axis=0).repeat(64, axis=1)
    found = look_of(pixels)
    assert found[0] == 255
    blue, green, red = (blocks[..., k].astype(float) for k in range(3))
    grey = 0.114 * blue + 0.587 * green + 0.299 * red
    centres = found[1 : 1 + GREYS**2].reshape(GREYS, GREYS).astype(float)
    pooled = centres.reshape(COLOURS, 2, COLOURS, 2).mean(axis=(1, 3))
    assert np.abs(pooled - grey).max() < 5
    chroma = found[1 + GREYS**2 :].reshape(2, COLOURS, COLOURS).astype(float)
    assert np.abs(chroma[0] - np.clip(128 + 0.564 * (blue - grey), 0, 255)).max() < 6
    assert np.abs(chroma[1] - np.clip(128 + 0.713 * (red - grey), 0, 255)).max() < 6


def test_grey_colour_and_16_bits_look_the_same() -> None:
    pixels = picture(NAMES[0])
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    deep = pixels.astype(np.uint16) * 257
    assert (look_of(deep) == look_of(pixels)).all()
    assert (look_of(grey)[1 + GREYS**2 :] == 128).all()
    assert look_of(pixels[:70])[0] == 70


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), st.just(SIZE))), st.sets(st.integers(0, 4))
)
@settings(deadline=None, max_examples=30)
def test_what_is_stored_is_read_again(octets: NDArray[np.uint8], missing: set[int]) -> None:
    stored = [None if k in missing else spelled(row) for k, row in enumerate(octets)]
    expected = octets.copy()
    expected[[k for k in range(len(octets)) if k in missing]] = 0
    assert (looks_of(pa.array(stored, pa.string())) == expected).all()


def naive_alike(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
    """The definition, by SciPy's filters."""
    side = max(GREYS, min(int(left[0]), int(right[0])))
    grids = [(1, GREYS, 8), (1 + GREYS**2, COLOURS, 16), (1 + GREYS**2 + COLOURS**2, COLOURS, 16)]
    for start, n, move in grids:
        a, b = (x[start : start + n * n].reshape(n, n).astype(int) for x in (left, right))
        edges = np.minimum(*(maximum_filter(x, 3) - minimum_filter(x, 3) for x in (a, b)))
        if (np.abs(a - b) > 4 + 400 / side + move / side * edges).any():
            return False
        if n == GREYS:
            apart, detail = a - b, edges + 128
    average = np.abs(apart).mean() / detail.mean()
    cell, nine = (5.5, 3) if left[0] == right[0] else (10, 5)
    around = np.abs(convolve(apart, np.ones((3, 3), int), mode="constant")) / 9
    return bool(
        (np.abs(apart) <= 4 + cell * average * detail + 1e-9).all()
        and (around <= 2.5 + nine * average * detail + 1e-9).all()
    )


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 255), st.booleans(), st.integers(0, 12),
    st.integers(0, 40), st.integers(1, 4),
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_alike_is_its_definition(
    seed: int, side: int, resized: bool, noise: int, spot: int, wide: int
) -> None:
    """Of noise everywhere and a spot that differs: neither, both or one of them is too much."""
    draw = np.random.RandomState(seed)
    left = draw.randint(100, 100 + 4 ** draw.randint(1, 4), SIZE).astype(np.uint8)
    right = left + draw.randint(-noise, noise + 1, SIZE)
    y, x = draw.randint(0, GREYS - wide + 1, 2)
    right[1 : 1 + GREYS**2].reshape(GREYS, GREYS)[y : y + wide, x : x + wide] += spot
    right = np.clip(right, 0, 255).astype(np.uint8)
    left[0], right[0] = side, draw.randint(1, 256) if resized else side
    event(f"alike: {naive_alike(left, right)}")
    assert alike(left, right) == alike(right, left) == naive_alike(left, right)


def person(skin: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A drawing of 64 x 64 pixels with a face 12 pixels wide."""
    canvas = np.full((64, 64, 3), 255, np.uint8)
    cv2.fillPoly(canvas, [np.array([[14, 63], [24, 30], [40, 30], [52, 63]])], (170, 60, 40))
    cv2.line(canvas, (36, 34), (58, 14), (60, 60, 60), 3)
    cv2.circle(canvas, (31, 20), 9, (30, 40, 90), -1)
    cv2.circle(canvas, (31, 22), 6, skin, -1)
    return canvas


def test_a_face_of_another_colour_is_another_picture() -> None:
    """No cell differs by more than coding may change one; but it would change others as well."""
    light, other = person((187, 208, 243)), person((170, 200, 235))
    assert apart(perceptual_hash(light).bits, perceptual_hash(other).bits) <= 31
    assert not alike(look_of(light), look_of(other))
    for change, copy in changed(light).items():
        assert alike(look_of(light), look_of(copy)), change


def test_a_copy_looks_the_same() -> None:
    found: dict[str, list[bool]] = {}
    for name in NAMES:
        pixels = picture(name)
        own = look_of(pixels)
        for change, other in changed(pixels).items():
            found.setdefault(change, []).append(alike(own, look_of(other)))
    for change, hits in found.items():
        assert np.mean(hits) >= 0.95, (change, np.mean(hits))


@pytest.mark.parametrize("pair", OTHERS)
def test_another_colour_or_detail_looks_different(pair: tuple[str, str]) -> None:
    """All of them pass for one picture by their hashes."""
    one, other = (picture(name) for name in pair)
    assert apart(perceptual_hash(one).bits, perceptual_hash(other).bits) <= 31
    assert not alike(look_of(one), look_of(other))


def test_no_two_pictures_of_the_demo_pass_for_one() -> None:
    paths = sorted(shipped("pipelines/demo/pool/images").iterdir(), key=lambda path: path.name)
    seen = [perceptual_hash(cv2.imread(str(path))) for path in paths]
    seen = [one for one in seen if one.bits]
    looks = looks_of(pa.array([one.look for one in seen]))
    near = [
        (i, j)
        for i, j in combinations(range(len(seen)), 2)
        if apart(seen[i].bits, seen[j].bits) <= 31
    ]
    assert near
    assert not [pair for pair in near if alike(looks[pair[0]], looks[pair[1]])]
