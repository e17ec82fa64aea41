"""`curate rebalance` on a demo's run: the shards of a whole run, and nothing of the run touched."""

import hashlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate import files
from curate.cli import app
from curate.config import Beam
from curate.errors import CurateError
from curate.finished import rebalance
from curate.rundir.directory import Run
from curate.schema import Stage
from tests.e2e.conftest import Command, Copied, output_bytes, read_json
from tests.e2e.test_resume import start, wait_for

T = 1.0


def snapshot(run: Path) -> dict[str, tuple[int, str]]:
    """Modification time and hash of every file."""
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rebalanced(some_run: Path, curate: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo at another t; the run that it comes from is as it was."""
    out = tmp_path_factory.mktemp("rebalance") / "run"
    before = snapshot(some_run)
    done = curate("rebalance", str(some_run), "--out", str(out), "--t", str(T))
    assert done.returncode == 0, done.stderr
    assert snapshot(some_run) == before
    (out.parent / "stdout").write_text(done.stdout)
    return out


def test_the_shards_are_those_of_a_whole_run(
    rebalanced: Path,
    some_run: Path,
    some_pairs: tuple[str, ...],
    some_copied: Copied,
    curate: Command,
) -> None:
    whole = some_copied("whole")
    done = curate("demo", "--out", str(whole), *some_pairs, "--force", "--set", f"balance.t={T}")
    assert done.returncode == 0, done.stderr
    assert output_bytes(rebalanced) == output_bytes(whole)
    assert output_bytes(rebalanced) != output_bytes(some_run)
    for name in ("records/balance/thresholds.json", "report/caption_words.png"):
        assert (rebalanced / name).read_bytes() == (whole / name).read_bytes()
    stages = [read_json(run / "run.json")["stages"] for run in (rebalanced, whole)]
    for stage in ("prepare", "download", "dedup", "score", "balance"):
        counts = [{**run[stage], "seconds": 0} for run in stages]
        assert counts[0] == counts[1]


def test_it_is_a_run_of_its_own_without_copies(rebalanced: Path, some_run: Path) -> None:
    assert sorted(path.name for path in rebalanced.iterdir()) == [
        "balance", "config.yaml", "dead", "dropped", "entries", "records", "report", "run.json",
        "shards", "summaries",
    ]  # fmt: skip
    assert [path.name for path in (rebalanced / "dropped").iterdir()] == ["balance"]
    state = read_json(rebalanced / "run.json")
    assert (state["state"], state["source"]) == ("complete", str(some_run))
    assert Run.at(str(rebalanced)).source == str(some_run)
    shown = (rebalanced.parent / "stdout").read_text()
    assert " pairs in 6 parts: balance > shards > report" in shown


def test_its_report_shows_the_whole_funnel_and_can_be_written_again(
    rebalanced: Path, some_run: Path
) -> None:
    facts = read_json(rebalanced / "report/report.json")
    stages = ["prepare", "download", "dedup", "score", "balance", "shards"]
    assert [one["stage"] for one in facts["funnel"]] == stages
    assert all(check["holds"] for check in facts["checks"])
    assert facts["pairs"] == read_json(some_run / "report/report.json")["pairs"]
    assert facts["dropped"]
    assert facts["duplicates"]
    assert facts["scores"]
    assert facts["origin"]["source"] == str(some_run)
    page = (rebalanced / "report/index.html").read_text()
    assert str(some_run) in page
    assert "data:image/webp" in page
    before = (rebalanced / "report/index.html").read_bytes()
    done = CliRunner().invoke(app, ["report", str(rebalanced)])
    assert done.exit_code == 0, done.output
    assert (rebalanced / "report/index.html").read_bytes() == before


def test_stopped_by_ctrl_c_it_goes_on(
    rebalanced: Path, some_run: Path, curate: Command, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    arguments = ("rebalance", str(some_run), "--out", str(out), "--t", str(T))
    process = start(*arguments)
    wait_for(process, lambda: (out / "run.json").exists())
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip().count("\n") == 0
    assert f"rebalance {some_run} --out {out}" in stderr
    assert read_json(out / "run.json")["state"] != "complete"
    done = curate(*arguments)
    assert done.returncode == 0, done.stderr
    assert output_bytes(out) == output_bytes(rebalanced)
    assert not list(out.rglob("*.tmp"))


def planned(source: Path, out: Path, **options: Any) -> Any:
    """The plan of `curate rebalance SOURCE --out OUT`."""
    found = rebalance.open_source(str(source))
    wanted = {"t": None, "p": None, "size": None, "reference": found.reference} | options
    return rebalance.make_plan(found, balance=rebalance.target(**wanted), out=str(out), beam=Beam())


def test_a_rebalance_of_a_rebalance_reads_the_first_run(
    rebalanced: Path, some_run: Path, tmp_path: Path
) -> None:
    plan = planned(rebalanced, tmp_path / "third", t=5)
    assert plan.run.source == str(some_run)
    assert plan.digests == planned(some_run, tmp_path / "third", t=5).digests
    assert set(plan.digests) == {Stage.BALANCE, Stage.SHARDS}


def test_a_retry_of_the_source_makes_what_was_rebalanced_before_stale(
    copied: Path, tmp_path: Path
) -> None:
    digests = [planned(copied, tmp_path / "third", t=5).digests]
    for retries in (1, 2):
        Run(str(copied)).update(retries=retries)
        digests.append(planned(copied, tmp_path / "third", t=5).digests)
    assert len({found[Stage.BALANCE].chain for found in digests}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of --t, --p and --size"),
        ({"t": 1, "size": 5}, "exactly one of --t, --p and --size"),
        ({"t": 0}, "--t 0: input should be greater than 0"),
        ({"p": 1.5}, "--p 1.5: input should be less than 1"),
        ({"t": 2, "reference": "de"}, "--reference de: the run's entry lists are for en"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], message: str, some_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(CurateError, match=message):
        planned(some_run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_not_ours_is_left_alone(
    rebalanced: Path, some_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CurateError, match="is not empty and holds no run"):
        planned(some_run, tmp_path, t=1)
    for out in (some_run, some_run / "inside"):
        with pytest.raises(CurateError, match="is in the run that is to stay as it is"):
            planned(some_run, out, t=1)
    other = tmp_path / "other"
    shutil.copytree(rebalanced, other)
    files.write_document(str(other / "run.json"), read_json(other / "run.json") | {"source": None})
    with pytest.raises(CurateError, match="holds a run that is no rebalance of"):
        planned(some_run, other, t=1)


@pytest.fixture
def copied(some_run: Path, tmp_path: Path) -> Path:
    """The demo's run, to be changed."""
    return Path(shutil.copytree(some_run, tmp_path / "copied"))


def test_a_run_that_cannot_be_the_source(copied: Path, tmp_path: Path, curate: Command) -> None:
    out = tmp_path / "out"
    with pytest.raises(CurateError, match="no run here"):
        planned(tmp_path / "nowhere", out, t=1)
    config, state = (copied / "config.yaml").read_text(), read_json(copied / "run.json")
    files.write_document(str(copied / "run.json"), state | {"state": "interrupted"})
    done = curate("rebalance", str(copied), "--out", str(out), "--t", "1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{copied} is not complete (its state is interrupted)" in done.stderr
    assert not out.exists()
    files.write_document(str(copied / "run.json"), state)
    (tmp_path / "list.txt").write_text("red\nfox\n")
    changed = config.replace("shipped://metadata/en-small.txt", str(tmp_path / "list.txt"))
    (copied / "config.yaml").write_text(changed)
    with pytest.raises(CurateError, match="a file has changed since its captions were"):
        planned(copied, out, t=1)
    lines = config.splitlines()
    at = lines.index("  metadata:")
    lines = lines[:at] + lines[at + 2 :]
    (copied / "config.yaml").write_text("\n".join(lines).split("balance:")[0])
    with pytest.raises(CurateError, match="has no matches to balance"):
        planned(copied, out, t=1)
    (copied / "config.yaml").write_text(config)
    (copied / "records/score/part-00003.json").unlink()
    with pytest.raises(CurateError, match=r"score.part-00003\.json is damaged: it is gone"):
        planned(copied, out, t=1)


def test_a_source_that_went_away(rebalanced: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(rebalanced, lost)
    state = read_json(lost / "run.json")
    files.write_document(str(lost / "run.json"), state | {"source": str(tmp_path / "gone")})
    with pytest.raises(CurateError, match=r"is a rebalance of .*gone, which is not there"):
        Run.at(str(lost))
