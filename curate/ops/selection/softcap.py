"""Soft cap sampling: pairs are drawn by the softmax of a score, and each draw lowers the pair's own.

Source: Filter Like You Test (arXiv 2503.08805) and its released code (formll/FLYT, the function
`soft_cap_sampling`): until there are N draws, draw with ``softmax(scores)``, and subtract the penalty
from the scores of what was drawn. There, 100,000 pairs are drawn at once, each at most once; here it is
one at a time, the limit of small batches.

Draws one by one are the first N events of independent clocks: a pair that was drawn k times is drawn
again after an exponential time of rate ``exp(score - penalty * k)``. A pair's clock runs by its uid, so
its draws are the events up to one moment, that of the N-th of all: nothing else is known of the others.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.hashing import hash64, uniform

_GRID = 64
"""Moments that draws are counted up to at a time."""
_STEPS = 32
"""Of a score, where draws are counted about: pairs within a step are drawn up to 3 % more or less."""

Floats = NDArray[np.float64]


def events(
    uids: pa.Array, scores: Floats, *, penalty: float, seed: int, until: float
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Rows, and the logarithm of the moment, of all first draws up to `until`, of all second ones, …

    `until` is a logarithm, too. A score that is not finite is drawn never.
    """
    rows = np.flatnonzero(np.isfinite(scores))
    moment = np.full(len(rows), -np.inf)
    drawn = 0
    while len(rows):
        # u is below 1, and where it is 0 the draw is at once
        u = uniform(uids.take(pa.array(rows)), seed=_seed(seed, drawn))
        with np.errstate(divide="ignore"):
            waited = np.log(-np.log1p(-u)) + penalty * drawn - scores[rows]
        moment = np.logaddexp(moment, waited)
        before = moment <= until
        rows, moment, drawn = rows[before], moment[before], drawn + 1
        if len(rows):
            yield rows, moment


def _seed(seed: int, drawn: int) -> int:
    return int(hash64([f"{seed}/soft cap/{drawn}"])[0])


def draws(
    uids: pa.Array, scores: Floats, *, penalty: float, seed: int, until: float
) -> NDArray[np.int32]:
    """How often each pair is drawn up to `until`, shape (n,)."""
    counts = np.zeros(len(scores), np.int32)
    for rows, _ in events(uids, scores, penalty=penalty, seed=seed, until=until):
        counts[rows] += 1
    return counts


def moments(uids: pa.Array, scores: Floats, *, penalty: float, seed: int, until: float) -> Floats:
    """The logarithms of the moments of all draws up to `until`, in no order."""
    found = events(uids, scores, penalty=penalty, seed=seed, until=until)
    return np.concatenate([np.zeros(0), *(moment for _, moment in found)])


def about(scores: Floats, ats: Floats, *, penalty: float) -> Floats:
    """About how many draws there are up to each of `ats`, ascending logarithms, shape (len(ats),).

    A pair's number of draws k follows ``dk/dt = exp(score - penalty * k)``. Scores are rounded, so that
    many pairs are one.
    """
    near = np.round(scores[np.isfinite(scores)] * _STEPS) / _STEPS
    values, pairs = np.unique(near, return_counts=True)
    moments = np.add.outer(ats, values)
    if penalty:
        found: Floats = np.logaddexp(0, np.log(penalty) + moments) @ pairs / penalty
        return found
    with np.errstate(over="ignore"):
        found = np.exp(moments) @ pairs
    return found


def span(lowest: float, highest: float, *, pairs: int, size: int, penalty: float) -> Floats:
    """Moments, as logarithms, between which `about` comes to `enough_for(size)` draws.

    There are at most as many draws as if all scores were the highest and none fell, and at least as
    many as if all were the lowest.
    """
    of_each = enough_for(size) / max(pairs, 1)
    first = np.log(of_each) - highest
    last = np.log(of_each)
    if penalty:  # the logarithm of expm1(x) is x where x is large
        x = penalty * of_each
        last = (x if x > 30 else np.log(np.expm1(x))) - np.log(penalty)
    return np.linspace(first, last - lowest, _GRID)


def enough_for(size: int) -> float:
    """The draws to look at so that `size` are among them, but for a chance of less than 1e-9."""
    return 2.0 * size + 64


def narrowed(ats: Floats, found: Floats, *, size: int) -> Floats:
    """Moments, as logarithms, between those of `ats` where `about` finds `enough_for(size)`."""
    above = int(np.clip(np.searchsorted(found, enough_for(size)), 1, len(ats) - 1))
    return np.linspace(ats[above - 1], ats[above], len(ats))
