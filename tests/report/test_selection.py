"""The table of rules, and scores with thresholds a language at a time, of hand-laid runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import files, schema
from curate.config import Config, Rule
from curate.planning.steps import steps_of
from curate.report.selection import LANGUAGES, RuleFacts, Scores, Threshold, _grid, rules, scores
from curate.report.wording import conditions
from curate.rundir.directory import PartRecord, Run, totals
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import whole
from tests.stages.rundir import lay, uid_of

RULES: list[dict[str, Any]] = [
    {"name": "words", "column": "caption_words", "min": 3},
    {"column": "clip_score", "between": [0.0, 0.5]},
    {"name": "top", "column": "clip_score", "top_fraction": 0.5, "per": "language"},
    {"name": "either", "any_of": [{"column": "language", "in": ["en"]},
                                  {"column": "clip_score", "top_fraction": 0.25}]},
]  # fmt: skip


def config(*rules: dict[str, Any]) -> Config:
    document = {"input": {"paths": ["p"]}, "score": {"model": "m"}, "select": list(rules),
                "dedup": {"enabled": False}}  # fmt: skip
    return Config.model_validate(document)


def scores_of(run: Run, asked: Config) -> tuple[Scores, ...]:
    """The scores of a run that was laid out by hand."""
    steps = steps_of(asked)
    return scores(run, asked, steps, whole(run, Counting.of(steps, Stage.SCORE)))


def test_the_table_of_rules_from_the_records(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "run"))
    words: dict[str, float] = {"alone:words": 2, "only:words": 2}
    for index in range(2):
        record = PartRecord(
            "d", "o", 10, 5, {"rule:words": 2, "no_match": 1, "language": 1}, {"null_url": 1}, words
        )
        run.write_record("prepare", index, record)
    figures: dict[str, float] = {
        "alone:clip_score": 3, "only:clip_score": 1, "alone:top": 4, "only:top": 2,
        "alone:either": 0, "only:either": 0,
    }  # fmt: skip
    gone = {"rule:clip_score": 3, "rule:top": 2}
    run.write_record(
        "score", 0, PartRecord("d", "o", 10, 4, gone, {"score_not_finite": 1}, figures)
    )
    counts = {stage: totals(run, stage) for stage in (Stage.PREPARE, Stage.SCORE)}
    found = rules(steps_of(config(*RULES)), counts)
    assert [(r.rule, r.stage, r.pairs, r.dropped, r.alone, r.only) for r in found] == [
        ("words", "prepare", 16, 4, 4, 4),
        ("clip_score", "score", 9, 3, 3, 1),
        ("top", "score", 9, 2, 4, 2),
        ("either", "score", 9, 0, 0, 0),
    ]
    assert found[0] == RuleFacts("words", "prepare", "caption_words is at least 3", 16, 4, 4, 4)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (RULES[1], "clip_score is from 0 to 0.5"),
        (RULES[2], "clip_score is among the highest 50% of its language"),
        (RULES[3], "language is one of en or clip_score is among the highest 25%"),
        ({"name": "x", "all_of": [RULES[1], {"any_of": RULES[3]["any_of"][:1]}]},
         "clip_score is from 0 to 0.5 and (language is one of en)"),
        ({"column": "nearest_target", "in": [True]}, "nearest_target is one of true"),
    ],
)  # fmt: skip
def test_rules_in_words(rule: dict[str, Any], text: str) -> None:
    assert conditions(Rule.model_validate(rule)) == text


def test_scores_a_language_at_a_time(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "run"))
    languages = ["en", "en", "de", None, "en", "fr"] + [f"x{i}" for i in range(LANGUAGES)]
    values = [0.25, 0.5, 0.125, 0.75, float("nan"), -0.5] + [0.1] * LANGUAGES
    rows = [
        {"uid": uid_of(i), "language": language, "clip_score": value}
        for i, (language, value) in enumerate(zip(languages, values, strict=True))
    ]
    enabled = [Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE]
    lay(run, "download", [rows[:2], rows[2:]], schema.after(Stage.DOWNLOAD, enabled=enabled))
    lay(run, "score/annotated", [rows[:2], rows[2:]], schema.SCORED)
    lay(run, "score", [rows[:1], rows[2:4]], schema.after(Stage.SCORE, enabled=enabled))
    files.write_json(
        run.path("score", "quantiles.json"),
        [
            {"column": "clip_score", "top_fraction": 0.25, "per": None, "group": None, "cut": 0.3,
             "pairs": 9},
            {"column": "clip_score", "top_fraction": 0.5, "per": "language", "group": "en",
             "cut": 0.25, "pairs": 9},
        ],
    )  # fmt: skip
    [found] = scores_of(run, config(*RULES))
    assert (found.column, found.scored) == ("clip_score", 5 + LANGUAGES)
    assert (sum(found.spread.histogram.before), sum(found.spread.histogram.after)) == (11, 3)
    everywhere = (Threshold("clip_score", 0.0, "above"), Threshold("clip_score", 0.5, "below"),
                  Threshold("either", 0.3, "above"))  # fmt: skip
    assert found.thresholds == everywhere
    assert [(one.language, one.scored) for one in found.languages] == [
        ("en", 2), ("de", 1), ("fr", 1), ("unknown", 1), ("x0", 1), ("x1", 1),
    ]  # fmt: skip
    english = found.languages[0]
    assert english.thresholds == (*everywhere[:2], Threshold("top", 0.25, "above"), everywhere[2])
    assert (sum(english.spread.histogram.before), sum(english.spread.histogram.after)) == (2, 1)
    assert found.languages[1].thresholds == everywhere


def test_one_language_is_not_shown_twice(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "run"))
    rows = [{"uid": uid_of(1), "language": "en", "clip_score": 0.25}]
    enabled = [Stage.PREPARE, Stage.DOWNLOAD, Stage.SCORE]
    lay(run, "download", [rows], schema.after(Stage.DOWNLOAD, enabled=enabled))
    lay(run, "score/annotated", [rows], schema.SCORED)
    lay(run, "score", [[]], schema.after(Stage.SCORE, enabled=enabled))
    [found] = scores_of(run, config())
    assert (found.scored, found.languages, found.thresholds) == (1, (), ())


def test_columns_of_embeddings_are_shown_like_scores(tmp_path: Path) -> None:
    """They stand in folders of their own, may be null, and may be whole numbers; truth is no score."""
    run = Run(str(tmp_path / "run"))
    target = {"target": "t.npy"}
    score = {"model": "m", "embeddings": True, "norm_sim": target, "nearest_target": target,
             "simcore": {**target, "keep": 2}}  # fmt: skip
    rules = [{"column": "norm_sim", "min": 0.5}, {"column": "simcore", "min": 1},
             {"column": "nearest_target", "in": [True]}]  # fmt: skip
    asked = Config.model_validate(
        {"input": {"paths": ["p"]}, "score": score, "select": rules, "dedup": {"enabled": False}}
    )
    rows = [
        {"uid": uid_of(i), "url": "u", "caption": f"c{i}", "language": "en", "clip_score": 0.25,
         "norm_sim": near, "nearest_target": True, "simcore": taken}
        for i, (near, taken) in enumerate([(0.75, 2), (0.25, None), (None, None), (0.5, 1)])
    ]  # fmt: skip
    lay(run, "download", [rows], steps_of(asked).added[Stage.PREPARE])
    lay(run, "score/annotated", [rows], schema.SCORED)
    for field in schema.DERIVED:
        columns = pa.schema([("uid", pa.string()), field])
        lay(run, f"score/annotated/{field.name}", [rows], columns)
    columns = schema.after(Stage.SCORE, enabled=Stage, added=steps_of(asked).added)
    lay(run, "score", [[rows[0], rows[3]]], columns)
    found = {one.column: one for one in scores_of(run, asked)}
    assert list(found) == ["clip_score", "norm_sim", "simcore"]
    assert [found[name].scored for name in ("norm_sim", "simcore")] == [3, 2]
    assert [one.value for one in found["norm_sim"].ends.highest] == ["0.75", "0.5", "0.25"]
    assert [one.caption for one in found["simcore"].ends.lowest] == ["c3", "c0"]
    (sheet,) = found["norm_sim"].sheets
    assert [[x.caption for x in side] for side in (sheet.kept, sheet.dropped)] == [
        ["c3", "c0"], ["c1"],
    ]  # fmt: skip


def test_whole_numbers_have_a_bar_each() -> None:
    """Rounds of SimCore: 3 was never needed; a share has narrower bars."""
    rounds = _grid("simcore", 1, 4, whole=True)
    rounds.add(np.array([1.0, 2, 4]), np.array([2, 1, 1]), rounds.before)
    shape = rounds.spread().histogram
    assert (shape.edges, shape.before) == ((1, 2, 3, 4, 5), (2, 1, 0, 1))
    share = _grid("text_area", 0.0, 0.5, whole=False)
    share.add(np.array([0.0, 0.5]), np.array([1, 1]), share.before)
    assert len(share.spread().histogram.before) > 20
