"""The whole pipeline on one screen: the steps of a plan become one Beam graph.

    parts -> prepare -> fetch -> select -> dedup -> scores, columns of -> cuts -> meanings -> select
          -> balance -> shards                      embeddings

An element is a part; what a step makes travels through the part's files. So any steps in a row are a
graph of their own: those of a rebalanced run begin at balance, a further score is one step.
"""

from collections.abc import Callable, Iterable

import apache_beam as beam

from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.stages import balance, cuts, download, prepare, select
from curate.stages.adaptive import nouns, sampling
from curate.stages.dedup import dedup
from curate.stages.derived import columns
from curate.stages.meanings import semantic
from curate.stages.score import entities, measure, model, table
from curate.stages.shards import shards

TRANSFORMS: dict[Kind, Callable[[Plan, Step], beam.PTransform]] = {
    Kind.PREPARE: prepare.transform,
    Kind.FETCH: download.transform,
    Kind.CUTS: cuts.transform,
    Kind.SELECT_IMAGES: select.transform,
    Kind.DEDUP: dedup.transform,
    Kind.MEASURE: measure.transform,
    Kind.TABLE: table.transform,
    Kind.MODEL: model.transform,
    Kind.JOIN: measure.transform,
    Kind.DERIVE: columns.transform,
    Kind.ENTITIES: entities.transform,
    Kind.MEANINGS: semantic.transform,
    Kind.SELECT_SCORES: select.transform,
    Kind.NOUNS: nouns.transform,
    Kind.BALANCE: balance.transform,
    Kind.ADAPTIVE: sampling.transform,
    Kind.SHARDS: shards.transform,
}


def build(
    pipeline: beam.Pipeline, plan: Plan, steps: Iterable[Step] | None = None
) -> beam.PCollection:
    """Add the graph of `plan` to `pipeline`: all steps that the run makes itself, or these.

    Returns
    -------
    The parts, a PCollection, as the last step leaves them.
    """
    if steps is None:
        steps = [step for step in plan.steps if plan.run.makes(step.stage)]
    parts = pipeline | "Parts" >> beam.Create(plan.parts)  # which spreads them, too
    return through(parts, plan, steps)


def through(parts: beam.PCollection, plan: Plan, steps: Iterable[Step]) -> beam.PCollection:
    """Take parts through steps, one after the other."""
    for step in steps:
        parts = parts | step.label >> TRANSFORMS[step.kind](plan, step)
    return parts
