"""The histograms: how a quantity is spread before and after, with counts on two kinds of axis."""

import math
from collections.abc import Sequence

import altair as alt

from curate.report import charts
from curate.report.charts import BEFORE, DROPPED, KEPT, MARK, Figure
from curate.report.distributions import Histogram, Spread
from curate.report.selection import LanguageScores, Scores

LEAST = 0.7
"""Where a logarithmic axis of counts begins."""
SPAN = 10
"""How many times the lowest bar the highest has to be, for a logarithmic axis to show more."""


def bars(name: str, title: str, unit: str, spread: Spread, legend: tuple[str, str]) -> Figure:
    """The histogram before, and over it the part of each bar that is left afterwards."""
    shape = spread.histogram
    note = f"The last bar holds all from {shape.edges[-2]:,g} up." if shape.open_ended else ""
    x = alt.X(
        "low:Q", bin="binned", title=unit,
        axis=alt.Axis(format=",~r", grid=False, tickCount=8, labelOverlap="greedy"),
    )  # fmt: skip
    told = [
        (f"{legend[0]}: {before:,}", f"{legend[1]}: {after:,}")
        for before, after in zip(shape.before, shape.after, strict=True)
    ]

    def chart(*, log: bool) -> charts.Chart:
        scale = charts.legend(legend[0], BEFORE, legend[1], KEPT)
        drawn = _histogram(shape, x, scale, told, unit=unit, log=log)
        return drawn.properties(width=charts.WIDTH, height=charts.HEIGHT)

    log = chart(log=True) if _spans(shape) else None
    return Figure(name, title, note, chart(log=False), log)


def _histogram(
    shape: Histogram, x: alt.X, sides: alt.Scale, told: Sequence[tuple[str, str]], *, unit: str,
    log: bool, room: float = 1.0,
) -> charts.Chart:  # fmt: skip
    """Bars before, and over them those after, in the two colours of `sides`; what is `told` of each.

    `room` is how much higher the axis is than the highest bar.
    """
    names, most = sides.to_dict()["domain"], max(1, *shape.before)
    source = charts.rows(
        low=shape.edges[:-1] * 2,
        high=shape.edges[1:] * 2,
        pairs=shape.before + shape.after,
        set=[names[0]] * len(told) + [names[1]] * len(told),
    )
    axis, scale = charts.short_axis(), alt.Scale()
    if log:  # a bar of one pair has a height, too
        tens = [10**power for power in range(12) if 10**power <= most]
        axis = charts.short_axis(values=tens)
        top = LEAST * (most / LEAST) ** room
        scale = alt.Scale(type="log", domain=[LEAST, top], nice=False)
    elif room > 1:
        scale = alt.Scale(domain=[0, room * most], nice=False)
    base = alt.Chart(source).transform_filter("datum.pairs > 0")
    bars = base.mark_bar(binSpacing=1).encode(
        x=x,
        x2=alt.X2("high:Q"),
        y=alt.Y("pairs:Q", stack=None, title="pairs", axis=axis, scale=scale),
        y2=alt.Y2Datum(LEAST if log else 0),
        color=alt.Color("set:N", title=None, scale=sides),
    )
    columns = charts.rows(
        low=shape.edges[:-1],
        high=shape.edges[1:],
        tip=[charts.tips(_cell(shape, i, unit), *lines) for i, lines in enumerate(told)],
    )
    seen = alt.Chart(columns, mark=charts.unseen("rect")).encode(
        x=x, x2=alt.X2("high:Q"), y=charts.TOP, y2=charts.BOTTOM,
        description=charts.TIP, tooltip=charts.TOOLTIP,
    )  # fmt: skip
    return alt.layer(bars, seen)


def _spans(shape: Histogram) -> bool:
    """Whether some bars are too low to be seen beside the highest."""
    filled = [n for n in (*shape.before, *shape.after) if n]
    return bool(filled) and max(filled) >= SPAN * min(filled)


def _cell(shape: Histogram, i: int, unit: str) -> str:
    """The values of a bar in words."""
    low, high = shape.edges[i], shape.edges[i + 1]
    if shape.open_ended and i == len(shape.before) - 1:
        return f"{unit}: {low:,g} and more"
    if high - low == 1 and low == round(low):
        return f"{unit}: {low:,g}"
    return f"{unit}: {low:,g} to under {high:,g}"


def score_bars(one: Scores | LanguageScores, *, name: str, title: str, width: int) -> Figure:
    """The histogram of a score, and its thresholds."""
    shape = one.spread.histogram
    column = name.partition("-")[0]
    cells = alt.Axis(grid=False, labelOverlap="greedy", values=_ticks(shape.edges), format="~f")
    x = alt.X("low:Q", bin="binned", title=column, axis=cells)
    told = [
        (f"kept: {after:,}", f"dropped: {before - after:,}")
        for before, after in zip(shape.before, shape.after, strict=True)
    ]
    thresholds = sorted(one.thresholds, key=lambda cut: cut.value)
    near = shape.edges[0] + 0.3 * (shape.edges[-1] - shape.edges[0])  # no room left of a line
    cuts = charts.rows(
        cut=[cut.value for cut in thresholds],
        label=[f"{cut.rule}: {cut.value:.3g}" for cut in thresholds],
        y=[8 + 15 * i for i in range(len(thresholds))],
        left=[i == 0 and cut.value > near for i, cut in enumerate(thresholds)],
    )
    lines = alt.Chart(cuts).mark_rule(color=MARK, strokeDash=[5, 4], strokeWidth=1.5)
    text = alt.Chart(cuts).encode(x="cut:Q", y=alt.Y("y:Q", scale=None), text="label:N")
    lowest = text.transform_filter("datum.left").mark_text(
        color=MARK, align="right", dx=-5, fontSize=11
    )
    others = text.transform_filter("!datum.left").mark_text(
        color=MARK, align="left", dx=5, fontSize=11
    )

    def chart(*, log: bool) -> charts.Chart:
        sides = charts.legend("dropped", DROPPED, "kept", KEPT)
        drawn = _histogram(shape, x, sides, told, unit=column, log=log, room=1.25)
        over: charts.Chart = drawn + lines.encode(x="cut:Q") + lowest + others
        return over.properties(width=width, height=charts.HEIGHT)

    return Figure(name, title, "", chart(log=False), chart(log=True) if _spans(shape) else None)


def _ticks(edges: tuple[float, ...]) -> list[float]:
    """Round values from the first to the last edge, about ten of them."""
    power = math.floor(math.log10((edges[-1] - edges[0]) / 12))
    steps = (factor * 10.0**power for factor in (1, 2, 5, 10))
    step = next(s for s in steps if 12 * s >= edges[-1] - edges[0])
    first, last = round(edges[0] / step), round(edges[-1] / step)
    return [round(i * step, max(0, -power)) for i in range(first, last + 1)]
