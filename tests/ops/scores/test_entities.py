"""Entries that images show, against loops in plain Python over double precision."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from curate.errors import DamagedError
from curate.ops.scores import entities
from curate.ops.scores.entities import BLOCK, Entities, EntryVectors, mapped, similarities

WIDTH = 24


def stand(folder: Path, vectors: NDArray[np.float16]) -> EntryVectors:
    """The vectors of entries, in files of `BLOCK` rows."""
    urls = []
    for nth, first in enumerate(range(0, len(vectors), BLOCK)):
        urls.append(str(folder / f"{nth:05}.npy"))
        np.save(urls[-1], vectors[first : first + BLOCK])
    return EntryVectors(tuple(urls))


def cosine(one: NDArray[np.float16], other: NDArray[np.float16]) -> float:
    a, b = one.astype(float), other.astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_the_cosine_of_each_match_and_its_pairs_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    n, of_list = 300, 2 * BLOCK + 100
    texts = random.normal(size=(of_list, WIDTH)).astype(np.float16)
    images = random.normal(size=(n, WIDTH)).astype(np.float16)
    images[7] = np.nan
    matches = [sorted(random.choice(of_list, k, replace=False).tolist())
               for k in random.integers(0, 6, n)]  # fmt: skip
    matches[7], matches[8], matches[9] = [0, of_list - 1], [BLOCK - 1, BLOCK, 2 * BLOCK], []
    standing = stand(tmp_path, texts)
    found = similarities(matches, images, standing)
    expected = [
        np.nan if row == 7 else cosine(texts[id_], images[row])
        for row, ids in enumerate(matches) for id_ in ids
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr(entities, "_ROWS", 7)
    assert similarities(matches, images, standing).tobytes() == found.tobytes()
    some = slice(100, 200)
    alone = similarities(matches[some], images[some], standing)
    first = sum(map(len, matches[:100]))
    assert alone.tobytes() == found[first : first + len(alone)].tobytes()

    least = 0.1
    seen = Entities(least).seen(matches, found).to_pylist()
    at = iter(found.tolist())
    assert seen == [
        None if row == 7 else ids
        for row, ids in enumerate([x for x in ids if next(at) >= least] for ids in matches)
    ]
    assert Entities(-1.0).seen(matches, found).to_pylist() == [
        None if row == 7 else ids for row, ids in enumerate(matches)
    ]


def test_pairs_without_matches_and_parts_without_embeddings() -> None:
    nothing = EntryVectors(())
    none = np.zeros((0, 0), np.float16)
    assert len(similarities(pa.array([], pa.list_(pa.int32())), none, nothing)) == 0
    found = similarities([[], None], np.ones((2, 4), np.float16), nothing)
    assert Entities(0.2).seen([[], None], found).to_pylist() == [[], []]


def test_images_without_any_embedding_show_nothing(tmp_path: Path) -> None:
    standing = stand(tmp_path, np.ones((3, WIDTH), np.float16))
    found = similarities([[0], [1, 2]], np.zeros((2, 0), np.float16), standing)
    assert np.isnan(found).all()
    assert Entities(0.2).seen([[0], [1, 2]], found).to_pylist() == [None, None]


def test_a_file_of_vectors_that_is_cut_off_is_named(tmp_path: Path) -> None:
    standing = stand(tmp_path, np.ones((30, WIDTH), np.float16))
    path = Path(standing.urls[0])
    path.write_bytes(path.read_bytes()[:-10])
    mapped.cache_clear()
    with pytest.raises(DamagedError, match=f"{path} is damaged"):
        similarities([[0]], np.ones((1, WIDTH), np.float16), standing)
