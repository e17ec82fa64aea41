"""Adaptive rebalancing against its definition over dictionaries, and drawn as the definition draws."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops.hashing import hash64
from curate.ops.selection import adaptive, occurrences
from curate.ops.selection.occurrences import Tally

Entities = Sequence[Sequence[object]]
"""The entities of each sample from one perspective."""


def naive_counts(samples: Entities) -> Counter[object]:
    return Counter(one for sample in samples for one in sample)


def naive_tau(counts: Counter[object], share: float) -> int:
    """Entities by count, descending: the count of the first that reaches the share of the total."""
    reached, wanted = 0, counts.total() * share
    for _, count in counts.most_common():
        reached += count
        if reached >= wanted:
            return count
    return 1


def naive_passes(sample: Sequence[object], counts: Counter[object], tau: int) -> float:
    return 1 - math.prod(1 - min(1.0, tau / counts[one]) for one in sample)


def naive_keep(passing: Sequence[float], n_p: int, alpha: float) -> float:
    """Over all outcomes of the perspectives."""
    kept = 0.0
    for outcome in itertools.product([False, True], repeat=len(passing)):
        if sum(outcome) > n_p:
            kept += math.prod(q if x else 1 - q for q, x in zip(passing, outcome, strict=True))
    return alpha * kept


def naive_pairs(matches: Entities) -> list[list[frozenset[object]]]:
    return [[frozenset(x) for x in itertools.combinations(sorted(set(m)), 2)] for m in matches]  # type: ignore[type-var]


def naive_probabilities(
    perspectives: dict[str, Entities], shares: dict[str, float], *, n_p: int = 0, alpha: float = 1.0
) -> list[float]:
    """The definition, over the entities that each sample has from each perspective."""
    counts = {name: naive_counts(samples) for name, samples in perspectives.items()}
    taus = {name: naive_tau(found, shares[name]) for name, found in counts.items()}
    n = len(next(iter(perspectives.values())))
    return [
        naive_keep(
            [naive_passes(samples[i], counts[x], taus[x]) for x, samples in perspectives.items()],
            n_p, alpha,
        )
        for i in range(n)
    ]  # fmt: skip


def test_the_worked_example() -> None:
    """f sorted 50, 30, 12, 5, 3: r = 0.9 gives tau 12, r = 0.75 gives 30."""
    found = adaptive.distribution([3, 30, 5, 0, 50, 12])
    assert adaptive.threshold(found, share=0.9) == 12
    assert adaptive.threshold(found, share=0.75) == 30
    assert found.above(12) == (2, 80)
    assert found.occurrences == 100


def test_nothing_that_occurs_has_a_threshold_and_passes_nothing() -> None:
    assert adaptive.threshold(adaptive.distribution([0, 0]), share=0.9) == 1
    nothing = np.empty(0, np.uint64), np.empty(0, np.int64)
    passes = adaptive.passes(
        np.array([0, 0]), nothing[0], head=nothing[0], counts=nothing[1], tau=1
    )
    assert passes.tolist() == [0.0]
    assert adaptive.keep_probability([passes], n_p=0, alpha=1.0).tolist() == [0.0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=30), st.floats(0.01, 0.99))
def test_tau_is_that_of_the_definition(counts: list[int], share: float) -> None:
    named = Counter(dict(enumerate(counts)))
    assert adaptive.threshold(adaptive.distribution(counts), share=share) == naive_tau(
        named,  # type: ignore[arg-type]
        share,
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 3), st.floats(0.1, 1),
)  # fmt: skip
def test_more_than_n_p_perspectives_have_to_pass(
    passing: list[float], n_p: int, alpha: float
) -> None:
    found = adaptive.keep_probability([np.array([x]) for x in passing], n_p=n_p, alpha=alpha)
    assert found[0] == pytest.approx(naive_keep(passing, n_p, alpha), abs=1e-12)
    certain = sum(x == 1 for x in passing) > n_p
    assert not certain or found[0] == alpha, "what passes for certain is kept for certain"


def head_of(tally: Tally, share: float) -> tuple[int, Tally]:
    tau = adaptive.threshold(adaptive.distribution(tally.counts), share=share)
    above = tally.counts > tau
    return tau, Tally(tally.keys[above], tally.counts[above])


_IDS = st.lists(st.integers(0, 12), max_size=7, unique=True).map(sorted)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(_IDS | st.none(), max_size=40), st.floats(0.05, 0.95), st.integers(1, 20),
    st.integers(1, 9), st.integers(0, 2**31),
)  # fmt: skip
def test_pairs_of_entries_are_those_of_the_definition(
    matches: list[list[int] | None], share: float, at_once: int, n: int, first: int
) -> None:
    """However many rows are looked at together, and into how many ranges keys are cut."""
    lists = pa.array(matches, pa.list_(pa.int32()))
    made = list(occurrences.pair_keys(lists, first=first, at_once=at_once))
    assert [x for one in made for x in range(one.rows.start, one.rows.stop)] == [
        *range(len(matches))
    ]
    cut = [occurrences.ranges(occurrences.tally(one.keys), n) for one in made]
    ranges = [occurrences.merged([one[k] for one in cut]) for k in range(n)]
    whole = occurrences.merged(ranges)
    assert whole.keys.tolist() == [key for one in ranges for key in one.keys.tolist()]
    expected = naive_pairs([m or [] for m in matches])
    counts = naive_counts(expected)
    low, high = occurrences.entries_of(whole.keys)
    pairs = [
        frozenset(x) for x in zip((low - first).tolist(), (high - first).tolist(), strict=True)
    ]
    assert dict(zip(pairs, whole.counts.tolist(), strict=True)) == counts
    tau, head = head_of(whole, share)
    assert tau == naive_tau(counts, share)
    found = [
        x for one in made for x in adaptive.passes(
            one.ends, one.keys, head=head.keys, counts=head.counts, tau=tau
        ).tolist()
    ]  # fmt: skip
    assert found == pytest.approx([naive_passes(x, counts, tau) for x in expected], abs=1e-12)
    more = adaptive.passes(  # counts of the tail among those of the head change nothing
        made[0].ends, made[0].keys, head=whole.keys, counts=whole.counts, tau=tau
    ) if made else np.zeros(0)  # fmt: skip
    assert more.tolist() == found[: len(more)]


def test_words_are_counted_as_often_as_they_occur() -> None:
    words = [["dog", "Dog", "dog"], [], None, ["cat"], ["dog"]]
    lists = pa.chunked_array(
        [pa.array(words[:2], pa.list_(pa.string())), pa.array(words[2:], pa.list_(pa.string()))]
    )
    made = list(occurrences.word_keys(lists, at_once=2))
    assert [one.ends.tolist() for one in made] == [[0, 3], [0, 0, 0, 1, 2]]
    tally = occurrences.tally(np.concatenate([one.keys for one in made]))
    names = hash64(["dog", "Dog", "cat"])
    assert dict(zip(tally.keys.tolist(), tally.counts.tolist(), strict=True)) == dict(
        zip(names.tolist(), [3, 1, 1], strict=True)
    )
    assert occurrences.places(names, tally.keys).min() >= 0
    assert occurrences.places(hash64(["bird"]), tally.keys).tolist() == [-1]


def test_one_draw_has_the_law_of_a_draw_for_each_entity() -> None:
    """The algorithm as it is published, 400 times, against the probability of each sample."""
    generator = random.Random(3)
    matches = [sorted(generator.sample(range(9), generator.randint(0, 4))) for _ in range(60)]
    words = [
        [f"w{generator.randint(0, 5)}" for _ in range(generator.randint(0, 4))] for _ in matches
    ]
    perspectives: dict[str, Entities] = {
        "entries": matches, "pairs": naive_pairs(matches), "nouns": words,
    }  # fmt: skip
    shares = {"entries": 0.9, "pairs": 0.75, "nouns": 0.9}
    counts = {x: naive_counts(samples) for x, samples in perspectives.items()}
    taus = {x: naive_tau(found, shares[x]) for x, found in counts.items()}
    keyed = {
        "entries": occurrences.word_keys(pa.array([[*map(str, m)] for m in matches])),
        "pairs": occurrences.pair_keys(matches, first=7),
        "nouns": occurrences.word_keys(pa.array(words)),
    }
    passing = []
    for name, (made,) in {x: [*one] for x, one in keyed.items()}.items():
        tau, head = head_of(occurrences.tally(made.keys), shares[name])
        assert tau == taus[name]
        passing.append(
            adaptive.passes(made.ends, made.keys, head=head.keys, counts=head.counts, tau=tau)
        )
    for n_p, alpha in ((0, 1.0), (1, 0.8)):
        keep = adaptive.keep_probability(passing, n_p=n_p, alpha=alpha)
        assert keep == pytest.approx(
            naive_probabilities(perspectives, shares, n_p=n_p, alpha=alpha), abs=1e-12
        )
        times = 400
        kept = [0] * len(matches)
        for _ in range(times):
            for i in range(len(matches)):
                passed = sum(
                    any(generator.random() < taus[x] / counts[x][one] for one in samples[i])
                    for x, samples in perspectives.items()
                )
                kept[i] += passed > n_p and generator.random() < alpha
        for p, k in zip(keep, kept, strict=True):
            noise = math.sqrt(max(p * (1 - p), 1e-12) / times)
            assert abs(k / times - p) < 5 * noise + 1e-9
