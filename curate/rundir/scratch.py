"""Scratch: what steps write to the run while they work, and nothing reads once their parts are done.

It holds hashes, uids, embeddings (a centroid may be that of one image alone) and images of pairs, so a
run that goes on, and a revocation, begin with removing it: a step that was stopped makes it anew. What
parts write lies in a folder of its generation, so that what a late worker wrote is not read.
Journals of downloads are not among it: what was fetched is taken over.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import pyarrow as pa

from curate import files, schema
from curate.errors import DamagedError
from curate.rundir.directory import SCORED, Run
from curate.rundir.layout import SUMMARIES
from curate.schema import Stage

NOTES = "found"
"""The folder, in that of the pool's copies, of what workers found in its files until it is cut."""

TABLES = "tables"
"""The folder, beside it, of tables of the user's that are sorted to be joined."""

KEYS = "keys"
WORK = "work"
SAMPLES = "samples"
CANDIDATES = "candidates"
TAKEN = "taken.npz"
CENTROIDS = "centroids.npy"
HELD = "centroids.npz"
VISUAL = "visual_cluster"
"""The folder whose `HELD` is no scratch: its numbers are what a user's list of clusters is about."""

_SCRATCH = {
    str(Stage.DEDUP): (KEYS,),
    files.join(SCORED, schema.SEMANTIC): (WORK, CENTROIDS),
    files.join(SCORED, "nearest_target"): (SAMPLES, HELD),
    files.join(SCORED, VISUAL): (SAMPLES,),
    files.join(SCORED, "simcore"): (CANDIDATES, CENTROIDS, TAKEN),
    str(Stage.BALANCE): (WORK,),
    str(Stage.SHARDS): (WORK,),
    **{files.join(x, SUMMARIES): (WORK,) for x in (Stage.PREPARE, Stage.DEDUP, Stage.SCORE)},
}


def scratch(folder: str) -> tuple[str, ...]:
    """The names, in the folder of a step, of what it needs while it works.

    >>> scratch("dedup"), scratch("prepare")
    (('keys',), ())
    """
    return _SCRATCH.get(folder, ())


def work(run: Run, folder: str, name: str, *names: str) -> str:
    """The URL of what parts write to scratch in the folder of a step, or of the folder of all of it.

    >>> work(Run("/run", generation=3), "dedup", KEYS, "part-00000.keys")
    '/run/keys/3/part-00000.keys'
    """
    return run.path(folder, name, str(run.generation), *names)


Extent = tuple[int, int, tuple[int, ...]]
"""Where the file of a group of parts holds a piece: the group, the offset, bytes of each section."""


def write_pieces(url: str, group: int, pieces: Iterable[Sequence[bytes]]) -> Iterator[Extent]:
    """Write the file of a group, one piece after the other, each of sections; the extents of pieces."""
    with files.atomic_write(url, synced=False) as file:
        offset = 0
        for sections in pieces:
            file.write(b"".join(sections))
            sizes = tuple(map(len, sections))
            yield group, offset, sizes
            offset += sum(sizes)


def read_piece(url: str, extent: Extent) -> list[memoryview]:
    """The sections of a piece of the file at `url`, in one read.

    Raises
    ------
    DamagedError
        Where the file ends before.
    """
    _, offset, sizes = extent
    content = memoryview(files.read_range(url, offset, offset + sum(sizes)))
    if len(content) < sum(sizes):
        raise DamagedError(url, "it is truncated")
    ends = list(accumulate(sizes))
    return [content[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def as_bytes(table: pa.Table) -> bytes:
    """A table as a section of a piece, or as it crosses a shuffle."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def as_table(content: bytes | memoryview) -> pa.Table:
    """What `as_bytes` made."""
    return pa.ipc.open_stream(content).read_all()


def remove_scratch(run: Run) -> None:
    """Remove what steps that were stopped left in `run`, whether it goes on with them or not."""
    files.remove(run.path("input", NOTES))
    files.remove(run.path("input", TABLES))
    for folder in _SCRATCH:
        if run.makes(Stage(folder.partition("/")[0])):
            for name in scratch(folder):
                files.remove(run.path(folder, name))


def remove_laid_by(run: Run) -> None:
    """Remove what was counted of parts and lies by, once it is merged, and the sorted tables."""
    files.remove(run.path("input", TABLES))
    for folder in _SCRATCH:
        if folder.endswith(SUMMARIES) and run.makes(Stage(folder.partition("/")[0])):
            files.remove(run.path(folder, WORK))
