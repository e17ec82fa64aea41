"""Pictures of more than eight bits a channel, and stored files as a trainer sees them.

A trainer reads a shard with Pillow, as ``webdataset.decode("pil")`` and open_clip do, and converts the
picture to RGB: nothing is turned upright, an alpha channel is left out, and grey of sixteen bits, or of
floats, is cut off at 255, which leaves it white. So what is encoded here has eight bits, or sixteen in
three channels, which Pillow scales; and whatever looks at a stored file looks at `trainer_view`.
"""

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cv2.typing import MatLike
    from PIL.Image import Image as Picture

UNDECODABLE = (OSError, SyntaxError, ValueError, struct.error, EOFError)
"""What Pillow raises on content that is no image, or half of one."""


def levels(pixels: "MatLike", *, bits: int = 16) -> "MatLike":
    """`pixels` of any type in levels of 0 to 255: as uint8, or floats if they are no uint8 or uint16.

    uint16 hold `bits` a channel. Floats, and integers of 32 bits, are shares of one if none is over 1,
    levels of 255 if none is over that, else of 65,535.

    >>> levels(np.array([[0, 257, 65535]], np.uint16)).tolist()
    [[0, 1, 255]]
    """
    import cv2

    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return cv2.convertScaleAbs(pixels, alpha=255 / ((1 << bits) - 1))
    if pixels.dtype.kind != "f":
        pixels = pixels.astype(np.float32)
    pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
    most = float(pixels.max(initial=0))
    if most > 255:
        pixels = pixels * pixels.dtype.type(1 / 257)
    elif most <= 1:
        pixels = pixels * pixels.dtype.type(255)
    return np.clip(pixels, 0, 255)


def to_bytes(pixels: "MatLike") -> "MatLike":
    """`pixels` as uint8, scaled as `levels` does."""
    found = levels(pixels)
    return found if found.dtype == np.uint8 else np.rint(found).astype(np.uint8)


def trainer_view(content: bytes) -> "Picture | None":
    """The stored file `content` as a trainer sees it, an RGB image of Pillow's.

    Only sixteen bits and floats are scaled, not cut off. None where it cannot be decoded.
    """
    from PIL import Image

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        if image.mode == "F" or image.mode[0] == "I":
            pixels = np.asarray(image)
            image = Image.fromarray(to_bytes(pixels.astype(pixels.dtype.newbyteorder("="))))
        return image.convert("RGB")
    except (*UNDECODABLE, Image.DecompressionBombError):
        return None


def trainer_pixels(content: bytes) -> NDArray[np.uint8] | None:
    """`trainer_view` as OpenCV has pictures: (height, width, 3) BGR uint8, or None."""
    image = trainer_view(content)
    return None if image is None else np.ascontiguousarray(np.asarray(image)[..., ::-1])
