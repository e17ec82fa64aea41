"""Indexes of stored embeddings, by faiss: built once, beside the embeddings, and mapped into memory.

Consecutive parts with about `_BYTES` of vectors, a group, have a file of their own:
``index-KIND-FIRST-DIGEST.faiss``, whose name says what it was built from. So the memory that a build
takes does not grow with the run, parts that were added or scored again have the index of their group
built again and no other, and a file of other parts than stand is never read.

A vector is a row of a part: its id is ``part << 32 | row``. They are in inverted lists, a byte a
value; a group of few is one list of the values as they are stored, which is an exact search.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.finding.stored import IMAGE, Embeddings, spread
from curate.ops.scores.vectors import Vectors, unit
from curate.rundir.directory import SCORED, Run, part_name
from curate.schema import Stage

if TYPE_CHECKING:
    import faiss

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The part of each row, and its number there."""
_VERSION = 1
_BYTES = 1 << 29
"""Of the vectors of a group, at a byte a value."""
FLAT = 1 << 14
"""Vectors of which there is one list."""
MOST_LISTS = 512
"""Lists of an index: more find no more at the same cost, and take longer to build."""
_A_LIST = 32  # vectors of the training sample
_ROUNDS = 8
_LOOKED_AT = 8
"""One in so many lists is looked at for a query."""
_SAMPLED = 64  # parts that the training sample is of, at most
_NAME = re.compile(r"index-(img|txt)-\d+-[0-9a-f]+\.faiss$")


@dataclass(frozen=True)
class Group:
    """Consecutive parts, and the file of their index."""

    parts: tuple[int, ...]
    rows: int
    name: str


def groups(embeddings: Embeddings, *, kind: str = IMAGE) -> list[Group]:
    """The groups of a run's parts, as they stand."""
    run, folder = embeddings.run, embeddings.folder
    records = run.record_table(folder)
    if not len(records):
        return []
    most = _BYTES // (embeddings.any_width or _BYTES)
    of_parts: list[list[int]] = [[]]
    rows = 0
    counts = records["rows"].to_pylist()
    for at, n in enumerate(counts):
        if of_parts[-1] and rows + n > most:
            of_parts.append([])
            rows = 0
        of_parts[-1].append(at)
        rows += n
    found = []
    for places in of_parts:
        parts = tuple(records["part"][at].as_py() for at in places)
        digest = _digest(run, folder, records.take(pa.array(places)))
        name = f"index-{kind}-{parts[0]:05d}-{digest}.faiss"
        found.append(Group(parts, sum(counts[at] for at in places), name))
    return found


def _digest(run: Run, folder: str, records: pa.Table) -> str:
    """What stands of some parts: the settings that they were scored under, their rows and files."""
    stands = []
    for one in records.select(["part", "digest", "rows", "wrote"]).to_pylist():
        name = part_name(folder, one["part"], "npz")
        held = [(x["size"], x["crc32"]) for x in one["wrote"] if x["name"] == name]
        stands.append((one["part"], run.content(one["digest"]), one["rows"], held))
    return files.digest_of(_VERSION, stands)


def lists_for(n: int) -> int:
    """How many lists `n` vectors are divided into.

    >>> lists_for(1000), lists_for(100_000), lists_for(1_000_000)
    (1, 128, 512)
    """
    if n < FLAT:
        return 1
    return int(min(MOST_LISTS, 1 << round(np.log2(np.sqrt(n) / 2))))


def made_for(n: int, sample: Vectors) -> "faiss.IndexIVFScalarQuantizer":
    """An empty index for about `n` vectors, trained on some of them, (m, width) unit vectors."""
    import faiss

    width, lists = sample.shape[1], lists_for(n)
    kind = faiss.ScalarQuantizer.QT_8bit if lists > 1 else faiss.ScalarQuantizer.QT_fp16
    coarse = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFScalarQuantizer(coarse, width, lists, kind, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = _ROUNDS, 1
    index.cp.max_points_per_centroid = _A_LIST
    index.nprobe = max(lists // _LOOKED_AT, 1)
    index.train(sample)
    return index


def sample_of(embeddings: Embeddings, parts: Sequence[int], rows: int, *, kind: str) -> Vectors:
    """Vectors to train an index of `rows` of some parts by, evenly spread over them."""
    wanted = _A_LIST * lists_for(rows)
    some = spread(parts, n=_SAMPLED)
    found: list[Vectors] = []
    for part in some:
        stored = embeddings.all_of(part, kind)
        step = max(len(stored) * len(some) // wanted, 1)
        vectors = unit(stored[::step])
        found.append(vectors[vectors.any(axis=1)])
    found = [one for one in found if len(one)]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def build(embeddings: Embeddings, group: Group, *, kind: str = IMAGE) -> None:
    """Write the index of a group; nothing is written where it has no embedding."""
    import faiss

    sample = sample_of(embeddings, group.parts, group.rows, kind=kind)
    if not len(sample):
        return
    index = made_for(group.rows, sample)
    for part in group.parts:
        vectors = unit(embeddings.all_of(part, kind))
        known = np.flatnonzero(vectors.any(axis=1))
        if len(known):
            index.add_with_ids(vectors[known], known | (part << 32))
    with files.atomic_write(embeddings.run.path(embeddings.folder, group.name)) as file:
        writer = faiss.PyCallbackIOWriter(file.write)  # type: ignore[attr-defined]
        faiss.write_index(index, writer)
        del writer  # flushes


def missing(embeddings: Embeddings, *, kind: str = IMAGE) -> list[Group]:
    """The groups whose index is to be built; indexes of what does not stand any more are removed."""
    run, folder = embeddings.run, embeddings.folder
    found = groups(embeddings, kind=kind)
    there = {name for name in files.names(run.path(folder)) if _NAME.match(name)}
    for name in there.difference(one.name for one in found):
        if name.startswith(f"index-{kind}-"):
            files.remove(run.path(folder, name))
    return [group for group in found if group.name not in there]


def remove_indexes(run: Run) -> None:
    """Remove all indexes of a run: they hold the embeddings of its pairs."""
    folders = [x for x in run.steps(Stage.SCORE, spare=True) if x.startswith(SCORED)]
    for folder in folders:
        for name in files.names(run.path(folder)):
            if _NAME.match(name):
                files.remove(run.path(folder, name))


@lru_cache(maxsize=64)
def _opened(url: str) -> "faiss.IndexIVF":
    """An index, mapped into memory; of one in a store a copy is."""
    import faiss

    with files.local_copy(url) as path:
        return cast("faiss.IndexIVF", faiss.read_index(path, faiss.IO_FLAG_MMAP))


def nearest(embeddings: Embeddings, group: Group, query: Vectors, *, k: int) -> Rows:
    """Part and row of about the `k` nearest vectors of a group to a unit vector (width,)."""
    import faiss

    url = embeddings.run.path(embeddings.folder, group.name)
    if not files.exists(url):  # of a group without embeddings
        return np.empty(0, np.int64), np.empty(0, np.int64)
    index = _opened(url)
    lists = int(index.nlist)
    share = max(lists // _LOOKED_AT, 1, -(-lists * k // max(int(index.ntotal), 1)))
    asked = faiss.SearchParametersIVF()
    asked.nprobe = min(share, lists)
    _, ids = index.search(query[None], min(k, int(index.ntotal)), params=asked)
    ids = ids[0][ids[0] >= 0]
    return ids >> 32, ids & 0xFFFFFFFF
