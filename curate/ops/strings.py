"""Arrow string arrays as the NumPy buffers that the kernels read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Buffers(NamedTuple):
    """The UTF-8 of n strings: string i is `content[offsets[i]:offsets[i + 1]]`; nulls are empty."""

    content: NDArray[np.uint8]  # (bytes,)
    offsets: NDArray[np.int64]  # (n + 1,), ascending


def buffers(strings: Any) -> Buffers:
    """The buffers of an Arrow (Large)StringArray or ChunkedArray, without copying its bytes."""
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks() if strings.num_chunks != 1 else strings.chunk(0)
    if not (pa.types.is_string(strings.type) or pa.types.is_large_string(strings.type)):
        strings = strings.cast(pa.large_string())
    if strings.null_count:
        strings = strings.fill_null("")
    if len(strings) == 0:
        return Buffers(np.empty(0, np.uint8), np.zeros(1, np.int64))
    _, offsets, content = strings.buffers()
    width = np.int64 if pa.types.is_large_string(strings.type) else np.int32
    window = np.frombuffer(offsets, width)[strings.offset : strings.offset + len(strings) + 1]
    raw = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    return Buffers(raw, window.astype(np.int64))


def replaced(strings: pa.Array, *, unlike: str, by: Callable[[str], str | None]) -> pa.Array:
    """`strings`, those that the pattern `unlike` does not match replaced; None makes a null.

    >>> replaced(pa.array(["a", "B"]), unlike="^[a-z]*$", by=str.lower).to_pylist()
    ['a', 'b']
    """
    alike = pc.fill_null(pc.match_substring_regex(strings, unlike), True)
    odd = np.flatnonzero(~np.asarray(alike))
    if not len(odd):
        return strings
    mask = np.zeros(len(strings), np.bool_)
    mask[odd] = True
    others = [by(string) for string in strings.take(pa.array(odd)).to_pylist()]
    return pc.replace_with_mask(strings, pa.array(mask), pa.array(others, strings.type))
