"""Clusters of duplicates as connected components: candidate edges, and forests that stand for them.

A *forest* is an int64 array of shape (k, 2): each node that is not the smallest of its component,
ascending, and that smallest node, its root. It says all that the edges it was made of say about
their components, in 16 bytes a node, and forests can be merged in any order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.ops.distinct import distinct
from curate.ops.kernels import Rows, nb

_ALL_PAIRS = 64


def no_edges() -> NDArray[np.int64]:
    """The edges, or the forest, of nothing."""
    return np.empty((0, 2), np.int64)


def load() -> None:
    """Import what `forest` needs: each process would take a tenth of its start for it."""
    import scipy.sparse.csgraph  # noqa: F401


def forest(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """The forest of the components that `edges`, (k, 2), connect."""
    nodes = distinct(edges)
    if not len(nodes):
        return no_edges()
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(nodes)
    left, right = (np.searchsorted(nodes, side).astype(np.int32) for side in edges.T)
    graph = coo_array((np.ones(len(edges), np.bool_), (left, right)), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    first = np.unique(labels, return_index=True)[1]  # nodes ascend: the first is the smallest
    root = nodes[first[labels]]
    below = root != nodes
    return np.stack([nodes[below], root[below]], axis=1)


def merge(forests: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The forest of all edges that the `forests` were made of."""
    return forest(np.concatenate([no_edges(), *forests]))


def members(trees: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each node of a forest, the roots too, and its root; ascending, shape (m, 2)."""
    roots = distinct(trees[:, 1])
    every = np.concatenate([trees, np.stack([roots, roots], axis=1)])
    return every[np.argsort(every[:, 0], kind="stable")]


def surplus(trees: NDArray[np.int64], *, keep: int = 1) -> int:
    """How many nodes would be dropped if `keep` of each component stayed."""
    sizes = np.unique(trees[:, 1], return_counts=True)[1] + 1
    return int(np.maximum(sizes - keep, 0).sum())


@nb.njit
def root_of(parent: NDArray[np.int64], node: int) -> int:
    """The root of `node` in the union-find `parent`, where a root is its own parent; halves paths."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@nb.njit(cache=True, nogil=True)
def _bucket_pairs(
    first: NDArray[np.bool_], rows: NDArray[np.int64], exact: bool, out: Rows[np.int64]
) -> int:
    """Write the edges of each bucket, which begins at a `first`, to `out`, if it has room; how many."""
    fill = len(out) > 0
    n = start = 0
    while start < len(first):
        stop = start + 1
        while stop < len(first) and not first[stop]:
            stop += 1
        full = not exact and stop - start <= _ALL_PAIRS
        for i in range(start, stop):
            for j in range(i + 1, stop):
                if full or i == start or (not exact and j == i + 1):
                    if rows[i] != rows[j]:
                        if fill:
                            out[n, 0], out[n, 1] = rows[i], rows[j]
                        n += 1
                elif not full:
                    break
        start = stop
    return n


def bucket_edges(
    hashes: NDArray[np.generic], rows: NDArray[np.int64], *, exact: bool
) -> NDArray[np.int64]:
    """Edges between rows, given ascending, that share a hash: shape (k, 2), the smaller row first.

    For an `exact` key each row is joined to the first of its bucket. Else every pair of a bucket is
    a candidate; buckets of more than 64 rows give each row's pairs with the first and the next.
    """
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    first = np.r_[True, hashes[1:] != hashes[:-1]][: len(hashes)]
    edges = np.empty((_bucket_pairs(first, rows, exact, no_edges()), 2), np.int64)
    _bucket_pairs(first, rows, exact, edges)
    return edges


def buckets(hashes: NDArray[np.generic], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The buckets of two rows and more that share a hash, one after another; `rows` ascend.

    The last row of each bucket stands as its complement, below 0, so that buckets may be joined up.

    >>> buckets(np.array([7, 5, 7, 5, 5]), np.array([0, 1, 2, 3, 3])).tolist()
    [1, -4, 0, -3]
    """
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    first = np.r_[True, hashes[1:] != hashes[:-1]][: len(hashes)]
    new = first | np.r_[True, rows[1:] != rows[:-1]][: len(rows)]
    first, rows = first[new], rows[new]
    last = np.r_[first[1:], True][: len(first)]
    found: NDArray[np.int64] = np.where(last, ~rows, rows)[~(first & last)]
    return found


def unique_edges(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges, (k, 2), the smaller node first, each once, in order."""
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges = edges[order]
    new = np.ones(len(edges), np.bool_)
    new[1:] = (edges[1:] != edges[:-1]).any(axis=1)
    return edges[new]
