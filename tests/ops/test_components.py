"""Clusters against networkx, the survivor against a sort in Python."""

from itertools import combinations

import networkx as nx
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.ops.components import absorb, bucket_edges, components, contract, rank, unique_edges

NODES = 14
nodes = st.integers(0, NODES - 1)
edge_lists = st.lists(st.tuples(nodes, nodes), max_size=16)

Partition = set[frozenset[int]]


def sides(edges: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    array = np.array(edges, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def partition(labels: NDArray[np.int32]) -> Partition:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def connected(members: range | set[int], edges: list[tuple[int, int]]) -> Partition:
    graph = nx.Graph()
    graph.add_nodes_from(members)
    graph.add_edges_from(edges)
    return {frozenset(component) for component in nx.connected_components(graph)}


@given(edges=edge_lists)
@settings(deadline=None)
def test_components_are_networkxs(edges: list[tuple[int, int]]) -> None:
    labels = components(*sides(edges), n=NODES)
    assert len(labels) == NODES
    assert partition(labels) == connected(range(NODES), edges)


def test_components_of_a_long_chain_and_of_nothing() -> None:
    chain = np.arange(100_000)
    assert len(set(components(chain[:-1], chain[1:], n=100_000).tolist())) == 1
    none = np.empty(0, np.int64)
    assert components(none, none, n=0).tolist() == []
    assert sorted(components(none, none, n=3).tolist()) == [0, 1, 2]


buckets = st.lists(st.tuples(st.integers(0, 4), nodes), max_size=30)


def columns(cells: list[tuple[int, int]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    return np.array([h for h, _ in cells], np.uint64), np.array([r for _, r in cells], np.int64)


def buckets_of(cells: list[tuple[int, int]]) -> list[set[int]]:
    return [{row for h, row in cells if h == key} for key in {h for h, _ in cells}]


@given(cells=buckets)
@settings(deadline=None)
def test_small_buckets_give_all_their_pairs(cells: list[tuple[int, int]]) -> None:
    hashes, rows = columns(cells)
    edges = bucket_edges(hashes, rows, exact=False)
    expected = {pair for rows in buckets_of(cells) for pair in combinations(sorted(rows), 2)}
    assert edges.shape == (len(edges), 2)
    assert {(int(i), int(j)) for i, j in edges} == expected


@given(cells=buckets)
@settings(deadline=None)
def test_exact_buckets_join_each_row_to_the_first(cells: list[tuple[int, int]]) -> None:
    hashes, rows = columns(cells)
    edges = bucket_edges(hashes, rows, exact=True)
    expected = {(min(rows), row) for rows in buckets_of(cells) for row in rows - {min(rows)}}
    assert {(int(i), int(j)) for i, j in edges} == expected


@given(edges=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**31)), max_size=9))
def test_unique_edges_are_a_sorted_set_without_loops(edges: list[tuple[int, int]]) -> None:
    edges = edges + [(j, i) for i, j in edges[:2]] + edges[:1]
    expected = sorted({(min(e), max(e)) for e in edges if e[0] != e[1]})
    found = unique_edges(np.array(edges, np.int64).reshape(-1, 2))
    assert found.tolist() == [list(e) for e in expected]


def test_a_bucket_of_64_gives_all_pairs_and_one_of_65_a_chain_and_a_star() -> None:
    def of(size: int) -> list[list[int]]:
        hashes = np.full(size, 2**64 - 1, np.uint64)
        edges = bucket_edges(hashes, np.arange(size)[::-1], exact=False)
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


candidates = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(["0a", "0b", "ff"])),
    max_size=12,
)


@given(rows=candidates)
@settings(deadline=None)
def test_rank_is_the_survivor_order(rows: list[tuple[int, int, str]]) -> None:
    table = pa.table(
        {
            "uid": pa.array([uid for _, _, uid in rows], pa.string()),
            "pixels": pa.array([pixels for pixels, _, _ in rows], pa.int64()),
            "caption_chars": pa.array([chars for _, chars, _ in rows], pa.int32()),
        }
    )
    order = sorted(range(len(rows)), key=lambda i: (-rows[i][0], -rows[i][1], rows[i][2], i))
    expected = [order.index(i) for i in range(len(rows))]
    assert rank(table).tolist() == expected
    chunks = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    assert rank(chunks).tolist() == expected


def test_rank_prefers_the_larger_image_then_the_longer_caption_then_the_smaller_uid() -> None:
    table = pa.table(
        {
            "uid": ["c", "b", "a", "a", "d"],
            "pixels": pa.array([5, 5, 5, 5, 9]),
            "caption_chars": pa.array([7, 7, 3, 3, 1], pa.int32()),
        }
    )
    assert rank(table).tolist() == [2, 1, 3, 4, 0]


@given(edges=edge_lists, place=st.permutations(range(NODES)))
@settings(deadline=None)
def test_absorb_keeps_the_first_of_each_component(
    edges: list[tuple[int, int]], place: list[int]
) -> None:
    survivor = np.arange(NODES)
    gone = absorb(survivor, *sides(edges), place=np.array(place))
    clusters = connected(range(NODES), edges)
    expected = {i: min(cluster, key=place.__getitem__) for cluster in clusters for i in cluster}
    assert survivor.tolist() == [expected[i] for i in range(NODES)]
    assert gone.tolist() == [expected[i] != i for i in range(NODES)]


@given(rounds=st.lists(edge_lists, max_size=4), place=st.permutations(range(NODES)))
@settings(deadline=None)
def test_absorb_round_by_round_counts_only_edges_between_survivors(
    rounds: list[list[tuple[int, int]]], place: list[int]
) -> None:
    survivor = np.arange(NODES)
    stands_for = {i: i for i in range(NODES)}
    for edges in rounds:
        alive = {i for i, s in stands_for.items() if i == s}
        chosen: dict[int, int] = {}
        for cluster in connected(alive, [e for e in edges if set(e) <= alive]):
            chosen |= dict.fromkeys(cluster, min(cluster, key=place.__getitem__))
        stands_for = {i: chosen[s] for i, s in stands_for.items()}
        gone = absorb(survivor, *sides(edges), place=np.array(place))
        assert survivor.tolist() == [stands_for[i] for i in range(NODES)]
        assert set(np.flatnonzero(gone).tolist()) == {i for i in alive if chosen[i] != i}


def test_absorb_follows_a_survivor_that_is_absorbed_later() -> None:
    place = np.array([2, 1, 0, 3])
    survivor = np.arange(4)
    assert absorb(survivor, *sides([(0, 1)]), place=place).tolist() == [True, False, False, False]
    assert survivor.tolist() == [1, 1, 2, 3]
    assert absorb(survivor, *sides([(1, 2), (0, 3)]), place=place).tolist() == [
        False, True, False, False,
    ]  # fmt: skip
    assert survivor.tolist() == [2, 2, 2, 3]


def test_absorb_without_nodes() -> None:
    none = np.empty(0, np.int64)
    assert absorb(none.copy(), none, none, place=none).tolist() == []


@given(equal=edge_lists, near=edge_lists, living=st.sets(nodes))
@settings(deadline=None)
def test_contract_connects_the_living_as_their_classes_are(
    equal: list[tuple[int, int]], near: list[tuple[int, int]], living: set[int]
) -> None:
    alive = np.isin(np.arange(NODES), sorted(living))
    edges = contract(
        np.array(equal, np.int64).reshape(-1, 2), np.array(near, np.int64).reshape(-1, 2),
        alive=alive,
    )  # fmt: skip
    assert edges.shape[1:] == (2,)
    assert set(edges.ravel().tolist()) <= living
    assert (edges[:, 0] != edges[:, 1]).all()

    classes = connected(range(NODES), equal)
    class_of = {i: members for members in classes for i in members}
    graph = nx.Graph()
    graph.add_nodes_from(members for members in classes if members & living)
    for i, j in near:
        if class_of[i] & living and class_of[j] & living:
            graph.add_edge(class_of[i], class_of[j])
    expected = {
        frozenset(living & set().union(*joined)) for joined in nx.connected_components(graph)
    }
    pairs = [(int(i), int(j)) for i, j in edges]
    assert connected(living, pairs) == expected


def test_contract_hands_the_edge_of_a_dead_node_to_its_living_twin() -> None:
    alive = np.array([False, True, True, True])
    edges = contract(np.array([[0, 1]]), np.array([[0, 2]]), alive=alive)
    assert edges.tolist() == [[1, 2]]
    alone = contract(np.empty((0, 2), np.int64), np.array([[0, 2], [2, 3]]), alive=alive)
    assert alone.tolist() == [[2, 3]]
