"""What all figures share: size, colours, fonts, and drawing without a server or a network.

Text and grid lines have two fixed colours (`INK`, `GRID`) that the page's style sheet replaces in
dark mode; everything else is readable on both backgrounds.
"""

import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart

INK, GRID = "#475569", "#e2e8f0"
KEPT, DROPPED, DEAD, BEFORE, MARK = "#3b82f6", "#f0a43c", "#dc4b4b", "#a9b6c8", "#e11d48"

WIDTH, HEIGHT = 430, 230
_SCALE = 2.0  # pixels of a PNG per unit
_OPENED = re.compile(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"[^>]*>')


@dataclass(frozen=True)
class Figure:
    """A chart as the page, the report folder and a notebook need it, drawn when it is asked for."""

    name: str  # of the PNG, without ending
    title: str
    note: str  # how to read it
    chart: Chart  # without the look that all figures share, so that it can be part of others

    @cached_property
    def _drawn(self) -> str:
        with debug_mode(False):
            spec = _styled(self.chart).to_dict(validate=False)
        version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
        return vl_convert.vegalite_to_svg(spec, vl_version=version)

    @property
    def svg(self) -> str:
        """As SVG, to be part of a page."""
        return _inline(self._drawn, name=self.name)

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
    fonts = "system-ui, -apple-system, Segoe UI, sans-serif"
    styled: Chart = (
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
    )  # fmt: skip
    return styled


def _on_white(svg: str) -> str:
    """`svg` as it is drawn with a white background."""
    return _OPENED.sub(r'\g<0><rect width="\1" height="\2" fill="#ffffff"/>', svg, count=1)


def _inline(svg: str, *, name: str) -> str:
    """`svg` with ids of its own, so that many can be in one page."""
    return re.sub(r'(id="|url\(#|href="#)(?=[a-z])', rf"\g<1>{name}-", svg)


def short_axis(*, values: list[int] | None = None) -> alt.Axis:
    """An axis whose labels read 0, 500, 1k, 20k, 3M."""
    label = "format(datum.value, abs(datum.value) < 1000 ? '~r' : '~s')"
    ticks = alt.Undefined if values is None else values
    return alt.Axis(labelExpr=label, tickCount=5, values=ticks)


def rows(**columns: Sequence[object]) -> alt.InlineData:
    """Columns of equal length as the source of a chart."""
    names = list(columns)
    values = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=values)


def legend(*names_and_colours: str) -> alt.Scale:
    """A scale of colours from names and colours in turn."""
    names, colours = names_and_colours[::2], names_and_colours[1::2]
    return alt.Scale(domain=list(names), range=list(colours))
