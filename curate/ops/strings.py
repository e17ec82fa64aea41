"""Arrow string arrays as the NumPy buffers that the kernels read."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.schema import Column

Strings: TypeAlias = Column | Iterable[str | None]
"""What `string_array` takes."""


class Buffers(NamedTuple):
    """The UTF-8 of n strings: string i is `content[offsets[i]:offsets[i + 1]]`; nulls are empty."""

    content: NDArray[np.uint8]  # (bytes,)
    offsets: NDArray[np.int64]  # (n + 1,), ascending


def string_array(strings: Strings) -> pa.Array:
    """`strings` as an Arrow StringArray or LargeStringArray.

    They may be Arrow's own, chunked, encoded as a dictionary or as views, without a copy where it can
    be done; or any sequence of str and None, such as a list, a tuple, a column of pandas.

    Raises
    ------
    TypeError
        Where they are something else, a single str for example.
    """
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks() if strings.num_chunks != 1 else strings.chunk(0)
    elif not isinstance(strings, pa.Array):
        strings = _from_sequence(strings)
    kind = strings.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return strings
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
               pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null)  # fmt: skip
    if not any(is_a(inner) for is_a in is_text):
        raise TypeError(f"expected strings, not an Arrow array of {kind}")
    return strings.cast(pa.large_string())


def codes_of(strings: Column) -> NDArray[np.int64]:
    """A number for each text, shape (n,): equal texts have the same, a null has -1."""
    whole = strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings
    codes = pc.fill_null(whole.dictionary_encode().indices, -1)
    return codes.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _from_sequence(strings: Iterable[str | None]) -> pa.Array:
    if isinstance(strings, str | bytes) or not hasattr(strings, "__iter__"):
        raise TypeError(
            f"expected a sequence of str, not one {type(strings).__name__}: {strings!r:.60}"
        )
    try:
        listed = strings if hasattr(strings, "__len__") else list(strings)
        return pa.array(listed, pa.large_string(), from_pandas=True)
    except UnicodeEncodeError as error:
        raise ValueError(f"a string is not valid Unicode: {error.object!r:.60}") from None
    except (pa.ArrowTypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TypeError(f"expected a sequence of str: {str(error).splitlines()[0]}") from None


def buffers(strings: Strings) -> Buffers:
    """The buffers of whatever `string_array` takes, without a copy of what Arrow holds."""
    strings = string_array(strings)
    if strings.null_count:
        strings = strings.fill_null("")
    if len(strings) == 0:
        return Buffers(np.empty(0, np.uint8), np.zeros(1, np.int64))
    _, offsets, content = strings.buffers()
    width = np.int64 if pa.types.is_large_string(strings.type) else np.int32
    window = np.frombuffer(offsets, width)[strings.offset : strings.offset + len(strings) + 1]
    raw = np.asarray(_Octets(content)) if content else np.empty(0, np.uint8)
    return Buffers(raw, window.astype(np.int64))


class _Octets:
    """The bytes of an Arrow buffer as an array: always of the one type that kernels are compiled for.

    NumPy's own view may be written to or not, by how Arrow came by the buffer. Nobody writes to it.
    """

    def __init__(self, buffer: pa.Buffer) -> None:
        self._buffer = buffer  # lives as long as the array
        self.__array_interface__ = {
            "version": 3, "typestr": "|u1", "shape": (buffer.size,), "data": (buffer.address, False)
        }  # fmt: skip


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
