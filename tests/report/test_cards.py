"""The data card line by line, and croissant.json read back with mlcroissant."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import mlcroissant
import numpy as np
import pytest
from etils import epath  # type: ignore[import-untyped]
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mlcroissant._src.operation_graph.operations import extract

from curate import files
from curate.config import Config
from curate.report.cards import _table, code, datacard, plain
from curate.report.croissant import croissant
from curate.report.facts import collect
from curate.report.write import write_report
from curate.rundir.directory import Run
from curate.schema import Stage
from tests.report.conftest import uid


def card(run: Run, config: Config) -> list[str]:
    """The lines after the front matter."""
    text = datacard(collect(run, config), config=config, name="set")
    return text.partition("\n---\n\n")[2].splitlines()


def test_datacard(full_run: Run, full_config: Config) -> None:
    lines = card(full_run, full_config)
    assert lines[:3] == ["# set", "", "14 pairs in, 4 kept in 1 shard."]
    assert [line for line in lines if line.startswith("## ")] == [
        "## How it was made", "## Why pairs were dropped", "## Balance", "## Languages", "## Files",
        "## Limits", "## Making it again",
    ]  # fmt: skip
    assert "| stage | what it does | in | kept | dropped | dead |" in lines
    assert "|---|---|--:|--:|--:|--:|" in lines
    assert "| dedup | keep one pair of each cluster of duplicates | 8 | 6 | 2 | 0 |" in lines
    assert "| en | 2 | 33.3% | 6 | 5 | 1 | 2 | 1 |" in lines
    assert "| en | 3 | 75.0% |" in lines
    assert "| `small` | smaller_side is at least 100 | 9 | 1 | 1 | 1 |" in lines
    assert "- Seed: 7" in lines
    assert "- Digest of the configuration: `c0ffee`" in lines


@given(text=st.text("ab\\`*_[]()<>&;#$~|!:/.-1 \n") | st.text(max_size=20))
@example("</td><script>alert(1)</script>")
@example("![x](http://x.example/y)")
def test_no_text_of_a_user_is_taken_for_markdown(text: str) -> None:
    """Read back by a Markdown parser: a cell of code and one of text, each whole."""
    text = " ".join(text.split())
    assume(text.isprintable())
    # A code span cannot hold a backslash before a bar: what a table takes off belongs to the bar.
    assume("\\|" not in text)
    lines = _table(("code", "text"), [(code(f"x{text}"), plain(f"x{text}"))])
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    cells = [one for one in markdown.parse("\n".join(lines)) if one.type == "inline"]
    assert [one.content for one in cells[:2]] == ["code", "text"]
    assert len(cells) == 4
    shown = [[(x.type, x.content) for x in one.children or ()] for one in cells[2:]]
    assert shown == [[("code_inline", f"x{text}")], [("text", f"x{text}")]]


def test_a_rule_of_any_name_has_its_row(full_run: Run, full_config: Config) -> None:
    facts = collect(full_run, full_config)
    small = next(rule for rule in facts.rules if rule.rule == "small")
    named = replace(facts, rules=(replace(small, rule="<b>|`x`", asks="caption is one of *|"),))
    lines = datacard(named, config=full_config, name="[set]")
    assert "\n---\n\n# \\[set\\]\n" in lines
    assert "\n| `` <b>\\|`x` `` | caption is one of \\*\\| | 9 | 1 | 1 | 1 |\n" in lines


def test_datacard_names_the_columns_of_the_shards(full_run: Run, full_config: Config) -> None:
    lines = card(full_run, full_config)
    url = full_run.path(Stage.SHARDS, "00000.tar")
    with files.open_read(url) as raw, tarfile.open(fileobj=raw) as tar:
        file = tar.extractfile("000000000.json")
        assert file is not None
        sample = json.load(file)
    named = {
        line.split("`")[1] for line in lines if line.startswith("- `") and "has to" not in line
    }
    assert named == set(sample) - {
        "tar_offset",
        "tar_size",
        "stored_sha256",
        "look",
        "matches",
    }
    assert any(line.startswith("The parquet file has `matches` as well") for line in lines)


def test_datacard_without_download(text_run: Run, text_config: Config) -> None:
    lines = card(text_run, text_config)
    assert lines[2] == "11 pairs in, 4 kept."
    assert "## Files" not in lines


def test_no_croissant_without_shards(text_run: Run, text_config: Config) -> None:
    facts = collect(text_run, text_config)
    assert croissant(facts, config=text_config, name="set") is None
    write_report(text_run, text_config)
    assert "croissant.json" not in files.names(text_run.path(Stage.REPORT))


def test_croissant_is_read_by_mlcroissant(
    reported_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "extracted"))
    dataset = mlcroissant.Dataset(reported_run.path(Stage.REPORT, "croissant.json"))
    assert dataset.metadata.name == "full"
    assert dataset.metadata.ctx.issues.errors == set()
    records = {record["pairs/key"]: record for record in dataset.records("pairs")}
    assert {key: record["pairs/caption"].decode() for key, record in records.items()} == {
        b"000000000": "a cat on a mat",
        b"000000001": "a cat | a dog",
        b"000000002": "<script>alert(1)</script> cat",
        b"000000003": "ein Hund",
    }
    last = records[b"000000003"]
    colour = np.asarray(last["pairs/image"]).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(colour, [0, 0, 144], atol=6)  # RGB of uid 9
    assert (last["pairs/uid"], last["pairs/url"]) == (uid(9).encode(), b"https://example.org/x")
    assert (last["pairs/matches"], last["pairs/phash"]) == ([0], None)
    assert (last["pairs/smaller_side"], last["pairs/language"]) == (200, b"de")


def test_croissant_names_every_shard(full_run: Run, full_config: Config) -> None:
    facts = collect(full_run, full_config)
    document = json.loads(croissant(facts, config=full_config, name="set") or "")
    tars = [one for one in document["distribution"] if one["@type"] == "cr:FileObject"]
    digest = files.content_digest(full_run.path(Stage.SHARDS, "00000.tar"))
    assert [(t["contentUrl"], t["sha256"]) for t in tars[:-1]] == [("../shards/00000.tar", digest)]
    assert tars[-1]["contentUrl"] == "../shards"
