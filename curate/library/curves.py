"""What other values of t would keep, as a table and as charts."""

from collections.abc import Iterator
from dataclasses import asdict

import pyarrow as pa

from curate.errors import CurateError
from curate.library.plain import Rows
from curate.ops.selection.sweeping import Curve, Point, Sweep
from curate.report import charts, sweeps

_CHARTS = {"pairs": sweeps.pairs_chart, "concepts": sweeps.concepts_chart}
_SHOWN = ["language", *Point.__dataclass_fields__]


class Curves(Rows):
    """A row a language and t: expected pairs, head and tail, entries covered, effective concepts.

    The row of a language whose t is null is what it is before balancing.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        super().__init__(pa.Table.from_pylist([*_rows(self.curves)]), shown=_SHOWN)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """A curve a language, most matches first; ahead of several that of all together."""
        found = self.sweep.languages
        return found if len(found) == 1 else (self.sweep.total, *found)

    def figure(self, name: str = "pairs", *, language: str | None = None) -> charts.Chart:
        """`pairs` or `concepts`, by t, of a language or of all together."""
        if name not in _CHARTS:
            raise CurateError(f"figure {name!r}: a sweep has {' and '.join(_CHARTS)}")
        of = {one.language: one for one in self.curves}
        if language is not None and language not in of:
            raise CurateError(f"language {language!r}: the sweep has {', '.join(of)}")
        one = self.curves[0] if language is None else of[language]
        return _CHARTS[name](one)


def _rows(curves: tuple[Curve, ...]) -> Iterator[dict[str, object]]:
    for one in curves:
        yield from ({"language": one.language, **asdict(point)} for point in one.points)
        yield {
            "language": one.language, "pairs": float(one.pairs), "matches": float(one.matches),
            "covered": float(one.matched), "concepts": one.concepts,
        }  # fmt: skip
