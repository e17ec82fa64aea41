"""Spherical k-means over unit vectors, by faiss, of a sample that a whole pool gives."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate import files
from curate.ops.vectors import Vectors, nearest, unit

_ITERATIONS = 20


def save_sample(url: str, uids: Any, vectors: Vectors) -> None:
    """Write what one part gives to the sample: its uids and their unit vectors, (n, width)."""
    names = np.array(uids.to_pylist(), "S32")
    with files.atomic_write(url) as file:
        np.savez(file, uid=names, vectors=vectors.astype(np.float16))


def read_sample(urls: Iterable[str]) -> Vectors:
    """The sample of all parts, by uid: the same for any cut of the pool into parts."""
    names, vectors = [], []
    for url in urls:
        with files.open_read(url) as file, np.load(file) as found:
            if len(found["uid"]):
                names.append(found["uid"])
                vectors.append(found["vectors"])
    if not names:
        return np.zeros((0, 0), np.float32)
    order = np.argsort(np.concatenate(names), kind="stable")
    return np.concatenate(vectors)[order].astype(np.float32)


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


def holding(target: Any, centroids: Vectors, *, block: int = 1 << 16) -> NDArray[np.bool_]:
    """Which centroids are the nearest one of some row of `target`, shape (len(centroids),)."""
    held = np.zeros(len(centroids), np.bool_)
    for start in range(0, len(target), block):
        held[nearest(unit(target[start : start + block]), centroids)[0]] = True
    return held
