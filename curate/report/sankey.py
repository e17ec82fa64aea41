"""The funnel as a flow: from the pool through the stages to the set, and out of each stage its reasons.

Drawn by hand as SVG, from top to bottom, so that it can be read on a telephone: widths are pairs, and
what is written beside the flow has the page's size. Colours are those of the page's style sheet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from curate.report.charts import tips
from curate.report.facts import Facts, StageFacts
from curate.report.ledger import Reason

REASONS = 5
"""Outflows of a stage that are drawn; the smaller ones are one."""

LETTERS = 50
"""Of an explanation."""

_HEAD, _ROW, _GAP, _NODE = 26, 19, 14, 5  # heights: of a stage's name, a reason, between, of a bar


@dataclass(frozen=True)
class Outflow:
    """Pairs that leave a stage."""

    name: str
    pairs: int
    kind: str  # dropped or dead
    told: str
    why: str = ""


@dataclass(frozen=True)
class Drawing:
    """The widths of a drawing, in its units."""

    width: int
    flow: int  # of the whole pool
    letters: int  # of a reason's name
    why: int = 0  # where it is explained; 0 where it is not

    @property
    def text(self) -> int:
        """Where what is written begins."""
        return self.flow + 46


WIDE, NARROW = Drawing(1030, 340, 28, 670), Drawing(372, 92, 20)


def sankey(facts: Facts, drawing: Drawing) -> str:
    """The drawing as SVG; nothing for an empty pool."""
    if not facts.pairs:
        return ""
    scale = drawing.flow / facts.pairs
    pieces: list[str] = []
    top = 2.0
    for stage in facts.funnel:
        outflows = _outflows(facts, stage)
        pieces.append(_bar(top, stage.rows * scale))
        pieces.append(_label(drawing, top, stage.stage, f"{stage.rows:,} in"))
        y, right = top + _HEAD, stage.rows * scale
        for one in outflows:
            thick = one.pairs * scale
            middle = y + max(thick, _ROW) / 2
            start = (right - thick, right)
            ribbon = _ribbon(drawing, one, start=start, top=top + _NODE, at=middle)
            told = _reason(drawing, one, middle, share=one.pairs / facts.pairs)
            pieces.append(f'<g data-tip="{_attribute(one.told)}">{ribbon}{told}</g>')
            y, right = y + max(thick + 3, _ROW), right - thick
        bottom = max(y, top + _HEAD) + _GAP
        pieces.append(_trunk(stage, stage.kept * scale, top + _NODE, bottom))
        top = bottom
    pieces.append(_bar(top, facts.kept * scale))
    share = f"{facts.kept:,}, {facts.kept / facts.pairs:.1%} of the pool"
    pieces.append(_label(drawing, top, "in the set", share))
    return (
        '<svg class="sankey" role="img" aria-label="Where the pairs went" data-along="both"'
        f' viewBox="0 0 {drawing.width} {top + _HEAD:.0f}" font-size="13">'
        + "".join(pieces)
        + "</svg>"
    )


def _outflows(facts: Facts, stage: StageFacts) -> list[Outflow]:
    """Why pairs left a stage, most frequent first; what is rare together."""
    kinds: tuple[tuple[str, Sequence[Reason]], ...] = (
        ("dropped", facts.dropped), ("dead", facts.dead),
    )  # fmt: skip
    found = [
        Outflow(
            one.reason, one.pairs, kind,
            tips(f"{stage.stage}: {one.reason}", f"{one.pairs:,} pairs, {one.share:.1%} of the pool",
                 one.explanation),
            _beginning(one.explanation),
        )
        for kind, reasons in kinds
        for one in reasons
        if one.stage == stage.stage
    ]  # fmt: skip
    found.sort(key=lambda one: -one.pairs)
    if len(found) <= REASONS:
        return found
    rare = found[REASONS - 1 :]
    n = sum(one.pairs for one in rare)
    told = tips(f"{n:,} pairs", *(f"{one.name}: {one.pairs:,}" for one in rare[:12]))
    return [*found[: REASONS - 1], Outflow(f"{len(rare)} other reasons", n, "dropped", told)]


def _beginning(explanation: str) -> str:
    """What an explanation says first.

    >>> _beginning("The host answered, but too late; the value is the time. More of it.")
    'The host answered, but too late'
    """
    first = re.split(r"[.;] | \(", explanation, maxsplit=1)[0].rstrip(".( ")
    return first if len(first) <= LETTERS else first[: LETTERS - 1] + "…"


def _bar(top: float, width: float) -> str:
    return f'<rect class="node" y="{top:.1f}" width="{max(width, 1):.1f}" height="{_NODE}"/>'


def _trunk(stage: StageFacts, width: float, top: float, bottom: float) -> str:
    told = tips(f"{stage.stage}: {stage.kept:,} kept", f"of {stage.rows:,} pairs that came in")
    return (
        f'<rect class="kept" y="{top:.1f}" width="{max(width, 1 if stage.kept else 0):.1f}"'
        f' height="{bottom - top:.1f}" data-tip="{_attribute(told)}"/>'
    )


def _ribbon(
    drawing: Drawing, one: Outflow, *, start: tuple[float, float], top: float, at: float
) -> str:
    """What leaves from the right edge of the flow, bent to where its reason is written."""
    thick = max(start[1] - start[0], 1)
    left, right = start[0], start[0] + thick
    upper, lower, end = at - thick / 2, at + thick / 2, drawing.text - 8
    path = (
        f"M{right:.1f} {top:.1f}C{right:.1f} {top + 0.7 * (upper - top):.1f}"
        f" {right + 0.3 * (end - right):.1f} {upper:.1f} {end} {upper:.1f}V{lower:.1f}"
        f"C{left + 0.3 * (end - left):.1f} {lower:.1f} {left:.1f} {top + 0.7 * (lower - top):.1f}"
        f" {left:.1f} {top:.1f}Z"
    )
    return f'<path class="{one.kind}" d="{path}"/>'


def _attribute(lines: str) -> str:
    return escape(lines).replace("\n", Markup("&#10;"))


def _label(drawing: Drawing, top: float, name: str, told: str) -> str:
    return (
        f'<text x="{drawing.text - 8}" y="{top + 12:.1f}"><tspan class="name">{escape(name)}</tspan>'
        f'<tspan class="soft" dx="7">{escape(told)}</tspan></text>'
    )


def _reason(drawing: Drawing, one: Outflow, at: float, *, share: float) -> str:
    name = one.name if len(one.name) <= drawing.letters else one.name[: drawing.letters - 1] + "…"
    told = f"{one.pairs:,} · {share:.1%}" if share >= 0.0005 else f"{one.pairs:,}"
    why = ""
    if drawing.why and one.why:
        why = f'<text class="soft" x="{drawing.why}" y="{at + 4:.1f}">{escape(one.why)}</text>'
    return (
        f'<text x="{drawing.text}" y="{at + 4:.1f}">{escape(name)}'
        f'<tspan class="soft" dx="7">{told}</tspan></text>'
    ) + why


def drawings(facts: Facts) -> dict[str, Markup]:
    """The drawing for a desk and for a telephone."""
    return {
        "wide": Markup(sankey(facts, WIDE)), "narrow": Markup(sankey(facts, NARROW)),
    }  # fmt: skip
