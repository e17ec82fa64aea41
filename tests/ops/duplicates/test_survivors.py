"""Who stays: against sorting and sets in plain Python."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.duplicates.survivors import Clusters, choose, left_behind, survivor_order

pairs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(["0a", "0b", "ff"])),
    max_size=12,
)


@given(rows=pairs)
@settings(deadline=None)
def test_the_survivor_order(rows: list[tuple[int, int, str]]) -> None:
    table = pa.table(
        {
            "uid": pa.array([uid for _, _, uid in rows], pa.string()),
            "pixels": pa.array([pixels for pixels, _, _ in rows], pa.int64()),
            "caption_chars": pa.array([chars for _, chars, _ in rows], pa.int32()),
            "row": pa.array(range(len(rows)), pa.int64()),
        }
    )
    expected = sorted(range(len(rows)), key=lambda i: (-rows[i][0], -rows[i][1], rows[i][2], i))
    assert survivor_order(table).tolist() == expected
    chunks = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    assert survivor_order(chunks).tolist() == expected


values = st.none() | st.sampled_from([0.5, -1.0, 2.0])
scored = st.lists(
    st.tuples(values, st.none() | st.booleans(), st.integers(0, 1), st.sampled_from(["0a", "ff"])),
    max_size=10,
)


@given(rows=scored, prefer=st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1)]))
@settings(deadline=None)
def test_columns_come_before_the_stated_order(
    rows: list[tuple[float | None, bool | None, int, str]], prefer: tuple[int, int]
) -> None:
    table = pa.table(
        {
            "prefer 0": pa.array([row[0] for row in rows], pa.float64()),
            "prefer 1": pa.array([row[1] for row in rows], pa.bool_()),
            "pixels": pa.array([row[2] for row in rows], pa.int64()),
            "caption_chars": pa.array([0] * len(rows), pa.int32()),
            "uid": pa.array([row[3] for row in rows], pa.string()),
            "row": pa.array(range(len(rows)), pa.int64()),
        }
    )

    def place(i: int) -> tuple[object, ...]:
        first = [
            (value is None, -sign * (value or 0))
            for value, sign in zip(rows[i][:2], prefer, strict=True)
        ]
        return (*first, -rows[i][2], rows[i][3], i)

    names = [("-" if sign < 0 else "") + name for sign, name in zip(prefer, "ab", strict=True)]
    expected = sorted(range(len(rows)), key=place)
    assert survivor_order(table, prefer=names).tolist() == expected


N = 10
labels = st.lists(st.integers(-1, 3), min_size=N, max_size=N)


@given(
    order=st.permutations(range(N)),
    policies=st.lists(st.tuples(labels, st.integers(1, 3)), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_policies_one_after_the_other(
    order: list[int], policies: list[tuple[list[int], int]]
) -> None:
    verdict = choose(
        np.array(order), [Clusters(f"r{k}", np.array(x), n) for k, (x, n) in enumerate(policies)]
    )
    alive = list(order)  # in survivor order
    stands_for: dict[int, int] = {}
    reason: dict[int, str] = {}
    for k, (label, keep) in enumerate(policies):
        for cluster in set(label) - {-1}:
            inside = [i for i in alive if label[i] == cluster]
            for i in inside[1:]:
                stands_for[i] = inside[0]
            for i in inside[keep:]:
                reason[i] = f"r{k}"
        alive = [i for i in alive if i not in reason]

    def first(i: int) -> int:
        return first(stands_for[i]) if i in stands_for else i

    names = [first(i) for i in range(N)]
    assert verdict.cluster.tolist() == names
    assert verdict.reason.tolist() == [reason.get(i) for i in range(N)]
    assert verdict.survivor.tolist() == [names[i] if i in reason else i for i in range(N)]
    assert verdict.size.tolist() == [names.count(name) for name in names]
    assert set(verdict.survivor.tolist()) == set(alive)


def test_a_chain_of_survivors_leads_to_the_last() -> None:
    """3 goes for 2 under one policy, 2 for 1 under the next, 1 for 0 under the last."""
    policies = [
        Clusters("url", np.array([-1, -1, 8, 8])), Clusters("image", np.array([-1, 7, 7, -1])),
        Clusters("caption", np.array([6, 6, -1, -1])),
    ]  # fmt: skip
    verdict = choose(np.arange(4), policies)
    assert verdict.survivor.tolist() == verdict.cluster.tolist() == [0, 0, 0, 0]
    assert verdict.reason.tolist() == [None, "caption", "image", "url"]
    assert verdict.size.tolist() == [4, 4, 4, 4]


def test_captions_left_behind() -> None:
    verdict = choose(np.array([1, 0, 2, 3, 4]), [Clusters("pair", np.array([5, 5, 5, 5, -1]))])
    captions = pa.array(["a cat", "cat", "the cat", "a cat", "dog"])
    order = np.array([1, 0, 2, 3, 4])
    places, starts = left_behind(captions, verdict, order=order)
    assert (places.tolist(), starts.tolist()) == ([0, 2], [0, 0, 2, 2, 2, 2])
    places, starts = left_behind(captions, verdict, order=order, most=1)
    assert (places.tolist(), starts.tolist()) == ([0], [0, 0, 1, 1, 1, 1])
    unsaid = pa.array([None, "cat", "the cat", None, "dog"])
    assert left_behind(unsaid, verdict, order=order)[0].tolist() == [2]


def test_of_two_that_stay_the_first_takes_the_captions() -> None:
    verdict = choose(np.arange(3), [Clusters("caption", np.array([0, 0, 0]), keep=2)])
    assert verdict.cluster.tolist() == [0, 0, 0]
    assert verdict.survivor.tolist() == [0, 1, 0]
    places, starts = left_behind(pa.array(["x", "y", "z"]), verdict, order=np.arange(3))
    assert (places.tolist(), starts.tolist()) == ([2], [0, 1, 1, 1])
