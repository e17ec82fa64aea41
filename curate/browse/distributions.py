"""How a column is distributed over a selection, and how much of it is kept."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from curate.browse.connection import Bound, quoted
from curate.browse.questions import Questions, whole
from curate.browse.selection import Selection
from curate.browse.table import Verdict
from curate.errors import CurateError
from curate.schema import MATCHES

BARS = 40
"""Bars of a histogram of numbers."""
TOP = 24
"""Values of a histogram of texts."""
_SKEWED = 20  # times the median that the highest value is, from which on an axis is logarithmic
_IS_KEPT = f"verdict = '{Verdict.KEPT}'"


class Bar(NamedTuple):
    """How many pairs have a value, or one from `low` up to `high`, and how many of them are kept."""

    pairs: int
    kept: int
    value: str | None = None
    low: float | None = None
    high: float | None = None
    name: str | None = None  # of an entry


@dataclass(frozen=True)
class Histogram:
    """The distribution of a column."""

    column: str
    kind: str
    bars: list[Bar]
    others: int = 0  # pairs with further values
    missing: int = 0  # pairs without a value
    is_log: bool = False


def histogram(questions: Questions, run: int, selection: Selection, name: str) -> Histogram:
    """The distribution of a column, or of `entry`, over a selection."""
    table, conditions = questions.pairs[run], questions.conditions(run, selection)
    column = table.columns.get(name)
    if column is None and name != "entry":
        raise CurateError(f"{name}: {table.run.root} has no such column")
    wanted = [*dict.fromkeys([*([name] if column else [MATCHES, "language"]), "verdict"])]
    bound = Bound()
    rows = " UNION ALL ".join(
        f"SELECT {', '.join(map(quoted, wanted))} FROM ({one})"
        for branch in table.branches
        if (one := conditions.rows(branch, wanted, bound)) is not None
    )
    if not rows:
        return Histogram(name, column.kind if column else "entry", [])
    if column is None:
        return _entries(questions, rows, bound)
    rows = f"SELECT {quoted(name)} AS x, {_IS_KEPT} AS kept FROM ({rows})"
    return (
        _numbers(questions, name, rows, bound)
        if column.kind == "number"
        else _texts(questions, name, rows, bound)
    )


def _texts(questions: Questions, name: str, rows: str, bound: Bound) -> Histogram:
    found = questions.ask(
        "SELECT x::VARCHAR, count(*) n, count(*) FILTER (kept), (sum(n) OVER ())::BIGINT"
        f" FROM ({rows}) GROUP BY x ORDER BY x IS NULL DESC, n DESC, x LIMIT {TOP + 1}",
        bound,
    )
    missing = sum(whole(n) for x, n, _, _ in found if x is None)
    bars = [Bar(whole(n), whole(kept), value=str(x)) for x, n, kept, _ in found if x is not None][
        :TOP
    ]
    total = whole(found[0][3]) if found else 0
    others = total - missing - sum(one.pairs for one in bars)
    return Histogram(name, "text", bars, others, missing)


def _entries(questions: Questions, rows: str, bound: Bound) -> Histogram:
    found = questions.ask(
        "SELECT language, entry_id, count(*) n, count(*) FILTER (kept) FROM (SELECT language,"
        f" unnest(matches) AS entry_id, {_IS_KEPT} AS kept FROM ({rows})) GROUP BY 1, 2"
        f" ORDER BY n DESC, 1, 2 LIMIT {TOP}",
        bound,
    )
    bars = [
        Bar(whole(n), whole(kept), value=f"{language}:{entry}")
        for language, entry, n, kept in found
    ]
    return Histogram("entry", "entry", bars)


def _numbers(questions: Questions, name: str, rows: str, bound: Bound) -> Histogram:
    ((least, most, median, count, total),) = questions.ask(
        "SELECT min(x)::DOUBLE, max(x)::DOUBLE, approx_quantile(x, 0.5)::DOUBLE, count(x), count(*)"
        f" FROM ({rows})",
        bound,
    )
    missing = whole(total) - whole(count)
    if not isinstance(least, float) or not isinstance(most, float):
        return Histogram(name, "number", [], missing=missing)
    middle = median if isinstance(median, float) else least
    is_log = least > 0 and most > _SKEWED * middle
    scale = "ln(x::DOUBLE)" if is_log else "x::DOUBLE"
    low, high = (math.log(least), math.log(most)) if is_log else (least, most)
    width = (high - low) / BARS or 1.0
    counts = questions.ask(
        f"SELECT least(greatest(floor(({scale} - {bound(low)}) / {bound(width)}), 0),"
        f" {BARS - 1})::BIGINT, count(*), count(*) FILTER (kept) FROM ({rows})"
        " WHERE x IS NOT NULL GROUP BY 1",
        bound,
    )
    found = {whole(i): (whole(n), whole(kept)) for i, n, kept in counts}
    edges = [low + i * width for i in range(BARS + 1)]
    ends = [math.exp(x) for x in edges] if is_log else edges
    ends[0], ends[-1] = least, most
    bars = [Bar(*found.get(i, (0, 0)), low=ends[i], high=ends[i + 1]) for i in range(BARS)]
    if low == high:
        bars = [bars[0]._replace(high=most)]
    return Histogram(name, "number", bars, 0, missing, is_log)
