"""Balance by perspectives against dictionaries in plain Python, through Beam."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from curate import files, schema
from curate.config import Adaptive as Asked
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.stages.adaptive.counting import Counting
from curate.stages.adaptive.sampling import Adaptive, AdaptiveStep
from tests.ops.selection.test_adaptive import (
    Entities,
    naive_counts,
    naive_pairs,
    naive_probabilities,
    naive_tau,
)
from tests.stages.rundir import check_conserved, drive, gone, lay, rows_of, uid_of

Row = dict[str, Any]
ENABLED = [Stage.PREPARE, Stage.BALANCE]
ADDED = schema.ADDED | {Stage.BALANCE: [*schema.OF_NOUNS, *schema.BALANCE]}
NOUNS = "balance/annotated/nouns"
ENTRIES = {"en": [f"entry {i}" for i in range(30)], "zh": [f"词{i}" for i in range(12)]}


class Small(AdaptiveStep):
    """Few keys are looked at together, and few are in a range."""

    def countings(self) -> list[Counting]:
        return [
            Counting(one.name, one.share, one.first, in_range=40, at_once=7)
            for one in super().countings()
        ]


def pool(language: str, rows: int, *, draw: int) -> list[Row]:
    """Pairs whose matches and nouns follow Zipf's law; some have none."""
    random = np.random.default_rng(draw)
    n = len(ENTRIES[language]) - 1
    weights = 1 / np.arange(1, n + 1)
    found = []
    for k in range(rows):
        ids = random.choice(n, random.integers(0, 6), replace=False, p=weights / weights.sum())
        nouns = [f"noun {x}" for x in random.zipf(1.7, random.integers(0, 5)) % 40]
        found.append({"uid": uid_of(1000 * draw + k), "language": language, "url": "http://x.example",
                      "caption": f"caption {k}", "matches": sorted(ids.tolist()),
                      "nouns": nouns if language == "en" else []})  # fmt: skip
    return found


EN, ZH = pool("en", 300, draw=1), pool("zh", 80, draw=2)
MIXED = [row for pair in zip(EN[:80], ZH, strict=True) for row in pair] + EN[80:]
PARTS = [MIXED[:90], [], MIXED[90:95], MIXED[95:]]


def balance(
    run: Run, parts: Sequence[Sequence[Row]], *, kind: type[AdaptiveStep] = Small, seed: int = 0,
    workers: int = 1, **asked: Any,
) -> None:  # fmt: skip
    """Lay parts, nouns and lists, run the stage, and check the conservation."""
    settings = Asked(**asked)
    laid = lay(run, "prepare", parts, schema.PREPARE)
    of_nouns = schema.after(Stage.PREPARE, enabled=[]).append(schema.PREPARE.field("uid"))
    lay(run, NOUNS, parts, of_nouns.append(schema.OF_NOUNS.field("nouns")))
    metadata = {language: run.path(f"{language}.txt") for language in ENTRIES}
    for language, path in metadata.items():
        Path(path).write_text("\n".join(ENTRIES[language]), encoding="utf-8")
    has_nouns = settings.nouns is not None
    added = ADDED if has_nouns else schema.ADDED
    step = kind(
        run=run, reads="prepare", digest=json.dumps(asked), own="o", asked=settings, seed=seed,
        metadata=metadata if settings.matched else {}, nouns=NOUNS if has_nouns else None,
        columns=schema.after(Stage.BALANCE, enabled=ENABLED, added=added),
    )  # fmt: skip
    drive(run, Adaptive(step), laid, workers=workers)
    check_conserved(run, Stage.BALANCE, laid)


def perspectives(rows: Sequence[Row], *names: str) -> dict[str, Entities]:
    """The entities of each row; those of two languages are others."""
    named = [[(row["language"], e) for e in row["matches"]] for row in rows]
    found: dict[str, Entities] = {
        "entries": named, "pairs": naive_pairs(named), "nouns": [row["nouns"] for row in rows],
    }  # fmt: skip
    return {name: found[name] for name in names}


def is_kept(row: Row, probability: float, seed: int = 0) -> bool:
    return (xxhash.xxh64_intdigest(row["uid"].encode(), seed=seed) >> 11) / 2**53 < probability


ASKED: list[dict[str, Any]] = [
    {"entries": 0.9}, {"pairs": 0.75}, {"nouns": 0.9},
    {"entries": 0.9, "pairs": 0.75}, {"entries": 0.9, "pairs": 0.75, "nouns": 0.9},
    {"entries": 0.8, "pairs": 0.6, "nouns": 0.7, "n_p": 1, "alpha": 0.7},
    {"entries": 0.8, "pairs": 0.6, "nouns": 0.7, "n_p": 2},
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=json.dumps)
def test_each_pair_is_kept_as_the_definition_says(run: Run, asked: dict[str, Any]) -> None:
    balance(run, PARTS, seed=5, **asked)
    shares: dict[str, float] = {x: asked[x] for x in ("entries", "pairs", "nouns") if x in asked}
    rest = {x: asked[x] for x in ("n_p", "alpha") if x in asked}
    of = perspectives(MIXED, *shares)
    keep = naive_probabilities(of, shares, **rest)
    kept = [row for row, p in zip(MIXED, keep, strict=True) if is_kept(row, p, seed=5)]
    assert 20 < len(kept) < 380
    assert rows_of(run, "balance", "uid") == [row["uid"] for row in kept]
    found = rows_of(run, "balance", "keep_probability")
    by_uid = {row["uid"]: p for row, p in zip(MIXED, keep, strict=True)}
    assert found == pytest.approx([by_uid[row["uid"]] for row in kept], rel=1e-12)
    assert [uid for uid, _, _ in gone(run, Stage.BALANCE, len(PARTS))] == [
        row["uid"] for row in MIXED if row not in kept
    ]
    check_told(run, kept, shares)


def check_told(run: Run, kept: Sequence[Row], shares: dict[str, float]) -> None:
    """What stands beside the parts, against what was counted here."""
    told = files.read_json(run.path("balance", "perspectives.json"))
    assert told.keys() == shares.keys()
    for name, samples in perspectives(MIXED, *shares).items():
        before = naive_counts(samples)
        after = naive_counts(perspectives(kept, name)[name])
        tau = naive_tau(before, shares[name])
        head = {one: n for one, n in before.items() if n > tau}
        found = told[name]
        assert (found["tau"], found["entities"], found["occurrences"], found["largest"]) == (
            tau, len(before), before.total(), max(before.values()),
        )  # fmt: skip
        assert (found["head"], found["head_occurrences"]) == (len(head), sum(head.values()))
        assert (found["kept"], found["kept_head"]) == (after.total(), sum(after[x] for x in head))
        steps = zip(found["counts"], found["entities_with"], strict=True)
        assert dict(steps) == dict(naive_counts([[*before.values()]]))
        rows = files.read_table(run.path("balance", f"{name}.parquet")).to_pylist()
        expected: dict[Any, Any]
        table: dict[Any, Any]
        if name == "nouns":
            expected = {(x,): (n, tau / n, after[x]) for x, n in head.items()}
            table = {(r["noun"],): (r["occurrences"], r["probability"], r["kept_occurrences"])
                     for r in rows}  # fmt: skip
        elif name == "pairs":
            expected = {
                tuple(sorted((lang, i) for lang, i in pair)): (n, tau / n, after[pair])  # type: ignore[attr-defined]
                for pair, n in head.items()
            }
            table = {
                ((r["language"], r["entry_id"]), (r["language"], r["other_id"])):
                (r["count"], r["probability"], r["kept"]) for r in rows
            }  # fmt: skip
            for r in rows:
                names = ENTRIES[r["language"]]
                assert [r["entry"], r["other_entry"]] == [
                    names[r["entry_id"]],
                    names[r["other_id"]],
                ]
        else:
            expected = {
                (lang, i): (before[lang, i], tau / max(before[lang, i], tau), after[lang, i])
                for lang, names in ENTRIES.items() for i in range(len(names))
            }  # fmt: skip
            table = {(r["language"], r["entry_id"]): (r["count"], r["probability"], r["kept"])
                     for r in rows}  # fmt: skip
        assert table == expected
        if name != "entries":
            counts = [r["occurrences" if name == "nouns" else "count"] for r in rows]
            assert counts == sorted(counts, reverse=True)
    assert not files.exists(run.path("balance", "work"))


ALL: dict[str, Any] = {"entries": 0.9, "pairs": 0.75, "nouns": 0.9}


def written(run: Run) -> dict[str, bytes]:
    names = [
        f"{x}balance/part-{i:05d}.parquet" for x in ("", "dropped/") for i in range(len(PARTS))
    ]
    names += [f"balance/{x}" for x in ("entries.parquet", "pairs.parquet", "nouns.parquet",
                                       "thresholds.json", "perspectives.json")]  # fmt: skip
    return {name: files.read_bytes(run.path(name)) for name in names}


def test_two_workers_and_other_ranges_write_the_same_bytes(run: Run) -> None:
    balance(run, PARTS, **ALL)
    balance(two := Run(run.path("two")), PARTS, workers=2, **ALL)
    balance(whole := Run(run.path("whole")), PARTS, kind=AdaptiveStep, **ALL)
    assert written(run) == written(two) == written(whole)


def test_what_is_kept_does_not_depend_on_how_the_pool_is_cut(run: Run) -> None:
    balance(run, PARTS, **ALL)
    balance(other := Run(run.path("other")), [MIXED[200:], MIXED[:200]], **ALL)
    assert sorted(rows_of(run, "balance", "uid")) == sorted(rows_of(other, "balance", "uid"))


@pytest.mark.parametrize("parts", [[[], []], [[{**MIXED[0], "matches": [], "nouns": []}], []]])
def test_a_pool_without_entities_keeps_nothing(run: Run, parts: list[list[Row]]) -> None:
    balance(run, parts, **ALL)
    assert rows_of(run, "balance", "uid") == []
    told = files.read_json(run.path("balance", "perspectives.json"))
    assert {(one["tau"], one["occurrences"], one["head"]) for one in told.values()} == {(1, 0, 0)}


def test_null_lists_are_empty_ones(run: Run) -> None:
    rows = [
        {**row, "matches": row["matches"] or None, "nouns": row["nouns"] or None} for row in MIXED
    ]
    balance(run, [rows], **ALL)
    balance(other := Run(run.path("other")), [MIXED], **ALL)
    assert rows_of(run, "balance", "uid") == rows_of(other, "balance", "uid")


def test_files_of_another_balance_do_not_stay(run: Run) -> None:
    for name in ("thresholds.json", "entries.parquet", "pairs.parquet"):
        files.write_bytes(run.path("balance", name), b"{}")
    balance(run, PARTS, nouns=0.9)
    stand = {x for x in ("thresholds.json", "entries.parquet", "pairs.parquet", "nouns.parquet")
             if files.exists(run.path("balance", x))}  # fmt: skip
    assert stand == {"nouns.parquet"}


def test_the_kept_number_is_about_what_is_expected(run: Run) -> None:
    """Over all pairs: within four standard deviations of the sum of the probabilities."""
    balance(run, PARTS, **ALL)
    keep = naive_probabilities(perspectives(MIXED, *ALL), ALL)
    spread = math.sqrt(sum(p * (1 - p) for p in keep))
    assert abs(len(rows_of(run, "balance", "uid")) - sum(keep)) < 4 * spread
