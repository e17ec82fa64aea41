"""Which rows each shard holds.

In the order of the pool a shard is a run of kept rows; mixed, it is a run of them in the order of
their keys (`curate.ops.hashing.order_keys`). Either way the cut depends on the rows and the settings
alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.config import Shards as Settings
from curate.rundir.directory import Part
from curate.rundir.tar import BLOCK

_SHARD_DIGITS = 5
_BESIDE = 4096
"""Bytes that a pair takes in a tar beside its image: three headers, the caption and the columns."""

Sizes = NDArray[np.int64]
"""Bytes of the stored image of each row of a part."""


class Slice(NamedTuple):
    """Consecutive kept rows of one part."""

    part: int
    start: int
    rows: int


class Mixed(NamedTuple):
    """What tells the rows of a mixed shard from others, as a list of their places would be long."""

    keys: str  # the sum of the keys of its rows, hex
    first: int  # of the parts whose failed fetches its statistics count
    stop: int


@dataclass(frozen=True)
class Shard:
    """An ordered set of rows: consecutive ones of parts, or those of a range of keys."""

    index: int
    slices: tuple[Slice, ...] = ()
    mixed: Mixed | None = None
    parts: dict[int, Part] = field(default_factory=dict, compare=False)  # by index, as they came

    @property
    def name(self) -> str:
        """The file name without its ending."""
        return f"{self.index:0{_SHARD_DIGITS}d}"

    @property
    def told(self) -> dict[str, Any]:
        """What its statistics say of its rows: where it is the same, so are they."""
        if self.mixed is not None:
            return {"mixed": [*self.mixed]}
        return {"slices": [list(slice_) for slice_ in self.slices]}

    @classmethod
    def of(cls, index: int, stats: dict[str, Any]) -> "Shard":
        """The shard that has these statistics."""
        if "mixed" in stats:
            return cls(index, mixed=Mixed(*stats["mixed"]))
        return cls(index, tuple(Slice(*slice_) for slice_ in stats["slices"]))

    @property
    def begun(self) -> list[int]:
        """The parts whose failed fetches its statistics count: those that begin in it."""
        if self.mixed is not None:
            return [*range(self.mixed.first, self.mixed.stop)]
        return [slice_.part for slice_ in self.slices if not slice_.start]


def sizes_in_tar(images: Sizes) -> Sizes:
    """About how many bytes pairs take in a tar, given those of their images, shape (n,)."""
    found: Sizes = -(-images // BLOCK) * BLOCK + _BESIDE
    return found


def count_even(pairs: int, size: int, settings: Settings) -> int:
    """How many shards `pairs` make of about `size` bytes, where all hold as many but for one."""
    least = -(-size // settings.bytes) if settings.bytes else -(-pairs // settings.rows)
    multiple = settings.multiple_of or 1
    return min(-(-least // multiple) * multiple, pairs)


def ends_even(pairs: int, shards: int) -> NDArray[np.int64]:
    """Where each of the shards ends, in rows from the first, shape (shards,).

    >>> ends_even(10, 4)
    array([ 2,  5,  7, 10])
    """
    return pairs * np.arange(1, shards + 1) // max(shards, 1)


def cut(
    parts: Iterable[Part], settings: Settings, *, sizes: Callable[[list[Part]], Iterable[Sizes]]
) -> Iterator[Shard]:
    """The shards that the kept rows of `parts`, in order, make up.

    `sizes` gives those of the images of each part; it is asked where the cut is by bytes.
    """
    parts = sorted((part for part in parts if part.kept), key=lambda part: part.index)
    pairs = sum(part.kept for part in parts)
    if settings.multiple_of:
        found = map(sizes_in_tar, sizes(parts)) if settings.bytes else ()
        size = sum(int(one.sum()) for one in found)
        ends: Iterable[int] = ends_even(pairs, count_even(pairs, size, settings)).tolist()
    elif settings.bytes:
        ends = ends_by_bytes(map(sizes_in_tar, sizes(parts)), limit=settings.bytes)
    else:
        ends = (
            min(end, pairs) for end in range(settings.rows, pairs + settings.rows, settings.rows)
        )
    yield from _cut_at(parts, ends)


def ends_by_bytes(sizes: Iterable[Sizes], *, limit: int) -> Iterator[int]:
    """Where each shard ends that holds as many rows as fit into `limit` bytes, but one at least.

    >>> list(ends_by_bytes([np.array([4, 4]), np.array([4, 9, 30, 1])], limit=12))
    [3, 4, 5, 6]
    """
    row = held = 0  # rows before the part; bytes of the shard that is open
    for part in sizes:
        reached = np.cumsum(part)
        at, base = 0, -held  # where the open shard goes on; bytes of the part before it
        while (stop := int(np.searchsorted(reached, base + limit, side="right"))) < len(part):
            if stop == at and base == (reached[at - 1] if at else 0):
                stop = at + 1  # a row that is larger than a shard
            yield row + stop
            at, base = stop, int(reached[stop - 1]) if stop else 0
        row += len(part)
        held = (int(reached[-1]) if len(part) else 0) - base
    if held:
        yield row


def _cut_at(parts: Iterable[Part], ends: Iterable[int]) -> Iterator[Shard]:
    """Shards of the rows of `parts`, in order, up to each of `ends`."""
    left, start = iter(parts), 0  # of the part at hand: rows that are dealt with
    part = next(left, None)
    before = 0
    for index, end in enumerate(ends):
        slices = []
        while part is not None and before < end:
            n = min(end - before, part.kept - start)
            slices.append(Slice(part.index, start, n))
            before, start = before + n, start + n
            if start == part.kept:
                part, start = next(left, None), 0
        yield Shard(index, tuple(slices))
