"""What semantic deduplication saw: groups of pairs whose images mean the same."""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.reasons import DropReason
from curate.report.duplicates import Cluster, SizeClass, members_of, size_classes
from curate.rundir.directory import SCORED, Run
from curate.schema import GROUPS, SEMANTIC, Stage
from curate.summaries.groups import parts_with
from curate.summaries.tallies import Example


@dataclass(frozen=True)
class Meanings:
    """Groups of pairs of which one stays."""

    compared: int  # pairs
    dropped: int
    groups: int  # of more than one
    sizes: tuple[SizeClass, ...]
    largest: tuple[Cluster, ...]


def meanings(run: Run) -> Meanings | None:
    """What a run's comparison of embeddings found; None where it did not come to that."""
    url = run.path(SCORED, SEMANTIC, GROUPS)
    if not files.exists(url):
        return None
    found = files.read_json(url)
    sizes = dict(found["sizes"])
    counts = [sizes.get(size, 0) for size in range(max(sizes, default=1) + 1)]
    survivors = _pairs(run, [uid for _, uid in found["largest"]])
    reason = str(DropReason.DUPLICATE_MEANING)
    members = members_of(run, Stage.SCORE, list(survivors), reason=reason)
    return Meanings(
        compared=found["pairs"],
        dropped=sum((size - 1) * groups for size, groups in sizes.items()),
        groups=sum(sizes.values()),
        sizes=size_classes(counts),
        largest=tuple(
            Cluster(size, survivors[uid], tuple(members[uid]))
            for size, uid in found["largest"]
            if uid in survivors
        ),
    )


def _pairs(run: Run, uids: list[str]) -> dict[str, Example]:
    """The pairs with these uids that the score stage kept."""
    wanted = pa.array(uids, pa.string())
    found: dict[str, Example] = {}
    read = partial(run.rows, Stage.SCORE, columns=["uid", "url", "caption"])
    parts = [x for x in parts_with(run, Stage.PREPARE, uids) if run.record(Stage.SCORE, x)]
    for index, table in run.each(parts, read):
        for row in table.filter(pc.is_in(table["uid"], value_set=wanted)).to_pylist():
            found.setdefault(row["uid"], Example(index, row["uid"], row["url"], row["caption"]))
    return found
