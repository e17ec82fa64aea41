"""The figures of a run, as Vega-Lite charts."""

import math
from collections.abc import Iterator

import altair as alt
from altair.utils.schemapi import debug_mode

from curate.report import charts, sweeps
from curate.report.charts import BEFORE, DEAD, DROPPED, INK, KEPT, MARK, Figure
from curate.report.distributions import Spread
from curate.report.entries import LanguageBalance
from curate.report.facts import Facts
from curate.report.selection import LanguageScores, Scores

TITLES = {"clip_score": "Agreement of image and caption"}
"""Of the figures of scores; the others are called by their columns."""


def draw(facts: Facts) -> dict[str, Figure]:
    """All figures that the facts give rise to, by name; none where none can be drawn."""
    return figures(facts) if charts.can_draw() else {}


def figures(facts: Facts) -> dict[str, Figure]:
    """All figures that the facts give rise to, by name, before they are drawn."""
    with debug_mode(False):  # each part would be looked up in the schema of all charts
        return {figure.name: figure for figure in _figures(facts)}


def _figures(facts: Facts) -> Iterator[Figure]:
    yield Figure("funnel", "Pairs through the stages", "", _funnel(facts))
    captions = facts.captions
    after = "left by prepare", "in the final set"
    yield _bars("caption_chars", "Length of the captions", "characters", captions.chars, after)
    yield _bars("caption_words", "Words in the captions", "words", captions.words, after)
    if facts.images and facts.images.stored:
        after = "all stored images", "in the final set"
        side, aspect = facts.images.smaller_side, facts.images.aspect
        yield _bars("smaller_side", "Smaller side of the original", "pixels", side, after)
        yield _bars("aspect", "Aspect", "larger side over smaller side", aspect, after)
    for score in facts.scores:
        if score.scored:
            title = TITLES.get(score.column, score.column)
            yield _score(score, name=score.column, title=title, width=2 * charts.WIDTH)
        for one in score.languages:
            if one.scored:
                name = f"{score.column}-{one.language}"
                yield _score(one, name=name, title=one.language, width=charts.WIDTH)
    if facts.duplicates and len(facts.duplicates.sizes) > 3:
        yield Figure("clusters", "Clusters by size", "", _clusters(facts))
    for language in facts.balance.languages if facts.balance else ():
        if language.ranks:
            yield _ranks(language)
            if language.kept_matches < 0.99 * language.matches:  # else both curves are one
                yield _cumulative(language)
    if facts.sweep:
        yield from sweeps.figures(facts.sweep, balance=facts.balance)


def _funnel(facts: Facts) -> charts.Chart:
    stages = [stage.stage for stage in facts.funnel]
    parts = ("kept", "dropped", "dead")
    source = charts.rows(
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
                "part:N",
                title=None,
                scale=charts.legend("kept", KEPT, "dropped", DROPPED, "dead", DEAD),
            ),
            order="order:Q",
        )
    )
    kept = charts.rows(stage=stages, rows=[s.rows for s in facts.funnel], kept=_labels(facts))
    labels = (
        alt.Chart(kept)
        .mark_text(align="left", dx=6, color=INK, fontSize=11)
        .encode(x=alt.X("rows:Q", scale=room), y=y, text="kept:N")
    )
    return alt.layer(bars, labels).properties(width=charts.WIDTH * 2, height=34 * len(stages))


def _labels(facts: Facts) -> list[str]:
    return [f"{s.kept:,} kept, {s.kept / s.rows:.0%}" if s.rows else "0" for s in facts.funnel]


def _bars(name: str, title: str, unit: str, spread: Spread, legend: tuple[str, str]) -> Figure:
    """The histogram before, and over it the part of each bar that is left afterwards."""
    shape = spread.histogram
    note = f"The last bar holds all from {shape.edges[-2]:,g} up." if shape.open_ended else ""
    source = charts.rows(
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
            y=alt.Y("pairs:Q", stack=None, title="pairs", axis=charts.short_axis()),
            color=alt.Color(
                "set:N", title=None, scale=charts.legend(legend[0], BEFORE, legend[1], KEPT)
            ),
        )
        .properties(width=charts.WIDTH, height=charts.HEIGHT)
    )
    return Figure(name, title, note, chart)


def _score(one: Scores | LanguageScores, *, name: str, title: str, width: int) -> Figure:
    shape = one.spread.histogram
    dropped = [a - b for a, b in zip(shape.before, shape.after, strict=True)]
    source = charts.rows(
        low=shape.edges[:-1] * 2,
        high=shape.edges[1:] * 2,
        pairs=[*shape.after, *dropped],
        set=["kept"] * len(dropped) + ["dropped"] * len(dropped),
        order=[0] * len(dropped) + [1] * len(dropped),
    )
    cells = alt.Axis(grid=False, labelOverlap="greedy", values=_ticks(shape.edges), format="~f")
    room = alt.Scale(domain=[0, 1.25 * max(shape.before)], nice=False)  # for the labels
    bars = (
        alt.Chart(source)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("low:Q", bin="binned", title=name.partition("-")[0], axis=cells),
            x2="high:Q",
            y=alt.Y("pairs:Q", title="pairs", axis=charts.short_axis(), scale=room),
            color=alt.Color(
                "set:N", title=None, scale=charts.legend("kept", KEPT, "dropped", DROPPED)
            ),
            order="order:Q",
        )
    )
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
    chart = bars + lines.encode(x="cut:Q") + lowest + others
    sized = chart.properties(width=width, height=charts.HEIGHT)
    return Figure(name, title, "", sized)


def _ticks(edges: tuple[float, ...]) -> list[float]:
    """Round values from the first to the last edge, about ten of them."""
    power = math.floor(math.log10((edges[-1] - edges[0]) / 12))
    steps = (factor * 10.0**power for factor in (1, 2, 5, 10))
    step = next(s for s in steps if 12 * s >= edges[-1] - edges[0])
    first, last = round(edges[0] / step), round(edges[-1] / step)
    return [round(i * step, max(0, -power)) for i in range(first, last + 1)]


def _clusters(facts: Facts) -> charts.Chart:
    sizes = facts.duplicates.sizes if facts.duplicates else ()
    names = [
        f"{s.smallest:,}" if s.smallest == s.largest else f"{s.smallest} to {s.largest}"
        for s in sizes
    ]
    source = charts.rows(size=names, clusters=[s.clusters for s in sizes])
    base = alt.Chart(source).encode(
        x=alt.X("size:N", sort=names, title="pairs in the cluster", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("clusters:Q", title="clusters", axis=charts.short_axis()),
    )
    bars = base.mark_bar(color=DROPPED, width={"band": 0.7})
    labels = base.mark_text(color=INK, dy=-7, fontSize=11).encode(
        text=alt.Text("clusters:Q", format=",")
    )
    return alt.layer(bars, labels).properties(width=charts.WIDTH, height=charts.HEIGHT)


_SIDES = charts.legend("before balancing", BEFORE, "after", KEPT)


def _curves(x: list[int], before: list[int], after: list[int]) -> alt.InlineData:
    n = len(x)
    return charts.rows(
        x=x * 2, y=before + after, side=["before balancing"] * n + ["after"] * n, i=[*range(n)] * 2
    )


def _ranks(one: LanguageBalance) -> Figure:
    points = one.ranks
    source = _curves([p.x for p in points], [p.before for p in points], [p.after for p in points])
    log = alt.Scale(type="log", nice=False)
    tens = [10**power for power in range(12) if 10**power <= max(points[0].before, points[-1].x)]
    axis = charts.short_axis(values=tens) if len(tens) > 2 else charts.short_axis()
    lines = (
        alt.Chart(source)
        .transform_filter("datum.y > 0")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x:Q", scale=log, axis=axis, title="entry, by rank"),
            y=alt.Y("y:Q", scale=alt.Scale(type="log"), axis=axis, title="pairs that match it"),
            color=alt.Color(
                "side:N", title=None, scale=_SIDES, legend=alt.Legend(symbolType="stroke")
            ),
            order="i:Q",
        )
    )
    chart = (lines + _mark_t(one, y=True)).properties(width=charts.WIDTH, height=charts.HEIGHT)
    note = (
        "Each curve is sorted on its own. A pair that also matches a rarer entry is kept more"
        " often, so the head ends up above t."
    )
    return Figure(f"rank-{one.language}", "Pairs an entry, by rank", note, chart)


def _cumulative(one: LanguageBalance) -> Figure:
    points = one.cumulative
    source = _curves([p.x for p in points], [p.before for p in points], [p.after for p in points])
    lines = (
        alt.Chart(source)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X(
                "x:Q", axis=charts.short_axis(), scale=alt.Scale(nice=False),
                title="matched entries, from tail to head",
            ),
            y=alt.Y("y:Q", axis=charts.short_axis(), title="matches, cumulative"),
            color=alt.Color("side:N", title=None, scale=_SIDES, legend=alt.Legend(symbolType="stroke")),
            order="i:Q",
        )
    )  # fmt: skip
    chart = (lines + _mark_t(one, y=False)).properties(width=charts.WIDTH, height=charts.HEIGHT)
    note = "Left of t, in the tail, every pair stays; right of it the head is flattened."
    return Figure(f"cumulative-{one.language}", "Matches from tail to head", note, chart)


def _mark_t(one: LanguageBalance, *, y: bool) -> charts.Chart:
    """A line at t: a count on the y axis, or the first head entry on the x axis."""
    source = charts.rows(at=[one.t if y else one.tail], label=[f"t = {one.t:,.4g}"])
    base = alt.Chart(source)
    line = base.mark_rule(color=MARK, strokeDash=[5, 4], strokeWidth=1.5)
    if y:
        text = base.mark_text(color=MARK, align="right", dy=-7, x=charts.WIDTH, fontSize=11)
        return alt.layer(line.encode(y="at:Q"), text.encode(y="at:Q", text="label:N"))
    left = one.tail < 0.2 * (one.head + one.tail)  # where no label fits left of the line
    text = base.mark_text(
        color=MARK, align="left" if left else "right", dx=6 if left else -6, y=8, fontSize=11
    )
    return alt.layer(line.encode(x="at:Q"), text.encode(x="at:Q", text="label:N"))
