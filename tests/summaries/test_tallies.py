"""Tallies add up in any order, survive their tables, and are what a plain count gives."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import schema
from curate.ops.hashing import pair_uids
from curate.schema import Stage
from curate.summaries.counting import Counting
from curate.summaries.places import Places, find, write
from curate.summaries.tallies import SHOWN, First, Tallies, What, rounded, smallest

COUNTING = Counting(Stage.PREPARE, "", pa.schema([]))
ROWS = st.lists(
    st.tuples(
        st.text(max_size=8), st.sampled_from(["en", "de", None]), st.sampled_from(["", "a", "b"])
    ),
    max_size=30,
)
Row = tuple[str, str | None, str]
"""caption, language, and why it was dropped; kept where that is empty."""


def tallies(rows: list[Row], *, part: int) -> Tallies:
    urls = [f"http://x.example/{caption}" for caption, *_ in rows]
    uids = pair_uids(urls, [caption for caption, *_ in rows]).to_pylist()
    pairs = [
        {"uid": uid, "url": url, "caption": caption, "language": language, "reason": reason,
         "caption_chars": len(caption), "caption_words": len(caption.split()), "stage": "prepare"}
        for uid, url, (caption, language, reason) in zip(uids, urls, rows, strict=True)
    ]  # fmt: skip
    kept = pa.Table.from_pylist([x for x in pairs if not x["reason"]], schema=schema.PREPARE)
    left = pa.Table.from_pylist([x for x in pairs if x["reason"]], schema=schema.LEDGER)
    dead = schema.DEAD.empty_table()
    return COUNTING.count(part, seen=None, kept=kept, dropped=left, dead=dead)[0]


def together(found: list[Tallies]) -> tuple[pa.Table, pa.Table]:
    whole = Tallies()
    for one in found:
        whole.add(one)
    return whole.tables()


@settings(max_examples=25)
@given(st.lists(ROWS, max_size=5), st.randoms())
def test_parts_in_any_order_and_grouping_are_the_same(
    parts: list[list[Row]], random: object
) -> None:
    order = list(range(len(parts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    at_once = together([tallies(rows, part=i) for i, rows in enumerate(parts)])
    mixed = [tallies(parts[i], part=i) for i in order]
    halves = [Tallies(), Tallies()]
    for i, one in enumerate(mixed):
        halves[i % 2].add(one)
        halves[i % 2].compact()
    assert [x.to_pylist() for x in together(halves)] == [x.to_pylist() for x in at_once]
    again = Tallies.of_tables(*at_once).tables()
    assert [x.to_pylist() for x in again] == [x.to_pylist() for x in at_once]


@given(ROWS)
def test_counts_are_those_of_a_plain_count(rows: list[Row]) -> None:
    found = tallies(rows, part=3)
    kept = [row for row in rows if not row[2]]
    values, counts = found.values(What.CHARS)
    assert dict(zip(values, counts, strict=True)) == Counter(len(caption) for caption, *_ in kept)
    assert found.of_texts(What.LANGUAGE) == Counter(language or "?" for _, language, _ in kept)
    assert found.of_texts(What.LEDGER) == Counter(reason for *_, reason in rows if reason)
    for reason in ("a", "b"):
        captions = [caption for caption, _, why in rows if why == reason]
        uids = pair_uids([f"http://x.example/{x}" for x in captions], captions).to_pylist()
        shown = [one.uid for one in found.examples(First.DROPPED, reason)]
        assert shown == sorted(uids)[: SHOWN[First.DROPPED]]


@pytest.mark.parametrize(
    ("value", "short"),
    [(0.0, 0.0), (0.1234567, 0.12346), (-98765.4, -98765.0), (1e-300, 1e-300), (0.285, 0.285),
     (1234567.0, 1234600.0), (-0.0, 0.0)],
)  # fmt: skip
def test_scores_have_five_digits(value: float, short: float) -> None:
    assert rounded(np.array([value]))[0] == pytest.approx(short, rel=1e-12)


def test_places_name_every_part_that_holds_a_text(tmp_path: object) -> None:
    texts = {part: [f"{part}-{i}" for i in range(1000)] + ["everywhere"] for part in range(5)}
    places = Places()
    for part, own in texts.items():
        places.add(pa.array([*own, None]), part=part)
    url = f"{tmp_path}/places.parquet"
    write(url, places, of="d")
    assert find(url, ["3-17"], of="d") == [3]
    assert find(url, ["everywhere"], of=None) == [0, 1, 2, 3, 4]
    assert find(url, ["nowhere"], of="d") == []
    assert find(url, ["3-17"], of="other") is None
    assert find(f"{tmp_path}/none.parquet", ["3-17"], of=None) is None


@given(st.lists(st.tuples(*[st.none() | st.sampled_from(["", "a", "é", "z", "\U0001f600"])] * 3)))
def test_the_pairs_shown_are_the_first_by_uid_url_and_caption(
    rows: list[tuple[str | None, ...]],
) -> None:
    names = ("uid", "url", "caption")
    table = pa.table([pa.array(list(x), pa.string()) for x in zip(*rows, strict=True)] or
                     [pa.array([], pa.string())] * 3, names)  # fmt: skip
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names])
    first = [tuple(x or "" for x in row.values()) for row in table.take(order[:2]).to_pylist()]
    found = smallest(table, part=7, n=2)
    assert [(x.uid, x.url, x.caption) for x in found] == first
    assert {x.part for x in found} <= {7}
