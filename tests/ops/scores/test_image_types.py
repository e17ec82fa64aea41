"""What tells image types, against definitions in SciPy or loops, and on images made to have them."""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from curate.config import FurtherScore
from curate.files import shipped
from curate.ops.scores.batch import Batch
from curate.ops.scores.kinds import KINDS, builtin, try_out
from tests.bench.image_types import auc, changed, stored
from tests.ops.images.test_faces import photo

Grey = NDArray[np.float64]
KINDS_HERE = ("noise", "blur", "brightness", "contrast", "shuffled_patches")


def measured(kind: str, *images: NDArray[np.uint8]) -> list[float]:
    """The column that a configuration of this kind has."""
    table = builtin(kind, name="x").load()(Batch(["a caption"] * len(images), images))
    assert table["error"].null_count == len(images)
    found: list[float] = table["x"].to_pylist()
    return found


def luminances(pixels: NDArray[np.uint8]) -> Grey:
    return np.asarray(np.rint(pixels @ np.array([0.299, 0.587, 0.114])), np.float64)


def noise(grey: Grey) -> float:
    mask = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    left = np.abs(ndimage.convolve(grey, mask))[1:-1, 1:-1]
    tall, wide = left.shape
    means = [
        left[y : y + 8, x : x + 8].mean()
        for y in range(0, tall - 7, 8)
        for x in range(0, wide - 7, 8)
    ]
    return float(np.percentile(means, 10) * math.sqrt(math.pi / 2) / 6)


def blur(grey: Grey) -> float:
    slopes = [ndimage.sobel(grey, axis=axis, mode="mirror") / 8 for axis in (0, 1)]
    gradient = sum((one**2).sum() for one in slopes)
    return float(math.sqrt(gradient / 2 / (ndimage.laplace(grey, mode="mirror") ** 2).sum()))


def ends(grey: Grey) -> tuple[float, float]:
    low, high = np.quantile(grey, [0.01, 0.99], method="inverted_cdf") / 255
    return float(low), float(high)


def shuffled(grey: Grey) -> float:
    ranks = []
    for pixels in (grey, grey.T):
        wide = pixels.shape[1]
        steps = [np.abs(pixels[:, x] - pixels[:, x - 1]).mean() for x in range(1, wide)]
        edges = {x: max(steps[x - 2 : x + 1]) for x in range(2, wide - 1)}  # left of column x
        lines = [round(k * wide / 5) for k in (1, 2, 3, 4)]
        others = [edges[x] for x in edges if all(abs(x - line) > 2 for line in lines)]
        for line in lines:
            below = sum(one < edges[line] for one in others)
            as_much = sum(one == edges[line] for one in others)
            ranks.append((below + as_much / 2) / len(others))
    return float(sum(ranks)) / 8


ORACLES: dict[str, Callable[[Grey], float]] = {
    "noise": noise,
    "blur": blur,
    "brightness": lambda grey: sum(ends(grey)) / 2,
    "contrast": lambda grey: ends(grey)[1] - ends(grey)[0],
    "shuffled_patches": shuffled,
}


def drawings(n: int) -> list[NDArray[np.uint8]]:
    """Pictures of the demo's pool, as they are stored."""
    paths = sorted(shipped("pipelines/demo/pool/images").iterdir())
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    big: list[Any] = [
        pixels for pixels in read if pixels is not None and min(pixels.shape[:2]) > 99
    ]
    return [np.asarray(pixels, np.uint8) for pixels in big[:: len(big) // n][:n]]


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_each_is_as_it_is_defined(kind: str) -> None:
    random = np.random.default_rng(1)
    pictures = [photo(), *map(stored, drawings(8))]
    pictures += [
        random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((97, 64), (50, 331))
    ]
    for pixels, found in zip(pictures, measured(kind, *pictures), strict=True):
        # Luminances are rounded to whole levels otherwise here: by one, in few places.
        assert found == pytest.approx(ORACLES[kind](luminances(pixels)), rel=0.01, abs=0.006)


def test_noise_is_four_fifths_of_that_which_was_added() -> None:
    random = np.random.default_rng(0)
    for sigma in (3, 10, 30):
        grey = np.clip(np.rint(random.normal(128, sigma, (256, 256))), 0, 255).astype(np.uint8)
        (found,) = measured("noise", np.repeat(grey[..., None], 3, axis=2))
        assert found == pytest.approx(0.82 * sigma, rel=0.05)


def test_blur_is_the_deviation_that_a_step_was_blurred_by() -> None:
    step = np.zeros((200, 200, 3), np.float32)
    step[:, 100:] = 200
    for sigma in (1, 2, 4):
        blurred = cv2.GaussianBlur(step, (0, 0), sigma)
        (found,) = measured("blur", np.rint(blurred).astype(np.uint8))
        assert found == pytest.approx(sigma, rel=0.1)
    assert measured("blur", step.astype(np.uint8)) == [pytest.approx(math.sqrt(1 / 8))]


def test_levels_are_those_of_the_range() -> None:
    pixels = np.full((10, 100, 3), 51, np.uint8)
    pixels[:2] = 204
    assert measured("brightness", pixels) == [pytest.approx(0.5)]
    assert measured("contrast", pixels) == [pytest.approx(0.6)]
    pixels[:2] = 51
    pixels[0, :10] = 255  # the lightest hundredth counts for nothing
    assert measured("contrast", pixels) == [0]
    assert measured("brightness", pixels) == [pytest.approx(0.2)]


NOTHING = {"noise": 0, "blur": 0, "brightness": 1, "contrast": 0, "shuffled_patches": 0.5}


@pytest.mark.parametrize("side", [1, 2, 9, 49, 64])
def test_what_shows_nothing_has_a_value_nevertheless(side: int) -> None:
    """A null would say that the image cannot be decoded, and the pair would be dead."""
    white = np.full((side, side, 3), 255, np.uint8)
    assert {kind: measured(kind, white)[0] for kind in KINDS_HERE} == NOTHING


@pytest.mark.parametrize(("kind", "least"), [("noise", 10), ("shuffled_patches", 50)])
def test_what_is_too_small_has_that_of_what_shows_nothing(kind: str, least: int) -> None:
    random = np.random.default_rng(0)
    for size in ((least - 1, 99), (99, least - 1), (least, least)):
        (found,) = measured(kind, random.integers(0, 256, (*size, 3)).astype(np.uint8))
        assert (found == NOTHING[kind]) is (size != (least, least))


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_each_is_a_kind_that_needs_no_package(kind: str) -> None:
    assert FurtherScore(kind=kind).kind == kind
    assert not KINDS[kind].package
    try_out(builtin(kind, name="x"))


@pytest.mark.parametrize(
    ("kind", "type_", "strength", "sign", "least"),
    [
        ("noise", "noise", 20, 1, 0.97), ("blur", "defocus", 4, 1, 0.95),
        ("brightness", "brighter", 0.4, 1, 0.7), ("brightness", "brighter", -0.4, -1, 0.9),
        ("contrast", "contrast", 2, 1, 0.6), ("contrast", "contrast", 0.4, -1, 0.9),
        ("shuffled_patches", "shuffled", 5, 1, 0.98),
    ],
)  # fmt: skip
def test_each_tells_images_that_were_made_to_have_its_type(
    kind: str, type_: str, strength: float, sign: int, least: float
) -> None:
    pictures = drawings(40)
    clean = measured(kind, *map(stored, pictures))
    made = [
        stored(changed(type_, pixels, strength=strength, seed=k))
        for k, pixels in enumerate(pictures)
    ]
    values = [[sign * x for x in found] for found in (clean, measured(kind, *made))]
    assert auc(*values) >= least
