"""The files of a run without the pairs that were revoked from it.

Each file is filtered by uid and written anew only if it holds a revoked pair, and what is counted is
counted from the files that stand: so any of this can be done twice. Where rows are known by their
place (dedup's verdicts), the new table is made before anything else moves and put in place at
the end. In a part's tar the image becomes zeros under another name: the places of the others, which
all later parts and rebalanced runs hold, stay true.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import files, schema
from curate.config import Config
from curate.errors import AbsentError, CurateError
from curate.finding.index import remove_indexes
from curate.finished.subset import write_subset
from curate.ops.scores.visual import digest_of, read_clusters
from curate.ops.selection import balancing
from curate.ops.urls import stripped
from curate.planning.inputs import pool_format
from curate.planning.parts import note_copies
from curate.planning.steps import Steps
from curate.pool.pictures import with_texts
from curate.reasons import DropReason
from curate.report.sweeps import SWEEP
from curate.revoking.lent import Lent
from curate.revoking.parts import blank_members, indices_of, read_or_empty
from curate.revoking.perspectives import recount_perspectives
from curate.revoking.recount import recount
from curate.revoking.shards import RewrittenShards, rewrite_shards
from curate.rundir.directory import (
    ANNOTATED,
    CLUSTERS,
    JOURNAL,
    PAIRS,
    PART_STAGES,
    PLACES_FILE,
    SCORED,
    SUBSET,
    Run,
    part_index,
    part_name,
)
from curate.rundir.held import HELD
from curate.rundir.revocations import Revocations
from curate.rundir.scratch import HELD as HELD_CENTROIDS
from curate.rundir.scratch import VISUAL, remove_scratch
from curate.rundir.verdicts import NAME, document, vouch
from curate.schema import MATCHES, Stage
from curate.stages.balance import DRAWN_BY, by_language, taken
from curate.stages.dedup.clusters import without_rows
from curate.stages.prepare import clean, uids_of
from curate.summaries.counting import Counting
from curate.summaries.groups import refresh

_STAGED = "revoking"


@dataclass
class Rewriter:
    """Takes pairs out of all files of a run; what it touched is in the fields without an argument."""

    run: Run
    revoked: Revocations
    config: Config
    steps: Steps
    parts: set[int] = field(default_factory=set, init=False)
    shards: RewrittenShards = field(default=RewrittenShards(), init=False)
    indexes: list[str] = field(default_factory=list, init=False)

    def rewrite(self) -> None:
        """Everything but the report; the order makes a repeat after a stop do what is left."""
        self._remove_scratch()
        if self.run.makes(Stage.SCORE):
            remove_indexes(self.run)
            self._centroids()
        self._stage_clusters()
        prepared = indices_of(self.run, str(Stage.PREPARE))
        if self.run.source is None:
            for index, holds in self.run.each(prepared, self._holds):
                if holds:
                    self._part(Stage.PREPARE, str(Stage.PREPARE), index)
        revoked = self.run.each(prepared, self._revoked_in)
        concerned = {index for index, has_some in revoked if has_some}
        for stage in PART_STAGES:  # columns may be joined to a run without scores of its own
            stands = stage in self.stages or files.names(self.run.path(stage, ANNOTATED))
            if stage is not Stage.PREPARE and self.run.makes(stage) and stands:
                lends = self.lent is not None and self.lent.concerns(stage) and concerned
                for folder in sorted(self.run.steps(stage, spare=True), key=_inner_first):
                    for index in indices_of(self.run, folder):
                        if index in concerned or self.revoked.captions or lends:
                            self._part(stage, folder, index)
        self._input()
        self._held()
        self.shards = rewrite_shards(self.run, self.revoked, self.lent)
        if concerned:
            self._entries()
            recount_perspectives(self.run)
            self._uids()
        self._put_clusters()
        for stage in self.stages:
            if self.run.makes(stage):
                refresh(self.run, Counting.of(self.steps, stage))
        for name in files.names(self.run.path(Stage.REPORT)):
            if self.parts or name != SWEEP:  # that is of counts alone
                files.remove(self.run.path(Stage.REPORT, name))

    def _remove_scratch(self) -> None:
        """What steps that were interrupted left, of clusters without a verdict as well.

        Of a part that is not prepared nothing tells which pairs its journal and its places are of.
        """
        run = self.run
        remove_scratch(run)
        if run.makes(Stage.DEDUP) and not files.exists(run.path(NAME)):
            files.remove(run.path(CLUSTERS))
        if run.source is None:
            fetched, prepared = files.join(Stage.DOWNLOAD, ANNOTATED), set(run.done(Stage.PREPARE))
            for name in files.names(run.path(fetched)):
                index = part_index(name)
                if name.endswith(f".{JOURNAL}") and index not in prepared:
                    files.remove(run.path(fetched, name))
            places = run.part(Stage.PREPARE, 0, PLACES_FILE).rpartition("/")[0]
            for name in files.names(places):
                index = part_index(name)
                if index is not None and index not in prepared:
                    files.remove(run.part(Stage.PREPARE, index, PLACES_FILE))

    def _centroids(self) -> None:
        """Forget the centroids that may be those of one pair; the others say what numbers mean."""
        url = self.run.path(SCORED, VISUAL, HELD_CENTROIDS)
        if not files.exists(url):
            return
        try:
            found, digest = read_clusters(url), digest_of(url)
        except CurateError:  # cut off, so none of what is in it can be left
            files.remove(url)
            return
        if not np.array_equal((left := found.forgetful()).centroids, found.centroids):
            left.write(url, digest=digest)

    @cached_property
    def lent(self) -> Lent | None:
        """What takes out the captions that revoked pairs have lent to others."""
        return Lent.of(self.run, self.config, self.steps, uids=self.revoked.uids)

    @property
    def stages(self) -> list[Stage]:
        """Those with parts, in flow order."""
        return [stage for stage in PART_STAGES if stage in self.steps.stages]

    def _holds(self, index: int) -> bool:
        """Whether a prepared part holds a pair that is revoked, or has held one."""
        run, stage = self.run, Stage.PREPARE
        urls = run.part(stage, index), run.ledger(stage, index), run.dead(stage, index)
        return any(self._gone(url) for url in urls) or self._revoked_in(index)

    def _gone(self, url: str) -> bool:
        with suppress(AbsentError):
            table = files.read_table(url, present={"uid", "url", "reason"})
            return bool(self.revoked.gone(table).any())
        return False

    def _revoked_in(self, index: int) -> bool:
        with suppress(AbsentError):
            reasons = files.read_table(self.run.ledger(Stage.PREPARE, index), columns=["reason"])
            return bool(pc.any(pc.equal(reasons["reason"], str(DropReason.REVOKED))).as_py())
        return False  # nothing was done to it yet

    def _without(self, url: str, *, stage: Stage | None = None, index: int = 0) -> pa.Table | None:
        """What is left of the table at `url`, of a part at a stage; None where it stays as it is."""
        if not files.exists(url):
            return None
        with files.open_read(url) as file:
            names = pq.read_schema(file).names
        few = [name for name in ("uid", "url", "reason") if name in names]
        gone = self.revoked.gone(files.read_table(url, columns=few))
        lent = self.lent if stage is not None and self.lent and self.lent.concerns(stage) else None
        may_hold = bool(lent) or (self.revoked.captions and "other_captions" in names)
        if not gone.any() and not may_hold:
            return None
        table = files.read_table(url)
        left = self.revoked.forgetful(table.filter(pa.array(~gone)))
        if lent and stage is not None:
            left = lent.left(left, stage=stage, index=index)
        return None if left.equals(table) else left

    def _part(self, stage: Stage, folder: str, index: int) -> None:
        """Take the pairs out of a part's files at a step: the image, the ledger, then the rows."""
        run, own = self.run, folder == stage
        part, ledger, dead = (
            run.part(folder, index),
            run.ledger(stage, index),
            run.dead(stage, index),
        )
        if stage is Stage.DOWNLOAD:
            files.remove(run.part(folder, index, "journal"))  # it is fetched again
            blank_members(run.part(stage, index, "tar"), uids=set(self.revoked.uids.to_pylist()))
        if stage is Stage.SCORE and not own:
            self._embeddings(folder, index)
        left = {
            url: self._without(url, stage=stage, index=index)
            for url in ((ledger, dead, part) if own else (part,))
        }
        touched = any(table is not None for table in left.values())
        if touched and stage is Stage.PREPARE:
            left[ledger] = self._prepare_ledger(index)
            self._places(index)
        for url, table in left.items():
            if table is not None:
                files.write_table(url, table)
        if touched:
            self.parts.add(index)
        if touched or stage is not Stage.PREPARE or self._revoked_in(index):
            recount(run, self.config, self.steps, stage=stage, folder=folder, index=index)

    def _embeddings(self, folder: str, index: int) -> None:
        """Take the rows out of the embeddings beside a part's scores."""
        url = self.run.part(folder, index, "npz")
        if not files.exists(url):
            return
        arrays = files.read_arrays(url)
        uids = pa.array(arrays["uid"].astype(str).tolist(), pa.string())
        gone = self.revoked.gone(pa.table({"uid": uids}))
        changed = np.zeros(len(gone), np.bool_)
        if self.lent:
            changed |= np.asarray(pc.is_in(uids, value_set=self.lent.changed(index)))
            for name in (x for x in arrays if x.endswith("_txt")):
                arrays[name][changed] = np.nan
        if gone.any() or changed.any():
            files.write_arrays(url, **{name: array[~gone] for name, array in arrays.items()})

    def _places(self, index: int) -> None:
        """Where the images of a pool lie, for the rows that will be left: before these change."""
        url, part = (self.run.part(Stage.PREPARE, index, x) for x in (PLACES_FILE, "parquet"))
        if files.exists(url):
            places, gone = files.read_table(url), self.revoked.gone(files.read_table(part))
            if len(places) == len(gone):
                files.write_table(url, places.filter(pa.array(~gone)))

    def _prepare_ledger(self, index: int) -> pa.Table:
        """The ledger of `prepare` with a row of each revoked pair, which is nothing but its uid.

        A uid that it has as revoked already was counted before anything of the part moved.
        """
        run, stage = self.run, Stage.PREPARE
        ledger = read_or_empty(run.ledger(stage, index))
        is_revoked = pc.equal(ledger["reason"], str(DropReason.REVOKED))
        before = ledger.filter(is_revoked)
        counted = set(before["uid"].to_pylist())
        uids = before["uid"].to_pylist()
        for url in (run.part(stage, index), run.ledger(stage, index), run.dead(stage, index)):
            table = read_or_empty(url)
            found = table["uid"].filter(pa.array(self.revoked.gone(table))).to_pylist()
            uids += [uid for uid in found if uid not in counted]
        rows = pa.Table.from_pylist(
            [
                {"uid": uid, "stage": str(stage), "reason": str(DropReason.REVOKED)}
                for uid in sorted(uids, key=lambda uid: uid or "")
            ],
            schema=schema.LEDGER,
        )
        rest = ledger.filter(pc.invert(is_revoked))
        return pa.concat_tables([rows, rest.filter(pa.array(~self.revoked.gone(rest)))])

    def _input(self) -> None:
        """Empty the rows of curate's own copy of the pool, and leave the uid in their place."""
        pool = pool_format(self.config)
        folder = self.run.path("input")
        held: dict[str, files.Content] = {}
        for name in files.names(folder) if self.run.source is None else ():
            if not name.endswith(".parquet"):
                continue
            url = files.join(folder, name)
            held[name] = files.content_of(files.read_bytes(url))
            table = files.read_table(url)
            read = with_texts(table, pool=pool)
            uids = stripped(read["uid"]) if pool.uid else uids_of(read, clean(read["caption"]))
            rows = read.set_column(read.column_names.index("uid"), "uid", uids)
            gone = self.revoked.gone(rows) & np.asarray(pc.is_valid(table["url"]))
            if not gone.any():
                continue
            mask = pa.array(gone)
            for column in table.column_names:
                at = table.column_names.index(column)
                value = uids if column == "uid" else pa.nulls(len(table), table[column].type)
                table = table.set_column(at, column, pc.if_else(mask, value, table[column]))
            held[name] = files.write_table(url, table)
        if held:
            note_copies(self.run, held)

    def _held(self) -> None:
        """Forget the pairs of a set that was laid aside, as its run is to grow."""
        folder = files.join(self.run.root, Stage.SHARDS, HELD)
        for name in files.names(folder):
            url = files.join(folder, name)
            left = self._without(url) if name.endswith(".parquet") else None
            if left is not None:
                files.write_table(url, left)

    def _entries(self) -> None:
        """Count again how many kept pairs each entry has; counts and t stay what was decided on."""
        url = self.run.path(Stage.BALANCE, "entries.parquet")
        if not files.exists(url):
            return
        entries = files.read_table(url)
        codes = np.asarray(entries["language"].to_pylist(), object)
        places = {code: np.flatnonzero(codes == code) for code in sorted(set(codes))}
        kept = np.zeros(len(entries), np.int64)
        balance = self.config.balance
        is_all, on = (
            balance is not None and balance.is_online,
            balance.column if balance else MATCHES,
        )
        columns = ["language", on, *(DRAWN_BY if is_all else ())]
        for table in self.run.tables(Stage.BALANCE, columns=columns):
            if is_all:
                table = taken(table, seed=self.config.seed)
            for code, rows in by_language(table):
                ids = balancing.match_arrays(table[on].take(pa.array(rows)))[1]
                kept[places[code]] += np.bincount(ids, minlength=len(places[code]))
        if not np.array_equal(kept, entries["kept"].to_numpy()):
            at = entries.column_names.index("kept")
            files.write_table(url, entries.set_column(at, "kept", pa.array(kept)))

    def _uids(self) -> None:
        """Write the DataComp subset of a run without images again."""
        for stage in self.stages:
            url = self.run.path(stage, SUBSET)
            if files.exists(url):
                write_subset(self.run, str(stage), url)

    def _stage_clusters(self) -> None:
        """Each part's verdicts without the revoked rows, by the places that the others will have.

        A part's file stands until the end; where there is a staged one, its part may have changed.
        """
        run = self.run
        if run.source is not None or Stage.DEDUP not in self.stages:
            return
        held = document(run)
        if held is not None and PAIRS not in held:
            pairs = sum(record.rows for _, record in run.records(Stage.DEDUP))
            files.write_document(run.path(NAME), {**held, PAIRS: pairs})
        reads = self.steps.upstream(Stage.DEDUP)
        for index in indices_of(self.run, CLUSTERS):
            if files.exists(run.part(CLUSTERS, index, _STAGED)):
                continue
            gone = self.revoked.gone(
                files.read_table(run.part(reads, index), columns=["uid", "url"])
            )
            found = files.read_table(run.part(CLUSTERS, index))
            left = self.revoked.forgetful(without_rows(found, gone))
            if self.lent:
                left = self.lent.left(left, stage=Stage.DEDUP, index=index)
            if gone.any() or not left.equals(found):
                files.write_table(run.part(CLUSTERS, index, _STAGED), left)

    def _put_clusters(self) -> None:
        """Put the staged tables in place; what vouches for them says so before the first one moves."""
        run = self.run
        names = files.names(run.path(CLUSTERS)) if run.source is None else []
        indices = [part_index(name) for name in names if name.endswith(_STAGED)]
        staged = {
            index: files.read_bytes(run.part(CLUSTERS, index, _STAGED))
            for index in indices
            if index is not None
        }
        vouch(run, {part_name(CLUSTERS, x): files.content_of(y) for x, y in staged.items()})
        for index, content in staged.items():
            files.write_bytes(run.part(CLUSTERS, index), content)
            files.remove(run.part(CLUSTERS, index, _STAGED))


def _inner_first(folder: str) -> int:
    """The place of a step's folder: the scores of a model before those that they are joined to."""
    return -folder.count("/")
