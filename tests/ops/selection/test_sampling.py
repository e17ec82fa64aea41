"""Sampling as statistics: kept pairs by chi-square, sets that nest, and sizes that are reached."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats

from curate.ops.hashing import pair_uids, uniform
from curate.ops.selection.balancing import entry_probs, expected_sizes, keep_probability, t_for_size

SEEDS = range(200)


class Pool(NamedTuple):
    """Pairs whose matches follow Zipf's law."""

    uids: Any  # StringArray
    matches: Any  # ListArray of entry ids
    counts: NDArray[np.int64]  # (entries,)


def zipf_pool(pairs: int, entries: int) -> Pool:
    """1 to 6 different entries a pair."""
    draw = np.random.default_rng(pairs)
    share = 1 / np.arange(1, entries + 1)
    drawn = draw.choice(entries, (pairs, 6), p=share / share.sum())
    drawn[np.arange(6) >= draw.integers(1, 7, pairs)[:, None]] = entries
    drawn.sort(axis=1)
    drawn[:, 1:][drawn[:, 1:] == drawn[:, :-1]] = entries
    real = drawn < entries
    offsets = np.concatenate([[0], np.cumsum(real.sum(axis=1))]).astype(np.int32)
    ids = drawn[real].astype(np.int32)
    numbers = pa.array(np.arange(pairs)).cast(pa.string())
    matches = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))
    return Pool(pair_uids(numbers, numbers), matches, np.bincount(ids, minlength=entries))


@pytest.fixture(scope="module")
def pool() -> Pool:
    return zipf_pool(20_000, 2_000)


def test_kept_counts_agree_with_the_probabilities(pool: Pool) -> None:
    """Pearson's statistic over bins of equal P(keep), kept and left out, over all seeds."""
    keep = keep_probability(pool.matches, entry_probs(pool.counts, t=30))
    chance = np.flatnonzero(keep < 1 - 1e-9)
    bins = np.array_split(chance[np.argsort(keep[chance], kind="stable")], 40)
    statistic = 0.0
    kept = np.zeros(len(keep), np.int64)
    for seed in SEEDS:
        kept += uniform(pool.uids, seed=seed) < keep
    assert (kept[keep >= 1 - 1e-9] == len(SEEDS)).all()
    for rows in bins:
        mean = keep[rows].sum() * len(SEEDS)
        variance = (keep[rows] * (1 - keep[rows])).sum() * len(SEEDS)  # chances differ in a bin
        statistic += (kept[rows].sum() - mean) ** 2 / variance
    p_value = float(stats.chi2.sf(statistic, len(bins)))
    said = f"chi-square {statistic:.1f} over {len(bins)} bins and {len(SEEDS)} seeds: p = {p_value:.3f}"
    print(said)
    assert 0.001 < p_value < 0.999, said


def test_the_number_kept_varies_over_seeds_as_independent_trials_do(pool: Pool) -> None:
    keep = keep_probability(pool.matches, entry_probs(pool.counts, t=30))
    sizes = [(uniform(pool.uids, seed=seed) < keep).sum() for seed in SEEDS]
    deviations = (np.array(sizes) - keep.sum()) / np.sqrt((keep * (1 - keep)).sum())
    statistic = float((deviations**2).sum())
    p_value = float(stats.chi2.sf(statistic, len(SEEDS)))
    said = f"chi-square {statistic:.1f} over {len(SEEDS)} seeds: p = {p_value:.3f}"
    print(said)
    assert 0.001 < p_value < 0.999, said


def test_entries_are_kept_as_often_as_their_pairs_say(pool: Pool) -> None:
    """Matches of the 100 most frequent entries among the kept pairs, each against its mean."""
    keep = keep_probability(pool.matches, entry_probs(pool.counts, t=30))
    ids = pool.matches.flatten().to_numpy()
    row = np.repeat(np.arange(len(keep)), pool.matches.value_lengths().to_numpy())
    kept = np.zeros(len(keep), np.int64)
    for seed in SEEDS:
        kept += uniform(pool.uids, seed=seed) < keep
    found, mean, variance = (
        np.bincount(ids, weights=x[row])[:100]
        for x in (kept, keep * len(SEEDS), keep * (1 - keep) * len(SEEDS))
    )
    worst = float(np.abs((found - mean) / np.sqrt(variance)).max())
    assert worst < 4.5, f"an entry is {worst:.1f} standard deviations off its expected matches"


def test_kept_sets_nest_in_t_for_every_seed(pool: Pool) -> None:
    ts = (1, 5, 30, 200, 5_000)
    probabilities = [keep_probability(pool.matches, entry_probs(pool.counts, t=t)) for t in ts]
    for seed in SEEDS:
        drawn = uniform(pool.uids, seed=seed)
        kept = [drawn < keep for keep in probabilities]
        for t, (smaller, larger) in zip(ts, pairwise(kept), strict=False):
            assert not (smaller & ~larger).any(), f"seed {seed}: t = {t} keeps what more does not"
            assert smaller.sum() < larger.sum()


def test_seeds_draw_independently(pool: Pool) -> None:
    drawn = np.array([uniform(pool.uids, seed=seed) for seed in range(20)])
    correlation = np.corrcoef(drawn) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(drawn.shape[1])
    assert float(stats.kstest(drawn.ravel(), "uniform").pvalue) > 0.001


def test_a_size_is_hit_within_half_a_percent_of_a_million_pairs() -> None:
    pool = zipf_pool(1_000_000, 50_000)
    errors = {}
    for size in (100_000, 400_000):
        t = t_for_size(pool.matches, pool.counts, size=size)
        [expected] = expected_sizes(pool.matches, pool.counts, ts=t)
        keep = keep_probability(pool.matches, entry_probs(pool.counts, t=t))
        kept = (uniform(pool.uids, seed=size) < keep).sum()
        errors[size] = (abs(expected / size - 1), abs(kept / size - 1))
    said = ", ".join(f"{n:,}: expected {e:.4%}, drawn {d:.3%} off" for n, (e, d) in errors.items())
    print(said)
    assert max(expected for expected, _ in errors.values()) < 0.005, said
    noise = {size: 4 / np.sqrt(size) for size in errors}  # at most 4 standard deviations of a draw
    assert all(drawn < 0.005 + noise[size] for size, (_, drawn) in errors.items()), said
