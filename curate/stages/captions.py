"""Several captions of each pair of a part: found, judged one by one by the text steps, one chosen.

Captions come from the pool's columns and from tables of the user's, which are sorted before the first
part comes (`pool.joined`). A pair leaves where none of its captions stays, for the reason of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.config import ORIGINAL, weights_of
from curate.ops import captions as ops
from curate.ops import lent
from curate.planning.asked import caption_tables, choice_of
from curate.planning.plan import Plan
from curate.pool.joined import Sorted, UserTable, opened
from curate.reasons import DropReason
from curate.rundir.directory import Run
from curate.rundir.scratch import TABLES
from curate.schema import CAPTIONS, LENT, WITH_LENT, Column, Stage, kept_name
from curate.stages.part import Sieve, as_text

_PLACE, _REASON, _VALUE = "_place", "_reason", "_value"


@dataclass(frozen=True)
class Source:
    """Where captions beside the pair's own come from; without column and table, from duplicates."""

    name: str
    column: str = ""  # of the pool, as it is called in the run
    table: str = ""  # the folder of a sorted table, in place of a column
    on: str = "uid"  # what that is joined by

    @property
    def is_lent(self) -> bool:
        """Whether duplicates lend theirs: there is none before dedup."""
        return not (self.column or self.table)

    def of(self, pairs: pa.Table) -> tuple[NDArray[np.int64], Column]:
        """Captions, and the row of the pair that each is of, ascending."""
        if self.is_lent:
            return np.zeros(0, np.int64), pa.array([], pa.string())
        if not self.table:
            return np.arange(len(pairs)), pairs[self.column].cast(pa.string())
        rows, found = self._sorted.look_up(pairs[self.on])
        return rows, found.column(0)

    @cached_property
    def _sorted(self) -> Sorted:
        return opened(self.table)


@dataclass(frozen=True)
class Captions:
    """The sources of captions, and which caption is chosen."""

    sources: tuple[Source, ...]  # beside the pair's own
    weights: tuple[float, ...]  # of the pair's own, then of the sources
    choice: ops.Choice

    @property
    def names(self) -> tuple[str, ...]:
        """The sources, the pair's own first."""
        return (ORIGINAL, *(source.name for source in self.sources))

    @property
    def lent(self) -> str | None:
        """The source that duplicates lend, if there is one."""
        return next((source.name for source in self.sources if source.is_lent), None)

    @property
    def columns(self) -> pa.Schema:
        """What is known of the captions of a pair."""
        return WITH_LENT if self.lent else CAPTIONS

    def with_lent(self, pairs: pa.Table, found: Column) -> pa.Table:
        """`pairs` with the captions that others lend to each, a list or null, and one chosen of all."""
        captions = lent.joined(
            pairs["captions"], pc.coalesce(found, pa.scalar([], LENT)),
            source=self.lent or "", weights=dict(zip(self.names, self.weights, strict=True)),
        )  # fmt: skip
        at = pairs.column_names.index("captions")
        pairs = pairs.set_column(at, pairs.field(at), captions)
        return ops.with_chosen(pairs, ops.chosen(captions, pairs["uid"], self.choice))


class EachCaption(Sieve):
    """The captions of a part's pairs, one a row, with the columns of the pair; no pair leaves here.

    What is removed is a caption: `end` tells its pair, which leaves if it has no other.
    """

    def __init__(
        self, pairs: Sieve, captions: Captions, *, clean: Callable[[Column], Column]
    ) -> None:
        """`clean` is what the pair's own captions went through."""
        self._pairs, self._captions = pairs, captions
        n = len(pairs.table)
        rows, texts, sources = [np.arange(n)], [_whole(pairs.table["caption"])], [np.zeros(n, int)]
        for number, source in enumerate(captions.sources, 1):
            of, found = source.of(pairs.table)
            found = _whole(clean(found))
            some = np.asarray(pc.not_equal(found, ""))
            rows.append(of[some])
            texts.append(found.filter(pa.array(some)))
            sources.append(np.full(some.sum(), number))
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        self._row, self._source = row[order], np.concatenate(sources)[order]
        self._texts = pa.concat_arrays(texts).take(pa.array(order))
        self._starts = np.searchsorted(self._row, np.arange(n + 1))
        self._reasons = np.full(len(row), None, object)
        self._values = np.full(len(row), None, object)
        table = pairs.table.take(pa.array(self._row))
        table = table.set_column(table.column_names.index("caption"), "caption", self._texts)
        names = np.array(captions.names, object)[self._source]
        self._names = pa.array(names, pa.string())
        table = table.append_column(ops.SOURCES, self._names)
        table = table.append_column(_PLACE, pa.array(np.arange(len(row))))
        super().__init__(table, stage=Stage.PREPARE)
        self.remove(pc.equal(self._texts, ""), reason=DropReason.EMPTY_CAPTION)

    def remove(
        self, rows: Column | NDArray[np.bool_], *, reason: str, value: str | Column | None = None
    ) -> None:
        """Leave out the captions where the mask `rows` is true."""
        mask = np.asarray(rows)
        places = self._places()[mask]
        self._reasons[places] = str(reason)
        if value is not None and not isinstance(value, str):
            value = as_text(value.filter(pa.array(mask))).to_pylist()
        self._values[places] = value
        self.table = self.table.filter(pa.array(~mask))

    def by_pair(self, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether all captions of a pair that are left are dropped, of the shape (rules, pairs)."""
        row = self._row[self._places()]
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        return np.logical_and.reduceat(dropped, starts, axis=1) if len(starts) else dropped

    def end(self) -> dict[str, float]:
        """Give the pairs their captions, one chosen, and take out those without any; the figures."""
        pairs, stays = self._pairs, self._reasons == None  # noqa: E711 - of each
        at = np.full(len(self._row), -1)
        at[self._places()] = np.arange(len(self.table))
        known = self.table.take(pa.array(at, mask=at < 0))
        of = np.array(self._captions.weights)
        shares = ops.weights(self._source, self._row, stays, of=of)
        columns: dict[str, Column] = {name: known[name] for name in ops.OF_EACH
                                      if name in known.column_names}  # fmt: skip
        columns |= {
            "source": self._names,
            "caption": self._texts,
            "weight": pa.array(shares, mask=~stays),
            "reason": pa.array(self._reasons, pa.string()),
        }
        kind = self._captions.columns.field("captions").type
        captions = ops.listed(columns, self._starts, kind=kind)
        own = self._starts[:-1]
        has_any = np.bincount(self._row, stays, minlength=len(own)) > 0
        pairs.table = (
            pairs.table.append_column("captions", captions)
            .append_column(_REASON, pa.array(self._reasons[own], pa.string(), mask=has_any))
            .append_column(_VALUE, pa.array(self._values[own], pa.string()))
        )
        for reason in sorted(set(pairs.table[_REASON].to_pylist()) - {None}):
            rows = pc.fill_null(pc.equal(pairs.table[_REASON], reason), False)
            pairs.remove(rows, reason=reason, value=pairs.table[_VALUE])
        choice = self._captions.choice
        which = ops.chosen(pairs.table["captions"], pairs.table["uid"], choice)
        pairs.table = ops.with_chosen(pairs.table, which)
        return ops.figures(pairs.table)

    def _places(self) -> NDArray[np.int64]:
        return np.asarray(self.table[_PLACE])


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def tables_of(plan: Plan) -> dict[str, UserTable]:
    """The tables of the user's that captions come from, by the folder that each is sorted into."""
    tables = caption_tables(plan.config) if plan.run.makes(Stage.PREPARE) else {}
    own = plan.digests[str(Stage.PREPARE)].own if tables else ""
    return {_folder(plan.run, own, name): table for name, table in tables.items()}


def _folder(run: Run, own: str, name: str) -> str:
    return run.path("input", TABLES, f"{name}-{own[:16]}")


def captions_of(plan: Plan) -> Captions | None:
    """The captions beside the pairs' own under `plan`; None where there are none."""
    config = plan.config
    if not config.captions:
        return None
    own, weights = plan.digests[str(Stage.PREPARE)].own, weights_of(config.captions)
    sources = []
    for name in list(weights)[1:]:
        source = config.captions[name]
        if source.duplicates:
            sources.append(Source(name))
        elif source.path:
            folder = _folder(plan.run, own, name)
            sources.append(Source(name, table=folder, on=source.on))
        else:
            sources.append(Source(name, column=kept_name(source.column or "")))
    return Captions(tuple(sources), tuple(weights.values()), choice_of(config))
