"""Limits, priority and fitness against a plain loop over sorted lists."""

import dataclasses
import random
from typing import Any

import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.metadata import select
from curate.metadata.recipe import RECIPES, Limits
from curate.metadata.select import Selection, Tally

V1, V2 = RECIPES["v1"], RECIPES["v2"]


def take(
    offered: list[tuple[str, float]],
    *,
    limits: Limits = V1,
    before: list[str] | None = None,
    **options: Any,
) -> tuple[list[str], Tally]:
    selection = Selection(limits=limits, entries=list(before or []))
    tally = Tally()
    batches = [offered[i : i + 7] for i in range(0, len(offered), 7)]
    candidates = (
        (pa.array([e for e, _ in batch], pa.large_string()), pa.array([float(s) for _, s in batch]))
        for batch in batches
    )
    selection.take(candidates, tally=tally, **options)
    counted = (tally.below, tally.unfit, tally.duplicate, tally.over, tally.taken)
    assert tally.offered == sum(counted) == len(offered)
    return selection.entries[len(before or []) :], tally


@pytest.mark.parametrize("seed", range(5))
def test_the_best_are_taken(seed: int) -> None:
    draw = random.Random(seed)
    offered = [(f"w{i}", float(draw.randrange(20))) for i in range(200)]
    before = [f"w{i}" for i in range(0, 200, 9)]
    draw.shuffle(offered)
    ranked = sorted(offered, key=lambda pair: (-pair[1], pair[0]))
    wanted = [e for e, s in ranked if s >= 5 and e not in before][:50]
    found, tally = take(offered, before=before, threshold=5, most=50)
    assert found == wanted
    assert tally.below == sum(s < 5 for _, s in offered)
    assert tally.duplicate == sum(s >= 5 and e in before for e, s in offered)


def test_many_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "WAITING", 10)
    offered = [(f"w{i:04}", float(i % 100)) for i in range(2000)]
    found, _ = take(offered, most=3)
    assert found == ["w0099", "w0199", "w0299"]


def test_limits() -> None:
    offered = [(c, float(-i)) for i, c in enumerate("abcdefghij")]
    assert take(offered)[0] == list("abcdefghij")
    assert take(offered, share=0.76)[0] == list("abcdefg")
    assert take(offered, share=0.76, most=3)[0] == list("abc")
    small = dataclasses.replace(V1, limit=4)
    assert take(offered, limits=small, before=["x", "y", "a"])[0] == ["b"]
    assert take(offered, limits=small, before=["x", "y", "z", "q"])[0] == []


def test_repeated_entries_keep_their_best() -> None:
    found, tally = take([("a", 1), ("b", 2), ("a", 3)], most=2)
    assert (found, tally.taken, tally.over) == (["a", "b"], 2, 1)


LONG = "é" * 256
UNFIT = ["", " ", "\xa0", "a\tb", "a\nb", "\x00", "!", "`", "~", "$"]
FIT = ["a", "日", "🎉", "a b", "don't", "#1", LONG]


@pytest.mark.parametrize(
    ("limits", "unfit", "fit"),
    [
        (V1, UNFIT, [*FIT, "!!", "“", "，", LONG + "é"]),
        (V2, [*UNFIT, "!!", "“", "，", "$$$", "...", LONG + "é"], FIT),
    ],
)
def test_unfit_entries(limits: Limits, unfit: list[str], fit: list[str]) -> None:
    found, tally = take([(entry, 1.0) for entry in unfit + fit], limits=limits)
    assert found == sorted(fit)
    assert tally.unfit == len(unfit)


def test_the_published_limits() -> None:
    assert (V1.min_count, V1.max_unigrams, V1.max_bigrams, V1.max_titles) == (
        100,
        251_465,
        100_646,
        61_235,
    )
    assert (V1.min_row_views, V1.min_views, V1.limit) == (50, 70, 500_000)
    assert (V2.unigram_share, V2.title_share, V2.max_characters) == (0.10, 0.76, 256)
    assert V1.max_unigrams == V2.max_unigrams
    assert 2**V1.min_pmi == pytest.approx(30)


def test_impossible_limits() -> None:
    with pytest.raises(CurateError, match="--max-unigrams -1: expected 0 or more"):
        dataclasses.replace(V1, max_unigrams=-1)
    with pytest.raises(CurateError, match="--limit 0: expected 1 or more"):
        dataclasses.replace(V1, limit=0)
    with pytest.raises(CurateError, match="--title-share 76: expected above 0, at most 1"):
        dataclasses.replace(V2, title_share=76)
