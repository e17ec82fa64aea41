"""Arrow strings as buffers: every form gives the strings that `to_pylist` gives."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.strings import buffers, replaced

texts = st.text(st.characters(codec="utf-8"), max_size=12)


def strings_of(array: Any) -> list[str]:
    content, offsets = buffers(array)
    assert content.dtype == np.uint8
    assert offsets.dtype == np.int64
    assert len(offsets) == len(array) + 1
    pairs = pairwise(offsets)
    return [content[start:stop].tobytes().decode() for start, stop in pairs]


@given(
    strings=st.lists(st.none() | texts, max_size=12),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
@settings(max_examples=200, deadline=None)
def test_slices_of_every_string_type(
    strings: list[str | None], kind: Any, cut: tuple[int, int]
) -> None:
    start, length = min(cut[0], len(strings)), cut[1]
    array = pa.array(strings, kind).slice(start, length)
    assert strings_of(array) == [s or "" for s in strings[start : start + length]]


@given(chunks=st.lists(st.lists(st.none() | texts, max_size=4), max_size=4))
@settings(max_examples=100, deadline=None)
def test_chunked_arrays(chunks: list[list[str | None]]) -> None:
    array = pa.chunked_array(chunks, pa.string())
    assert strings_of(array) == [s or "" for chunk in chunks for s in chunk]


@pytest.mark.parametrize(
    "array",
    [pa.array(["b", None, "a", "b"]).dictionary_encode(), pa.array(["b", None, "a", "b"])],
    ids=["dictionary", "string"],
)
def test_nulls_are_empty(array: Any) -> None:
    assert strings_of(array) == ["b", "", "a", "b"]


def test_an_array_of_nulls_alone() -> None:
    assert strings_of(pa.nulls(3)) == ["", "", ""]
    assert strings_of(pa.nulls(2, pa.string())) == ["", ""]


def test_an_array_of_empty_strings_alone() -> None:
    assert strings_of(pa.array(["", ""])) == ["", ""]


def test_the_bytes_are_not_copied() -> None:
    array = pa.array(["x" * 1000, "y"])
    content, _ = buffers(array.slice(1))
    assert content.ctypes.data == array.buffers()[2].address


@given(strings=st.lists(st.none() | st.text("abXY", max_size=3), max_size=8))
def test_strings_of_another_form_are_replaced(strings: list[str | None]) -> None:
    def lower(text: str) -> str | None:
        return None if text.startswith("X") else text.lower()

    found = replaced(pa.array(strings, pa.string()), unlike="^[ab]*$", by=lower)
    assert found.type == pa.string()
    assert found.to_pylist() == [
        one if one is None or set(one) <= set("ab") else lower(one) for one in strings
    ]
