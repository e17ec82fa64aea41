"""What other values of t would keep: the curves of ``report/sweep.json``, if it fits the run."""

import math
from collections.abc import Iterator, Sequence

import altair as alt
from rich.table import Table

from curate import files
from curate.ops.selection.sweeping import Curve, Sweep
from curate.report import charts
from curate.report.charts import BEFORE, KEPT, MARK, Figure
from curate.report.entries import CURVES, Balance
from curate.rundir.directory import Run
from curate.schema import Stage

SWEEP = "sweep.json"


def stored(run: Run, stages: Sequence[Stage]) -> Sweep | None:
    """The sweep of the matches that the run has now; None where there is none, or an older one."""
    url = run.path(Stage.REPORT, SWEEP)
    if not files.exists(url):
        return None
    found = Sweep.from_json(files.read_json(url))
    reads = [stage for stage in stages if stage != Stage.BALANCE][-1]
    first = next(run.records(reads), None)
    return found if first and run.content(first[1].digest) == found.digest else None


def shown(found: Sweep) -> tuple[Curve, ...]:
    """The curves that the page shows."""
    if len(found.languages) == 1:
        return found.languages
    return (found.total, *found.languages[:CURVES])


def figures(found: Sweep, *, balance: Balance | None) -> Iterator[Figure]:
    """Two figures for each curve that is shown; the run's own t is marked."""
    ts = {one.language: one.t for one in balance.languages} if balance else {}
    ts[found.total.language] = ts.get(found.reference, 0.0)
    for one in shown(found):
        ends = (one.points[0].t, one.points[-1].t)
        t = ts.get(one.language, 0.0)
        at = t if ends[0] <= t <= ends[1] else None
        yield Figure(f"sweep-pairs-{one.language}", "Pairs kept, by t", "", pairs_chart(one, t=at))
        yield Figure(
            f"sweep-concepts-{one.language}",
            "Effective number of concepts, by t",
            "The lower t, the more even the entries; the dashed line is the pool before balancing.",
            concepts_chart(one, t=at),
        )


def pairs_chart(one: Curve, *, t: float | None = None) -> charts.Chart:
    """Expected number of pairs kept, with a mark at `t`."""
    return _chart(one, "pairs", title="pairs kept", t=t)


def concepts_chart(one: Curve, *, t: float | None = None) -> charts.Chart:
    """Effective number of concepts, with a mark at `t` and at what it is before balancing."""
    before = alt.Chart(charts.rows(y=[one.concepts])).mark_rule(color=BEFORE, strokeDash=[5, 4])
    after = _chart(one, "concepts", title="concepts, effective", t=t)
    both: charts.Chart = after + before.encode(y="y:Q")
    return both


def _chart(one: Curve, name: str, *, title: str, t: float | None) -> charts.Chart:
    source = charts.rows(
        t=[point.t for point in one.points], y=[getattr(point, name) for point in one.points]
    )
    log = alt.Scale(type="log", nice=False)
    chart: charts.Chart = (
        alt.Chart(source)
        .mark_line(strokeWidth=2, color=KEPT, point=alt.OverlayMarkDef(color=KEPT))
        .encode(
            x=alt.X("t:Q", scale=log, axis=charts.short_axis(), title="t"),
            y=alt.Y("y:Q", axis=charts.short_axis(), title=title),
        )
        .properties(width=charts.WIDTH, height=charts.HEIGHT)
    )
    told = [charts.tips(f"t = {p.t:,.4g}", f"{title}: {getattr(p, name):,.4g}") for p in one.points]
    chart = chart + charts.columns([point.t for point in one.points], told)
    if t is None:
        return chart
    mark = alt.Chart(charts.rows(t=[t], label=[f"t = {t:,.4g}"])).encode(x="t:Q")
    ends = math.log(one.points[0].t), math.log(one.points[-1].t)
    right = math.log(t) > ends[0] + 0.75 * (
        ends[1] - ends[0]
    )  # where no label fits right of the line
    text = mark.mark_text(
        color=MARK, align="right" if right else "left", dx=-6 if right else 6, y=8, fontSize=11
    ).encode(text="label:N")
    chart = chart + mark.mark_rule(color=MARK, strokeDash=[5, 4], strokeWidth=1.5) + text
    return chart


def tables(found: Sweep) -> Iterator[Table]:
    """A table for all languages together and for each one, for the terminal or a notebook."""
    curves = (found.total, *found.languages) if len(found.languages) > 1 else found.languages
    for one in curves:
        title = f"{one.language}: {one.pairs:,} pairs, {one.matches:,} matches"
        table = Table(
            title=title, title_justify="left", box=None, header_style="bold", pad_edge=False
        )
        for name in ("t", "p", "pairs kept", "share", "head", "tail", "matches in head", "in tail",
                     "covered", "concepts"):  # fmt: skip
            table.add_column(name, justify="right", overflow="fold")
        for at in one.points:
            table.add_row(
                f"{at.t:,.4g}", f"{at.p:.1%}", f"{at.pairs:,.1f}",
                f"{at.pairs / one.pairs:.1%}" if one.pairs else "", f"{at.head:,}",
                f"{at.tail:,}", f"{at.head_matches:,}", f"{at.tail_matches:,}",
                f"{at.covered:,.1f}", f"{at.concepts:,.1f}",
            )  # fmt: skip
        table.add_row(
            "before", "", f"{one.pairs:,}", "", "", "", "", "", f"{one.matched:,}",
            f"{one.concepts:,.1f}", style="dim",
        )  # fmt: skip
        yield table


def notes(found: Sweep, *, sizes: Sequence[float] = ()) -> Iterator[str]:
    """What is to be said of values of t, and of `sizes`, that leave no pair out."""
    pairs = found.total.pairs
    for size in sizes:
        if size >= pairs:
            yield f"--size {size:,g} is not below the {pairs:,} pairs that reach the balance: all stay"
    idle = [point.t for point in found.total.points if not point.head_matches]
    if len(idle) == len(found.total.points) and not sizes:
        yield f"no t of these leaves a pair out: from {min(idle):,.4g} on there is no head"
