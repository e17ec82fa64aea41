"""Distinct numbers against numpy's own, which knows them in another way."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.ops.distinct import distinct


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.booleans())
def test_they_are_those_of_numpy(values: list[int], paired: bool) -> None:
    array = np.array(values, np.uint64)
    if paired:
        array = array[: len(array) // 2 * 2].reshape(-1, 2)
    found = distinct(array)
    assert found.dtype == array.dtype
    assert found.tolist() == np.unique(array).tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_a_million_take_the_time_of_a_sort(dtype: type[np.integer]) -> None:
    values = np.random.default_rng(0).integers(0, 2**62, 1_000_000).astype(dtype)
    started = time.process_time()
    np.sort(values)
    sorting, started = time.process_time() - started, time.process_time()
    assert len(distinct(values)) == len(values)
    assert time.process_time() - started < 10 * sorting + 0.05
