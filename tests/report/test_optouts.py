"""Opt-outs by what asked for them."""

from pathlib import Path

import pyarrow as pa

from curate import schema
from curate.config import Download
from curate.report.optouts import UNTOLD, Held, Signal, opt_outs
from curate.report.write import write_report
from curate.schema import Stage
from curate.summaries.tallies import Tallies, What
from tests.report.conftest import Fate, config, uid, write_run
from tests.report.test_page import Page

NO_HOSTS = schema.HOSTS.empty_table()


def test_signals_are_told_apart(tmp_path: Path) -> None:
    """By the ledger's values; entries of a list are one signal, and what is heeded is there at 0."""
    values = ["noai", "robots.txt", "list: a.example", "list: https://b.example/x", "tdm-reservation",
              "noai", "unheard"]  # fmt: skip
    fates = [
        Fate(uid(i), "cat", url=f"http://h{i % 2}.example/{i}.jpg", stage=Stage.DOWNLOAD,
             reason="opted_out", value=value)
        for i, value in enumerate(values, 1)
    ]  # fmt: skip
    fates += [
        Fate(uid(20), "cat", stage=Stage.DOWNLOAD, reason="timeout", value="robots.txt: 30 s"),
        Fate(uid(21), "cat"),
    ]
    download = {"opt_out": ["noai", "TDM-Reservation", "noindex"], "opt_out_list": "list.txt"}
    asked = config(balance=None, dedup={"enabled": False}, score=None, select=[], download=download)
    enabled = [Stage.PREPARE, Stage.DOWNLOAD]
    run = write_run(str(tmp_path / "run"), [fates[:4], fates[4:]], enabled=enabled)
    url = write_report(run, asked)
    page = Path(url).read_text()
    rows = Page(page).rows
    at = next(i for i, row in enumerate(rows) if row[0] == "signal")
    assert [(x[0], x[2], x[1]) for x in rows[at + 1 : at + 7]] == [
        ("X-Robots-Tag: noai", "yes", "2"), ("list", "yes", "2"),
        ("X-Robots-Tag: unheard", "–", "1"), ("robots.txt", "yes", "1"),
        ("tdm-reservation", "yes", "1"), ("X-Robots-Tag: noindex", "yes", "0"),
    ]  # fmt: skip
    assert "7 of 9 pairs were held back" in page
    assert ["h1.example", "4"] in rows
    text = Path(run.path(Stage.REPORT, "training_summary.md")).read_text()
    assert "| `list` | yes | 2 |" in text
    assert "7 pairs were held back for a reservation." in text


def test_what_an_earlier_version_counted_is_not_told_apart() -> None:
    tallies = Tallies()
    tallies.count_texts(What.OPT_OUT, {"noai": 2})
    reasons = pa.array([[("opted_out", 5)], [("dns", 1)]], schema.HOSTS.field("reasons").type)
    columns = [["b", "a"], [5, 1], [0, 0], [0.0, 1.0], [0, 0], reasons]
    hosts = pa.table(columns, schema=schema.HOSTS)
    download = Download(opt_out=("noai",), robots=False)
    found = opt_outs(tallies, hosts, pairs=5, asked=download)
    assert found.signals == (Signal(UNTOLD, 3, False), Signal("X-Robots-Tag: noai", 2, True))
    assert found.hosts == (Held("b", 5),)


def test_where_nothing_is_heeded_nothing_is_listed() -> None:
    asked = Download(opt_out=(), robots=False)
    found = opt_outs(Tallies(), NO_HOSTS, pairs=0, asked=asked)
    assert (found.signals, found.hosts) == ((), ())
