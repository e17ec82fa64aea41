"""The page of a comparison: one HTML file that asks nothing of the network."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from curate.comparing.compare import Comparison
from curate.comparing.fates import KEPT, Fate
from curate.comparing.figures import A, B
from curate.report.charts import GRID, INK, Figure
from curate.report.page import template
from curate.report.wording import UNDRAWN
from curate.summaries.tallies import Key

_TEMPLATE = Path(__file__).with_name("page.html.jinja")


def render(
    comparison: Comparison, *, figures: Mapping[str, Figure], thumbnails: Mapping[Key, str]
) -> str:
    """The page as HTML; `thumbnails` are data: URIs by `Example.key`."""
    rows, columns = Counter[Fate](), Counter[Fate]()
    for cell in comparison.cells:
        rows[cell.a] += cell.pairs
        columns[cell.b] += cell.pairs
    cells = {(x.a, x.b): x.pairs for x in comparison.cells}
    # Ends to which the same pairs came in both are put together: they say nothing of a change.
    same = {
        x: n for x, n in rows.items() if n == columns[x] == cells.get((x, x)) and x.verdict != KEPT
    }
    most = max((x.pairs for x in comparison.cells if x.changed), default=1)
    funnels = [{row.stage: row for row in side.funnel} for side in (comparison.a, comparison.b)]
    stages = dict.fromkeys(stage for funnel in funnels for stage in funnel)
    return template(_TEMPLATE).render(
        comparison=comparison,
        verdict=verdict(comparison),
        names=(comparison.a.root, comparison.b.root),
        alarms=[*alarms(comparison), *([] if figures else [UNDRAWN])],
        both=comparison.count(a=True, b=True),
        only_a=comparison.count(a=True, b=False),
        only_b=comparison.count(a=False, b=True),
        neither=comparison.count(a=False, b=False),
        funnel=[(stage, *(one.get(stage) for one in funnels)) for stage in stages],
        rows=[x for x in comparison.rows() if x not in same],
        columns=[x for x in comparison.columns() if x not in same],
        same={x: same[x] for x in comparison.rows() if x in same},
        cells=cells,
        row_sums=rows,
        column_sums=columns,
        total=sum(rows.values()),
        shade=lambda n: round(14 + 56 * math.log1p(n) / math.log1p(most)),
        figures=figures,
        thumbnails=thumbnails,
        colours=(A, B),
        ink=INK,
        grid=GRID,
    )


def verdict(comparison: Comparison) -> str:
    """The comparison in a sentence."""
    a, b = comparison.a.kept, comparison.b.kept
    if not comparison.changed:
        return f"Both runs keep the same {a:,} pairs."
    both = comparison.count(a=True, b=True)
    return f"A keeps {a:,} pairs, B {b:,}; {both:,} are in both."


def alarms(comparison: Comparison) -> list[str]:
    """What has to be known of the comparison first."""
    found = [
        f"{name} is not complete (its state is {side.state}): pairs that it has not decided are"
        " pending."
        for name, side in (("A", comparison.a), ("B", comparison.b))
        if side.state != "complete"
    ]
    if not comparison.shared and comparison.a.pairs and comparison.b.pairs:
        found.append("No pair is in both pools: nothing can be said of the same pairs.")
    return found
