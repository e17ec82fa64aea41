"""Stored embeddings as other tools read them: clip-retrieval, faiss, Lance, parquet.

All rows are those of the scored pairs that have an embedding, in the order of the parts. What is
written is a copy, which nothing changes afterwards. Memory does not grow with the run but for the
indexes of clip-retrieval and faiss: these are one file each, a byte a value.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError
from curate.extras import install, require
from curate.finding.fates import KEPT
from curate.finding.index import made_for, sample_of
from curate.finding.search import Search
from curate.finding.stored import IMAGE, TEXT
from curate.ops.scores.vectors import Stored, unit
from curate.rundir.directory import part_name

_A_FILE = 1 << 17
"""Rows of a file of clip-retrieval, at most."""
_NAMES = {IMAGE: "image", TEXT: "text"}


@dataclass(frozen=True)
class Rows:
    """Pairs and their embeddings, row by row."""

    part: int
    pairs: pa.Table
    vectors: dict[str, Stored]  # by kind, as they are stored: (n, width) each

    def table(self) -> pa.Table:
        """The pairs with `image_embedding` and `text_embedding`, lists of a fixed length of float32."""
        table = self.pairs
        for kind, vectors in self.vectors.items():
            values = pa.array(vectors.astype(np.float32).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
            table = table.append_column(f"{_NAMES[kind]}_embedding", column)
        return table


class Source:
    """The rows to write of a run: of all scored pairs, or of those that were kept."""

    def __init__(self, search: Search, *, kept: bool) -> None:
        self.search, self.embeddings, self._kept = search, search.embeddings, kept
        records = self.embeddings.run.record_table(self.embeddings.folder)
        self.most = sum(records["rows"].to_pylist())

    def __iter__(self) -> Iterator[Rows]:
        for part in self.embeddings.parts:
            rows = self._of(part)
            if rows is not None and len(rows.pairs):
                yield rows

    def _of(self, part: int) -> Rows | None:
        vectors = {kind: self.embeddings.all_of(part, kind) for kind in (IMAGE, TEXT)}
        if not vectors[IMAGE].shape[1]:
            return None
        told = self.search.part(part)
        verdicts = np.array([fate.verdict for fate in told.fates], object)
        rows = np.isfinite(vectors[IMAGE]).all(axis=1) & vectors[IMAGE].any(axis=1)
        if self._kept:
            rows &= verdicts == KEPT
        pairs = told.pairs.append_column(self.embeddings.column, told.scores)
        for name, values in (
            ("verdict", verdicts.tolist()),
            ("stage", [fate.stage for fate in told.fates]),
            ("reason", [fate.reason or None for fate in told.fates]),
        ):
            pairs = pairs.append_column(name, pa.array(values, pa.string()))
        chosen = pairs.filter(pa.array(rows)).combine_chunks()
        return Rows(part, chosen, {kind: one[rows] for kind, one in vectors.items()})


def _parquet(source: Source, folder: str) -> int:
    """A file a part."""
    total = 0
    for rows in source:
        os.makedirs(folder, exist_ok=True)
        pq.write_table(rows.table(), f"{folder}/{part_name('', rows.part).lstrip('/')}")
        total += len(rows.pairs)
    return total


def _lance(source: Source, folder: str) -> int:
    """One table."""
    import lance

    total = 0
    each = iter(source)
    first = next(each, None)
    if first is None:
        return 0
    columns = first.table().schema

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal total
        for rows in (first, *each):
            total += len(rows.pairs)
            yield from rows.table().cast(columns).to_batches()

    lance.write_dataset(pa.RecordBatchReader.from_batches(columns, batches()), folder)
    return total


def _faiss(source: Source, folder: str) -> int:
    """``image.index`` and ``text.index`` over ids from 0, and ``ids.parquet`` with the pair of each."""
    writer, total = None, 0
    indexes = _Indexes(source)
    for rows in source:
        if writer is None:
            os.makedirs(folder, exist_ok=True)
            writer = pq.ParquetWriter(f"{folder}/ids.parquet", rows.pairs.schema)
        writer.write_table(rows.pairs)
        indexes.add(rows)
        total += len(rows.pairs)
    if writer is not None:
        writer.close()
        indexes.write(folder)
    return total


def _clip_retrieval(source: Source, folder: str) -> int:
    """The folders of ``clip-retrieval inference`` and the indexes of ``clip-retrieval index``."""
    held: list[Rows] = []
    indexes, total, n = _Indexes(source), 0, 0
    digits = len(str(max(-(-source.most // _A_FILE) + len(source.embeddings.parts), 1)))

    def write(some: list[Rows], number: int) -> None:
        name = f"{number:0{digits}d}"
        for kind, where in ((IMAGE, "img_emb"), (TEXT, "text_emb")):
            os.makedirs(f"{folder}/{where}", exist_ok=True)
            stored = np.concatenate([rows.vectors[kind] for rows in some])
            np.save(f"{folder}/{where}/{where}_{name}.npy", _units(stored))
        os.makedirs(f"{folder}/metadata", exist_ok=True)
        table = pa.concat_tables([rows.pairs for rows in some])
        pq.write_table(table, f"{folder}/metadata/metadata_{name}.parquet")

    for rows in source:
        if held and sum(len(one.pairs) for one in held) + len(rows.pairs) > _A_FILE:
            write(held, n)
            held, n = [], n + 1
        held.append(rows)
        indexes.add(rows)
        total += len(rows.pairs)
    if held:
        write(held, n)
        indexes.write(folder)
    return total


def _units(stored: Stored) -> NDArray[np.float16]:
    return unit(stored).astype(np.float16)


class _Indexes:
    """An index of the images and one of the captions, by rows from 0."""

    def __init__(self, source: Source) -> None:
        embeddings = source.embeddings
        samples = {
            kind: sample_of(embeddings, embeddings.parts, source.most, kind=kind)
            for kind in (IMAGE, TEXT)
        }
        self._of = {kind: made_for(source.most, x) for kind, x in samples.items() if len(x)}

    def add(self, rows: Rows) -> None:
        for kind, index in self._of.items():
            index.add(unit(rows.vectors[kind]))

    def write(self, folder: str) -> None:
        import faiss

        for kind, index in self._of.items():
            faiss.write_index(index, f"{folder}/{_NAMES[kind]}.index")


@dataclass(frozen=True)
class Format:
    """A format: how a source is written to a new folder, which gives the number of rows."""

    write: Callable[[Source, str], int]
    check: Callable[[], None] = lambda: None  # raises where a package is missing


FORMATS = {
    "clip-retrieval": Format(_clip_retrieval),
    "faiss": Format(_faiss),
    "lance": Format(
        _lance, lambda: require("lance", by="--format lance", command=install("lance"))
    ),
    "parquet": Format(_parquet),
}
"""Those that there are, by name."""


def write(search: Search, kind: str, out: str, *, kept: bool = False) -> int:
    """Write the embeddings of a run to the new folder `out`; the number of rows.

    Raises
    ------
    CurateError
        Where something stands there, there is no row to write, or a package is missing.
    """
    with files.new_folder(out, what=kind) as folder:
        FORMATS[kind].check()
        rows = FORMATS[kind].write(Source(search, kept=kept), folder)
        if not rows:
            raise CurateError(f"{search.run.root}: no pair to write has an embedding")
    return rows
