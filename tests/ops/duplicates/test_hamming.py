"""Hashes of pictures against Python's integers, near ones and copies against loops over all."""

from itertools import combinations

import networkx as nx
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.ops.duplicates import hamming
from curate.ops.duplicates.hamming import BANDS, band_hashes, near_edges, originals, words_of
from curate.ops.images import looks

HASH = st.integers(0, 2**256 - 1)
LOW = np.array([bit // 16 < 8 and bit % 16 < 8 for bit in reversed(range(256))])
"""Which bits of a hash, as it is spelled, are of the 8 x 8 lowest frequencies."""


def hexed(*values: int) -> pa.Array:
    return pa.array([f"{value:064x}" for value in values])


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
    """16 bits apart always, 24 mostly, wherever they are; 24 among the higher frequencies; strangers
    never."""
    draw = np.random.RandomState(0)
    octets = draw.randint(0, 256, (2_000, 32)).astype(np.uint8)
    mine = band_hashes(octets.view(np.uint64))
    anywhere, high = np.arange(256), np.flatnonzero(~LOW)
    for where, apart, least, most in (
        (anywhere, 16, 0.998, 1.0), (anywhere, 24, 0.93, 0.96), (high, 24, 1.0, 1.0),
        (anywhere, 128, 0.0, 0.001),
    ):  # fmt: skip
        bits = np.unpackbits(octets, axis=1)
        for row in bits:
            row[draw.choice(where, apart, replace=False)] ^= 1
        others = band_hashes(np.packbits(bits, axis=1).view(np.uint64))
        assert least <= (mine == others).any(axis=1).mean() <= most


@given(HASH, st.sets(st.integers(0, 255), max_size=60), st.integers(30, 100))
@settings(deadline=None)
def test_of_small_pictures_the_low_frequencies_count(value: int, bits: set[int], side: int) -> None:
    """As by the definition: bit 16 u + v of the number is the frequency (u, v)."""
    low = sum(bit // 16 < 8 and bit % 16 < 8 for bit in bits)
    apart = min(len(bits), 4 * low) if side < 64 else len(bits)
    words = words_of(hexed(value, value ^ sum(1 << bit for bit in bits)))
    seen = looking(7, 7)
    seen[1, 0] = side
    for distance in {max(apart - 1, 0), apart}:
        first = originals(words, seen, np.zeros(2, np.int64), distance=distance)
        assert (first[1] == 0) == (apart <= distance)
        edges = near_edges(words, seen, np.array([0, ~1]), distance=distance)
        assert len(edges) == (apart <= distance)


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
    seen = looking(*(0 for _ in rows))
    assert originals(words, seen, of, distance=distance).tolist() == expected


def looking(*levels: int) -> NDArray[np.uint8]:
    """Looks of large pictures of one level each."""
    found = np.array(levels, np.uint8).reshape(-1, 1).repeat(looks.SIZE, axis=1)
    found[:, 0] = 255
    return found


def test_a_picture_of_another_colour_is_no_copy() -> None:
    words, component = words_of(hexed(0, 1, 0, 3)), np.zeros(4, np.int64)
    seen = looking(10, 200, 203, 14)
    assert originals(words, seen, component, distance=9).tolist() == [0, 1, 1, 0]


@given(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0, 5, 90])), min_size=1, max_size=12),
    st.lists(st.sets(st.integers(0, 11), min_size=2), max_size=4),
    st.integers(0, 2),
)
@settings(deadline=None)
def test_near_pairs_of_a_bucket_are_joined(
    pictures: list[tuple[int, int]], given_buckets: list[set[int]], distance: int
) -> None:
    """As by a loop over all pairs of each bucket; alike are those at most five levels apart here."""
    buckets = [sorted(i for i in bucket if i < len(pictures)) for bucket in given_buckets]
    buckets = [bucket for bucket in buckets if len(bucket) > 1]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(pictures)))
    for bucket in buckets:
        for i, j in combinations(bucket, 2):
            (a, x), (b, y) = pictures[i], pictures[j]
            if (a ^ b).bit_count() <= distance and abs(x - y) <= 5:
                graph.add_edge(i, j)
    laid = [k if k != bucket[-1] else ~k for bucket in buckets for k in bucket]
    words = words_of(hexed(*(value for value, _ in pictures)))
    seen = looking(*(level for _, level in pictures))
    edges = near_edges(words, seen, np.array(laid, np.int64), distance=distance)
    expected = [[min(c), i] for c in nx.connected_components(graph) for i in c if i != min(c)]
    assert sorted(edges.tolist()) == sorted(expected)


def test_in_a_bucket_of_thousands_near_pictures_still_meet() -> None:
    """Beyond the window, sorted by each quarter: most copies 16 bits apart stand near in one."""
    draw = np.random.RandomState(4)
    n = 5_000
    octets = draw.randint(0, 256, (n, 32)).astype(np.uint8)
    bits = np.unpackbits(octets, axis=1)
    for row in bits:
        row[draw.choice(256, 16, replace=False)] ^= 1
    words = np.concatenate([octets, np.packbits(bits, axis=1)]).view(np.uint64)
    bucket = np.arange(2 * n)
    bucket[-1] = ~bucket[-1]
    edges = near_edges(words, looking(*([7] * 2 * n)), bucket, distance=31)
    assert (edges[:, 1] - edges[:, 0] == n).all()
    assert len(edges) > 0.98 * n


def test_many_of_one_picture_are_one_and_cost_no_square() -> None:
    n = 3 * hamming._WINDOW
    bucket = np.arange(n)
    bucket[-1] = ~bucket[-1]
    words = words_of(hexed(5)).repeat(n, axis=0)
    edges = near_edges(words, looking(9).repeat(n, axis=0), bucket, distance=31)
    assert len(edges) == n - 1
    assert (edges[:, 0] == 0).all()
