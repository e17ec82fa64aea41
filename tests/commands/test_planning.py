"""`curate plan`: the text alone, what it leaves to a run, and what it does not touch."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import cli, files
from curate.commands.planning import text_alone
from curate.config.file import load
from curate.errors import CurateError
from curate.ops.selection.balancing import entry_probs
from curate.planning.plan import make_plan
from curate.planning.resume import settle
from curate.schema import Stage

CAPTIONS = ["a red fox", "a fox", "the red house", "a quiet street", "", "fox and house"]
CONFIG = """\
input: {paths: pool.parquet, columns: {keep: [rank]}}
prepare: {metadata: {en: entries.txt}}
score: {model: ViT-B-32, pretrained: laion2b_s34b_b79k}
select:
  - {column: rank, max: 17}
  - {column: caption_chars, min: 6}
  - {column: smaller_side, min: 200}
  - {column: original_width, name: half, top_fraction: 0.5}
balance: {t: 2}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan")
    pool = {"url": [f"http://a.example/{i}" for i in range(24)], "caption": CAPTIONS * 4,
            "rank": list(range(24))}  # fmt: skip
    pq.write_table(pa.table(pool), path / "pool.parquet")
    (path / "entries.txt").write_text("red\nfox\nhouse\n")
    (path / "c.yaml").write_text(CONFIG)
    return path


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_a_plan_counts_what_a_run_would_fetch_and_keep_and_prepares_it(folder: Path) -> None:
    done = CliRunner().invoke(cli.app, ["plan", "c.yaml", "--out", "out"])
    assert done.exit_code == 0, done.output
    # "a red fox", "the red house" and "fox and house", of the first 18 rows
    assert "9 of 24 pairs would be fetched; not judged here: links that are dead," in done.output
    assert "rule smaller_side, rule half" in done.output
    assert "rule caption_chars" not in done.output
    # Each entry has 6 of these pairs' 18 matches, so each pair is kept with 1 - (2/3)**2.
    (share,) = {float(x) for x in entry_probs([6], t=2)}
    (row,) = [x.split() for x in done.output.splitlines() if x.strip().startswith("2 ")]
    assert float(row[2]) == pytest.approx(9 * (1 - (1 - share) ** 2), abs=0.06)
    assert done.output.splitlines()[-1] == "To go on, with the images: curate run c.yaml --out out"
    run = make_plan(load("c.yaml", out="out"))
    assert settle(run).valid["prepare"] == 1  # the run takes it over


def test_a_run_with_images_is_left_alone(folder: Path) -> None:
    out = folder / "whole"
    out.mkdir()
    (out / "config.yaml").write_text(CONFIG)
    (out / "run.json").write_text("{}")
    before = {path: path.read_bytes() for path in out.iterdir()}
    done = CliRunner().invoke(cli.app, ["plan", "c.yaml", "--out", str(out)])
    assert done.exit_code == 1
    assert {path: path.read_bytes() for path in out.iterdir() if path.name[0] != "."} == before


def test_what_needs_images_is_left_out_and_named(folder: Path) -> None:
    config = load("c.yaml", overrides=("input.columns.keep={rank: int64}", "dedup.policy=[url, image]",
                                       "decontaminate={against: [e.parquet]}"))  # fmt: skip
    wanted, left_out = text_alone(config)
    assert [rule.label for rule in wanted.select] == ["rank", "caption_chars"]
    assert (wanted.score, wanted.decontaminate, wanted.download.enabled) == (None, None, False)
    assert wanted.dedup == config.dedup
    assert left_out == (
        "links that are dead", "duplicate images", "rule smaller_side", "rule half",
        "decontaminate",
    )  # fmt: skip
    assert text_alone(wanted) == (wanted, ())


def test_duplicates_are_preferred_by_what_the_text_alone_tells(folder: Path) -> None:
    config = load("c.yaml", overrides=("input.columns.keep={rank: int64}", "select=[]",
                  "dedup={policy: strict, prefer: [-rank, smaller_side, caption_words]}"),
                  out="preferred")  # fmt: skip
    wanted, left_out = text_alone(config)
    assert wanted.dedup.prefer == ("-rank", "caption_words")
    assert left_out == ("links that are dead", "duplicate images", "dedup.prefer smaller_side")
    assert make_plan(wanted).steps.columns(Stage.DEDUP)
    with pytest.raises(CurateError, match=r"dedup\.prefer: no column 'ranc'.*'rank'"):
        text_alone(load("c.yaml", overrides=("dedup={policy: strict, prefer: [ranc]}",
                        "input.columns.keep={rank: int64}")))  # fmt: skip


def test_the_configuration_to_start_from_can_be_run(folder: Path) -> None:
    printed = CliRunner().invoke(cli.app, ["config"])
    (folder / "start.yaml").write_text(printed.output)
    assert printed.output == files.shipped("pipelines/start.yaml").read_text()
    config = load("start.yaml", overrides=("input.paths=pool.parquet",), out="started")
    assert sum(part.rows for part in make_plan(text_alone(config)[0]).parts) == 24
    demo = CliRunner().invoke(cli.app, ["config", "--recipe", "demo"])
    assert demo.output == files.shipped("pipelines/demo.yaml").read_text()
