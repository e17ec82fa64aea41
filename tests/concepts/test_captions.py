"""Which captions of a pair count: those that it came with, or those that are in the set."""

from typing import Any

import pyarrow as pa
import pytest

from curate.concepts.captions import named_in
from curate.concepts.names import concepts_of
from curate.schema import CAPTIONS, WITH_LENT

CONCEPTS = concepts_of({"fox": ["fox"], "red fox": ["red fox"]}, called="test")


def table(rows: list[dict[str, Any]], kind: pa.Field) -> pa.Table:
    schema = pa.schema([("uid", pa.string()), ("caption", pa.string()), kind])
    return pa.Table.from_pylist(rows, schema)


def concepts(pairs: pa.Table, *, written: bool) -> list[tuple[int, int]]:
    rows, numbers = named_in(pairs, CONCEPTS, written=written).concepts
    return list(zip(rows.tolist(), numbers.tolist(), strict=True))


def test_a_caption_that_was_left_out_and_one_that_a_duplicate_lent() -> None:
    own = {"source": "original", "caption": "own red fox", "reason": "no_match", "uid": None}
    lent = {"source": "others", "caption": "a fox", "reason": None, "uid": "9"}
    rows: list[dict[str, Any]] = [
        {"uid": "0", "caption": "a fox", "captions": None},  # it left before there were several
        {"uid": "1", "caption": "a fox", "captions": [own, lent]},
    ]
    pairs = table(rows, WITH_LENT.field("captions"))
    assert concepts(pairs, written=False) == [(0, 0), (1, 0), (1, 1)]
    assert concepts(pairs, written=True) == [(0, 0), (1, 0)]
    assert concepts(pairs.slice(1), written=False) == [(0, 0), (0, 1)]


@pytest.mark.parametrize("kind", [CAPTIONS.field("captions"), WITH_LENT.field("captions")])
def test_a_part_without_pairs(kind: pa.Field) -> None:
    assert concepts(table([], kind), written=True) == []
    assert concepts(table([], kind), written=False) == []
