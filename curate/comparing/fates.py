"""What became of each pair in two runs, joined by uid in bounded memory.

The pairs of both pools are spooled to local disk by a hash of their uid, and joined a bucket at a
time. A uid may stand several times in a pool: where as many of its pairs came to the same end in both
runs these are taken for the same, and those that are left are joined in the order of their ends.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.files.stores import told_of_temporary
from curate.finished.tables import Fates
from curate.ops.hashing import hash64
from curate.rundir.directory import PART_STAGES
from curate.schema import Stage

_TOGETHER = 1 << 18
"""Pairs of a run that are joined at once, about."""
_MOST_BITS = 8
_READ = ["uid", "url", "caption", "part", "stage", "verdict", "reason", "value"]
_SPOOLED = pa.schema(
    [("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("part", pa.int32()),
     ("value", pa.string()), ("fate", pa.int32())]
)  # fmt: skip
CHANGED = pa.schema(
    [("uid", pa.string()), ("url", pa.string()), ("caption", pa.string())]
    + [(f"{name}_{side}", pa.string()) for side in "ab"
       for name in ("verdict", "stage", "reason", "value")]
    + [(f"part_{side}", pa.int32()) for side in "ab"]
)  # fmt: skip
"""`changed.parquet`: each pair whose end is another in the two runs; `a` is the first."""


@dataclass(frozen=True)
class Fate:
    """An end that pairs come to in a run."""

    verdict: str  # kept, dropped, dead, pending; or absent, where a pair is not in the pool
    stage: str = ""
    reason: str = ""

    @property
    def label(self) -> str:
        """It in words."""
        if self.verdict == "absent":
            return "not in the pool"
        if self.verdict == "kept":
            return "kept"
        return f"{self.stage}: {self.reason or self.verdict}"

    @property
    def order(self) -> tuple[int, str, str]:
        """Its place among others, in flow order; kept pairs and those of no pool come last."""
        if self.verdict == "kept":
            return len(PART_STAGES), "", ""
        stages = [str(stage) for stage in PART_STAGES]
        place = stages.index(self.stage) if self.stage in stages else len(stages) + 1
        return place, self.verdict, self.reason


ABSENT, KEPT = Fate("absent"), "kept"


@dataclass
class Ends:
    """The ends of both runs by their number, which grows as they are met."""

    known: list[Fate] = field(default_factory=list)
    numbers: dict[tuple[str | None, ...], int] = field(default_factory=dict)

    def of(self, table: pa.Table) -> NDArray[np.int32]:
        """The number of each row's end, shape (n,)."""
        columns = ["stage", "verdict", "reason"]
        kinds = table.group_by(columns).aggregate([]).to_pylist()
        found = np.full(len(table), -1, np.int32)
        for kind in kinds:
            key = tuple(kind[name] for name in columns)
            if key not in self.numbers:
                self.numbers[key] = len(self.known)
                kept = kind["verdict"] == KEPT  # in runs that end with other stages, too
                fate = Fate(kind["verdict"], "" if kept else kind["stage"], kind["reason"] or "")
                if fate in self.known:
                    self.numbers[key] = self.known.index(fate)
                else:
                    self.known.append(fate)
            mask = np.ones(len(table), np.bool_)
            for name, value in kind.items():
                same = pc.is_null(table[name]) if value is None else pc.equal(table[name], value)
                mask &= np.asarray(pc.fill_null(same, False))
            found[mask] = self.numbers[key]
        return found


@dataclass(frozen=True)
class Joined:
    """The pairs of a bucket in both runs: ends by number, -1 where a pair is not in the pool."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    tables: tuple[pa.Table, pa.Table]  # of each run
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]  # in them, -1 likewise

    def changed(self, ends: Sequence[Fate]) -> pa.Table:
        """The pairs whose ends differ, of the schema `CHANGED`."""
        differ = np.flatnonzero(self.a != self.b)
        columns: dict[str, pa.Array] = {}
        took = [
            table.take(pa.array(rows[differ], mask=rows[differ] < 0))
            for table, rows in zip(self.tables, self.rows, strict=True)
        ]
        for name in ("uid", "url", "caption"):
            columns[name] = pc.coalesce(*(one[name] for one in took))
        # Those that have no uid are told by a name that is no uid.
        columns["uid"] = pc.if_else(pc.starts_with(columns["uid"], "\0"), None, columns["uid"])
        for side, numbers, one in zip("ab", (self.a, self.b), took, strict=True):
            fates = [ABSENT if n < 0 else ends[n] for n in numbers[differ].tolist()]
            for what in ("verdict", "stage", "reason"):
                texts = [getattr(fate, what) or None for fate in fates]
                columns[f"{what}_{side}"] = pa.array(texts, pa.string())
            columns[f"value_{side}"], columns[f"part_{side}"] = one["value"], one["part"]
        return pa.table([columns[name] for name in CHANGED.names], schema=CHANGED)


def joined(
    a: Fates, b: Fates, ends: Ends, *, watch: Callable[[pa.Table], object] = lambda table: None
) -> Iterator[Joined]:
    """The pairs of both runs, a bucket at a time; each once."""
    total = max(sum(x.run.record_table(x.stages[0])["rows"].to_pylist()) if x.stages else 0
                for x in (a, b))  # fmt: skip
    bits = min(max(0, (total - 1) // _TOGETHER).bit_length(), _MOST_BITS)
    with ExitStack() as held, told_of_temporary():
        spool = Path(held.enter_context(tempfile.TemporaryDirectory()))
        for name, fates in (("a", a), ("b", b)):
            _spool(fates, ends, spool / name, bits=bits)
        for bucket in range(1 << bits):
            first, second = (_read(spool / name / f"{bucket}") for name in ("a", "b"))
            yield _join(first, second, len(ends.known))
            for name in ("a", "b"):
                (spool / name / f"{bucket}").unlink()


def _spool(fates: Fates, ends: Ends, folder: Path, *, bits: int) -> None:
    folder.mkdir()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(str(folder / f"{i}"), _SPOOLED, options=options))
            for i in range(1 << bits)
        ]
        for _, table in fates.tables(_READ):
            rows = _named(table).append_column("fate", pa.array(ends.of(table)))
            rows = rows.select(_SPOOLED.names).cast(_SPOOLED)
            if not bits:
                writers[0].write_table(rows)
                continue
            place = hash64(rows["uid"]) >> np.uint64(64 - bits)
            order = np.argsort(place, kind="stable")
            counts = np.bincount(place.astype(np.int64), minlength=1 << bits)
            ordered, start = rows.take(pa.array(order)).combine_chunks(), 0
            for i in np.flatnonzero(counts):
                writers[i].write_table(ordered.slice(start, int(counts[i])))
                start += int(counts[i])


def _named(table: pa.Table) -> pa.Table:
    """Rows with a name for a uid where they have none: dead ones, told by what is known of them."""
    uids = table["uid"]
    if not uids.null_count:
        return table
    at = np.flatnonzero(pc.is_null(uids))
    names = uids.to_numpy(zero_copy_only=False).copy()
    known = table.select(["url", "caption", "reason", "value"]).take(pa.array(at)).to_pylist()
    for row, one in zip(at, known, strict=True):
        names[row] = "\0" + hashlib.sha256(repr([*one.values()]).encode()).hexdigest()
    place = table.column_names.index("uid")
    return table.set_column(place, "uid", pa.array(names, pa.string()))


def _read(path: Path) -> pa.Table:
    with pa.ipc.open_stream(str(path)) as reader:
        return reader.read_all()


def _join(a: pa.Table, b: pa.Table, n: int) -> Joined:
    uids = pa.chunked_array([*a["uid"].chunks, *b["uid"].chunks], pa.string())
    codes = uids.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    ua, ub = codes[: len(a)], codes[len(a) :]
    fa, fb = (x["fate"].to_numpy().astype(np.int32) for x in (a, b))
    same = _matched(_nth(ua * n + fa, len(a) + len(b)), _nth(ub * n + fb, len(a) + len(b)))
    left = [np.setdiff1d(np.arange(len(x)), one) for x, one in zip((a, b), same, strict=True)]
    order = [
        rows[np.lexsort((f[rows], u[rows]))]
        for rows, f, u in zip(left, (fa, fb), (ua, ub), strict=True)
    ]
    others = _matched(
        *(_nth(u[rows], len(a) + len(b)) for u, rows in zip((ua, ub), order, strict=True))
    )
    moved = [rows[one] for rows, one in zip(order, others, strict=True)]
    alone = [np.setdiff1d(rows, one) for rows, one in zip(left, moved, strict=True)]
    none = [np.full(len(one), -1, np.int64) for one in alone]
    rows = (
        np.concatenate([same[0], moved[0], alone[0], none[1]]),
        np.concatenate([same[1], moved[1], none[0], alone[1]]),
    )
    ends = [
        np.where(at < 0, -1, f[at] if len(f) else -1) for at, f in zip(rows, (fa, fb), strict=True)
    ]
    return Joined(ends[0].astype(np.int32), ends[1].astype(np.int32), (a, b), rows)


def _nth(keys: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Each key with how many of the same came before it, as one number; `most` bounds these."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = (
        np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, int)
    )
    before = np.arange(len(keys)) - np.repeat(first, np.diff(np.r_[first, len(keys)]))
    found = np.empty(len(keys), np.int64)
    found[order] = ordered * (most + 1) + before
    return found


def _matched(
    a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the keys that both have; each has a key once."""
    _, rows_a, rows_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return rows_a.astype(np.int64), rows_b.astype(np.int64)


def told(fates: Fates) -> dict[Fate, int]:
    """How many pairs of a run came to each end, by the records of its parts."""
    found: dict[Fate, int] = {}
    kept: dict[int, tuple[Stage, int]] = {}  # of each part, where it has come to
    before: Stage | None = None
    for stage in fates.stages:
        for index, record in fates.run.records(stage):
            if before is not None and kept.get(index, (None, 0))[0] is not before:
                continue
            kept[index] = stage, record.kept
            for verdict, counts in (("dropped", record.dropped), ("dead", record.dead)):
                for reason, n in counts.items():
                    fate = Fate(verdict, str(stage), reason)
                    found[fate] = found.get(fate, 0) + n
        before = stage
    for stage, n in kept.values():
        fate = Fate(KEPT) if stage is fates.last else Fate("pending", str(stage))
        found[fate] = found.get(fate, 0) + n
    return {fate: n for fate, n in found.items() if n}


def check_sum(found: dict[Fate, int], fates: Fates, told: dict[Fate, int]) -> None:
    """Raise where the ends of a run's pairs are not what its records counted.

    `found` are the pairs by end as they were joined, `told` as the funnel has them.
    """
    for fate in {**found, **told}:
        if found.get(fate, 0) != told.get(fate, 0):
            raise CurateError(
                f"{fates.run.root}: {told.get(fate, 0):,} pairs are {fate.label!r} by its records, and"
                f" {found.get(fate, 0):,} by its tables; wait until no command is at work there, then"
                " compare again"
            )
