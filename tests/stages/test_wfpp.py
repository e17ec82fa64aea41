"""wfpp against dictionaries in plain Python, through Beam."""

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from curate import files, schema
from curate.ops.selection.wfpp import count_words
from curate.rundir.directory import Run
from curate.schema import Stage
from curate.stages import wfpp
from curate.stages.wfpp import SumWords, Wfpp, WfppStep
from tests.ops.selection.test_wfpp import naive_score, naive_weights
from tests.stages.rundir import check_conserved, drive, gone, lay, rows_of, uid_of

Row = dict[str, Any]
ENABLED = [Stage.PREPARE, Stage.BALANCE]
COLUMNS = schema.after(
    Stage.BALANCE, enabled=ENABLED, added=schema.ADDED | {Stage.BALANCE: schema.WFPP}
)
THRESHOLD = 1e-3


def pool(rows: int) -> list[Row]:
    """Captions whose words follow Zipf's law."""
    draw = random.Random(rows)
    vocabulary = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)]
    share = [1 / (i + 1) for i in range(300)]
    captions = [
        " ".join(draw.choices(vocabulary, share, k=draw.randint(1, 40))) for _ in range(rows)
    ]
    return [
        {"uid": uid_of(i), "url": f"http://x.example/{i}", "caption": caption, "language": "en"}
        for i, caption in enumerate(captions)
    ]


def prune(run: Run, parts: list[list[Row]], *, fraction: float, workers: int = 1) -> None:
    """Lay the parts, run the stage, and check the conservation."""
    laid = lay(run, "prepare", parts, schema.PREPARE)
    step = WfppStep(run=run, reads="prepare", digest=str(fraction), own="o", fraction=fraction,
                    threshold=THRESHOLD, columns=COLUMNS)  # fmt: skip
    drive(run, Wfpp(step), laid, workers=workers)
    check_conserved(run, Stage.BALANCE, laid)


ROWS = pool(400)
CUT = [ROWS[:150], [], ROWS[150:160], ROWS[160:]]
WEIGHTS = naive_weights([row["caption"] for row in ROWS], THRESHOLD)
SCORES = [naive_score(row["caption"], WEIGHTS) for row in ROWS]


@pytest.mark.parametrize("fraction", [0.5, 0.07])
def test_the_highest_scores_of_the_whole_pool_are_kept(run: Run, fraction: float) -> None:
    prune(run, CUT, fraction=fraction)
    threshold = sorted(SCORES, reverse=True)[int(len(SCORES) * fraction)]
    kept = [i for i, score in enumerate(SCORES) if score >= threshold * (1 - 1e-12)]
    assert abs(len(kept) - len(ROWS) * fraction) <= 2
    assert rows_of(run, "balance", "uid") == [uid_of(i) for i in kept]
    assert rows_of(run, "balance", "word_score") == pytest.approx([SCORES[i] for i in kept])
    assert gone(run, Stage.BALANCE, len(CUT)) == [
        (uid_of(i), "frequent_words", f"{score:.6g}")
        for i, score in enumerate(SCORES) if i not in kept
    ]  # fmt: skip


def test_two_workers_write_what_one_writes(run: Run) -> None:
    prune(run, CUT, fraction=0.4)
    prune(other := Run(run.path("other")), CUT, fraction=0.4, workers=2)
    names = [f"balance/part-{i:05d}.parquet" for i in range(len(CUT))]
    for name in [*names, *(f"dropped/{n}" for n in names)]:
        assert files.read_bytes(run.path(name)) == files.read_bytes(other.path(name)), name


def test_what_is_kept_does_not_depend_on_how_the_pool_is_cut(run: Run) -> None:
    prune(run, CUT, fraction=0.4)
    prune(other := Run(run.path("other")), [ROWS[300:], ROWS[:300]], fraction=0.4)
    assert sorted(rows_of(run, "balance", "uid")) == sorted(rows_of(other, "balance", "uid"))


def test_a_pool_without_rows(run: Run) -> None:
    prune(run, [[], []], fraction=0.4)
    assert rows_of(run, "balance", "uid") == []


def test_files_of_the_other_way_to_balance_do_not_stay(run: Run) -> None:
    files.write_json(run.path("balance", "thresholds.json"), {})
    files.write_bytes(run.path("balance", "entries.parquet"), b"")
    prune(run, CUT, fraction=0.4)
    assert {"thresholds.json", "entries.parquet"}.isdisjoint(files.names(run.path("balance")))


def test_counts_are_the_same_in_whatever_order_they_are_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wfpp, "_FEW", 20)  # so that sums are taken on the way
    found = [count_words(pa.array([row["caption"]])) for row in ROWS]
    combine = SumWords()
    accumulators = []
    for first in range(7):
        accumulator = combine.create_accumulator()
        for one in found[first::7]:
            accumulator = combine.add_input(accumulator, one)
        accumulators.append(accumulator)
    total = combine.extract_output(combine.merge_accumulators(accumulators))
    whole = count_words(pa.array([row["caption"] for row in ROWS]))
    assert (total.words.tolist(), total.counts.tolist()) == (
        whole.words.tolist(), whole.counts.tolist(),
    )  # fmt: skip
    words = Counter(word for row in ROWS for word in row["caption"].split())
    assert sorted(total.counts.tolist()) == sorted(words.values())
