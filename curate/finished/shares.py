"""What a balance by perspectives (ADR) would keep at other shares: exact expectations, no draws.

Entities are counted as the balance counts them, in scratch of a temporary folder; each
pair's probability of being kept is a closed form, and what is expected is the sum over all pairs, in
the order of the parts.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate import files
from curate.config import Adaptive
from curate.errors import CurateError
from curate.finished.rebalance import Source
from curate.finished.sweep import count
from curate.ops.selection import adaptive, balancing
from curate.ops.selection.adaptive import Distribution, Floats
from curate.rundir.directory import ANNOTATED, Run
from curate.rundir.scratch import Extent
from curate.schema import MATCHES, Stage
from curate.stages.adaptive.counting import (
    Counting,
    CountKeys,
    Head,
    Meet,
    Spill,
    mapped,
    ranges_for,
    write_head,
)
from curate.stages.balance import Counts, by_language, concepts

DEFAULT = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
"""Shares that are looked at where none is given."""
_NOUNS = files.join(Stage.BALANCE, ANNOTATED, "nouns")


@dataclass(frozen=True)
class Point:
    """A set of pairs after this balance."""

    shares: Mapping[str, float]  # of each perspective
    taus: Mapping[str, int]
    pairs: float  # expected number kept


@dataclass(frozen=True)
class Shares:
    """What is expected of several balances of one run."""

    n_p: int
    alpha: float
    pairs: int  # that reach the balance
    own: Point | None  # with the run's own shares, if it is balanced so
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON document."""
        return asdict(self)


def expected(source: Source, *, shares: Sequence[float]) -> Shares:
    """The pairs that are expected at each share, which all perspectives have.

    The perspectives, `n_p` and `alpha` are those of the run's balance, or entries and pairs where it
    has another one.

    Raises
    ------
    CurateError
        Where a share is none.
    """
    for share in shares:
        if not 0 < share < 1:
            raise CurateError(f"--share {share:g}: expected a number between 0 and 1")
    balance = source.config.balance
    asked = balance.adaptive if balance else None
    own = {x: float(getattr(asked, x)) for x in asked.perspectives} if asked else {}
    names = [*own] or ["entries", "pairs"]
    wanted = [dict.fromkeys(names, share) for share in shares or DEFAULT]
    rule = asked or Adaptive(entries=0.9, pairs=0.75)
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        found = _Found.of(source, names, wanted=[own, *wanted], scratch=Run(folder))
        points = _points(found, [*([own] if own else []), *wanted], rule)
    return Shares(
        n_p=rule.n_p,
        alpha=rule.alpha,
        pairs=sum(part.kept for part in source.parts),
        own=points[0] if own else None,
        points=tuple(points[1:] if own else points),
    )


@dataclass(frozen=True)
class _Found:
    """What was counted of the pairs of a source from each perspective."""

    source: Source
    counts: Counts
    keyed: Mapping[str, tuple[Counting, Head]]

    @classmethod
    def of(
        cls, source: Source, names: Sequence[str], *, wanted: Sequence[Mapping[str, float]],
        scratch: Run,
    ) -> "_Found":  # fmt: skip
        counts = count(source, on=MATCHES) if "entries" in names else {}
        keyed = {}
        for name in names:
            if name == "entries":
                continue
            first, n = {}, 0
            for language, path in sorted(source.config.prepare.metadata.items()):
                first[language], n = n, n + len(concepts(files.absolute(path)))
            highest = max(one[name] for one in wanted if name in one)  # tau is lowest there
            counting = Counting(name, highest, first if name == "pairs" else {})
            keyed[name] = counting, _head(source, counting, scratch=scratch)
        return cls(source, counts, keyed)

    def distribution(self, name: str) -> Distribution:
        """That of a perspective."""
        if name == "entries":
            each = [adaptive.distribution(one.counts) for one in self.counts.values()]
            return adaptive.together(each)
        return self.keyed[name][1].distribution

    def tables(self) -> Iterator[pa.Table]:
        """Languages, matches and nouns of each part."""
        parts = {part.index: part for part in self.source.parts}

        def read(index: int) -> pa.Table:
            source = self.source
            table = source.run.rows(source.reads, parts[index], columns=["language", "matches"])
            if "nouns" not in self.keyed:
                return table
            nouns = source.run.rows(_NOUNS, index, columns=["nouns"])["nouns"]
            return table.append_column("nouns", nouns)

        for _, table in self.source.run.each(parts, read):
            yield table

    def passing(self, table: pa.Table, name: str, taus: Sequence[int]) -> list[Floats]:
        """The probability with which a perspective of each pair passes, at each tau."""
        out = [np.zeros(len(table)) for _ in taus]
        if name == "entries":
            for language, rows in by_language(table):
                if language not in self.counts:
                    continue
                matches = table["matches"].take(pa.array(rows))
                for one, tau in zip(out, taus, strict=True):
                    probs = balancing.entry_probs(self.counts[language].counts, t=tau)
                    one[rows] = balancing.keep_probability(matches, probs)
            return out
        counting, of_head = self.keyed[name]
        head, counts = mapped(of_head)
        for rows, (_, ends, keys) in counting.keys(table):
            for one, tau in zip(out, taus, strict=True):
                one[rows] = adaptive.passes(ends, keys, head=head, counts=counts, tau=tau)
        return out


def _head(source: Source, counting: Counting, *, scratch: Run) -> Head:
    """What the graph of the balance finds, in this process."""
    by_index = {part.index: part for part in source.parts}
    run, reads = source.run, _NOUNS if counting.name == "nouns" else source.reads

    def number(index: int) -> int:
        return sum(CountKeys(run, reads, counting).process(by_index[index]))

    n = ranges_for([one for _, one in run.each(by_index, number)], counting=counting)
    pieces: dict[int, list[Extent]] = {}
    for index in by_index:
        for one, extent in Spill(run, reads, counting, at=scratch).process(by_index[index], n):
            pieces.setdefault(one, []).append(extent)
    met = [x for one in sorted(pieces.items()) for x in Meet(scratch, counting).process(one)]
    return write_head(met, run=scratch, counting=counting)


def _points(found: _Found, wanted: Sequence[Mapping[str, float]], rule: Adaptive) -> list[Point]:
    names = list(wanted[0])
    distributions = {name: found.distribution(name) for name in names}
    taus = [
        {x: adaptive.threshold(distributions[x], share=one[x]) for x in names} for one in wanted
    ]
    sums = np.zeros(len(wanted))
    for table in found.tables():
        passing = [found.passing(table, x, [one[x] for one in taus]) for x in names]
        for k, each in enumerate(zip(*passing, strict=True)):
            sums[k] += adaptive.keep_probability(each, n_p=rule.n_p, alpha=rule.alpha).sum()
    told = zip(wanted, taus, sums.tolist(), strict=True)
    return [Point(dict(of), dict(tau), pairs) for of, tau, pairs in told]
