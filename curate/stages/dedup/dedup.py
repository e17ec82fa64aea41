"""dedup: hashes of all pairs -> clusters -> the pairs that survive.

May drop, by the policies asked for: a pair with the URL of another (`url`, normalised), with the same
image (`image`), with the same image and nearly the same caption (`pair`), or with nearly the same
caption (`caption`): a Jaccard similarity of shingles of at least the threshold. Of a cluster the pair
stays that is first by when it came (where the pool has grown), by the columns of `prefer`, then by the
larger image, the longer caption, the smaller uid.

An image is the same as the one that stands for its cluster, the first in that order, where the file is
or where their perceptual hashes are within `image_distance` bits and they look the same in small, with
their colours (ops.images.looks). Chains of images, each near the next, do not make one cluster: each is
compared with that one image itself.

Only hashes, row numbers and what decides who stays are exchanged, packed: see the modules `forests` and
`clusters` beside this one. The verdicts are written to ``clusters/``; a retry writes the same ones.
"""

from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.ops import captions as ops
from curate.ops.duplicates.graph import DedupRule
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.directory import CLUSTERS, Part, part_name
from curate.rundir.verdicts import document, vouched
from curate.schema import Stage
from curate.stages.captions import Captions, captions_of
from curate.stages.dedup.clusters import REASONS, Clusters
from curate.stages.dedup.exchange import Clustering, Spread
from curate.stages.part import PartOutput, PartStep, Sieve, TakeParts, given


@dataclass(frozen=True)
class DedupStep(PartStep):
    """Drops the duplicates of one part by its verdicts."""

    stage: ClassVar[Stage] = Stage.DEDUP

    rule: DedupRule
    columns: pa.Schema
    captions: Captions | None = None  # of pairs that may have several

    def process(self, part: Part, written: dict[str, files.Content]) -> PartOutput:
        """`written` is the content of each table of verdicts by name; it comes when all are written."""
        table = self.incoming(part)
        held = written.get(part_name(CLUSTERS, part.index))
        verdicts = files.read_table(self.run.part(CLUSTERS, part.index), content=held)
        verdicts = verdicts.filter(pc.is_valid(verdicts["row"]))
        place = np.full(len(table), -1)
        place[verdicts["row"].to_numpy()] = np.arange(len(verdicts))
        found = verdicts.take(pa.array(place, mask=place < 0))
        table = table.append_column("cluster", pc.coalesce(found["cluster"], table["uid"]))
        table = table.append_column("cluster_size", pc.fill_null(found["size"], 1))
        if "other_captions" in self.columns.names:
            none = pa.scalar([], found["other_captions"].type)
            others = pc.coalesce(found["other_captions"], none)
            table = table.append_column("other_captions", others)
        figures: dict[str, float] = {}
        if (captions := self.captions) and captions.lent:
            table = captions.with_lent(table, found["lent"])
            stays = pc.is_null(found["reason"])
            figures = ops.figures(table.filter(stays))
        sieve = Sieve(table.append_column("reason", found["reason"]), stage=self.stage)
        for policy in self.rule.policy:
            why = REASONS[policy]
            duplicate = pc.fill_null(pc.equal(sieve.table["reason"], str(why)), False)
            sieve.remove(duplicate, reason=why, value=sieve.table["cluster"])
        return sieve.output(columns=self.columns, figures=figures)


class Dedup(beam.PTransform):
    """Parts -> parts without duplicates; a barrier.

    Where all verdicts are those of the step's digest, no hash is computed again.
    """

    def __init__(self, step: DedupStep, *, spread: Spread) -> None:
        super().__init__()
        self._step, self._spread = step, spread

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Cluster, then drop."""
        step = self._step
        if (document(step.run) or {}).get("digest") == step.digest:  # else `settle` has removed it
            written = parts.pipeline | "Run" >> beam.Create([step.run]) | beam.Map(vouched)
        else:
            clustering = Clustering(step.run, step.reads, step.rule, self._spread)
            written = parts | "Cluster" >> Clusters(clustering, digest=step.digest)
        return parts | "Drop" >> TakeParts(step, beam.pvalue.AsSingleton(written))


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """The clusters of the whole pool, spread by its size, then what stays of each."""
    config = plan.config.dedup
    captions = captions_of(plan)
    own = DedupStep(
        **given(plan, step),
        rule=DedupRule(**config.model_dump(exclude={"enabled", "prefer_earlier"}),
                       prefer_earlier=config.prefer_earlier and plan.grown is not None,
                       lends=captions is not None and captions.lent is not None),
        columns=plan.steps.columns(step.stage), captions=captions,
    )  # fmt: skip
    rows, pictures = sum(part.rows for part in plan.parts), own.reads != Stage.PREPARE
    return Dedup(own, spread=Spread.over(rows, parts=len(plan.parts), pictures=pictures))
