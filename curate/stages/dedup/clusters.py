"""Who stays, over all parts: the policies' forests become each part's file of verdicts.

    forests -> clustered rows of each part -> (meet by cluster) -> verdicts -> a file a part

What crosses a shuffle is packed: an element holds the rows of one part for one group of clusters. The
result is the same for any number of workers and groups.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate import files
from curate.config.captions import MOST_LENT
from curate.ops import lent
from curate.ops.distinct import distinct
from curate.ops.duplicates import components, graph, survivors
from curate.ops.duplicates.graph import DedupRule, Policy
from curate.reasons import DropReason
from curate.rundir.directory import CLUSTERS, Part, Run, part_name
from curate.rundir.scratch import KEYS, as_bytes, as_table
from curate.rundir.verdicts import NAME, WROTE
from curate.schema import LENT, Column, Stage
from curate.stages.dedup.exchange import Clustering, Known, Packed, edges_in
from curate.stages.dedup.forests import Forests, merged
from curate.stages.timing import timed

REASONS: dict[Policy, DropReason] = {
    "url": DropReason.DUPLICATE_URL,
    "image": DropReason.DUPLICATE_IMAGE,
    "pair": DropReason.DUPLICATE_PAIR,
    "caption": DropReason.DUPLICATE_CAPTION,
}

VERDICTS = pa.schema(
    [
        ("row", pa.int32()),  # null for a pair that was revoked since
        ("cluster", pa.string()),  # uid of the first pair of the cluster
        ("size", pa.int32()),
        ("reason", pa.string()),  # null for a pair that stays, and for one that was revoked
        ("other_captions", pa.list_(pa.field("element", pa.string()))),
    ]
)
"""`clusters/part-00000.parquet`: the pairs of a part that are not alone, by row."""
_LENT = pa.field("lent", LENT)


def verdicts_of(rule: DedupRule) -> pa.Schema:
    """The columns of the verdicts by `rule`: with the captions that others lend, where they do."""
    return VERDICTS.append(_LENT) if rule.lends else VERDICTS


TEXT = "text"
"""The column of captions of pairs on their way to a verdict; `caption` is a policy's there."""


def without_rows(verdicts: pa.Table, gone: NDArray[np.bool_]) -> pa.Table:
    """A part's verdicts once the rows where `gone` is true are taken out of the part.

    A cluster's size stays as it was found, with the rows that are gone.
    """
    rows = verdicts["row"].to_numpy(zero_copy_only=False)
    gone = np.append(gone, False)
    stood = np.isfinite(rows)
    at = np.where(stood, rows, 0).astype(np.int64)
    stays = stood & ~gone[at]
    columns = {"row": pa.array((at - np.cumsum(gone)[at]).astype(np.int32), mask=~stays)}
    for name in {"reason", "other_captions", _LENT.name} & {*verdicts.column_names}:
        columns[name] = pc.if_else(pa.array(stays), verdicts[name], None)
    for name, column in columns.items():
        at = verdicts.column_names.index(name)
        verdicts = verdicts.set_column(at, verdicts.field(name), column)
    return verdicts


def clusters_by_part(forest: Packed) -> Iterator[tuple[int, bytes]]:
    """A forest -> the clusters of each part's rows."""
    found = components.members(edges_in(forest[1]))
    for part, here in graph.by_part(found[:, 0]):
        yield part, found[here].tobytes()


class _Pictures(beam.DoFn):
    """A part's clusters of images -> what tells who is whose copy, by group of clusters."""

    def __init__(self, clustering: Clustering) -> None:
        self._clustering = clustering

    @timed
    def process(self, element: tuple[int, bytes], known: Known) -> Iterator[tuple[int, bytes]]:
        part, content = element
        make = self._clustering
        found = edges_in(content)
        table = make.read(known.get(part, part)).take(pa.array(graph.rows_of(found[:, 0])))
        columns = _ranks(table, found[:, 0], make.rule, known[part].wave)
        columns["component"] = pa.array(found[:, 1])
        columns |= {name: table[name] for name in ("phash", "look")}
        yield from _grouped(pa.table(columns), found[:, 1], make)


@timed
def _copies(keyed: tuple[int, Iterable[bytes]], rule: DedupRule) -> Packed:
    """All images of a group of clusters -> the forest of those that are copies of one."""
    pictures = pa.concat_tables(map(as_table, keyed[1])).sort_by("row").combine_chunks()
    return "image", components.forest(graph.copies(pictures, rule)).tobytes()


class Copies(beam.PTransform):
    """The forest of near pictures -> that of copies: chains of weak links come apart."""

    def __init__(self, clustering: Clustering, known: beam.pvalue.AsDict) -> None:
        """`known` are all parts, by index: a side input."""
        super().__init__()
        self._clustering, self._known = clustering, known

    def expand(self, forest: beam.PCollection) -> beam.PCollection:
        """Group the pictures by component, each with its hashes, and compare those of a component."""
        make = self._clustering
        return (
            forest
            | "By part" >> beam.FlatMap(clusters_by_part)
            | "Spread" >> beam.Reshuffle()
            | "Pictures" >> beam.ParDo(_Pictures(make), self._known)
            | "Components" >> beam.GroupByKey()
            | "Copies" >> beam.Map(_copies, make.rule)
            | "Merge" >> merged()
        )


@timed
def _outline(found: list[Packed], rule: DedupRule) -> Iterator[tuple[int, bytes]]:
    """The forests of the policies -> the outline of each part."""
    forests = dict(found)
    rows = graph.outline([edges_in(forests.get(policy, b"")) for policy in rule.policy])
    for part, here in graph.by_part(rows[:, 0]):
        yield part, rows[here].tobytes()


class _Members(beam.DoFn):
    """A part's outline -> its clustered pairs with what decides who stays, by group of clusters."""

    def __init__(self, clustering: Clustering) -> None:
        self._clustering = clustering

    @timed
    def process(self, element: tuple[int, bytes], known: Known) -> Iterator[tuple[int, bytes]]:
        part, content = element
        make = self._clustering
        rows = np.frombuffer(content, np.int64).reshape(-1, 2 + len(make.rule.policy))
        table = make.read(known.get(part, part)).take(pa.array(graph.rows_of(rows[:, 0])))
        columns = _ranks(table, rows[:, 0], make.rule, known[part].wave)
        if make.rule.keep_captions:
            columns[TEXT] = table["caption"]
        if make.rule.lends:
            columns |= lent.own(table)
        for k, policy in enumerate(make.rule.policy):
            columns[policy] = pa.array(rows[:, 2 + k])
        yield from _grouped(pa.table(columns), rows[:, 1], make)


def _ranks(
    table: pa.Table, nodes: NDArray[np.int64], rule: DedupRule, wave: int
) -> dict[str, Column]:
    """What decides which of some pairs stays: the columns of `survivors.survivor_order`."""
    wanted = survivors.preferred(rule.prefer)
    waves = np.full(len(nodes), wave, np.int32)
    return {
        **({survivors.WAVE: pa.array(waves)} if rule.prefer_earlier else {}),
        "row": pa.array(nodes), "uid": table["uid"], "caption_chars": table["caption_chars"],
        "pixels": _pixels(table), **{name: table[column] for name, (column, _) in wanted.items()},
    }  # fmt: skip


def _grouped(
    pairs: pa.Table, roots: NDArray[np.int64], make: Clustering
) -> Iterator[tuple[int, bytes]]:
    """Pairs by the group of their cluster's root."""
    groups = graph.part_of(roots) % make.spread.rows
    for group in distinct(groups).tolist():
        yield group, as_bytes(pairs.filter(pa.array(groups == group)))


def _pixels(table: pa.Table) -> pa.Array:
    if "original_width" not in table.column_names:
        return pa.array(np.zeros(len(table), np.int64))
    width, height = (table[f"original_{x}"].cast(pa.int64()) for x in ("width", "height"))
    return pc.multiply(width, height)


@timed
def decide(keyed: tuple[int, Iterable[bytes]], rule: DedupRule) -> Iterator[tuple[int, bytes]]:
    """All pairs of a group of clusters -> verdicts, by part."""
    pairs = pa.concat_tables(map(as_table, keyed[1])).sort_by("row").combine_chunks()
    keep = {"caption": rule.caption_keeps}
    policies = [
        survivors.Clusters(str(REASONS[x]), pairs[x].to_numpy(), keep.get(x, 1))
        for x in rule.policy
    ]
    order = survivors.survivor_order(pairs, prefer=rule.prefer)
    verdict = survivors.choose(order, policies)
    others = pa.nulls(len(pairs), VERDICTS.field("other_captions").type)
    if rule.keep_captions:
        places, starts = survivors.left_behind(pairs[TEXT], verdict, order=order)
        texts = pairs[TEXT].take(pa.array(places)).combine_chunks()
        others = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts, type=others.type)
    if rule.lends:
        own = pairs["own caption"]
        places, starts = survivors.left_behind(own, verdict, order=order, most=MOST_LENT)
    nodes = pairs["row"].to_numpy()
    for part, here in graph.by_part(nodes):
        found = pa.table(
            [
                pa.array(graph.rows_of(nodes[here]).astype(np.int32)),
                pairs["uid"].take(pa.array(verdict.cluster[here])).combine_chunks(),
                pa.array(verdict.size[here].astype(np.int32)),
                pa.array(verdict.reason[here], pa.string()),
                others[here.start : here.stop],
                *([lent.lists(pairs, places, starts[here.start : here.stop + 1])]
                  if rule.lends else []),
            ],
            schema=verdicts_of(rule),
        )  # fmt: skip
        yield part, as_bytes(found.filter(pc.greater(found["size"], 1)))


class _Write(beam.DoFn):
    """(part, its verdicts) -> the name of its file of verdicts, and what that holds."""

    def __init__(self, run: Run, kind: pa.Schema) -> None:
        self._run, self._kind = run, kind

    @timed
    def process(
        self, element: tuple[int, dict[str, Iterable[Any]]]
    ) -> Iterator[tuple[str, files.Content]]:
        part, found = element
        tables = [self._kind.empty_table(), *map(as_table, found["verdicts"])]
        table = pa.concat_tables(tables).sort_by("row")
        yield part_name(CLUSTERS, part), files.write_table(self._run.part(CLUSTERS, part), table)


class Clusters(beam.PTransform):
    """Parts -> ``clusters/``, and, once all are written, the content of each by name, one element.

    ``records/dedup/clusters.json`` is written last: the digest, what the tables hold, and how many
    pairs each policy that was looked at would drop if it were the only one.
    """

    def __init__(self, clustering: Clustering, *, digest: str) -> None:
        super().__init__()
        self._clustering, self._digest = clustering, digest

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """URLs and images are always clustered, since that costs little; captions if asked for."""
        make = self._clustering
        rule = make.rule
        indices = parts | "Index" >> beam.Map(_bare)
        known = beam.pvalue.AsDict(parts | "Numbered" >> beam.Map(_numbered))
        policies: tuple[Policy, ...] = ("url", "image")
        if "caption" in rule.policy:
            policies += ("caption",)
        forests = indices | "Forests" >> Forests(make, known, *policies)
        named = [forests]
        if make.has_hashes or "pair" in rule.policy:
            images = forests | "Images" >> beam.Filter(_is_of, "image")
            others = forests | "Others" >> beam.Filter(lambda one: not _is_of(one, "image"))
            if make.has_hashes:
                images |= "Copies" >> Copies(make, known)
            named = [others, images]
            if "pair" in rule.policy:
                alike = images | "Same image" >> beam.FlatMap(clusters_by_part)
                named.append(alike | "Pairs" >> Forests(make, known, "pair"))
        found = (
            named | "All" >> beam.Flatten() | "Listed" >> beam.combiners.ToList().without_defaults()
        )
        verdicts = (
            found
            | "Outline" >> beam.FlatMap(_outline, rule)
            | "Spread outline" >> beam.Reshuffle()
            | "Members" >> beam.ParDo(_Members(make), known)
            | "Clusters" >> beam.GroupByKey()
            | "Decide" >> beam.FlatMap(decide, rule)
        )
        written = (
            {"parts": indices, "verdicts": verdicts}
            | "By part" >> beam.CoGroupByKey()
            | "Write" >> beam.ParDo(_Write(make.run, verdicts_of(rule)))
            | "Written" >> beam.combiners.ToList().without_defaults()
        )
        return written | "Say so" >> beam.Map(
            say, beam.pvalue.AsSingleton(found), run=make.run, rule=rule, digest=self._digest
        )


def _bare(part: Part) -> tuple[int, None]:
    return part.index, None


def _numbered(part: Part) -> tuple[int, Part]:
    return part.index, part


def _is_of(forest: Packed, policy: Policy) -> bool:
    return forest[0] == policy


@timed
def say(
    written: list[tuple[str, files.Content]],
    found: list[Packed],
    *,
    run: Run,
    rule: DedupRule,
    digest: str,
) -> dict[str, files.Content]:
    """Write ``records/dedup/clusters.json``; the content of each table of verdicts by name."""
    held = dict(sorted(written))
    keep = {"caption": rule.caption_keeps}
    forests = dict.fromkeys(("url", "image", *rule.policy), b"") | dict(found)
    would_drop = {
        policy: components.surplus(edges_in(forest), keep=keep.get(policy, 1))
        for policy, forest in sorted(forests.items())
    }
    document = {
        "digest": digest, "policy": list(rule.policy), "would_drop": would_drop, WROTE: held
    }  # fmt: skip
    files.write_document(run.path(NAME), document)
    files.remove(run.path(Stage.DEDUP, KEYS))
    return held
