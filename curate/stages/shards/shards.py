"""shards: kept rows and their images -> WebDataset shards, beside each a parquet and its statistics.

In the order of the pool a shard is a run of kept pairs (`cut`), which its writer reads from their
parts. Mixed, its pairs come from all parts, by way of scratch (`mixed`). A shard that is valid already
is left alone. Which pairs a shard holds does not depend on the number of workers, and a retry writes
the same bytes.
"""

import apache_beam as beam

from curate.parent import at_work
from curate.planning.asked import parquet_alone
from curate.planning.plan import Plan
from curate.planning.steps import Step
from curate.rundir.held import held_by
from curate.rundir.shards import ShardRecord
from curate.stages.shards.cut import Shard
from curate.stages.shards.earlier import EarlierShards
from curate.stages.shards.mixed import MixedShards
from curate.stages.shards.write import ShardStep
from curate.stages.timing import timed


@timed
def _write(shard: Shard, *, step: ShardStep) -> ShardRecord:
    with at_work(f"shard {shard.name}"):
        return step.whole(shard) or step.write(shard, step.rows_of(shard))


class Shards(beam.PTransform):
    """Parts -> the URL of the manifest; a barrier, because a shard may begin in any part."""

    def __init__(self, step: ShardStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Divide the rows into shards, write each, list all in the manifest."""
        step = self._step
        gathered = parts | "Parts" >> beam.combiners.ToList().without_defaults()
        if step.settings.order == "mixed":
            records = gathered | "Mix" >> MixedShards(step)
        else:
            earlier = []
            if step.held is not None:
                stay = gathered | "Earlier" >> EarlierShards(step)
                gathered, earlier = stay["parts"], [stay["records"]]
            written = (
                gathered
                | "Cut" >> beam.FlatMap(step.shards)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.Map(_write, step=step)
            )
            records = [written, *earlier] | "Together" >> beam.Flatten()
        return records | "All" >> beam.combiners.ToList() | "Manifest" >> beam.Map(step.manifest)


def transform(plan: Plan, step: Step) -> beam.PTransform:
    """Parts -> the shards of what their last stage kept."""
    download, balance = plan.config.download, plan.config.balance
    samples = balance is not None and balance.is_online
    own = ShardStep(
        run=plan.run,
        reads=plan.steps.upstream(step.stage),
        digest=plan.digests[step.folder].chain,
        settings=plan.config.shards,
        encode_format=download.encode_format,
        join=plan.config.caption.join,
        seed=plan.config.seed,
        kept=download.keeps and not download.disable_all_reencoding,
        parquet_alone=parquet_alone(plan.config),
        samples=(plan.config.seed, balance.reference, balance.column)
        if balance and samples
        else None,
        held=held_by(plan.run) if plan.run.makes(step.stage) else None,
    )
    return Shards(own)
