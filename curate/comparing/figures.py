"""The figures of a comparison: both funnels, and each column of both sets over each other."""

from collections.abc import Iterator

import altair as alt
from altair.utils.schemapi import debug_mode

from curate.comparing.compare import Comparison
from curate.comparing.sets import Overlay
from curate.report import charts
from curate.report.charts import Figure
from curate.report.figures import TITLES

A, B = "#e08a1e", "#3b82f6"
"""The colours of the first and of the second run."""
_UNITS = {
    "smaller_side": "Smaller side of the original, pixels",
    "aspect": "Aspect: larger side over smaller side",
    "caption_chars": "Characters of the caption",
    "caption_words": "Words of the caption",
}


def figures(comparison: Comparison) -> dict[str, Figure]:
    """All figures by name, before they are drawn."""
    with debug_mode(False):
        return {one.name: one for one in _figures(comparison)}


def _figures(comparison: Comparison) -> Iterator[Figure]:
    yield Figure("funnels", "Pairs left after each stage", "", _funnels(comparison))
    for one in comparison.sets.overlays:
        title = _UNITS.get(one.column) or TITLES.get(one.column, one.column)
        yield Figure(one.column, title, _means(one), _overlay(one))


def _means(one: Overlay) -> str:
    told = ("–" if x is None else f"{x:,.4g}" for x in one.means)
    return "Mean: {} in A, {} in B.".format(*told)


def _scale() -> alt.Scale:
    return charts.legend("A", A, "B", B)


def _funnels(comparison: Comparison) -> charts.Chart:
    sides = {"A": comparison.a, "B": comparison.b}
    stages = list(dict.fromkeys(row.stage for side in sides.values() for row in side.funnel))
    left = [
        (stage, name, pairs)
        for name, side in sides.items()
        for stage, pairs in [("pool", side.pairs), *((x.stage, x.kept) for x in side.funnel)]
    ]
    source = charts.rows(
        stage=[x for x, _, _ in left], run=[x for _, x, _ in left], pairs=[x for _, _, x in left]
    )
    most = max((n for _, _, n in left), default=0)
    room = alt.Scale(domain=[0, 1.12 * max(most, 1)], nice=False)  # for the labels
    base = alt.Chart(source).encode(
        y=alt.Y(
            "stage:N", sort=["pool", *stages], title=None, axis=alt.Axis(ticks=False, domain=False)
        ),
        yOffset="run:N",
        x=alt.X("pairs:Q", title="pairs", scale=room, axis=charts.short_axis()),
    )
    bars = base.mark_bar().encode(color=alt.Color("run:N", title=None, scale=_scale()))
    labels = base.mark_text(align="left", dx=5, color=charts.INK, fontSize=11).encode(
        text=alt.Text("pairs:Q", format=",")
    )
    return alt.layer(bars, labels).properties(width=charts.WIDTH * 2, height=44 * (len(stages) + 1))


def _overlay(one: Overlay) -> charts.Chart:
    """The shares of both sets as steps over the cells."""
    edges = one.edges
    n = len(edges)
    source = charts.rows(
        low=[*edges, *edges],
        share=[x for shares in one.shares for x in (*shares, shares[-1])],
        run=["A"] * n + ["B"] * n,
    )
    base = alt.Chart(source).encode(
        x=alt.X(
            "low:Q", title=None, scale=alt.Scale(domain=[edges[0], edges[-1]], nice=False),
            axis=alt.Axis(grid=False, tickCount=8, labelOverlap="greedy"),
        ),
        y=alt.Y(
            "share:Q", stack=None, title="share of the set", axis=alt.Axis(format="%", tickCount=5)
        ),
        color=alt.Color(
            "run:N", title=None, scale=_scale(),
            legend=alt.Legend(symbolType="stroke", symbolOpacity=1),
        ),
    )  # fmt: skip
    areas = base.mark_area(interpolate="step-after", opacity=0.16)
    lines = base.mark_line(interpolate="step-after", strokeWidth=2)
    return alt.layer(areas, lines).properties(width=charts.WIDTH, height=charts.HEIGHT)
