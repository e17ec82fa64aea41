"""Which parts are asked again for what failed."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from curate import files
from curate.planning.plan import Plan
from curate.planning.resume import settle
from curate.reasons import TRANSIENT
from curate.rundir.directory import Run
from curate.running.retry import failures
from tests.planning.test_resume import finish, planned, standing, unrecord

FOLDER = "download/annotated"


def again(plan: Plan, *reasons: str) -> dict[int, int]:
    return failures(replace(plan, retry_failed=frozenset(reasons) or TRANSIENT))


def fail(run: Run, *indices: int) -> None:
    """Let rows of parts fail for a reason that may pass: two of the first part, and so on."""
    for index in range(3):
        files.write_table(run.part(FOLDER, index), pa.table({"outcome": ["success"]}))
    for index in indices:
        record = run.record(FOLDER, index)
        assert record is not None
        run.write_record(FOLDER, index, replace(record, figures={"transient": 2 + index}))
        outcomes = ["timeout"] * (2 + index) + ["http_404"] * 5
        files.write_table(run.part(FOLDER, index), pa.table({"outcome": outcomes}))


def test_parts_with_failures_and_the_rows_of_each(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert again(plan) == {}  # nothing was run yet
    run = finish(plan)
    assert again(plan) == {}
    fail(run, 0, 2)
    assert failures(plan) == {}  # nobody asked for it
    assert again(plan) == {0: 2, 2: 4}
    assert again(plan, "http_404") == {0: 5, 2: 5}
    assert again(plan, "http_404", "timeout") == {0: 7, 2: 9}
    assert again(plan, "dns") == {}


def test_to_look_for_failures_takes_nothing_back(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    fail(finish(plan), 0)
    again(plan)
    assert settle(plan) == standing([3] * 7, {}, clustered=True)


def test_a_part_that_was_taken_back_by_a_killed_retry_is_among_them(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    run = finish(plan)
    fail(run, 0, 2)
    run.retract(FOLDER, 2, own=plan.digests[FOLDER].own)
    assert again(plan) == {0: 2, 2: 4}
    assert settle(plan).valid[FOLDER] == 2


def test_what_goes_through_the_download_anyway_is_not_among_them(tmp_path: Path) -> None:
    """Rows of other image settings, and parts that are prepared again."""
    plan = planned(tmp_path)
    run = finish(plan)
    fail(run, 0, 1)
    assert again(planned(tmp_path, download={"image_size": 99})) == {}
    assert again(planned(tmp_path, download={"timeout": 99})) == {0: 2, 1: 3}
    rule = {"name": "short", "column": "caption_chars", "min": 2}
    assert again(planned(tmp_path, select=[rule])) == {}
    unrecord("prepare", 0)(run)
    assert again(plan) == {1: 3}
