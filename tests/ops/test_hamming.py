"""Hashes of pictures against Python's integers, and copies against a loop over all before."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.hamming import BANDS, band_hashes, distances, originals, words_of

HASH = st.integers(0, 2**256 - 1)


def hexed(*values: int) -> pa.Array:
    return pa.array([f"{value:064x}" for value in values])


@given(st.lists(st.tuples(HASH, HASH), min_size=1, max_size=5))
@settings(deadline=None)
def test_bits_apart_are_those_of_the_numbers(pairs: list[tuple[int, int]]) -> None:
    left, right = (words_of(hexed(*side)) for side in zip(*pairs, strict=True))
    assert distances(left, right).tolist() == [(a ^ b).bit_count() for a, b in pairs]


def test_a_missing_hash_is_zeros_and_capitals_are_digits() -> None:
    found = words_of(pa.array([None, "AB" * 32, "ab" * 32]))
    assert found[0].tolist() == [0] * 4
    assert (found[1] == found[2]).all()
    assert words_of(pa.array([], pa.string())).shape == (0, 4)


@given(HASH, st.sets(st.integers(0, 255), max_size=9))
@settings(deadline=None)
def test_hashes_up_to_nine_bits_apart_share_a_band(value: int, bits: set[int]) -> None:
    other = value
    for bit in bits:
        other ^= 1 << bit
    found = band_hashes(words_of(hexed(value, other)))
    assert found.shape == (2, BANDS)
    assert (found[0] == found[1]).any()


def test_bands_meet_as_often_as_stated() -> None:
    """20 bits apart nearly always, 24 mostly; strangers never."""
    draw = np.random.RandomState(0)
    octets = draw.randint(0, 256, (2_000, 32)).astype(np.uint8)
    mine = band_hashes(octets.view(np.uint64))
    for apart, least, most in ((20, 0.99, 1.0), (24, 0.96, 0.995), (128, 0.0, 0.001)):
        bits = np.unpackbits(octets, axis=1)
        for row in bits:
            row[draw.choice(256, apart, replace=False)] ^= 1
        others = band_hashes(np.packbits(bits, axis=1).view(np.uint64))
        assert least <= (mine == others).any(axis=1).mean() <= most


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 255)), max_size=12),
    st.integers(0, 4),
)
@settings(deadline=None)
def test_a_copy_is_within_the_distance_of_its_original(
    given_rows: list[tuple[int, int]], distance: int
) -> None:
    rows = sorted(given_rows, key=lambda row: row[0])
    expected: list[int] = []
    for i, (component, value) in enumerate(rows):
        near = [
            ((value ^ rows[k][1]).bit_count(), k)
            for k in range(i)
            if expected[k] == k and rows[k][0] == component
        ]
        apart, first = min(near, default=(99, i))
        expected.append(first if apart <= distance else i)
    words = words_of(hexed(*(value for _, value in rows)))
    of = np.array([component for component, _ in rows], np.int64)
    assert originals(words, of, distance=distance).tolist() == expected
