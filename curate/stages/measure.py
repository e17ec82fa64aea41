"""Further scores: stored image and caption -> a number a pair, a column each.

`MeasureStep` writes one such column to a folder of its own inside ``score/annotated``; the model's
step, or `JoinStep` where there is no model, puts all columns beside each other in ``score/annotated``
itself. No row leaves here. A retry is safe; what an earlier run found under the same settings is taken
over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate import files
from curate.ops.measures import OF_CAPTIONS, MeasureSpec
from curate.run import Part, Run
from curate.schema import Stage
from curate.stages.download import read_images
from curate.stages.part import PartOutput, PartStep

_BATCH = 256  # images in memory


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
        """``score/annotated/NAME``."""
        return files.join(super().folder, self.name)

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """Number the rows that have none yet; null where an image cannot be decoded."""
        names = ["uid", "caption"]
        images = self.measure.kind not in OF_CAPTIONS
        table = self.incoming(part).select([*names, "tar_offset", "tar_size"] if images else names)
        uids = table["uid"].to_pylist()
        values = np.full(len(table), np.nan, np.float32)
        known = self._known(part)
        rows = np.array([i for i, uid in enumerate(uids) if uid not in known], np.int64)
        for i, uid in enumerate(uids):
            values[i] = known.get(uid, np.nan)
        if len(rows):
            values[rows] = np.concatenate(list(self._measured(part, table.take(pa.array(rows)))))
        column = pa.array(values, mask=np.isnan(values))
        schema = pa.schema([("uid", pa.string()), (self.name, pa.float32())])
        done = pa.table([table["uid"], column], schema=schema)
        return PartOutput(done, figures={"reused": float(len(uids) - len(rows))})

    def _known(self, part: Part) -> dict[str, float]:
        old = self.reusable(part)
        if old is None:
            return {}
        numbers = old[self.name].to_numpy(zero_copy_only=False)
        return dict(zip(old["uid"].to_pylist(), numbers.tolist(), strict=True))

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


def joined(run: Run, folder: str, part: Part, *, names: tuple[str, ...], uids: Any) -> list[Any]:
    """The columns `names`, each from the folder of its name inside `folder`; rows are `uids`."""
    columns = []
    for name in names:
        other = files.read_table(run.part(files.join(folder, name), part.index))
        if not other["uid"].combine_chunks().equals(uids):
            raise AssertionError(f"{folder}/{name} of part {part.index} is not of its rows")
        columns.append(other[name])
    return columns
