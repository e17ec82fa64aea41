"""The numbers of a report against runs whose every pair's fate is stated in conftest.py."""

import json
from dataclasses import asdict

import numpy as np

from curate import files
from curate.config import Config
from curate.report.distributions import Format, Grid, Language
from curate.report.duplicates import SizeClass
from curate.report.entries import HeadEntry, Point
from curate.report.facts import Check, Facts, StageFacts, collect
from curate.report.selection import Threshold
from curate.report.wording import conditions, explain
from curate.rundir.directory import Run
from curate.schema import Stage


def uid(n: int) -> str:
    return f"{n:032x}"


def reasons(facts: Facts) -> list[tuple[str, str, int, list[int]]]:
    return [
        (r.stage, r.reason, r.pairs, [int(e.uid, 16) for e in r.examples]) for r in facts.dropped
    ]


def test_funnel(full_run: Run, full_config: Config) -> None:
    facts = collect(full_run, full_config)
    assert (facts.pairs, facts.kept) == (14, 4)
    assert facts.funnel == (
        StageFacts("prepare", 2, rows=14, kept=10, dropped=3, dead=1),
        StageFacts("download", 2, rows=10, kept=8, dropped=2, dead=0),
        StageFacts("dedup", 2, rows=8, kept=6, dropped=2, dead=0),
        StageFacts("score", 2, rows=6, kept=5, dropped=1, dead=0),
        StageFacts("balance", 2, rows=5, kept=4, dropped=1, dead=0),
        StageFacts("shards", 1, rows=4, kept=4, dropped=0, dead=0),
    )
    assert facts.seconds == {
        "prepare": 2.0, "download": 3.0, "dedup": 2.0, "score": 3.0, "balance": 2.0
    }  # fmt: skip


def test_checks_hold(full_run: Run, full_config: Config) -> None:
    checks = collect(full_run, full_config).checks
    assert len(checks) == 17
    assert all(check.holds for check in checks)
    assert checks[:4] == (
        Check("prepare", "rows of the input = pairs in", 14, 14),
        Check("prepare", "pairs in = kept + dropped + dead", 14, 14),
        Check("prepare", "rows in the ledger = dropped + dead", 4, 4),
        Check("download", "kept by prepare = pairs in", 10, 10),
    )


def test_a_lost_part_fails_a_check(full_run: Run, full_config: Config) -> None:
    files.remove(full_run.part(Stage.DEDUP, 1, "json"))
    failed = [check for check in collect(full_run, full_config).checks if not check.holds]
    assert failed == [
        Check("dedup", "kept by download = pairs in", 8, 3),
        Check("score", "kept by dedup = pairs in", 3, 6),
    ]


def test_inputs_without_counts_are_not_checked(full_run: Run, full_config: Config) -> None:
    full_run.update(inputs=[{"path": "pool.parquet", "digest": "d"}])
    checks = collect(full_run, full_config).checks
    assert checks[0] == Check("prepare", "pairs in = kept + dropped + dead", 14, 14)


def test_a_cut_ledger_fails_a_check(full_run: Run, full_config: Config) -> None:
    url = full_run.ledger(Stage.PREPARE, 0)
    files.write_table(url, files.read_table(url).slice(1))
    failed = [check for check in collect(full_run, full_config).checks if not check.holds]
    assert failed == [Check("prepare", "rows in the ledger = dropped + dead", 3, 4)]


def test_reasons_most_frequent_first(full_run: Run, full_config: Config) -> None:
    facts = collect(full_run, full_config)
    assert reasons(facts) == [
        ("prepare", "no_match", 2, [4, 10]),
        ("prepare", "language", 1, [5]),
        ("download", "http_404", 1, [6]),
        ("download", "rule:small", 1, [7]),
        ("dedup", "duplicate_image", 1, [11]),
        ("dedup", "duplicate_url", 1, [12]),
        ("score", "rule:clip_score", 1, [13]),
        ("balance", "sampled_out", 1, [14]),
    ]
    assert facts.dropped[0].share == 2 / 14
    assert [e.part for e in facts.dropped[0].examples] == [0, 1]
    assert facts.dropped[3].examples[0].value == "50"
    assert [(r.stage, r.reason, r.pairs) for r in facts.dead] == [("prepare", "null_url", 1)]
    assert facts.dead[0].examples[0].uid == uid(8)


def test_kept_examples(full_run: Run, full_config: Config) -> None:
    found = [(int(e.uid, 16), e.part) for e in collect(full_run, full_config).examples]
    assert found == [(1, 0), (2, 0), (3, 0), (9, 1)]


def test_languages(full_run: Run, full_config: Config) -> None:
    assert collect(full_run, full_config).languages == (
        Language("en", unwanted=0, prepared=9, kept=3),
        Language("de", unwanted=0, prepared=1, kept=1),
        Language("fr", unwanted=1, prepared=0, kept=0),
    )


def test_captions(full_run: Run, full_config: Config) -> None:
    words = collect(full_run, full_config).captions.words
    assert (words.median_before, words.median_after) == (1, 2)
    shape = words.histogram
    assert [*shape.edges] == [1, 2, 3, 4, 5, 6]
    assert [*shape.before] == [5, 3, 0, 0, 2]
    assert [*shape.after] == [0, 2, 0, 0, 2]


def test_images(full_run: Run, full_config: Config) -> None:
    images = collect(full_run, full_config).images
    assert images is not None
    assert (images.stored, images.original_bytes) == (9, 45_000)
    assert images.smaller_side.median_before == 200
    assert sum(images.smaller_side.histogram.before) == 9
    assert sum(images.smaller_side.histogram.after) == 4
    assert images.smaller_side.histogram.before[0] == 1
    assert images.aspect.histogram.edges[0] == 1.5
    assert images.formats == (
        Format("jpeg", stored=6, kept=1),
        Format("png", stored=3, kept=3),
    )


def test_scores(full_run: Run, full_config: Config) -> None:
    [scores] = collect(full_run, full_config).scores
    assert (scores.column, scores.scored) == ("clip_score", 6)
    shape = scores.spread.histogram
    assert (shape.edges[0], shape.edges[-1]) == (0.1, 0.31)
    assert [n for n in shape.before if n] == [1, 5]
    assert [n for n in shape.after if n] == [5]
    assert scores.thresholds == (
        Threshold("clip_score", 0.2, "above"),
        Threshold("best", 0.15, "above"),
    )


def test_duplicates(full_run: Run, full_config: Config) -> None:
    found = collect(full_run, full_config).duplicates
    assert found is not None
    assert (found.clusters, found.pairs) == (1, 3)
    assert found.sizes == (SizeClass(2, 2, 0, 0), SizeClass(3, 3, 1, 3))
    (cluster,) = found.largest
    assert (cluster.size, cluster.survivor.uid, cluster.survivor.part) == (3, uid(1), 0)
    assert [(e.uid, e.part, e.reason) for e in cluster.dropped] == [
        (uid(11), 1, "duplicate_image"),
        (uid(12), 1, "duplicate_url"),
    ]


def test_balance(full_run: Run, full_config: Config) -> None:
    found = collect(full_run, full_config).balance
    assert found is not None
    en, de = found.languages
    assert (en.language, en.t, en.p, en.pairs, en.kept_pairs) == ("en", 2, 2 / 6, 4, 3)
    assert (en.matches, en.kept_matches, en.entries) == (6, 5, 4)
    assert (en.head, en.tail, en.unmatched) == (1, 2, 1)
    assert en.ranks == (Point(1, 4, 3), Point(2, 1, 1), Point(3, 1, 1))
    assert en.cumulative == (Point(0, 0, 0), Point(1, 1, 1), Point(2, 2, 2), Point(3, 6, 5))
    assert (de.language, de.head, de.tail, de.unmatched) == ("de", 0, 1, 0)
    assert found.head == (
        HeadEntry("en", "cat", count=4, probability=0.5, kept=3),
        HeadEntry("de", "Hund", count=1, probability=1.0, kept=1),
        HeadEntry("en", "mat", count=1, probability=1.0, kept=1),
        HeadEntry("en", "dog", count=1, probability=1.0, kept=1),
    )


def test_without_download(text_run: Run, text_config: Config) -> None:
    facts = collect(text_run, text_config)
    assert (facts.pairs, facts.kept) == (11, 4)
    found = [(s.stage, s.rows, s.kept) for s in facts.funnel]
    assert found == [("prepare", 11, 7), ("dedup", 7, 5), ("balance", 5, 4)]
    assert (facts.images, facts.scores, facts.shards) == (None, (), None)
    assert all(check.holds for check in facts.checks)


def test_without_balance(unbalanced_run: Run, unbalanced_config: Config) -> None:
    facts = collect(unbalanced_run, unbalanced_config)
    assert (facts.pairs, facts.kept) == (11, 4)
    found = [(s.stage, s.rows, s.kept) for s in facts.funnel]
    assert found == [("prepare", 11, 7), ("download", 7, 5), ("score", 5, 4), ("shards", 4, 4)]
    assert (facts.balance, facts.duplicates) == (None, None)
    assert all(check.holds for check in facts.checks)


def test_a_stage_that_is_now_off_does_not_count(full_run: Run, unbalanced_config: Config) -> None:
    found = [stage.stage for stage in collect(full_run, unbalanced_config).funnel]
    assert found == ["prepare", "download", "score", "shards"]


def test_json_holds_everything_and_is_the_same_again(full_run: Run, full_config: Config) -> None:
    facts = collect(full_run, full_config)
    text = json.dumps(facts.to_json())
    assert json.dumps(collect(full_run, full_config).to_json()) == text
    document = json.loads(text)
    assert [*document, "columns"] == list(asdict(facts))
    assert document["checks"][0] == {
        "stage": "prepare", "claim": "rows of the input = pairs in", "left": 14, "right": 14,
        "holds": True,
    }  # fmt: skip


def test_a_long_tail_goes_into_the_last_bar() -> None:
    grid = Grid(start=0, step=1, cells=1000)
    grid.add(np.append(np.arange(10.0), 900), np.append(np.full(10, 20), 1), grid.before)
    shape = grid.spread().histogram
    assert shape.open_ended
    assert shape.edges == tuple(range(11))
    assert shape.before == (20,) * 9 + (21,)


def test_rules_are_explained(full_config: Config) -> None:
    assert [conditions(rule) for rule in full_config.select] == [
        "smaller_side is at least 100",
        "clip_score is at least 0.2",
        "clip_score is among the highest 90%",
    ]
    found = explain("rule:small", config=full_config)
    assert found == "A rule of the configuration keeps a pair if smaller_side is at least 100."
