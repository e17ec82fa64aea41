"""select: rules with nulls and edges, and the top fraction as DataComp defines it."""

from typing import Any

import pytest

from curate import files, schema
from curate.config import Rule
from curate.ops.selection.quantiles import Group, Quantile
from curate.rundir.cuts import read_cuts
from curate.rundir.directory import Part, Run, totals
from curate.schema import Stage
from curate.stages.select import SelectDownload, SelectScore, SelectStep
from tests.stages.rundir import (
    WithCuts,
    check_conserved,
    drive,
    gone,
    lay,
    rows_of,
    table_of,
    uid_of,
)
from tests.stages.rundir import dead as dead_rows

Gone = list[tuple[str, str, str | None]]
AFTER = [Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE]


def cut_values(run: Run, stage: Stage) -> dict[Group, float | int]:
    return {group: cut.value for group, cut in read_cuts(run, stage).items()}


def select(run: Run, stage: Stage, parts: list[list[dict[str, Any]]], *rules: Rule) -> list[Part]:
    """Lay incoming and annotated rows, select, and check the conservation; the parts laid."""
    kind, reads, annotated = {
        Stage.DOWNLOAD: (SelectDownload, Stage.PREPARE, schema.FETCHED),
        Stage.SCORE: (SelectScore, Stage.DOWNLOAD, schema.SCORED),
    }[stage]
    rows = [
        [{"url": "http://x.example/", "caption": f"{row['uid']}", **row} for row in part]
        for part in parts
    ]
    laid = lay(run, reads, rows, schema.after(reads, enabled=AFTER))
    lay(run, f"{stage}/annotated", rows, annotated)
    step: SelectStep = kind(run=run, reads=reads, digest="d", own="o", rules=rules,
                            columns=schema.after(stage, enabled=AFTER))  # fmt: skip
    yielded = drive(run, WithCuts(step), laid)
    check_conserved(run, stage, laid)
    assert [part.kept for part in yielded] == [
        len(files.read_table(run.part(stage, part.index))) for part in laid
    ]
    return laid


def images(*sides: int | None, outcome: str = "success") -> list[dict[str, Any]]:
    """Fetched rows by their smaller side; the uid is that side, or 99 for null."""
    return [
        {"uid": uid_of(99 if side is None else side), "outcome": outcome, "smaller_side": side}
        for side in sides
    ]


def test_failed_downloads_leave_with_their_outcome_and_detail(run: Run) -> None:
    part = images(200, 300)
    failed = {"uid": uid_of(1), "outcome": "http_404", "detail": "404"}
    nameless = {"uid": uid_of(2), "outcome": "html_page", "detail": None}
    other = {"uid": uid_of(3), "outcome": "http_404", "detail": "404"}
    select(run, Stage.DOWNLOAD, [[failed, part[0], nameless], [part[1], other], []])
    assert rows_of(run, "download", "uid") == [uid_of(200), uid_of(300)]
    assert gone(run, Stage.DOWNLOAD, 3) == [
        (uid_of(2), "html_page", None), (uid_of(1), "http_404", "404"),
        (uid_of(3), "http_404", "404"),
    ]  # fmt: skip
    assert dead_rows(run, Stage.DOWNLOAD, 3) == []
    kept = files.read_table(run.part("download", 0))
    assert kept.schema.equals(schema.after(Stage.DOWNLOAD, enabled=AFTER))


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({"min": 200}, [200, 201, 400]),
        ({"max": 200}, [10, 199, 200]),
        ({"min": 199.5, "max": 200}, [200]),
        ({"in": (200, 7)}, [200]),
        ({"not_in": (200, 7)}, [10, 199, 201, 400]),
    ],
)
def test_conditions_include_their_edges_and_never_keep_a_null(
    run: Run, conditions: dict[str, Any], kept: list[int]
) -> None:
    sides = [10, 199, None, 200, 201, 400]
    rule = Rule.model_validate({"name": "size", "column": "smaller_side", **conditions})
    select(run, Stage.DOWNLOAD, [images(*sides)], rule)
    assert rows_of(run, "download", "smaller_side") == kept
    assert gone(run, Stage.DOWNLOAD, 1) == [
        (uid_of(99 if side is None else side), "rule:size", None if side is None else str(side))
        for side in sides if side not in kept
    ]  # fmt: skip


def test_rules_apply_one_after_the_other_and_a_string_column_has_values(run: Run) -> None:
    rows = images(100, 200, 300, 400)
    for row, digest in zip(rows, "abca", strict=True):
        row["sha256"] = digest
    blocked = Rule(name="blocked", column="sha256", not_in=("a", "z"))
    large = Rule(column="smaller_side", max=250)
    select(run, Stage.DOWNLOAD, [rows], blocked, large)
    assert rows_of(run, "download", "smaller_side") == [200]
    assert gone(run, Stage.DOWNLOAD, 1) == [
        (uid_of(100), "rule:blocked", "a"), (uid_of(400), "rule:blocked", "a"),
        (uid_of(300), "rule:smaller_side", "300"),
    ]  # fmt: skip


def test_two_columns_are_compared_and_both_are_told(run: Run) -> None:
    rows = images(1, 2, 3, 4)
    for row, (width, original) in zip(rows, ((5, 5), (5, 6), (None, None), (7, 7)), strict=True):
        row |= {"width": width, "original_width": original}
    as_it_was = Rule(name="as_it_was", column="width", same_as="original_width")
    select(run, Stage.DOWNLOAD, [rows], as_it_was)
    assert rows_of(run, "download", "smaller_side") == [1, 4]
    assert gone(run, Stage.DOWNLOAD, 1) == [
        (uid_of(2), "rule:as_it_was", "width=5, original_width=6"),
        (uid_of(3), "rule:as_it_was", "width=, original_width="),
    ]


def scored(*scores: float | None, first: int = 0) -> list[dict[str, Any]]:
    return [{"uid": uid_of(first + i), "clip_score": score} for i, score in enumerate(scores)]


def test_a_score_that_is_no_number_is_dead(run: Run) -> None:
    rows = scored(0.2, float("nan"), None, float("inf"), -0.1)
    select(run, Stage.SCORE, [rows], Rule(column="clip_score", min=0.0))
    assert rows_of(run, "score", "uid") == [uid_of(0)]
    assert dead_rows(run, Stage.SCORE, 1) == [
        (uid_of(2), "image_undecodable", None),
        (uid_of(1), "score_not_finite", None),
        (uid_of(3), "score_not_finite", None),
    ]
    assert gone(run, Stage.SCORE, 1) == [(uid_of(4), "rule:clip_score", "-0.1")]


def datacomp_cut(scores: list[float], fraction: float) -> float:
    """The published definition: sort descending, take the value at ``int(n * fraction)``."""
    return sorted(scores, reverse=True)[min(int(len(scores) * fraction), len(scores) - 1)]


@pytest.mark.parametrize(
    ("fraction", "cut", "kept"),
    [
        (0.3, 0.375, [1, 3, 4, 7]),  # index 3 of 10
        (0.5, 0.25, [1, 2, 3, 4, 6, 7, 9]),  # index 5, a tie of three: all of it stays
        (0.05, 0.75, [4]),  # index 0
    ],
)
def test_a_top_fraction_is_taken_over_all_parts(
    run: Run, fraction: float, cut: float, kept: list[int]
) -> None:
    scores = [0.125, 0.375, 0.25, 0.5, 0.75, -0.5, 0.25, 0.5, 0.125, 0.25]
    parts = [scored(*scores[:4]), [], scored(*scores[4:5], first=4), scored(*scores[5:], first=5)]
    select(run, Stage.SCORE, parts, Rule(name="top", column="clip_score", top_fraction=fraction))
    [found] = files.read_document(run.path("score", "quantiles.json"))["cuts"]
    assert found == {"column": "clip_score", "top_fraction": fraction, "per": None, "group": None,
                     "pairs": len(scores), "cut": cut, "digest": "d"}  # fmt: skip
    assert datacomp_cut(scores, fraction) == cut
    assert rows_of(run, "score", "uid") == [uid_of(i) for i in kept]
    assert gone(run, Stage.SCORE, 4) == [
        (uid_of(i), "rule:top", f"{score:.6g}") for i, score in enumerate(scores) if i not in kept
    ]


def test_fractions_are_of_the_rows_that_reach_the_stage(run: Run) -> None:
    rows = scored(0.5, 0.25, float("nan"), 0.125, 0.75)
    rules = (
        Rule(name="floor", column="clip_score", max=0.6),
        Rule(name="half", column="clip_score", top_fraction=0.5),
    )
    select(run, Stage.SCORE, [rows[:2], rows[2:]], *rules)
    assert cut_values(run, Stage.SCORE) == {(Quantile("clip_score", 0.5), None): 0.25}  # of four
    assert rows_of(run, "score", "uid") == [uid_of(0), uid_of(1)]
    assert gone(run, Stage.SCORE, 2) == [
        (uid_of(4), "rule:floor", "0.75"), (uid_of(3), "rule:half", "0.125"),
    ]  # fmt: skip


def test_two_fractions_have_a_cut_each_and_failed_rows_none(run: Run) -> None:
    rows = [row | {"image_bytes": 7 * row["smaller_side"]} for row in images(1, 2, 3, 4)]
    rows.append({"uid": uid_of(9), "outcome": "dns", "detail": "x.example"})
    rules = (
        Rule(name="sides", column="smaller_side", top_fraction=0.5),
        Rule(name="bytes", column="image_bytes", top_fraction=0.25),
    )
    select(run, Stage.DOWNLOAD, [rows[:1], rows[1:]], *rules)
    assert cut_values(run, Stage.DOWNLOAD) == {
        (Quantile("smaller_side", 0.5), None): 2, (Quantile("image_bytes", 0.25), None): 21,
    }  # fmt: skip
    assert rows_of(run, "download", "smaller_side") == [3, 4]
    assert gone(run, Stage.DOWNLOAD, 2) == [
        (uid_of(1), "rule:sides", "1"), (uid_of(9), "dns", "x.example"),
        (uid_of(2), "rule:bytes", "14"),
    ]  # fmt: skip


def test_cuts_that_stand_are_not_taken_again(run: Run) -> None:
    rule = Rule(column="smaller_side", top_fraction=0.5)
    parts = [images(1, 2), images(3, 4)]
    select(run, Stage.DOWNLOAD, parts, rule)
    (taken,) = files.read_document(run.path("download", "quantiles.json"))["cuts"]
    for digest, kept, cut in (("d", [4], 4), ("of other settings", [2, 3, 4], 2)):
        url = run.path("download", "quantiles.json")
        files.write_json(url, [{**taken, "cut": 4, "digest": digest}])
        for index in range(2):
            files.remove(run.part("download", index, "json"))
        select(run, Stage.DOWNLOAD, parts, rule)
        assert rows_of(run, "download", "smaller_side") == kept
        assert cut_values(run, Stage.DOWNLOAD) == {(Quantile("smaller_side", 0.5), None): cut}


def test_a_fraction_of_an_earlier_column_is_of_the_images_that_came(run: Run) -> None:
    rows = [
        row | {"caption_words": n} for row, n in zip(images(1, 2, 3, 4), (5, 9, 7, 3), strict=True)
    ]
    rows.append({"uid": uid_of(9), "outcome": "dns", "detail": None, "caption_words": 99})
    select(
        run, Stage.DOWNLOAD, [rows[:2], rows[2:]], Rule(column="caption_words", top_fraction=0.5)
    )
    assert cut_values(run, Stage.DOWNLOAD) == {(Quantile("caption_words", 0.5), None): 5}
    assert rows_of(run, "download", "caption_words") == [5, 9, 7]
    assert gone(run, Stage.DOWNLOAD, 2) == [
        (uid_of(9), "dns", None), (uid_of(4), "rule:caption_words", "3"),
    ]  # fmt: skip


LANGUAGES = ["en", "de", "en", "fr", None, "en", "de", "en"]
SCORES = [0.5, 0.25, 0.375, 0.125, 0.0, 0.75, 0.625, float("nan")]
BY_LANGUAGE: list[dict[str, Any]] = [
    {"uid": uid_of(i), "language": language, "clip_score": score}
    for i, (language, score) in enumerate(zip(LANGUAGES, SCORES, strict=True))
]


def test_fractions_per_language(run: Run) -> None:
    parts = [BY_LANGUAGE[:2], BY_LANGUAGE[2:3], [], BY_LANGUAGE[3:]]
    rule = Rule(name="top", column="clip_score", top_fraction=0.5, per="language")
    select(run, Stage.SCORE, parts, rule)
    assert [(one["group"], one["pairs"], one["cut"])
            for one in files.read_document(run.path("score", "quantiles.json"))["cuts"]] == [
        (None, 1, 0.0), ("de", 2, 0.25), ("en", 3, 0.5), ("fr", 1, 0.125),
    ]  # fmt: skip
    assert rows_of(run, "score", "uid") == [uid_of(i) for i in (0, 1, 3, 4, 5, 6)]
    assert gone(run, Stage.SCORE, 4) == [(uid_of(2), "rule:top", "0.375")]


def test_so_many_of_each_language(run: Run) -> None:
    """Ties included, which a fraction keeps all of; a rule is read back as it was taken."""
    equal = [{"uid": uid_of(i), "language": "en", "clip_score": 0.5} for i in range(20, 30)]
    parts = [BY_LANGUAGE[:2], equal[:3], [], [*BY_LANGUAGE[2:], *equal[3:]]]
    rule = Rule(name="three", column="clip_score", top=3, per="language")
    select(run, Stage.SCORE, parts, rule)
    cuts = files.read_document(run.path("score", "quantiles.json"))["cuts"]
    assert [(one["group"], one["pairs"], one["top"], one["cut"]) for one in cuts] == [
        (None, 1, 3, 0.0), ("de", 2, 3, 0.25), ("en", 13, 3, 0.5), ("fr", 1, 3, 0.125),
    ]  # fmt: skip
    stays = rows_of(run, "score", "uid")
    of_equal = [uid for uid in stays if uid in {row["uid"] for row in equal} | {uid_of(0)}]
    assert len(of_equal) == 2
    assert sorted({*stays} - {*of_equal}) == [uid_of(i) for i in (1, 3, 4, 5, 6)]


def test_a_rule_over_several_columns_is_one_reason_with_all_values(run: Run) -> None:
    """English and among the best half of the whole pool, as DataComp intersects two filters."""
    both = Rule.model_validate(
        {
            "name": "both",
            "all_of": [
                {"column": "language", "in": ["en"]},
                {"column": "clip_score", "top_fraction": 0.5},
            ],
        }
    )
    low = Rule(name="low", column="clip_score", min=0.25)
    select(run, Stage.SCORE, [BY_LANGUAGE[:4], BY_LANGUAGE[4:]], both, low)
    assert cut_values(run, Stage.SCORE) == {(Quantile("clip_score", 0.5), None): 0.375}
    assert rows_of(run, "score", "uid") == [uid_of(i) for i in (0, 2, 5)]
    assert gone(run, Stage.SCORE, 2) == [
        (uid_of(1), "rule:both", "language=de, clip_score=0.25"),
        (uid_of(3), "rule:both", "language=fr, clip_score=0.125"),
        (uid_of(4), "rule:both", "language=, clip_score=0"),
        (uid_of(6), "rule:both", "language=de, clip_score=0.625"),
    ]
    assert totals(run, Stage.SCORE)["figures"] == {
        "alone:both": 4, "only:both": 2, "alone:low": 2, "only:low": 0,
    }  # fmt: skip


def test_a_top_fraction_of_nothing_keeps_nothing(run: Run) -> None:
    select(
        run, Stage.SCORE, [[], scored(float("nan"))], Rule(column="clip_score", top_fraction=0.5)
    )
    assert rows_of(run, "score", "uid") == []
    assert dead_rows(run, Stage.SCORE, 2) == [(uid_of(0), "score_not_finite", None)]


def test_annotated_rows_of_other_pairs_are_refused(run: Run) -> None:
    select(run, Stage.SCORE, [scored(0.5, 0.25)])
    files.write_table(
        run.part("score/annotated", 0), table_of(scored(0.5, 0.25)[::-1], schema.SCORED)
    )
    step = SelectScore(run=run, reads="download", digest="d2", own="o", rules=(),
                       columns=schema.after(Stage.SCORE, enabled=AFTER))  # fmt: skip
    with pytest.raises(
        (AssertionError, RuntimeError), match="score/annotated of part 0 is not of the rows of down"
    ):
        drive(run, WithCuts(step), [Part(0, "pool.parquet", 0, 2)])
    assert run.record("score", 0) is None
