"""How often the names of concepts occur in the captions of a run's whole pool, and of what it kept."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.concepts.captions import COLUMN, named_in
from curate.concepts.names import Concepts
from curate.config import file as config_file
from curate.finished.tables import Fates
from curate.ops.ahead import together
from curate.ops.selection.uids import halves
from curate.rundir.directory import Run

TAIL = 0.2
"""The share of the concepts that is their tail: the rarest fifth."""
_PAIRS = 1 << 16  # captions that are matched together

TABLE = pa.schema(
    [("concept", pa.string()), ("name", pa.string()), ("pool", pa.int64()), ("kept", pa.int64()),
     ("prompt", pa.bool_()), ("concept_pool", pa.int64()), ("concept_kept", pa.int64()),
     ("share", pa.float64()), ("frequency", pa.float64()), ("kept_frequency", pa.float64()),
     ("tail", pa.bool_())]
)  # fmt: skip
"""A name a row: pairs with it, whether it is its concept's most frequent one, and what is known of
the concept: pairs with any of its names, the share that means it, and what that makes of the pairs."""


@dataclass(frozen=True)
class Frequencies:
    """In how many pairs names and concepts occur. The second axis: in the pool, and kept."""

    concepts: Concepts
    pairs: tuple[int, int]  # all that there are
    of_names: NDArray[np.int64]  # (names, 2)
    of_concepts: NDArray[np.int64]  # (concepts, 2): pairs with any of its names, each once
    uids: NDArray[np.uint64]  # halves of those of all pairs with a name, (n, 2), where asked for

    @cached_property
    def frequency(self) -> NDArray[np.float64]:
        """The pairs of each concept times the share that means it, shape (concepts, 2)."""
        return self.of_concepts * self.concepts.shares[:, None]

    @cached_property
    def prompts(self) -> NDArray[np.int64]:
        """The most frequent name of each concept in the pool; of equal ones the first."""
        order = np.lexsort((-self.of_names[:, 0], self.concepts.of))
        return order[self.concepts.starts[:-1]]

    @cached_property
    def rarest(self) -> NDArray[np.int64]:
        """The concepts by their frequency in the pool, the rarest first; equal ones as in the file."""
        return np.argsort(self.frequency[:, 0], kind="stable")

    @cached_property
    def tail(self) -> NDArray[np.bool_]:
        """Which concepts are in the tail."""
        found = np.zeros(len(self.concepts.concepts), np.bool_)
        found[self.rarest[: int(np.ceil(TAIL * len(found)))]] = True
        return found

    @property
    def table(self) -> pa.Table:
        """All of it, of the schema `TABLE`."""
        of = self.concepts.of
        is_prompt = np.zeros(len(of), np.bool_)
        is_prompt[self.prompts] = True
        columns = [
            pa.array(self.concepts.concepts).take(pa.array(of)), pa.array(self.concepts.names),
            *self.of_names.T, is_prompt, *self.of_concepts[of].T, self.concepts.shares[of],
            *self.frequency[of].T, self.tail[of],
        ]  # fmt: skip
        return pa.table([pa.array(x) for x in columns], schema=TABLE)

    def named(self) -> dict[str, str]:
        """The name to ask for each concept by (REAL-Prompt): its most frequent one."""
        names = [self.concepts.names[x] for x in self.prompts.tolist()]
        return dict(zip(self.concepts.concepts, names, strict=True))


class _Of(NamedTuple):
    """Numbers that occur in some pairs, and in how many."""

    numbers: NDArray[np.int64]
    times: NDArray[np.int64]


class _Counted(NamedTuple):
    """What a part holds: pairs, names and concepts in the pool, then those that were kept."""

    pairs: tuple[int, int]
    names: tuple[_Of, _Of]
    concepts: tuple[_Of, _Of]
    uids: NDArray[np.uint64]


_NO_UIDS = np.zeros((0, 2), np.uint64)


def frequencies(
    run: Run,
    concepts: Concepts,
    *,
    uids: bool = False,
    threads: int | None = None,
    seen: Callable[[int, int], None] = lambda done, of: None,
) -> Frequencies:
    """Count names and concepts in the captions of all pairs of a run, kept or not.

    Of a pair with several captions any counts, once. With `uids` those of the pairs with a name are
    noted as well, 16 bytes each. `seen` is told how many parts are done, and of how many; threads
    share the tables of names, so that memory does not grow with their number.
    """
    fates = Fates(run, config_file.load(run.path("config.yaml")))
    parts = fates.parts
    wanted = ("caption", "verdict", COLUMN, *(["uid"] if uids else []))
    columns = [x for x in wanted if x in fates.schema.names]
    named: list[NDArray[np.uint64]] = [_NO_UIDS]
    of_names = np.zeros((len(concepts.names), 2), np.int64)
    of_concepts = np.zeros((len(concepts.concepts), 2), np.int64)
    pairs = [0, 0]
    _ = concepts.matcher  # before there are threads
    seen(0, len(parts))

    def work(part: int) -> _Counted:
        ((_, table),) = fates.tables(columns, parts=[part])
        return _counted(table, concepts)

    counted = together(work, parts, threads=threads or len(os.sched_getaffinity(0)))
    for done, found in enumerate(counted, 1):
        for at in (0, 1):
            pairs[at] += found.pairs[at]
            of_names[found.names[at].numbers, at] += found.names[at].times
            of_concepts[found.concepts[at].numbers, at] += found.concepts[at].times
        named.append(found.uids)
        seen(done, len(parts))
    return Frequencies(concepts, (pairs[0], pairs[1]), of_names, of_concepts, np.concatenate(named))


def _counted(table: pa.Table, concepts: Concepts) -> _Counted:
    found: list[list[NDArray[np.int64]]] = [[], [], [], []]  # names, concepts; of all, of kept ones
    uids: list[NDArray[np.uint64]] = [_NO_UIDS]
    n_kept = 0
    for start in range(0, len(table), _PAIRS):
        pairs = table.slice(start, _PAIRS)
        is_kept = np.asarray(pc.equal(pairs["verdict"], "kept"))
        n_kept += int(is_kept.sum())
        named = named_in(pairs, concepts, written=False)
        both = [named.names, named.concepts]
        if "uid" in table.column_names:
            rows = np.unique(named.names[0])
            uids.append(halves(pairs["uid"].take(pa.array(rows)).drop_null()))
        if COLUMN in table.column_names:  # others may be in the set than the pair came with
            in_set = named_in(pairs.filter(pa.array(is_kept)), concepts, written=True)
            of_kept = [in_set.names[1], in_set.concepts[1]]
        else:
            of_kept = [numbers[is_kept[rows]] for rows, numbers in both]
        for numbers, held in zip((*(x for _, x in both), *of_kept), found, strict=True):
            held.append(numbers)
    nothing = np.zeros(0, np.int64)
    of = [_Of(*np.unique(np.concatenate([nothing, *x]), return_counts=True)) for x in found]
    return _Counted((len(table), n_kept), (of[0], of[2]), (of[1], of[3]), np.concatenate(uids))
