"""Clusters of duplicates: connected components, and the member of each that survives."""

from typing import Any

import numba as nb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_ALL_PAIRS = 64


def components(left: NDArray[Any], right: NDArray[Any], *, n: int) -> NDArray[np.int32]:
    """A label for each of `n` nodes, equal where edges ``left[k] - right[k]`` connect them."""
    graph = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(n, n))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels


@nb.njit(cache=True, nogil=True)
def _bucket_pairs(hashes: Any, rows: Any, exact: bool, out: Any) -> int:
    """Write the edges of each bucket of the sorted `hashes` to `out`, if it has room; how many."""
    fill = len(out) > 0
    n = start = 0
    while start < len(hashes):
        stop = start + 1
        while stop < len(hashes) and hashes[stop] == hashes[start]:
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
    hashes: NDArray[np.uint64], rows: NDArray[np.int64], *, exact: bool
) -> NDArray[np.int64]:
    """Edges between rows that share a hash, shape (k, 2), the smaller row first.

    For an `exact` key each row is joined to the first of its bucket. Else every pair of a bucket is
    a candidate; buckets of more than 64 rows give each row's pairs with the first and the next.
    """
    order = np.lexsort((rows, hashes))
    hashes, rows = hashes[order], rows[order]
    edges = np.empty((_bucket_pairs(hashes, rows, exact, np.empty((0, 2), np.int64)), 2), np.int64)
    _bucket_pairs(hashes, rows, exact, edges)
    return edges


def unique_edges(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges between positions below 2**32, each once, without loops, ordered, shape (k, 2)."""
    left, right = edges.min(axis=1), edges.max(axis=1)
    packed = np.unique(((left << 32) | right)[left != right])
    return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1)


def rank(candidates: pa.Table) -> NDArray[np.int64]:
    """Place of each candidate in the survivor order, shape (n,), 0 first.

    Larger image (pixels of the original), then longer caption, then smaller uid, then earlier row.
    """
    table = candidates.append_column("position", pa.array(np.arange(len(candidates))))
    keys = [("pixels", "descending"), ("caption_chars", "descending"), ("uid", "ascending")]
    order = table.sort_by([*keys, ("position", "ascending")])["position"].to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place


def absorb(
    survivor: NDArray[np.int64],
    left: NDArray[Any],
    right: NDArray[Any],
    *,
    place: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Join clusters along edges, in place; which nodes stop being survivors, shape (n,).

    `survivor[i]` is the node that stands for node i, itself at first. Only edges between nodes that
    still survive count; of each component of them the node that is first in `place` stays.
    """
    n = len(survivor)
    alive = survivor == np.arange(n)
    both = alive[left] & alive[right]
    labels = components(left[both], right[both], n=n)
    best = np.full(int(labels.max(initial=-1)) + 1, n, np.int64)
    np.minimum.at(best, labels, place)
    by_place = np.empty(n, np.int64)
    by_place[place] = np.arange(n)
    chosen = np.where(alive, by_place[best[labels]], survivor)
    survivor[:] = chosen[chosen]
    gone: NDArray[np.bool_] = alive & (chosen != np.arange(n))
    return gone


def contract(
    equal: NDArray[np.int64], near: NDArray[np.int64], *, alive: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Edges among the `alive` nodes alone that say what `equal` and `near` edges say, shape (k, 2).

    Nodes joined by `equal` edges are the same thing, so a `near` edge of one holds for all of them,
    even where that one is no longer alive. A class without a living node has no edges.
    """
    n = len(alive)
    labels = components(equal[:, 0], equal[:, 1], n=n)
    living = np.flatnonzero(alive)
    head = np.full(n, -1, np.int64)
    head[labels[living[::-1]]] = living[::-1]
    within = np.stack([head[labels[living]], living], axis=1)
    across = head[labels[near]]
    edges = np.concatenate([within, across[(across >= 0).all(axis=1)]])
    return unique_edges(edges)
