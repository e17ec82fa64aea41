"""Two runs compared, as a notebook has it."""

import tempfile
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from curate import files
from curate.comparing.compare import PAGE, PAIRS, Comparison
from curate.comparing.fates import CHANGED
from curate.comparing.figures import figures
from curate.comparing.sets import Shift
from curate.comparing.write import write_comparison
from curate.errors import CurateError
from curate.finished.tables import dataset
from curate.library.plain import Rows
from curate.library.tables import Table

if TYPE_CHECKING:
    from curate.report.charts import Chart, Figure


class Compared:
    """What became of the same pairs in two runs, a and b, and what both sets hold."""

    def __init__(self, a: str, b: str, out: str | None) -> None:
        self._held = None if out else tempfile.TemporaryDirectory(prefix="curate-compare-")
        self.folder = out or str(self._held.name if self._held else "")
        self.comparison: Comparison = write_comparison(a, b, out=self.folder)

    @property
    def page(self) -> str:
        """The URL of the page; without `out` it is there as long as this object is."""
        return files.join(self.folder, PAGE)

    @property
    def funnel(self) -> Rows:
        """The pairs left after each stage of both runs."""
        kept = [
            {"pool": side.pairs, **{row.stage: row.kept for row in side.funnel}}
            for side in (self.comparison.a, self.comparison.b)
        ]
        stages = [*dict.fromkeys(stage for one in kept for stage in one)]
        columns = {name: [one.get(x) for x in stages] for name, one in zip("ab", kept, strict=True)}
        return Rows(pa.table({"kept after": stages, **columns}))

    @property
    def matrix(self) -> Rows:
        """How many pairs came to an end in a and to one in b; those that changed first."""
        cells = sorted(self.comparison.cells, key=lambda x: not x.changed)
        return Rows(
            pa.table(
                {
                    "a": [x.a.label for x in cells],
                    "b": [x.b.label for x in cells],
                    "pairs": [x.pairs for x in cells],
                    "changed": [x.changed for x in cells],
                }
            ),
            shown=["a", "b", "pairs"],
        )

    def shifts(self, of: str) -> Rows:
        """The `languages`, `hosts` or `entries` whose number of kept pairs changed most.

        Raises
        ------
        CurateError
            For anything else.
        """
        kinds = ("languages", "hosts", "entries")
        if of not in kinds:
            raise CurateError(f"shifts {of!r}: there are {', '.join(kinds)}")
        found: tuple[Shift, ...] = getattr(self.comparison.sets, of)
        columns = {
            "name": pa.array([x.name for x in found], pa.string()),
            "a": pa.array([x.a for x in found], pa.int64()),
            "b": pa.array([x.b for x in found], pa.int64()),
            "change": pa.array([x.change for x in found], pa.int64()),
        }
        return Rows(pa.table(columns))

    @property
    def changed(self) -> Table:
        """Every pair whose end is another, with both stages, reasons and values."""
        url = files.join(self.folder, PAIRS)
        return Table(f"{self.folder}: changed", CHANGED, dataset([url], CHANGED), _held=self._held)

    @cached_property
    def _figures(self) -> "dict[str, Figure]":
        return figures(self.comparison)

    @property
    def figures(self) -> list[str]:
        """The names that `figure` takes."""
        return [*self._figures]

    def figure(self, name: str) -> "Chart":
        """A figure of the page: ``funnels``, or a column of both sets over each other."""
        if name not in self._figures:
            raise CurateError(f"figure {name!r}: the comparison has {', '.join(self._figures)}")
        found = self._figures[name]
        return found.chart.properties(title=found.title)

    def __repr__(self) -> str:
        return f"{self._told()}\n{self.matrix}"

    def _repr_html_(self) -> str:
        from curate.library.plain import cell

        return f"<p>{cell(self._told())}</p>{self.matrix._repr_html_()}"

    def _told(self) -> str:
        both, a, b = (
            self.comparison.count(a=x, b=y) for x, y in ((True, True), (True, False), (False, True))
        )
        return f"kept by both {both:,}, by a alone {a:,}, by b alone {b:,}"
