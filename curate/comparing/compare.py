"""Two runs compared: the numbers, the pairs that changed, and examples of them."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import files
from curate.comparing.fates import (
    ABSENT,
    CHANGED,
    KEPT,
    Ends,
    Fate,
    Joined,
    check_sum,
    joined,
    told,
)
from curate.comparing.sets import Sets, sets
from curate.config import file as config_file
from curate.errors import CurateError
from curate.finished.tables import Fates
from curate.report.thumbnails import thumbnails
from curate.rundir.borrowed import open_run
from curate.rundir.directory import Run, totals
from curate.summaries.tallies import Example, Key

PAGE, DOCUMENT, PAIRS = "index.html", "compare.json", "changed.parquet"
_SHOWN = 12
"""Pairs of a sheet."""
_BESIDE = {"out", "beam"}
SHEETS = 12
"""Sheets of the page: of the ends between which most pairs changed side."""


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    root: str
    state: str
    pairs: int  # in its pool
    kept: int
    funnel: tuple["Row", ...]


@dataclass(frozen=True)
class Row:
    """A stage of a funnel."""

    stage: str
    rows: int  # that came in
    kept: int
    dropped: int
    dead: int


@dataclass(frozen=True)
class Cell:
    """Pairs that came to one end in the first run, and to another in the second."""

    a: Fate
    b: Fate
    pairs: int

    @property
    def changed(self) -> bool:
        """Whether the ends differ."""
        return self.a != self.b

    @property
    def changed_side(self) -> bool:
        """Whether one of the runs kept the pairs, and the other did not."""
        return (self.a.verdict == KEPT) != (self.b.verdict == KEPT)


@dataclass(frozen=True)
class Sheet:
    """Examples of the pairs of a cell, those with the smallest uids."""

    a: Fate
    b: Fate
    pairs: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side."""

    a: Side
    b: Side
    cells: tuple[Cell, ...]  # of all pairs of both pools
    settings: tuple[tuple[str, str, str], ...]  # keys of the configurations that differ: a, b
    sets: Sets
    sheets: tuple[Sheet, ...]

    def count(self, *, a: bool, b: bool) -> int:
        """The pairs that the first run keeps or not, and the second."""
        return sum(
            x.pairs for x in self.cells
            if (x.a.verdict == KEPT) == a and (x.b.verdict == KEPT) == b
        )  # fmt: skip

    @property
    def changed(self) -> int:
        """Pairs whose end is another."""
        return sum(x.pairs for x in self.cells if x.changed)

    @property
    def shared(self) -> int:
        """Pairs that are in both pools."""
        return sum(x.pairs for x in self.cells if ABSENT not in (x.a, x.b))

    def rows(self) -> list[Fate]:
        """The ends in the first run, in flow order."""
        return sorted({x.a for x in self.cells}, key=lambda fate: fate.order)

    def columns(self) -> list[Fate]:
        """The ends in the second."""
        return sorted({x.b for x in self.cells}, key=lambda fate: fate.order)

    def to_json(self) -> dict[str, Any]:
        """The content of compare.json."""
        return {
            "runs": [asdict(self.a), asdict(self.b)],
            "pairs": {
                "in_both_pools": self.shared,
                "kept_by_both": self.count(a=True, b=True),
                "kept_by_the_first_only": self.count(a=True, b=False),
                "kept_by_the_second_only": self.count(a=False, b=True),
                "kept_by_neither": self.count(a=False, b=False),
                "changed": self.changed,
            },
            "matrix": [asdict(x) for x in self.cells],
            "settings": [{"key": key, "a": a, "b": b} for key, a, b in self.settings],
            "distributions": asdict(self.sets),
        }


def open_fates(url: str) -> Fates:
    """The run at `url`, to be compared; refused where it is damaged, or a revocation goes on."""
    run = open_run(url)
    return Fates(run, config_file.load(run.path("config.yaml")))


def compare(a: Fates, b: Fates, *, out: str) -> tuple[Comparison, dict[Key, str]]:
    """Compare two runs, and write their changed pairs to ``out/changed.parquet``.

    The small pictures of the examples are data: URIs by `Example.key`.

    Raises
    ------
    CurateError
        Where the pairs of a run are not as many as its records count.
    """
    if a.run.root == b.run.root:
        raise CurateError(f"{a.run.root}: both runs are the same; give another")
    ends, counts, examples = Ends(), Counter[tuple[int, int]](), _Examples()
    with files.atomic_write(files.join(out, PAIRS)) as file:
        with pq.ParquetWriter(file, CHANGED, compression="zstd") as writer:
            for one in joined(a, b, ends):
                changed = one.changed(ends.known)
                if len(changed):
                    writer.write_table(changed)
                _count(counts, one, len(ends.known))
                examples.add(changed)
        known = [*ends.known, ABSENT]  # which is -1
        cells = [Cell(known[i], known[j], pairs) for (i, j), pairs in counts.items()]
        for fates, name in ((a, "a"), (b, "b")):
            found = Counter[Fate]()
            for cell in cells:
                found[getattr(cell, name)] += cell.pairs
            del found[ABSENT]
            check_sum(dict(found), fates, told(fates))
    cells.sort(key=lambda x: (-x.pairs, x.a.order, x.b.order))
    moved = [x for x in cells if x.changed_side][:SHEETS]
    sheets = [Sheet(x.a, x.b, x.pairs, examples.of(x)) for x in moved]
    comparison = Comparison(
        _side(a), _side(b), tuple(cells), tuple(_settings(a, b)), sets(a, b), tuple(sheets)
    )
    return comparison, examples.pictures(a.run, b.run, sheets)


def _count(counts: Counter[tuple[int, int]], one: Joined, n: int) -> None:
    codes = (one.a.astype(np.int64) + 1) * (n + 1) + one.b + 1
    for code, pairs in zip(*np.unique(codes, return_counts=True), strict=True):
        counts[int(code) // (n + 1) - 1, int(code) % (n + 1) - 1] += int(pairs)


class _Examples:
    """Of the pairs that changed side those with the smallest uids, by their ends."""

    def __init__(self) -> None:
        self._found: dict[tuple[Fate, Fate], list[tuple[str, int, dict[str, Any]]]] = {}
        self._seen = 0

    def add(self, changed: pa.Table) -> None:
        """Look at pairs of `CHANGED`."""
        names = [f"{what}_{side}" for side in "ab" for what in ("verdict", "stage", "reason")]
        if not len(changed):
            return
        numbered = changed.append_column("row", pa.array(np.arange(len(changed))))
        numbered = numbered.sort_by("uid")
        for kind in numbered.group_by(names).aggregate([("row", "list")]).to_pylist():
            fates = [
                Fate(*(kind[f"{what}_{side}"] or "" for what in ("verdict", "stage", "reason")))
                for side in "ab"
            ]
            rows = changed.take(kind["row_list"][:_SHOWN]).to_pylist()
            held = self._found.setdefault((fates[0], fates[1]), [])
            for row in rows:
                self._seen += 1
                held.append((row["uid"] or "", self._seen, row))
            held[:] = heapq.nsmallest(_SHOWN, held)

    def of(self, cell: Cell) -> tuple[Example, ...]:
        """Those of a cell; the part is that of the first run that has the pair."""
        return tuple(_example(row) for _, _, row in self._found.get((cell.a, cell.b), ()))

    def pictures(self, a: Run, b: Run, sheets: list[Sheet]) -> dict[Key, str]:
        """Small pictures by the key of an example, of the run that has stored one."""
        shown = {x.key for sheet in sheets for x in sheet.examples}
        rows = [row for held in self._found.values() for _, _, row in held]
        found: dict[Key, str] = {}
        for run, side in ((a, "a"), (b, "b")):
            wanted = {}
            for row in rows:
                key, part = _example(row).key, row[f"part_{side}"]
                if key in shown and key not in found and part is not None:
                    wanted[_example(row, part).key] = key
            made = thumbnails(run, [Example(*key) for key in wanted])
            found |= {wanted[key]: uri for key, uri in made.items()}
        return found


def _example(row: dict[str, Any], part: int | None = None) -> Example:
    if part is None:
        part = row["part_a"] if row["part_a"] is not None else row["part_b"]
    value = row["value_a"] or row["value_b"] or ""
    return Example(part, row["uid"] or "", row["url"] or "", row["caption"] or "", value=value)


def _side(fates: Fates) -> Side:
    rows = []
    for stage in fates.stages:
        counts = totals(fates.run, stage)
        gone = sum(counts["dropped"].values()), sum(counts["dead"].values())
        rows.append(Row(str(stage), counts["rows"], counts["kept"], *gone))
    state = str(fates.run.state().get("state", ""))
    kept = told(fates).get(Fate(KEPT), 0)
    return Side(fates.run.root, state, rows[0].rows if rows else 0, kept, tuple(rows))


def _settings(a: Fates, b: Fates) -> Iterator[tuple[str, str, str]]:
    """The keys whose values differ, but for where the runs lie and what engine made them."""
    # What a configuration says, where it does not say it the default.
    said, whole = (
        [dict(_flat(x.config.model_dump(mode="json", exclude=_BESIDE, exclude_defaults=short)))
         for x in (a, b)]
        for short in (True, False)
    )  # fmt: skip
    for key in sorted({*said[0], *said[1]}):
        if said[0].get(key) != said[1].get(key):
            first, second = ({**full, **own} for own, full in zip(said, whole, strict=True))
            yield key, _told(first, key), _told(second, key)


def _told(found: dict[str, object], key: str) -> str:
    return "" if key not in found else str(found[key])


def _flat(found: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(found, dict) and found:
        for key, value in cast(dict[str, object], found).items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, found
