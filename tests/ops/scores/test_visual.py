"""Clusters of images: whitening against faiss's, numbers by size, what a revocation leaves."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from curate import files
from curate.errors import CurateError
from curate.ops.scores.centroids import find_centroids
from curate.ops.scores.vectors import unit
from curate.ops.scores.visual import FEW, VisualClusters, digest_of, read_clusters
from tests.ops.scores.test_centroids import planted


def test_whitened_vectors_are_those_of_faiss_but_for_their_signs() -> None:
    """faiss.PCAMatrix with eigen_power -0.5, then unit length; k-means over these."""
    random = np.random.default_rng(1)
    sample = unit(random.normal(size=(4_000, 16)) * np.linspace(1, 5, 16) + 0.5)
    ours = VisualClusters.find(sample, clusters=7, iterations=20, whiten=6, seed=3)
    pca = faiss.PCAMatrix(16, 6, -0.5)
    pca.train(sample)
    theirs = pca.apply(sample)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    placed = unit((sample - ours.mean) @ ours.axes)
    signs = np.sign((placed * theirs).sum(axis=0))
    assert np.abs(placed - signs * theirs).max() < 1e-3
    variance = ((sample - ours.mean) @ ours.axes).var(axis=0)
    assert variance == pytest.approx(np.ones(6), abs=1e-4)
    naive = find_centroids(placed, clusters=7, seed=3)
    at = np.array([int(np.argmax(naive @ row)) for row in placed])
    sizes = np.bincount(at)
    order = np.argsort(-sizes, kind="stable")
    assert ours.pairs.tolist() == sizes[order].tolist()
    assert ours.numbers(sample).tolist() == np.argsort(order)[at].tolist()


def test_planted_clusters_have_numbers_by_their_size() -> None:
    sample, label = planted(500, clusters=5)
    keep = np.concatenate([np.flatnonzero(label == k)[: 20 * (k + 1)] for k in range(5)])
    for whiten in (None, 4):
        clusters = VisualClusters.find(
            sample[keep], clusters=5, iterations=20, whiten=whiten, seed=1
        )
        numbers = clusters.numbers(sample)
        assert clusters.pairs.tolist() == np.bincount(label[keep]).tolist()[::-1]
        assert set(zip(label.tolist(), numbers.tolist(), strict=True)) == {
            (k, 4 - k) for k in range(5)
        }


def test_one_round_of_k_means_is_not_twenty() -> None:
    sample = unit(np.random.default_rng(0).normal(size=(3_000, 16)))
    one, more = (
        VisualClusters.find(sample, clusters=40, iterations=n, whiten=None, seed=1) for n in (1, 20)
    )
    assert one.pairs.tolist() != more.pairs.tolist()


@pytest.mark.parametrize("whiten", [None, 16])
def test_images_that_are_all_alike_and_fewer_than_clusters(whiten: int | None) -> None:
    alike = unit(np.ones((9, 16)))
    clusters = VisualClusters.find(alike, clusters=4, iterations=20, whiten=whiten, seed=3)
    assert len(clusters.centroids) == 4
    assert len(set(clusters.numbers(alike).tolist())) == 1
    few, _ = planted(3, clusters=3)
    clusters = VisualClusters.find(few, clusters=10, iterations=20, whiten=whiten, seed=3)
    assert sorted(clusters.numbers(few).tolist()) == [0, 1, 2]


def test_no_centroid_of_few_images_outlasts_a_revocation(tmp_path: Path) -> None:
    sample, label = planted(400, clusters=5)
    rare = np.flatnonzero(label == 4)
    sample, label = (np.delete(x, rare[FEW - 1 :], axis=0) for x in (sample, label))
    before = VisualClusters.find(sample, clusters=5, iterations=20, whiten=None, seed=3)
    assert before.pairs[-1] == FEW - 1
    left = before.forgetful()
    assert not left.centroids[4].any()
    assert left.centroids[:4].tobytes() == before.centroids[:4].tobytes()
    others = label != 4
    assert left.numbers(sample)[others].tolist() == before.numbers(sample)[others].tolist()
    assert 4 not in left.numbers(sample)
    none = VisualClusters.find(sample[:6], clusters=6, iterations=20, whiten=None, seed=3)
    assert none.forgetful().numbers(sample[:2]).tolist() == [-1, -1]
    url = str(tmp_path / "centroids.npz")
    left.write(url, digest="d")
    again = read_clusters(url)
    assert digest_of(url) == "d"
    assert again.numbers(sample).tolist() == left.numbers(sample).tolist()
    assert again.width == 16


def test_a_file_that_holds_no_clusters_is_named(tmp_path: Path) -> None:
    for name, content in (("a.npz", None), ("b.npz", b"text"), ("c.npy", None)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        elif name.endswith(".npz"):
            files.write_arrays(str(path), vectors=np.ones((2, 3)))
        else:
            np.save(path, np.ones((2, 3)))
        with pytest.raises(CurateError, match=name):
            read_clusters(str(path))
