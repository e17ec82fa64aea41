"""The finished set of a run whose pool grows, until its shards and those that follow are a set again.

It is told by ``shards/held``: the manifest, and of each part the uids that the shards hold. It is laid
aside before any part is done again, the manifest last, and removed once there is a new manifest.
"""

from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import AbsentError, DamagedError
from curate.rundir.directory import MANIFEST, Run, part_name
from curate.schema import Column, Stage

HELD = "held"


class Held(NamedTuple):
    """What those who cut further shards have to know of a set that was laid aside."""

    names: tuple[str, ...]  # of its shards
    parts: int  # that it was made of, the first of the run

    @property
    def stop(self) -> int:
        """The index of the first shard behind them."""
        return max((int(name) + 1 for name in self.names), default=0)


PARTS = "parts"
"""The key of how many parts the set was made of, in its manifest there."""


def lay_aside(run: Run, manifest: dict[str, Any], *, reads: str) -> None:
    """Note the set of `manifest`; `reads` is the folder of the parts that it was made of."""
    parts = run.done(reads)
    for _ in run.each(parts, partial(_note, run, reads)):
        pass
    document = {**manifest, PARTS: len(parts)}
    files.write_document(run.path(Stage.SHARDS, HELD, MANIFEST), document)


def _note(run: Run, reads: str, index: int) -> None:
    files.write_table(_url(run, index), run.rows(reads, index, columns=["uid"]))


def _url(run: Run, index: int) -> str:
    return run.path(Stage.SHARDS, HELD, part_name("", index).lstrip("/"))


def manifest_of(run: Run) -> dict[str, Any] | None:
    """The manifest of the set that was laid aside; None where there is none."""
    with suppress(AbsentError, DamagedError):
        return files.read_document(run.path(Stage.SHARDS, HELD, MANIFEST))
    return None


def held_by(run: Run) -> Held | None:
    """The set that was laid aside; None where there is none."""
    found = manifest_of(run)
    return Held(tuple(x["name"] for x in found["shards"]), found[PARTS]) if found else None


def uids_of(run: Run, index: int) -> Column:
    """The uids of a part that the shards held; none of a part that came since."""
    with suppress(AbsentError):
        return files.read_table(_url(run, index))["uid"]
    return pa.array([], pa.string())


def remove(run: Run) -> None:
    """Forget the set that was laid aside: the shards are cut anew, or are a set again."""
    files.remove(run.path(Stage.SHARDS, HELD))


def staying(before: Column, now: Column) -> NDArray[np.bool_]:
    """Which of the uids of a part `now` the shards hold, and go on to hold, shape (n,)."""
    held = pa.array(sorted({*before.to_pylist()} - {*left(before, now)}), pa.string())
    return np.asarray(pc.is_in(now, value_set=held))


def left(before: Column, now: Column) -> list[str]:
    """The uids that do not stand as often in `now` as `before`.

    >>> left(pa.array(["a", "b", "c", "c"]), pa.array(["a", "c", "d"]))
    ['b', 'c']
    """
    was, is_ = (dict(zip(*(x.to_pylist() for x in pc.value_counts(one).flatten()), strict=True))
                if len(one) else {} for one in (before, now))  # fmt: skip
    return sorted(uid for uid, n in was.items() if is_.get(uid, 0) != n)
