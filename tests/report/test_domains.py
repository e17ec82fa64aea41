"""Hosts, domains, top-level domains and countries against a count by hand."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import files
from curate.config import Config
from curate.planning.steps import steps_of
from curate.reasons import SUCCESS
from curate.report import counted, domains, hosts
from curate.report.domains import Largest, Site, Sites
from curate.report.facts import collect
from curate.report.hosts import Tally
from curate.report.write import write_report
from curate.rundir.directory import Run
from curate.schema import DOMAINS, Stage
from curate.summaries import groups
from curate.summaries.counting import Counting, by_host
from curate.summaries.sites import in_the_set
from tests.report.conftest import Fate, config, uid, write_run
from tests.report.test_page import Page


@dataclass(frozen=True)
class Pair:
    """A pair that a host was asked for."""

    host: str
    outcome: str = SUCCESS
    kept: bool = False
    size: int = 10


HOSTS = ["a.example.com", "b.example.com", "x.co.uk", "y.co.uk", "z.де", "1.2.3.4", "single"]
TLD = {name: name.rpartition(".")[2] for name in HOSTS[:5]}
OWNER = {"a.example.com": "example.com", "b.example.com": "example.com"}
PAIRS = st.lists(
    st.builds(
        lambda host, outcome, kept, size: Pair(host, outcome, kept and outcome == SUCCESS, size),
        st.sampled_from(HOSTS),
        st.sampled_from([SUCCESS, "http_404", "opted_out"]),
        st.booleans(),
        st.integers(1, 99),
    ),
    max_size=40,
)


def sites_of(pairs: list[Pair], *, most: int = 1000, size: int = 5) -> Sites:
    """What is said of `pairs`, `size` pairs a part, where at most so many hosts are held."""
    asked, kept = Tally(most=most), Tally(most=most)
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        urls = pa.array([f"http://{x.host}/a.jpg" for x in part])
        sizes = pa.array([x.size if x.outcome == SUCCESS else None for x in part], pa.int64())
        asked.add(by_host(urls, pa.array([x.outcome for x in part]), sizes))
        rows = pa.table([urls, sizes], ["url", "image_bytes"])
        kept.add(in_the_set(rows.filter(pa.array([x.kept for x in part]))))
    found = hosts.summary(asked, asked.table())
    return domains.domains(asked, kept, found, in_the_set=sum(x.kept for x in pairs))


def by_hand(pairs: list[Pair], names: dict[str, str], default: str | None = None) -> list[Site]:
    """The sites of `pairs` as plain Python counts them."""
    found: dict[str, list[int]] = {}
    for x in pairs:
        name = names.get(x.host, x.host if default is None else default)
        row = found.setdefault(name, [0] * 5)
        came = x.outcome == SUCCESS
        more = (1, came, came * x.size, x.kept, x.kept * x.size)
        found[name] = [a + b for a, b in zip(row, more, strict=True)]
    sites = [Site(name, *row) for name, row in found.items()]
    return sorted(sites, key=lambda x: (-(x.kept or 0), -x.asked, x.name))


@given(PAIRS, st.integers(1, 9))
def test_sites_are_those_of_a_plain_count(pairs: list[Pair], size: int) -> None:
    found = sites_of(pairs, size=size)
    assert list(found.facts.hosts) == by_hand(pairs, {})
    assert list(found.facts.domains) == by_hand(pairs, OWNER)
    assert list(found.facts.tlds) == by_hand(pairs, TLD, default="")
    of_uk = [x for x in pairs if x.host.endswith(".uk")]
    british = by_hand(of_uk, dict.fromkeys(HOSTS, "United Kingdom"))
    assert list(found.facts.countries) == british
    assert found.facts.total.asked == len(pairs)
    assert found.facts.total.kept == sum(x.kept for x in pairs)
    assert found.table.schema.equals(DOMAINS)
    of_table = {x["domain"]: (x["kept"], x["kept_bytes"]) for x in found.table.to_pylist()}
    assert of_table == {x.name: (x.kept, x.kept_bytes) for x in by_hand(pairs, OWNER)}
    sizes = found.table["kept_bytes"].to_pylist()
    assert sizes == sorted(sizes, reverse=True)


@given(PAIRS, st.integers(2, 4))
def test_top_level_domains_are_exact_within_a_bound_of_memory(pairs: list[Pair], most: int) -> None:
    found = sites_of(pairs, most=most).facts
    assert list(found.tlds) == by_hand(pairs, TLD, default="")
    held = {x.name: x for x in found.hosts}
    for one in by_hand(pairs, {}):
        assert one.asked - (held[one.name].asked if one.name in held else 0) <= found.missed


def test_the_largest_tenth() -> None:
    """Of 21 hosts three, by pairs; of as many domains, by bytes, which others lead."""
    names = [f"h{i}.example" for i in range(20)]
    pairs = [Pair(name, kept=True) for name in (*names, *9 * names[:3])]
    pairs += [Pair("big.example", kept=True, size=1000)]
    found = sites_of(pairs).facts
    assert found.largest_hosts == Largest(3, 21, 30 / 48, 300 / 1470)
    assert found.largest_domains == Largest(3, 21, 21 / 48, 1200 / 1470)
    assert sites_of([]).facts.largest_hosts is None


def test_a_country_has_its_names_in_all_scripts() -> None:
    pairs = [Pair("a.ru", kept=True), Pair("b.рф"), Pair("c.xn--p1ai"), Pair("d.com")]
    found = sites_of(pairs).facts
    assert [(x.name, x.asked, x.kept) for x in found.countries] == [("Russia", 3, 1)]
    assert Counter(x.name for x in found.tlds) == {"ru": 1, "рф": 1, "com": 1}
    assert all(len(x.split()) and "\t" not in x for x in domains.countries().values())


def test_many_top_level_domains_end_in_one_row() -> None:
    pairs = [Pair(f"a.t{chr(97 + i // 26)}{chr(97 + i % 26)}x") for i in range(100)]
    found = sites_of(pairs).facts
    assert len(found.tlds) == domains.TLDS
    assert (found.tlds[-1].name, found.tlds[-1].asked) == (domains.OTHERS, 100 - domains.TLDS + 1)


@pytest.fixture
def of_hosts(tmp_path: Path) -> tuple[Run, Config]:
    """A run of four hosts, one of which is called so in HTML; a pair has none, and one is not kept."""
    fates = [
        Fate(uid(1), "cat", url="http://www.example.de/a.jpg"),
        Fate(uid(2), "cat", url="http://img.example.de/a.jpg"),
        Fate(uid(3), "cat", url="http://<i>.fr/a.jpg"),
        Fate(uid(4), "cat", url="http://www.example.de/b.jpg", stage=Stage.DOWNLOAD,
             reason="opted_out", value="noai"),
        Fate(uid(5), "cat", url="data:nothing"),
    ]  # fmt: skip
    asked = config(balance=None, dedup={"enabled": False}, score=None, select=[])
    enabled = [Stage.PREPARE, Stage.DOWNLOAD]
    return write_run(str(tmp_path / "run"), [fates[:2], fates[2:]], enabled=enabled), asked


def rows_of(run: Run, asked: Config) -> list[list[str]]:
    return Page(files.read_bytes(write_report(run, asked)).decode()).rows


def test_sites_in_the_report(of_hosts: tuple[Run, Config]) -> None:
    rows = rows_of(*of_hosts)
    assert ["www.example.de", "2", "1", "50.0%", "25.0%", "", "1", "5 kB"] in rows
    assert ["example.de", "3", "2", "66.7%", "50.0%", "", "2", "10 kB"] in rows
    assert ["Germany", "3", "2", "66.7%", "50.0%", "", "2", "10 kB"] in rows
    assert ["<i>.fr", "1", "1", "100%", "25.0%", "", "1", "5 kB"] in rows
    assert ["(no host)", "1", "1", "100%", "25.0%", "", "1", "5 kB"] in rows
    facts = files.read_json(of_hosts[0].path(Stage.REPORT, "report.json"))["domains"]
    assert facts["unit"] == "registrable domain"
    assert [x["name"] for x in facts["countries"]] == ["Germany", "France"]


def test_of_many_parts_that_nobody_counted_the_report_says_so(
    of_hosts: tuple[Run, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a run of an earlier version, whose summaries do not have the set by host."""
    run, asked = of_hosts
    expected = rows_of(run, asked)
    counting = Counting.of(steps_of(asked), Stage.DOWNLOAD)
    groups.refresh(run, replace(counting, is_last=False))
    assert rows_of(run, asked) == expected
    monkeypatch.setattr(counted, "MOST_PARTS", 1)
    rows = rows_of(run, asked)
    assert ["www.example.de", "2", "–", "–", "–", "", "1", "–"] in rows
    facts = collect(run, asked)
    assert facts.domains is not None
    assert (facts.domains.counted, facts.domains.largest_hosts) == (False, None)
    table = files.read_table(run.path(Stage.REPORT, "domains.parquet"))
    assert table["kept"].null_count == len(table)
    text = files.read_bytes(run.path(Stage.REPORT, "training_summary.md")).decode()
    assert "Not known: an earlier version made the run" in text
