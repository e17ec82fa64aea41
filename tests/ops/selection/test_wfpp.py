"""Word-frequency pruning against its definition over dictionaries, and CLIP's pattern for words."""

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import regex  # type: ignore[import-untyped]
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.selection.wfpp import (
    FEWEST,
    LONGEST,
    WordCounts,
    WordWeights,
    count_words,
    sum_counts,
    word_scores,
    word_weights,
)

PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
POOL = (
    ["a dog's life"] * 7 + ["the cat, 2019"] * 5 + ["A rare ocelot"] * 2 + ["THE   dog\u00a0!?"] * 9
)


def words(caption: str | None) -> list[str]:
    found: list[str] = PATTERN.findall(" ".join((caption or "").split()).lower())
    return found


def naive_weights(captions: list[str], threshold: float) -> dict[str, float]:
    counts = Counter(word for caption in captions for word in words(caption))
    often = {word: n for word, n in counts.items() if n >= 5}
    total = sum(often.values())
    return {word: 1 - math.sqrt(threshold / (n / total)) for word, n in often.items()}


def naive_score(caption: str | None, weights: dict[str, float]) -> float:
    first = words(caption)[:30]
    factors = [weights.get(word, 1) for word in first]
    factors = [1 if factor < 0 else factor for factor in factors]
    return (1 - math.prod(factors)) / len(factors) if factors else 0.0


def hashed(word: str) -> int:
    return xxhash.xxh64_intdigest(word.encode())


def as_dict(counts: WordCounts | WordWeights) -> dict[int, Any]:
    return dict(zip(counts[0].tolist(), counts[1].tolist(), strict=True))


def of(captions: list[str | None]) -> Any:
    return pa.array(captions, pa.string())


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Don't stop, it's 2010!?", ["don", "'t", "stop", ",", "it", "'s", "2", "0", "1", "0", "!?"]),
        ("we'll you're I've I'm he'd", ["we", "'ll", "you", "'re", "i", "'ve", "i", "'m", "he", "'d"]),
        ("'super ,'s 'r 'l '", ["'s", "uper", ",'", "s", "'", "r", "'", "l", "'"]),
        ("ÉCOLE naïve e\u0301", ["école", "naïve", "e", "\u0301"]),
        ("二匹の猫 ๓ ½x", ["二匹の猫", "๓", "½", "x"]),
        ("🦊🦊 fox—dog", ["🦊🦊", "fox", "—", "dog"]),
        ("\u3000a\u00a0b\u2003c", ["a", "b", "c"]), ("", []), (" \t ", []),
    ],
)  # fmt: skip
def test_words_are_those_of_clip(caption: str, expected: list[str]) -> None:
    assert words(caption) == expected
    assert as_dict(count_words(of([caption]))) == Counter(hashed(word) for word in expected)


texts = st.text(
    st.sampled_from("aAéßж猫๓7½🦊'streldvm ,.!\u00a0\u0301\u3000'")
    | st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="ſİΣ"),  # odd in their case
    max_size=40,
)


@given(captions=st.lists(texts, max_size=6), cut=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_any_text_is_counted_as_the_pattern_counts_it(captions: list[str], cut: int) -> None:
    expected = Counter(hashed(word) for caption in captions[cut:] for word in words(caption))
    assert as_dict(count_words(of(list(captions)).slice(cut))) == expected


def test_nulls_chunks_and_large_strings() -> None:
    column = pa.chunked_array([of(["a b", None]), of(["b"])])
    expected = {hashed("a"): 1, hashed("b"): 2}
    assert as_dict(count_words(column)) == expected
    assert as_dict(count_words(column.cast(pa.large_string()))) == expected
    assert as_dict(count_words(of([]))) == {}


@given(st.lists(st.lists(st.sampled_from(POOL), max_size=5), max_size=5))
@settings(max_examples=50, deadline=None)
def test_counts_add_up(pools: list[list[str]]) -> None:
    expected = Counter(hashed(word) for pool in pools for c in pool for word in words(c))
    found = sum_counts([count_words(of(list(pool))) for pool in pools])
    assert as_dict(found) == expected
    assert (np.diff(found.words.astype(object)) > 0).all()
    assert found.counts.dtype == np.int64


@pytest.mark.parametrize("threshold", [1e-7, 0.03, 0.3])
def test_weights_by_the_formula(threshold: float) -> None:
    expected = naive_weights(POOL, threshold)
    assert "ocelot" not in expected
    assert {expected[word] > 0 for word in expected} == {0.03: {True}, 1e-7: {True}}.get(
        threshold, {False}
    )
    found = as_dict(word_weights(count_words(of(list(POOL))), threshold=threshold))
    assert found == pytest.approx({hashed(w): x for w, x in expected.items() if x >= 0})


def test_weights_exact() -> None:
    counts = WordCounts(np.array([3, 5, 9], np.uint64), np.array([4, 75, 25]))
    assert (FEWEST, LONGEST) == (5, 30)
    assert as_dict(word_weights(counts, threshold=0.1875)) == {
        5: 0.5,
        9: pytest.approx(1 - 0.75**0.5),
    }
    assert as_dict(word_weights(counts, threshold=0.27)) == {5: pytest.approx(0.4)}
    assert as_dict(word_weights(sum_counts([]), threshold=0.1)) == {}


@pytest.mark.parametrize("threshold", [1e-7, 0.01, 0.03, 0.1])
def test_scores_by_the_definition(threshold: float) -> None:
    draw = random.Random(5)
    vocabulary = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(400)]
    share = [1 / (i + 1) for i in range(400)]
    captions: list[Any] = [
        " ".join(draw.choices(vocabulary, share, k=draw.randint(1, 45))) for _ in range(500)
    ] + ["", None, "unseen", *POOL]
    weights = naive_weights([c or "" for c in captions], threshold)
    expected = [naive_score(caption, weights) for caption in captions]
    assert len(set(expected)) > 100
    found = word_scores(of(captions), word_weights(count_words(of(captions)), threshold=threshold))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_scores_exact() -> None:
    pairs = sorted([(hashed("a"), 0.5), (hashed("b"), 0.25)])
    weights = WordWeights(
        np.array([x for x, _ in pairs], np.uint64), np.array([x for _, x in pairs])
    )
    captions = ["a", "A b", "a x", "x", "", None, "x " * 29 + "a b", "x " * 30 + "a"]
    assert word_scores(of(captions), weights).tolist() == [
        0.5, 0.4375, 0.25, 0.0, 0.0, 0.0, 0.5 / 30, 0.0,
    ]  # fmt: skip
