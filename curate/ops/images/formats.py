"""What a file is and says of itself, by its bytes alone: read before any decoder sees it.

Nothing here allocates by what a file claims, so it is safe on hostile files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

RASTER = frozenset({"jpeg", "png", "gif", "webp", "avif", "bmp", "tiff"})
"""Formats that are decoded; of several frames the first."""


@dataclass(frozen=True)
class Header:
    """What the header states."""

    width: int  # pixels, before the orientation is applied
    height: int
    orientation: int = 1  # of EXIF, 1 to 8
    has_exif: bool = False
    channels: int = 0  # of a JPEG; 0 in other formats
    bits: int = 16  # that a channel has once it is decoded to more than 8


def sniff(content: bytes) -> str:
    """The format by its content: one of `RASTER`, svg, html, or empty."""
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
    text = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html"
    if b"<svg" in text:
        return "svg"
    return "html" if b"<html" in text else ""


def is_truncated(content: bytes, kind: str) -> bool:
    """Whether the file ends before its format says so (decoders pad such images with grey)."""
    if kind == "jpeg":
        last = max((at for _, at in jpeg_segments(content)), default=2)
        return content.rfind(b"\xff\xd9", last) < 0
    if kind == "png":
        return b"IEND" not in content[-64:] and b"IEND\xaeB`\x82" not in content
    if kind == "webp":
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    return False


def read_header(content: bytes, kind: str) -> Header | None:
    """The header of a file of the format `kind`; None where it states no size."""
    try:
        header = _READERS[kind](content)
    except (struct.error, IndexError, KeyError):
        return None
    return header if header and header.width > 0 and header.height > 0 else None


SCAN = 0xDA
_APP1 = 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG's frame header: its size, its components and which table each is quantised by."""
_EXIF = b"Exif\0\0"


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """The marker of each segment up to the first scan, and the offset of what follows it."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 2
        if marker == SCAN:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")


def _jpeg(content: bytes) -> Header | None:
    orientation, has_exif = 1, False
    for marker, at in jpeg_segments(content):
        if marker == _APP1 and content.startswith(_EXIF, at + 2) and not has_exif:
            size = int.from_bytes(content[at : at + 2], "big")
            orientation, has_exif = _orientation(content[at + 8 : at + size]), True
        elif marker in FRAMES:
            height, width, channels = struct.unpack(">HHB", content[at + 3 : at + 8])
            return Header(width, height, orientation, has_exif, channels)
    return None


def _png(content: bytes) -> Header | None:
    width, height = struct.unpack(">II", content[16:24])
    at = 8
    while at + 8 <= len(content):
        size, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if name == b"eXIf":
            return Header(width, height, _orientation(content[at + 8 : at + 8 + size]), True)
        if name == b"IDAT":
            break
        at += size + 12
    return Header(width, height)


def _gif(content: bytes) -> Header | None:
    return Header(*struct.unpack("<HH", content[6:10]))


def _bmp(content: bytes) -> Header | None:
    if content[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        return Header(*struct.unpack("<HH", content[18:22]))
    width, height = struct.unpack("<ii", content[18:26])
    return Header(abs(width), abs(height))


def _webp(content: bytes) -> Header | None:
    chunk = content[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        height = int.from_bytes(content[27:30], "little") + 1
        exif = _webp_exif(content) if content[20] & 8 else None
        if exif is None:
            return Header(width, height)
        return Header(width, height, _orientation(exif.removeprefix(_EXIF)), True)
    if chunk == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return Header(width & 0x3FFF, height & 0x3FFF)
    return None


def _webp_exif(content: bytes) -> bytes | None:
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"EXIF":
            return content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return None


_TURNS = {0: 1, 1: 8, 2: 3, 3: 6}  # quarters anticlockwise: orientation
_MIRRORED = {(0, 0): 4, (0, 1): 2, (1, 0): 5, (1, 1): 7, (2, 0): 2, (2, 1): 4, (3, 0): 7, (3, 1): 5}


def _avif(content: bytes) -> Header | None:
    """The largest item of the meta box; AVIF states turns and mirrors there, not by EXIF."""
    start = content.find(b"meta", 0, 4096)
    size = int.from_bytes(content[max(start - 4, 0) : max(start, 0)], "big")
    meta = content[start : start - 4 + size] if start >= 4 else b""
    sizes = []
    at = meta.find(b"ispe")
    while at >= 0:
        sizes.append(struct.unpack(">II", meta[at + 8 : at + 16]))
        at = meta.find(b"ispe", at + 4)
    width, height = max(sizes, key=lambda one: one[0] * one[1], default=(0, 0))
    turn, mirror = meta.find(b"\0\0\0\x09irot"), meta.find(b"\0\0\0\x09imir")
    quarters = meta[turn + 8] & 3 if turn >= 0 else 0
    turned = _TURNS[quarters] if mirror < 0 else _MIRRORED[quarters, meta[mirror + 8] & 1]
    return Header(width, height, turned, b"Exif" in meta, bits=_av1_bits(meta))


def _av1_bits(meta: bytes) -> int:
    """Bits a channel by the configuration of the first AV1 item: 10 or 12; 16 where it has 8."""
    at = meta.find(b"av1C")
    flags = meta[at + 6] if at >= 0 else 0
    return (12 if flags & _TWELVE else 10) if flags & _HIGH_BITDEPTH else 16


_HIGH_BITDEPTH, _TWELVE = 0x40, 0x20
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT, _TURN = 256, 257, 274


def _tiff(content: bytes) -> Header | None:
    tags = _tiff_tags(content)
    # The decoder turns TIFF files itself; only the size differs then.
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    return Header(height, width) if tags.get(_TURN, 1) in range(5, 9) else Header(width, height)


def _tiff_tags(content: bytes) -> dict[int, int]:
    """The first values of the first directory's whole-number tags."""
    order = {b"II": "<", b"MM": ">"}[bytes(content[:2])]
    (at,) = struct.unpack(f"{order}I", content[4:8])
    (n,) = struct.unpack(f"{order}H", content[at : at + 2])
    tags = {}
    for place in range(at + 2, min(at + 2 + 12 * n, len(content) - 11), 12):
        tag, kind = struct.unpack(f"{order}HH", content[place : place + 4])
        if kind in (_SHORT, _LONG):
            value = content[place + 8 : place + 12]
            short = order + ("H" if kind == _SHORT else "I")
            tags[tag] = struct.unpack(short, value[: 2 if kind == _SHORT else 4])[0]
    return tags


def _orientation(exif: bytes) -> int:
    """The orientation that an EXIF block states, 1 where it states none that exists."""
    try:
        turn = _tiff_tags(exif).get(_TURN, 1)
    except (struct.error, KeyError):
        return 1
    return turn if turn in range(1, 9) else 1


_READERS = {
    "jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "avif": _avif, "bmp": _bmp,
    "tiff": _tiff,
}  # fmt: skip
