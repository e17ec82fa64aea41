"""What is to be seen only of all shards together: keys that stand in two, members that one lacks."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from curate.checking.kinds import Kind, Problem
from curate.checking.samples import IMAGE, Usual
from curate.checking.task import Shard, hashes_of
from curate.ops.distinct import distinct


def usual_of(shards: Sequence[Shard]) -> Usual:
    """The endings that the samples of at least half of the shards usually have."""
    counts = Counter(ending for one in shards if one.pairs for ending in one.usual)
    n = sum(one.pairs > 0 for one in shards)
    return frozenset(ending for ending, times in counts.items() if 2 * times >= n)


def lacking(shards: Sequence[Shard], usual: Usual) -> Iterator[Problem]:
    """Shards whose samples have no member that those of others have."""
    for one in shards:
        if one.pairs and not one.torn and (lacks := usual - one.usual - {IMAGE}):
            what = f"its samples have no {', '.join(sorted(lacks))}"
            yield Problem(Kind.MISSING_MEMBER, one.name, what=what)


def repeated(shards: Sequence[Shard], keys_of: Callable[[str], Sequence[str]]) -> Iterator[Problem]:
    """Keys that stand in two shards; `keys_of` reads those of a shard once more.

    8 bytes a key are held; keys whose hashes are equal are read and compared.
    """
    hashes = np.sort(np.concatenate([one.hashes for one in shards] or [np.zeros(0, np.uint64)]))
    twice = distinct(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return
    first: dict[str, str] = {}
    for one in shards:
        if not np.isin(one.hashes, twice).any():
            continue
        keys = keys_of(one.name)
        own = hashes_of(keys)
        for k in np.flatnonzero(np.isin(own, twice)).tolist():
            where = first.setdefault(keys[k], one.name)
            if where != one.name:
                yield Problem(Kind.KEY_IN_TWO_SHARDS, one.name, keys[k], f"also in {where}")
