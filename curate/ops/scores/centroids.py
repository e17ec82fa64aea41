"""Spherical k-means over unit vectors, by faiss, on a sample of a whole pool."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.ops.hashing import uniform
from curate.ops.scores.vectors import Stored, Vectors, nearest, unit
from curate.schema import Column

ITERATIONS = 20
"""Rounds of k-means, unless others are asked for."""


def save_sample(url: str, uids: Column, stored: Stored, *, share: float, seed: int) -> None:
    """Write one part's share of a sample of its rows, (n, width), as unit vectors in fp16.

    Rows are drawn by a hash of the uid, so the sample does not depend on the parts. Rows without an
    embedding are left out.
    """
    drawn = np.flatnonzero(uniform(uids, seed=seed) < share)
    vectors = unit(stored[drawn])
    known = vectors.any(axis=1)
    names = np.array(uids.take(pa.array(drawn[known])).to_pylist(), "S32")
    files.write_arrays(url, uid=names, vectors=vectors[known].astype(np.float16))


def read_sample(urls: Iterable[str]) -> Vectors:
    """The sample of all parts, by uid: the same however the pool is split into parts."""
    names, vectors = [], []
    for url in urls:
        found = files.read_arrays(url)
        if len(found["uid"]):
            names.append(found["uid"])
            vectors.append(found["vectors"])
    if not names:
        return np.zeros((0, 0), np.float32)
    order = np.argsort(np.concatenate(names), kind="stable")
    return np.concatenate(vectors)[order].astype(np.float32)


def find_centroids(
    sample: Vectors, *, clusters: int, seed: int, iterations: int = ITERATIONS
) -> Vectors:
    """Centroids of `sample` (n, width), unit vectors of shape (min(clusters, n), width).

    Rounds of Lloyd's algorithm from rows drawn by `seed`; a centroid that loses all its rows is split
    off another. The same on any number of threads.
    """
    import faiss

    n, width = sample.shape
    k = min(clusters, n)
    if k == 0:
        return np.zeros((0, width), np.float32)
    kmeans = faiss.Kmeans(
        width, k, niter=iterations, seed=seed & 0x7FFFFFFF, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=n,
    )  # fmt: skip
    kmeans.train(np.ascontiguousarray(sample, np.float32))
    return np.asarray(kmeans.centroids, np.float32).reshape(k, width)


def holding(target: Stored, centroids: Vectors, *, block: int = 1 << 16) -> NDArray[np.bool_]:
    """Which centroids are the nearest one of some row of `target`, shape (len(centroids),)."""
    held = np.zeros(len(centroids), np.bool_)
    for start in range(0, len(target), block):
        held[nearest(unit(target[start : start + block]), centroids)[0]] = True
    return held
