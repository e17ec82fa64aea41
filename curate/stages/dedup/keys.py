"""Groups of parts -> keys -> (meet by run of slots) -> edges that hold, and candidates."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from curate.ops.distinct import distinct
from curate.ops.duplicates import components, graph
from curate.ops.duplicates.graph import Meeting, Policy
from curate.rundir.directory import Part
from curate.rundir.scratch import Extent
from curate.stages.dedup.exchange import Keyed, Known, edges_in
from curate.stages.timing import timed

_MADE_OF: dict[Policy, frozenset[str]] = {
    "url": frozenset({"url", "caption"}),
    "image": frozenset({"url", "sha256", "phash", "look"}),
    "pair": frozenset({"caption"}),
    "caption": frozenset({"caption"}),
}
"""The columns that keys are made of, as far as a part has them."""


CANDIDATES = "candidates"
"""The second output of `Meet`."""


class Keys(beam.DoFn):
    """(group, its parts and their rows' clusters or None) -> its file of keys: (run, extent)."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    @timed
    def process(
        self, element: tuple[int, Iterable[tuple[int, bytes | None]]], known: Known
    ) -> Iterator[tuple[int, Extent]]:
        """Read each part of the group once, for all policies."""
        group, parts = element
        keyed, spread = self._keyed, self._keyed.make.spread
        found: dict[tuple[Policy, Meeting], list[graph.Slots | None]]
        found = {section: [None] * spread.parts for section in keyed.sections}
        for part, clusters in sorted(parts, key=lambda one: one[0]):
            for section, slots in self._slots(known.get(part, part), clusters):
                found[section][part % spread.parts] = slots
        pieces = (
            [graph.pack(slots, spread.run(run)) for slots in found.values()]
            for run in range(spread.runs)
        )
        yield from list(enumerate(keyed.write(group, "keys", pieces)))

    def _slots(
        self, part: Part | int, clusters: bytes | None
    ) -> Iterator[tuple[tuple[Policy, Meeting], graph.Slots]]:
        make, policies = self._keyed.make, self._keyed.policies
        table = make.read(part, present=frozenset().union(*(_MADE_OF[x] for x in policies)))
        within = None
        if clusters is not None:
            members = edges_in(clusters)
            within = np.full(len(table), -1)
            within[graph.rows_of(members[:, 0])] = members[:, 1]
        for policy in policies:
            keys = [*graph.keys_of(table, policy, make.rule, within=within)]
            for how in Meeting:
                if alike := [one for one in keys if one.meeting is how]:
                    yield (policy, how), graph.slots_of(alike, slots=make.spread.slots)


class Meet(beam.DoFn):
    """A run's keys -> edges that hold by policy, and candidates by the group of their earliest row.

    Candidates are edges between captions, and whole buckets of images.
    """

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    @timed
    def process(self, element: tuple[int, Iterable[Extent]]) -> Iterator[Any]:
        """Read what each group has in the run, for all policies."""
        number, extents = element
        spread, extents = self._keyed.make.spread, sorted(extents)
        run = spread.run(number)
        contents = [self._keyed.read(extent, "keys") for extent in extents]
        for k, (policy, how) in enumerate(self._keyed.sections):
            blocks = [
                graph.Block(group * spread.parts, spread.parts, content[k])
                for (group, *_), content in zip(extents, contents, strict=True)
            ]
            met = graph.unpacked(blocks, how=how, all_slots=spread.slots, slots=len(run))
            if how is Meeting.EQUAL:
                edges = [components.bucket_edges(*keys, exact=True) for keys in met]
                yield policy, np.concatenate(edges).tobytes()
                continue
            if policy == "image":
                found = np.concatenate([components.buckets(*keys) for keys in met])
                sizes = np.diff(np.r_[-1, np.flatnonzero(found < 0)])
                earliest = np.repeat(found[np.cumsum(sizes) - sizes], sizes)
            else:
                found = np.concatenate(
                    [components.bucket_edges(*keys, exact=False) for keys in met]
                )
                earliest = found[:, 0]
            groups = graph.part_of(earliest) % spread.rows
            for group in distinct(groups).tolist():
                packed = policy, found[groups == group].tobytes()
                yield beam.pvalue.TaggedOutput(CANDIDATES, (group, packed))
