"""Some pairs of a finished set as shards of their own, each pair with the concepts that it is of."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import pyarrow as pa

from curate import files
from curate.finished.export import Members, members
from curate.finished.indexes import shards_of
from curate.rundir.directory import SIZES, Run
from curate.rundir.shards import shard_rows
from curate.rundir.tar import TarWriter

OF_CONCEPTS = pa.schema(
    [("concepts", pa.list_(pa.string())), ("concept_similarity", pa.list_(pa.float32()))]
)
"""What the copies say of a pair beside what its set does: its concepts, and how near it is to each."""


@dataclass(frozen=True)
class _Of:
    """What the copy of a pair says more than its set does."""

    concepts: list[str] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Copied:
    """A pair of the set: its row in the table of its shard, its files, its concepts."""

    table: pa.Table
    row: int
    files: Members
    of: _Of


def write_copies(run: Run, table: pa.Table, out: str, *, rows: int) -> tuple[int, int]:
    """Copy the pairs of a table of `best` from the shards of a run to the new folder `out`.

    Image and text are the bytes that they were; key and concepts are written to the JSON and the
    parquet files. A shard has `rows` pairs; a pair of several concepts is there once. How many
    shards and pairs were written.

    Raises
    ------
    CurateError
        Where something stands at `out`, or the run has no finished set.
    """
    wanted: dict[str, _Of] = {}
    columns = (table[x].to_pylist() for x in ("uid", "concept", "similarity"))
    for uid, concept, similarity in zip(*columns, strict=True):
        of = wanted.setdefault(uid, _Of())
        of.concepts.append(concept)
        of.similarities.append(similarity)
    sizes: dict[str, int] = {}
    with files.new_folder(out, what="a copy of pairs") as folder:
        left = _chosen(run, wanted)
        for first in left:
            name = f"{len(sizes):05d}"
            pairs = chain([first], islice(left, rows - 1))
            sizes[f"{name}.tar"] = _write(folder, name, pairs, digits=len(str(rows - 1)))
        files.write_json(files.join(folder, SIZES), sizes)
    return len(sizes), sum(sizes.values())


def _chosen(run: Run, wanted: dict[str, _Of]) -> Iterator[_Copied]:
    """The pairs of a run's set that are wanted, each uid once, in the set's order."""
    for shard in shards_of(run):
        table = shard_rows(run, shard["name"])
        uids = table["uid"].to_pylist()
        rows = {key: at for at, key in enumerate(table["key"].to_pylist()) if uids[at] in wanted}
        if not rows:
            continue
        for key, found in members(run, shard):
            if key in rows and (of := wanted.pop(uids[rows[key]], None)):
                yield _Copied(table, rows[key], found, of)


def _write(folder: str, name: str, pairs: Iterable[_Copied], *, digits: int) -> int:
    """Write a shard of pairs; how many they are."""
    keys: list[str] = []
    told: list[_Of] = []
    rows: list[tuple[pa.Table, list[int]]] = []  # consecutive ones of a table together
    with files.atomic_write(files.join(folder, f"{name}.tar")) as file:
        tar = TarWriter(file, hashed=False)
        for at, pair in enumerate(pairs):
            key, of = f"{name}{at:0{digits}d}", pair.of
            more = dict(zip(OF_CONCEPTS.names, (of.concepts, of.similarities), strict=True))
            for ending, content in pair.files:
                if ending == "json":
                    document = json.loads(content) | {"key": key, **more}
                    content = json.dumps(document, ensure_ascii=False).encode()
                tar.add(f"{key}.{ending}", content)
            keys.append(key)
            told.append(of)
            if not rows or rows[-1][0] is not pair.table:
                rows.append((pair.table, []))
            rows[-1][1].append(pair.row)
        tar.end()
    table = pa.concat_tables(table.take(pa.array(some)) for table, some in rows)
    place = table.column_names.index("key")
    table = table.set_column(place, table.schema.field(place), pa.array(keys))
    values = [x.concepts for x in told], [x.similarities for x in told]
    for column, listed in zip(OF_CONCEPTS, values, strict=True):
        table = table.append_column(column, pa.array(listed, column.type))
    files.write_table(files.join(folder, f"{name}.parquet"), table)
    return len(keys)
