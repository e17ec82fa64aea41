"""What the page asks: a page of pairs, how many there are, how a column is distributed."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from curate.browse.connection import Bound, Cell, in_words, path_of, quoted
from curate.browse.selection import Conditions, Selection
from curate.browse.table import MATCHES, PICTURE, Pairs, Verdict
from curate.errors import CurateError
from curate.schema import Stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Record = dict[str, Cell]
SHOWN = 60
"""Pairs of a page."""
BARS = 40
"""Bars of a histogram of numbers."""
TOP = 24
"""Values of a histogram of texts."""
_SKEWED = 20  # times the median that the highest value is, from which on an axis is logarithmic
_IDS = '"#branch", "#part", "#row"'


class Place(NamedTuple):
    """Where a pair stands: a branch of its run's table, a part, a row of the part's file."""

    branch: int
    part: int
    row: int


class Page(NamedTuple):
    """Some pairs of a selection, and after which of them the next page begins; None: no more."""

    places: list[Place]
    after: list[Cell] | None


class Bar(NamedTuple):
    """How many pairs have a value, or one from `low` up to `high`."""

    pairs: int
    value: str | None = None
    low: float | None = None
    high: float | None = None
    name: str | None = None  # of an entry


@dataclass(frozen=True)
class Histogram:
    """The distribution of a column."""

    column: str
    kind: str
    bars: list[Bar]
    others: int = 0  # pairs with further values
    missing: int = 0  # pairs without a value
    is_log: bool = False


@dataclass(frozen=True)
class Questions:
    """What can be asked of some runs."""

    pairs: tuple[Pairs, ...]
    connection: "DuckDBPyConnection"
    turns: threading.Semaphore  # questions that are answered at once

    def _ask(self, statement: str, bound: Bound) -> list[tuple[Cell, ...]]:
        with self.turns, in_words(), self.connection.cursor() as cursor:
            found: list[tuple[Cell, ...]] = cursor.execute(statement, bound).fetchall()
            return found

    def _conditions(self, run: int, selection: Selection) -> Conditions:
        survivors = self.survivors(run, selection.cluster) if selection.cluster else []
        return Conditions(self.pairs, run, selection, tuple(survivors))

    def survivors(self, run: int, uid: str) -> list[str]:
        """The uids of all pairs that stay in the cluster of the survivor `uid`."""
        table = self.pairs[run]
        held = [one for one in table.branches if one.has("cluster") and not one.is_ledger]
        late = [
            one for one in table.branches if one.verdict is Verdict.DROPPED and one.has("cluster")
        ]
        bound = Bound()
        rows = " UNION ALL ".join(
            f"({table.rows(one, ['uid', 'cluster'], bound)})" for one in (*held, *late)
        )
        if not rows:
            return [uid]
        found = self._ask(
            f"WITH r AS ({rows}) SELECT DISTINCT uid FROM r WHERE cluster IN"
            f" (SELECT cluster FROM r WHERE uid = {bound(uid)})",
            bound,
        )
        return sorted({uid, *(str(one) for (one,) in found)})

    def page(
        self, run: int, selection: Selection, *, sort: str = "", descending: bool = False,
        after: list[Cell] | None = None, limit: int = SHOWN,
    ) -> Page:  # fmt: skip
        """The pairs of a selection behind `after`, by a column or else as they stand."""
        conditions = self._conditions(run, selection)
        if not sort:
            return self._as_they_stand(conditions, after, limit)
        return self._sorted(conditions, sort, descending, after, limit)

    def _as_they_stand(self, conditions: Conditions, after: list[Cell] | None, limit: int) -> Page:
        table = self.pairs[conditions.run]
        last = _place(after) if after else Place(-1, 0, 0)
        places: list[Place] = []
        for nth, branch in enumerate(table.branches):
            if nth < last.branch or len(places) > limit:
                continue
            bound = Bound()
            if (rows := conditions.rows(branch, [], bound)) is None:
                continue
            behind = ""
            if nth == last.branch:
                behind = f' WHERE ("#part", "#row") > ({last.part}, {last.row})'
            found = self._ask(
                f'SELECT {_IDS} FROM ({rows}){behind} ORDER BY "#part", "#row"'
                f" LIMIT {limit + 1 - len(places)}",
                bound,
            )
            places += [_place(row) for row in found]
        is_more = len(places) > limit
        places = places[:limit]
        return Page(places, [*places[-1]] if is_more else None)

    def _sorted(
        self, conditions: Conditions, sort: str, descending: bool, after: list[Cell] | None,
        limit: int,
    ) -> Page:  # fmt: skip
        table = self.pairs[conditions.run]
        if sort not in table.columns:
            raise CurateError(f"sort={sort}: {table.run.root} has no such column")
        bound = Bound()
        ours = [conditions.rows(branch, [sort], bound) for branch in table.branches]
        rows = " UNION ALL ".join(
            f'SELECT {quoted(sort)} AS "#key", {_IDS} FROM ({one})' for one in ours if one
        )
        if not rows:
            return Page([], None)
        behind = ""
        if after:
            key, last = after[0], _place(after[1:])
            ids = f"({_IDS}) > ({last.branch}, {last.part}, {last.row})"
            if key is None:
                behind = f' WHERE "#key" IS NULL AND {ids}'
            else:
                sign, value = "<" if descending else ">", bound(key)
                behind = (
                    f' WHERE "#key" {sign} {value} OR ("#key" = {value} AND {ids})'
                    ' OR "#key" IS NULL'
                )
        way = "DESC" if descending else "ASC"
        found = self._ask(
            f'SELECT "#key", {_IDS} FROM ({rows}){behind}'
            f' ORDER BY "#key" {way} NULLS LAST, {_IDS} LIMIT {limit + 1}',
            bound,
        )
        shown = found[:limit]
        return Page(
            [_place(row[1:]) for row in shown], [*shown[-1]] if len(found) > limit else None
        )

    def details(self, run: int, places: Sequence[Place], *more: str) -> list[Record]:
        """The columns of the pairs at these places, in their order; also the columns `more`."""
        table = self.pairs[run]
        wanted = [*table.columns, *PICTURE, *more]
        found: dict[Place, Record] = {}
        for nth in sorted({place.branch for place in places}):
            if not 0 <= nth < len(table.branches):
                continue
            ours = [place for place in places if place.branch == nth]
            branch = table.branches[nth]
            parts = sorted({place.part for place in ours} & {*branch.parts})
            bound = Bound()
            if not parts:
                continue
            rows = table.rows(branch, wanted, bound, parts=parts)
            at = ", ".join(f"({place.part}, {place.row})" for place in ours)
            for row in self._ask(
                f'SELECT * FROM ({rows}) WHERE ("#part", "#row") IN ({at})', bound
            ):
                found[_place(row)] = dict(zip(wanted, row[3:], strict=True))
        return [found[place] for place in places if place in found]

    def groups(
        self, run: int, selection: Selection
    ) -> list[tuple[Verdict, Stage, str | None, int]]:
        """How many pairs there are of each verdict, stage and reason, whichever are selected."""
        conditions = self._conditions(run, selection.without("verdict", "stage", "reason"))
        found = []
        for branch in self.pairs[run].branches:
            bound = Bound()
            if (rows := conditions.rows(branch, ["reason"], bound)) is None:
                continue
            for reason, n in self._ask(
                f"SELECT reason, count(*) FROM ({rows}) GROUP BY 1 ORDER BY 2 DESC, 1", bound
            ):
                if isinstance(n, int) and n:
                    found.append((branch.verdict, branch.stage, reason and str(reason), n))
        return found

    def histogram(self, run: int, selection: Selection, name: str) -> Histogram:
        """The distribution of a column, or of `entry`, over a selection."""
        table, conditions = self.pairs[run], self._conditions(run, selection)
        column = table.columns.get(name)
        if column is None and name != "entry":
            raise CurateError(f"{name}: {table.run.root} has no such column")
        wanted = [name] if column else [MATCHES, "language"]
        bound = Bound()
        rows = " UNION ALL ".join(
            f"SELECT {', '.join(map(quoted, wanted))} FROM ({one})"
            for branch in table.branches
            if (one := conditions.rows(branch, wanted, bound)) is not None
        )
        if not rows:
            return Histogram(name, column.kind if column else "entry", [])
        if column is None:
            return self._entries(rows, bound)
        rows = f"SELECT {quoted(name)} AS x FROM ({rows})"
        return (
            self._numbers(name, rows, bound)
            if column.kind == "number"
            else self._texts(name, rows, bound)
        )

    def _texts(self, name: str, rows: str, bound: Bound) -> Histogram:
        found = self._ask(
            f"SELECT x::VARCHAR, count(*) n, sum(n) OVER () FROM ({rows}) GROUP BY x"
            f" ORDER BY x IS NULL DESC, n DESC, x LIMIT {TOP + 1}",
            bound,
        )
        missing = sum(int(str(n)) for x, n, _ in found if x is None)
        bars = [Bar(int(str(n)), value=str(x)) for x, n, _ in found if x is not None][:TOP]
        total = int(str(found[0][2])) if found else 0
        others = total - missing - sum(one.pairs for one in bars)
        return Histogram(name, "text", bars, others, missing)

    def _entries(self, rows: str, bound: Bound) -> Histogram:
        found = self._ask(
            "SELECT language, entry_id, count(*) n FROM (SELECT language, unnest(matches) AS entry_id"
            f" FROM ({rows})) GROUP BY ALL ORDER BY n DESC, 1, 2 LIMIT {TOP}",
            bound,
        )
        bars = [Bar(int(str(n)), value=f"{language}:{entry}") for language, entry, n in found]
        return Histogram("entry", "entry", bars)

    def _numbers(self, name: str, rows: str, bound: Bound) -> Histogram:
        ((least, most, median, count, total),) = self._ask(
            "SELECT min(x)::DOUBLE, max(x)::DOUBLE, approx_quantile(x, 0.5)::DOUBLE, count(x), count(*)"
            f" FROM ({rows})",
            bound,
        )
        missing = int(str(total)) - int(str(count))
        if not isinstance(least, float) or not isinstance(most, float):
            return Histogram(name, "number", [], missing=missing)
        middle = median if isinstance(median, float) else least
        is_log = least > 0 and most > _SKEWED * middle
        scale = "ln(x::DOUBLE)" if is_log else "x::DOUBLE"
        low, high = (math.log(least), math.log(most)) if is_log else (least, most)
        width = (high - low) / BARS or 1.0
        found = dict(self._ask(
            f"SELECT least(greatest(floor(({scale} - {bound(low)}) / {bound(width)}), 0),"
            f" {BARS - 1})::BIGINT, count(*) FROM ({rows}) WHERE x IS NOT NULL GROUP BY 1",
            bound,
        ))  # fmt: skip
        edges = [low + i * width for i in range(BARS + 1)]
        ends = [math.exp(x) for x in edges] if is_log else edges
        ends[0], ends[-1] = least, max(most, ends[-1]) if low == high else most
        bars = [Bar(int(str(found.get(i, 0))), low=ends[i], high=ends[i + 1]) for i in range(BARS)]
        return Histogram(name, "number", bars if low < high else bars[:1], 0, missing, is_log)

    def fates(self, run: int, uids: Sequence[str]) -> dict[str, Record]:
        """What became of pairs in a run, by uid; of several with one uid, of the one kept."""
        table = self.pairs[run]
        names = ["uid", "verdict", "stage", "reason", "value"]
        bound = Bound()
        wanted = bound([*uids])
        rows = " UNION ALL ".join(
            f"SELECT {', '.join(names)}, {nth} AS nth FROM ({table.rows(branch, names, bound)})"
            f" WHERE uid IN (SELECT unnest({wanted}))"
            for nth, branch in enumerate(table.branches)
        )
        found: dict[str, Record] = {}
        for row in self._ask(f"{rows} ORDER BY nth DESC", bound) if rows else ():
            found[str(row[0])] = dict(zip(names, row, strict=False))
        return found

    def entries(
        self, url: str, *, text: str = "", ids: Sequence[tuple[str, int]] = (), limit: int = 1000
    ) -> list[Record]:
        """Counted entries with a text in them, most pairs first; or those with these ids."""
        bound = Bound()
        names = ("language", "entry_id", "entry", "count", "probability", "kept")
        said = f"contains(lower(entry), {bound(text.lower())})"
        if ids:
            bound.clear()
            said = " OR ".join(
                f"(language = {bound(language)} AND entry_id = {bound(entry)})"
                for language, entry in ids
            )
        found = self._ask(
            f"SELECT {', '.join(names)} FROM read_parquet({bound(path_of(url))}) WHERE {said}"
            f" ORDER BY lower(entry) = {bound(text.lower())} DESC, count DESC, entry LIMIT {limit}",
            bound,
        )
        return [dict(zip(names, row, strict=True)) for row in found]

    def places(self, run: int, uid: str) -> list[Place]:
        """Where the pairs with a uid stand."""
        return self.page(run, Selection(equal={"uid": (uid,)})).places

    def uids(self, run: int, selection: Selection) -> Iterator[str]:
        """The uids of all pairs of a selection, ascending, each once."""
        table, conditions = self.pairs[run], self._conditions(run, selection)
        bound = Bound()
        rows = " UNION ALL ".join(
            f"SELECT uid FROM ({one})"
            for branch in table.branches
            if (one := conditions.rows(branch, ["uid"], bound)) is not None
        )
        if not rows:
            return
        with self.turns, in_words(), self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT DISTINCT uid FROM ({rows}) WHERE uid IS NOT NULL ORDER BY uid", bound
            )
            while some := cursor.fetchmany(1 << 14):
                yield from (uid for (uid,) in some)


def _place(row: Sequence[Cell]) -> Place:
    branch, part, row_number = (int(str(x)) for x in row[:3])
    return Place(branch, part, row_number)
