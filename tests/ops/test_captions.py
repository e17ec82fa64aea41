"""Choosing and drawing captions against the definitions, written naively, a pair at a time."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.loading import draw_caption
from curate.ops import captions as ops
from curate.ops.captions import Choice
from curate.ops.hashing import uniform

SOURCES = ("original", "recap", "title")
CAPTION = st.tuples(
    st.integers(0, 2), st.booleans(), st.one_of(st.none(), st.floats(-1, 1, width=32))
)
PAIR = st.lists(CAPTION, max_size=4).map(lambda x: [(0, True, 0.5), *x])
WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 2.0]), min_size=3, max_size=3)


def naive_shares(pair: list[tuple[int, bool, Any]], weights: list[float]) -> list[float]:
    """Those that stay share the weights of their sources; if these are all 0, alike."""
    alike = Counter(source for source, stays, _ in pair if stays)
    given = [weights[s] / alike[s] if stays else 0.0 for s, stays, _ in pair]
    if not sum(given):
        return [stays / max(sum(alike.values()), 1) for _, stays, _ in pair]
    return [x / sum(given) for x in given]


def listed(pairs: list[list[tuple[int, bool, Any]]], shares: list[list[float]]) -> pa.Array:
    flat = [one for pair in pairs for one in pair]
    starts = np.cumsum([0, *map(len, pairs)])
    columns = {
        "source": pa.array([SOURCES[s] for s, _, _ in flat]),
        "caption": pa.array([f"caption {i}" for i in range(len(flat))]),
        "weight": pa.array([x for one in shares for x in one]),
        "score": pa.array([x for _, _, x in flat], pa.float32()),
        "reason": pa.array([None if stays else "language" for _, stays, _ in flat], pa.string()),
    }
    return ops.listed(columns, starts)


@given(pairs=st.lists(PAIR, max_size=8), weights=WEIGHTS, seed=st.integers(0, 99))
def test_as_defined(
    pairs: list[list[tuple[int, bool, Any]]], weights: list[float], seed: int
) -> None:
    flat = [one for pair in pairs for one in pair]
    starts = np.cumsum([0, *map(len, pairs)])
    stays = np.array([x for _, x, _ in flat], bool)
    of = ops.pairs_of(starts)
    found = ops.weights(
        np.array([s for s, _, _ in flat], np.int64), of, stays, of=np.array(weights)
    )
    expected = [naive_shares(pair, weights) for pair in pairs]
    assert np.allclose(found, [x for one in expected for x in one])
    column = listed(pairs, expected)
    uids = pa.array([f"{i:032x}" for i in range(len(pairs))], pa.string())
    drawn = ops.chosen(column, uids, Choice("draw", "clip_score", seed))
    first = ops.chosen(column, uids, Choice("all", "clip_score", seed))
    for k, (pair, shares) in enumerate(zip(pairs, expected, strict=True)):
        at, reached, place = ops.draws([uids[k].as_py()], seed=seed)[0], 0.0, 0
        for i, share in enumerate(shares):
            place, reached = (i if share else place), reached + share
            if at < reached:
                break
        assert drawn[k] == place
        assert pair[drawn[k]][1], "what is drawn was not left out"
        assert first[k] == next(i for i, (_, one, _) in enumerate(pair) if one)
    scores = np.array([math.nan if x is None else x for _, _, x in flat])
    for k, place in enumerate(ops.best(scores, starts)):
        known = [(x, -i) for i, (_, _, x) in enumerate(pairs[k]) if x is not None]
        assert place == (-max(known)[1] if known else 0)
    written = ops.written(column).to_pylist()
    for pair, row in zip(pairs, written, strict=True):
        assert [x["source"] for x in row] == [SOURCES[s] for s, one, _ in pair if one]


def test_draws_come_as_often_as_they_weigh_and_say_nothing_of_the_balance() -> None:
    uids = [f"{i:032x}" for i in range(20_000)]
    one = [(0, True, None), (1, True, None), (2, True, None)]
    shares = naive_shares(one, [0.3, 0.5, 0.2])
    column = listed([one] * len(uids), [shares] * len(uids))
    found = ops.chosen(column, pa.array(uids), Choice("draw", "clip_score", 7))
    assert np.allclose(np.bincount(found) / len(uids), shares, atol=0.01)
    kept = uniform(uids, seed=7) < 0.5
    assert np.allclose(np.bincount(found[kept]) / kept.sum(), shares, atol=0.02)


def sample(number: int, *captions: tuple[str, str, float]) -> dict[str, Any]:
    known = [{"source": s, "caption": text, "score": None, "weight": w} for s, text, w in captions]
    row = {"uid": f"{number:032x}", "key": f"{number:05d}", "caption": "chosen", "captions": known}
    return {"__key__": row["key"], "json": row, "txt": b"chosen"}


REWRITES = [("original", "a dog on sand", 0.2), ("r1", "A dog at the sea", 0.2), ("r2", "Dog", 0.2),
            ("r3", "dog, sand and sea", 0.2), ("r4", "The beach of a dog", 0.2)]  # fmt: skip


def test_laclip_counts_a_rewrite_of_one_word_as_the_original() -> None:
    samples = [sample(i, *REWRITES) for i in range(5_000)]
    counts = Counter(
        x["txt"] for epoch in range(4) for x in draw_caption("laclip", epoch=epoch)(samples)
    )
    assert b"Dog" not in counts
    assert counts[b"a dog on sand"] / 20_000 == pytest.approx(2 / 5, abs=0.015)
    for text in (b"A dog at the sea", b"dog, sand and sea", b"The beach of a dog"):
        assert counts[text] / 20_000 == pytest.approx(1 / 5, abs=0.012)


def test_original_and_enriched_take_turns() -> None:
    pair = [("original", "a dog", 0.5), ("veclip", "a dog on the sand of a beach", 0.5)]
    samples = [sample(i, *pair) for i in range(200)]
    told = [[x["txt"] for x in draw_caption("turns", epoch=e)(samples)] for e in range(4)]
    assert told[0] == told[2] != told[1] == told[3]
    assert all({a, b} == {b"a dog", pair[1][1].encode()} for a, b in zip(*told[:2], strict=True))
    assert 60 < told[0].count(b"a dog") < 140, "both in each epoch"


def test_by_weight_again_each_epoch() -> None:
    samples = [sample(i, ("original", "a", 0.25), ("recap", "b", 0.75)) for i in range(4_000)]
    epochs = [[x["txt"] for x in draw_caption(epoch=e, seed=3)(samples)] for e in range(2)]
    assert epochs[0] != epochs[1]
    assert all(told.count(b"a") / 4_000 == pytest.approx(0.25, abs=0.025) for told in epochs)
    only = draw_caption(weights={"recap": 1}, epoch=lambda: 5)
    assert {x["txt"] for x in only(samples)} == {b"b"}
    assert {x["txt"] for x in draw_caption(weights={"none": 1})(samples)} == {b"a", b"b"}
    decoded = {**samples[0], "txt": "chosen"}
    assert [x["txt"] for x in only([decoded])] == ["b"]
    assert samples[0]["txt"] == b"chosen", "what came in is as it was"


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (lambda: draw_caption("clip"), "expected weights, laclip or turns"),  # type: ignore[arg-type]
        (lambda: draw_caption(weights={"a": -1}), "the weight of a is -1"),
        (lambda: draw_caption("turns", weights={"a": 1}), "turns takes no weights"),
        (lambda: list(draw_caption()([{"json": {"key": "7"}}])), "sample 7: no captions"),
    ],
)
def test_told_in_a_line(stage: Any, told: str) -> None:
    with pytest.raises(CurateError, match=told):
        stage()
