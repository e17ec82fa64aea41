"""What the page asks: a page of pairs, how many there are, what became of them elsewhere."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from curate.browse.connection import Bound, Cell, in_words, path_of, quoted
from curate.browse.selection import Conditions, Selection
from curate.browse.table import PICTURE, Pairs, Verdict
from curate.errors import CurateError
from curate.schema import Stage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Record = dict[str, Cell]
SHOWN = 60
"""Pairs of a page."""
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

    @property
    def is_whole(self) -> bool:
        """Whether there are no further pairs."""
        return self.after is None


@dataclass(frozen=True)
class Questions:
    """What can be asked of some runs."""

    pairs: tuple[Pairs, ...]
    connection: "DuckDBPyConnection"
    turns: threading.Semaphore  # questions that are answered at once

    def ask(self, statement: str, bound: Bound) -> list[tuple[Cell, ...]]:
        """The rows of the answer to a statement."""
        with self.turns, in_words(), self.connection.cursor() as cursor:
            found: list[tuple[Cell, ...]] = cursor.execute(statement, bound).fetchall()
            return found

    def conditions(self, run: int, selection: Selection) -> Conditions:
        """A selection of the pairs of a run, in SQL."""
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
        found = self.ask(
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
        conditions = self.conditions(run, selection)
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
            found = self.ask(
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
        found = self.ask(
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
            for row in self.ask(f'SELECT * FROM ({rows}) WHERE ("#part", "#row") IN ({at})', bound):
                found[_place(row)] = dict(zip(wanted, row[3:], strict=True))
        return [found[place] for place in places if place in found]

    def groups(
        self, run: int, selection: Selection
    ) -> list[tuple[Verdict, Stage, str | None, int]]:
        """How many pairs there are of each verdict, stage and reason, whichever are selected."""
        conditions = self.conditions(run, selection.without("verdict", "stage", "reason"))
        found: list[tuple[Verdict, Stage, str | None, int]] = []
        for branch in self.pairs[run].branches:
            bound = Bound()
            if (rows := conditions.rows(branch, ["reason"], bound)) is None:
                continue
            for reason, n in self.ask(
                f"SELECT reason, count(*) FROM ({rows}) GROUP BY 1 ORDER BY 2 DESC, 1", bound
            ):
                why = None if reason is None else str(reason)
                found.append((branch.verdict, branch.stage, why, whole(n)))
        return found

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
        for row in self.ask(f"{rows} ORDER BY nth DESC", bound) if rows else ():
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
        found = self.ask(
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
        table, conditions = self.pairs[run], self.conditions(run, selection)
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
    return Place(*map(whole, row[:3]))


def whole(value: Cell) -> int:
    """A whole number that a question gave."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value
