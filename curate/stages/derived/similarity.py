"""similarity: stored embeddings -> how near each image is to a target set, or to evaluation sets.

Both are maps: a part, and the set that each process reads once.
"""

from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

from curate import files, schema
from curate.config import Decontaminate, NormSim
from curate.ops.scores.vectors import (
    Norm,
    check_width,
    nearest,
    norm_sim,
    read_target,
)
from curate.ops.selection.contamination import read_embeddings
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.stages.derived.column import (
    DerivedStep,
    read_vectors,
)
from curate.stages.part import PartOutput, TakePart, given


@dataclass(frozen=True)
class NormSimStep(DerivedStep):
    """How near each image is to a target set."""

    column: ClassVar[str] = "norm_sim"

    target: str
    norm: Norm

    def process(self, part: Part) -> PartOutput:
        """Compare one part with the target, which this process reads once."""
        vectors = read_vectors(self.run, part.index)
        target = read_target(self.target)
        known = np.asarray(vectors.any(axis=1))
        values = np.zeros(len(vectors), np.float32)
        if known.any():
            check_width(target, vectors, where=f"score.norm_sim.target: {self.target}")
            values[known] = norm_sim(vectors[known], target, norm=self.norm)
        return self.output(part, values, known)


@dataclass(frozen=True)
class SimilarityStep(DerivedStep):
    """How near each image is to the items of evaluation sets, and to which of them it is nearest."""

    column: ClassVar[str] = schema.SIMILARITY

    sets: tuple[str, ...]

    def process(self, part: Part) -> PartOutput:
        """Compare one part with the sets, which this process reads once."""
        vectors = read_vectors(self.run, part.index)
        names, items = read_embeddings(self.sets)
        known = np.asarray(vectors.any(axis=1))
        at, cosines = np.zeros(len(vectors), np.int64), np.zeros(len(vectors))
        if known.any():
            check_width(items, vectors, where=f"decontaminate.against: {', '.join(self.sets)}")
            at[known], cosines[known] = nearest(vectors[known], items)
        output = self.output(part, cosines.astype(np.float32), known)
        item = pa.DictionaryArray.from_arrays(pa.array(at, mask=~known), names).cast(pa.string())
        return PartOutput(output.kept.append_column(schema.ITEM, item))


def norm_sim_of(plan: Plan, step: Step) -> beam.PTransform:
    """The map that compares with a target set."""
    if not isinstance(asked := step.settings, NormSim):
        raise AssertionError(f"{step.folder} has no target")
    own = NormSimStep(**given(plan, step), target=files.absolute(asked.target), norm=asked.norm)
    return beam.ParDo(TakePart(own))


def similarity_of(plan: Plan, step: Step) -> beam.PTransform:
    """The map that compares with evaluation sets."""
    if not isinstance(asked := step.settings, Decontaminate):
        raise AssertionError(f"{step.folder} has no evaluation sets")
    own = SimilarityStep(**given(plan, step), sets=tuple(map(files.absolute, asked.against)))
    return beam.ParDo(TakePart(own))
