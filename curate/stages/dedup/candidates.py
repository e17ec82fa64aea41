"""Candidates -> the rows that they are of, from each group of parts -> those edges that hold."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.ops.distinct import distinct
from curate.ops.duplicates import components, graph
from curate.ops.duplicates.graph import Policy
from curate.rundir.scratch import Extent, as_bytes, as_table
from curate.stages.dedup.exchange import Keyed, Known, Packed, Spread, edges_in
from curate.stages.dedup.keys import CANDIDATES
from curate.stages.timing import timed

WANTED = "wanted"
"""The second output of `Want`."""
_MEMBERS = 1 << 20


def _compared(policy: Policy) -> list[str]:
    """The columns that candidates are compared by."""
    return ["phash", "look"] if policy == "image" else ["caption"]


def nodes_of(policy: Policy, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows among candidates, ascending."""
    buckets = policy == "image"
    return distinct(np.where(candidates < 0, ~candidates, candidates) if buckets else candidates)


class Want(beam.DoFn):
    """A group's candidates -> the same, each edge once, and by group of parts what rows they are of."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread

    @timed
    def process(self, element: tuple[int, Iterable[Packed]]) -> Iterator[Any]:
        """Hand on the candidates of one group."""
        group, candidates = element
        packed: dict[Policy, list[bytes]] = {}
        for policy, content in candidates:
            packed.setdefault(policy, []).append(content)
        for policy, contents in packed.items():
            nodes = []
            for found in self._together(policy, contents):
                yield group, (policy, found.tobytes())
                nodes.append(nodes_of(policy, found))
            wanted = distinct(np.concatenate(nodes))
            homes = graph.part_of(wanted) // self._spread.parts
            for home in np.unique(homes).tolist():
                rows = group, policy, wanted[homes == home].tobytes()
                yield beam.pvalue.TaggedOutput(WANTED, (home, rows))

    def _together(self, policy: Policy, contents: list[bytes]) -> Iterable[NDArray[np.int64]]:
        if policy == "image":
            return _batches(contents)
        return [components.unique_edges(np.concatenate([edges_in(x) for x in contents]))]


def _batches(packed: Iterable[bytes]) -> Iterator[NDArray[np.int64]]:
    """Buckets together, a million members at a time."""
    held: list[NDArray[np.int64]] = []
    for content in packed:
        held.append(np.frombuffer(content, np.int64))
        if sum(map(len, held)) >= _MEMBERS:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


class Rows(beam.DoFn):
    """(group of parts, rows that candidates are of) -> a file of them, and each group's extent."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    @timed
    def process(
        self, element: tuple[int, Iterable[tuple[int, Policy, bytes]]], known: Known
    ) -> Iterator[tuple[int, Extent]]:
        """Read each part of the group once, for all candidates."""
        home, asked = element
        keyed = self._keyed
        wanted: dict[int, dict[tuple[int, Policy], NDArray[np.int64]]] = {}  # by part
        for group, policy, content in asked:
            nodes = np.frombuffer(content, np.int64)
            for part, here in graph.by_part(nodes):
                wanted.setdefault(part, {})[group, policy] = graph.rows_of(nodes[here])
        found: dict[tuple[int, Policy], list[pa.Table]] = {}
        for part, rows in sorted(wanted.items()):
            names = {name for _, policy in rows for name in _compared(policy)}
            table = keyed.make.read(known.get(part, part), columns=sorted(names))
            for (group, policy), wanted_rows in rows.items():
                chosen = table.select(_compared(policy)).take(pa.array(wanted_rows))
                found.setdefault((group, policy), []).append(chosen)
        groups = sorted({group for group, _ in found})
        pieces = (
            [
                as_bytes(pa.concat_tables(found[group, policy]))
                if (group, policy) in found
                else b""
                for policy in keyed.policies
            ]
            for group in groups
        )
        yield from list(zip(groups, keyed.write(home, "rows", pieces), strict=True))


class Verify(beam.DoFn):
    """A group's candidates, and where their rows are -> those edges that hold, as forests by policy."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    def setup(self) -> None:
        """Load what takes as long for few edges as for many, before the work is timed."""
        components.load()

    @timed
    def process(
        self, element: tuple[int, dict[str, Iterable[Any]]]
    ) -> Iterator[tuple[Policy, bytes]]:
        """Compare, a million members of buckets at a time."""
        _, found = element
        packed: dict[Policy, list[NDArray[np.int64]]] = {}
        for policy, content in found[CANDIDATES]:
            packed.setdefault(policy, []).append(np.frombuffer(content, np.int64))
        contents = [self._keyed.read(extent, "rows") for extent in sorted(found[WANTED])]
        rule = self._keyed.make.rule
        for k, policy in enumerate(self._keyed.policies):
            if policy not in packed:
                continue
            rows = pa.concat_tables(as_table(x[k]) for x in contents if x[k])
            every = distinct(np.concatenate([nodes_of(policy, one) for one in packed[policy]]))
            for candidates in packed[policy]:
                nodes = nodes_of(policy, candidates)
                here = rows.take(pa.array(np.searchsorted(every, nodes)))
                if policy == "image":
                    at = np.searchsorted(nodes, np.where(candidates < 0, ~candidates, candidates))
                    joined = graph.near_images(here, np.where(candidates < 0, ~at, at), rule)
                else:
                    at = np.searchsorted(nodes, candidates).reshape(-1, 2)
                    joined = graph.near_captions(here, at, rule)
                yield policy, components.forest(nodes[joined]).tobytes()
