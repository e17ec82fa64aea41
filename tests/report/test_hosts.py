"""Outcomes by host against a count by hand, within bounds of memory too."""

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import files, schema
from curate.config import Config
from curate.ops.urls import host_names
from curate.report.hosts import SHOWN, Host, Tally, summary
from curate.report.write import write_report
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.summaries.counting import by_host
from tests.report.conftest import Fate, config, uid, write_run
from tests.report.test_page import Page

Row = tuple[str, str, int | None]
"""host, outcome, bytes"""

OUTCOMES = ["success", "http_404", "http_410", "dns", "timeout", "not_an_image"]
ROWS = st.lists(
    st.tuples(st.sampled_from([f"h{i}.example" for i in range(9)]), st.sampled_from(OUTCOMES)),
    max_size=60,
).map(lambda pairs: [(h, o, 10 + i if o == "success" else None) for i, (h, o) in enumerate(pairs)])


def counted(rows: list[Row], *, size: int = 7, most: int = 1000) -> Tally:
    """A tally of `rows`, `size` rows a part."""
    tally = Tally(most=most)
    for start in range(0, len(rows), size):
        hosts, outcomes, sizes = zip(*rows[start : start + size], strict=True)
        urls = pa.array([f"http://{host}/{i}.jpg" for i, host in enumerate(hosts)])
        tally.add(by_host(urls, pa.array(outcomes), pa.array(sizes, pa.int64())))
    return tally


def by_hand(rows: list[Row]) -> list[dict[str, Any]]:
    """The table of hosts as plain Python makes it."""
    found = []
    for host in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == host]
        failed = Counter(outcome for _, outcome, _ in mine if outcome != "success")
        rot = failed["http_404"] + failed["http_410"] + failed["dns"]
        found.append({
            "host": host, "pairs": len(mine), "fetched": len(mine) - failed.total(),
            "link_rot": rot / len(mine), "bytes": sum(size or 0 for *_, size in mine),
            "reasons": sorted(failed.items(), key=lambda one: (-one[1], one[0])),
        })  # fmt: skip
    return sorted(found, key=lambda row: (-row["pairs"], row["host"]))


@given(ROWS, st.integers(1, 20))
def test_every_host_is_counted(rows: list[Row], size: int) -> None:
    tally = counted(rows, size=size)
    table = tally.table()
    assert table.schema.equals(schema.HOSTS)
    assert table.to_pylist() == by_hand(rows)
    assert tally.totals == Counter(outcome for _, outcome, _ in rows)
    assert tally.missed == 0


@given(ROWS, st.integers(1, 20), st.integers(2, 6))
def test_within_a_bound_a_count_is_low_by_no_more_than_it_says(
    rows: list[Row], size: int, most: int
) -> None:
    tally = counted(rows, size=size, most=most)
    table = tally.table()
    assert len(table) <= most
    held = {row["host"]: row["pairs"] for row in table.to_pylist()}
    for row in by_hand(rows):
        assert 0 <= row["pairs"] - held.get(row["host"], 0) <= tally.missed
    assert tally.totals == Counter(outcome for _, outcome, _ in rows)


def test_a_large_host_survives_many_small_ones() -> None:
    rows: list[Row] = []
    for n in range(2000):
        rows += [("large.example", "success", 1), (f"small{n}.example", "dns", None)]
    tally = counted(rows, size=100, most=64)
    table = tally.table()
    assert table.slice(0, 1).to_pylist()[0] == {
        "host": "large.example", "pairs": 2000, "fetched": 2000, "link_rot": 0.0, "bytes": 2000,
        "reasons": [],
    }  # fmt: skip
    assert 0 < tally.missed < 200
    facts = summary(tally, table)
    assert (facts.pairs, facts.link_rot) == (4000, 0.5)


@pytest.mark.parametrize(
    "url",
    ["http://x.example/a.jpg", "HTTPS://X.Example:8443/a", "http://me:pw@x.example", "http://a@b@c/",
     "http://[2001:db8::1]:80/a", "http://x.example?q=@y", "http://x.example#f", "http://1.2.3.4/"],
)  # fmt: skip
def test_hosts_are_those_of_the_standard_library(url: str) -> None:
    (found,) = host_names(pa.array([url])).to_pylist()
    assert found.strip("[]") == urlsplit(url).hostname


def test_what_is_no_url_has_no_host() -> None:
    assert host_names(pa.array(["a.jpg", "", None, "http:///a"])).to_pylist() == [None] * 4


def test_hosts_in_the_report(tmp_path: Any) -> None:
    """Twenty-five hosts of which one is half gone and one says no for now; a name to be escaped."""
    fates = [
        *(Fate(uid(i), "cat", url=f"http://h{i}.example/a.jpg") for i in range(1, 24)),
        Fate(uid(30), "cat", url="http://old.example/a.jpg"),
        Fate(uid(31), "cat", url="http://old.example/b.jpg", stage=Stage.DOWNLOAD,
             reason="http_404"),
        Fate(uid(32), "cat", url="http://<i>busy/b.jpg", stage=Stage.DOWNLOAD, reason="timeout"),
    ]  # fmt: skip
    settings: Config = config(balance=None, dedup={"enabled": False}, score=None, select=[])
    run = write_run(
        str(tmp_path / "run"), [fates[:9], fates[9:]], enabled=[Stage.PREPARE, Stage.DOWNLOAD]
    )
    html = files.read_bytes(write_report(run, settings)).decode()
    rows = Page(html).rows
    assert ["old.example", "2", "1", "5 kB", "50.0%", "", "http_4041"] in rows
    assert ["<i>busy", "1", "0", "0 bytes", "0%", "", "timeout1"] in rows
    assert "<i>busy" not in html
    assert "26 pairs were asked of 25 hosts" in html
    assert "It is 3.8% of all." in html
    assert "1 pair failed for a reason that may pass" in html
    assert "all are in hosts.parquet" in html
    facts = files.read_json(run.path(Stage.REPORT, "report.json"))["hosts"]
    assert len(facts["top"]) == SHOWN
    assert Host(**facts["top"][0]) == Host(
        "old.example", pairs=2, fetched=1, link_rot=0.5, bytes=5000, reasons={"http_404": 1}
    )
    table = files.read_table(run.path(Stage.REPORT, "hosts.parquet"))
    assert table.schema.equals(schema.HOSTS)
    assert len(table) == 25


def test_without_a_download_there_are_no_hosts(text_run: Run, text_config: Config) -> None:
    files.write_bytes(text_run.path(Stage.REPORT, "hosts.parquet"), b"of an earlier configuration")
    html = files.read_bytes(write_report(text_run, text_config)).decode()
    assert 'id="hosts"' not in html
    assert not files.exists(text_run.path(Stage.REPORT, "hosts.parquet"))
    assert files.read_json(text_run.path(Stage.REPORT, "report.json"))["hosts"] is None
