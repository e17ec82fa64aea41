"""Boxes in images that came with the pool, as img2dataset's option `bbox_col` takes them.

A row's boxes are a list of ``[left, top, right, bottom]``, as shares of the width and the height of the
picture as its file holds it, that is before an EXIF block turns it upright. What is no such list must
not pass for an image without boxes: it is told apart here, and its row is dead.
"""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.schema import BOXES, Column

Box = Sequence[float]
"""left, top, right, bottom, as shares of the width and height."""

EXPECTED = "[left, top, right, bottom], as shares of width and height"
_LOWEST, _HIGHEST = -1, 2  # detectors go a little beyond the image; pixels go far


def read_boxes(column: Column) -> tuple[pa.Array, NDArray[np.bool_]]:
    """`column` as an array of `schema.BOXES`, and which of its rows hold no boxes but something else.

    Texts are read as JSON. A null is a row of which no boxes are known.

    Raises
    ------
    pa.ArrowException
        If nothing in a column of its type could be boxes.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _checked(*_from_json(column.to_pylist()))
    found = column.cast(BOXES)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return _checked(found, np.zeros(len(found), np.bool_))


def _from_json(texts: list[str | None]) -> tuple[pa.Array, NDArray[np.bool_]]:
    bad = np.zeros(len(texts), np.bool_)
    blocks = []
    for row, text in enumerate(texts):
        try:
            blocks.append(pa.array([json.loads(text) if text else None], BOXES))
        except (ValueError, TypeError, pa.ArrowException, RecursionError):
            blocks.append(pa.nulls(1, BOXES))
            bad[row] = True
    return pa.concat_arrays([pa.nulls(0, BOXES), *blocks]), bad


def _checked(found: pa.Array, bad: NDArray[np.bool_]) -> tuple[pa.Array, NDArray[np.bool_]]:
    boxes = found.flatten()
    sound = np.asarray(pc.fill_null(pc.equal(pc.list_value_length(boxes), 4), False))
    numbers = boxes.filter(pa.array(sound)).flatten()
    sides = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore"):
        within = ((sides >= _LOWEST) & (sides <= _HIGHEST)).all(axis=1)
    sound[sound] = within & (sides[:, :2] <= sides[:, 2:]).all(axis=1)
    rows = np.asarray(pc.list_parent_indices(found))
    bad = bad | (np.bincount(rows[~sound], minlength=len(found)) > 0)
    return pc.if_else(pa.array(bad), pa.scalar(None, BOXES), found), bad


def turned(boxes: Sequence[Box], orientation: int) -> list[Box]:
    """The boxes of a picture once it is turned upright as an EXIF orientation, 1 to 8, says.

    >>> turned([[0.0, 0.0, 0.25, 0.5]], 6)
    [[0.5, 0.0, 1.0, 0.25]]
    """
    found: list[Box] = []
    for left, top, right, bottom in boxes:
        if orientation > 4:
            left, top, right, bottom = top, left, bottom, right
        if orientation in (2, 3, 6, 7):
            left, right = 1 - right, 1 - left
        if orientation in (3, 4, 7, 8):
            top, bottom = 1 - bottom, 1 - top
        found.append([left, top, right, bottom])
    return found
