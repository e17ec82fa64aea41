"""The flow against the funnel: nothing is lost on the way, and nothing is taken for markup."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from curate.config import Config
from curate.report.facts import Facts, StageFacts, collect
from curate.report.ledger import Reason
from curate.report.sankey import NARROW, REASONS, WIDE, Drawing, sankey
from curate.rundir.directory import Run


@pytest.fixture
def facts(reported_run: Run, full_config: Config) -> Facts:
    return collect(reported_run, full_config)


def told(drawing: ElementTree.Element, kind: str) -> list[list[str]]:
    """What the parts of a kind say where one points at them."""
    marks = [x for x in drawing if "data-tip" in x.attrib]
    ours = [x for x in marks if kind in (y.attrib.get("class") for y in x.iter())]
    return [x.attrib["data-tip"].split("\n") for x in ours]


def ends(path: str) -> float:
    """How thick a ribbon is where it ends."""
    upper, lower = re.findall(r" ([\d.]+)V([\d.]+)C", path)[0]
    return float(lower) - float(upper)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_widths_are_pairs(facts: Facts, size: Drawing) -> None:
    found = ElementTree.fromstring(sankey(facts, size))
    nodes = [float(x.attrib["width"]) for x in found if x.attrib.get("class") == "node"]
    rows = [*(one.rows for one in facts.funnel), facts.kept]
    assert nodes == pytest.approx([size.flow * n / facts.pairs for n in rows], abs=0.06)
    ribbons = [x for x in found.iter() if x.attrib.get("class") in ("dropped", "dead")]
    thick = sum(ends(x.attrib["d"]) for x in ribbons)
    gone = facts.pairs - facts.kept
    assert thick == pytest.approx(size.flow * gone / facts.pairs, abs=0.1 * len(ribbons))
    assert told(found, "dead") == [["prepare: null_url", "1 pairs, 7.1% of the pool",
                                    "The input has no URL in this row."]]  # fmt: skip
    assert told(found, "kept")[0] == ["prepare: 10 kept", "of 14 pairs that came in"]


def test_rare_reasons_are_one(facts: Facts) -> None:
    reasons = tuple(
        Reason("prepare", f"rule:{i}", 10 - i, (10 - i) / 99, "A rule.", ()) for i in range(8)
    )
    many = replace(facts, pairs=99, dropped=reasons, dead=(),
                   funnel=(StageFacts("prepare", 1, 99, 47, 52, 0),))  # fmt: skip
    found = told(ElementTree.fromstring(sankey(many, NARROW)), "dropped")
    assert len(found) == REASONS
    assert found[-1] == ["18 pairs", "rule:4: 6", "rule:5: 5", "rule:6: 4", "rule:7: 3"]


def test_a_reason_is_text(facts: Facts) -> None:
    evil = '</text><script>alert("1")</script>" onload="x\n&' + "y" * 500
    reason = Reason("prepare", f"rule:{evil}", 3, 0.2, evil, ())
    drawn = sankey(replace(facts, dropped=(reason,), dead=()), WIDE)
    assert "<script" not in drawn
    found = ElementTree.fromstring(drawn)
    assert {x.tag for x in found.iter()} == {"svg", "g", "rect", "path", "text", "tspan"}
    assert not any(name.startswith("on") for x in found.iter() for name in x.attrib)
    assert len(drawn) < 20_000


def test_an_empty_pool_has_no_flow(facts: Facts) -> None:
    assert sankey(replace(facts, pairs=0), WIDE) == ""
