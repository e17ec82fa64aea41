"""What balancing at many values of t is expected to keep, from the matches alone.

All figures are exact expectations over the sampling, none is an estimate from draws: pairs are kept
independently of each other, each with its ``P(keep)``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate.ops.kernels import Frozen, nb
from curate.ops.selection.balancing import Matches, entry_probs, match_arrays, t_to_p
from curate.schema import MATCHES


@dataclass(frozen=True)
class Point:
    """A set of pairs after balancing at one t."""

    t: float  # over several languages: that of the reference
    p: float  # share of the matches in the tail
    pairs: float  # expected number kept
    matches: float  # expected, of the kept pairs
    head: int  # entries with count >= t
    tail: int  # entries with 0 < count < t; all their pairs are kept
    head_matches: int  # before sampling
    tail_matches: int
    covered: float  # expected number of entries that at least one kept pair matches
    concepts: float  # effective number of entries among the expected matches of the kept pairs


@dataclass(frozen=True)
class Curve:
    """One language, or all, before balancing and at each t."""

    language: str
    pairs: int  # that reach the balance
    matches: int
    entries: int
    matched: int  # entries with a match
    concepts: float  # effective number of entries among the matches
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Sweep:
    """Curves of all languages; the content of ``report/sweep.json``."""

    digest: str  # of all that the matches depend on
    reference: str  # the language whose t is given; its p goes to the others
    total: Curve
    languages: tuple[Curve, ...]  # most matches first
    on: str = MATCHES  # what is counted

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Sweep":
        """The sweep whose fields are in `document`."""

        def read(found: dict[str, Any]) -> Curve:
            return Curve(**{**found, "points": tuple(Point(**x) for x in found["points"])})

        return cls(
            digest=document["digest"],
            reference=document["reference"],
            total=read(document["total"]),
            languages=tuple(read(found) for found in document["languages"]),
            on=document.get("on", MATCHES),
        )


def effective_number(weights: ArrayLike) -> float:
    """``exp(H)`` of the distribution given by `weights` (Hill number of order 1); 0 for none.

    So many equally frequent entries would be as diverse.

    >>> round(effective_number([5, 5, 5, 0]), 6)
    3.0
    """
    found = np.asarray(weights, np.float64)
    found = found[found > 0]
    if not len(found):
        return 0.0
    shares = found / found.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


@nb.njit(cache=True, nogil=True)
def _add(
    offsets: NDArray[np.int32],
    ids: Frozen[np.int32],
    probs: NDArray[np.float64],
    kept: NDArray[np.float64],
    missed: NDArray[np.float64],
) -> float:
    pairs = 0.0
    for row in range(len(offsets) - 1):
        lost = 1.0
        for k in range(offsets[row], offsets[row + 1]):
            lost *= 1.0 - probs[ids[k]]
        pairs += 1.0 - lost
        for k in range(offsets[row], offsets[row + 1]):
            kept[ids[k]] += 1.0 - lost
            missed[ids[k]] *= lost
    return pairs


class Expectation:
    """Figures of one language at each of `ts`, from its matches a part at a time."""

    BYTES = 24
    """Memory for each t and entry."""

    def __init__(self, counts: ArrayLike, *, ts: Sequence[float]) -> None:
        self._counts = np.asarray(counts, np.int64)
        self._ts = ts
        self._probs = [entry_probs(self._counts, t=t) for t in ts]
        self._pairs = np.zeros(len(ts))
        self._kept = np.zeros((len(ts), len(self._counts)))
        self._missed = np.ones((len(ts), len(self._counts)))  # chance that no kept pair matches

    def add(self, matches: Matches) -> None:
        """Add the pairs whose entry ids are in the ListArray `matches`."""
        offsets, ids = match_arrays(matches)
        for i, probs in enumerate(self._probs):
            self._pairs[i] += _add(offsets, ids, probs, self._kept[i], self._missed[i])

    def points(self) -> list[Point]:
        """The figures of all pairs that were added."""
        return [self._point(i) for i in range(len(self._ts))]

    def _point(self, i: int) -> Point:
        t, counts = self._ts[i], self._counts
        head = counts >= t
        return Point(
            t=t,
            p=t_to_p(counts, t=t),
            pairs=float(self._pairs[i]),
            matches=float(self._kept[i].sum()),
            head=int((head & (counts > 0)).sum()),
            tail=int((~head & (counts > 0)).sum()),
            head_matches=int(counts[head].sum()),
            tail_matches=int(counts[~head].sum()),
            covered=float((1.0 - self._missed[i]).sum()),
            concepts=effective_number(self._kept[i]),
        )


def curve(
    language: str, *, pairs: int, counts: NDArray[np.int64], points: Sequence[Point]
) -> Curve:
    """The curve of one language whose entries match `counts` times in `pairs` pairs."""
    return Curve(
        language=language,
        pairs=pairs,
        matches=int(counts.sum()),
        entries=len(counts),
        matched=int((counts > 0).sum()),
        concepts=effective_number(counts),
        points=tuple(points),
    )


def total(curves: Sequence[Curve], *, reference: str) -> Curve:
    """All languages together; an entry of two languages counts as two."""
    ours = next(one for one in curves if one.language == reference)
    points = []
    for i, at in enumerate(ours.points):
        found = [one.points[i] for one in curves]
        tail, head = sum(x.tail_matches for x in found), sum(x.head_matches for x in found)
        points.append(
            Point(
                t=at.t,
                p=tail / (tail + head) if tail + head else 0.0,
                pairs=sum(x.pairs for x in found),
                matches=sum(x.matches for x in found),
                head=sum(x.head for x in found),
                tail=sum(x.tail for x in found),
                head_matches=head,
                tail_matches=tail,
                covered=sum(x.covered for x in found),
                concepts=_joined([(x.matches, x.concepts) for x in found]),
            )
        )
    return Curve(
        language=ALL,
        pairs=sum(one.pairs for one in curves),
        matches=sum(one.matches for one in curves),
        entries=sum(one.entries for one in curves),
        matched=sum(one.matched for one in curves),
        concepts=_joined([(one.matches, one.concepts) for one in curves]),
        points=tuple(points),
    )


def _joined(groups: Sequence[tuple[float, float]]) -> float:
    """Effective number of disjoint groups, each with its weight and effective number.

    By the chain rule of entropy: that of the groups' shares, and the mean of those inside.
    """
    inside = [(weight, math.log(number)) for weight, number in groups if weight > 0]
    weights = [weight for weight, _ in inside]
    mean = sum(weight * entropy for weight, entropy in inside) / (sum(weights) or 1.0)
    return effective_number(weights) * math.exp(mean)


def default_ts(largest: int) -> list[float]:
    """1, 2, 5, 10, 20, 50, ... up to the first t at which no entry of `largest` matches is in the head.

    >>> default_ts(60)
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    """
    ts: list[float] = []
    scale = 1.0
    while True:
        for factor in (1.0, 2.0, 5.0):
            ts.append(factor * scale)
            if ts[-1] > largest:
                return ts
        scale *= 10


ALL = "all"
"""The name of the curve over all languages."""
