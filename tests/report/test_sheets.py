"""The pairs next to thresholds, against a plain sort of all rows."""

from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import schema
from curate.report import sheets
from curate.report.sheets import Strip, beside, show
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.summaries.tallies import SHOWN, First
from tests.stages.rundir import lay, uid_of

VALUES = st.sampled_from([None, float("nan"), -0.5, 0.0, 0.25, 0.5, 1.0])
SCORED = "score/annotated"
COLUMNS = schema.after(Stage.DOWNLOAD, enabled=[Stage.PREPARE, Stage.DOWNLOAD])


def laid(root: Path, rows: list[dict[str, Any]], *, cut: int) -> Run:
    """A run whose rows are cut into two parts."""
    run = Run(str(root))
    lay(run, "download", [rows[:cut], rows[cut:]], COLUMNS)
    lay(run, SCORED, [rows[:cut], rows[cut:]], schema.SCORED)
    return run


def expected(rows: list[dict[str, Any]], strip: Strip) -> list[str]:
    tests = {">=": float.__ge__, ">": float.__gt__, "<=": float.__le__, "<": float.__lt__}
    inside = [
        row for row in rows
        if row["clip_score"] is not None and row["clip_score"] == row["clip_score"]
        and tests[strip.bound](row["clip_score"], strip.value)
        and strip.language in (None, row["language"] or "unknown")
    ]  # fmt: skip
    sign = 1 if strip.bound in (">=", ">") else -1
    inside.sort(key=lambda row: (sign * row["clip_score"], row["uid"]))
    return [row["uid"] for row in inside[: SHOWN[First.LOWEST]]]


@settings(max_examples=30)
@given(
    found=st.lists(st.tuples(VALUES, st.sampled_from(["en", "de", None])), max_size=40),
    share=st.floats(0, 1),
    value=st.sampled_from([-1.0, 0.25, 0.3]),
    language=st.sampled_from([None, "en", "unknown"]),
)
def test_strips_are_those_of_a_plain_sort(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[float | None, str | None]],
    share: float,
    value: float,
    language: str | None,
) -> None:
    rows = [
        {"uid": uid_of(i * 7 % 41), "url": "u", "caption": str(i), "language": x, "clip_score": y}
        for i, (y, x) in enumerate(found)
    ]
    run = laid(tmp_path_factory.mktemp("run"), rows, cut=int(share * len(rows)))
    strips = [Strip("clip_score", bound, value, language) for bound in get_args(sheets._Bound)]
    shown = show(run, strips, reads=Stage.DOWNLOAD, beside={})
    for strip in strips:
        assert [one.uid for one in shown[strip]] == expected(rows, strip)


def test_what_is_shown_of_a_pair(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"uid": uid_of(i), "url": f"u{i}", "caption": f"c{i}", "clip_score": i / 4}
        for i in range(3)
    ]
    strips = beside("clip_score", 0.25, keeps="above")
    shown = show(laid(tmp_path, rows, cut=2), strips, reads=Stage.DOWNLOAD, beside={})
    kept, dropped = (shown[strip] for strip in strips)
    assert [(one.part, one.url, one.caption, one.value) for one in kept] == [
        (0, "u1", "c1", "0.25"), (1, "u2", "c2", "0.5"),
    ]  # fmt: skip
    assert [one.uid for one in dropped] == [uid_of(0)]


def test_columns_of_embeddings_stand_in_folders_of_their_own(tmp_path: Path) -> None:
    run = laid(tmp_path, [{"uid": uid_of(i), "url": "u", "caption": "c"} for i in range(3)], cut=2)
    columns = pa.schema([("uid", pa.string()), ("norm_sim", pa.float32())])
    rows = [{"uid": uid_of(i), "norm_sim": i / 4} for i in range(3)]
    lay(run, f"{SCORED}/norm_sim", [rows[:2], rows[2:]], columns)
    strip = Strip("norm_sim", ">=", 0.25)
    beside = {f"{SCORED}/norm_sim": pa.schema([schema.DERIVED.field("norm_sim")])}
    shown = show(run, [strip], reads=Stage.DOWNLOAD, beside=beside)[strip]
    assert [one.value for one in shown] == ["0.25", "0.5"]


def test_the_value_itself_is_kept_on_either_side() -> None:
    assert [strip.bound for strip in beside("a", 1.0, keeps="above")] == [">=", "<"]
    assert [strip.bound for strip in beside("a", 1.0, keeps="below")] == ["<=", ">"]


def test_scores_of_other_pairs_are_left_out(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    lay(run, "download", [[{"uid": uid_of(1), "url": "u", "caption": "c"}]], COLUMNS)
    lay(run, SCORED, [[{"uid": uid_of(2), "clip_score": 0.5}]], schema.SCORED)
    strip = Strip("clip_score", ">=", 0.0)
    assert show(run, [strip], reads=Stage.DOWNLOAD, beside={}) == {strip: ()}
