"""Counts of parts that add up: how often each value occurs, and the first pairs of each kind.

Tallies of parts are merged in any order to the same ones, and what is told of a run is a function of
its merged tallies: nothing of a pair is in them but what is shown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.schema import Column

DIGITS = 5
"""Significant digits of a score that is counted."""
MOST_TEXTS = 4096
"""Values of a column of texts that are held, the most frequent."""

Key = tuple[int, str, str, str]
"""The identity of a pair, as several may have one uid: part, uid, URL and caption."""


class What(StrEnum):
    """What is counted; the group that follows in a name says of which column, language or reason."""

    CHARS = "chars"
    WORDS = "words"
    LANGUAGE = "language"
    SIDE = "smaller_side"
    ASPECT = "aspect"
    FORMAT = "image_format"
    STORED_SIDE = "stored smaller_side"
    STORED_ASPECT = "stored aspect"
    STORED_FORMAT = "stored image_format"
    SUM = "sum"
    LEDGER = "ledger"
    DEAD = "dead"
    OPT_OUT = "opt-out"
    UNWANTED = "unwanted language"
    MATCHES = "matches"
    MATCHES_LEFT = "matches left"
    CLUSTERS = "cluster_size"
    SCORED = "scored"
    SELECTED = "selected"


class First(StrEnum):
    """Which pairs are shown."""

    KEPT = "kept"
    DROPPED = "dropped"
    DEAD = "dead"
    CLUSTER = "cluster"
    LOWEST = "lowest"
    HIGHEST = "highest"


SHOWN = {
    First.KEPT: 12, First.DROPPED: 4, First.DEAD: 4, First.CLUSTER: 6, First.LOWEST: 8,
    First.HIGHEST: 8,
}  # fmt: skip
"""How many pairs of a kind are shown."""


@dataclass(frozen=True)
class Example:
    """One pair, and the part in which its image may be found."""

    part: int
    uid: str
    url: str
    caption: str
    reason: str = ""
    value: str = ""  # what the decision rested on

    @property
    def key(self) -> Key:
        """The identity of the pair."""
        return self.part, self.uid, self.url, self.caption


Ranked = tuple[float, Example]
"""A pair, and the number by which it is among the first of its kind."""

HOST_COLUMNS = ("host", "outcome", "pairs", "bytes")
BY_HOST = ["host", "outcome"]
COUNTS = pa.schema([
    ("what", pa.string()), ("group", pa.string()), ("text", pa.string()), ("value", pa.float64()),
    ("pairs", pa.int64()), ("bytes", pa.int64()),
])  # fmt: skip
PAIRS = pa.schema([
    ("first", pa.string()), ("group", pa.string()), ("rank", pa.float64()), ("part", pa.int32()),
    ("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("reason", pa.string()),
    ("value", pa.string()),
])  # fmt: skip
_HOST = "host"
_PAIR = ("uid", "url", "caption")


class Counted:
    """How often each of some numbers occurs."""

    def __init__(self) -> None:
        self._values: list[NDArray[np.float64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._summed = 0  # of these, numbers that are counted once

    def add(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Count further numbers, each as often as it says."""
        if len(values):
            self._values.append(values)
            self._counts.append(counts)
            if sum(map(len, self._values)) > 2 * self._summed + 100_000:
                self.get()

    def get(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The numbers, ascending, and how often each occurs."""
        if not self._values:
            return np.zeros(0), np.zeros(0, np.int64)
        if len(self._values) > 1:
            values, counts = np.concatenate(self._values), np.concatenate(self._counts)
            order = np.argsort(values, kind="stable")
            values, counts = values[order], counts[order]
            firsts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
            self._values = [values[firsts]]
            self._counts = [np.add.reduceat(counts, firsts)]
        self._summed = len(self._values[0])
        return self._values[0], self._counts[0]


def occurrences(
    column: Column, *, largest: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The whole numbers from 0 on in a column, ascending, and how often each occurs.

    All from `largest` on count as that one, where it is given.
    """
    whole = column.drop_null().to_numpy()
    counts = np.bincount(whole if largest is None else np.minimum(whole, largest))
    (values,) = counts.nonzero()
    return values.astype(np.float64), counts[values]


def rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Finite numbers to `DIGITS` significant digits."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
    sound = np.isfinite(scale)
    found: NDArray[np.float64] = np.rint(values * np.where(sound, scale, 1.0))
    return np.where(sound, found / np.where(sound, scale, 1.0), 0.0)


@dataclass
class Tallies:
    """What is counted of some parts of a stage."""

    numbers: dict[tuple[str, str], Counted] = field(default_factory=dict)
    texts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    first: dict[tuple[First, str], list[Ranked]] = field(default_factory=dict)
    hosts: pa.Table | None = None

    def count(
        self, what: What, values: NDArray[np.float64], counts: NDArray[np.int64], group: str = ""
    ) -> None:
        """Count numbers, each as often as `counts` says."""
        self.numbers.setdefault((what, group), Counted()).add(values, counts)

    def count_texts(self, what: What, counts: dict[str, int], group: str = "") -> None:
        """Count texts, each as often as it says."""
        self.texts.setdefault((what, group), Counter()).update(counts)

    def show(self, first: First, pairs: Iterable[Ranked], group: str = "") -> None:
        """Pairs of which the first ones are to be shown."""
        found = self.first.setdefault((first, group), [])
        found += pairs
        found.sort(key=_order)
        del found[SHOWN[first] :]

    def count_hosts(self, rows: pa.Table) -> None:
        """Pairs and bytes by host and outcome: columns `HOST_COLUMNS`."""
        self.hosts = rows if self.hosts is None else pa.concat_tables([self.hosts, rows])

    def add(self, other: "Tallies") -> None:
        """Add what was counted of other parts."""
        for key, numbers in other.numbers.items():
            self.numbers.setdefault(key, Counted()).add(*numbers.get())
        for of, texts in other.texts.items():
            self.texts.setdefault(of, Counter()).update(texts)
        for (first, group), pairs in other.first.items():
            self.show(first, pairs, group)
        if other.hosts is not None:
            self.count_hosts(other.hosts)

    def compact(self) -> None:
        """Put what was counted several times together."""
        for numbers in self.numbers.values():
            numbers.get()
        if self.hosts is not None:
            self.hosts = summed(self.hosts, BY_HOST)

    def values(self, what: What, group: str = "") -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The numbers that were counted, ascending, and how often each occurs."""
        return self.numbers.get((what, group), Counted()).get()

    def of_texts(self, what: What, group: str = "") -> Counter[str]:
        """The texts that were counted."""
        return self.texts.get((what, group), Counter())

    def groups(self, what: What) -> list[str]:
        """The groups in which something was counted, in their order."""
        return sorted(group for one, group in (*self.numbers, *self.texts) if one == what)

    def examples(self, first: First, group: str = "") -> tuple[Example, ...]:
        """The first pairs of a kind."""
        return tuple(pair for _, pair in self.first.get((first, group), ()))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """All of it as rows of `COUNTS` and of `PAIRS`, the same however it came together."""
        self.compact()
        counts = [COUNTS.empty_table()]
        for (what, group), numbers in sorted(self.numbers.items()):
            values, pairs = numbers.get()
            counts.append(_rows(what, group, value=values, pairs=pairs))
        for (what, group), texts in sorted(self.texts.items()):
            order = sorted(texts.items(), key=lambda one: (-one[1], one[0]))
            kept = order if what == What.SUM else order[:MOST_TEXTS]
            of_each = np.array([n for _, n in kept], np.int64)
            counts.append(_rows(what, group, text=[x for x, _ in kept], pairs=of_each))
        if self.hosts is not None:
            hosts = self.hosts.sort_by([(name, "ascending") for name in BY_HOST])
            counts.append(
                _rows(_HOST, hosts["outcome"], text=hosts["host"], pairs=hosts["pairs"],
                      bytes_=hosts["bytes"])
            )  # fmt: skip
        pairs_shown = [
            {"first": first, "group": group, "rank": rank, **_fields(pair)}
            for (first, group), pairs in sorted(self.first.items())
            for rank, pair in pairs
        ]
        return pa.concat_tables(counts), pa.Table.from_pylist(pairs_shown, schema=PAIRS)

    @classmethod
    def of_tables(cls, counts: pa.Table, pairs: pa.Table) -> "Tallies":
        """What `tables` gave."""
        found = cls()
        counts = counts.combine_chunks()
        for at, length, what, group in _runs(counts):
            rows = counts.slice(at, length)
            if what == _HOST:
                continue
            if rows["text"].null_count:
                numbers = found.numbers.setdefault((what, group), Counted())
                numbers.add(rows["value"].to_numpy(), rows["pairs"].to_numpy())
            else:
                texts = zip(rows["text"].to_pylist(), rows["pairs"].to_pylist(), strict=True)
                found.texts[what, group] = Counter(dict(texts))
        hosts = counts.filter(pc.equal(counts["what"], _HOST))
        if len(hosts):
            columns = [hosts[name] for name in ("text", "group", "pairs", "bytes")]
            found.hosts = pa.table(columns, list(HOST_COLUMNS))
        for row in pairs.to_pylist():
            first, group, rank = First(row.pop("first")), row.pop("group"), row.pop("rank")
            found.first.setdefault((first, group), []).append((rank, Example(**row)))
        return found


def _order(one: Ranked) -> tuple[float, str, int, str, str]:
    rank, pair = one
    return rank, pair.uid, pair.part, pair.url, pair.caption


def _fields(pair: Example) -> dict[str, object]:
    return {name: getattr(pair, name) for name in Example.__dataclass_fields__}


def _rows(
    what: str,
    group: str | Column,
    *,
    pairs: NDArray[np.int64] | Column,
    text: Column | list[str] | None = None,
    value: NDArray[np.float64] | None = None,
    bytes_: Column | None = None,
) -> pa.Table:
    n = len(pairs)
    columns = [
        pa.array([what] * n), pa.array([group] * n) if isinstance(group, str) else group,
        pa.nulls(n, pa.string()) if text is None else text,
        pa.nulls(n, pa.float64()) if value is None else value,
        pairs, pa.nulls(n, pa.int64()) if bytes_ is None else bytes_,
    ]  # fmt: skip
    return pa.table([pa.array(x) if isinstance(x, list | np.ndarray) else x for x in columns],
                    schema=COUNTS)  # fmt: skip


def _runs(counts: pa.Table) -> Iterator[tuple[int, int, str, str]]:
    """Start and length of the rows of each name, which stand together, and the name."""
    if not len(counts):
        return
    names = [counts[x].combine_chunks().dictionary_encode() for x in ("what", "group")]
    codes = np.stack([np.asarray(x.indices) for x in names])
    starts = np.flatnonzero(np.append(True, (codes[:, 1:] != codes[:, :-1]).any(axis=0)))
    for at, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(counts)], strict=True):
        what, group = (x.dictionary[int(x.indices[at].as_py())].as_py() for x in names)
        yield at, stop - at, what, group


def summed(rows: pa.Table, by: list[str], names: Iterable[str] = ("pairs", "bytes")) -> pa.Table:
    """The columns `names` of `rows`, added up for each value of `by`."""
    names = list(names)
    sums = rows.group_by(by, use_threads=False).aggregate([(name, "sum") for name in names])
    return sums.select([*by, *(f"{name}_sum" for name in names)]).rename_columns([*by, *names])


def smallest(
    table: pa.Table, *, part: int, n: int, reason: str = "", value: str = ""
) -> list[Example]:
    """The `n` pairs of `table` with the smallest uids.

    `reason` and `value` are the names of the columns that fill these fields, or empty.
    """
    if len(table) > 8 * n:
        keys = [(name, "ascending") for name in _PAIR]
        table = table.take(pc.select_k_unstable(table, n, sort_keys=keys))
    rows = table.select([*_PAIR, *filter(None, (reason, value))]).to_pylist()
    rows.sort(key=lambda row: [(row[name] is None, row[name] or "") for name in _PAIR])
    return [
        Example(
            part=part,
            uid=row["uid"] or "",
            url=row["url"] or "",
            caption=row["caption"] or "",
            reason=row.get(reason) or "",
            value=row.get(value) or "",
        )
        for row in rows[:n]
    ]


def merged(examples: Iterable[Example], *, n: int) -> list[Example]:
    """The `n` examples with the smallest uids."""
    return sorted(examples, key=lambda e: (e.uid, e.part, e.url, e.caption))[:n]
