"""What all figures share: size, colours, fonts, and drawing without a server or a network.

Text and grid lines have two fixed colours (`INK`, `GRID`) that the page's style sheet replaces in
dark mode; everything else is readable on both backgrounds.

What a figure says where one points at it stands in the drawing: marks that nobody sees, each with lines
of text (`tips`), which the page's script shows.
"""

import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

Along: TypeAlias = Literal["x", "y", "both"]
Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart

INK, GRID = "#475569", "#e2e8f0"
KEPT, DROPPED, DEAD, BEFORE, MARK = "#3b82f6", "#f0a43c", "#dc4b4b", "#a9b6c8", "#e11d48"

WIDTH, HEIGHT = 430, 230
_FONTS = "system-ui, -apple-system, Segoe UI, sans-serif"
_SCALE = 2.0  # pixels of a PNG per unit
_TOLD = re.compile(r'aria-label=("[^"]*") role="graphics-symbol"')
_IDLE = re.compile(
    r" (?:role|aria-roledescription|aria-hidden|pointer-events|font-family|font-weight|class|version"
    r'|xmlns:xlink)="[^"]*"| (?:opacity|stroke-width)="1"'
)
_PLACES = re.compile(r' (?:d|transform|x2|y2)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")
_EMPTY = re.compile(r'<path d="M0,0h[\d.]+v[\d.]+h-?[\d.]+Z"/>|<path d="" display="none"/>')
_OPENED = re.compile(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"[^>]*>')


@dataclass(frozen=True)
class Figure:
    """A chart as the page, the report folder and a notebook need it, drawn when it is asked for."""

    name: str  # of the PNG, without ending
    title: str
    note: str  # how to read it
    chart: Chart  # without the look that all figures share, so that it can be part of others
    log_chart: Chart | None = None  # with counts on a logarithmic axis, where that shows more
    along: Along = "x"  # one points at columns of it, at rows, or at its marks themselves

    @cached_property
    def _drawn(self) -> str:
        return _draw(self.chart)

    @property
    def svg(self) -> str:
        """As SVG, to be part of a page."""
        return _inline(self._drawn, name=self.name)

    @cached_property
    def log(self) -> str:
        """The other chart as SVG; empty where there is none."""
        if self.log_chart is None:
            return ""
        return _inline(_draw(self.log_chart), name=f"{self.name}-log")

    @property
    def png(self) -> bytes:
        """As PNG, on white."""
        return vl_convert.svg_to_png(_on_white(self._drawn), scale=_SCALE)


def can_draw() -> bool:
    """Whether the engine that draws finds the addresses that it reserves, else it ends its process.

    So where they are limited it is tried in another one.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return True
    code = "import vl_convert; vl_convert.vegalite_to_svg({'mark': 'bar', 'data': {'values': []}})"
    return (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


def _styled(chart: Chart) -> Chart:
    """`chart` with the look that all figures share."""
    styled: Chart = (
        chart.configure(background="transparent", font=_FONTS, aria=False, padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, gridColor=GRID, domainColor=GRID, tickColor=GRID,
            labelFontSize=11, titleFontSize=11, titleFontWeight="normal", titlePadding=8,
        )
        .configure_legend(
            labelColor=INK, labelFontSize=11, orient="top", title=None, offset=6, padding=0,
            columnPadding=28,
        )
    )  # fmt: skip
    return styled


def _draw(chart: Chart) -> str:
    with debug_mode(False):
        spec = _styled(chart).to_dict(validate=False)
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    return svg


def _on_white(svg: str) -> str:
    """`svg` as it is drawn with a white background."""
    return _OPENED.sub(r'\g<0><rect width="\1" height="\2" fill="#ffffff"/>', svg, count=1)


def _inline(svg: str, *, name: str) -> str:
    """`svg` as it stands in the page: with ids of its own, and without what says nothing there."""
    svg = re.sub(r'(id="|url\(#|href="#)(?=[a-z])', rf"\g<1>{name}-", svg)
    svg = _TOLD.sub(r"data-tip=\1", svg)
    svg = _PLACES.sub(lambda found: _DIGITS.sub(r"\1", found[0]), _IDLE.sub("", svg))
    return _EMPTY.sub("", svg).replace("<svg", f'<svg font-family="{_FONTS}"', 1)


def short_axis(*, values: list[int] | None = None) -> alt.Axis:
    """An axis whose labels read 0, 500, 1k, 20k, 3M."""
    label = "format(datum.value, abs(datum.value) < 1000 ? '~r' : '~s')"
    ticks = alt.Undefined if values is None else values
    return alt.Axis(labelExpr=label, tickCount=5, values=ticks)


TIP, TOOLTIP = alt.Description("tip:N"), alt.Tooltip("tip:N")
"""Of marks that are made by `unseen`: for the page, and for notebooks."""
TOP, BOTTOM = alt.YValue(0), alt.Y2Value(HEIGHT)  # type: ignore[no-untyped-call]
LEFT, RIGHT = alt.XValue(0), alt.X2Value(2 * WIDTH)  # type: ignore[no-untyped-call]
"""The ends of a figure of one column, and of a wide one."""


def unseen(mark: Literal["bar", "rect", "rule"]) -> alt.MarkDef:
    """A mark that is seen where one points at it alone."""
    return alt.MarkDef(mark, opacity=0, aria=True)


def tips(*lines: str) -> str:
    """What is said of a mark, a line of text each."""
    return "\n".join(lines)


def columns(x: Sequence[float], told: Sequence[str], *, most: int = 60) -> alt.Chart:
    """Lines across the height at up to `most` of the places `x`, with what is `told` of each."""
    step = max(1, -(-len(x) // most))
    source = rows(x=x[::step], tip=told[::step])
    return alt.Chart(source, mark=unseen("rule")).encode(
        x=alt.X("x:Q"), y=TOP, y2=BOTTOM, description=TIP, tooltip=TOOLTIP
    )


def rows(**columns: Sequence[object]) -> alt.InlineData:
    """Columns of equal length as the source of a chart."""
    names = list(columns)
    values = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=values)


def legend(*names_and_colours: str) -> alt.Scale:
    """A scale of colours from names and colours in turn."""
    names, colours = names_and_colours[::2], names_and_colours[1::2]
    return alt.Scale(domain=list(names), range=list(colours))
