"""SemDeDup: which rows of a cluster mean the same as an earlier one (arXiv 2303.09540).

A cluster's rows come in the order of their cosine to its centroid, lowest first, so that of a group
of near ones the least ordinary stays. A row is dropped for an earlier one with a cosine over
1 - epsilon. The cosines are products of matrices in single precision; where one is near the
threshold, it is computed again in double, so what is dropped does not depend on how rows are blocked.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curate.ops.scores.vectors import DOUBT, Stored, Vectors, exact_cosines, unit
from curate.schema import Column

Against = Literal["kept", "earlier"]
WINDOW = 1 << 16
"""Earlier rows that a row is compared with, the latest ones: a larger cluster is not compared whole."""
_BLOCK = 1024
_SLICE = 8192
_LARGEST = 6  # groups that are told of


class Cluster:
    """The rows of one cluster, as they come in order.

    `against` says for which earlier rows one is dropped: those that are ``kept``, or all ``earlier``
    ones, as the code of the paper does it. Holds `window` vectors, and 8 bytes for each row.
    """

    def __init__(
        self, width: int, *, epsilon: float, against: Against, window: int = WINDOW
    ) -> None:
        self._least = 1 - epsilon
        self._all = against == "earlier"
        self._window = window
        self._seen = np.empty((0, width), np.float32)
        self._numbers = np.empty(0, np.int64)  # of the rows in `_seen`
        self._survivors = np.empty(0, np.int64)  # of every row so far

    def add(self, vectors: Stored) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The next rows, (n, width) of any length: who stays in the place of each, by number.

        Rows are numbered from the cluster's first. A row that stays has its own number and a cosine
        of NaN; another has that of the first near one before it (of whoever stays for that one), and
        the cosine to it.
        """
        survivors, cosines = [np.empty(0, np.int64)], [np.empty(0)]
        with threadpool_limits(1):
            for start in range(0, len(vectors), _BLOCK):
                found, cosine = self._add(unit(vectors[start : start + _BLOCK]))
                survivors.append(found)
                cosines.append(cosine)
        return np.concatenate(survivors), np.concatenate(cosines)

    def _add(self, rows: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        n, before = len(rows), len(self._survivors)
        found, cosine = np.full(n, -1), np.full(n, np.nan)  # the number of the first near row
        for start in range(0, len(self._seen), _SLICE):
            some = slice(start, start + _SLICE)
            left = np.flatnonzero(found < 0)
            near = rows[left] @ self._seen[some].T > self._least - DOUBT
            at, exact = self._first(rows[left], self._seen[some], near)
            hit = at >= 0
            found[left[hit]] = self._numbers[some][at[hit]]
            cosine[left[hit]] = exact[hit]
        near = np.tril(rows @ rows.T > self._least - DOUBT, k=-1)
        if self._all:
            at, exact = self._first(rows, rows, near)
            hit = (found < 0) & (at >= 0)
            found[hit], cosine[hit] = before + at[hit], exact[hit]
        else:
            for row in np.flatnonzero((found < 0) & near.any(axis=1)).tolist():
                others = np.flatnonzero(near[row] & (found < 0))
                exact = exact_cosines(rows[others], rows[row : row + 1].repeat(len(others), axis=0))
                hits = np.flatnonzero(exact > self._least)
                if len(hits):
                    found[row], cosine[row] = before + others[hits[0]], exact[hits[0]]
        return self._survive(rows, found), cosine

    def _first(
        self, rows: Vectors, others: Vectors, near: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The first of `others` over the threshold for each row, -1 where there is none."""
        found, cosine = np.full(len(rows), -1), np.full(len(rows), np.nan)
        left = np.flatnonzero(near.any(axis=1))
        while len(left):
            at = near[left].argmax(axis=1)
            exact = exact_cosines(rows[left], others[at])
            hit = exact > self._least
            found[left[hit]], cosine[left[hit]] = at[hit], exact[hit]
            near[left[~hit], at[~hit]] = False
            left = left[~hit]
            left = left[near[left].any(axis=1)]
        return found, cosine

    def _survive(self, rows: Vectors, found: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take note of a block; who stays for each of its rows."""
        before = len(self._survivors)
        numbers = before + np.arange(len(rows))
        survivors = np.concatenate([self._survivors, np.where(found < 0, numbers, found)])
        earlier = (found >= 0) & (found < before)
        survivors[numbers[earlier]] = survivors[found[earlier]]
        for row in np.flatnonzero(found >= before).tolist():
            survivors[before + row] = survivors[found[row]]
        self._survivors = survivors
        stays = slice(None) if self._all else found < 0
        self._seen = np.concatenate([self._seen, rows[stays]])[-self._window :]
        self._numbers = np.concatenate([self._numbers, numbers[stays]])[-self._window :]
        return survivors[before:]


@dataclass(frozen=True)
class Groups:
    """Pairs that mean the same as one of them, which stays: how many groups, by size, of how many."""

    pairs: int = 0  # compared
    sizes: tuple[tuple[int, int], ...] = ()  # pairs of a group, at least two, and such groups
    largest: tuple[tuple[int, str], ...] = ()  # size, and the uid of the pair that stays


def count_groups(survivors: NDArray[np.int64], uids: Column) -> Groups:
    """The groups among rows, given the number of the row that stays in the place of each."""
    stays, sizes = np.unique(survivors, return_counts=True)
    several = sizes > 1
    found, n = np.unique(sizes[several], return_counts=True)
    large = np.lexsort((uids[stays], -sizes))[:_LARGEST]
    return Groups(
        len(survivors),
        tuple(zip(found.tolist(), n.tolist(), strict=True)),
        tuple((int(sizes[at]), uids[stays[at]].decode()) for at in large if several[at]),
    )


def add_groups(all_groups: Iterable[Groups]) -> Groups:
    """The groups of several, which have no pair in common."""
    pairs, sizes = 0, Counter[int]()
    largest: list[tuple[int, str]] = []
    for one in all_groups:
        pairs += one.pairs
        sizes.update(dict(one.sizes))
        largest = sorted([*largest, *one.largest], key=lambda x: (-x[0], x[1]))[:_LARGEST]
    return Groups(pairs, tuple(sorted(sizes.items())), tuple(largest))
