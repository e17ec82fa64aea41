"""Captions that duplicates lend: where they stand, what they weigh, and what is left of them."""

from typing import Any

import pyarrow as pa
import pytest

from curate.ops import lent
from curate.schema import LENT, WITH_LENT

WEIGHTS = {"original": 0.4, "others": 0.4, "title": 0.2}
KIND = WITH_LENT.field("captions").type


def column(*pairs: list[dict[str, Any]]) -> pa.Array:
    return pa.array(pairs, KIND)


def own(text: str, **more: Any) -> dict[str, Any]:
    return {"source": "original", "caption": text, "matches": [1], **more}


JOINED = lent.joined(
    column(
        [own("a"), {"source": "title", "caption": "t", "matches": [2]}],
        [own("b", reason="no_match"), {"source": "title", "caption": "u", "matches": []}],
        [own("c")],
    ),
    pa.array(
        [
            [{"uid": "x", "caption": "d", "language": "de", "matches": [3]},
             {"uid": "y", "caption": "t", "matches": [2]}],
            [{"uid": "x", "caption": "b", "matches": [1]}, {"uid": None, "caption": ""}],
            [],
        ],
        LENT,
    ),
    source="others",
    weights=WEIGHTS,
)  # fmt: skip


def told(captions: pa.Array) -> list[list[tuple[Any, ...]]]:
    names = ("source", "caption", "weight", "reason", "uid")
    return [[tuple(one[x] for x in names) for one in pair] for pair in captions.to_pylist()]


def test_they_stand_in_the_order_of_the_sources() -> None:
    third = pytest.approx(2 / 3), pytest.approx(1 / 3)
    assert told(JOINED) == [
        [("original", "a", 0.4, None, None), ("others", "d", 0.4, None, "x"),
         ("others", "t", None, "duplicate_caption", "y"), ("title", "t", 0.2, None, None)],
        [("original", "b", None, "no_match", None), ("others", "b", third[0], None, "x"),
         ("others", "", None, "revoked", None), ("title", "u", third[1], None, None)],
        [("original", "c", 1.0, None, None)],
    ]  # fmt: skip
    assert JOINED.to_pylist()[0][1]["language"] == "de"


def test_an_empty_one_stands_where_one_left() -> None:
    gone = pa.array(["x", "z"])
    assert lent.holds(JOINED, gone).tolist() == [True, True, False]
    left = lent.without(JOINED, gone)
    assert lent.have_lost(left).tolist() == [True, True, False]
    assert not lent.holds(left, gone).any()
    assert told(lent.weighed(left, weights=WEIGHTS)) == [
        [("original", "a", pytest.approx(2 / 3), None, None), ("others", "", None, "revoked", None),
         ("others", "t", None, "duplicate_caption", "y"),
         ("title", "t", pytest.approx(1 / 3), None, None)],
        [("original", "b", None, "no_match", None), ("others", "", None, "revoked", None),
         ("others", "", None, "revoked", None), ("title", "u", 1.0, None, None)],
        [("original", "c", 1.0, None, None)],
    ]  # fmt: skip
    assert left.to_pylist()[0][1]["matches"] is None
    assert lent.without(left, gone).equals(left)
