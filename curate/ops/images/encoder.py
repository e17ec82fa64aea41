"""From the bytes that a server sent to the image that is stored, or the reason why not.

Geometry, blur and encoding are those of img2dataset's `Resizer`, byte for byte (the tests compare
them), but for two kinds of image that it spoils: a photo whose EXIF block says that it lies on its
side is turned upright, and more than 8 bits a channel are scaled to 8 where `Resizer`, or who reads
what it stored, cuts them off, which leaves a white picture, or a black one. The class itself is not
used: it silences stdout and stderr of the whole process for each image, which is not safe beside other
threads, and importing it takes seconds.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate.ops.images.area import shrink
from curate.ops.images.blur import blur_boxes
from curate.ops.images.boxes import Box, turned
from curate.ops.images.faces import find_faces
from curate.ops.images.formats import RASTER, Header, is_truncated, read_header, sniff
from curate.ops.images.imagehash import NO_HASH, PerceptualHash, perceptual_hash
from curate.ops.images.levels import levels, to_bytes
from curate.ops.images.quantisation import saved_quality
from curate.reasons import DropReason

if TYPE_CHECKING:
    from cv2.typing import MatLike

INTERPOLATIONS = {"nearest": "NEAREST", "linear": "LINEAR", "bilinear": "LINEAR", "cubic": "CUBIC",
                  "bicubic": "CUBIC", "area": "AREA", "lanczos": "LANCZOS4",
                  "lanczos4": "LANCZOS4"}  # fmt: skip
"""OpenCV's name for each of img2dataset's."""

SMALL = 1 << 20
"""Pixels up to which an image is no bomb, however few its bytes: a blank one has next to none."""

Size = tuple[int, int]
"""Width and height, pixels."""

KINDS = {"jpg": "jpeg", "png": "png", "webp": "webp"}
"""The format of stored images by the ending of their names."""


@dataclass(frozen=True)
class StoredImage:
    """An image ready for the tar."""

    content: bytes
    width: int  # pixels
    height: int
    original_width: int  # upright
    original_height: int
    image_format: str  # of the original file, by its content
    image_bytes: int  # size of the original file
    sha256: str  # of the original file
    md5: str | None = None  # of the original file
    phash: str | None = None  # PDQ, hex
    phash_quality: int | None = None  # 0 to 100
    look: str | None = None  # see curate.ops.images.looks
    exif: str | None = None  # JSON of the original's tags, if it is kept
    faces: int | None = None  # where they were looked for
    face_boxes: Sequence[Box] | None = None  # in the upright picture, before anything is cut off
    jpeg_quality: int | None = None  # of the original file, where it was asked for


@dataclass(frozen=True)
class Refusal:
    """Why there is no image."""

    reason: DropReason
    detail: str = ""


_CUTTING = ("border", "center_crop")
"""Modes that store another picture than the one that was sent."""


@dataclass(frozen=True)
class ImageEncoder:
    """Checks, decodes, resizes and encodes one image; the fields are those of `config.Download`.

    `fast_decode` lets the JPEG decoder leave out resolution that the resize would take away, as long
    as both sides stay as long as those that are stored. On grainy JPEGs of 400 to 1,200 pixels, stored
    at 256, those that it shrinks differ from the exact ones by 1.3 of 255 on average, a PSNR of 38 dB
    (`tests/bench/images.py` measures it).
    """

    image_size: int = 256
    resize_mode: str = "keep_ratio"
    only_if_bigger: bool = True
    upscale_interpolation: str = "lanczos"
    downscale_interpolation: str = "area"
    encode_format: str = "jpg"
    encode_quality: int = 95
    skip_reencode: bool = False
    disable_all_reencoding: bool = False
    fast_decode: bool = False
    keep_exif: bool = False
    max_pixels: int = 89_478_484
    max_pixels_per_byte: float = 1_000
    perceptual_hash: bool = True
    keep: bool = False  # store the file itself, at its size, where a trainer sees it as it is
    md5: bool = False  # for block lists that hold MD5s
    faces: str | None = None  # `find` or `blur`; neither goes with disable_all_reencoding
    jpeg_quality: bool = False  # whether to tell that of the original file

    def warm_up(self) -> None:
        """Load the kernels, so that the first image need not wait for them."""
        if self.perceptual_hash:
            perceptual_hash(np.zeros((2, 2, 3), np.uint8))
        if self.faces:
            find_faces(np.zeros((2, 2, 3), np.uint8))
        shrink(np.zeros((3, 3, 3), np.uint8), (2, 2))

    def __call__(self, content: bytes, *, blur: Sequence[Box] = ()) -> StoredImage | Refusal:
        """The stored form of the file `content`, with the boxes blurred, or why it is refused.

        As in img2dataset, `blur` is about the picture as the file holds it, not yet turned upright.
        Perceptual hashes are of what was there before.
        """
        kind = sniff(content)
        header = self._check(content, kind)
        if isinstance(header, Refusal):
            return header
        if self.disable_all_reencoding:
            sizes = _upright_size(header)
            pixels = _decode(content, header, shrunk=1) if self.perceptual_hash else None
            seen = NO_HASH if pixels is None else self._perceptual(_as_trained(pixels, header))
            return self._stored(content, content, seen, kind=kind, size=sizes, original=sizes)
        width, height = _upright_size(header)
        shrunk = self._shrink(header, width, height)
        pixels = _decode(content, header, shrunk=shrunk)
        if pixels is None:
            return Refusal(DropReason.UNDECODABLE, kind)
        raw, pixels = pixels, _upright(self._eight_bits(pixels, header.bits), header.orientation)
        if shrunk == 1:
            height, width = pixels.shape[:2]
            if bomb := self.bomb_of(width, height, len(content)):
                return bomb
        faces = find_faces(pixels) if self.faces else None
        hidden = turned(blur, header.orientation)
        if faces and self.faces == "blur":
            hidden += faces
        if self.keep and not hidden and kind in KINDS.values() and _is_trained_on(raw):
            return self._stored(
                content, content, self._perceptual(_as_trained(raw, header)), kind=kind,
                size=(raw.shape[1], raw.shape[0]), original=(width, height), faces=faces,
            )  # fmt: skip
        if hidden:
            pixels = to_bytes(pixels)
        resizes = self._resizes(width, height)
        scaled = self._scale(pixels, width, height) if resizes else pixels
        blurred = blur_boxes(scaled, hidden)
        stored = self._crop_or_pad(blurred) if resizes else blurred
        size = (stored.shape[1], stored.shape[0])
        as_it_came = (
            self.skip_reencode
            and kind == KINDS[self.encode_format]
            and not (_is_matted(raw) or hidden or resizes or header.orientation > 1)
            and _is_trained_on(raw)
            and (self.keep_exif or not header.has_exif)
        )
        encoded = content if as_it_came else self._encode(stored)
        if not encoded:
            return Refusal(
                DropReason.UNDECODABLE, f"{size[0]}x{size[1]} is no {self.encode_format}"
            )
        seen = self._perceptual(pixels if self.resize_mode in _CUTTING else scaled)
        return self._stored(
            content, encoded, seen, kind=kind, size=size, original=(width, height), faces=faces
        )

    def _stored(
        self, content: bytes, encoded: bytes, seen: PerceptualHash, *, kind: str, size: Size,
        original: Size, faces: list[Box] | None = None,
    ) -> StoredImage:  # fmt: skip
        return StoredImage(
            content=encoded,
            width=size[0],
            height=size[1],
            original_width=original[0],
            original_height=original[1],
            image_format=kind,
            image_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            md5=hashlib.md5(content).hexdigest() if self.md5 else None,
            phash=seen.bits,
            phash_quality=seen.quality,
            look=seen.look,
            exif=read_exif(content) if self.keep_exif else None,
            faces=None if faces is None else len(faces),
            face_boxes=faces,
            jpeg_quality=saved_quality(content) if self.jpeg_quality else None,
        )

    def _check(self, content: bytes, kind: str) -> Header | Refusal:
        """The header, if what it states may be decoded."""
        if kind == "html":
            return Refusal(DropReason.HTML_PAGE)
        if kind == "svg":
            return Refusal(DropReason.VECTOR_IMAGE, kind)
        if kind not in RASTER:
            return Refusal(DropReason.NOT_AN_IMAGE, content[:4].hex())
        header = read_header(content, kind)
        if header and (bomb := self.bomb_of(header.width, header.height, len(content))):
            return bomb
        if is_truncated(content, kind):
            return Refusal(DropReason.TRUNCATED, f"{kind}, {len(content)} bytes")
        return header or Refusal(DropReason.UNDECODABLE, kind)

    def _perceptual(self, pixels: "MatLike") -> PerceptualHash:
        """The hash of the whole picture, if it is asked for."""
        return perceptual_hash(pixels) if self.perceptual_hash else NO_HASH

    def bomb_of(self, width: int, height: int, size: int) -> Refusal | None:
        """Why a picture of so many pixels, in a file of `size` bytes, may not be decoded, if so."""
        pixels = width * height
        if pixels > self.max_pixels:
            return Refusal(DropReason.TOO_MANY_PIXELS, f"{width}x{height}")
        if pixels > max(SMALL, self.max_pixels_per_byte * size):
            return Refusal(DropReason.DECOMPRESSION_BOMB, f"{width}x{height} in {size} bytes")
        return None

    def _side(self, width: int, height: int) -> int:
        """The side that `image_size` is about."""
        by_longest = self.resize_mode in ("border", "keep_ratio_largest")
        return max(width, height) if by_longest else min(width, height)

    def _resizes(self, width: int, height: int) -> bool:
        if self.keep or self.resize_mode == "no":
            return False
        return not self.only_if_bigger or self._side(width, height) > self.image_size

    def _shrink(self, header: Header, width: int, height: int) -> int:
        """By how much the decoder may shrink a JPEG, so that what it yields is still to be resized."""
        if not self.fast_decode or header.channels not in (1, 3) or self.resize_mode == "no":
            return 1
        side = self._side(width, height)
        return next((n for n in (8, 4, 2) if side // n >= self.image_size), 1)

    def _eight_bits(self, pixels: "MatLike", bits: int) -> "MatLike":
        """Without an alpha channel, on white, and in no more bits than a trainer sees."""
        matted = _is_matted(pixels)
        if self.encode_format == "png" and bits == 16 and not matted and _is_trained_on(pixels):
            return pixels
        pixels = levels(pixels, bits=bits)
        return _on_white(pixels) if matted else pixels

    def _scale(self, pixels: "MatLike", width: int, height: int) -> "MatLike":
        """`pixels` of an image of the given size, which a shrinking decoder may have made smaller."""
        import cv2

        side = self._side(width, height)
        scale = self.image_size / side
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size == (pixels.shape[1], pixels.shape[0]):
            return pixels
        bigger = side > self.image_size
        how = self.downscale_interpolation if bigger else self.upscale_interpolation
        if how == "area":
            return shrink(pixels, size)
        return cv2.resize(pixels, size, interpolation=getattr(cv2, f"INTER_{INTERPOLATIONS[how]}"))

    def _crop_or_pad(self, pixels: "MatLike") -> "MatLike":
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

    def _encode(self, stored: "MatLike") -> bytes:
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


def _decode(content: bytes, header: Header, *, shrunk: int) -> "MatLike | None":
    import cv2

    cv2.setNumThreads(1)
    flags = cv2.IMREAD_UNCHANGED
    if shrunk > 1:
        colour = "GRAYSCALE" if header.channels == 1 else "COLOR"
        flags = getattr(cv2, f"IMREAD_REDUCED_{colour}_{shrunk}") | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None or 0 in pixels.shape:
        return None
    if shrunk > 1:  # the decoder rounds up: the last row and column may be nearly all padding
        pixels = pixels[: round(header.height / shrunk), : round(header.width / shrunk)]
    return pixels


def _is_matted(pixels: "MatLike") -> bool:
    return bool(pixels.ndim == 3 and pixels.shape[2] == 4)


def _is_trained_on(pixels: "MatLike") -> bool:
    """Whether a trainer sees all levels of such a picture: see `curate.ops.images.levels`."""
    return bool(pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and pixels.ndim == 3))


def _as_trained(pixels: "MatLike", header: Header) -> "MatLike":
    """The decoded picture as `trainer_view` shows its file: not turned, without its alpha channel."""
    pixels = levels(pixels, bits=header.bits)
    return np.ascontiguousarray(pixels[..., :3]) if _is_matted(pixels) else pixels


def _on_white(pixels: "MatLike") -> "MatLike":
    """Three channels; by strips of rows, as whole pictures of doubles would take much memory."""
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    for start in range(0, len(pixels), 64):
        rows = pixels[start : start + 64]
        alpha = rows[:, :, 3, np.newaxis]
        on_white = alpha / 255 * rows[..., :3] + 255 - alpha
        flat[start : start + 64] = np.rint(on_white.clip(min=0, max=255))
    return flat


def _upright_size(header: Header) -> Size:
    turned = header.orientation > 4
    return (header.height, header.width) if turned else (header.width, header.height)


def _upright(pixels: "MatLike", orientation: int) -> "MatLike":
    """As the EXIF orientation says that the picture is to be seen."""
    import cv2

    if orientation in (5, 7):
        pixels = cv2.transpose(pixels)
    if orientation in (6, 8):
        return cv2.rotate(
            pixels, cv2.ROTATE_90_CLOCKWISE if orientation == 6 else cv2.ROTATE_90_COUNTERCLOCKWISE
        )
    flip = {2: 1, 3: -1, 4: 0, 7: -1}.get(orientation)
    return pixels if flip is None else cv2.flip(pixels, flip)


def read_exif(content: bytes) -> str | None:
    """The tags of the EXIF block as JSON, as img2dataset writes its column; None if unreadable."""
    import exifread

    try:
        tags = exifread.process_file(io.BytesIO(content), details=False)
    except Exception:  # noqa: BLE001 - whatever the parser makes of hostile tags, the image stands
        return None
    return json.dumps({name: str(tag).strip() for name, tag in tags.items() if tag is not None})
