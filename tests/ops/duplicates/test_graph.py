"""Keys: what meets, and that it is the same for any number of slots, runs and groups."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.duplicates import components
from curate.ops.duplicates.graph import (
    Block,
    DedupRule,
    Keys,
    Meeting,
    Policy,
    by_part,
    keys_of,
    labels_of,
    near_images,
    node,
    outline,
    pack,
    part_of,
    rows_of,
    slots_of,
    unpacked,
)
from curate.ops.images.looks import SIZE, spelled

HASHES = st.sampled_from([0, 1, 255, 256, 1 << 24, (1 << 24) + 1, 1 << 40, 2**64 - 1, 2**64 - 2])
ROWS = st.integers(0, 70_000)


@given(
    parts=st.lists(st.lists(st.tuples(HASHES, ROWS), min_size=1, max_size=6), max_size=4),
    how=st.sampled_from(Meeting),
)
@settings(max_examples=200, deadline=None)
def test_what_meets_is_the_same_in_any_number_of_pieces(
    parts: list[list[tuple[int, int]]], how: Meeting
) -> None:
    """Equal hashes meet; those of a candidate if the first 40 bits are equal."""
    cells = [
        (h, 3 * part, row) for part, found in enumerate(parts) for h, row in sorted(set(found))
    ]
    shift = 64 - how.bits
    buckets: dict[int, list[int]] = {}
    for h, part, row in sorted(cells, key=lambda cell: cell[1:]):
        buckets.setdefault(h >> shift, []).append((part << 32) + row)
    expected = {
        (i, j)
        for rows in buckets.values()
        for i, j in combinations(rows, 2)
        if i != j and (how is not Meeting.EQUAL or i == rows[0])
    }
    own = {part: sorted((row, h) for h, p, row in cells if p == part) for _, part, _ in cells}
    keys = {
        part: Keys(how, np.array([h for _, h in found], np.uint64), np.array([r for r, _ in found]))
        for part, found in own.items()
    }
    for slots, runs, group in ((1, 1, 1), (2, 2, 4), (7, 3, 2), (256, 5, 5), (300, 1, 100)):
        packed = {part: slots_of([one], slots=slots) for part, one in keys.items()}
        found = []
        for run in range(runs):
            here = range(slots * run // runs, slots * (run + 1) // runs)
            blocks = [  # the order of arrival does not matter
                Block(first, group, pack([packed.get(first + k) for k in range(group)], here))
                for first in reversed(range(0, 12, group))
            ]
            met = unpacked(blocks, how=how, all_slots=slots, slots=len(here))
            for hashes, nodes in met:
                edges = components.bucket_edges(hashes, nodes, exact=how is Meeting.EQUAL)
                found += [(int(i), int(j)) for i, j in edges]
                assert slots < 256 or how is not Meeting.MAYBE or hashes.itemsize == 4
        assert set(found) == expected


def table(**columns: list[str | None]) -> pa.Table:
    return pa.table(columns)


def met(
    pairs: pa.Table, policy: Policy, rule: DedupRule | None = None, within: list[int] | None = None
) -> set[tuple[int, int]]:
    """Rows that have a key in common."""
    inside = None if within is None else np.array(within)
    rule = rule or DedupRule(policy=(policy,))
    return {
        (i, j)
        for keys in keys_of(pairs, policy, rule, within=inside)
        for (g, i), (h, j) in combinations(
            zip(keys.hashes.tolist(), keys.rows.tolist(), strict=True), 2
        )
        if g == h and i != j
    }


def test_urls_meet_once_they_are_written_the_same_way() -> None:
    pairs = table(
        url=["http://a.example/1?utm_source=x#y", "HTTP://A.example:80/1", "http://a.example/2"],
        caption=["a", "b", "b"],
    )
    assert met(pairs, "url") == met(pairs, "image") == {(0, 1)}
    assert met(pairs, "url", DedupRule(policy=("url",), url_keeps="distinct_captions")) == set()


def test_distinct_captions_of_a_url_are_compared_as_they_are_normalised() -> None:
    pairs = table(url=["http://a.example/1"] * 3, caption=["A cat!", "a cat", "the cat"])
    rule = DedupRule(policy=("url",), url_keeps="distinct_captions")
    assert met(pairs, "url", rule) == {(0, 1)}
    rule = DedupRule(policy=("url",), url_keeps="distinct_captions", normalise=False)
    assert met(pairs, "url", rule) == set()


def test_images_meet_by_their_files_and_one_without_meets_none() -> None:
    pairs = table(
        url=["http://a.example/1"] * 4, sha256=["ab", None, "ab", None], caption=["a"] * 4,
        phash=[None] * 4, look=[None] * 4,
    )  # fmt: skip
    assert met(pairs, "image") == {(0, 2)}


def test_pictures_meet_by_what_they_show_if_a_distance_is_given() -> None:
    seen = [None, "5a" * 32, "5b" + "5a" * 31, "a5" * 32, "5a" * 32, "5a" * 32]
    grey, white = (spelled(np.full(SIZE, level, np.uint8)) for level in (99, 255))
    pairs = table(
        url=["x"] * 6, sha256=[f"{n}" for n in range(6)], caption=["a"] * 6, phash=seen,
        look=[None, grey, grey, grey, grey, white],
    )  # fmt: skip
    near = DedupRule(policy=("image",), image_distance=24)
    # 4 is as 1, which stands for both; 5 has the hash alone in common with them.
    assert met(pairs, "image", near) == {(1, 2), (1, 4), (1, 5), (2, 5)}
    assert met(pairs, "image", DedupRule(policy=("image",), image_distance=0)) == set()
    buckets = np.array([1, 2, 3, 4, ~5])
    assert near_images(pairs, buckets, near).tolist() == [[1, 2], [1, 4]]


CAPTIONS = ["an old red house by the river", "AN OLD red house, by the river!", "blue", "blue"]


def test_captions_meet_within_their_images_cluster() -> None:
    pairs = table(url=["x"] * 4, caption=CAPTIONS)  # type: ignore[arg-type]
    assert met(pairs, "caption") == {(0, 1), (2, 3)}
    assert met(pairs, "pair", within=[7, 7, 8, 9]) == {(0, 1)}
    assert met(pairs, "pair", within=[7, -1, 8, 8]) == {(2, 3)}
    assert met(pairs, "pair", within=[-1] * 4) == set()


@pytest.mark.parametrize("normalise", [True, False])
def test_captions_are_compared_normalised_or_as_they_are(normalise: bool) -> None:
    pairs = table(url=["x"] * 4, caption=CAPTIONS)  # type: ignore[arg-type]
    kinds = list(keys_of(pairs, "caption", DedupRule(policy=("caption",), normalise=normalise)))
    equal = kinds[0]
    assert [keys.meeting for keys in kinds] == [Meeting.EQUAL, Meeting.MAYBE]
    assert len(set(equal.hashes.tolist())) == (2 if normalise else 3)


def test_nodes_and_their_parts() -> None:
    nodes = np.concatenate([node(2, np.array([0, 5])), node(9, np.array([1], np.uint16))])
    assert part_of(nodes).tolist() == [2, 2, 9]
    assert rows_of(nodes).tolist() == [0, 5, 1]
    assert list(by_part(nodes)) == [(2, slice(0, 2)), (9, slice(2, 3))]
    assert list(by_part(nodes[:0])) == []


def test_an_outline_holds_each_policys_clusters_and_those_of_all() -> None:
    images = components.forest(np.array([[1, 2], [8, 9]]))
    captions = components.forest(np.array([[2, 3]]))
    assert outline([images, captions]).tolist() == [
        [1, 1, 1, -1], [2, 1, 1, 2], [3, 1, -1, 2], [8, 8, 8, -1], [9, 8, 8, -1],
    ]  # fmt: skip
    assert outline([components.no_edges()]).shape == (0, 3)
    assert labels_of(np.array([5, 2]), captions).tolist() == [-1, 2]
