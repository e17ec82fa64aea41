"""What a member of a sample holds: whether it is an image, a text, a JSON object."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic_core import from_json

from curate.checking.kinds import Kind
from curate.ops.images.encoder import ImageEncoder, Refusal, StoredImage
from curate.ops.images.formats import RASTER, is_truncated, read_header, sniff

Decode = Callable[[bytes], StoredImage | Refusal]
Wrong = tuple[Kind, str]
"""What is wrong with a member, and what there is to say of it."""

DECODER = ImageEncoder(
    image_size=32, perceptual_hash=False, max_pixels=1 << 30, max_pixels_per_byte=float("inf")
)
"""Decodes all of an image; what it stores of it, and how, is of no account: it is small."""
_SIDEWAYS = 5  # the first of EXIF's orientations in which width and height change places
_JPEG_END = b"\xff\xd9"
_MARK, _SCAN = 0xFF, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Seen(NamedTuple):
    """An image by its header."""

    width: int  # pixels, as stored
    height: int
    content: bytes

    def is_of(self, width: Any, height: Any) -> bool:
        """Whether the image can be one of this width and height; anything but numbers is none."""
        if (self.width, self.height) == (width, height):
            return True
        if not (isinstance(width, int) and isinstance(height, int)):
            return True
        header = read_header(self.content, sniff(self.content))
        is_sideways = header is not None and header.orientation >= _SIDEWAYS
        return is_sideways and (self.height, self.width) == (width, height)


def _size_of_jpeg(content: bytes) -> tuple[int, int] | None:
    """Width and height as `read_header` finds them, in a third of the time; None where that looks."""
    at, n = 2, len(content)
    while at + 9 <= n and content[at] == _MARK:
        marker = content[at + 1]
        if marker in _FRAMES:
            height, width = (
                content[at + 5] << 8 | content[at + 6],
                content[at + 7] << 8 | content[at + 8],
            )
            return (width, height) if width and height else None
        if marker in (_MARK, _SCAN):
            return None
        at += 2 + (content[at + 2] << 8 | content[at + 3])
    return None


def look_at_image(content: bytes, decode: Decode | None) -> Seen | Wrong:
    """What an image is by its header, and with `decode` by all of it; or what is wrong with it."""
    kind = sniff(content)
    if kind not in RASTER:
        what = kind or (f"it begins with {content[:4].hex()}" if content else "it is empty")
        return Kind.NOT_AN_IMAGE, what
    if kind == "jpeg" and content.endswith(_JPEG_END) and (size := _size_of_jpeg(content)):
        seen = Seen(*size, content)
    elif is_truncated(content, kind):
        return Kind.TRUNCATED_IMAGE, f"{kind}, ends after {len(content):,} bytes"
    elif header := read_header(content, kind):
        seen = Seen(header.width, header.height, content)
    else:
        return Kind.UNDECODABLE_IMAGE, f"{kind}, whose header states no size"
    if decode is not None and isinstance(answer := decode(content), Refusal):
        said = f": {answer.detail}" if answer.detail else ""
        return Kind.UNDECODABLE_IMAGE, f"{answer.reason}{said}"
    return seen


def look_at_text(content: bytes) -> str | Wrong:
    """A caption, or what is wrong with it."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return Kind.CAPTION_NOT_UTF8, f"byte {error.start:,} of it"
    return text if text.strip() else (Kind.EMPTY_CAPTION, "")


def look_at_document(content: bytes) -> dict[str, Any] | Wrong:
    """A JSON object, or what is wrong with it."""
    try:
        found = from_json(content)
        return found if isinstance(found, dict) else (Kind.BAD_JSON, "it holds no object")
    except ValueError:
        pass  # it takes half of a surrogate pair for an error, too, which loaders do not
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        return Kind.BAD_JSON, str(error).splitlines()[0] if str(error) else "it is nested too deep"
    return found if isinstance(found, dict) else (Kind.BAD_JSON, "it holds no object")
