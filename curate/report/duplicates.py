"""What dedup saw: the policies, the clusters, and how duplicates had skewed the entries' counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import files
from curate.config import Config
from curate.pool.tables import read_entries
from curate.report.wording import POLICIES, value
from curate.rundir.directory import CLUSTERS as VERDICTS
from curate.rundir.directory import PAIRS, PART_STAGES, Run
from curate.schema import Stage
from curate.summaries.counting import count_clusters, rows_left
from curate.summaries.groups import parts_with
from curate.summaries.tallies import (
    Example,
    First,
    Key,
    Tallies,
    What,
    merged,
    occurrences,
    smallest,
)

PARTS = 64
"""Parts that dropped pairs of these clusters are looked for in, at most."""

MEMBERS = 5
"""Dropped pairs shown for each of them."""

ENTRIES = 15
"""Entries whose counts are shown before and after."""


@dataclass(frozen=True)
class PolicyFacts:
    """What one policy would drop if it were the only one."""

    policy: str
    meaning: str
    in_force: bool
    would_drop: int | None  # None where nobody looked
    at_most: bool  # `would_drop` is a bound: that of a policy which drops at least these
    share: float | None  # of the pairs that came into dedup


@dataclass(frozen=True)
class SizeClass:
    """Clusters of `smallest` to `largest` pairs, those that stay included."""

    smallest: int
    largest: int
    clusters: int
    pairs: int


@dataclass(frozen=True)
class Cluster:
    """The first pair of a cluster, which stays, and some of the pairs that were dropped for it."""

    size: int  # pairs, those that stay included
    survivor: Example
    dropped: tuple[Example, ...]
    preferred: tuple[str, ...] = ()  # of each of these pairs, what dedup.prefer looks at


@dataclass(frozen=True)
class EntrySkew:
    """How many of the pairs that match an entry were duplicates."""

    language: str
    entry: str
    before: int  # pairs that match it, before dedup
    after: int
    rank_before: int  # from 1; entries of equal count share the best rank
    rank_after: int


@dataclass(frozen=True)
class Duplicates:
    """Policies, clusters of more than one pair, and entries."""

    pairs_in: int
    dropped: int
    looked_at: int  # pairs that `policies` are of: those that came in, and those revoked since
    policies: tuple[PolicyFacts, ...]
    clusters: int
    pairs: int  # in these clusters, those that stay included
    sizes: tuple[SizeClass, ...]
    largest: tuple[Cluster, ...]
    matches_before: int  # of pairs with entries, over all of them
    matches_after: int
    entries: tuple[EntrySkew, ...]  # those with most matches before


def duplicates(
    run: Run, config: Config, found: Tallies, *, pairs_in: int, dropped: int
) -> Duplicates:
    """What the dedup stage of a run saw and counted; the two numbers are those of its records."""
    looked_at, would = _verdict(run, pairs_in=pairs_in)
    shrunk = _shrunk(run) if looked_at != pairs_in else {}
    counts, top = _resized(run, shrunk) if shrunk else _sizes(found)
    members = members_of(run, Stage.DEDUP, [survivor.uid for _, survivor in top])
    shown = [(survivor, *members[survivor.uid]) for _, survivor in top]
    told = _preferred(run, config, [pair for cluster in shown for pair in cluster])
    before, after = (_matches(found, what) for what in (What.MATCHES, What.MATCHES_LEFT))
    return Duplicates(
        pairs_in=pairs_in,
        dropped=dropped,
        looked_at=looked_at,
        policies=_policies(config, would, pairs=looked_at),
        clusters=int(counts.sum()),
        pairs=int((counts * np.arange(len(counts))).sum()),
        sizes=size_classes(counts.tolist()),
        largest=tuple(
            Cluster(size, survivor, tuple(dropped), tuple(told[x.key] for x in cluster if told))
            for (size, _), cluster in zip(top, shown, strict=True)
            for survivor, *dropped in [cluster]
        ),
        matches_before=sum(int(found.sum()) for found in before.values()),
        matches_after=sum(int(found.sum()) for found in after.values()),
        entries=_skew(run, config, before, after),
    )


def _upstream(run: Run) -> Stage:
    ahead = PART_STAGES[: PART_STAGES.index(Stage.DEDUP)]
    return next(stage for stage in reversed(ahead) if run.done(stage))


def _verdict(run: Run, *, pairs_in: int) -> tuple[int, dict[str, int]]:
    """The pairs that the policies were looked at with, and what each would drop of these."""
    url = run.path(Stage.DEDUP, "clusters.json")
    found = files.read_document(url) if files.exists(url) else {"would_drop": {}}
    return found.get(PAIRS, pairs_in), found["would_drop"]


def _policies(config: Config, would: dict[str, int], *, pairs: int) -> tuple[PolicyFacts, ...]:
    bounded = "pair" not in would and "image" in would
    if bounded:  # pairs with the same image and caption are pairs with the same image
        would = would | {"pair": would["image"]}
    return tuple(
        PolicyFacts(
            policy=name,
            meaning=POLICIES.get(name, name),
            in_force=name in config.dedup.policy,
            would_drop=would.get(name),
            at_most=bounded and name == "pair",
            share=would[name] / pairs if name in would and pairs else None,
        )
        for name in dict.fromkeys([*POLICIES, *would])
    )


Sizes = tuple[NDArray[np.int64], list[tuple[int, Example]]]
"""Clusters of each size, from 0, and the largest of them: size and first pair."""


def _sizes(found: Tallies) -> Sizes:
    """The clusters as they were counted."""
    sizes, clusters = found.values(What.CLUSTERS)
    counts = np.zeros(int(sizes[-1]) + 1 if len(sizes) else 2, np.int64)
    counts[sizes.astype(np.int64)] = clusters
    return counts, [(-int(rank), pair) for rank, pair in found.first.get((First.CLUSTER, ""), ())]


def _resized(run: Run, shrunk: dict[str, int]) -> Sizes:
    """The clusters by their sizes since some pairs were revoked, which may be the first ones.

    `shrunk` are the sizes of those that have lost pairs.
    """
    unseen = set(shrunk)  # those without a first pair
    tallies = Tallies()
    columns = ["uid", "url", "caption", "cluster", "cluster_size"]
    read = partial(run.rows, Stage.DEDUP, columns=columns)
    for index, table in run.each(run.done(Stage.DEDUP), read):
        unseen -= set(table["cluster"].to_pylist())
        place = pc.index_in(table["cluster"], pa.array(shrunk, pa.string())).combine_chunks()
        sizes = pa.array(shrunk.values(), table["cluster_size"].type).take(place)
        at = table.column_names.index("cluster_size")
        sizes = pc.coalesce(sizes, table["cluster_size"])
        count_clusters(tallies, table.set_column(at, "cluster_size", sizes), part=index)
    left = [shrunk[cluster] for cluster in unseen if shrunk[cluster] > 1]
    tallies.count(What.CLUSTERS, *occurrences(pa.array(left, pa.int64())))
    return _sizes(tallies)


def _shrunk(run: Run) -> dict[str, int]:
    """The clusters that pairs were revoked from, and how many pairs each has left."""

    def read(index: int) -> pa.Table | None:
        columns = ["row", "cluster", "size"]
        has_some = files.exists(run.part(VERDICTS, index))
        return run.rows(VERDICTS, index, columns=columns) if has_some else None

    left: dict[str, int] = {}
    for _, table in run.each(run.done(Stage.DEDUP), read):
        lost = table.filter(pc.is_null(table["row"])).to_pylist() if table is not None else ()
        for row in lost:
            left[row["cluster"]] = left.get(row["cluster"], row["size"]) - 1
    return left


def _preferred(run: Run, config: Config, shown: Sequence[Example]) -> dict[Key, str]:
    """The columns of dedup.prefer of some pairs that came into dedup, in words; empty without any."""
    names = [name.removeprefix("-") for name in config.dedup.prefer]
    told = {pair.key: "" for pair in shown} if names else {}
    for part in sorted({part for part, *_ in told}):
        columns = ["uid", "url", "caption", *dict.fromkeys(names)]
        table = run.rows(_upstream(run), part, columns=columns)
        uids = pa.array(sorted({key[1] for key in told}), pa.string())
        for row in table.filter(pc.is_in(table["uid"], value_set=uids)).to_pylist():
            key = part, row["uid"], row["url"], row["caption"]
            if key in told:
                told[key] = ", ".join(f"{name} {value(row[name])}" for name in names)
    return told


def members_of(
    run: Run, stage: Stage, survivors: list[str], *, reason: str = ""
) -> dict[str, list[Example]]:
    """Some of the pairs that `stage` dropped for each of `survivors`, and for `reason` if given.

    Of a large pool those that are in the first `PARTS` parts with any.
    """
    members: dict[str, list[Example]] = {uid: [] for uid in survivors}
    parts = parts_with(run, stage, survivors)[:PARTS]
    for index, table in run.each(parts, partial(rows_left, run, f"dropped/{stage}")):
        if reason:
            table = table.filter(pc.equal(table["reason"], reason))
        ours = table.filter(pc.is_in(table["value"], value_set=pa.array(survivors, pa.string())))
        for uid in pc.unique(ours["value"]).to_pylist():
            rows = ours.filter(pc.equal(ours["value"], uid))
            more = smallest(rows, part=index, n=MEMBERS, reason="reason", value="value")
            members[uid] = merged([*members[uid], *more], n=MEMBERS)
    return members


def size_classes(counts: Sequence[int]) -> tuple[SizeClass, ...]:
    """Classes 2, 3, 4, then doubling: 5 to 8, 9 to 16, ...; up to the largest that is not empty.

    `counts` are the clusters of each size, from 0.
    """
    classes = []
    first, last = 2, 2
    while first < len(counts):
        inside = counts[first : last + 1]
        pairs = sum(size * n for size, n in enumerate(inside, start=first))
        classes.append(SizeClass(first, last, sum(inside), pairs))
        first, last = last + 1, last + 1 if last < 4 else 2 * last
    while classes and not classes[-1].clusters:
        classes.pop()
    return tuple(classes)


def _matches(found: Tallies, what: What) -> dict[str, NDArray[np.int64]]:
    """The pairs that match each entry, by language and entry id."""
    counts: dict[str, NDArray[np.int64]] = {}
    for language in found.groups(what):
        entries, pairs = found.values(what, language)
        counts[language] = np.zeros(int(entries[-1]) + 1 if len(entries) else 0, np.int64)
        counts[language][entries.astype(np.int64)] = pairs
    return counts


def _skew(
    run: Run,
    config: Config,
    before: dict[str, NDArray[np.int64]],
    after: dict[str, NDArray[np.int64]],
) -> tuple[EntrySkew, ...]:
    best: list[tuple[int, str, int]] = []
    for language, counts in before.items():
        first = np.argsort(-counts, kind="stable")[:ENTRIES]
        best += [(-int(counts[i]), language, int(i)) for i in first if counts[i]]
    best = sorted(best)[:ENTRIES]
    names = _names(run, config, {(language, entry) for _, language, entry in best})
    found = []
    for _, language, entry in best:
        was, now = before[language], after.get(language, np.zeros(0, np.int64))
        left = int(now[entry]) if entry < len(now) else 0
        name = names.get((language, entry), f"entry {entry}")
        ranks = (1 + sum(int((n > x).sum()) for n in counts.values())
                 for counts, x in ((before, was[entry]), (after, left)))  # fmt: skip
        found.append(EntrySkew(language, name, int(was[entry]), left, *ranks))
    return tuple(found)


def _names(run: Run, config: Config, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """The names of entries: as the balance wrote them, else from the lists."""
    url = run.path(Stage.BALANCE, "entries.parquet")
    names: dict[tuple[str, int], str] = {}
    if files.exists(url):
        ids = pa.array(sorted({entry for _, entry in wanted}), pa.int32())
        with files.open_read(url) as file:
            columns = ["language", "entry_id", "entry"]
            for batch in pq.ParquetFile(file).iter_batches(columns=columns):
                rows = batch.filter(pc.is_in(batch["entry_id"], value_set=ids))
                for row in rows.to_pylist():
                    names[row["language"], row["entry_id"]] = row["entry"]
        return names
    for language in sorted({language for language, _ in wanted}):
        path = files.absolute(config.prepare.metadata[language])
        if files.exists(path):  # a run may outlive its lists
            names |= {(language, i): x for i, x in enumerate(read_entries(path).concepts)}
    return names
