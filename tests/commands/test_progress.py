"""What a person sees: the line on what stands, the bars, the funnel, the summary."""

import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from curate import files
from curate.commands.following import Records
from curate.commands.progress import announce, announce_retry, funnel, summary, tried_again, watch
from curate.config import Config
from curate.planning.plan import Plan, make_plan
from curate.planning.resume import Standing
from curate.reasons import TRANSIENT
from curate.rundir.directory import PartRecord, Run, Totals
from curate.rundir.journal import Journal


def planned(tmp_path: Path, **keys: Any) -> Plan:
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"url": ["http://x.example/"] * 4, "caption": ["a"] * 4}), path)
    document = {"input": {"paths": [str(path)]}, "out": str(tmp_path / "run"), "part_rows": 2,
                "dedup": {"enabled": False}, **keys}  # fmt: skip
    return make_plan(Config.model_validate(document))


STANDING = Standing({}, {}, clustered=False)


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal, highlight=False)


def shown(target: Console) -> list[str]:
    assert isinstance(target.file, io.StringIO)
    return [line.rstrip() for line in target.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("valid", "stale", "lines"),
    [
        ({"prepare": 0, "download/annotated": 0}, {}, []),
        ({"prepare": 2, "download/annotated": 2, "download": 1}, {},
         ["Resuming; parts that are done and skipped: prepare 2/2, download 1/2"]),
        ({"prepare": 0, "download": 0}, {"download": 2},
         ["Stale (what they depend on changed), so done again: download"]),
        ({"prepare": 2, "download": 0}, {"download": 2},
         ["Resuming; parts that are done and skipped: prepare 2/2",
          "Stale (what they depend on changed), so done again: download"]),
    ],
)  # fmt: skip
def test_what_stands_is_announced(
    tmp_path: Path, valid: dict[str, int], stale: dict[str, int], lines: list[str]
) -> None:
    target = console()
    announce(target, planned(tmp_path), Standing(valid, stale, clustered=False))
    assert shown(target) == lines


def test_what_is_taken_over_is_told_apart(tmp_path: Path) -> None:
    target = console()
    stale = {"download/annotated": 2, "download": 2, "score/annotated": 2}
    same = {"download/annotated": 2, "score/annotated": 1}
    standing = Standing({}, stale, clustered=False, taken_over=same)
    announce(target, planned(tmp_path), standing)
    assert shown(target) == [
        "Stale (what they depend on changed), so done again: download, score/annotated",
        "Looked through again, where what was found of the same pairs is taken over:"
        " download/annotated",
    ]


def test_what_is_fetched_again_and_what_came_of_it(tmp_path: Path) -> None:
    plan = replace(planned(tmp_path), retry_failed=TRANSIENT)
    target = console()
    nothing = Standing({"prepare": 2}, {}, clustered=False)
    announce_retry(target, plan, {})
    assert shown(target) == []  # of a new run
    target = console()
    standing = replace(nothing, failed={1: 1200})
    announce_retry(target, plan, standing.failed)
    for index, retried in enumerate((7, 1200)):  # the first part's are of an earlier retry
        figures: dict[str, float] = {"retried": retried, "recovered": 5}
        plan.run.write_record(
            "download/annotated", index, PartRecord("d", "o", 2, 2, figures=figures)
        )
    tried_again(target, plan, standing)
    assert shown(target) == [
        "Fetching again what failed: 1,200 pairs in 1 part",
        "Of 1,200 pairs fetched again, 5 came and 1,195 failed again",
    ]
    target = console()
    announce_retry(target, plan, {})
    tried_again(target, plan, nothing)
    assert shown(target) == ["Nothing to fetch again: no download failed for a transient reason"]
    target = console()
    announce_retry(target, replace(plan, retry_failed=frozenset({"dns"})), {})
    announce_retry(target, replace(plan, retry_failed=frozenset()), {})
    assert shown(target) == ["Nothing to fetch again: no download failed as dns"]


def counts(rows: int, kept: int, dropped: dict[str, int], dead: dict[str, int]) -> Totals:
    return Totals(
        parts=1, rows=rows, kept=kept, dropped=dropped, dead=dead, figures={}, seconds=1234.56
    )


def test_the_funnel_lists_the_stages_in_flow_order_and_the_reasons_by_number() -> None:
    reasons = {f"reason_{i}": i for i in range(1, 7)} | {"rule:small": 9000}
    table = funnel({
        "download": counts(10_000, 979, reasons, {}),
        "prepare": counts(10_003, 10_000, {"no_match": 1, "language": 1}, {"null_url": 1}),
    })  # fmt: skip
    columns = [list(column.cells) for column in table.columns]
    assert columns == [
        ["prepare", "download"], ["10,003", "10,000"], ["10,000", "979"], ["2", "9,021"],
        ["1", "0"], ["1,234.6 s", "1,234.6 s"],
        ["language 1, no_match 1, null_url 1",
         "small 9,000, reason_6 6, reason_5 5, reason_4 4, reason_3 3, reason_2 2, 1 more"],
    ]  # fmt: skip


def test_the_summary_names_what_there_is(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    plan.run.update(stages={"prepare": counts(4, 2, {"no_match": 2}, {})})
    manifest = {"pairs": 12_345, "bytes": 6_789_000, "shards": [{}, {}]}
    files.write_json(plan.run.path("shards", "manifest.json"), manifest)
    target = console()
    summary(target, plan, standing=STANDING, report="R/index.html", started=time.monotonic() - 61)
    lines = shown(target)
    assert [line.split()[:4] for line in lines[:2]] == [
        ["stage", "in", "kept", "dropped"], ["prepare", "4", "2", "2"],
    ]  # fmt: skip
    assert lines[2:4] == [
        f"shards  {plan.run.path('shards')}  (2 shards, 12,345 pairs, 6.8 MB)",
        "report  R/index.html",
    ]
    assert re.fullmatch(r"done in 61\.\d s; the work of all workers: 1,234\.6 s", lines[4])


def test_without_shards_the_summary_names_the_folder_of_the_kept_pairs(tmp_path: Path) -> None:
    plan = planned(tmp_path, download={"enabled": False})
    plan.run.update(stages={"prepare": counts(4, 2, {"no_match": 2}, {})})
    target = console()
    files.write_table(plan.run.part("prepare", 0), pa.table({"uid": ["a"]}))
    summary(target, plan, standing=STANDING, report="R/index.html", started=time.monotonic())
    named = next(line for line in shown(target) if line.startswith("kept")).split()[1]
    assert files.exists(named)


def test_the_bars_follow_the_records(tmp_path: Path) -> None:
    plan = planned(tmp_path, download={"enabled": False})
    target = console(terminal=True)
    fresh = Standing(dict.fromkeys(plan.digests, 0), {}, clustered=False)
    with watch(target, plan, fresh):
        for part, digest in zip(plan.parts, ("other", plan.digests["prepare"].chain), strict=True):
            record = PartRecord(digest, "o", part.rows, part.rows)
            plan.run.write_record("prepare", part.index, record)
        deadline = time.monotonic() + 10
        while "1/2 parts" not in target.file.getvalue() and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.05)
    text = "\n".join(shown(target))
    assert "0/2 parts" in text
    assert "1/2 parts" in text
    assert "2/2 parts" not in text


def test_folders_are_listed_when_something_changed_and_stores_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in a wait of 30 looks: nothing that happens costs nothing, a large store is sampled."""
    listed: list[str] = []
    asked: list[int] = []
    names, read = files.names, Run.record

    def names_of(folder: str) -> list[str]:
        listed.append(folder)
        return names(folder)

    def record(run: Run, folder: str, index: int) -> PartRecord | None:
        asked.append(index)
        return read(run, folder, index)

    near = planned(tmp_path, download={"enabled": False}, part_rows=1)
    (part,) = near.parts[:1]
    chain = near.digests["prepare"].chain
    near.run.write_record("prepare", 0, PartRecord(chain, "o", 1, 1))
    far = replace(near, run=Run.to(f"memory://{tmp_path.name}/far"))
    large = replace(near, run=Run.to(f"memory://{tmp_path.name}/large"))
    large = replace(large, parts=tuple(replace(part, index=i) for i in range(5000)))
    for plan, index in [(far, 0), (far, 2), *((large, x) for x in range(0, 5000, 100))]:
        plan.run.write_record("prepare", index, PartRecord(chain, "o", 1, 1))
    monkeypatch.setattr(files, "names", names_of)
    monkeypatch.setattr(Run, "record", record)
    looks = {}
    for name, plan in (("near", near), ("far", far), ("large", large)):
        listed.clear()
        asked.clear()
        records, seen = Records(plan), set[int]()
        time.sleep(1.1 if name == "near" else 0)  # what is that old is known for good
        for _ in range(30):
            seen |= records.new("prepare", seen).keys()
        looks[name] = len(listed), len(asked), round(len(seen) * records.weight)
    assert looks["near"] == (1, 1, 1)
    assert looks["far"] == (1, 2, 2)  # of parts 0 to 3
    assert looks["large"] == (0, 10, 250)  # one look at ten of the sample, of which five are done


def test_pairs_of_a_part_that_is_being_fetched_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.commands.progress._QUIET", 0.0)
    plan = planned(tmp_path, part_rows=4)
    plan.run.write_record(
        "prepare", 0, PartRecord("stale", "o", rows=4, kept=3, dropped={"language": 1})
    )
    folder = plan.run.part("download/annotated", 0, "journal")
    with files.scratch(folder) as (file, earlier):
        journal = Journal(file, of="settings", earlier=earlier)
        journal.put("a", {}, b"fetched by an earlier command")
        target = console()
        with watch(target, plan, Standing(dict.fromkeys(plan.digests, 0), {}, clustered=False)):
            for key, told in (("b", "0/1 parts, 1 pair\n"), ("c", "0/1 parts, 2 pairs\n")):
                journal.put(key, {}, b"image")
                deadline = time.monotonic() + 10
                while told not in target.file.getvalue() and time.monotonic() < deadline:  # type: ignore[attr-defined]
                    time.sleep(0.05)
            file.write(b"\1" * 40)  # of a record that is not whole yet
            file.flush()
            time.sleep(1.2)  # a look and another
    lines = [line.split(" s: ")[1] for line in shown(target)]
    told_of = [line for line in dict.fromkeys(lines) if line.startswith("download")]
    assert told_of[-2:] == [
        "download: fetch 0/1 parts, 1 pair",
        "download: fetch 0/1 parts, 2 pairs",
    ]
    assert lines[-1].endswith("2 pairs")


def test_pairs_of_a_part_that_is_being_scored_are_told_and_what_was_killed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.commands.progress._QUIET", 0.0)
    model = {key: f"shipped://pipelines/demo/scorer/curate-mini.{ending}"
             for key, ending in (("model", "json"), ("pretrained", "safetensors"))}  # fmt: skip
    plan = planned(tmp_path, part_rows=4, score={**model, "also": {"second": model}})
    plan.run.write_record("download", 0, PartRecord("stale", "o", 4, 3, dropped={"http_404": 1}))
    folders = ("score/annotated", "score/annotated/second")
    left = [plan.run.part(folder, 0, "journal") for folder in folders]
    for journal in left:
        with files.scratch(journal) as (file, _):
            Journal(file, of="settings").count(2)  # its worker was killed
    fetched = plan.run.part("download/annotated", 0, "journal")
    with files.scratch(fetched) as (file, _):
        Journal(file, of="settings").put("a", {}, b"image")
    target = console()
    with watch(target, plan, Standing(dict.fromkeys(plan.digests, 0), {}, clustered=False)):
        assert [files.exists(journal) for journal in left] == [False, False]
        with files.scratch(left[1]) as (file, _):
            counts = Journal(file, of="settings")
            for n, told in ((1, "0/1 parts, 1 pair\n"), (9, "0/1 parts, 3 pairs\n")):
                counts.count(n)
                deadline = time.monotonic() + 10
                while told not in target.file.getvalue() and time.monotonic() < deadline:  # type: ignore[attr-defined]
                    time.sleep(0.05)
    lines = [line for line in shown(target) if "second" in line]
    assert lines[-1].endswith("score: model/second 0/1 parts, 3 pairs")
    assert [files.exists(journal) for journal in (*left, fetched)] == [False, False, True]


def test_nothing_moves_where_nobody_looks(tmp_path: Path) -> None:
    target = console()
    plan = planned(tmp_path)
    with watch(target, plan, Standing({}, {}, clustered=False)):
        plan.run.write_record("prepare", 0, PartRecord("d", "o", 2, 2))
    assert shown(target) == []


def test_in_a_file_a_line_now_and_then_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.commands.progress._QUIET", 0.0)
    plan = planned(tmp_path, download={"enabled": False})
    target = console()
    with watch(target, plan, Standing(dict.fromkeys(plan.digests, 0), {}, clustered=False)):
        deadline = time.monotonic() + 10
        for part in plan.parts:
            record = PartRecord(plan.digests["prepare"].chain, "o", part.rows, part.rows)
            plan.run.write_record("prepare", part.index, record)
            told = f"{part.index + 1}/2 parts" if part.index == 0 else "writing the shards"
            while told not in target.file.getvalue() and time.monotonic() < deadline:  # type: ignore[attr-defined]
                time.sleep(0.05)
    lines = [line.split(" s: ")[1] for line in shown(target)]
    assert list(dict.fromkeys(lines))[-2:] == ["prepare 1/2 parts", "writing the shards"]


def test_a_stage_of_which_nothing_was_done_has_no_work() -> None:
    standing = Standing({"prepare": 2, "download/annotated": 2, "download": 1}, {}, False, parts=2)
    assert standing.skips("prepare")
    assert not standing.skips("download")
    stages = {x: counts(3, 3, {}, {}) for x in ("prepare", "download")}
    assert list(funnel(stages, skips=standing.skips).columns[5].cells) == ["–", "1,234.6 s"]
    some = funnel(stages, skips=standing.skips, spent={"download": 1200.0})
    assert list(some.columns[5].cells) == ["–", "34.6 s"]


def test_new_settings_that_may_mend_failures_are_told(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    target = console()
    dropped = {"timeout": 3, "http_404": 2, "forbidden_address": 1200}
    plan.run.write_record("download", 0, PartRecord("d", "o", 1205, 0, dropped=dropped))
    standing = replace(STANDING, valid={"prepare": 2}, changed=("connect_to", "timeout"))
    announce(target, plan, standing)
    assert shown(target)[1:] == [
        "download.connect_to, download.timeout changed: 1,203 pairs that failed before are not retried"
        " by that; to fetch them again: --retry forbidden_address,timeout"
    ]
    target = console()
    announce(target, plan, replace(standing, changed=("contact",)))
    assert shown(target)[1:] == []
