"""What the stages of a run counted of its parts, put together for the report."""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from curate.planning.steps import Steps
from curate.report.domains import Sites, domains
from curate.report.hosts import Hosts, Tally, summary
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import whole
from curate.summaries.sites import IN_THE_SET, in_the_set
from curate.summaries.tallies import Tallies, What

MOST_PARTS = 1024
"""Parts of which the set's pairs are counted by host for the report, where no worker has counted them:
the run is of an earlier version, or another stage was the last."""


@dataclass(frozen=True)
class Counted:
    """What the stages of a run counted; the hosts, which are many, by themselves."""

    stages: dict[Stage, Tallies]
    hosts: pa.Table | None = None  # a row a host: `schema.HOSTS`
    largest: Hosts | None = None
    sites: Sites | None = None


def counted(run: Run, steps: Steps) -> Counted:
    """What the stages that ran counted, read a group of parts at a time."""
    asked, kept = Tally(), Tally()
    order = steps.begun(run) or [Stage.PREPARE]

    def add(stage: Stage, rows: pa.Table) -> None:
        ours = pc.equal(rows["outcome"], IN_THE_SET)
        if stage is Stage.DOWNLOAD:
            asked.add(rows.filter(pc.invert(ours)))
        if stage is order[-1]:  # another one was perhaps the last once
            kept.add(rows.filter(ours))

    stages = {
        stage: whole(run, Counting.of(steps, stage), hosts=partial(add, stage)) for stage in order
    }
    if Stage.DOWNLOAD not in stages:
        return Counted(stages)
    table = asked.table()
    hosts = summary(asked, table)
    pairs = stages[order[-1]].of_texts(What.LANGUAGE).total()
    if kept.totals.total() != pairs and len(done := run.done(order[-1])) <= MOST_PARTS:
        kept = Tally()
        for _, rows in run.each(done, partial(run.rows, order[-1], columns=["url", "image_bytes"])):
            kept.add(in_the_set(rows))
    return Counted(stages, table, hosts, domains(asked, kept, hosts, in_the_set=pairs))
