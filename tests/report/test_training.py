"""The figures for a public summary: the template's headings, the run's numbers, what is not known."""

import re
from dataclasses import replace

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from curate import files
from curate.config import Config
from curate.planning.steps import steps_of
from curate.report.counted import counted
from curate.report.domains import Largest
from curate.report.facts import collect
from curate.report.training import LISTED, training_summary
from curate.report.write import write_report
from curate.rundir.directory import Run
from curate.schema import DOMAINS, Stage


def text_of(run: Run) -> str:
    return files.read_bytes(run.path(Stage.REPORT, "training_summary.md")).decode()


def test_headings_and_figures(reported_run: Run) -> None:
    text = text_of(reported_run)
    titles = re.findall(r"^#{2,3} .+", text, re.MULTILINE)
    numbers = re.findall(r"\b\d(?:\.\d)?", " ".join(titles))
    assert numbers == ["1", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3",
                       "3.1", "3.2", "3.3"]  # fmt: skip
    assert "They are no summary themselves" in text
    assert "- Images: 4 (less than 1 million);" in text
    assert "- Text: 14 words, 64 characters of captions (less than 1 billion tokens)" in text
    assert "| en | 3 | 75.0% |" in text
    assert "| `pool.parquet` | 14 | `dddddddddddddddd` |" in text
    assert "of all hosts by pairs, 1 of 1:" in text
    assert "signals heeded: `X-Robots-Tag: noai`" in text
    assert text.count("not known") >= 4


def test_without_a_download_nothing_was_crawled(text_run: Run, text_config: Config) -> None:
    write_report(text_run, text_config)
    text = text_of(text_run)
    assert "- Modalities: text, as pairs" in text
    assert "Nothing was fetched: the run works on text alone." in text
    assert "domain names" not in text
    assert "domains.parquet" not in files.names(text_run.path(Stage.REPORT))


@pytest.mark.parametrize("name", ["a|b`c.example", "<script>alert(1)</script>", "x" * 253])
def test_a_host_is_text(reported_run: Run, full_config: Config, name: str) -> None:
    facts = collect(reported_run, full_config)
    rows = pa.table([[name], [1], [1], [1], [5000], [1], [5000]], schema=DOMAINS)
    text = training_summary(facts, config=full_config, name="<b>*s*", domains=rows)
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = markdown.parse(text)
    inner = [x for token in tokens for x in (token.children or ())]
    assert not any(x.type in ("html_inline", "em", "link_open") for x in inner)
    assert not any(x.type == "html_block" for x in tokens)
    assert name in [x.content for x in inner if x.type == "code_inline"]


def test_of_many_domains_as_many_are_listed_as_small_providers_are_asked_for(
    reported_run: Run, full_config: Config
) -> None:
    facts = collect(reported_run, full_config)
    assert facts.domains is not None
    n = 12 * LISTED
    many = replace(facts.domains, largest_domains=Largest(n // 10, n, 0.5, 0.5), missed=7)
    names = [f"d{i}.example" for i in range(n)]
    rows = pa.table([names, *([1] * n for _ in range(6))], schema=DOMAINS)
    text = training_summary(
        replace(facts, domains=many), config=full_config, name="s", domains=rows
    )
    assert text.count(".example` |") == LISTED
    assert "The others of the 1,200, in the same order, are in domains.parquet." in text
    assert "up to 7 pairs low" in text


def test_a_repeat_writes_the_same(reported_run: Run, full_config: Config) -> None:
    found = counted(reported_run, steps_of(full_config))
    facts = collect(reported_run, full_config, found=found)
    assert found.sites is not None
    again = training_summary(facts, config=full_config, name="full", domains=found.sites.table)
    assert again == text_of(reported_run)
