"""Asking again for what failed, before anything else: what comes of it decides what else is done again.

Only the parts with such rows go through the download. Where the stored images of a part are what they
were, its later steps stand, with the new reasons in its ledger; where they are not, its selection
does not stand any more, and all that rests on it is done again as after any change.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from curate import files
from curate.execute import recorded, run_graph
from curate.flow import fetch_step, select_step
from curate.ops.selection.quantiles import quantiles_of
from curate.ops.web.hosts import TRANSIENT
from curate.planning.plan import Plan
from curate.run import ALTERED, ANNOTATED, RENEWED, TRANSIENT_ROWS, Part, PartRecord, Run
from curate.schema import Stage

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
    """Fetch again what failed in these parts; see :func:`curate.execute.run_graph`."""
    run, state = plan.run, plan.run.state()
    retries, parts = state.get("retrying") or (
        state.get("retries", 0),
        [],
    )  # of one that was killed
    parts = sorted({*parts, *failed})
    selected = frozenset(index for index in failed if run.record(Stage.DOWNLOAD, index))
    run.update(  # until it is known for nothing
        state="running", retries=retries + 1, retrying=[retries, parts], reported=None
    )
    for index in failed:
        run.retract(_FETCHED, index, own=plan.digests[_FETCHED].own)
    with recorded(plan):
        graph = partial(build_retry, plan=plan, indices=failed, selected=selected)
        run_graph(plan, graph, extra=extra, debug=debug)
    figures = [record.figures for index in parts if (record := run.record(_FETCHED, index))]
    renewed = len(selected) < len(failed) or any(one.get(RENEWED) for one in figures)
    run.update(retries=retries + renewed, retrying=None)
    if not any(one.get(ALTERED) for one in figures):
        run.update(reported=state.get("reported"))


def build_retry(
    pipeline: Any, plan: Plan, *, indices: Collection[int], selected: Collection[int]
) -> None:
    """Add the download of these parts alone to `pipeline`.

    Those that were not `selected` before have later steps of other images, which a retry that was
    killed found.
    """
    import apache_beam as beam

    from curate.cuts import cuts_stand
    from curate.stages.part import TakePart
    from curate.stages.select import Select

    parts = pipeline | "Parts" >> beam.Create([x for x in plan.parts if x.index in indices])
    parts |= "Spread" >> beam.Reshuffle()
    parts |= "Fetch" >> beam.ParDo(TakePart(fetch_step(plan)))
    step = select_step(plan, Stage.DOWNLOAD)
    if not quantiles_of(step.rules) or cuts_stand(plan.run, step.stage, digest=step.digest):
        parts |= "With the same images" >> beam.Filter(
            _has_the_same_images, run=plan.run, selected=selected
        )
        _ = parts | "Select images" >> Select(step)


def _has_the_same_images(part: Part, run: Run, selected: Collection[int]) -> bool:
    record = run.record(_FETCHED, part.index)
    return part.index in selected and record is not None and not record.figures[RENEWED]
