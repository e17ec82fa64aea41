"""MinHash against datasketch under the kernel's own shingle hash."""

import datasketch
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.duplicates.minhash import (
    band_hashes,
    bands_and_rows,
    minhash_signatures,
    shingle_hash,
)

texts = st.text(st.one_of(st.sampled_from(" aab中éก🐈"), st.characters(codec="utf-8")), max_size=25)


def char_shingles(text: str, ngram: int) -> set[bytes]:
    count = max(1, len(text) - ngram + 1) if text else 0
    return {text[i : i + ngram].encode() for i in range(count)}


def word_shingles(text: str, ngram: int) -> set[bytes]:
    words = [word for word in text.split(" ") if word]
    count = max(1, len(words) - ngram + 1) if words else 0
    return {" ".join(words[i : i + ngram]).encode() for i in range(count)}


def reference(shingles: set[bytes], *, num_perm: int, seed: int) -> list[int]:
    sketch = datasketch.MinHash(num_perm=num_perm, seed=seed, hashfunc=shingle_hash)
    sketch.update_batch(sorted(shingles))
    return [int(value) for value in sketch.hashvalues]


@given(content=st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_shingle_hash_is_xxh32(content: bytes) -> None:
    assert shingle_hash(content) == xxhash.xxh32_intdigest(content)


@given(
    captions=st.lists(st.none() | texts, min_size=1, max_size=6),
    ngram=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
    num_perm=st.sampled_from([1, 16, 128]),
)
@settings(max_examples=80, deadline=None)
def test_character_signatures_are_datasketchs(
    captions: list[str | None], ngram: int, seed: int, num_perm: int
) -> None:
    found = minhash_signatures(pa.array(captions), num_perm=num_perm, ngram=ngram, seed=seed)
    assert found.dtype == np.uint32
    assert found.tolist() == [
        reference(char_shingles(text or "", ngram), num_perm=num_perm, seed=seed)
        for text in captions
    ]


@given(
    captions=st.lists(st.text("  ab中", max_size=12), min_size=1, max_size=6),
    ngram=st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_word_signatures_are_datasketchs(captions: list[str], ngram: int) -> None:
    found = minhash_signatures(pa.array(captions), num_perm=32, ngram=ngram, unit="word")
    assert found.tolist() == [
        reference(word_shingles(text, ngram), num_perm=32, seed=1) for text in captions
    ]


def test_words_are_joined_by_one_space_whatever_stood_between_them() -> None:
    captions = pa.array(["red fox runs", " red  fox   runs "])
    one, other = minhash_signatures(captions, num_perm=64, ngram=2, unit="word")
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("unit", ["char", "word"])
def test_an_empty_caption_has_a_signature_of_ones(unit: str) -> None:
    found = minhash_signatures(pa.array(["", None]), num_perm=8, unit=unit)  # type: ignore[arg-type]
    assert found.tolist() == [[2**32 - 1] * 8] * 2


def test_a_caption_of_spaces_has_no_words() -> None:
    found = minhash_signatures(pa.array(["   "]), num_perm=8, unit="word")
    assert found.tolist() == [[2**32 - 1] * 8]


def test_signatures_of_slices_and_chunks_are_those_of_the_whole() -> None:
    captions = ["a red fox jumps", "", "a red fox jumped", None, "中文字幕很长很长"]
    whole = minhash_signatures(pa.array(captions))
    assert whole.shape == (5, 128)
    chunked = pa.chunked_array([["x", *captions[:2]], captions[2:]], pa.large_string()).slice(1)
    assert minhash_signatures(chunked).tolist() == whole.tolist()
    assert minhash_signatures(pa.array([], pa.string())).shape == (0, 128)


def test_equal_values_of_two_signatures_estimate_their_jaccard_similarity() -> None:
    one = "a red fox jumps over the lazy dog near the river bank in the morning light"
    other = one.replace("lazy dog", "sleepy cat").replace("morning", "evening")
    x, y = char_shingles(one, 5), char_shingles(other, 5)
    a, b = minhash_signatures(pa.array([one, other]), num_perm=2048)
    similarity = len(x & y) / len(x | y)
    assert 0.3 < similarity < 0.8
    assert abs((a == b).mean() - similarity) < 4 * np.sqrt(similarity * (1 - similarity) / 2048)


def _collision_cost(threshold: float, *, bands: int, rows: int) -> float:
    """One false positive to nine false negatives, integrated over the similarity by midpoints."""
    s = (np.arange(20_000) + 0.5) / 20_000
    found = 1 - (1 - s**rows) ** bands
    return float(np.where(s < threshold, 0.1 * found, 0.9 * (1 - found)).mean())


@pytest.mark.parametrize(
    ("threshold", "num_perm"), [(0.5, 64), (0.7, 128), (0.8, 128), (0.8, 16), (0.9, 128), (0.3, 8)]
)
def test_bands_and_rows_cost_least(threshold: float, num_perm: int) -> None:
    bands, rows = bands_and_rows(threshold, num_perm)
    assert bands * rows <= num_perm
    options = [(b, r) for b in range(1, num_perm + 1) for r in range(1, num_perm // b + 1)]
    cheapest = min(_collision_cost(threshold, bands=b, rows=r) for b, r in options)
    assert _collision_cost(threshold, bands=bands, rows=rows) <= cheapest + 1e-4


def test_few_pairs_at_the_threshold_are_missed() -> None:
    bands, rows = bands_and_rows(0.8, 128)
    assert 1 - (1 - 0.8**rows) ** bands > 0.85


@given(
    values=st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=8),
    shape=st.sampled_from([(3, 4), (4, 3), (12, 1), (1, 12), (2, 5)]),
)
@settings(max_examples=150, deadline=None)
def test_band_hashes_are_equal_where_the_bands_are(
    values: list[list[int]], shape: tuple[int, int]
) -> None:
    bands, rows = shape
    hashes = band_hashes(np.array(values, np.uint32), bands=bands, rows=rows)
    assert hashes.shape == (len(values), bands)
    cells = [
        ((band, tuple(row[band * rows : (band + 1) * rows])), int(hashes[i, band]))
        for i, row in enumerate(values)
        for band in range(bands)
    ]
    assert len({content for content, _ in cells}) == len({h for _, h in cells})
    assert len(set(cells)) == len({h for _, h in cells})


def test_band_hashes_do_not_depend_on_what_follows_the_bands() -> None:
    signatures = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]], np.uint32)
    one, other = band_hashes(signatures, bands=2, rows=2)
    assert one.tolist() == other.tolist()
    assert one[0] != one[1]
