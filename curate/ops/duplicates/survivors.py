"""Which pairs of a cluster stay, and for which of them each of the others goes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.ops.strings import codes_of
from curate.schema import Column

WAVE = "wave"
"""The column of when pairs came, where that matters."""


@dataclass(frozen=True)
class Clusters:
    """The clusters of one policy among n pairs."""

    reason: str
    label: NDArray[np.int64]  # (n,), equal within a cluster; below 0 for a pair in none
    keep: int = 1  # pairs of a cluster that may stay


@dataclass(frozen=True)
class Verdict:
    """What becomes of n pairs."""

    survivor: NDArray[np.int64]  # (n,), the pair that each goes for; itself where it stays
    cluster: NDArray[np.int64]  # (n,), the pair that names its cluster
    reason: NDArray[np.object_]  # (n,), None where it stays
    size: NDArray[np.int64]  # (n,), pairs of its cluster


def preferred(prefer: Sequence[str]) -> dict[str, tuple[str, str]]:
    """How the columns of `prefer` stand among `pairs`: by that name the column, and its direction.

    >>> preferred(["score", "-blur"])
    {'prefer 0': ('score', 'descending'), 'prefer 1': ('blur', 'ascending')}
    """
    return {
        f"prefer {k}": (name.removeprefix("-"), "ascending" if name[:1] == "-" else "descending")
        for k, name in enumerate(prefer)
    }


def survivor_order(pairs: pa.Table, *, prefer: Sequence[str] = ()) -> NDArray[np.int64]:
    """Positions from the first that should stay to the last, shape (n,).

    By the smaller `wave` where `pairs` have one, then by the columns of :func:`preferred`, a null last
    in either direction. Then larger image (`pixels` of the original), longer caption
    (`caption_chars`), smaller `uid`, earlier `row`.
    """
    keys = [
        *((name, "ascending") for name in pairs.column_names if name == WAVE),
        *((name, direction) for name, (_, direction) in preferred(prefer).items()),
        ("pixels", "descending"), ("caption_chars", "descending"), ("uid", "ascending"),
        ("row", "ascending"),
    ]  # fmt: skip
    return pc.sort_indices(pairs, sort_keys=keys).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def choose(order: NDArray[np.int64], policies: Sequence[Clusters]) -> Verdict:
    """Apply the policies one after the other, each to the pairs that stayed under those before.

    Of a cluster the first `keep` in `order` stay, and the others go for the first. A pair whose
    survivor goes under a later policy is listed under that one's survivor, so a survivor always
    stays; a cluster is named by the first of its pairs.
    """
    n = len(order)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    first, alive = np.arange(n), np.ones(n, np.bool_)
    reason = np.full(n, None, object)
    for policy in policies:
        rows = np.flatnonzero(alive & (policy.label >= 0))
        rows = rows[np.lexsort((place[rows], policy.label[rows]))]
        label = policy.label[rows]
        starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]][: len(rows)])
        sizes = np.diff(np.r_[starts, len(rows)])
        head = np.repeat(rows[starts], sizes)
        nth = np.arange(len(rows)) - np.repeat(starts, sizes)
        first[rows[nth > 0]] = head[nth > 0]
        gone = rows[nth >= policy.keep]
        alive[gone] = False
        reason[gone] = policy.reason
    while (further := first[first] != first).any():
        first[further] = first[first[further]]
    size = np.bincount(first, minlength=n)[first]
    return Verdict(np.where(alive, np.arange(n), first), first, reason, size)


def left_behind(
    captions: Column, verdict: Verdict, *, order: NDArray[np.int64], most: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pair that stays, those of its cluster that go and leave a caption behind.

    In survivor order, each text once and not its own, `most` of them at most; none for a pair that
    goes. A null is no caption.

    Returns
    -------
    Positions of pairs, and where those for each begin, shape (n + 1,).
    """
    codes = codes_of(captions)
    to = verdict.survivor[order]
    leaves = (to != order) & (codes[order] >= 0) & (codes[order] != codes[to])
    gone, to = order[leaves], to[leaves]
    _, once = np.unique(to * (codes.max(initial=0) + 1) + codes[gone], return_index=True)
    once.sort()
    once = once[np.argsort(to[once], kind="stable")]
    gone, to = gone[once], to[once]
    if most is not None:
        few = np.arange(len(to)) - np.searchsorted(to, to) < most
        gone, to = gone[few], to[few]
    return gone, np.searchsorted(to, np.arange(len(order) + 1))
