"""Forests and buckets against networkx and itertools."""

import random
from functools import cache
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.ops.duplicates.components import (
    bucket_edges,
    buckets,
    forest,
    members,
    merge,
    no_edges,
    surplus,
    unique_edges,
)

NODES = 14
nodes = st.integers(0, NODES - 1)
edge_lists = st.lists(st.tuples(nodes, nodes), max_size=16)
Edges = list[tuple[int, int]]


def of(edges: Edges) -> NDArray[np.int64]:
    return np.array(edges, np.int64).reshape(-1, 2)


def expected_forest(edges: Edges) -> list[list[int]]:
    """Each node below the smallest of its component, and that one, by networkx."""
    graph = nx.Graph()
    graph.add_edges_from(edges)
    clusters = [(min(c), c) for c in nx.connected_components(graph)]
    root = {i: smallest for smallest, cluster in clusters for i in cluster}
    return [[i, root[i]] for i in sorted(root) if root[i] != i]


@given(edges=edge_lists, far=st.integers(0, 2**61))
@settings(deadline=None)
def test_a_forest_is_networkxs_components(edges: Edges, far: int) -> None:
    edges = [(i + far, j + far) for i, j in edges]
    assert forest(of(edges)).tolist() == expected_forest(edges)


@cache
def graphs() -> dict[str, Edges]:
    draw = random.Random(5)
    n = 100_000
    names = draw.sample(range(2**40), n)
    stars = [(names[i - i % 1000], names[i]) for i in range(20_000)]
    return {
        "chain": [(names[i], names[i + 1]) for i in range(n - 1)],
        "stars": stars,
        "one star": [(names[-1], names[i]) for i in range(20_000)],
        "random": [tuple(draw.sample(names[:20_000], 2)) for _ in range(9_000)],  # type: ignore[misc]
        "dense": [tuple(draw.sample(names[:300], 2)) for _ in range(9_000)],  # type: ignore[misc]
    }


@cache
def whole(kind: str) -> list[list[int]]:
    return expected_forest(graphs()[kind])


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("kind", ["chain", "stars", "one star", "random", "dense"])
def test_merged_forests_of_pieces_are_the_forest_of_the_whole(kind: str, pieces: int) -> None:
    edges = graphs()[kind].copy()
    random.Random(pieces).shuffle(edges)
    forests = [forest(of(edges[k::pieces])) for k in range(pieces)]
    while len(forests) > 1:
        forests = [merge(forests[k : k + 2]) for k in range(0, len(forests), 2)]
    assert forests[0].tolist() == whole(kind)


def test_the_forest_of_nothing() -> None:
    assert forest(no_edges()).shape == merge([]).shape == (0, 2)
    assert forest(of([(3, 3)])).shape == (0, 2)
    assert members(no_edges()).shape == (0, 2)
    assert surplus(no_edges()) == 0


def test_members_are_all_nodes_with_their_roots() -> None:
    trees = forest(of([(9, 4), (4, 7), (20, 5)]))
    assert trees.tolist() == [[7, 4], [9, 4], [20, 5]]
    assert members(trees).tolist() == [[4, 4], [5, 5], [7, 4], [9, 4], [20, 5]]


@given(edges=edge_lists, keep=st.integers(1, 4))
@settings(deadline=None)
def test_surplus_counts_what_is_over(edges: Edges, keep: int) -> None:
    graph = nx.Graph()
    graph.add_edges_from(edges)
    sizes = [len(c) for c in nx.connected_components(graph)]
    assert surplus(forest(of(edges)), keep=keep) == sum(max(0, size - keep) for size in sizes)


cell_lists = st.lists(st.tuples(st.integers(0, 4), nodes), max_size=30)


def columns(cells: list[tuple[int, int]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    cells = sorted(cells, key=lambda cell: cell[1])
    return np.array([h for h, _ in cells], np.uint64), np.array([r for _, r in cells], np.int64)


def buckets_of(cells: list[tuple[int, int]]) -> list[set[int]]:
    return [{row for h, row in cells if h == key} for key in {h for h, _ in cells}]


@given(cells=cell_lists)
@settings(deadline=None)
def test_small_buckets_give_all_their_pairs(cells: list[tuple[int, int]]) -> None:
    hashes, rows = columns(cells)
    edges = bucket_edges(hashes, rows, exact=False)
    expected = {pair for rows in buckets_of(cells) for pair in combinations(sorted(rows), 2)}
    assert edges.shape == (len(edges), 2)
    assert {(int(i), int(j)) for i, j in edges} == expected


@given(cells=cell_lists)
@settings(deadline=None)
def test_exact_buckets_join_each_row_to_the_first(cells: list[tuple[int, int]]) -> None:
    hashes, rows = columns(cells)
    edges = bucket_edges(hashes, rows, exact=True)
    expected = {(min(rows), row) for rows in buckets_of(cells) for row in rows - {min(rows)}}
    assert {(int(i), int(j)) for i, j in edges} == expected


@given(edges=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=9))
def test_unique_edges_are_a_sorted_set(edges: Edges) -> None:
    edges = edges + edges[:2] + edges[:1]
    assert unique_edges(of(edges)).tolist() == [list(e) for e in sorted(set(edges))]


def test_a_bucket_of_64_gives_all_pairs_and_one_of_65_a_chain_and_a_star() -> None:
    def of(size: int) -> list[list[int]]:
        hashes = np.full(size, 2**64 - 1, np.uint64)
        edges = bucket_edges(hashes, np.arange(size), exact=False)
        return sorted([int(i), int(j)] for i, j in edges)

    assert of(64) == [list(pair) for pair in combinations(range(64), 2)]
    star = {(0, row) for row in range(1, 65)}
    chain = {(row, row + 1) for row in range(1, 64)}
    assert of(65) == sorted(map(list, star | chain))


def test_no_hashes_no_edges() -> None:
    for exact in (False, True):
        edges = bucket_edges(np.empty(0, np.uint64), np.empty(0, np.int64), exact=exact)
        assert edges.shape == (0, 2)
        alone = bucket_edges(np.array([1, 2], np.uint64), np.array([0, 1]), exact=exact)
        assert alone.shape == (0, 2)


@given(cells=cell_lists)
@settings(deadline=None)
def test_buckets_are_the_rows_that_share_a_hash(cells: list[tuple[int, int]]) -> None:
    found: list[set[int]] = [set()]
    for row in buckets(*columns(cells)).tolist():
        found[-1].add(row if row >= 0 else ~row)
        if row < 0:
            found.append(set())
    assert found.pop() == set()
    expected = [rows for rows in buckets_of(cells) if len(rows) > 1]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
