"""Policies, clusters and entries of dedup, of runs laid out by hand."""

from pathlib import Path
from typing import Any

from curate import files, schema
from curate.config import Config
from curate.planning.steps import steps_of
from curate.report.duplicates import (
    MEMBERS,
    Duplicates,
    EntrySkew,
    SizeClass,
    duplicates,
)
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.groups import whole
from curate.summaries.tallies import SHOWN, First
from tests.stages.rundir import lay, table_of, uid_of

ENABLED = [Stage.PREPARE, Stage.DEDUP]
LISTS = {"en": ["yak", "cat", "dog"], "de": ["Hund"]}


def row(number: int, *, size: int = 1, cluster: int | None = None, **more: Any) -> dict[str, Any]:
    first = number if cluster is None else cluster
    return {"uid": uid_of(number), "url": f"u{number}", "caption": f"c{number}", "language": "en",
            "matches": [], "cluster": uid_of(first), "cluster_size": size} | more  # fmt: skip


def found_in(
    root: Path,
    before: list[list[dict[str, Any]]],
    kept: list[list[dict[str, Any]]],
    gone: list[dict[str, Any]],
    *,
    would_drop: dict[str, int] | None = None,
    prefer: tuple[str, ...] = (),
) -> Duplicates:
    """Lay the run out, `gone` in the ledger of its last part, and read it."""
    run = Run(str(root / "run"))
    before += [[] for _ in kept[len(before) :]]
    lay(run, "prepare", before, schema.PREPARE)
    lay(run, "dedup", kept, schema.after(Stage.DEDUP, enabled=ENABLED))
    files.write_table(run.ledger(Stage.DEDUP, len(kept) - 1), table_of(gone, schema.LEDGER))
    if would_drop is not None:
        document = {"digest": "d", "policy": ["url"], "would_drop": would_drop}
        files.write_json(run.path(Stage.DEDUP, "clusters.json"), document)
    for language, entries in LISTS.items():
        (root / language).write_text("\n".join(entries))
    config = Config.model_validate(
        {"input": {"paths": ["p"]}, "download": {"enabled": False},
         "dedup": {"policy": "strict", "prefer": prefer},
         "prepare": {"metadata": {language: str(root / language) for language in LISTS}}}
    )  # fmt: skip
    pairs_in = sum(map(len, before))
    found = whole(run, Counting.of(steps_of(config), Stage.DEDUP))
    return duplicates(run, config, found, pairs_in=pairs_in, dropped=pairs_in - sum(map(len, kept)))


def lost(number: int, survivor: int, reason: str = "duplicate_url") -> dict[str, Any]:
    return {"uid": uid_of(number), "url": f"u{number}", "caption": f"c{number}",
            "stage": "dedup", "reason": reason, "value": uid_of(survivor)}  # fmt: skip


def test_each_policy_and_what_it_would_drop(tmp_path: Path) -> None:
    would = {"caption": 3, "image": 2, "url": 1}
    rows = [row(i) for i in range(8)]
    found = found_in(tmp_path, [rows], [rows[:4]], [], would_drop=would)
    assert (found.pairs_in, found.dropped) == (8, 4)
    shown = [(p.policy, p.in_force, p.would_drop, p.at_most, p.share) for p in found.policies]
    assert shown == [
        ("url", True, 1, False, 1 / 8),
        ("image", True, 2, False, 2 / 8),
        ("pair", False, 2, True, 2 / 8),  # it finds no more than `image` does
        ("caption", True, 3, False, 3 / 8),
    ]


def test_a_policy_that_nobody_looked_at(tmp_path: Path) -> None:
    would = {"url": 1, "image": 2, "pair": 1, "semantic": 0}
    found = found_in(tmp_path, [[row(1)]], [[row(1)]], [], would_drop=would)
    by_name = {p.policy: p for p in found.policies}
    assert (by_name["caption"].would_drop, by_name["caption"].share) == (None, None)
    assert (by_name["pair"].would_drop, by_name["pair"].at_most) == (1, False)
    assert by_name["semantic"].would_drop == 0


def test_a_cluster_is_counted_once_however_many_of_it_stay(tmp_path: Path) -> None:
    kept = [[row(1, size=4), row(2, size=4, cluster=1), row(5)], [row(6, size=2)]]
    gone = [lost(3, 1), lost(4, 1, "duplicate_caption"), lost(7, 6)]
    found = found_in(tmp_path, [[row(i) for i in range(1, 8)]], kept, gone)
    assert (found.clusters, found.pairs) == (2, 6)
    assert found.sizes == (SizeClass(2, 2, 1, 2), SizeClass(3, 3, 0, 0), SizeClass(4, 4, 1, 4))
    first, second = found.largest
    assert (first.size, first.survivor.uid, first.survivor.part) == (4, uid_of(1), 0)
    assert [(e.uid, e.part, e.reason) for e in first.dropped] == [
        (uid_of(3), 1, "duplicate_url"), (uid_of(4), 1, "duplicate_caption"),
    ]  # fmt: skip
    assert [e.uid for e in second.dropped] == [uid_of(7)]


def test_what_is_shown_is_bounded(tmp_path: Path) -> None:
    kept = [[row(i, size=10 + i) for i in range(SHOWN[First.CLUSTER] + 3)]]
    largest = SHOWN[First.CLUSTER] + 2
    gone = [lost(100 + i, largest) for i in range(MEMBERS + 4)]
    found = found_in(tmp_path, kept, kept, gone)
    assert [c.size for c in found.largest] == [
        10 + largest - i for i in range(SHOWN[First.CLUSTER])
    ]
    assert [e.uid for e in found.largest[0].dropped] == [uid_of(100 + i) for i in range(MEMBERS)]


def test_entries_before_and_after(tmp_path: Path) -> None:
    cats = [row(i, matches=[1]) for i in range(4)]
    dogs = [row(10 + i, matches=[1, 2]) for i in range(2)]
    hunde = [row(20 + i, matches=[0], language="de") for i in range(3)]
    nothing = [row(30, language=None, matches=None)]
    before = [cats[:2] + dogs, cats[2:] + hunde + nothing]
    found = found_in(tmp_path, before, [cats[:1] + dogs[:1], hunde + nothing], [lost(1, 0)])
    assert (found.matches_before, found.matches_after) == (11, 6)
    assert found.entries == (
        EntrySkew("en", "cat", before=6, after=2, rank_before=1, rank_after=2),
        EntrySkew("de", "Hund", before=3, after=3, rank_before=2, rank_after=1),
        EntrySkew("en", "dog", before=2, after=1, rank_before=3, rank_after=3),
    )


def test_a_run_without_matches_has_no_entries(tmp_path: Path) -> None:
    found = found_in(tmp_path, [[row(1), row(2)]], [[row(1)]], [])
    assert (found.entries, found.matches_before) == ((), 0)


def test_what_was_preferred_is_told_of_each_pair_of_a_cluster(tmp_path: Path) -> None:
    """A pair of another part with the same uid has a value of its own."""
    first, second = row(1, size=3, caption_words=7), row(2, caption_words=4)
    other = row(2, caption_words=9) | {"caption": "another"}
    found = found_in(
        tmp_path, [[first, other], [second, row(3)]], [[first], []], [lost(2, 1), lost(3, 1)],
        prefer=("caption_words", "-language_score"),
    )  # fmt: skip
    (cluster,) = found.largest
    assert [pair.uid for pair in cluster.dropped] == [uid_of(2), uid_of(3)]
    assert cluster.preferred == tuple(
        f"caption_words {n}, language_score none" for n in (7, 4, "none")
    )
