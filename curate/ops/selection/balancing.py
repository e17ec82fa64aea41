"""MetaCLIP balancing: from entry counts to the probability of keeping a pair.

Source: Demystifying CLIP Data (arXiv 2309.16671), section 3.3 and algorithm 1; Meta CLIP 2
(arXiv 2507.22062), algorithm 1, for `t_to_p` and `p_to_t`.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from curate.ops.kernels import Frozen, nb
from curate.schema import Column

Matches: TypeAlias = Column | Iterable[Sequence[int] | None]
"""The entry ids of each pair: a ListArray of int32, or lists of int."""


def entry_probs(counts: ArrayLike, *, t: float) -> NDArray[np.float64]:
    """``p_e = t / max(count_e, t)`` for each entry: 1 in the tail, below 1 in the head.

    >>> entry_probs([5, 20, 80], t=20)
    array([1.  , 1.  , 0.25])
    """
    if not t > 0:
        raise ValueError(f"t must be over 0, not {t}")
    return t / np.maximum(np.asarray(counts, np.float64), t)


def t_to_p(counts: ArrayLike, *, t: float) -> float:
    """The share of all matches that falls on tail entries (count < t); 0 where nothing matches."""
    counts = np.asarray(counts, np.int64)
    total = int(counts.sum())
    return float(counts[counts < t].sum() / total) if total else 0.0


def p_to_t(counts: ArrayLike, *, p: float) -> int:
    """The count at which the cumulative share of matches, counts ascending, is nearest to `p`.

    The share is inclusive, and of shares that are as near in double precision the smaller count's
    wins. Entries that never match do not take part; without any match the answer is 1.
    """
    counts = np.sort(np.asarray(counts, np.int64))
    counts = counts[counts > 0]
    if not len(counts):
        return 1
    shares = np.cumsum(counts) / counts.sum()
    return int(counts[np.argmin(np.abs(shares - p))])


@nb.njit(cache=True, nogil=True)
def _keep(
    offsets: NDArray[np.int32], ids: Frozen[np.int32], probs: NDArray[np.float64]
) -> NDArray[np.float64]:
    out = np.empty(len(offsets) - 1, np.float64)
    for row in range(len(out)):
        lost = 1.0
        for k in range(offsets[row], offsets[row + 1]):
            lost *= 1.0 - probs[ids[k]]
        out[row] = 1.0 - lost
    return out


_MATCHES = pa.list_(pa.field("element", pa.int32()))


def match_arrays(matches: Matches) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Offsets (n + 1,) and ids of a ListArray of int32, or lists of int; a null is an empty one.

    Raises
    ------
    TypeError
        Where they are something else.
    """
    if isinstance(matches, pa.ChunkedArray):
        matches = matches.combine_chunks() if matches.num_chunks != 1 else matches.chunk(0)
    try:
        if not isinstance(matches, pa.Array):
            matches = pa.array(list(matches), pa.list_(pa.int32()))
        elif matches.type != _MATCHES:
            matches = matches.cast(_MATCHES)
    except (pa.ArrowException, TypeError, OverflowError):
        kind = matches.type if isinstance(matches, pa.Array) else type(matches).__name__
        raise TypeError(f"expected a list of entry ids for each pair, not {kind}") from None
    lengths = np.zeros(len(matches) + 1, np.int32)
    lengths[1:] = matches.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.cumsum(lengths, dtype=np.int32), matches.flatten().to_numpy(zero_copy_only=False)


def _of_entries(matches: Matches, n: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`match_arrays`; a ValueError where an id is none of `n` entries: the kernel would not look."""
    offsets, ids = match_arrays(matches)
    if len(ids) and not 0 <= ids.min() <= ids.max() < n:
        raise ValueError(f"entry ids from {ids.min()} to {ids.max()}, but {n} entries")
    return offsets, ids


def keep_probability(matches: Matches, probs: ArrayLike) -> NDArray[np.float64]:
    """``1 - prod(1 - p_e)`` over the entries that each pair matches, shape (n,).

    `matches` is a ListArray of entry ids, or lists of them, `probs` the probability of each entry. A
    pair without a match has probability 0.

    Raises
    ------
    ValueError
        Where an id has no probability.
    """
    probs = np.asarray(probs, np.float64)
    offsets, ids = _of_entries(matches, len(probs))
    kept: NDArray[np.float64] = _keep(offsets, ids, probs)
    return kept


def expected_sizes(matches: Matches, counts: ArrayLike, *, ts: ArrayLike) -> NDArray[np.float64]:
    """Expected number of pairs kept at each t of `ts`, shape (len(ts),)."""
    counts = np.asarray(counts)
    offsets, ids = _of_entries(matches, len(counts))
    return np.array(
        [_keep(offsets, ids, entry_probs(counts, t=t)).sum() for t in np.atleast_1d(ts)]
    )


def candidate_ts(low: float, high: float, *, n: int = 48) -> NDArray[np.float64]:
    """`n` values of t from `low` to `high`, evenly spaced in the logarithm."""
    return np.geomspace(low, max(high, low * (1 + 1e-9)), n)


def bracket(ts: NDArray[np.float64], sizes: NDArray[np.float64], *, size: float) -> tuple[int, int]:
    """Indices of the neighbouring `ts` between whose sizes (ascending) `size` lies."""
    above = int(np.clip(np.searchsorted(sizes, size), 1, len(ts) - 1))
    return above - 1, above


def interpolate_t(ts: NDArray[np.float64], sizes: NDArray[np.float64], *, size: float) -> float:
    """The t at which `sizes`, taken as linear between neighbouring `ts`, reaches `size`."""
    low, high = bracket(ts, sizes, size=size)
    rise = sizes[high] - sizes[low]
    share = np.clip((size - sizes[low]) / rise, 0.0, 1.0) if rise > 0 else 1.0
    return float(ts[low] + share * (ts[high] - ts[low]))


def t_for_size(matches: Matches, counts: ArrayLike, *, size: float) -> float:
    """The t whose expected number of kept pairs is `size`.

    Expected size grows with t, so two rounds over a logarithmic grid bracket it and the last step
    is linear. A size that all pairs together do not reach gives the t that keeps every match.
    """
    counts = np.asarray(counts, np.int64)
    low, high = SMALLEST_T, float(max(counts.max(initial=1), 1))
    for _ in range(2):
        ts = candidate_ts(low, high)
        sizes = expected_sizes(matches, counts, ts=ts)
        low, high = (ts[i] for i in bracket(ts, sizes, size=size))
    return interpolate_t(ts, sizes, size=size)


SMALLEST_T = 1e-3
"""Where the search for a t begins; below one pair an entry, sampling thins the tail as well."""
