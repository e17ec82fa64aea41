"""Captions that revoked pairs have lent to others: out of all files of a run, and others chosen.

An empty caption stands in the place of one that left (`ops.lent`), so the scores of all captions of a
pair stay in their places. Which caption is a pair's then follows by the rule from those that are left,
and with it its language, entries and scores; what was decided about the pair stays decided.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files
from curate.config import Config, weights_of
from curate.errors import AbsentError, CurateError
from curate.ops import captions as ops
from curate.ops import lent
from curate.planning.asked import choice_of, lending
from curate.planning.steps import Steps
from curate.rundir.directory import PART_STAGES, SCORED, Run
from curate.rundir.samples import ShardFiles, Taken, with_rows
from curate.schema import SCORE, WITH_LENT, Column, Stage

_LATER = PART_STAGES[PART_STAGES.index(Stage.DEDUP) :]
_FOLLOWS = (
    "captions", ops.SOURCES, *ops.OF_EACH, "caption_chars", "caption_words",
)  # fmt: skip
"""Columns that follow from which captions a pair has, beside scores."""
Scores = Mapping[str, NDArray[np.float64]]
"""The scores of all captions of some pairs, one after the other, by the column of a model."""


@dataclass(frozen=True)
class Lent:
    """Takes what revoked pairs have lent out of the files of a run."""

    run: Run
    config: Config
    steps: Steps
    uids: pa.Array  # of all that was revoked

    @classmethod
    def of(cls, run: Run, config: Config, steps: Steps, *, uids: pa.Array) -> "Lent | None":
        """None where no pair has lent its caption: of a run that was stopped the files tell that."""
        lends = lending(config) is not None
        if not lends and run.state().get("state") != "complete":
            folders = [folder for stage in _LATER for folder in run.folders(stage)]
            folders.append(run.path(Stage.SHARDS))
            urls = (files.join(x, y) for x in folders for y in files.names(x))
            lends = any(_may_lend(url) for url in urls if url.endswith(".parquet"))
        return cls(run, config, steps, uids) if lends else None

    def concerns(self, stage: Stage) -> bool:
        """Whether a stage may hold captions of pairs of other parts."""
        return stage in _LATER

    def left(self, table: pa.Table, *, stage: Stage, index: int) -> pa.Table:
        """What is left of a table of a part at a step: rows, verdicts, scores, or a ledger."""
        names = table.column_names
        if "lent" in names:
            return _set(table, lent=lent.without(table["lent"], self.uids))
        if lent.can_hold(table.schema):
            return self._pairs(table, index)
        if stage is Stage.SCORE and "caption_scores" in names:
            return self._annotated(table, index)
        if stage in _LATER and stage is not Stage.DEDUP and {"value", "detail"} & {*names}:
            return self._ledger(table, index)
        return table

    def _pairs(self, table: pa.Table, index: int) -> pa.Table:
        captions = lent.without(table["captions"], self.uids)
        rows = np.flatnonzero(lent.have_lost(captions))
        some = _set(table.take(pa.array(rows)), captions=captions.take(pa.array(rows)))
        some = _set(some, captions=lent.weighed(some["captions"], weights=self._weights))
        scores: Scores = {}
        if SCORE.names[0] in table.column_names:
            scores = self._scores(index, some["uid"], some["captions"])
        at = self._chosen(some["uid"], some["captions"], scores)
        some = ops.with_chosen(some, at).select(table.column_names)
        first = ops.flattened(some["captions"])[1][:-1] + at
        found = {x: scores[x][first] if x in scores else None
                 for x in self._models if x in table.column_names}  # fmt: skip
        return with_rows(table, rows, _set(some, **found))

    def _annotated(self, table: pa.Table, index: int) -> pa.Table:
        """The scores of a model, and which caption is chosen, of the rows whose pair lost some."""
        rows, captions = self._lost(table["uid"], index)
        some, starts = table.take(pa.array(rows)), ops.flattened(captions)[1]
        if not np.array_equal(ops.flattened(some["caption_scores"])[1], starts):
            return table  # of captions of another configuration
        scores = self._scores(index, some["uid"], captions)
        at = self._chosen(some["uid"], captions, scores)
        first = starts[:-1] + at
        names = table.column_names
        own = names[2]
        all_ = ops.flattened(some["caption_scores"])[0].to_numpy(zero_copy_only=False)
        found: dict[str, Column | NDArray[np.float64]] = {own: all_.astype(np.float64)[first]}
        if "caption_at" in table.column_names:
            found["caption_at"] = pa.array(at.astype(np.int32))
            found |= {x: scores[x][first] for x in self._models[1:] if x in scores and x in names}
        return with_rows(table, rows, _set(some, **found))

    def _ledger(self, table: pa.Table, index: int) -> pa.Table:
        """Rows that left with a caption which their pair has no more: the one that it has."""
        rows, captions = self._lost(table["uid"], index)
        if not len(rows):
            return table
        uids = table["uid"].take(pa.array(rows))
        at = self._chosen(uids, captions, self._scores(index, uids, captions))
        each, starts = ops.flattened(captions)
        now = each.field("caption").take(pa.array(starts[:-1] + at)).to_pylist()
        told = "value" if "value" in table.column_names else "detail"
        columns = {x: table[x].to_pylist() for x in ("caption", told)}
        for row, text, known in zip(rows.tolist(), now, captions.to_pylist(), strict=True):
            was = columns["caption"][row]
            if was not in {one["caption"] for one in known}:
                columns["caption"][row] = text
                columns[told][row] = None  # it may be of the text
        return _set(table, **{x: pa.array(y, pa.string()) for x, y in columns.items()})

    def changed(self, index: int) -> pa.Array:
        """The uids of a part whose scored caption is another one from now on."""
        with suppress(AbsentError):
            before = files.read_table(self.run.part(SCORED, index))
            if "caption_at" in before.column_names:
                now = self._annotated(before, index)
                return (
                    before["uid"]
                    .filter(pc.not_equal(before["caption_at"], now["caption_at"]))
                    .combine_chunks()
                )
        return pa.array([], pa.string())

    def fresh(self, shards: list[ShardFiles]) -> Taken:
        """What is to be written of the pairs in these shards that hold captions of revoked ones."""
        wanted = sorted({uid for shard in shards for uid in shard.holding(self.uids)})
        found = []
        folder = self.steps.upstream(Stage.SHARDS)
        names = {"uid", *_FOLLOWS, *self._models}
        for index in self.run.done(folder) if wanted else ():
            rows = files.read_table(self.run.part(folder, index), present=names)
            rows = rows.filter(pc.is_in(rows["uid"], value_set=pa.array(wanted)))
            if len(rows):
                found.append(_set(rows, captions=ops.written(rows["captions"])))
        return Taken(self.uids, pa.concat_tables(found) if found else None)

    @property
    def _weights(self) -> dict[str, float]:
        return weights_of(self.config.captions) if self.config.captions else {}

    @property
    def _models(self) -> tuple[str, ...]:
        """The columns of models' scores, that of the first one first."""
        return SCORE.names[0], *(self.config.score.also if self.config.score else ())

    def _chosen(self, uids: Column, captions: Column, scores: Scores) -> NDArray[np.int64]:
        choice = choice_of(self.config)
        first = ops.chosen(captions, uids, choice)
        if choice.choose != "best" or choice.by not in scores:
            return first
        each, starts = ops.flattened(captions)
        stays = np.asarray(pc.is_null(each.field("reason")))
        known = np.where(stays, scores[choice.by], np.nan)
        found = ops.best(known, starts)
        return np.where(np.isfinite(known[starts[:-1] + found]), found, first)

    def _scores(self, index: int, uids: Column, captions: Column) -> Scores:
        """Those that stand in the part, of these captions."""
        return dict(self._known(index, uids, ops.flattened(captions)[1]))

    def _known(
        self, index: int, uids: Column, starts: NDArray[np.int64]
    ) -> Iterator[tuple[str, NDArray[np.float64]]]:
        for name in self._models:
            folder = SCORED if name == SCORE.names[0] else files.join(SCORED, name)
            with suppress(AbsentError, CurateError):
                names = ["uid", "caption_scores"]
                table = files.read_table(self.run.part(folder, index), columns=names)
                at = pc.index_in(uids, table["uid"].combine_chunks())
                each, found = ops.flattened(table["caption_scores"].take(at))
                if np.array_equal(found, starts):
                    yield name, each.to_numpy(zero_copy_only=False).astype(np.float64)

    def _lost(self, uids: Column, index: int) -> tuple[NDArray[np.int64], pa.Array]:
        """The rows whose pair has lost a caption by dedup's part, and the captions of each."""
        pairs = WITH_LENT.insert(0, pa.field("uid", pa.string())).empty_table()
        with suppress(AbsentError):
            found = files.read_table(self.run.part(Stage.DEDUP, index), present={"uid", "captions"})
            pairs = found if lent.can_hold(found.schema) else pairs
        pairs = pairs.filter(pa.array(lent.have_lost(pairs["captions"])))
        at = pc.index_in(uids, pairs["uid"].combine_chunks())
        rows = np.flatnonzero(np.asarray(pc.is_valid(at)))
        captions = pairs["captions"].combine_chunks()
        return rows, captions.take(pc.drop_null(at))


def _may_lend(url: str) -> bool:
    with suppress(CurateError, OSError, pa.ArrowException), files.open_read(url) as file:
        return lent.may_lend(pq.read_schema(file))
    return False  # it is damaged, and removed or made again as such


def _set(table: pa.Table, **columns: Column | NDArray[np.float64] | None) -> pa.Table:
    """`table` with other values in some of its columns; not finite ones, and None, are nulls."""
    for name, column in columns.items():
        field = table.schema.field(name)
        if column is None:
            column = pa.nulls(len(table), field.type)
        elif isinstance(column, np.ndarray):
            column = pa.array(column, field.type, mask=~np.isfinite(column))
        if name == "captions":
            field = pa.field(name, column.type)
        table = table.set_column(table.column_names.index(name), field, column)
    return table
