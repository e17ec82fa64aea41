"""Further scores: stored image and caption -> a number a pair, a column each.

`MeasureStep` writes one such column to a folder of its own inside ``annotated/score``; the model's
step, or `JoinStep` where there is no model, puts all columns beside each other in ``annotated/score``
itself. No row leaves here. A retry is safe; what an earlier run found under the same settings, of the
same stored image and caption, is taken over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.config import FurtherScore
from curate.ops.hashing import pair_uids
from curate.ops.scores.measures import OF_CAPTIONS, MeasureSpec
from curate.planning.asked import measure_spec, measured
from curate.planning.plan import Plan
from curate.planning.steps import Kind, Step
from curate.run.directory import Part, Run
from curate.schema import Stage
from curate.stages.images import read_images
from curate.stages.part import PartOutput, PartStep, TakePart, given
from curate.stages.score.accelerator import on_accelerator

_BATCH = 256  # images in memory
_OF_ROWS = (("uid", pa.string()), ("scored", pa.string()))


@dataclass(frozen=True)
class MeasureStep(PartStep):
    """One further score for one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    name: str
    measure: MeasureSpec
    encode_format: str

    @property
    def folder(self) -> str:
        """``annotated/score/NAME``."""
        return files.join(super().folder, self.name)

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """Number the rows that have none yet; null where an image cannot be decoded."""
        names = ["uid", "caption"]
        images = self.measure.kind not in OF_CAPTIONS
        names += ["tar_offset", "tar_size", "stored_sha256"] if images else []
        table = self.incoming(part).select(names)
        scored = scored_of(table, images=images)
        values = np.full(len(table), np.nan, np.float32)
        known = self._known(part)
        keys = scored.to_pylist()
        rows = np.array([i for i, key in enumerate(keys) if key not in known], np.int64)
        for i, key in enumerate(keys):
            values[i] = known.get(key, np.nan)
        if len(rows):
            values[rows] = self._measure(
                part, table.take(pa.array(rows)), known=len(keys) - len(rows)
            )
        column = pa.array(values, mask=np.isnan(values))
        schema = pa.schema([*_OF_ROWS, (self.name, pa.float32())])
        done = pa.table([table["uid"], scored, column], schema=schema)
        return PartOutput(done, figures={"reused": float(len(keys) - len(rows))})

    def _measure(self, part: Part, table: pa.Table, *, known: int) -> Any:
        """The numbers of the rows of `table`, counted as they come; `known` others need none."""
        found = []
        with self.counted(part) as journal:
            journal.count(known)
            for values in self._measured(part, table):
                found.append(values)
                journal.count(len(values))
        return np.concatenate(found)

    def _known(self, part: Part) -> dict[str, float]:
        old = self.reusable(part)
        if old is None:
            return {}
        numbers = old[self.name].to_numpy(zero_copy_only=False)
        known = dict(zip(old["scored"].to_pylist(), numbers.tolist(), strict=True))
        known.pop(None, None)
        return known

    def _measured(self, part: Part, table: pa.Table) -> Iterator[Any]:
        measure = self.measure.load()
        captions = table["caption"].to_pylist()
        if self.measure.kind in OF_CAPTIONS:
            yield measure(captions, ())
            return
        images = read_images(self.run, part.index, table, encode_format=self.encode_format)
        for start in range(0, len(captions), _BATCH):
            yield measure(captions[start : start + _BATCH], list(islice(images, _BATCH)))


@dataclass(frozen=True)
class JoinStep(PartStep):
    """The columns of all further scores beside each other, where no model runs."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    joined: tuple[str, ...]

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """Read the columns; nothing is computed."""
        uids = self.incoming(part)["uid"].combine_chunks()
        columns = joined(self.run, self.folder, part, names=self.joined, uids=uids)
        schema = pa.schema([("uid", pa.string()), *((name, pa.float32()) for name in self.joined)])
        return PartOutput(pa.table([uids, *columns], schema=schema))


def scored_of(pairs: pa.Table, *, images: bool) -> pa.Array:
    """What a score of each of `pairs` is of, as a hash: its caption, and its stored image if `images`.

    Null where the hash of an image is not known.
    """
    if not images:
        return pair_uids(pa.array([""] * len(pairs)), pairs["caption"])
    stored = pairs["stored_sha256"].combine_chunks()
    hashes = pair_uids(pc.fill_null(stored, ""), pairs["caption"])
    return pc.if_else(pc.is_valid(stored), hashes, None)


def joined(run: Run, folder: str, part: Part, *, names: tuple[str, ...], uids: Any) -> list[Any]:
    """The columns `names`, each from the folder of its name inside `folder`; rows are `uids`."""
    columns = []
    for name in names:
        other = run.rows(files.join(folder, name), part.index)
        if not other["uid"].combine_chunks().equals(uids):
            raise AssertionError(f"{folder}/{name} of part {part.index} is not of its rows")
        columns.append(other[name])
    return columns


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> parts whose pairs have a further score, or all of them beside each other; a map."""
    config = plan.config
    if step.kind is Kind.JOIN:
        join = JoinStep(**given(plan, step), joined=tuple(measured(config)))
        return beam.ParDo(TakePart(join))
    if not isinstance(step.settings, FurtherScore):
        raise AssertionError(f"{step.folder} has no settings")
    own = MeasureStep(
        **given(plan, step),
        name=step.name,
        measure=measure_spec(step.settings, config),
        encode_format=config.download.encode_format,
    )
    take = beam.ParDo(TakePart(own))
    return on_accelerator(take, config) if own.measure.clip else take
