"""How well the columns of image types tell images that were made to have a type from unchanged ones.

The pictures are the demo's, or those below the folders that the environment's IMAGES names (IMAGES_MOST
of them at most, drawn by a seed), no larger than 480 pixels along the shorter side. Each is changed at
known strengths and stored, as the download does by default (256 pixels, JPEG 95), and so are the same
pictures unchanged. Told is the area under the ROC curve, of the column that stands and of those that
were left out for it; 0.5 is chance. For `jpeg`, what is asked is the file as it came: those that
were not changed have a quality of 60 to 95; and the processor time of a column, over that of decoding.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from curate.files import shipped
from curate.ops.images.encoder import ImageEncoder, StoredImage
from curate.ops.images.levels import trainer_pixels, trainer_view
from curate.ops.images.quantisation import saved_quality
from curate.ops.scores.batch import Batch
from curate.ops.scores.kinds import builtin

Pixels = NDArray[np.uint8]
SIDE = 480  # pixels

STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "noise": ("noise", (5, 10, 20, 40)),  # the deviation, levels of 255
    "defocus": ("blur", (2, 3, 4, 6)),  # the radius of the disc, pixels
    "brighter": (
        "brightness",
        (0.2, 0.4, -0.2, -0.4),
    ),  # what is added to the largest channel, of 1
    "gain": ("brightness", (1.3, 1.6, 2, 0.7, 0.5, 0.3)),  # what all levels are multiplied by
    "contrast": ("contrast", (1.5, 2, 3, 0.7, 0.4, 0.2)),  # the distance from the mean, times this
    "shuffled": ("shuffled_patches", (5,)),  # patches along each side
}
"""The column that tells each type, and how strongly images are changed."""


def disc(radius: float) -> NDArray[np.float32]:
    """The kernel of a lens out of focus."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = (x**2 + y**2 <= radius**2).astype(np.float32)
    return np.asarray(inside / inside.sum(), np.float32)


def changed(type_: str, pixels: Pixels, *, strength: float, seed: int) -> Pixels:
    """An image, (height, width, 3) BGR, that was made to be of a type."""
    draws = np.random.RandomState(seed)
    if type_ == "noise":
        return _bytes(pixels + draws.normal(0, strength, pixels.shape))
    if type_ == "defocus":
        return np.asarray(cv2.filter2D(pixels, -1, disc(strength)), np.uint8)
    if type_ == "gain":
        return _bytes(pixels * strength)
    if type_ == "contrast":
        mean = pixels.mean()
        return _bytes((pixels - mean) * strength + mean)
    if type_ == "brighter":
        colours: Any = cv2.cvtColor((pixels / 255).astype(np.float32), cv2.COLOR_BGR2HSV)
        colours[..., 2] = np.clip(colours[..., 2] + strength, 0, 1)
        return _bytes(np.asarray(cv2.cvtColor(colours, cv2.COLOR_HSV2BGR)) * 255)
    return shuffled(pixels, parts=int(strength), order=draws.permutation(int(strength) ** 2))


def shuffled(pixels: Pixels, *, parts: int, order: NDArray[np.int64]) -> Pixels:
    """The patches of a grid in another order; what is left over at the right and below is cut off."""
    tall, wide = (side // parts for side in pixels.shape[:2])
    grid = pixels[: tall * parts, : wide * parts].reshape(parts, tall, parts, wide, 3)
    patches = grid.transpose(0, 2, 1, 3, 4).reshape(-1, tall, wide, 3)[order]
    rows = patches.reshape(parts, parts, tall, wide, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows.reshape(parts * tall, parts * wide, 3))


def _bytes(levels: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def encoded(pixels: Pixels, ending: str = ".png", *flags: int) -> bytes:
    return bytes(cv2.imencode(ending, pixels, flags)[1].tobytes())


def stored(pixels: Pixels) -> Pixels:
    """What scores are given of an image, (height, width, 3) BGR, that was fetched: RGB."""
    image = ImageEncoder(perceptual_hash=False)(encoded(pixels))
    assert isinstance(image, StoredImage)
    return np.asarray(trainer_view(image.content))


def auc(clean: Sequence[float], made: Sequence[float]) -> float:
    """The probability that a value of `made` is over one of `clean`, ties being half of one."""
    below = np.searchsorted(np.sort(clean), made, "left")
    return float((below + np.searchsorted(np.sort(clean), made, "right")).mean() / 2 / len(clean))


def grey_of(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)


def immerkaer(pixels: Pixels) -> float:
    """His estimate over the whole image."""
    mask = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
    left = np.abs(cv2.filter2D(grey_of(pixels), -1, mask))[1:-1, 1:-1]
    return float(left.mean() * np.sqrt(np.pi / 2) / 6)


def finest_diagonal(pixels: Pixels) -> float:
    """The median deviation of the finest diagonal wavelet coefficients (Haar's)."""
    grey = grey_of(pixels)
    tall, wide = (side // 2 * 2 for side in grey.shape)
    a, b, c, d = (grey[y:tall:2, x:wide:2] for y in (0, 1) for x in (0, 1))
    return float(np.median(np.abs(a - b - c + d)) / 2 / 0.6745)


def laplacian(pixels: Pixels) -> float:
    """The variance of the Laplacian, negated."""
    return -float(cv2.Laplacian(grey_of(pixels), cv2.CV_32F).var())


def reblurred(pixels: Pixels) -> float:
    """How little a picture changes where it is blurred (Crete and others, The blur effect, 2007)."""
    grey, found = grey_of(pixels), []
    for axis in (0, 1):
        was = np.abs(np.diff(grey, axis=axis))
        now = np.abs(np.diff(ndimage.uniform_filter1d(grey, 9, axis=axis), axis=axis))
        found.append(1 - np.maximum(was - now, 0).sum() / max(was.sum(), 1))
    return float(max(found))


def spectrum(pixels: Pixels) -> float:
    """The logarithm of the power at low frequencies over that at high ones."""
    grey = grey_of(pixels).astype(np.float64)
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    y, x = (np.fft.fftfreq(side) for side in grey.shape)
    frequency = np.hypot(y[:, None], x)
    low, high = (power[(frequency >= a) & (frequency < b)].mean() + 1e-3
                 for a, b in ((0.03, 0.12), (0.25, 0.5)))  # fmt: skip
    return float(np.log(low / high))


LEFT_OUT: dict[str, dict[str, Callable[[Pixels], float]]] = {
    "noise": {"Immerkaer's, of the whole": immerkaer, "finest diagonal": finest_diagonal},
    "blur": {"variance of Laplacian": laplacian, "re-blurred": reblurred, "spectrum": spectrum},
    "brightness": {"mean": lambda pixels: float(grey_of(pixels).mean())},
    "contrast": {"deviation": lambda pixels: float(grey_of(pixels).std())},
    "shuffled_patches": {},
}
"""Other operators for the same, by the column that stands in their place."""


def pictures() -> Iterator[Pixels]:
    folders = os.environ.get("IMAGES", str(shipped("pipelines/demo/pool/images"))).split()
    paths = sorted(path for one in folders for path in Path(one).rglob("*") if path.is_file())
    random.Random(0).shuffle(paths)
    whole = ImageEncoder(
        image_size=SIDE, encode_format="png", encode_quality=1, perceptual_hash=False
    )
    left = int(os.environ.get("IMAGES_MOST", "200"))
    for path in paths:
        image = whole(path.read_bytes()) if left else None
        if isinstance(image, StoredImage) and min(image.width, image.height) >= 64:
            pixels = trainer_pixels(image.content)
            assert pixels is not None
            left -= 1
            yield pixels


def column(kind: str) -> Callable[[list[Pixels]], list[float]]:
    score = builtin(kind, name=kind).load()

    def values(images: list[Pixels]) -> list[float]:
        found: list[float] = score(Batch([""] * len(images), images))[kind].to_pylist()
        return found

    return values


def told(name: str, values: list[list[float]], strengths: Sequence[float]) -> None:
    """A line of the areas: of what makes an image less than it was, of the column negated."""
    clean, *made = values
    areas = [
        auc(clean, one)
        if not _lowers(name, strength)
        else auc([-x for x in clean], [-x for x in one])
        for strength, one in zip(strengths, made, strict=True)
    ]
    print(f"  {name.partition(':')[2]:28}", *(f"{area:6.3f}" for area in areas))


def _lowers(name: str, strength: float) -> bool:
    type_ = name.partition(":")[0]
    return strength < 0 if type_ == "brighter" else type_ in ("gain", "contrast") and strength < 1


def main() -> None:
    originals = list(pictures())
    clean = [stored(pixels) for pixels in originals]
    print(f"{len(clean)} pictures")
    for type_, (kind, strengths) in STRENGTHS.items():
        print(f"{type_:30}", *(f"{strength:6g}" for strength in strengths))
        sets = [clean]
        for strength in strengths:
            changes = (
                changed(type_, pixels, strength=strength, seed=k)
                for k, pixels in enumerate(originals)
            )
            sets.append([stored(pixels) for pixels in changes])
        told(f"{type_}:{kind}", [column(kind)(images) for images in sets], strengths)
        for name, of in LEFT_OUT[kind].items():
            values = [[of(pixels) for pixels in images] for images in sets]
            told(f"{type_}:{name}", values, strengths)
    _jpeg(originals)
    _time(originals)


def _jpeg(originals: list[Pixels]) -> None:
    qualities = np.random.RandomState(0).randint(60, 96, len(originals))
    values = []
    for quality in (0, 10, 20, 30):
        files = [
            encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality or int(usual))
            for pixels, usual in zip(originals, qualities, strict=True)
        ]
        values.append([-float(saved_quality(content) or 0) for content in files])
    print(f"{'jpeg':30}", *(f"{quality:6g}" for quality in (10, 20, 30)))
    told("jpeg:jpeg_quality", values, (10, 20, 30))


def _time(originals: list[Pixels]) -> None:
    files = [ImageEncoder(perceptual_hash=False)(encoded(pixels)) for pixels in originals]
    contents = [one.content for one in files if isinstance(one, StoredImage)]
    start = time.process_time()
    images = [np.asarray(trainer_view(content)) for content in contents]
    decoding = time.process_time() - start
    print(f"decoding a stored image {1000 * decoding / len(images):.2f} ms; over that:")
    for kind in LEFT_OUT:
        values = column(kind)
        values(images[:1])
        start = time.process_time()
        values(images)
        spent = time.process_time() - start
        print(f"  {kind:28} {spent / decoding:6.2f}  ({1000 * spent / len(images):.2f} ms)")
