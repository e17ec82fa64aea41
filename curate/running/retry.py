"""Asking again for what failed, before anything else: what comes of it decides what else is done again.

Only the parts with such rows go through the download. Where the stored images of a part are what they
were, its later steps stand, with the new reasons in its ledger; where they are not, its selection
does not stand any more, and all that rests on it is done again as after any change.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from curate import files
from curate.flow import build, through
from curate.ops.selection.quantiles import quantiles_of
from curate.planning.plan import Plan
from curate.planning.steps import Kind
from curate.reasons import TRANSIENT
from curate.rundir.cuts import cuts_stand
from curate.rundir.directory import ALTERED, ANNOTATED, TRANSIENT_ROWS, Part, PartRecord, Run
from curate.running.execute import recorded, run_graph
from curate.running.owned import Owner
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import refresh

if TYPE_CHECKING:
    import apache_beam as beam

_FETCHED = files.join(Stage.DOWNLOAD, ANNOTATED)


def failures(plan: Plan) -> dict[int, int]:
    """How many rows are to be fetched again of each part that has some."""
    if not plan.retry_failed or not files.exists(plan.run.path("run.json")):
        return {}
    found = {}
    for index, record in plan.run.records(_FETCHED):
        before = plan.run.record(Stage.PREPARE, index)
        prepared = before is not None and before.digest == plan.digests[Stage.PREPARE].chain
        if prepared and record.own == plan.digests[_FETCHED].own:
            found[index] = _failed(plan, index, record)
    return {index: n for index, n in found.items() if n}


def _failed(plan: Plan, index: int, record: PartRecord) -> int:
    if plan.retry_failed == TRANSIENT:
        return int(record.figures.get(TRANSIENT_ROWS, 0))
    outcomes = files.read_table(plan.run.part(_FETCHED, index), columns=["outcome"])["outcome"]
    return sum(outcome in plan.retry_failed for outcome in outcomes.to_pylist())


def retry(
    plan: Plan, failed: Collection[int], *, extra: Sequence[str] = (), debug: bool = False
) -> None:
    """Fetch again what failed in these parts; see :func:`curate.running.execute.run_graph`."""
    run, state = plan.run, plan.run.state()
    retries, known = state.get("retrying") or (
        state.get("retries", 0),
        {},
    )  # of one that was killed
    images = {str(index): _images(run, index) for index in failed} | known
    run.update(  # until it is known for nothing
        state="running", retries=retries + 1, retrying=[retries, images], reported=None
    )
    for index in failed:
        run.retract(_FETCHED, index, own=plan.digests[_FETCHED].own)
    with recorded(plan):
        graph = partial(build_retry, plan=plan, indices=failed, images=images)
        owner = Owner(plan.run, of="")
        run_graph(plan, graph, extra=extra, debug=debug, owner=owner)
        refresh(run, Counting.of(plan.steps, Stage.DOWNLOAD))
    renewed = any(_images(run, int(index)) != before for index, before in images.items())
    run.update(retries=retries + renewed, retrying=None)
    records = [run.record(_FETCHED, int(index)) for index in images]
    if not any(record.figures.get(ALTERED) for record in records if record):
        run.update(reported=state.get("reported"))


def build_retry(
    pipeline: "beam.Pipeline", plan: Plan, *, indices: Collection[int], images: Mapping[str, str]
) -> None:
    """Add the download of these parts alone to `pipeline`.

    `images` are digests of those that they had before, on which their later steps rest.
    """
    import apache_beam as beam

    failed = replace(plan, parts=tuple(x for x in plan.parts if x.index in indices))
    parts = build(pipeline, failed, plan.steps.of(Kind.FETCH))
    select, digest = plan.steps.at(str(Stage.DOWNLOAD)), plan.digests[Stage.DOWNLOAD].chain
    if not quantiles_of(select.rules) or cuts_stand(plan.run, Stage.DOWNLOAD, digest=digest):
        same = beam.Filter(_has_the_same_images, run=plan.run, images=images)
        parts |= "With the same images" >> same
        through(parts, plan, [select])


def _has_the_same_images(part: Part, run: Run, images: Mapping[str, str]) -> bool:
    return _images(run, part.index) == images[str(part.index)]


def _images(run: Run, index: int) -> str:
    """A digest of a part's images and of their places, which its later steps know."""
    columns = ["uid", "stored_sha256", "tar_offset"]
    return files.digest_of(files.read_table(run.part(_FETCHED, index), columns=columns).to_pydict())
