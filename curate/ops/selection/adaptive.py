"""Adaptive rebalancing (ADR): from how often entities occur to the probability of keeping a pair.

Source: From Head to Tail: Towards Balanced Representation in Large Vision-Language Models through
Adaptive Data Calibration (arXiv 2503.12821) and its released code (VLMLT): the reverse index and its
threshold, and the sampling of `reform_data_one_scope.py`.

A pair is looked at from several perspectives, and has entities in each. An entity that occurs ``f``
times passes with ``p = tau / f``, at most 1; a perspective passes if any of its entities does, and a
pair stays if more than `n_p` of its perspectives pass and a further draw falls under `alpha`. All draws
are independent of each other, so the probability of staying is known; one draw by it has their law.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.ops.kernels import Frozen, nb

Floats = NDArray[np.float64]


class Distribution(NamedTuple):
    """How many entities occur how often."""

    counts: NDArray[np.int64]  # (n,), over 0, descending
    entities: NDArray[np.int64]  # (n,), that occur so often

    @property
    def occurrences(self) -> int:
        """Of all entities."""
        return int((self.counts * self.entities).sum())

    def above(self, tau: float) -> tuple[int, int]:
        """How many entities occur more than `tau` times, and their occurrences."""
        head = self.counts > tau
        return int(self.entities[head].sum()), int((self.counts * self.entities)[head].sum())


def distribution(counts: ArrayLike) -> Distribution:
    """That of entities which occur `counts` times; those that never do have no part in it."""
    found = np.asarray(counts, np.int64)
    values, entities = np.unique(found[found > 0], return_counts=True)
    return Distribution(values[::-1].copy(), entities[::-1].astype(np.int64))


def together(found: Sequence[Distribution]) -> Distribution:
    """That of several groups of other entities."""
    counts = np.concatenate([np.empty(0, np.int64), *(one.counts for one in found)])
    entities = np.concatenate([np.empty(0, np.int64), *(one.entities for one in found)])
    values, at = np.unique(counts, return_inverse=True)
    sums = np.zeros(len(values), np.int64)
    np.add.at(sums, at, entities)
    return Distribution(values[::-1].copy(), sums[::-1].copy())


def threshold(found: Distribution, *, share: float) -> int:
    """tau: the count of the first entity, counts descending, with which `share` of all is reached.

    1 where nothing occurs.

    >>> threshold(distribution([50, 30, 12, 5, 3]), share=0.9)
    12
    >>> threshold(distribution([50, 30, 12, 5, 3]), share=0.75)
    30
    """
    if not len(found.counts):
        return 1
    sums = np.cumsum(found.counts * found.entities)
    return int(found.counts[np.argmax(sums >= int(sums[-1]) * share)])


@nb.njit(cache=True, nogil=True)
def _passes(
    ends: NDArray[np.int64],
    keys: NDArray[np.uint64],
    head: Frozen[np.uint64],
    counts: Frozen[np.int64],
    tau: float,
) -> NDArray[np.float64]:
    out = np.zeros(len(ends) - 1)
    for row in range(len(out)):
        lost = 1.0
        for k in range(ends[row], ends[row + 1]):
            low, high = 0, len(head)
            while low < high:
                middle = (low + high) >> 1
                if head[middle] < keys[k]:
                    low = middle + 1
                else:
                    high = middle
            if low == len(head) or head[low] != keys[k] or counts[low] <= tau:
                lost = 0.0
                break
            lost *= 1.0 - tau / counts[low]
        out[row] = 1.0 - lost
    return out


def passes(
    ends: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    head: NDArray[np.uint64],
    counts: NDArray[np.int64],
    tau: float,
) -> Floats:
    """The probability with which a perspective of each row passes, shape (rows,); 0 without keys.

    ``1 - prod(1 - min(1, tau / f))`` over the row's keys. `head` are the keys that occur more than
    `tau` times, ascending, and others may be among them; `counts` their f. All others pass.
    """
    found: Floats = _passes(ends, keys, _frozen(head), _frozen(counts), float(tau))
    return found


def _frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    view = array.view()
    view.flags.writeable = False
    return view


def keep_probability(passing: Sequence[Floats], *, n_p: int, alpha: float) -> Floats:
    """The probability of staying, shape (n,): `passing` has that of each perspective, (n,) each.

    ``alpha * P(more than n_p of them pass)``: their number is the sum of independent draws.

    >>> keep_probability([np.array([0.5]), np.array([0.5])], n_p=0, alpha=1.0)
    array([0.75])
    """
    n = len(passing[0])
    exactly = np.zeros((n_p + 1, n))  # the probability that so many of the first ones pass
    exactly[0] = 1.0
    for one in passing:
        exactly[1:] = exactly[1:] * (1.0 - one) + exactly[:-1] * one
        exactly[0] *= 1.0 - one
    has_enough = np.sum([one > 0 for one in passing], axis=0) > n_p
    more = np.clip(1.0 - exactly.sum(axis=0), 0.0, 1.0)
    found: Floats = np.where(has_enough, alpha * more, 0.0)
    return found
