"""`curate plan --like RUN`: what a larger run will be, by what a finished one measured."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from curate.files import shipped
from curate.finished.measured import Sample
from curate.finished.predict import Asked, predict
from curate.rundir.directory import Run
from tests.users.runs import document, refused, small_run, well

ROW = re.compile(r"  +")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nine parts without a model."""
    options = ("part_rows=10", "balance.t=3", "input.columns.keep=[caption]")
    folder = tmp_path_factory.mktemp("like")
    return small_run(folder, *(word for one in options for word in ("--set", one)))


def predicted(run: Path, *options: str, config: Path | None = None) -> dict[str, list[str]]:
    """The rows of the table that is printed, by stage."""
    said = well("plan", str(config or run / "config.yaml"), "--like", str(run), *options)
    lines = [ROW.split(line.strip()) for line in said.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def changed(run: Path, folder: Path, **values: Any) -> Path:
    """A copy of a run whose run.json has other values."""
    copy = folder / "copy"
    shutil.copytree(run, copy)
    state = {k: v for k, v in document(run / "run.json").items() if k != "check"}
    (copy / "run.json").write_text(json.dumps({**state, **values}))
    return copy


def test_of_its_own_pool_it_predicts_the_run_itself(run: Path) -> None:
    found = predicted(run)
    counts = document(run / "run.json")["stages"]
    for stage in ("prepare", "download", "dedup"):
        assert found[stage][:2] == [f"{counts[stage]['rows']:,}", f"{counts[stage]['kept']:,}"]
    kept = int(found["balance"][1])
    assert kept == pytest.approx(counts["balance"]["kept"], abs=4)  # what is expected of sampling
    assert found["shards"][:2] == [str(kept)] * 2
    sample = Sample.of(Run.at(str(run)))
    again = predict(sample, Asked(sample.rows, 10, 10, workers=1))
    took = document(run / "run.json")["took"]
    assert again.whole.wall == pytest.approx(took["ended"] - took["began"], rel=0.1)
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert again.whole.bytes == pytest.approx(size, rel=0.01)


def test_a_larger_pool_has_more_of_what_grows_and_no_more_of_what_does_not(run: Path) -> None:
    sample = Sample.of(Run.at(str(run)))
    once, tenfold = (predict(sample, Asked(n * sample.rows, 10, 10, workers=1)) for n in (1, 10))
    rows = {one.name: (one, ten) for one, ten in zip(once.rows, tenfold.rows, strict=True)}
    for stage in ("prepare", "download", "dedup"):
        one, ten = rows[stage]
        assert (ten.rows, ten.kept) == (10 * (one.rows or 0), 10 * (one.kept or 0))
        assert 1.5 * one.work < ten.work <= 10.01 * one.work
        assert ten.reads == 10 * one.reads
    for name in ("start", "report"):
        assert rows[name][1].wall < 5 * rows[name][0].wall
    assert once.whole.wall < tenfold.whole.wall < 10 * once.whole.wall


def test_of_a_larger_pool_t_keeps_less_and_p_as_much(run: Path) -> None:
    balance = document(run / "run.json")["stages"]["balance"]
    share = balance["kept"] / balance["rows"]
    found = {
        x: predicted(run, "--pairs", "9e3", *options)["balance"]
        for x, options in {
            "t": (), "larger t": ("--set", "balance.t=300"), "p": ("--set", "balance={p: 0.5}"),
            "size": ("--set", "balance={size: 100}"),
        }.items()
    }  # fmt: skip
    shares = {x: int(kept.replace(",", "")) / int(rows.replace(",", ""))
              for x, (rows, kept, *_) in found.items()}  # fmt: skip
    assert shares["t"] < 0.5 * share
    assert shares["larger t"] == pytest.approx(share, abs=0.05)
    assert shares["p"] == pytest.approx(share, abs=0.001)
    assert found["size"][1] == "100"


def test_the_pool_is_counted_by_its_bytes(run: Path, tmp_path: Path) -> None:
    (pool,) = run.parent.glob("pool.jsonl")
    for k in range(3):
        shutil.copy(pool, tmp_path / f"{k}.jsonl")
    found = predicted(run, "--set", f"input.paths={tmp_path}/*.jsonl")
    assert found["prepare"][0] == f"{3 * document(run / 'run.json')['stages']['prepare']['rows']:,}"
    (tmp_path / "pool.csv").write_text("url,caption\nhttp://x.example/1.jpg,a fox\n")
    told = ("--like", str(run), "--set", f"input.paths={tmp_path}/pool.csv")
    assert "--pairs N" in refused("plan", str(run / "config.yaml"), *told)


def test_costs_are_those_of_the_given_prices(run: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("currency: beads\nmillion_writes: 1000000\n")
    config, like = str(run / "config.yaml"), ("--like", str(run))
    said = well("plan", config, *like, "--prices", str(tmp_path / "prices.yaml"))
    writes = predicted(run)["all"][-1].replace(",", "")
    assert f"costs {int(writes):,}.00 beads: requests" in said
    assert "costs" in well("plan", config, *like, "--prices", "shipped://curate/data/prices.yaml")
    assert "of no vendor" in shipped("curate/data/prices.yaml").read_text()
    (tmp_path / "prices.yaml").write_text("gpu_hours: 2\n")
    told = refused("plan", config, *like, "--prices", str(tmp_path / "prices.yaml"))
    assert "prices.yaml:1: gpu_hours: unknown key, did you mean 'gpu_hour'?" in told


def test_what_it_takes_for_granted_is_said(run: Path, tmp_path: Path) -> None:
    config, like = str(run / "config.yaml"), ("--like", str(run))
    said = well("plan", config, *like, "--pairs", "1e9", "--workers", "50")
    assert "more duplicates" in said
    assert "as fast as those of that run, 1 worker on" in said
    untyped = ("--set", "input.columns.keep=[caption]")
    same = well(
        "plan", config, *like, "--set", "download.connect_to={}", "--set", "seed=3", *untyped
    )
    assert "of other values" not in same
    said = well("plan", config, *like, "--set", "dedup.threshold=0.7")
    assert "predicted with them: dedup.threshold" in said
    older = changed(run, tmp_path, took=None)
    assert "not in it: start, barriers" in well("plan", config, "--like", str(older))


def test_what_cannot_be_predicted_is_refused_in_a_line(run: Path, tmp_path: Path) -> None:
    config, like = str(run / "config.yaml"), ("--like", str(run))
    assert "--pairs 5.0: needs --like" in refused("plan", config, "--pairs", "5")
    assert "no model ran on a GPU" in refused("plan", config, *like, "--gpus", "2")
    assert "--pairs 0:" in refused("plan", config, *like, "--pairs", "0")
    more = ("--set", "scores={rude: {kind: profanity}}")
    assert "score/annotated/rude" in refused("plan", config, *like, *more)
    assert "dedup" in refused("plan", config, *like, "--set", "dedup.enabled=false")
    half = changed(run, tmp_path, state="interrupted")
    assert "its state is interrupted; go on" in refused("plan", config, "--like", str(half))
    assert "no run here" in refused("plan", config, "--like", str(tmp_path))


def test_a_rebalanced_run_names_the_one_that_measured(run: Path, tmp_path: Path) -> None:
    well("rebalance", str(run), "--out", str(tmp_path / "t2"), "--t", "2")
    told = refused("plan", str(run / "config.yaml"), "--like", str(tmp_path / "t2"))
    assert f"--like {run}" in told
