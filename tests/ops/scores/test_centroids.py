"""k-means over unit vectors: planted clusters are found, on any number of threads alike."""

from typing import Any

import faiss
import numpy as np
import pytest

from curate.ops.scores.centroids import find_centroids, holding
from curate.ops.scores.vectors import nearest, unit


def planted(n: int, *, clusters: int, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    centres = unit(np.eye(clusters, 16))
    label = random.integers(clusters, size=n)
    return unit(centres[label] + 0.05 * random.normal(size=(n, 16))), label


def test_planted_clusters_are_found() -> None:
    vectors, label = planted(400, clusters=4)
    found, _ = nearest(vectors, find_centroids(vectors, clusters=4, seed=2))
    pairs = set(zip(label.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 4
    assert {a for a, _ in pairs} == {b for _, b in pairs} == set(range(4))


def test_the_same_bits_on_one_thread_and_two() -> None:
    vectors, _ = planted(3000, clusters=9)
    threads = faiss.omp_get_max_threads()
    found = []
    try:
        for n in (1, 2):
            faiss.omp_set_num_threads(n)
            found.append(find_centroids(vectors, clusters=60, seed=7))
    finally:
        faiss.omp_set_num_threads(threads)
    assert found[0].tobytes() == found[1].tobytes()
    assert found[0].tobytes() != find_centroids(vectors, clusters=60, seed=8).tobytes()


def test_centroids_are_unit_vectors_and_no_more_than_the_sample_has_rows() -> None:
    vectors, _ = planted(5, clusters=3)
    found = find_centroids(vectors, clusters=100, seed=1)
    assert found.shape == (5, 16)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert find_centroids(vectors[:0], clusters=3, seed=1).shape == (0, 16)


def test_centroids_that_hold_a_target_against_the_definition() -> None:
    random = np.random.default_rng(3)
    centroids, target = (unit(random.normal(size=(n, 8))) for n in (40, 25))
    held = holding(target.astype(np.float16), centroids, block=7)
    expected = {int(np.argmax([float(c @ t) for c in centroids])) for t in target}
    assert set(np.flatnonzero(held).tolist()) == expected
