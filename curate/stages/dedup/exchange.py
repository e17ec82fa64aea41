"""How keys, rows and edges of all parts meet: what is packed, in which files, in how many pieces.

A file belongs to a group of parts, and holds one piece after the other; whoever needs a piece reads it
from each group's file. Only the extents of pieces cross the shuffle.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.duplicates.graph import DedupRule, Meeting, Policy
from curate.rundir.directory import Part, Run
from curate.rundir.scratch import KEYS, Extent, read_piece, work, write_pieces
from curate.schema import Stage

_TEXT, _PICTURE = 100, 270  # bytes of keys
_FEW = 16
"""Pieces that are enough for a pool to spread over some workers."""
_RUN = 1 << 23, 1 << 27
"""Bytes of keys that meet in one element: as long as there are few of them, and at most."""
_GROUP = 4096, 640_000
"""Pairs of a group of parts, likewise."""


class Spread(NamedTuple):
    """Into how many pieces the work of all parts is divided; the result does not depend on it."""

    slots: int = 256  # of the keys: 256 let a band take 4 bytes
    runs: int = 1  # of slots
    parts: int = 1  # in a group
    rows: int = 1  # groups that candidates and clusters are compared in

    @classmethod
    def over(cls, rows: int, *, parts: int, pictures: bool) -> "Spread":
        """What fits into memory; few for a small pool: a store is asked runs x groups times."""
        size = rows * (_TEXT + _PICTURE * pictures)
        runs = max(-(-size // _RUN[1]), min(_FEW, -(-size // _RUN[0])), 1)
        groups = max(-(-rows // _GROUP[1]), min(_FEW, parts, -(-rows // _GROUP[0])), 1)
        return cls(
            slots=256 * -(-runs // 256),
            runs=runs,
            parts=max(-(-parts // groups), 1),
            rows=max(rows // 1_000_000, min(_FEW, -(-rows // 65_536)), 1),
        )

    def run(self, number: int) -> range:
        """The slots of a run."""
        return range(self.slots * number // self.runs, self.slots * (number + 1) // self.runs)


@dataclass(frozen=True)
class Clustering:
    """What all transforms of this room are given."""

    run: Run
    reads: str  # the folder of the parts that come in
    rule: DedupRule
    spread: Spread

    @property
    def has_hashes(self) -> bool:
        """Whether pictures are compared by more than their files."""
        return self.rule.image_distance > 0 and self.reads != Stage.PREPARE

    def read(self, part: Part | int, **options: Any) -> pa.Table:
        """The rows of a part."""
        return self.run.rows(self.reads, part, **options)


def edges_in(content: bytes) -> NDArray[np.int64]:
    """Packed edges, or a packed forest, as an array, (k, 2)."""
    return np.frombuffer(content, np.int64).reshape(-1, 2)


Known = dict[int, Part]
"""The parts, by index."""

Packed = tuple[Policy, bytes]
"""Edges, or a forest; of candidates edges between captions, or buckets of images."""


@dataclass(frozen=True)
class Keyed:
    """The policies whose keys are made in one pass over the parts, and the files of this pass."""

    make: Clustering
    policies: tuple[Policy, ...]

    @property
    def sections(self) -> list[tuple[Policy, Meeting]]:
        """The sections of a run of slots, in order."""
        return [(policy, how) for policy in self.policies for how in Meeting]

    def url(self, group: int, kind: str) -> str:
        """The URL of a file of a group of parts: its keys, or its rows that are compared."""
        name = f"part-{group:05d}.{kind}"
        return work(self.make.run, Stage.DEDUP, KEYS, "-".join(self.policies), name)

    def write(self, group: int, kind: str, pieces: Iterable[Sequence[bytes]]) -> Iterator[Extent]:
        """Write the sections of each piece; the extents of the pieces."""
        return write_pieces(self.url(group, kind), group, pieces)

    def read(self, extent: Extent, kind: str) -> list[bytes]:
        """The sections of a piece, in one read."""
        return [*map(bytes, read_piece(self.url(extent[0], kind), extent))]
