"""A report and `explain` open no part that they do not show, and say what the parts hold."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.config import file as config_file
from curate.planning.steps import steps_of
from curate.rundir.directory import PART_STAGES, Run
from curate.schema import Stage
from curate.stages import part
from curate.summaries import groups
from curate.summaries.counting import Counting
from curate.summaries.places import Places
from curate.summaries.tallies import Tallies
from tests.store import PROTOCOL, CountedStore, counted_store
from tests.users.runs import document, moved, small_run, well

TOLD = ("index.html", "report.json", "hosts.parquet", "domains.parquet", "datacard.md",
        "training_summary.md", "croissant.json")  # fmt: skip


def stored(run: Path) -> dict[str, object]:
    """What is counted of the parts, by file."""
    paths = sorted(run.glob("summaries/*/*.parquet"))
    return {str(x.relative_to(run)): pq.read_table(x).to_pylist() for x in paths}


def told(run: Path) -> dict[str, bytes]:
    """The files of the report."""
    return {name: (run / "report" / name).read_bytes() for name in TOLD}


def test_what_workers_counted_is_what_the_files_hold(whole: Path) -> None:
    run = Run.at(str(whole))
    steps = steps_of(config_file.load(run.path("config.yaml")))
    stages = [stage for stage in PART_STAGES if stage in steps.stages]
    for stage in stages:
        counting, again = Counting.of(steps, stage), Tallies()
        for index in run.done(stage):
            again.add(counting.again(run, index)[0])
        for kind, table in zip(("counts", "pairs"), again.tables(), strict=True):
            held = pq.read_table(whole / "summaries" / stage / f"00000.{kind}.parquet")
            assert held.to_pylist() == table.to_pylist(), (stage, kind)


@pytest.fixture
def in_store(run: Path) -> Iterator[tuple[str, Counter[tuple[str, str]]]]:
    """The small run in a store that counts."""
    with counted_store() as requests:
        for path in run.rglob("*"):
            if path.is_file():
                CountedStore.objects[f"b/run/{path.relative_to(run)}"] = path.read_bytes()
        yield f"{PROTOCOL}://b/run", requests


def read_of_parts(requests: Counter[tuple[str, str]]) -> list[str]:
    """The tables of parts that were read."""
    return [x for kind, x in requests if kind in ("read", "range") and "/part-" in x
            and x.endswith(".parquet")]  # fmt: skip


@pytest.mark.usefixtures("undrawn")
def test_a_report_opens_no_part_that_it_does_not_show(
    in_store: tuple[str, Counter[tuple[str, str]]],
) -> None:
    url, requests = in_store
    before = {x: y for x, y in CountedStore.objects.items() if x.startswith("b/run/report/")}
    requests.clear()
    well("report", url)
    allowed = ("/dropped/dedup/", "/download/annotated/", "/annotated/download/")  # who is shown
    assert [x for x in read_of_parts(requests) if not any(y in x for y in allowed)] == []
    after = {x: y for x, y in CountedStore.objects.items() if x.startswith("b/run/report/")}
    assert after["b/run/report/report.json"] == before["b/run/report/report.json"]


def test_a_pair_is_looked_up_where_it_is(in_store: tuple[str, Counter[tuple[str, str]]]) -> None:
    url, requests = in_store
    run = Run.at(url)
    uid = run.rows("balance", 1)["uid"][0].as_py()
    requests.clear()
    assert uid in well("explain", url, uid)
    assert {x.rpartition("/")[2] for x in read_of_parts(requests)} == {"part-00001.parquet"}


def test_a_story_waits_for_no_engine(run: Path) -> None:
    uid = pq.read_table(run / "balance")["uid"][0].as_py()
    code = (
        "import sys\n"
        "from curate.cli import app\n"
        f"app(['explain', {str(run)!r}, {uid!r}], standalone_mode=False)\n"
        "print('LOADED', [x for x in ('apache_beam', 'cv2', 'torch') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "written" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_the_same_without_and_with_other_groups(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well("report", str(run))
    expected = told(run)
    shutil.rmtree(run / "summaries")
    well("report", str(run))
    assert told(run) == expected
    monkeypatch.setattr(groups, "PARTS", 2)
    again = tmp_path / "again"
    config = run / "config.yaml"
    well("rebalance", str(run), "--out", str(again), "--t", "1")
    steps = steps_of(config_file.load(str(config)))
    for stage in PART_STAGES:
        if stage in steps.stages:
            groups.refresh(Run.at(str(run)), Counting.of(steps, stage))
    assert len(stored(run)) == 2 * 3 * (len(steps.stages) - 2)
    well("report", str(run))
    assert told(run) == expected


def test_what_is_too_large_for_the_engine_travels_in_files(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_by: list[str] = []

    def lay_by(places: Places, url: str) -> None:
        laid_by.append(url)
        by_file(places, url)

    by_file = Places.lay_by
    monkeypatch.setattr(Places, "lay_by", lay_by)
    monkeypatch.setattr(groups, "LARGE", 0)
    monkeypatch.setattr(part, "MOST", 0)
    other = small_run(tmp_path, out=tmp_path / "other")
    of_prepare = [x for x in laid_by if x.startswith(f"{other}/summaries/prepare/work/")]
    assert len(of_prepare) == 3  # a file a part
    assert stored(other) == stored(run)
    assert {x.name for x in (other / "summaries/prepare").iterdir()} == {
        f"00000.{kind}.parquet" for kind in ("counts", "pairs", "places")
    }


def test_a_part_that_is_done_again_is_counted_again(run: Path) -> None:
    """Its record is gone, or another part's table; what was counted of the others stays."""
    expected = stored(run)
    (run / "records/balance/part-00001.json").unlink()
    url = run / "summaries/balance/00000.counts.parquet"
    url.write_bytes(url.read_bytes()[:-9])
    well("run", str(run / "config.yaml"), "--out", str(run), "--force")
    assert stored(run) == expected


def test_of_a_revoked_pair_nothing_is_shown(run: Path, tmp_path: Path) -> None:
    shown = document(run / "report/report.json")["examples"][0]
    assert shown["url"] in str(stored(run))
    (tmp_path / "list.txt").write_text(shown["uid"])
    well("revoke", str(run), "--list", str(tmp_path / "list.txt"))
    for name, rows in stored(run).items():
        assert shown["url"] not in str(rows), name
    expected = told(run)
    shutil.rmtree(run / "summaries")
    well("report", str(run))
    assert told(run) == expected


def test_a_moved_run_keeps_what_was_counted(run: Path, tmp_path: Path) -> None:
    expected = stored(run)
    other = moved(run, tmp_path / "other")
    well("report", str(other))
    assert stored(other) == expected


@pytest.mark.parametrize("state", ["complete", "interrupted"])
def test_where_a_part_begins_among_what_is_kept(
    run: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is counted, and, in a run that is not complete, of groups that were cut otherwise."""
    found = Run.at(str(run))
    steps = steps_of(config_file.load(found.path("config.yaml")))
    kept = [record.kept for _, record in found.records("balance")]
    assert [groups.kept_before(found, Stage.BALANCE, i) for i in (0, 1, 2)] == [
        0, kept[0], kept[0] + kept[1],
    ]  # fmt: skip
    monkeypatch.setattr(groups, "PARTS", 1)
    if state == "complete":
        groups.refresh(found, Counting.of(steps, Stage.BALANCE))
    found.update(state=state)
    assert groups.kept_before(found, Stage.BALANCE, 2) == kept[0] + kept[1]
