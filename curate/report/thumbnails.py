"""Small pictures for the page, as data: URIs."""

import base64
from collections.abc import Iterable

from curate.ops.images.levels import trainer_pixels
from curate.rundir.directory import Run
from curate.rundir.pictures import FOLDER, stored_images
from curate.summaries.tallies import Example, Key

SIDE = 96
"""Largest side, pixels."""

_QUALITY = 72


def thumbnails(run: Run, examples: Iterable[Example]) -> dict[Key, str]:
    """The picture of each example whose image is stored, by its key."""
    wanted: dict[int, set[Key]] = {}
    for example in examples:
        wanted.setdefault(example.part, set()).add(example.key)
    found: dict[Key, str] = {}
    for part in sorted({*run.done(FOLDER)} & wanted.keys()):
        for (uid, url, caption), content in stored_images(run, part, [x[1:] for x in wanted[part]]):
            if uri := data_uri(content):
                found[part, uid, url, caption] = uri
    return found


def data_uri(content: bytes) -> str | None:
    """The image `content` at no more than `SIDE` pixels as a data: URI; None if it does not decode."""
    made = webp(content, side=SIDE)
    return None if made is None else "data:image/webp;base64," + base64.b64encode(made).decode()


def webp(content: bytes, *, side: int) -> bytes | None:
    """The image `content` as WebP, at no more than `side` pixels; None if it does not decode."""
    import cv2

    pixels = trainer_pixels(content)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    made: bytes = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
    return made
