"""neg_clip_loss: stored embeddings -> negCLIPLoss, a barrier.

It needs other pairs of the pool at hand: parts are grouped at random, a few at a time, and each group's
pairs are split into random batches, several times over. So the pool is read once a time, a worker holds
the embeddings of one group, and only the values cross a shuffle, packed, four bytes a pair and time.
Groups and batches follow from the seed, the parts and the uids, so a retry, or another number of
workers, finds the same values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.scores.vectors import (
    draw_batches,
    draw_blocks,
    neg_clip_loss,
    unit,
)
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import Part
from curate.stages.derived.column import (
    DerivedStep,
    Progress,
    hand_out,
    progress,
    read_stored,
)
from curate.stages.part import PartOutput, given
from curate.stages.timing import timed

BLOCK_ROWS = 1 << 17  # pairs whose embeddings a worker holds for neg_clip_loss, or four batches


@dataclass(frozen=True)
class NegClipLossStep(DerivedStep):
    """The mean of each pair's values over the times that batches were drawn."""

    column: ClassVar[str] = "neg_clip_loss"

    batches: int
    batch_size: int
    temperature: float
    seed: int

    def process(self, part: Part, found: list[tuple[int, bytes]]) -> PartOutput:
        """`found` are the packed values of the part's rows, ``(time, float32)`` each."""
        times = [np.frombuffer(values, np.float32) for _, values in sorted(found)]
        values: NDArray[np.float64] = np.full(len(self.uids(part)), np.nan)
        if times:
            values = np.stack(times).mean(axis=0, dtype=np.float64)
        return self.output(part, values.astype(np.float32), np.isfinite(values))


Block = tuple[int, list[int]]


def plan_blocks(parts: list[Progress], *, step: NegClipLossStep) -> Iterator[Block]:
    """Index, rows and whether it is done, of all parts -> (time, parts) of each group to compute."""
    parts = sorted(parts)
    rows, done = [n for _, n, _ in parts], {index for index, _, is_done in parts if is_done}
    size = max(4 * step.batch_size, BLOCK_ROWS)
    for time in range(step.batches):
        for block in draw_blocks(rows, size=size, seed=_seed(step.seed, time)):
            indices = [parts[at][0] for at in block]
            if not done.issuperset(indices):
                yield time, indices


def _seed(seed: int, time: int) -> int:
    return (seed * 1_000_003 + time) & 0xFFFFFFFFFFFFFFFF


class LossOfBlock(beam.DoFn):
    """(time, parts) -> (part, (time, packed values of its rows)); a row without embedding is NaN."""

    def __init__(self, step: NegClipLossStep) -> None:
        self._step = step

    @timed
    def process(self, element: Block) -> Iterator[tuple[int, tuple[int, bytes]]]:
        """Hold the embeddings of these parts, and go through their batches."""
        time, indices = element
        step = self._step
        uids, images, texts = [], [], []
        for index in indices:
            uids.append(step.uids(Part(index, "", 0, 0)))
            images.append(read_stored(step.run, index))
            texts.append(read_stored(step.run, index, kind="txt"))
        lengths = [len(one) for one in uids]
        known = [
            np.flatnonzero(np.isfinite(image).all(axis=1) & image.any(axis=1)) for image in images
        ]
        offsets = np.cumsum([0, *lengths])
        places = np.concatenate([at + rows for at, rows in zip(offsets, known, strict=False)])
        values = np.full(offsets[-1], np.nan, np.float32)
        if len(places):
            image, text = (
                np.concatenate([one[rows] for one, rows in zip(found, known, strict=True) if len(rows)])
                for found in (images, texts)
            )  # fmt: skip
            names = pa.chunked_array([chunk for one in uids for chunk in one.chunks], pa.string())
            seed = _seed(step.seed, time)
            for rows in draw_batches(names.take(places), size=step.batch_size, seed=seed):
                values[places[rows]] = neg_clip_loss(
                    unit(image[rows]), unit(text[rows]), tau=step.temperature
                )
        for index, start, n in zip(indices, offsets, lengths, strict=False):
            yield index, (time, values[start : start + n].tobytes())


class NegClipLoss(beam.PTransform):
    """Parts that are scored -> the same, once their column is done; a barrier."""

    def __init__(self, step: NegClipLossStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Only groups with a part that is not done are computed."""
        step = self._step
        values = (
            progress(parts, step=step)
            | "Draw" >> beam.FlatMap(plan_blocks, step=step)
            | "Spread" >> beam.Reshuffle()
            | "Losses" >> beam.ParDo(LossOfBlock(step))
        )
        return hand_out(parts, values, step=step)


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The barrier that draws batches of the whole pool."""
    if step.settings is None:
        raise AssertionError(f"{step.folder} has no settings")
    own = NegClipLossStep(**given(plan, step), **step.settings.model_dump(), seed=plan.config.seed)
    return NegClipLoss(own)
