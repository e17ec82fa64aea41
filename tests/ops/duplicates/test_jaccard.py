"""Jaccard against sets, edges against networkx, the common spelling against Python's own."""

import re
import unicodedata

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.duplicates.jaccard import jaccard, joining_edges, normalise_captions
from tests.ops.duplicates.test_minhash import char_shingles, texts


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Red-Fox,  RUNS!", "red fox runs"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
        ("  fine ﬁne\u00a0print ", "fine fine print"),
        ("E\u0301te\u0301 中文，字", "été 中文 字"),
        ("हिन्दी", "हिन्दी"),  # marks are part of the word
        ("!?", "!?"),
        ("🐈 🐈", "🐈 🐈"),
        ("", ""),
    ],
)
def test_a_normalised_caption(caption: str, expected: str) -> None:
    expected = unicodedata.normalize("NFKC", expected)
    assert normalise_captions(pa.array([caption])).to_pylist() == [expected]


@given(captions=st.lists(st.none() | texts, max_size=5))
@settings(max_examples=100, deadline=None)
def test_normalising_again_changes_nothing_and_leaves_words_alone(
    captions: list[str | None],
) -> None:
    once = normalise_captions(pa.chunked_array([captions], pa.string()))
    assert len(once) == len(captions)
    for caption, found in zip(captions, once.to_pylist(), strict=True):
        if caption is None:
            assert found is None
        elif caption.isascii():
            assert found == (" ".join(re.findall("[a-z0-9]+", caption.lower())) or caption)
    assert normalise_captions(once).to_pylist() == once.to_pylist()


def similarity(one: str, other: str, ngram: int) -> float:
    x, y = char_shingles(one, ngram), char_shingles(other, ngram)
    return len(x & y) / len(x | y) if x | y else 1.0


@given(one=texts, other=texts, ngram=st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_jaccard_is_that_of_the_shingle_sets(one: str, other: str, ngram: int) -> None:
    assert jaccard(one, other, ngram=ngram) == similarity(one, other, ngram)


def test_jaccard_exact() -> None:
    assert jaccard("abcdef", "abcdeg") == 1 / 3  # {abcde, bcdef} and {abcde, bcdeg}
    assert jaccard("", "") == jaccard("ab", "ab") == 1.0
    assert jaccard("ab", "") == jaccard("ab", "abc") == 0.0
    assert jaccard("aaaaaaaa", "aaaaa") == 1.0


@given(
    captions=st.lists(st.text("ab", max_size=7), min_size=1, max_size=9),
    edges=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=25),
    threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
    ngram=st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_joining_edges_are_true_and_connect_what_the_true_ones_connect(
    captions: list[str], edges: list[tuple[int, int]], threshold: float, ngram: int
) -> None:
    edges = [(i % len(captions), j % len(captions)) for i, j in edges]
    array = np.array(edges, np.int64).reshape(-1, 2)
    found = joining_edges(pa.array(captions), array, threshold=threshold, ngram=ngram)
    kept = [(int(i), int(j)) for i, j in found]
    true = [(i, j) for i, j in edges if similarity(captions[i], captions[j], ngram) >= threshold]
    assert set(kept) <= set(true)
    assert _connected(len(captions), kept) == _connected(len(captions), true)


def _connected(n: int, edges: list[tuple[int, int]]) -> set[frozenset[int]]:
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    return {frozenset(component) for component in nx.connected_components(graph)}


def test_joining_edges_of_a_slice_and_of_none() -> None:
    captions = pa.array(["x", "red fox", "red fox", "green"]).slice(1)
    found = joining_edges(captions, np.array([[0, 2], [0, 1]]), threshold=0.8)
    assert found.tolist() == [[0, 1]]
    assert joining_edges(captions, np.empty((0, 2), np.int64), threshold=0.8).shape == (0, 2)
