"""The figures of a run, as Vega-Lite charts."""

from collections.abc import Iterator

import altair as alt
from altair.utils.schemapi import debug_mode

from curate.finding.map import Map
from curate.report import charts, sweeps
from curate.report.charts import BEFORE, DEAD, DROPPED, INK, KEPT, MARK, Figure
from curate.report.entries import LanguageBalance, Point
from curate.report.facts import Facts
from curate.report.histograms import LEAST, bars, score_bars

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
    yield Figure("funnel", "Pairs through the stages", "", _funnel(facts), along="y")
    captions = facts.captions
    after = "left by prepare", "in the final set"
    yield bars("caption_chars", "Length of the captions", "characters", captions.chars, after)
    yield bars("caption_words", "Words in the captions", "words", captions.words, after)
    if facts.images and facts.images.stored:
        after = "all stored images", "in the final set"
        side, aspect = facts.images.smaller_side, facts.images.aspect
        yield bars("smaller_side", "Smaller side of the original", "pixels", side, after)
        yield bars("aspect", "Aspect", "larger side over smaller side", aspect, after)
    for score in facts.scores:
        if score.scored:
            title = TITLES.get(score.column, score.column)
            yield score_bars(score, name=score.column, title=title, width=2 * charts.WIDTH)
        for one in score.languages:
            if one.scored:
                name = f"{score.column}-{one.language}"
                yield score_bars(one, name=name, title=one.language, width=charts.WIDTH)
    if facts.map and len(facts.map.concepts) > 2:
        note = "A circle is a cluster, its size the pairs. Blue: more of it is kept than of all."
        yield Figure("map", "Clusters of images", note, _map(facts.map), along="both")
    if facts.duplicates and len(facts.duplicates.sizes) > 3:
        linear, log = (_clusters(facts, log=log) for log in (False, True))
        yield Figure("clusters", "Clusters by size", "", linear, log)
    for language in facts.balance.languages if facts.balance else ():
        if language.ranks:
            yield _ranks(language)
            if language.kept_matches < 0.99 * language.matches:  # else both curves are one
                yield _cumulative(language)
    if facts.sweep:
        yield from sweeps.figures(
            facts.sweep, balance=None if facts.perspectives else facts.balance
        )


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
    told = [
        charts.tips(f"{s.stage}: {s.rows:,} pairs", f"kept: {s.kept:,}", f"dropped: {s.dropped:,}",
                    f"dead: {s.dead:,}")
        for s in facts.funnel
    ]  # fmt: skip
    seen = alt.Chart(charts.rows(stage=stages, tip=told), mark=charts.unseen("bar")).encode(
        x=charts.LEFT,
        x2=charts.RIGHT,
        y=y,
        description=charts.TIP,
        tooltip=charts.TOOLTIP,
    )
    sized = {"width": 2 * charts.WIDTH, "height": 34 * len(stages)}
    return alt.layer(bars, labels, seen).properties(**sized)


def _map(found: Map) -> charts.Chart:
    """The plane on which centroids differ most; near circles are of images that look alike."""
    concepts = found.concepts
    source = charts.rows(
        x=[one.x for one in concepts],
        y=[one.y for one in concepts],
        pairs=[one.pairs for one in concepts],
        share=[round(one.share, 4) for one in concepts],
        words=[", ".join(one.words[:2]) for one in concepts],
        tip=[
            charts.tips(", ".join(one.words), f"{one.pairs:,} pairs", f"{one.share:.1%} kept")
            for one in concepts
        ],
    )
    overall = found.kept / found.pairs
    apart = max(max(abs(one.share - overall) for one in concepts), 0.01)
    colours = alt.Scale(
        domain=[overall - apart, overall, overall + apart],
        range=[DROPPED, BEFORE, KEPT],
        interpolate="rgb",
    )
    base = alt.Chart(source).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(padding=40, zero=False)),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(padding=30, zero=False)),
    )
    circles = base.mark_circle(opacity=0.85, aria=True).encode(
        description=charts.TIP,
        tooltip=charts.TOOLTIP,
        size=alt.Size("pairs:Q", legend=None, scale=alt.Scale(domainMin=0, range=[0, 1000])),
        color=alt.Color("share:Q", scale=colours, legend=None),
    )
    labels = base.mark_text(color=INK, fontSize=11, dy=25).encode(text="words:N")
    return alt.layer(circles, labels).properties(width=charts.WIDTH * 2, height=380)


def _labels(facts: Facts) -> list[str]:
    return [f"{s.kept:,} kept, {s.kept / s.rows:.0%}" if s.rows else "0" for s in facts.funnel]


def _clusters(facts: Facts, *, log: bool) -> charts.Chart:
    sizes = facts.duplicates.sizes if facts.duplicates else ()
    names = [
        f"{s.smallest:,}" if s.smallest == s.largest else f"{s.smallest} to {s.largest}"
        for s in sizes
    ]
    source = charts.rows(size=names, clusters=[s.clusters for s in sizes])
    axis, scale = charts.short_axis(), alt.Scale()
    if log:
        most = max(1, *(s.clusters for s in sizes))
        axis = charts.short_axis(values=[10**power for power in range(12) if 10**power <= most])
        scale = alt.Scale(type="log", domain=[LEAST, 1.5 * most], nice=False)
    base = alt.Chart(source).transform_filter("datum.clusters > 0")
    base = base.encode(
        x=alt.X(
            "size:N", sort=names, title="pairs in the cluster", axis=alt.Axis(labelAngle=0),
            scale=alt.Scale(domain=names),
        ),
        y=alt.Y("clusters:Q", title="clusters", axis=axis, scale=scale),
    )  # fmt: skip
    bars = base.mark_bar(color=DROPPED, width={"band": 0.7})
    bars = bars.encode(y2=alt.Y2Datum(LEAST if log else 0))
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


def _sides(point: Point) -> tuple[str, str]:
    return f"before balancing: {point.before:,}", f"after: {point.after:,}"


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
    told = [charts.tips(f"entry {p.x:,}", *_sides(p)) for p in points]
    seen = charts.columns([p.x for p in points], told)
    layers = alt.layer(lines, _mark_t(one, y=True), seen)
    chart = layers.properties(width=charts.WIDTH, height=charts.HEIGHT)
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
    told = [charts.tips(f"the {p.x:,} rarest entries", *_sides(p)) for p in points]
    seen = charts.columns([p.x for p in points], told)
    layers = alt.layer(lines, _mark_t(one, y=False), seen)
    chart = layers.properties(width=charts.WIDTH, height=charts.HEIGHT)
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
