"""Sums of counts against `collections.Counter`, in memory and through the disk."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.metadata.counts import Counts

ROWS = st.lists(
    st.lists(st.tuples(st.text(max_size=4), st.integers(0, 10**12)), max_size=20), max_size=8
)


def expected(rows: list[list[tuple[str, int]]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for batch in rows:
        for entry, count in batch:
            counts[entry] = counts.get(entry, 0) + count
    return counts


def read(counts: Counts) -> dict[str, int]:
    found: dict[str, int] = {}
    for table in counts.partitions():
        for entry, count in zip(*table.to_pydict().values(), strict=True):
            assert entry not in found, "an entry stands in one partition, once"
            found[entry] = count
    return found


@pytest.mark.parametrize("memory", [1, 1 << 30])
@settings(deadline=None, max_examples=25)
@given(rows=ROWS)
def test_sums_are_exact(memory: int, rows: list[list[tuple[str, int]]]) -> None:
    counts = Counts(memory=memory)
    for batch in rows:
        counts.add([entry for entry, _ in batch], [count for _, count in batch])
    assert read(counts) == expected(rows)
    assert counts.total == sum(expected(rows).values())
    counts.close()


def test_what_does_not_fit_goes_to_disk_and_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    draw = random.Random(7)
    rows = [[(f"w{int(draw.paretovariate(0.6)) % 9999}", 1) for _ in range(500)] for _ in range(40)]
    counts = Counts(memory=64 << 10)
    for batch in rows:
        counts.add([entry for entry, _ in batch], [count for _, count in batch])
    assert counts.spilled > 1
    assert list(tmp_path.iterdir())
    assert read(counts) == expected(rows)
    assert read(counts) == expected(rows), "and can be read again"
    counts.add(["w1"], [5])
    assert read(counts) == Counter(expected(rows)) + Counter({"w1": 5}), "and added to"
    counts.close()
    assert not list(tmp_path.iterdir())


def test_a_table_is_sorted_and_cut() -> None:
    counts = Counts(memory=1)
    counts.add(pa.array(["é", "z", "a", "Z"]), [2, 3, 4, 1])
    table = counts.table(at_least=2)
    assert table.to_pydict() == {"entry": ["a", "z", "é"], "count": [4, 3, 2]}
    counts.close()
    assert Counts(memory=1).table().num_rows == 0
