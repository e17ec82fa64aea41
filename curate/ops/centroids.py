"""Spherical k-means over unit vectors, and the nearest centroid of each, by faiss."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.ops.vectors import Vectors

_ITERATIONS = 20


def find_centroids(sample: Vectors, *, clusters: int, seed: int) -> Vectors:
    """Centroids of `sample` (n, width), unit vectors of shape (min(clusters, n), width).

    Twenty rounds of Lloyd's algorithm from rows drawn by `seed`; a centroid that loses all its rows
    is split off another. The same on any number of threads.
    """
    import faiss

    n, width = sample.shape
    k = min(clusters, n)
    if k == 0:
        return np.zeros((0, width), np.float32)
    kmeans = faiss.Kmeans(
        width, k, niter=_ITERATIONS, seed=seed & 0x7FFFFFFF, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=n,
    )  # fmt: skip
    kmeans.train(np.ascontiguousarray(sample, np.float32))
    return np.asarray(kmeans.centroids, np.float32).reshape(k, width)


def nearest(vectors: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """The number of the centroid with the highest cosine to each row, shape (n,), exactly."""
    import faiss

    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    _, found = index.search(np.ascontiguousarray(vectors, np.float32), 1)
    numbers: NDArray[np.int64] = found[:, 0]
    return numbers


def holding(target: Any, centroids: Vectors, *, block: int = 1 << 16) -> NDArray[np.bool_]:
    """Which centroids are the nearest one of some row of `target`, shape (len(centroids),)."""
    held = np.zeros(len(centroids), np.bool_)
    for start in range(0, len(target), block):
        held[nearest(target[start : start + block].astype(np.float32), centroids)] = True
    return held
