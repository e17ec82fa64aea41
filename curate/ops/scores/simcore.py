"""SimCore: the coreset of a pool's images nearest to a target set, selected round by round.

Source: Kim, Bae and Yun, Coreset Sampling from Open-Set for Fine-Grained Self-Supervised Learning
(arXiv 2303.11101), section 3. The target set is represented by the k-means centroids X of its
embeddings, and the coreset S is to maximise
``f(S) = mean over x in X of max over s in S of cos(x, s)``. In each round every centroid selects the
nearest of the images that were left when the round began, so several may select the same one. Ties go
to the image that comes first in the pool.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.ops.scores.vectors import Vectors


@dataclass(frozen=True)
class Candidates:
    """The images nearest to each centroid, nearest first; shapes (centroids, n).

    They suffice for a coreset of at most n images.
    """

    cosines: NDArray[np.float32]
    numbers: NDArray[np.int64]  # of the images in the pool

    @classmethod
    def none(cls, centroids: int) -> "Candidates":
        """No images, yet."""
        shape = (centroids, 0)
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.int64))

    def among(
        self, cosines: NDArray[np.float32], numbers: NDArray[np.int64], *, keep: int
    ) -> "Candidates":
        """The nearest `keep` of these and of further ones, both of shape (centroids, m)."""
        cosines = np.concatenate([self.cosines, cosines], axis=1)
        numbers = np.concatenate([self.numbers, numbers], axis=1)
        order = np.lexsort((numbers, -cosines))[:, :keep]
        return Candidates(
            np.take_along_axis(cosines, order, axis=1), np.take_along_axis(numbers, order, axis=1)
        )

    def with_images(
        self, vectors: Vectors, numbers: NDArray[np.int64], centroids: Vectors, *, keep: int
    ) -> "Candidates":
        """The nearest `keep` of these and of more images, (m, width) unit vectors."""
        cosines = centroids @ vectors.T
        if self.cosines.shape[1] == keep:
            near = (cosines >= self.cosines[:, -1:]).any(axis=0)
            cosines, numbers = cosines[:, near], numbers[near]
        return self.among(cosines, np.broadcast_to(numbers, cosines.shape), keep=keep)


def rounds_of(
    candidates: Candidates, *, keep: int, tau: float | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The numbers of the selected images, ascending, and the round of each, from 1.

    At most `keep` are selected; of the last round those nearest to a centroid. With `tau` it ends
    before the first round whose mean cosine over the centroids is below `tau` times that of round 1.
    `candidates` has `keep` images a centroid, or all of the pool.
    """
    names, places = np.unique(candidates.numbers, return_inverse=True)
    places = places.reshape(candidates.numbers.shape)
    rounds = np.zeros(len(names), np.int32)
    keep = min(keep, len(names))
    centroids = np.arange(len(places))
    at = np.zeros(len(places), np.int64)
    taken, number, first = 0, 0, 0.0
    while taken < keep:
        passed = rounds[places[centroids, at]] > 0
        while passed.any():
            at += passed
            passed = rounds[places[centroids, at]] > 0
        cosines = candidates.cosines[centroids, at]
        mean = float(cosines.mean(dtype=np.float64))
        number += 1
        if number == 1:
            first = mean
        elif tau is not None and mean < tau * first:
            break
        asked = places[centroids, at]
        asked = asked[np.lexsort((asked, -cosines))]
        chosen = asked[np.sort(np.unique(asked, return_index=True)[1])][: keep - taken]
        rounds[chosen] = number
        taken += len(chosen)
    return names[rounds > 0], rounds[rounds > 0]
