"""From the bytes that a server sent to the image that is stored, or the reason why not.

The geometry and encoding are those of img2dataset's `Resizer`, byte for byte (the tests compare
them). The class itself is not used here: it silences stdout and stderr of the whole process for
each image, which is not safe beside other threads, and importing it takes seconds.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.reasons import DropReason


@dataclass(frozen=True)
class StoredImage:
    """An image ready for the tar."""

    content: bytes
    width: int  # pixels
    height: int
    original_width: int
    original_height: int
    image_bytes: int  # size of the original file
    sha256: str  # of the original file


@dataclass(frozen=True)
class Refusal:
    """Why there is no image."""

    reason: DropReason
    detail: str = ""


def sniff(content: bytes) -> str:
    """The format by its content: jpeg, png, gif, webp, bmp, tiff, avif, svg, html, or empty."""
    head = content[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM":
        return "bmp"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    text = content[:1024].lstrip().lower()
    if b"<svg" in text:
        return "svg"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "html"
    return ""


_DECODED = frozenset({"jpeg", "png", "webp", "bmp", "tiff"})


def is_truncated(content: bytes, kind: str) -> bool:
    """Whether the file ends before its format says so (decoders pad such images with grey)."""
    if kind == "jpeg":
        last = max((at for _, at in _jpeg_segments(content)), default=2)
        return content.find(b"\xff\xd9", last) < 0
    if kind == "png":
        return b"IEND" not in content[-64:] and b"IEND\xaeB`\x82" not in content
    if kind == "webp":
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    return False


def header_size(content: bytes, kind: str) -> tuple[int, int] | None:
    """Width and height that the header states, in pixels, without decoding; None where unknown."""
    try:
        if kind == "png":
            return struct.unpack(">II", content[16:24])
        if kind == "bmp":
            width, height = struct.unpack("<ii", content[18:26])
            return abs(width), abs(height)
        if kind == "webp":
            return _webp_size(content)
        if kind == "jpeg":
            return _jpeg_size(content)
    except (struct.error, IndexError):
        return None
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    chunk = content[12:16]
    if chunk == b"VP8X":
        return (
            int.from_bytes(content[24:27], "little") + 1,
            int.from_bytes(content[27:30], "little") + 1,
        )
    if chunk == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """The marker of each segment up to the first scan, and the offset of what follows it."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 2
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    for marker, at in _jpeg_segments(content):
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", content[at + 3 : at + 7])
            return width, height
    return None


@dataclass(frozen=True)
class ImageEncoder:
    """Checks, decodes, resizes and encodes one image."""

    image_size: int = 256
    resize_mode: str = "keep_ratio"
    only_if_bigger: bool = True
    encode_format: str = "jpg"
    encode_quality: int = 95
    max_pixels: int = 89_478_484

    def __call__(self, content: bytes) -> StoredImage | Refusal:
        """The stored form of the file `content`, or why it is refused."""
        kind = sniff(content)
        if kind == "html":
            return Refusal(DropReason.HTML_PAGE)
        if kind not in _DECODED:
            return Refusal(DropReason.NOT_AN_IMAGE, kind or content[:4].hex())
        if too_many := self._too_many_pixels(header_size(content, kind)):
            return too_many
        if is_truncated(content, kind):
            return Refusal(DropReason.TRUNCATED, f"{kind}, {len(content)} bytes")
        pixels = self._decode(content)
        if pixels is None:
            return Refusal(DropReason.UNDECODABLE, kind)
        height, width = pixels.shape[:2]
        if too_many := self._too_many_pixels((width, height)):
            return too_many
        stored = self._resize(pixels)
        encoded = self._encode(stored)
        if not encoded:
            size = f"{stored.shape[1]}x{stored.shape[0]}"
            return Refusal(DropReason.UNDECODABLE, f"{size} is no {self.encode_format}")
        return StoredImage(
            content=encoded,
            width=stored.shape[1],
            height=stored.shape[0],
            original_width=width,
            original_height=height,
            image_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )

    def _too_many_pixels(self, size: tuple[int, int] | None) -> Refusal | None:
        if size is None or size[0] * size[1] <= self.max_pixels:
            return None
        return Refusal(DropReason.TOO_MANY_PIXELS, f"{size[0]}x{size[1]}")

    def _decode(self, content: bytes) -> Any:
        import cv2

        cv2.setNumThreads(1)
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return None
        if pixels is None or 0 in pixels.shape:
            return None
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            alpha = pixels[:, :, 3, np.newaxis]
            on_white = alpha / 255 * pixels[..., :3] + 255 - alpha
            pixels = np.rint(on_white.clip(min=0, max=255)).astype(np.uint8)
        return pixels

    def _encode(self, stored: Any) -> bytes:
        """The encoded image; empty where the format has no room for it."""
        import cv2

        options = {
            "jpg": cv2.IMWRITE_JPEG_QUALITY,
            "png": cv2.IMWRITE_PNG_COMPRESSION,
            "webp": cv2.IMWRITE_WEBP_QUALITY,
        }
        flags = [int(options[self.encode_format]), self.encode_quality]
        try:
            done, encoded = cv2.imencode(f".{self.encode_format}", stored, params=flags)
        except cv2.error:
            return b""
        return bytes(encoded.tobytes()) if done else b""

    def _resize(self, pixels: Any) -> Any:
        if self.resize_mode == "no":
            return pixels
        by_longest = self.resize_mode in ("border", "keep_ratio_largest")
        side: Callable[..., int] = max if by_longest else min
        height, width = pixels.shape[:2]
        bigger = side(width, height) > self.image_size
        if self.only_if_bigger and not bigger:
            return pixels
        return self._crop_or_pad(self._scale(pixels, side(width, height), bigger=bigger))

    def _scale(self, pixels: Any, side: int, *, bigger: bool) -> Any:
        import cv2

        if side == self.image_size:
            return pixels
        height, width = pixels.shape[:2]
        scale = self.image_size / side
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if bigger else cv2.INTER_LANCZOS4
        return cv2.resize(pixels, size, interpolation=how)

    def _crop_or_pad(self, pixels: Any) -> Any:
        import cv2

        height, width = pixels.shape[:2]
        size = self.image_size
        if self.resize_mode == "center_crop":
            top, left = (height - size) // 2, (width - size) // 2
            return pixels[top : top + size, left : left + size]
        if self.resize_mode == "border":
            top, left = (size - height) // 2, (size - width) // 2
            edges = (top, size - height - top, left, size - width - left)
            white = [255, 255, 255]
            return cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=white)
        return pixels
