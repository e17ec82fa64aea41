"""The figures: Vega-Lite charts, drawn offline as SVG for the page and as PNG files.

Text and grid lines have two fixed colours (`INK`, `GRID`) that the page's style sheet replaces in
dark mode; everything else is readable on both backgrounds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from curate.report.distributions import Scores, Spread
from curate.report.entries import LanguageBalance
from curate.report.facts import Facts

INK, GRID = "#475569", "#e2e8f0"
KEPT, DROPPED, DEAD, BEFORE, MARK = "#3b82f6", "#f0a43c", "#dc4b4b", "#a9b6c8", "#e11d48"

_WIDTH, _HEIGHT = 430, 230
_SCALE = 2.0  # pixels of a PNG per unit


@dataclass(frozen=True)
class Figure:
    """A chart as the page and the report folder need it."""

    name: str  # of the PNG, without ending
    title: str
    note: str  # how to read it
    svg: str
    png: bytes


def draw(facts: Facts) -> dict[str, Figure]:
    """All figures that the facts give rise to, by name."""
    return {figure.name: figure for figure in _figures(facts)}


def _figures(facts: Facts) -> Iterator[Figure]:
    yield _figure("funnel", "Pairs through the stages", "", _funnel(facts))
    captions = facts.captions
    after = "left by prepare", "in the final set"
    yield _bars("caption_chars", "Length of the captions", "characters", captions.chars, after)
    yield _bars("caption_words", "Words in the captions", "words", captions.words, after)
    if facts.images and facts.images.stored:
        after = "all stored images", "in the final set"
        side, aspect = facts.images.smaller_side, facts.images.aspect
        yield _bars("smaller_side", "Smaller side of the original", "pixels", side, after)
        yield _bars("aspect", "Aspect", "larger side over smaller side", aspect, after)
    if facts.scores and facts.scores.scored:
        yield _scores(facts.scores)
    if facts.duplicates and len(facts.duplicates.sizes) > 1:
        yield _figure("clusters", "Clusters by size", "", _clusters(facts))
    for language in facts.balance.languages if facts.balance else ():
        if language.ranks:
            yield _ranks(language)
            yield _cumulative(language)


def _figure(name: str, title: str, note: str, chart: Any) -> Figure:
    fonts = "system-ui, -apple-system, Segoe UI, sans-serif"
    spec = (
        chart.configure(background="transparent", font=fonts, aria=False, padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, gridColor=GRID, domainColor=GRID, tickColor=GRID,
            labelFontSize=11, titleFontSize=11, titleFontWeight="normal", titlePadding=8,
        )
        .configure_legend(
            labelColor=INK, labelFontSize=11, orient="top", title=None, offset=6, padding=0,
            columnPadding=28,
        )
        .to_dict()
    )  # fmt: skip
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    svg = vl_convert.vegalite_to_svg(spec, vl_version=version)
    on_white = {**spec, "config": {**spec["config"], "background": "#ffffff"}}
    png = vl_convert.vegalite_to_png(on_white, vl_version=version, scale=_SCALE)
    return Figure(name, title, note, _inline(svg, name=name), png)


def _inline(svg: str, *, name: str) -> str:
    """`svg` with ids of its own, so that many can stand in one page."""
    return re.sub(r'(id="|url\(#|href="#)(?=[a-z])', rf"\g<1>{name}-", svg)


def _short(**options: Any) -> alt.Axis:
    """An axis whose labels read 0, 500, 1k, 20k, 3M."""
    label = "format(datum.value, abs(datum.value) < 1000 ? '~r' : '~s')"
    return alt.Axis(labelExpr=label, tickCount=5, **options)


def _rows(**columns: Any) -> Any:
    names = list(columns)
    values = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=values)


def _legend(*names_and_colours: str) -> Any:
    names, colours = names_and_colours[::2], names_and_colours[1::2]
    return alt.Scale(domain=list(names), range=list(colours))


def _funnel(facts: Facts) -> Any:
    stages = [stage.stage for stage in facts.funnel]
    parts = ("kept", "dropped", "dead")
    source = _rows(
        stage=[s for s in stages for _ in parts],
        part=[part for _ in stages for part in parts],
        order=[i for _ in stages for i in range(len(parts))],
        pairs=[getattr(stage, part) for stage in facts.funnel for part in parts],
    )
    room = alt.Scale(domain=[0, 1.2 * max(facts.pairs, 1)], nice=False)  # for the labels
    y = alt.Y("stage:N", sort=stages, title=None, axis=alt.Axis(ticks=False, domain=False))
    bars = (
        alt.Chart(source)
        .mark_bar(height={"band": 0.7})
        .encode(
            x=alt.X("pairs:Q", title="pairs", scale=room, axis=alt.Axis(format=",d", tickCount=6)),
            y=y,
            color=alt.Color(
                "part:N", scale=_legend("kept", KEPT, "dropped", DROPPED, "dead", DEAD)
            ),
            order="order:Q",
        )
    )
    kept = _rows(stage=stages, rows=[s.rows for s in facts.funnel], kept=_labels(facts))
    labels = (
        alt.Chart(kept)
        .mark_text(align="left", dx=6, color=INK, fontSize=11)
        .encode(x=alt.X("rows:Q", scale=room), y=y, text="kept:N")
    )
    return (bars + labels).properties(width=_WIDTH * 2, height=34 * len(stages))


def _labels(facts: Facts) -> list[str]:
    return [f"{s.kept:,} kept, {s.kept / s.rows:.0%}" if s.rows else "0" for s in facts.funnel]


def _bars(name: str, title: str, unit: str, spread: Spread, legend: tuple[str, str]) -> Figure:
    """The histogram before, and over it the part of each bar that is left afterwards."""
    shape = spread.histogram
    note = f"The last bar holds all from {shape.edges[-2]:,g} up." if shape.open_ended else ""
    source = _rows(
        low=shape.edges[:-1] * 2,
        high=shape.edges[1:] * 2,
        pairs=shape.before + shape.after,
        set=[legend[0]] * len(shape.before) + [legend[1]] * len(shape.after),
    )
    cells = alt.Axis(format=",~r", grid=False, tickCount=8, labelOverlap="greedy")
    chart = (
        alt.Chart(source)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("low:Q", bin="binned", title=unit, axis=cells),
            x2="high:Q",
            y=alt.Y("pairs:Q", stack=None, title="pairs", axis=_short()),
            color=alt.Color("set:N", scale=_legend(legend[0], BEFORE, legend[1], KEPT)),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )
    return _figure(name, title, note, chart)


def _scores(scores: Scores) -> Figure:
    shape = scores.clip_score.histogram
    dropped = [a - b for a, b in zip(shape.before, shape.after, strict=True)]
    source = _rows(
        low=shape.edges[:-1] * 2,
        high=shape.edges[1:] * 2,
        pairs=[*shape.after, *dropped],
        set=["kept"] * len(dropped) + ["dropped"] * len(dropped),
        order=[0] * len(dropped) + [1] * len(dropped),
    )
    cells = alt.Axis(grid=False, labelOverlap=False, format=".2~f", values=_ticks(shape.edges))
    room = alt.Scale(domain=[0, 1.25 * max(shape.before)], nice=False)  # for the labels
    bars = (
        alt.Chart(source)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("low:Q", bin="binned", title="clip_score", axis=cells),
            x2="high:Q",
            y=alt.Y("pairs:Q", title="pairs", axis=_short(), scale=room),
            color=alt.Color("set:N", scale=_legend("kept", KEPT, "dropped", DROPPED)),
            order="order:Q",
        )
    )
    thresholds = sorted(scores.thresholds, key=lambda cut: cut.value)
    cuts = _rows(
        cut=[cut.value for cut in thresholds],
        label=[f"{cut.rule}: {cut.value:.3g}" for cut in thresholds],
        y=[8 + 15 * i for i in range(len(thresholds))],
    )
    lines = alt.Chart(cuts).mark_rule(color=MARK, strokeDash=[5, 4], strokeWidth=1.5)
    text = alt.Chart(cuts).encode(x="cut:Q", y=alt.Y("y:Q", scale=None), text="label:N")
    lowest = text.transform_filter("datum.y === 8").mark_text(
        color=MARK, align="right", dx=-5, fontSize=11
    )
    others = text.transform_filter("datum.y !== 8").mark_text(
        color=MARK, align="left", dx=5, fontSize=11
    )
    chart = bars + lines.encode(x="cut:Q") + lowest + others
    sized = chart.properties(width=_WIDTH * 2, height=_HEIGHT)
    return _figure("clip_score", "Agreement of image and caption", "", sized)


def _ticks(edges: tuple[float, ...]) -> list[float]:
    """Round values from the first to the last edge, about ten of them."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if 12 * s >= edges[-1] - edges[0])
    first, last = round(edges[0] / step), round(edges[-1] / step)
    return [round(i * step, 2) for i in range(first, last + 1)]


def _clusters(facts: Facts) -> Any:
    sizes = facts.duplicates.sizes if facts.duplicates else ()
    names = [
        f"{s.smallest}" if s.smallest == s.largest else f"{s.smallest} to {s.largest}"
        for s in sizes
    ]
    source = _rows(size=names, clusters=[s.clusters for s in sizes])
    base = alt.Chart(source).encode(
        x=alt.X("size:N", sort=names, title="pairs in the cluster", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("clusters:Q", title="clusters", axis=_short()),
    )
    bars = base.mark_bar(color=DROPPED, width={"band": 0.7})
    labels = base.mark_text(color=INK, dy=-7, fontSize=11).encode(
        text=alt.Text("clusters:Q", format=",")
    )
    return (bars + labels).properties(width=_WIDTH, height=_HEIGHT)


_SIDES = _legend("before balancing", BEFORE, "after", KEPT)


def _curves(x: list[int], before: list[int], after: list[int]) -> Any:
    n = len(x)
    return _rows(
        x=x * 2, y=before + after, side=["before balancing"] * n + ["after"] * n, i=[*range(n)] * 2
    )


def _ranks(one: LanguageBalance) -> Figure:
    points = one.ranks
    source = _curves([p.x for p in points], [p.before for p in points], [p.after for p in points])
    log = alt.Scale(type="log", nice=False)
    tens = [10**power for power in range(12) if 10**power <= max(points[0].before, points[-1].x)]
    axis = _short(values=tens) if len(tens) > 2 else _short()
    lines = (
        alt.Chart(source)
        .transform_filter("datum.y > 0")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x:Q", scale=log, axis=axis, title="entry, by rank"),
            y=alt.Y("y:Q", scale=alt.Scale(type="log"), axis=axis, title="pairs that match it"),
            color=alt.Color("side:N", scale=_SIDES, legend=alt.Legend(symbolType="stroke")),
            order="i:Q",
        )
    )
    chart = (lines + _mark_t(one, y=True)).properties(width=_WIDTH, height=_HEIGHT)
    note = (
        "Each curve is sorted on its own. A pair that also matches a rarer entry is kept more"
        " often, so the head ends up above t."
    )
    return _figure(f"rank-{one.language}", "Pairs an entry, by rank", note, chart)


def _cumulative(one: LanguageBalance) -> Figure:
    points = one.cumulative
    source = _curves([p.x for p in points], [p.before for p in points], [p.after for p in points])
    lines = (
        alt.Chart(source)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X(
                "x:Q", axis=_short(), scale=alt.Scale(nice=False),
                title="matched entries, from tail to head",
            ),
            y=alt.Y("y:Q", axis=_short(), title="matches, cumulative"),
            color=alt.Color("side:N", scale=_SIDES, legend=alt.Legend(symbolType="stroke")),
            order="i:Q",
        )
    )  # fmt: skip
    chart = (lines + _mark_t(one, y=False)).properties(width=_WIDTH, height=_HEIGHT)
    note = "Left of t, in the tail, every pair stays; right of it the head is flattened."
    return _figure(f"cumulative-{one.language}", "Matches from tail to head", note, chart)


def _mark_t(one: LanguageBalance, *, y: bool) -> Any:
    """A line at t: a count on the y axis, or the first head entry on the x axis."""
    source = _rows(at=[one.t if y else one.tail], label=[f"t = {one.t:,.4g}"])
    base = alt.Chart(source)
    line = base.mark_rule(color=MARK, strokeDash=[5, 4], strokeWidth=1.5)
    if y:
        text = base.mark_text(color=MARK, align="right", dy=-7, x=_WIDTH, fontSize=11)
        return line.encode(y="at:Q") + text.encode(y="at:Q", text="label:N")
    text = base.mark_text(color=MARK, align="right", dx=-6, y=8, fontSize=11)
    return line.encode(x="at:Q") + text.encode(x="at:Q", text="label:N")
