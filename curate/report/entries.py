"""What balancing did to the entries: head and tail, before and after.

The figures are those of the MetaCLIP paper (arXiv 2309.16671, section 3): entries by rank, and the
cumulative number of matches with entries sorted from tail to head.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import config, files
from curate.rundir.directory import DRAWN, DRAWS, Run, Totals
from curate.schema import Stage

HEAD = 25
"""Entries in the table of the most frequent ones."""

UNSEEN = 15
"""Entries in the table of those that captions mention and images do not show."""

CURVES = 4
"""Languages, those with most matches first, that get curves."""

_POINTS = 160

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """A point of both curves of a figure."""

    x: int  # a rank from 1, or a number of entries
    before: int
    after: int


@dataclass(frozen=True)
class HeadEntry:
    """One of the most frequent entries."""

    language: str
    entry: str
    count: int  # pairs that match it
    probability: float
    kept: int  # of these pairs, sampled


@dataclass(frozen=True)
class Mentioned:
    """An entry that captions mention, and fewer images show."""

    language: str
    entry: str
    mentioned: int  # pairs whose captions hold it
    count: int  # of them, those whose images show it


@dataclass(frozen=True)
class Sight:
    """Mention and sight compared, where pairs are counted for what their images show."""

    on: str  # the column that is counted
    mentions: int  # matches of all captions
    seen: int  # of them, those that the images show
    entries: int  # that some caption mentions
    unseen: int  # of them, those that no image of such a pair shows
    most: tuple[Mentioned, ...]  # those with the most mentions that are not seen


@dataclass(frozen=True)
class LanguageBalance:
    """Threshold and entries of one language."""

    language: str
    t: float
    p: float
    pairs: int  # that reached the balance
    kept_pairs: int
    matches: int
    kept_matches: int
    entries: int
    head: int  # entries with count >= t
    tail: int  # entries with 0 < count < t
    unmatched: int
    largest: int  # pairs of the most frequent entry
    ranks: tuple[Point, ...]  # counts by rank, each curve sorted on its own
    cumulative: tuple[Point, ...]  # matches of the x least frequent matched entries


@dataclass(frozen=True)
class Balance:
    """All languages, most matches first, and the most frequent entries."""

    languages: tuple[LanguageBalance, ...]
    head: tuple[HeadEntry, ...]
    revoked: int  # pairs that were counted, and have been revoked since
    sight: Sight | None = None


def balance(
    run: Run, asked: config.Balance | None, counts_of: Totals, *, kept_pairs: dict[str, int]
) -> Balance:
    """Read ``entries/entries.parquet`` and ``thresholds.json``.

    `counts_of` are the counts of the stage, `kept_pairs` the pairs in the set by language; where all
    are written, those that the draw takes count as kept.
    """
    if asked is not None and asked.is_online:
        kept_pairs = _drawn(counts_of)
    thresholds = files.read_json(run.path(Stage.BALANCE, "thresholds.json"))
    counts, head, sight = read(run.path(Stage.BALANCE, "entries.parquet"))
    if sight is not None and asked is not None:
        sight = replace(sight, on=asked.on)
    languages = []
    for name, (before, after) in counts.items():
        t = float(thresholds[name]["t"])
        matched = before > 0
        languages.append(
            LanguageBalance(
                language=name,
                t=t,
                p=float(thresholds[name]["p"]),
                pairs=int(thresholds[name]["pairs"]),
                kept_pairs=kept_pairs.get(name, 0),
                matches=int(before.sum()),
                kept_matches=int(after.sum()),
                entries=len(before),
                head=int((matched & (before >= t)).sum()),
                tail=int((matched & (before < t)).sum()),
                unmatched=int((~matched).sum()),
                largest=int(before.max(initial=0)),
                ranks=_ranks(before, after),
                cumulative=_cumulative(before, after),
            )
        )
    languages.sort(key=lambda one: (-one.matches, one.language))
    rest = [replace(one, ranks=(), cumulative=()) for one in languages[CURVES:]]
    revoked = max(0, sum(one.pairs for one in languages) - counts_of["rows"])
    shown = (*languages[:CURVES], *rest)
    return Balance(languages=shown, head=tuple(head), revoked=revoked, sight=sight)


def _drawn(counts_of: Totals) -> dict[str, int]:
    """The pairs of each language that the draw takes, where all are written."""
    figures = counts_of["figures"].items()
    return {x.removeprefix(DRAWN): int(n) for x, n in figures if x.startswith(DRAWN)}


def written(run: Run, asked: config.Balance | None, counts_of: Totals) -> str:
    """What is to be said of a set where not each pair is taken once; else empty."""
    if asked is not None and asked.soft_cap is not None:
        return (
            f"{counts_of['kept']:,} pairs are written, which a trainer takes"
            f" {counts_of['figures'].get(DRAWS, 0):,.0f} times in all (soft cap: column weight)."
        )
    if asked is None or not asked.is_online:
        return ""
    t = files.read_json(run.path(Stage.BALANCE, "thresholds.json"))[asked.reference]["t"]
    return (
        f"All {counts_of['kept']:,} pairs are written (balance.write: all); at t = {t:,.4g},"
        f" {sum(_drawn(counts_of).values()):,} would be kept."
    )


@dataclass(frozen=True)
class Threshold:
    """t of one language, with what it is measured against."""

    t: float
    pairs: int  # that reached the balance
    largest: int  # pairs of the most frequent entry


def thresholds(run: Run) -> list[Threshold]:
    """The thresholds that the run balanced with; none where it did not, or its file is an older one."""
    url = run.path(Stage.BALANCE, "thresholds.json")
    found = files.read_json(url).values() if files.exists(url) else ()
    return [Threshold(x["t"], x["pairs"], x["largest"]) for x in found if "largest" in x]


def idle(found: Iterable[Threshold | LanguageBalance], asked: config.Balance | None) -> list[str]:
    """What to say of a balance that left no pair out, with the t that would; else nothing."""
    matched = [one for one in found if one.largest]
    if asked is None or not asked.by_entries or not matched:
        return []
    pairs, largest = sum(x.pairs for x in matched), max(x.largest for x in matched)
    if asked.size is not None and asked.size >= pairs:
        return [
            f"balance.size {asked.size:,} is not below the {pairs:,} pairs that reach the balance: all"
            " stay. A smaller one, or a t from curate sweep, balances."
        ]
    if any(x.t < x.largest for x in matched):
        return []
    value = next(x for x in (asked.t, asked.p, asked.size) if x is not None)
    key = "t" if asked.t is not None else "p" if asked.p is not None else "size"
    return [
        f"balance.{key} {value:,g} leaves no pair out: the most frequent entry matches {largest:,}"
        f" pairs. A t below {largest:,} balances; curate sweep shows what each would keep."
    ]


def read(url: str) -> tuple[dict[str, tuple[Counts, Counts]], list[HeadEntry], Sight | None]:
    """Counts before and after of each language's entries, the `HEAD` most frequent, and the sight."""
    pieces: dict[str, list[tuple[Counts, Counts]]] = {}
    top: list[pa.Table] = []
    sight: Sight | None = None
    keys = [("count", "descending"), ("language", "ascending"), ("entry_id", "ascending")]
    with files.open_read(url) as file:
        for batch in pq.ParquetFile(file).iter_batches():
            table = pa.table(batch)
            for name in pc.unique(table["language"]).to_pylist():
                rows = table.filter(pc.equal(table["language"], name))
                found = (rows["count"].to_numpy(), rows["kept"].to_numpy())
                pieces.setdefault(name, []).append(found)
            best = pa.concat_tables([*top, table.filter(pc.greater(table["count"], 0))])
            top = [best.take(pc.sort_indices(best, sort_keys=keys)[:HEAD])]
            if "mentioned" in table.column_names:
                sight = _looked(table, sight)
    counts = {
        name: (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))
        for name, parts in sorted(pieces.items())
    }
    columns = ["language", "entry", "count", "probability", "kept"]
    head = [HeadEntry(**row) for table in top for row in table.select(columns).to_pylist()]
    return counts, head, sight


def _looked(table: pa.Table, before: Sight | None) -> Sight:
    """The sight of some more entries, with those `before`."""
    mentioned, count = table["mentioned"].to_numpy(), table["count"].to_numpy()
    first = np.argsort(count - mentioned, kind="stable")[:UNSEEN]
    rows = table.take(pa.array(first[mentioned[first] > count[first]]))
    some = rows.select(["language", "entry", "mentioned", "count"]).to_pylist()
    most = [*(before.most if before else ()), *(Mentioned(**row) for row in some)]
    most.sort(key=lambda one: one.count - one.mentioned)
    known = before or Sight("", 0, 0, 0, 0, ())
    return Sight(
        on="",
        mentions=known.mentions + int(mentioned.sum()),
        seen=known.seen + int(count.sum()),
        entries=known.entries + int((mentioned > 0).sum()),
        unseen=known.unseen + int(((mentioned > 0) & (count == 0)).sum()),
        most=tuple(most[:UNSEEN]),
    )


def _ranks(before: Counts, after: Counts) -> tuple[Point, ...]:
    """Counts by rank at ranks evenly spaced in the logarithm; each side sorted on its own."""
    before, after = np.sort(before[before > 0])[::-1], np.sort(after[before > 0])[::-1]
    if not len(before):
        return ()
    spaced = np.geomspace(1, len(before), _POINTS).round().astype(np.int64)
    return tuple(Point(int(r), int(before[r - 1]), int(after[r - 1])) for r in np.unique(spaced))


def _cumulative(before: Counts, after: Counts) -> tuple[Point, ...]:
    """Matches of the x least frequent matched entries, at even and at steep places."""
    order = np.argsort(before[before > 0], kind="stable")
    if not len(order):
        return ()
    sums = np.cumsum(before[before > 0][order])
    sums_after = np.cumsum(after[before > 0][order])
    even = np.linspace(0, len(order) - 1, _POINTS).round().astype(np.int64)
    steep = np.searchsorted(sums, np.linspace(0, sums[-1], _POINTS))
    places = np.unique(np.concatenate([even, steep]))
    points = [Point(int(i) + 1, int(sums[i]), int(sums_after[i])) for i in places]
    return (Point(0, 0, 0), *points)
