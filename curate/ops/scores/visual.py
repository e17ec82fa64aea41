"""Clusters of images by their embeddings: a whitening, if asked for, and the centroids of k-means.

They are found on a sample of the pool and numbered from 0, those first that hold most of the sample.
The centroids are files of a run, which another run can take: the numbers mean the same there.
"""

import zipfile
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curate import files
from curate.errors import CurateError
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.vectors import Vectors, nearest, unit

FEW = 16
"""A centroid of fewer images tells too much of one of them to outlast a revocation."""
_LEAST = 1e-7
"""The least variance, as a share of the largest, of an axis that is whitened: below is rounding."""
_BLOCK = 1 << 14


@dataclass(frozen=True)
class VisualClusters:
    """Centroids, and what is done to an embedding before it is compared with them."""

    centroids: Vectors  # (k, m) unit vectors; a row of zeros is a centroid that was forgotten
    pairs: NDArray[np.int64]  # (k,) of the sample, in each
    mean: NDArray[np.float64]  # (width,)
    axes: NDArray[np.float64]  # (width, m); (width, 0) where nothing is whitened

    @classmethod
    def find(
        cls, sample: Vectors, *, clusters: int, iterations: int, whiten: int | None, seed: int
    ) -> "VisualClusters":
        """Those of `sample`, (n, width) unit vectors with at least one row.

        With `whiten`, the vectors are projected on that many principal components, each scaled to
        variance 1, and scaled to length 1 again; components without variance are left out. There are
        min(clusters, n) centroids.
        """
        mean, axes = _whitening(sample, whiten) if whiten else _as_they_are(sample)
        found = cls(np.zeros((0, 0), np.float32), np.zeros(0, np.int64), mean, axes)
        with threadpool_limits(1):
            vectors = found._placed(sample)
        centroids = find_centroids(vectors, clusters=clusters, seed=seed, iterations=iterations)
        pairs = np.bincount(nearest(vectors, centroids)[0], minlength=len(centroids))
        order = np.argsort(-pairs, kind="stable")
        return replace(found, centroids=centroids[order], pairs=pairs[order].astype(np.int64))

    def numbers(self, vectors: Vectors) -> NDArray[np.int32]:
        """The cluster of each row of `vectors`, (n, width) unit vectors; -1 where none is left."""
        there = np.flatnonzero(self.centroids.any(axis=1))
        if not len(there):
            return np.full(len(vectors), -1, np.int32)
        with threadpool_limits(1):
            placed = self._placed(vectors)
        at: NDArray[np.int32] = there[nearest(placed, self.centroids[there])[0]].astype(np.int32)
        return at

    @property
    def width(self) -> int:
        """Length of the embeddings that they are of."""
        return len(self.mean)

    def forgetful(self) -> "VisualClusters":
        """Without the centroids of fewer than `FEW` images; the others keep their numbers."""
        kept = (self.pairs >= FEW)[:, None]
        return replace(self, centroids=np.where(kept, self.centroids, np.float32(0)))

    def write(self, url: str, *, digest: str) -> None:
        """Write them to an ``.npz``; `digest` says what they were found of."""
        files.write_arrays(
            url, centroids=self.centroids, pairs=self.pairs, mean=self.mean, axes=self.axes,
            digest=np.array(digest),
        )  # fmt: skip

    def _placed(self, vectors: Vectors) -> Vectors:
        """The vectors in the space of the centroids, unit vectors (n, m)."""
        if not self.axes.shape[1]:
            return vectors
        blocks = [np.zeros((0, self.axes.shape[1]), np.float32)]
        for start in range(0, len(vectors), _BLOCK):
            rows = vectors[start : start + _BLOCK].astype(np.float64) - self.mean
            blocks.append(unit(rows @ self.axes))
        return np.concatenate(blocks)


def read_clusters(url: str) -> VisualClusters:
    """The clusters in a file.

    Raises
    ------
    CurateError
        Where it is no file of clusters.
    """
    try:
        found = files.read_arrays(url)
        names = ("centroids", "pairs", "mean", "axes")
        centroids, pairs, mean, axes = (found[name] for name in names)
    except (KeyError, ValueError, TypeError):
        raise _none_of_clusters(url) from None
    if centroids.ndim != 2 or axes.shape[:1] != mean.shape or pairs.shape != (len(centroids),):
        raise _none_of_clusters(url)
    return VisualClusters(centroids, pairs, mean, axes)


def digest_of(url: str) -> str:
    """What `VisualClusters.write` noted in a file, which is not read as a whole.

    Raises
    ------
    CurateError
        Where it is no file of clusters.
    """
    try:
        with files.open_read(url) as file, np.load(file) as found:
            return str(found["digest"])
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile):
        raise _none_of_clusters(url) from None


def _none_of_clusters(url: str) -> CurateError:
    return CurateError(
        f"{url}: not a file of clusters; a run with score.visual_cluster writes one, as"
        " annotated/score/visual_cluster/centroids.npz"
    )


def _as_they_are(sample: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = sample.shape[1]
    return np.zeros(width), np.zeros((width, 0))


def _whitening(sample: Vectors, components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean, and the first principal components, each over its standard deviation.

    Signs are such that the largest value of a component is positive.
    """
    n, width = sample.shape
    mean = sample.mean(axis=0, dtype=np.float64)
    moments = np.zeros((width, width))
    with threadpool_limits(1):
        for start in range(0, n, _BLOCK):
            rows = sample[start : start + _BLOCK].astype(np.float64) - mean
            moments += rows.T @ rows
        values, vectors = np.linalg.eigh(moments / n)
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    held = values > _LEAST * values[0]
    if values[0] <= _LEAST:
        held[:] = False  # one image again and again: nothing to whiten
    axes = vectors[:, held]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return mean, axes / np.sqrt(values[held])
