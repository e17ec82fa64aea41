"""The quality that a JPEG was saved at, by the tables that it was quantised with.

What the Independent JPEG Group's library saves at a quality from 1 to 100 is quantised by two standard
tables (ITU-T T.81, annex K) times a scale that the quality stands for. So the tables tell the quality,
exactly, as long as nobody has decoded the picture and saved it again.
"""

import numpy as np
from numpy.typing import NDArray

from curate.ops.images.formats import FRAMES, jpeg_segments, sniff

_TABLES = 0xDB
_FRAME = 9  # octets of a frame header, up to the number of its first component's table
_LARGEST = 255  # of a baseline file; without that limit lower qualities have larger values

_LUMINANCE = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
])  # fmt: skip
"""Table K.1 of ITU-T T.81, in the zigzag order of files."""


def _scaled() -> NDArray[np.int64]:
    """The luminance table of each quality from 1 to 100, (100, 64), as libjpeg computes it."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (_LUMINANCE * percent[:, None] + 50) // 100
    return np.asarray(np.clip(scaled, 1, _LARGEST), np.int64)


_LOGARITHMS = np.log(_scaled())


def saved_quality(content: bytes) -> int | None:
    """The quality, 1 to 100, that libjpeg would have been given for the luminance table of a JPEG.

    Other encoders have other tables; theirs is the quality whose table differs least: by the sum, over
    the 64 places, of how many times the one value is the other (its logarithm, whatever its sign).
    None for what is no JPEG, and for one that states no such table (or half of it).
    """
    if sniff(content) != "jpeg":
        return None
    tables: dict[int, NDArray[np.int64]] = {}
    first = None  # the number of the table of the first component, the luminance
    for marker, at in jpeg_segments(content):
        size = int.from_bytes(content[at : at + 2], "big")
        segment = content[at + 2 : at + size]
        if marker == _TABLES:
            tables |= _tables_in(segment)
        elif marker in FRAMES and len(segment) >= _FRAME:
            first = segment[_FRAME - 1]
    table = tables.get(first) if first is not None else None
    if table is None or not table.all():
        return None
    distance = np.abs(_LOGARITHMS - np.log(np.minimum(table, _LARGEST))).sum(axis=1)
    return int(distance.argmin()) + 1


def _tables_in(segment: bytes) -> dict[int, NDArray[np.int64]]:
    """The whole tables of a DQT segment by their numbers, 64 values each, in zigzag order."""
    found: dict[int, NDArray[np.int64]] = {}
    at = 0
    while at < len(segment):
        octets = 2 if segment[at] >> 4 else 1
        values = segment[at + 1 : at + 1 + 64 * octets]
        if len(values) < 64 * octets:
            break
        found[segment[at] & 15] = np.frombuffer(values, f">u{octets}").astype(np.int64)
        at += 1 + 64 * octets
    return found
