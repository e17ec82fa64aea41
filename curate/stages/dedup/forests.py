"""The forests of the policies' clusters, over all parts, as Beam transforms; curate.ops does the work.

    groups of parts -> a file of keys each -> (meet by run of slots) -> edges that hold, and candidates
    candidates -> (meet by group of the earliest row) -> which rows to compare
    groups of parts -> a file of these rows each -> (meet again) -> verified edges -> forests
    forest of images -> (meet by component) -> copies and their originals -> forest

Keys, about 100 bytes a pair with its caption and 270 more with a picture, are in a file a group, in
which those of each run of slots are together; only their extents cross the shuffle. So a run costs
one read of each group, for all policies at once. Candidates' captions and hashes travel likewise. Edges
cross the shuffle packed. The largest thing that one worker holds is the forest itself: 16 bytes for
each pair that is a duplicate. It is the same for any number of workers, groups and slots.
"""

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from curate.ops.duplicates import components
from curate.ops.duplicates.graph import Policy
from curate.stages.dedup.candidates import WANTED, Rows, Verify, Want
from curate.stages.dedup.exchange import Clustering, Keyed, edges_in
from curate.stages.dedup.keys import CANDIDATES, Keys, Meet
from curate.stages.timing import timed


class _Merge(beam.CombineFn):
    """Packed edges -> the packed forest of all of them."""

    def create_accumulator(self) -> list[NDArray[np.int64]]:
        return []

    def add_input(self, held: list[NDArray[np.int64]], content: bytes) -> list[NDArray[np.int64]]:
        return self._reduced([*held, edges_in(content)])

    def merge_accumulators(
        self, many: Iterable[list[NDArray[np.int64]]]
    ) -> list[NDArray[np.int64]]:
        held: list[NDArray[np.int64]] = []
        for other in many:
            held = self._reduced([*held, *other])
        return held

    def _reduced(self, held: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """The first is a forest; the rest is merged into it once it is as large."""
        if sum(map(len, held[1:])) < max(1 << 20, len(held[0])):
            return held
        return [components.merge(held)]

    @timed
    def compact(self, held: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        return [components.merge(held)]

    @timed
    def extract_output(self, held: list[NDArray[np.int64]]) -> bytes:
        return components.merge(held).tobytes()


def merged() -> beam.CombinePerKey:
    """(policy, packed edges) -> the packed forest of all of each policy."""
    return beam.CombinePerKey(_Merge())


class Forests(beam.PTransform):
    """(part, clusters of its rows or None) -> (policy, the forest of its clusters), for each policy.

    Of no part at all, as there may be for `pair`, there is no forest.
    """

    def __init__(
        self, clustering: Clustering, known: beam.pvalue.AsDict, *policies: Policy
    ) -> None:
        """`known` are all parts, by index: a side input."""
        super().__init__()
        self._keyed, self._known = Keyed(clustering, policies), known

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Candidates take three more shuffles, to be verified."""
        keyed, spread = self._keyed, self._keyed.make.spread
        met = (
            parts
            | "Group" >> beam.Map(lambda one: (one[0] // spread.parts, one))
            | "Groups" >> beam.GroupByKey()
            | "Keys" >> beam.ParDo(Keys(keyed), self._known)
            | "Runs" >> beam.GroupByKey()
            | "Meet" >> beam.ParDo(Meet(keyed)).with_outputs(CANDIDATES, main="edges")
        )
        edges = [met.edges]
        if keyed.make.has_hashes or keyed.policies != ("url", "image"):
            found = (
                met[CANDIDATES]
                | "Candidates" >> beam.GroupByKey()
                | "Want" >> beam.ParDo(Want(spread)).with_outputs(WANTED, main=CANDIDATES)
            )
            rows = (
                found[WANTED]
                | "Homes" >> beam.GroupByKey()
                | "Rows" >> beam.ParDo(Rows(keyed), self._known)
            )
            edges.append(
                {CANDIDATES: found[CANDIDATES], WANTED: rows}
                | "Compared" >> beam.CoGroupByKey()
                | "Verify" >> beam.ParDo(Verify(keyed))
            )
        return edges | "Both" >> beam.Flatten() | "Merge" >> merged()
