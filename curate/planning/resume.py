"""Making a run directory fit its plan: valid parts stay, stale ones are done again.

A part is valid at a step if its record has the step's digest and the step before is valid for it;
behind a barrier (dedup, a quantile, balance, shards) the step before must be valid for every part.

What took long and would only be removed (images, scores, embeddings) is never removed: that is refused.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.errors import CurateError, DamagedError
from curate.planning.asked import keeps_shards
from curate.planning.plan import Plan
from curate.rundir import held
from curate.rundir.counts import COUNTS
from curate.rundir.cuts import FILE as CUTS
from curate.rundir.damage import damaged_parts, damaged_tables
from curate.rundir.directory import (
    ANNOTATED,
    CARD,
    JOURNAL,
    MANIFEST,
    PART_STAGES,
    SCORED,
    SIZES,
    SUBSET,
    Run,
    part_index,
)
from curate.rundir.mending import take_back, take_back_parts, take_back_tables
from curate.rundir.scratch import remove_scratch
from curate.rundir.shards import indexes
from curate.rundir.verdicts import NAME as VERDICTS
from curate.rundir.verdicts import verdicts_stand
from curate.schema import Stage


@dataclass(frozen=True)
class Standing:
    """How much of a plan is done already: the valid and the stale parts of each step."""

    valid: dict[str, int]  # parts with a record of the step's digest, by folder
    stale: dict[str, int]  # parts done under other settings, or of other rows, by folder
    clustered: bool  # whether dedup's verdicts are valid
    failed: dict[int, int] = field(default_factory=dict)  # rows that were fetched again, by part
    parts: int = field(default=0, compare=False)  # of the plan
    changed: tuple[str, ...] = ()  # new settings of how to fetch; earlier failures are not retried
    damaged: tuple[str, ...] = ()  # damaged files, by name; their parts count as not done
    made: bool = False  # whether all is done but the report
    idle: bool = False  # whether all is done, the report as well
    taken_over: dict[str, int] = field(default_factory=dict, compare=False)
    """Of the stale parts those whose own settings are the same: what was found of a pair stays."""
    spent: dict[str, float] = field(default_factory=dict, compare=False)
    """Seconds of work that the valid parts took, by stage."""

    def skips(self, stage: str) -> bool:
        """Whether nothing of `stage` is done."""
        own = {folder: n for folder, n in self.valid.items() if folder.split("/")[0] == stage}
        return bool(own) and all(n == self.parts > 0 for n in own.values())

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was done before."""
        return not any(self.valid.values()) and not any(self.stale.values())


def settle(plan: Plan) -> Standing:
    """Remove what an interrupted or differently configured run left invalid; say what is done.

    Raises
    ------
    CurateError
        Where the run has images, scores or embeddings that the configuration does without.
    """
    run = plan.run
    _check_nothing_is_lost(plan)
    if plan.stands is not None:
        take_back_parts(run, first=sum(part.wave <= plan.stands for part in plan.parts))
    grows = _lays_aside(plan)
    own = [stage for stage in (*PART_STAGES, Stage.SHARDS) if run.makes(stage)]
    run.sweep()
    remove_scratch(run)
    for stage in own:
        if stage not in plan.steps.stages and not _only_beside(run, stage):
            for folder in run.folders(stage):
                files.remove(folder)
    _retract_spare(plan)
    valid: dict[str, int] = {}
    stale: dict[str, int] = {}
    taken_over: dict[str, int] = {}
    spent: dict[str, float] = {}
    before = np.array([part.index for part in plan.parts])
    everything = len(before)
    clustered = False
    tables = damaged_tables(run)
    take_back_tables(run, tables)
    damaged = [*plan.damaged, *tables]
    for step in plan.steps:
        folder = step.folder
        if not step.has_parts or folder not in plan.digests:
            continue
        digest = plan.digests[folder]
        whole = len(before) == everything
        if not whole:
            files.remove(run.path(folder, CUTS))
        if run.makes(step.stage):
            run.index_records(folder)
        records = run.record_table(folder)
        short = damaged_parts(run, folder, records) if run.makes(step.stage) else {}
        damaged += [name for names in short.values() for name in names]
        parts = records["part"].to_numpy()
        is_whole = ~np.isin(parts, [*short])
        for index in parts[~is_whole].tolist():
            take_back(run, folder, index, short[index])
        is_same = np.asarray(pc.equal(records["digest"], digest.chain))
        stands = is_whole & is_same & np.isin(parts, before) & (whole or not step.gathers)
        left = is_whole & ~stands
        seconds = float(records["seconds"].to_numpy()[stands].sum())
        spent[step.stage] = spent.get(step.stage, 0.0) + seconds
        if left.any():
            stale[folder] = int(left.sum())
        if step.kind.value.takes_over:
            is_own = np.asarray(pc.equal(records["own"], digest.own))
            if same := int((left & is_own).sum()):
                taken_over[folder] = same
        retract = partial(run.retract, folder, own=digest.own)
        deque(run.each(parts[left & is_same].tolist(), retract), maxlen=0)
        before = parts[stands]
        if len(before) < everything and step.stage == folder:
            _remove_dead(run, step.stage)
        valid[folder] = len(before)
        _remove_journals(run, folder, before)
        if folder == Stage.DEDUP:
            clustered = whole and verdicts_stand(run, before.tolist(), digest=digest.chain)
            if not clustered:
                files.remove(run.path(VERDICTS))
    _remove_subsets(plan, stands=len(before) == everything)
    if Stage.SHARDS in plan.steps.stages:
        _settle_shards(plan, whole=len(before) == everything, grows=grows)
    return Standing(valid, stale, clustered, parts=everything, damaged=tuple(damaged),
                    taken_over=taken_over, spent=spent)  # fmt: skip


def _lays_aside(plan: Plan) -> bool:
    """Whether shards of an earlier wave stay, if so laid aside; a set is while it is finished."""
    run = plan.run
    if Stage.SHARDS not in plan.steps.stages:
        return False
    earlier = (
        {one[Stage.SHARDS].chain for one in plan.earlier} if keeps_shards(plan.config) else set()
    )
    url, now = run.path(Stage.SHARDS, MANIFEST), plan.digests[Stage.SHARDS].chain
    manifest = None
    with suppress(DamagedError):
        manifest = files.read_document(url) if files.exists(url) else None
    digest = manifest and manifest["digest"]
    laid = None if digest == now else held.manifest_of(run)
    if laid and laid["digest"] in earlier:
        return True
    held.remove(run)
    if digest == now or manifest is None or digest not in earlier:
        return False
    held.lay_aside(run, manifest, reads=plan.steps.upstream(Stage.SHARDS))
    return True


def _settle_shards(plan: Plan, *, whole: bool, grows: bool) -> None:
    """Remove the manifest and what is derived from it where the set is stale; the tars stay for now.

    Where it `grows` the shards stay as they are, with their statistics.
    """
    run, digest = plan.run, plan.digests[Stage.SHARDS].chain
    url = run.path(Stage.SHARDS, MANIFEST)
    same = False
    with suppress(DamagedError):
        same = whole and files.exists(url) and files.read_document(url).get("digest") == digest
    names = files.names(run.path(Stage.SHARDS))
    for name in names:
        told = name in (MANIFEST, SIZES, CARD, COUNTS, *indexes(names))
        if not same and (told or (name.endswith(".json") and not whole and not grows)):
            files.remove(run.path(Stage.SHARDS, name))


def _check_nothing_is_lost(plan: Plan) -> None:
    run, config = plan.run, plan.config
    for stage, what, key in (
        (Stage.DOWNLOAD, "images", "download.enabled: false"),
        (Stage.SCORE, "scores", "neither score nor scores"),
    ):
        folder = run.path(stage, ANNOTATED)
        if stage in plan.steps.stages or not run.makes(stage) or _only_beside(run, stage):
            continue
        if files.names(folder):
            raise CurateError(
                f"{run.root} holds {what}, which this configuration ({key}) would remove; give"
                f" another --out, or remove {run.path(stage)} and {folder} yourself"
            )
    scorers = config.score.scorers if config.score and run.makes(Stage.SCORE) else {}
    for name, scorer in scorers.items():
        folder = run.path(files.join(SCORED, name) if name else SCORED)
        if not scorer.embeddings and any(x.endswith(".npz") for x in files.names(folder)):
            raise CurateError(
                f"{folder} holds embeddings, which this configuration"
                f" ({f'score.also.{name}' if name else 'score'}.embeddings: false) would remove; give"
                " another --out, or remove the .npz files yourself"
            )


def _only_beside(run: Run, stage: Stage) -> bool:
    """Whether all that a stage has left is columns of a table that was joined beside the run."""
    names = files.names(run.path(stage, ANNOTATED))
    return bool(names) and not any("." in name for name in names)


def _remove_journals(run: Run, folder: str, done: NDArray[np.int64]) -> None:
    """The journals of parts that are done: a run was killed before it removed them."""
    for name in files.names(run.path(folder)):
        if name.endswith(f".{JOURNAL}") and part_index(name) in done:
            files.remove(run.path(folder, name))


def _remove_dead(run: Run, stage: Stage) -> None:
    """Dead rows of parts that a run was killed in: when they are done again there may be none."""
    names = files.names(run.path("dead", stage))
    done = set(run.done(stage)) if names else ()
    for name in names:
        if part_index(name) not in done:
            files.remove_file(run.path("dead", stage, name))


def _remove_subsets(plan: Plan, *, stands: bool) -> None:
    """The lists of uids of other stages than the last, or of a run with images; all if it changes."""
    last = (
        plan.steps.upstream(Stage.SHARDS) if stands and not plan.config.download.enabled else None
    )
    for stage in PART_STAGES:
        if plan.run.makes(stage) and stage != last:
            files.remove(plan.run.path(stage, SUBSET))


def _retract_spare(plan: Plan) -> None:
    """Retract the parts in folders of no step: they are of the rows of another configuration.

    What took long (a score, a column of embeddings) can be reused where the step comes back.
    """
    run = plan.run
    for stage in PART_STAGES:
        for folder in run.steps(stage, spare=True) if run.makes(stage) else ():
            if folder in plan.steps.folders:
                continue
            for index, record in run.records(folder):
                if record.digest:
                    run.retract(folder, index, own=record.own)
