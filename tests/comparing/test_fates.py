"""Pairs of two runs are joined by uid, and each is counted once whatever stands how often."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from curate.comparing.fates import CHANGED, Ends, Fate, Joined, _join

ENDS = [Fate("dropped", "prepare", "language"), Fate("dropped", "score", "rule:x"), Fate("kept")]
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), max_size=12)


def table(rows: list[tuple[str, int]]) -> pa.Table:
    uids, fates = [x for x, _ in rows], [x for _, x in rows]
    texts = pa.array([f"{uid}{i}" for i, uid in enumerate(uids)], pa.string())
    return pa.table(
        {"uid": pa.array(uids, pa.string()), "url": texts, "caption": texts,
         "part": pa.array([0] * len(rows), pa.int32()), "value": texts,
         "fate": pa.array(fates, pa.int32())}
    )  # fmt: skip


def joined(a: list[tuple[str, int]], b: list[tuple[str, int]]) -> Joined:
    return _join(table(a), table(b), len(ENDS))


@given(ROWS, ROWS)
def test_each_pair_is_joined_once_and_as_many_as_can_be_are_the_same(
    a: list[tuple[str, int]], b: list[tuple[str, int]]
) -> None:
    found = joined(a, b)
    for rows, given_rows in zip(found.rows, (a, b), strict=True):
        assert sorted(x for x in rows.tolist() if x >= 0) == [*range(len(given_rows))]
    counts = Counter(zip(found.a.tolist(), found.b.tolist(), strict=True))
    same = Counter(a) & Counter(b)
    assert sum(n for (x, y), n in counts.items() if x == y) == same.total()
    mine, theirs = (Counter(uid for uid, _ in rows) for rows in (a, b))
    in_both = sum(n for (x, y), n in counts.items() if x >= 0 and y >= 0)
    assert in_both == (mine & theirs).total()
    for i, j in zip(*(rows.tolist() for rows in found.rows), strict=True):
        assert min(i, j) < 0 or a[i][0] == b[j][0]


def test_what_changed_has_both_reasons() -> None:
    found = joined([("a", 0), ("b", 2), ("c", 1)], [("b", 2), ("a", 1), ("d", 2)]).changed(ENDS)
    assert found.schema.equals(CHANGED)
    rows = {row["uid"]: row for row in found.to_pylist()}
    assert set(rows) == {"a", "c", "d"}
    assert (rows["a"]["reason_a"], rows["a"]["reason_b"]) == ("language", "rule:x")
    assert (rows["a"]["value_a"], rows["a"]["value_b"]) == ("a0", "a1")
    assert (rows["c"]["verdict_b"], rows["c"]["part_b"]) == ("absent", None)
    assert (rows["d"]["verdict_a"], rows["d"]["verdict_b"], rows["d"]["url"]) == (
        "absent",
        "kept",
        "d2",
    )


def test_ends_have_numbers_as_they_are_met() -> None:
    ends = Ends()
    rows = {
        "stage": ["score", "balance", "prepare", "dedup"],
        "verdict": ["dropped", "kept", "dead", "pending"],
        "reason": ["rule:x", None, "bad_row", None],
    }
    first = ends.of(pa.table(rows)).tolist()
    assert ends.of(pa.table(rows)).tolist() == first
    kept_elsewhere = {
        "stage": ["score"],
        "verdict": ["kept"],
        "reason": pa.array([None], pa.string()),
    }
    assert ends.of(pa.table(kept_elsewhere)).tolist() == [first[1]]
    assert sorted((ends.known[n] for n in first), key=lambda fate: fate.order) == [
        Fate("dead", "prepare", "bad_row"),
        Fate("pending", "dedup"),
        Fate("dropped", "score", "rule:x"),
        Fate("kept"),
    ]
