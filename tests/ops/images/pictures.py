"""Images of every kind that the web has, small, made on the spot."""

import io
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms


def pixels_of(height: int, width: int, channels: int = 3, *, depth: type = np.uint8) -> Any:
    """A smooth picture with an edge: gradients compress, the edge shows where a crop begins."""
    y, x, c = np.ogrid[:height, :width, :channels]
    ramp = (7 * x + 3 * y + 60 * c) % 251 + (x > y) * 4
    scale = np.iinfo(depth).max // 255
    return (ramp * scale).astype(depth)


def encoded(pixels: NDArray[Any], ending: str, *flags: int) -> bytes:
    done, content = cv2.imencode(ending, pixels, flags)
    assert done
    return bytes(content.tobytes())


def saved(*images: Image.Image, kind: str = "", **options: Any) -> bytes:
    """The file that Pillow writes; of several images an animation."""
    file = io.BytesIO()
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": 50}
    images[0].save(file, kind, **options)
    return file.getvalue()


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.roll(pixels_of(90, 130), 20 * k, axis=1)) for k in range(3)]


def turned(orientation: int, kind: str) -> bytes:
    """A picture with an EXIF block of the given orientation, and a maker."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    return saved(Image.fromarray(pixels_of(90, 130)), kind=kind, exif=exif, quality=90)


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@lru_cache
def pool() -> dict[str, bytes]:
    """Images of many formats and shapes, against an image size of 48."""
    colour = pixels_of(90, 130)
    return {
        "jpeg": encoded(colour, ".jpg"),
        "progressive jpeg": encoded(colour, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "grey jpeg": encoded(pixels_of(130, 90, 1), ".jpg"),
        "png": encoded(colour, ".png"),
        "grey png": encoded(pixels_of(50, 47, 1), ".png"),
        "alpha png": encoded(pixels_of(70, 60, 4), ".png"),
        "small alpha png": encoded(pixels_of(20, 31, 4), ".png"),
        "16-bit png": encoded(pixels_of(60, 70, depth=np.uint16), ".png"),
        "16-bit alpha png": encoded(pixels_of(60, 70, 4, depth=np.uint16), ".png"),
        "1-bit png": encoded(
            (pixels_of(60, 50, 1) > 99).astype(np.uint8) * 255, ".png", cv2.IMWRITE_PNG_BILEVEL, 1
        ),
        "webp": encoded(colour, ".webp", cv2.IMWRITE_WEBP_QUALITY, 70),
        "lossless webp": encoded(colour, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
        "alpha webp": encoded(pixels_of(70, 60, 4), ".webp", cv2.IMWRITE_WEBP_QUALITY, 70),
        "bmp": encoded(colour, ".bmp"),
        "tiff": encoded(colour, ".tiff"),
        "float tiff": encoded(pixels_of(60, 70).astype(np.float32), ".tiff"),
        "one pixel": encoded(pixels_of(1, 1), ".png"),
        "exact": encoded(pixels_of(48, 48), ".png"),
        "exact height": encoded(pixels_of(48, 49), ".png"),
        "one below": encoded(pixels_of(47, 47), ".png"),
        "small": encoded(pixels_of(10, 13), ".png"),
        "wide": encoded(pixels_of(3, 300), ".png"),
        "tall": encoded(pixels_of(300, 3), ".png"),
        **{
            f"{name} {ending[1:]}": saved(
                Image.fromarray(colour).convert(mode), kind=kind, **options
            )
            for name, mode, options in (
                ("palette", "P", {}),
                ("transparent palette", "P", {"transparency": 3}),
            )
            for kind, ending in (("PNG", ".png"), ("GIF", ".gif"))
        },
        "cmyk jpeg": saved(Image.fromarray(colour).convert("CMYK"), kind="JPEG"),
        "icc jpeg": saved(Image.fromarray(colour), kind="JPEG", icc_profile=profile()),
        "avif": saved(Image.fromarray(colour), kind="AVIF"),
        "grey alpha png": saved(Image.fromarray(colour).convert("LA"), kind="PNG"),
        "animated gif": saved(*frames(), kind="GIF"),
        "animated webp": saved(*frames(), kind="WEBP"),
        "animated png": saved(*frames(), kind="PNG"),
        "line": encoded(pixels_of(1, 900), ".png"),
        "upright line": encoded(pixels_of(900, 1), ".png"),
    }


def decoded(content: bytes) -> NDArray[Any]:
    pixels: NDArray[Any] | None = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert pixels is not None
    return pixels


SIGNATURES = {
    "jpeg": [b"\xff\xd8\xff\xe0rest", b"\xff\xd8\xff\xdb"],
    "png": [b"\x89PNG\r\n\x1a\nrest"],
    "gif": [b"GIF87a...", b"GIF89a..."],
    "webp": [b"RIFF\x10\0\0\0WEBPVP8 "],
    "bmp": [b"BM\0\0"],
    "tiff": [b"II*\0rest", b"MM\0*rest"],
    "avif": [b"\0\0\0\x20ftypavif....", b"\0\0\0\x20ftypavis...."],
    "svg": [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\n <SVG/>",
        b"<?xml version='1.0'?>\n<!-- drawn by hand -->\n<svg/>",
        b"<svg onload='alert(1)'><script>alert(2)</script></svg>",
    ],
    "html": [
        b"<!DOCTYPE html><p>", b"<!doctype HTML>", b" \n<html lang=en>", b"<HEAD>", b"<body>",
        b"\xef\xbb\xbf<html>", b"<?xml version='1.0'?><html xmlns='x'>",
        b"<!doctype html><body><svg/></body>",
    ],
    "": [b"", b"\xff\xd8", b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"hello", b"{}", b"GIF88a", b"\0" * 99],
}  # fmt: skip


STARTS = [start for some in SIGNATURES.values() for start in some]
