"""score: stored image and caption -> clip_score, on GPU workers.

`ScoreStep` writes a score for every pair to ``score/annotated``; `select` then applies the rules.
The device is chosen on the worker. A retry is safe; scores of an earlier run under the same model are
taken over.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate import schema
from curate.ops.clip import load_scorer
from curate.run import Part
from curate.schema import Stage
from curate.stages.download import read_images
from curate.stages.part import PartOutput, PartStep


@dataclass(frozen=True)
class ScoreStep(PartStep):
    """The alignment scores of one part."""

    stage: ClassVar[Stage] = Stage.SCORE
    annotates: ClassVar[bool] = True

    model: str
    pretrained: str | None
    precision: str
    batch_size: int
    encode_format: str

    def process(self, part: Part, *sides: Any) -> PartOutput:
        """Score the rows that have no score yet."""
        table = self.incoming(part).select(["uid", "caption", "tar_offset", "tar_size"])
        uids = table["uid"].to_pylist()
        old = self.reusable(part)
        known = dict(zip(*old.to_pydict().values(), strict=True)) if old is not None else {}
        scores = np.array([known.get(uid, np.nan) for uid in uids], np.float32)
        rows = np.array([row for row, uid in enumerate(uids) if uid not in known], np.int64)
        if len(rows):
            scorer = load_scorer(self.model, self.pretrained, self.precision, self.batch_size)
            missing = table.take(pa.array(rows))
            images = read_images(self.run, part.index, missing, encode_format=self.encode_format)
            scores[rows] = scorer.scores(images, missing["caption"].to_pylist())
        scored = pa.table([table["uid"], pa.array(scores)], schema=schema.SCORED)
        return PartOutput(scored, figures={"reused": len(uids) - len(rows)})
