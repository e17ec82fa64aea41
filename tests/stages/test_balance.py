"""balance against collections.Counter and products in plain Python."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import xxhash

from curate import files, schema
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.stages.balance import Balance, BalanceStep, Target
from tests.stages.rundir import check_conserved, drive, gone, lay, rows_of

Row = dict[str, Any]
ENABLED = [Stage.PREPARE, Stage.BALANCE]


class Sampled(beam.PTransform):
    """The parts that come out of the balance."""

    def __init__(self, step: BalanceStep) -> None:
        super().__init__()
        self._step = step

    def expand(self, parts: Any) -> Any:
        return parts | Balance(self._step)


def balance(
    run: Run, parts: list[list[Row]], entries: dict[str, list[str]], *, seed: int = 0, **target: Any
) -> None:
    """Lay the parts and the entry lists, run the stage, and check the conservation."""
    laid = lay(run, "prepare", parts, schema.PREPARE)
    metadata = {}
    for language, names in entries.items():
        metadata[language] = run.path(f"{language}.txt")
        Path(metadata[language]).write_text("\n".join(names), encoding="utf-8")
    aim = Target(**({"t": None, "p": None, "size": None, "reference": "en"} | target))
    step = BalanceStep(run=run, reads="prepare", digest=json.dumps(target), own="o", target=aim,
                       metadata=metadata, seed=seed,
                       columns=schema.after(Stage.BALANCE, enabled=ENABLED))  # fmt: skip
    drive(run, Sampled(step), laid)
    check_conserved(run, Stage.BALANCE, laid)


def pool(language: str, rows: int, entries: int, *, draw: int) -> list[Row]:
    """Pairs whose matches follow Zipf's law; entry 0 is the most frequent, the last never matches."""
    random = np.random.default_rng(draw)
    weights = 1 / np.arange(1, entries)
    found = []
    for n in range(rows):
        size = random.integers(1, 5)
        ids = random.choice(entries - 1, size, replace=False, p=weights / weights.sum())
        found.append({"uid": f"{draw:016x}{n:016x}", "language": language,
                      "matches": sorted(ids.tolist())})  # fmt: skip
    return found


def count(rows: list[Row], language: str = "en") -> Counter[int]:
    return Counter(e for row in rows if row["language"] == language for e in row["matches"])


def keep_probability(row: Row, counts: Counter[int], t: float) -> float:
    return 1 - math.prod(1 - t / max(counts[e], t) for e in row["matches"])


def is_kept(row: Row, probability: float, seed: int = 0) -> bool:
    drawn = xxhash.xxh64_intdigest(row["uid"].encode(), seed=seed)
    return (drawn >> 11) / 2**53 < probability


def share_in_tail(counts: Counter[int], t: float) -> float:
    return sum(c for c in counts.values() if c < t) / counts.total()


def t_of(counts: Counter[int], p: float) -> int:
    """The count whose inclusive share of all matches, counts ascending, is nearest p."""
    ascending = sorted(counts.values())
    shares = np.cumsum(ascending) / counts.total()
    return ascending[min(range(len(shares)), key=lambda i: (abs(shares[i] - p), i))]


def thresholds(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = files.read_json(run.path("balance", "thresholds.json"))
    return found


EN = pool("en", 240, 25, draw=1)
ZH = pool("zh", 90, 12, draw=2)
NAMES = {"en": [f"entry {i}" for i in range(25)], "zh": [f"词{i}" for i in range(12)]}
MIXED = [row for pair in zip(EN[:90], ZH, strict=True) for row in pair] + EN[90:]


def test_a_given_t_samples_each_pair_by_its_entries(run: Run) -> None:
    balance(run, [EN[:100], [], EN[100:]], {"en": NAMES["en"]}, t=20, seed=5)
    counts = count(EN)
    keep = [keep_probability(row, counts, 20) for row in EN]
    kept = [row for row, p in zip(EN, keep, strict=True) if is_kept(row, p, seed=5)]
    assert 40 < len(kept) < 220
    assert rows_of(run, "balance", "uid") == [row["uid"] for row in kept]
    np.testing.assert_allclose(
        rows_of(run, "balance", "keep_probability"),
        [keep_probability(row, counts, 20) for row in kept], rtol=1e-12,
    )  # fmt: skip
    assert gone(run, Stage.BALANCE, 3) == [
        (row["uid"], "sampled_out", f"{p:.6g}")
        for row, p in zip(EN, keep, strict=True) if row not in kept
    ]  # fmt: skip
    assert thresholds(run) == {
        "en": {"t": 20, "p": share_in_tail(counts, 20), "pairs": 240, "matches": counts.total(),
               "entries": 25, "largest": max(counts.values())}
    }  # fmt: skip


def test_the_table_of_entries_is_exact(run: Run) -> None:
    balance(run, [MIXED[:70], MIXED[70:]], NAMES, t=20)
    kept = set(rows_of(run, "balance", "uid"))
    found = files.read_table(run.path("balance", "entries.parquet"))
    assert found.schema.equals(schema.ENTRIES)
    ts = {language: x["t"] for language, x in thresholds(run).items()}
    expected = []
    for language, rows in (("en", EN), ("zh", ZH)):
        before, t = count(rows, language), ts[language]
        after = count([row for row in rows if row["uid"] in kept], language)
        expected += [
            {"language": language, "entry_id": i, "entry": name, "count": before[i],
             "probability": t / max(before[i], t), "kept": after[i]}
            for i, name in enumerate(NAMES[language])
        ]  # fmt: skip
    assert found.to_pylist() == expected


def test_the_p_of_the_reference_is_carried_to_the_other_language(run: Run) -> None:
    balance(run, [MIXED[:70], MIXED[70:]], NAMES, t=30)
    p = share_in_tail(count(EN), 30)
    t = t_of(count(ZH, "zh"), p)
    assert 1 < t < max(count(ZH, "zh").values())
    assert {x: (found["t"], found["p"]) for x, found in thresholds(run).items()} == {
        "en": (30, p), "zh": (t, share_in_tail(count(ZH, "zh"), t)),
    }  # fmt: skip
    kept = [
        row for row in MIXED
        if is_kept(row, keep_probability(row, count(MIXED, row["language"]),
                                         {"en": 30, "zh": t}[row["language"]]))
    ]  # fmt: skip
    assert rows_of(run, "balance", "uid") == [row["uid"] for row in kept]


def test_a_given_p_sets_the_t_of_each_language(run: Run) -> None:
    balance(run, [MIXED], NAMES, p=0.3)
    assert {x: found["t"] for x, found in thresholds(run).items()} == {
        "en": t_of(count(EN), 0.3), "zh": t_of(count(ZH, "zh"), 0.3),
    }  # fmt: skip


@pytest.mark.parametrize("languages", [("en",), ("en", "zh")])
def test_a_given_size_is_reached_in_expectation(run: Run, languages: tuple[str, ...]) -> None:
    rows = pool("en", 2000, 60, draw=3)
    if "zh" in languages:
        rows += pool("zh", 600, 40, draw=4)
    names = {x: [f"e{i}" for i in range(60 if x == "en" else 40)] for x in languages}
    size = 700
    balance(run, [rows[1200:], rows[:1200]], names, size=size)
    ts = {x: found["t"] for x, found in thresholds(run).items()}
    counts = {x: count(rows, x) for x in languages}
    expected = sum(keep_probability(r, counts[r["language"]], ts[r["language"]]) for r in rows)
    if languages == ("en",):  # with a second language, whose t is a count, sizes come in steps
        assert expected == pytest.approx(size, rel=0.005)
    else:
        p = share_in_tail(counts["en"], ts["en"])
        assert ts["zh"] == t_of(counts["zh"], p)
        assert expected == pytest.approx(size, rel=0.05)
    kept = len(rows_of(run, "balance", "uid"))
    assert abs(kept - expected) < 4 * math.sqrt(expected)


def test_a_size_that_all_pairs_do_not_reach_keeps_all(run: Run) -> None:
    balance(run, [EN[:50]], {"en": NAMES["en"]}, size=1000)
    assert rows_of(run, "balance", "uid") == [row["uid"] for row in EN[:50]]


def test_kept_sets_nest_as_t_grows(run: Run) -> None:
    kept = []
    for t in (2, 8, 10_000):
        balance(run, [EN], {"en": NAMES["en"]}, t=t)
        kept.append(set(rows_of(run, "balance", "uid")))
    assert kept[0] < kept[1] < kept[2] == {row["uid"] for row in EN}


def test_files_do_not_depend_on_how_the_pool_is_cut(run: Run) -> None:
    balance(run, [MIXED[:70], MIXED[70:130], MIXED[130:]], NAMES, t=20)
    balance(other := Run(run.path("other")), [MIXED[130:], MIXED[:130]], NAMES, t=20)
    for name in ("entries.parquet", "thresholds.json"):
        ours, theirs = (files.read_bytes(r.path("balance", name)) for r in (run, other))
        assert ours == theirs
    assert sorted(rows_of(run, "balance", "uid")) == sorted(rows_of(other, "balance", "uid"))


def test_a_language_without_pairs_and_a_pool_without_rows(run: Run) -> None:
    balance(run, [EN[:40]], NAMES, t=5)
    assert thresholds(run)["zh"] == {"t": 1, "p": 0, "pairs": 0, "matches": 0, "entries": 12,
                                      "largest": 0}  # fmt: skip
    balance(empty := Run(run.path("empty")), [[], []], NAMES, size=10)
    assert rows_of(empty, "balance", "uid") == []
    assert thresholds(empty)["en"]["pairs"] == 0
