"""Synonyms that share a concept, against sets of names in plain Python."""

import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.text.matching import Matcher

WORDS = ["cat", "kitten", "dog", "puppy", "red", "fox"]
PHRASES = [*WORDS, "red fox", "cat dog", "dog cat fox"]


@given(
    captions=st.lists(st.lists(st.sampled_from([*WORDS, "bird"]), max_size=8).map(" ".join)),
    ids=st.lists(st.integers(0, 4), min_size=len(PHRASES), max_size=len(PHRASES)),
)
@settings(max_examples=100, deadline=None)
def test_a_concept_counts_once_a_caption(captions: list[str], ids: list[int]) -> None:
    expected = [
        sorted({ids[i] for i, phrase in enumerate(PHRASES) if f" {phrase} " in f" {caption} "})
        for caption in captions
    ]
    matcher = Matcher(PHRASES, ids=ids)
    column = pa.array(captions, pa.string())
    for one in (matcher, pickle.loads(pickle.dumps(matcher))):
        assert one.match(column).to_pylist() == expected


def test_a_caption_of_many_concepts() -> None:
    entries = [f"w{i}" for i in range(20_000)]
    ids = [(i * 7919) % 10_000 for i in range(20_000)]
    matcher = Matcher(entries, ids=ids)
    found = matcher.match(pa.array(["w3", " ".join(entries), None, "w4 w10004"])).to_pylist()
    assert found == [[(3 * 7919) % 10_000], list(range(10_000)), [], [(4 * 7919) % 10_000]]


def test_entries_in_a_language_without_spaces() -> None:
    matcher = Matcher(["猫", "小猫", "狗"], no_space=True, ids=[1, 1, 0])
    assert matcher.match(pa.array(["一只小猫和狗", "猫"])).to_pylist() == [[0, 1], [1]]


def test_ids_of_another_length() -> None:
    with pytest.raises(ValueError, match="2 entries, but 1 ids"):
        Matcher(["a", "b"], ids=[0])


def test_nbytes_counts_the_ids() -> None:
    assert Matcher(["a", "b"], ids=[0, 0]).nbytes == Matcher(["a", "b"]).nbytes + 8
